"""Which engine to talk to, resolved as the docker command line resolves it.

In this order: an explicit host, ``DOCKER_HOST``, ``DOCKER_CONTEXT``, the current context of
``config.json`` (in ``DOCKER_CONFIG`` or ``~/.docker``), the default socket. TLS material is the
context's, or that of ``DOCKER_TLS_VERIFY``, ``DOCKER_TLS`` and ``DOCKER_CERT_PATH``.

aiodocker resolves contexts too, but puts ``DOCKER_CONTEXT`` before ``DOCKER_HOST``, ignores
``DOCKER_CONFIG``, and takes a TLS variable for set only if it is ``1``: a user would reach another
engine than with ``docker ps``.

Reads small files: call :func:`resolve` in a thread.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import cast
from urllib.parse import SplitResult, urlsplit

from fumehood.engines.docker_endpoints import (
    Endpoint,
    SshEndpoint,
    TcpEndpoint,
    TlsFiles,
    UnixEndpoint,
)
from fumehood.errors import EngineUnavailableError, EngineUnsupportedError, InvalidRequestError

_log = logging.getLogger("fumehood.engine")

DEFAULT_SOCKET = "/var/run/docker.sock"
_MAX_CONFIG_BYTES = 4 << 20
_PLAIN_PATH = re.compile(r"(?:/[A-Za-z0-9._/-]*)?")


def config_directory(environ: Mapping[str, str]) -> Path:
    """Return the directory of the docker command line's configuration."""
    configured = environ.get("DOCKER_CONFIG")
    if configured:
        return Path(configured)
    home = environ.get("HOME")
    return (Path(home) if home else Path.home()) / ".docker"


def read_config(environ: Mapping[str, str]) -> Mapping[str, object]:
    """Return the docker command line's configuration; empty if there is none.

    Raises:
        EngineUnavailableError: the file is there and not readable or not JSON.
    """
    path = config_directory(environ) / "config.json"
    try:
        return _json_file(path)
    except FileNotFoundError:
        return {}


def resolve(docker_host: str | None = None, environ: Mapping[str, str] | None = None) -> Endpoint:
    """Return the endpoint of the engine to talk to.

    Args:
        docker_host: an explicit address, which wins over everything.
        environ: the environment, that of the process by default.

    Raises:
        InvalidRequestError: an address that is none.
        EngineUnavailableError: a context that does not exist or cannot be read.
        EngineUnsupportedError: a way of transport that we do not have.
    """
    env = os.environ if environ is None else environ
    tls = _environment_tls(env)
    host = docker_host or env.get("DOCKER_HOST")
    if host:
        return parse(host, tls)
    context = env.get("DOCKER_CONTEXT") or _text(read_config(env).get("currentContext"))
    if context and context != "default":
        return _context_endpoint(context, config_directory(env))
    # With TLS asked for, the command line's default is an engine on the loopback address.
    return TcpEndpoint("127.0.0.1", 2376, tls) if tls else UnixEndpoint(DEFAULT_SOCKET)


def parse(host: str, tls: TlsFiles | None = None) -> Endpoint:
    """Return the endpoint of an address such as ``unix:///path`` or ``tcp://host:2376``.

    Args:
        host: the address; without a scheme it is a TCP address.
        tls: the material to use with TCP; ``None`` for plain TCP.
    """
    if any(ord(char) <= 32 or ord(char) == 127 for char in host):
        raise InvalidRequestError(f"docker host {host!r} contains a space or a control character")
    scheme, separator, rest = host.partition("://")
    if not separator:
        scheme, rest = "tcp", host
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        port = parts.port
    except ValueError as exc:
        raise InvalidRequestError(f"docker host {host!r} is no address: {exc}") from exc
    match scheme:
        case "unix":
            if not rest.startswith("/"):
                raise InvalidRequestError(
                    f"docker host {host!r}: the socket's path is not absolute"
                )
            return UnixEndpoint(rest)
        case "tcp" | "http" | "https":
            if scheme == "https" and tls is None:
                tls = TlsFiles()
            return _tcp(host, parts, port, None if scheme == "http" else tls)
        case "ssh":
            return _ssh(host, parts, port)
        case _:
            raise EngineUnsupportedError(
                f"docker host {host!r}: {scheme!r} is not supported; use unix://, tcp:// or ssh://"
            )


