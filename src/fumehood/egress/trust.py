"""What commands trust, put where their environment says: the session's authority and the roots."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import ssl
from collections.abc import AsyncGenerator
from pathlib import Path

from fumehood import paths
from fumehood._core import CANCEL_PATIENCE
from fumehood._failures import file_failure
from fumehood._tether.channel import Channel
from fumehood._tether.tether import Tether
from fumehood._wire.messages import Fail
from fumehood._wire.requests import file_request
from fumehood._wire.table import Operation, Root
from fumehood.egress.variables import BUNDLE_FILE, CA_FILE
from fumehood.errors import FileError, InvalidPathError, OperationTimeoutError

logger: logging.Logger = logging.getLogger("fumehood.egress")

MAX_ROOTS = 4 << 20
"""Bytes of an image's roots: what is larger is not taken for them."""
SECONDS = 60.0
"""For one file to be read or written."""

_OP = "set_network"
_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora and its kin
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # Alpine, the BSDs, macOS
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
)


async def image_roots(tether: Tether, session_id: str, first: str | None) -> bytes:
    """Return the roots that the session's image has; nothing where it has none.

    Args:
        tether: the session's.
        session_id: its id, for errors.
        first: where the image's own environment says that they are.

    Raises:
        SandboxError: the session is over, or does not answer.
    """
    for path in dict.fromkeys(((first,) if first else ()) + _FILES):
        try:
            if roots := await _read(tether, session_id, path):
                return roots if roots.endswith(b"\n") else roots + b"\n"
        except (FileError, InvalidPathError) as exc:
            logger.debug("session %s: no roots at %r: %s", session_id, path, exc)
    return b""


def own_roots() -> bytes:
    """Return the roots of this machine. It blocks.

    For images without any: programs there that bring roots of their own are told to take ours in
    place of them, and shall reach what they reached before.
    """
    default = ssl.get_default_verify_paths().cafile
    for path in ((default,) if default else ()) + _FILES:
        with contextlib.suppress(OSError):  # then they are not what this machine trusts either
            return Path(path).read_bytes() + b"\n"
    return b""


async def place(tether: Tether, session_id: str, certificate: bytes, roots: bytes) -> None:
    """Put the files where :data:`~fumehood.egress.variables.TRUST_VARIABLES` says.

    Each is there as it was or as it is to be. They belong to the session's user.

    Raises:
        SandboxError: it is over, does not answer, or has no room.
    """
    await _write(tether, session_id, CA_FILE, certificate)
    await _write(tether, session_id, BUNDLE_FILE, roots + certificate)


async def _read(tether: Tether, session_id: str, path: str) -> bytes:
    request = file_request(Operation.READ, _raw(path), Root.FILESYSTEM, offset=0, limit=MAX_ROOTS)
    data = bytearray()
    channel = tether.open(request)
    async with _bounded(channel, session_id, path):
        while (item := await channel.receive()) is not None:
            data += item.data
    return bytes(data)


async def _write(tether: Tether, session_id: str, path: str, data: bytes) -> None:
    # Under a name that nobody can foresee, and then in place of whatever is there: another user of
    # the session may have put a link there, which a write would follow with the rights of this one.
    draft = _raw(f"{path}.{secrets.token_hex(16)}")
    request = file_request(
        Operation.WRITE, draft, Root.FILESYSTEM, limit=len(data), mode=0o644, parents=1
    )
    channel, sent = tether.open_with_input(request, data)
    async with _bounded(channel, session_id, path):
        if sent < len(data) and await channel.send(memoryview(data)[sent:]):
            channel.end_input()
    try:
        target = _raw(path)
        await _change(tether, session_id, path, Operation.RENAME, draft, target=target, parents=1)
    except FileError:
        await _change(tether, session_id, path, Operation.REMOVE, draft, recursive=0)
        raise


async def _change(
    tether: Tether,
    session_id: str,
    path: str,
    operation: Operation,
    draft: bytes,
    **more: int | bytes,
) -> None:
    channel = tether.open(file_request(operation, draft, Root.FILESYSTEM, **more))
    async with _bounded(channel, session_id, path):
        pass


@contextlib.asynccontextmanager
async def _bounded(channel: Channel, session_id: str, path: str) -> AsyncGenerator[None, None]:
    """Carry an operation to its answer, in bounded time, and raise a bad one."""
    try:
        async with asyncio.timeout(SECONDS):
            yield
            answer = await channel.answer()
    except TimeoutError as exc:
        raise OperationTimeoutError(
            f"{path} in session {session_id}: the supervisor has not answered for {SECONDS:g} s",
            op=_OP,
            session_id=session_id,
        ) from exc
    finally:
        await channel.aclose(CANCEL_PATIENCE)
    if isinstance(answer, Fail):
        raise file_failure(answer, op=_OP, path=path, session_id=session_id)


def _raw(path: str) -> bytes:
    return paths.absolute(path).encode("utf-8", "surrogateescape")
