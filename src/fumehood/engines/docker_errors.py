"""What Docker, aiodocker and aiohttp raise, mapped to fumehood's errors: once, here.

Text from an engine or a registry is somebody else's: it is cut short and made printable before it
becomes part of a message.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Generator
from contextlib import contextmanager

import aiohttp
from aiodocker.exceptions import DockerError

from fumehood.engines.docker_text import printable
from fumehood.errors import (
    EngineDiskFullError,
    EngineError,
    EngineUnavailableError,
    OperationTimeoutError,
    SandboxError,
)


class ApiError(EngineError):
    """The engine answered with an error status; what it means depends on the call.

    Internal: every use of it inside the engine becomes a public class, or is this
    :class:`~fumehood.errors.EngineError` with the engine's own words.
    """

    def __init__(self, message: str, *, status: int, detail: str) -> None:
        super().__init__(message)
        self.status = status
        self.detail = detail
        """The engine's own words, printable."""


class ApiBrokenOffError(EngineError):
    """An answer that came to its end in the middle of a line: whoever sent it broke off.

    Internal, as :class:`ApiError` is.
    """


class ApiDiskFullError(ApiError, EngineDiskFullError):
    """The same, where the reason is a full disk whatever was asked for."""


# What the kernel says to whatever part of the engine met it, in every version of it.
_DISK_FULL = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)


def api_error(status: int, message: str, doing: str) -> ApiError:
    """Return the error for an answer with an error status."""
    detail = printable(message) or "no reason given"
    if _DISK_FULL.search(detail):
        return ApiDiskFullError(
            f"{doing} failed: the engine's disk is full ({detail}): docker system df shows what "
            "takes it, docker system prune removes what is not used",
            status=status,
            detail=detail,
        )
    return ApiError(
        f"{doing} failed: the engine says {status}: {detail}", status=status, detail=detail
    )


@contextmanager
def mapped(doing: str, address: str) -> Generator[None, None, None]:
    """Turn foreign exceptions into ours while the engine at ``address`` is asked for something.

    Args:
        doing: what was asked, as the beginning of a sentence ("creating the container").
        address: where the engine is, for the message.

    Raises:
        EngineUnavailableError: no connection, or it broke.
        OperationTimeoutError: no answer in time.
        ApiError: an answer with an error status.
        EngineError: an answer that is not the Engine API's.
    """
    try:
        yield
    except SandboxError:
        raise
    except DockerError as exc:
        # aiodocker's own number for "could not connect".
        if exc.status == 900:
            raise unavailable(doing, address, exc) from exc
        raise api_error(exc.status, exc.message, doing) from exc
    except TimeoutError as exc:
        raise OperationTimeoutError(
            f"{doing}: the engine at {address} did not answer in time"
        ) from exc
    except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, OSError) as exc:
        raise unavailable(doing, address, exc) from exc
    except (aiohttp.ClientError, ValueError, KeyError, TypeError, RecursionError) as exc:
        # Answers that are no HTTP or no JSON, or JSON in JSON without an end, or lack a field that
        # every engine sends.
        raise EngineError(
            f"{doing}: what answers at {address} does not speak the Engine API: "
            f"{printable(f'{type(exc).__name__}: {exc}')}"
        ) from exc


def unavailable(doing: str, address: str, exc: BaseException) -> EngineUnavailableError:
    """Return the error for an engine that cannot be reached, with what to do about it."""
    cause = exc
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        cause = exc.certificate_error
    elif isinstance(exc, aiohttp.ClientConnectorError):
        cause = exc.os_error
    if isinstance(cause, PermissionError):
        hint = "this user may not use it: join the group that owns the socket, or use rootless mode"
    elif isinstance(cause, FileNotFoundError):
        hint = "nothing is there: is the engine installed and running? (`docker info` must work)"
    elif isinstance(cause, ConnectionRefusedError):
        hint = "nothing listens there: is the engine running? (`docker info` must work)"
    elif isinstance(cause, (ssl.SSLError, ssl.CertificateError)):
        hint = "TLS failed: check the certificates (DOCKER_CERT_PATH, or those of the context)"
    else:
        hint = "check DOCKER_HOST and `docker context ls`"
    return EngineUnavailableError(
        f"{doing}: no engine answers at {address}: "
        f"{printable(str(cause) or type(cause).__name__)}; {hint}"
    )