def _tcp(host: str, parts: SplitResult, port: int | None, tls: TlsFiles | None) -> TcpEndpoint:
    name = parts.hostname or "127.0.0.1"
    if parts.username or parts.query or parts.fragment or parts.path not in ("", "/"):
        raise InvalidRequestError(f"docker host {host!r} has more than a host and a port")
    if tls is None and not _is_loopback(name):
        _log.warning(
            "the engine at %s is spoken to without encryption or authentication: whoever can reach "
            "it owns that machine; use TLS or ssh://",
            host,
        )
    return TcpEndpoint(name, port or (2375 if tls is None else 2376), tls)


def _ssh(host: str, parts: SplitResult, port: int | None) -> SshEndpoint:
    if parts.password is not None:
        # Not shown: it is a secret.
        raise InvalidRequestError("docker host: a password in an ssh:// address is not supported")
    if not parts.hostname:
        raise InvalidRequestError(f"docker host {host!r} has no host name")
    if parts.query or parts.fragment:
        raise InvalidRequestError(f"docker host {host!r} has more than a user, a host and a path")
    if not _PLAIN_PATH.fullmatch(parts.path):
        raise InvalidRequestError(f"docker host {host!r}: the socket's path needs quoting")
    # As it is written: a name of ssh's configuration may have capitals, which `hostname` folds.
    written = parts.netloc.rpartition("@")[2]
    name = parts.hostname if port is not None or written.startswith("[") else written
    return SshEndpoint(
        host=name.removesuffix(":"),
        user=parts.username,
        port=port,
        socket=parts.path if parts.path not in ("", "/") else None,
    )


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _environment_tls(env: Mapping[str, str]) -> TlsFiles | None:
    verify = bool(env.get("DOCKER_TLS_VERIFY"))
    if not verify and not env.get("DOCKER_TLS"):
        return None
    cert_path = env.get("DOCKER_CERT_PATH")
    directory = Path(cert_path) if cert_path else config_directory(env)
    return TlsFiles.in_directory(directory, verify=verify)


def _context_endpoint(name: str, config: Path) -> Endpoint:
    # The command line's own layout: a directory by the hash of the context's name.
    directory = hashlib.sha256(name.encode()).hexdigest()
    try:
        meta = _json_file(config / "contexts" / "meta" / directory / "meta.json")
    except FileNotFoundError as exc:
        raise EngineUnavailableError(
            f"docker context {name!r} does not exist in {config}: see `docker context ls`, or "
            "unset DOCKER_CONTEXT"
        ) from exc
    endpoints = meta.get("Endpoints")
    found = (
        cast("Mapping[str, object]", endpoints).get("docker")
        if isinstance(endpoints, dict)
        else None
    )
    if not isinstance(found, dict):
        raise EngineUnavailableError(f"docker context {name!r} has no docker endpoint")
    docker = cast("Mapping[str, object]", found)
    tls = TlsFiles.in_directory(
        config / "contexts" / "tls" / directory / "docker",
        verify=docker.get("SkipTLSVerify") is not True,
    )
    host = _text(docker.get("Host"))
    return parse(host, tls if tls.any else None) if host else UnixEndpoint(DEFAULT_SOCKET)


def _json_file(path: Path) -> Mapping[str, object]:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_CONFIG_BYTES)
        parsed: object = json.loads(data)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as exc:
        raise EngineUnavailableError(f"{path} cannot be read: {exc}") from exc
    if not isinstance(parsed, dict):
        raise EngineUnavailableError(f"{path} is not a JSON object")
    return cast("Mapping[str, object]", parsed)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
