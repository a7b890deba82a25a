"""The ways to an engine: a unix socket, TCP with or without TLS, ssh."""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import aiohttp

from fumehood.engines.docker_text import Ring
from fumehood.errors import EngineUnavailableError

_log = logging.getLogger("fumehood.engine")

CONNECT_SECONDS = 30
_END_SECONDS = 2.0
_BACKLOG = 128


class Endpoint(Protocol):
    """Where an engine is and how to get there. Belongs to the event loop that opens it."""

    @property
    def address(self) -> str:
        """The address as a person would write it."""
        ...

    async def open(self) -> tuple[str, aiohttp.BaseConnector]:
        """Return the base URL of requests, and a connector without a limit of connections.

        Every session's stream holds a connection for as long as the session is used.
        """
        ...

    async def diagnosis(self) -> str:
        """Return what the way itself said of a failure, printable; ``""`` if nothing."""
        ...

    async def close(self) -> None:
        """Release what the connector needed, after it was closed. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class UnixEndpoint:
    """An engine behind a unix socket."""

    path: str

    @property
    def address(self) -> str:
        """The address as a person would write it."""
        return f"unix://{self.path}"

    async def open(self) -> tuple[str, aiohttp.BaseConnector]:
        """Return the base URL and a connector; the host name in it is never looked up."""
        return "http://docker", aiohttp.UnixConnector(self.path, limit=0)

    async def diagnosis(self) -> str:
        """Return nothing: the operating system's error says it."""
        return ""

    async def close(self) -> None:
        """Do nothing: there is nothing besides the connector."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Certificates as Docker keeps them: ``ca.pem``, ``cert.pem``, ``key.pem``, each optional."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    verify: bool = True
    """Whether the server must prove who it is."""

    @classmethod
    def in_directory(cls, directory: Path, *, verify: bool) -> TlsFiles:
        """Return those of the three files that are in a directory."""
        found = [directory / f"{name}.pem" for name in ("ca", "cert", "key")]
        ca, cert, key = (path if path.is_file() else None for path in found)
        return cls(ca=ca, cert=cert, key=key, verify=verify)

    @property
    def any(self) -> bool:
        """Whether there is a file at all."""
        return self.ca is not None or self.cert is not None or self.key is not None

    def context(self) -> ssl.SSLContext:
        """Load the files; blocks for as long as that takes.

        Raises:
            OSError: a file cannot be read; ``ssl.SSLError`` (one of them) if it is no certificate.
        """
        context = ssl.create_default_context(
            ssl.Purpose.SERVER_AUTH, cafile=str(self.ca) if self.ca is not None else None
        )
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.cert is not None and self.key is not None:
            context.load_cert_chain(str(self.cert), str(self.key))
        return context


@dataclass(frozen=True, slots=True)
class TcpEndpoint:
    """An engine on a TCP port, with TLS or without."""

    host: str
    port: int
    tls: TlsFiles | None = None

    @property
    def _authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def address(self) -> str:
        """The address as a person would write it."""
        return f"tcp://{self._authority}{' with TLS' if self.tls else ''}"

    async def open(self) -> tuple[str, aiohttp.BaseConnector]:
        """Return the base URL and a connector, loading certificates in a thread."""
        if self.tls is None:
            return f"http://{self._authority}", aiohttp.TCPConnector(limit=0)
        try:
            context = await asyncio.to_thread(self.tls.context)
        except OSError as exc:
            raise EngineUnavailableError(
                f"the certificates for {self.address} cannot be used: {exc} "
                f"({self.tls.ca}, {self.tls.cert}, {self.tls.key})"
            ) from exc
        return f"https://{self._authority}", aiohttp.TCPConnector(limit=0, ssl=context)

    async def diagnosis(self) -> str:
        """Return nothing: the error of the connection says it."""
        return ""

    async def close(self) -> None:
        """Do nothing: there is nothing besides the connector."""


class SshEndpoint:
    """An engine on another machine, through ``ssh`` and ``docker system dial-stdio`` there.

    What the docker command line does: the user's own ssh with its configuration, agent and known
    hosts, one process for each connection. A private socket takes the connections, and each goes to
    its process as standard input and output: no byte passes through Python on the way.

    aiodocker's ssh needs another ssh implementation, reads its own idea of ssh's configuration, and
    copies every byte in pieces of 8 KiB.
    """

    def __init__(
        self, *, host: str, user: str | None, port: int | None, socket: str | None = None
    ) -> None:
        self.host = host
        self.user = user
        self.port = port
        self.socket = socket
        self._directory: str | None = None
        self._server: asyncio.Task[None] | None = None
        self._calls: set[asyncio.Task[None]] = set()
        self._stderr = Ring(2048)

    def __repr__(self) -> str:
        return f"<SshEndpoint {self.address} connections={len(self._calls)}>"

    @property
    def address(self) -> str:
        """The address as a person would write it."""
        user = f"{self.user}@" if self.user else ""
        port = f":{self.port}" if self.port else ""
        return f"ssh://{user}{self.host}{port}{self.socket or ''}"

    @property
    def command(self) -> list[str]:
        """The command whose standard input and output are a connection to the engine."""
        return [
            "ssh",
            *(["-l", self.user] if self.user else []),
            *(["-p", str(self.port)] if self.port else []),
            "-o",
            f"ConnectTimeout={CONNECT_SECONDS}",
            "-T",
            "--",
            self.host,
            "docker",
            # ssh gives the words to a shell over there: only a path that needs no quoting is taken.
            *(["--host", f"unix://{self.socket}"] if self.socket else []),
            "system",
            "dial-stdio",
        ]

    async def open(self) -> tuple[str, aiohttp.BaseConnector]:
        """Begin to listen on the private socket."""
        if await asyncio.to_thread(shutil.which, "ssh") is None:
            raise EngineUnavailableError(
                f"{self.address} needs the program 'ssh', which is not here"
            )
        # Mode 0700: nobody else can reach the socket in it.
        self._directory = await asyncio.to_thread(tempfile.mkdtemp, prefix="fumehood-ssh-")
        path = str(Path(self._directory) / "engine.sock")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.setblocking(False)
            listener.bind(path)
            listener.listen(_BACKLOG)
        except BaseException:
            listener.close()
            raise
        self._server = asyncio.ensure_future(self._serve(listener))
        return "http://docker", aiohttp.UnixConnector(path, limit=0)

    async def _serve(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with listener:
            while True:
                connection, _ = await loop.sock_accept(listener)
                call = asyncio.ensure_future(self._call(connection))
                self._calls.add(call)
                call.add_done_callback(self._calls.discard)

    async def _call(self, connection: socket.socket) -> None:
        with connection:
            # ssh expects blocking standard streams, as a terminal's are.
            connection.setblocking(True)
            both = connection.fileno()
            try:
                process = await asyncio.create_subprocess_exec(
                    *self.command,
                    stdin=both,
                    stdout=both,
                    stderr=asyncio.subprocess.PIPE,
                    # Without a terminal it cannot ask for a password behind our back, and a Ctrl-C
                    # at ours does not cut connections that clean-up still needs.
                    start_new_session=True,
                )
            except OSError as exc:
                self._stderr.add(f"ssh cannot be started: {exc.strerror}\n".encode())
                return
        # From here on only ssh holds the connection: when either side ends, the other sees it.
        assert process.stderr is not None
        try:
            while data := await process.stderr.read(4096):
                self._stderr.add(data)
            status = await process.wait()
            if status != 0:
                _log.debug("ssh to %s ended with status %d", self.address, status)
        finally:
            if process.returncode is None:
                process.terminate()
                await asyncio.shield(asyncio.ensure_future(process.wait()))

    async def diagnosis(self) -> str:
        """Return the end of what ssh printed."""
        if self._calls:
            # The connection breaks a moment before ssh has said why and has ended.
            await asyncio.wait(
                self._calls, timeout=_END_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
        return self._stderr.text().strip()

    async def close(self) -> None:
        """End ssh and remove the socket."""
        server, self._server = self._server, None
        if server is not None:
            server.cancel()
            await asyncio.wait({server})
        if self._calls:
            # The connector is closed, so ssh is about to end by itself.
            _, left = await asyncio.wait(self._calls, timeout=_END_SECONDS)
            for call in left:
                call.cancel()
            if left:
                await asyncio.wait(left)
        directory, self._directory = self._directory, None
        if directory is not None:
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
