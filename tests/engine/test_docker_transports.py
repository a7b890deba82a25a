"""The ways to a real engine: TLS with certificates of both sides, and ssh."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import ssl
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine.conftest import MakeRequest
from engine.peer import SECONDS, Peer, eventually
from fumehood.engines.docker import DockerEngine
from fumehood.errors import EngineUnavailableError

SOCKET = "/var/run/docker.sock"


@dataclass(frozen=True)
class Authority:
    """Certificates in files: of an authority, of a server and of a client."""

    directory: Path

    def client(self, where: Path, *, ca: Path | None = None) -> Path:
        """Put a client's files where docker looks for them."""
        where.mkdir(parents=True, exist_ok=True)
        (where / "ca.pem").write_bytes((ca or self.directory / "ca.pem").read_bytes())
        for name in ("cert", "key"):
            (where / f"{name}.pem").write_bytes(
                (self.directory / f"client-{name}.pem").read_bytes()
            )
        return where

    def server(self) -> ssl.SSLContext:
        context = ssl.create_default_context(
            ssl.Purpose.CLIENT_AUTH, cafile=str(self.directory / "ca.pem")
        )
        context.load_cert_chain(
            str(self.directory / "server-cert.pem"), str(self.directory / "server-key.pem")
        )
        context.verify_mode = ssl.CERT_REQUIRED
        return context


def make_authority(directory: Path) -> Authority:
    """Make keys and certificates with openssl."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl(
        "req", "-x509", *new_key, "-keyout", "ca-key.pem", "-out", "ca.pem", "-days", "2",
        "-subj", "/CN=authority of the tests",
    )  # fmt: skip
    for name, extension in (("server", "subjectAltName=IP:127.0.0.1"), ("client", "")):
        (directory / f"{name}.ext").write_text(extension)
        openssl(
            "req", *new_key, "-keyout", f"{name}-key.pem", "-out", f"{name}.csr",
            "-subj", f"/CN={name}",
        )  # fmt: skip
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca-key.pem",
            "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}-cert.pem",
        )  # fmt: skip
    return Authority(directory)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("other"))


@asynccontextmanager
async def tls_front(authority: Authority) -> AsyncIterator[str]:
    """Put a TLS server that wants a client's certificate in front of the engine's socket."""
    calls: set[asyncio.Task[None]] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        calls.add(task)
        engine_reader, engine_writer = await asyncio.open_unix_connection(SOCKET)
        await asyncio.gather(copy(reader, engine_writer), copy(engine_reader, writer))
        calls.discard(task)

    server = await asyncio.start_server(call, "127.0.0.1", 0, ssl=authority.server())
    try:
        yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in calls:
            task.cancel()
        if calls:
            await asyncio.wait(calls)


async def use(engine: DockerEngine, make_request: MakeRequest) -> None:
    """Do what needs each kind of connection: calls, a stream both ways, a relay, a removal."""
    request = make_request()
    peer = Peer(await engine.create_session(request))
    assert await peer.ask("echo over there") == "over there"
    size = 3_000_000
    peer.stream.write(f"out {size}\n".encode())
    assert (
        hashlib.sha256(await peer.take(size)).digest()
        == hashlib.sha256((bytes(range(251)) * (size // 251 + 1))[:size]).digest()
    )
    peer.stream.write(f"sink {size}\n".encode())
    for _ in range(size // 100_000):
        peer.stream.write(b"i" * 100_000)
        await peer.stream.drain()
    assert await peer.line() == b"sunk"
    container = await engine.find_session(request.session_id)
    assert container is not None
    relay = Peer(await engine.open_relay(container))
    relay.stream.write(b"relayed\n")
    assert await relay.line() == b"relayed"
    await relay.stream.close()
    # The end of our stream reaches PID 1 over there: it goes by itself.
    await peer.stream.close()

    async def gone() -> bool:
        return await engine.find_session(request.session_id) is None

    await eventually(gone)
    await engine.remove_session(request.session_id)


# --- TLS ------------------------------------------------------------------------------------------


async def test_sessions_over_tls_with_the_certificates_of_the_environment(
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_request: MakeRequest,
) -> None:
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(authority.client(tmp_path / "certs")))
    async with tls_front(authority) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        engine = DockerEngine()
        await use(engine, make_request)
        assert engine.address == f"{address} with TLS"
        await engine.close()


async def test_sessions_over_tls_with_the_certificates_of_a_context(
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_request: MakeRequest,
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONTEXT", "remote")
    digest = hashlib.sha256(b"remote").hexdigest()
    authority.client(tmp_path / "contexts" / "tls" / digest / "docker")
    meta = tmp_path / "contexts" / "meta" / digest
    meta.mkdir(parents=True)
    async with tls_front(authority) as address:
        (meta / "meta.json").write_text(
            json.dumps({"Name": "remote", "Endpoints": {"docker": {"Host": address}}})
        )
        engine = DockerEngine()
        await use(engine, make_request)
        await engine.close()


@pytest.mark.parametrize("whose", ["server", "client"])
async def test_certificates_of_another_authority_are_refused_on_either_side(
    authority: Authority,
    other_authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whose: str,
) -> None:
    ours = authority.directory / "ca.pem"
    directory = (
        authority.client(tmp_path, ca=other_authority.directory / "ca.pem")
        if whose == "server"
        else other_authority.client(tmp_path, ca=ours)
    )
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(directory))
    async with tls_front(authority) as address:
        engine = DockerEngine(address)
        with pytest.raises(EngineUnavailableError) as caught:
            await engine.info()
        if whose == "server":
            assert "check the certificates" in str(caught.value)
        await engine.close()


async def test_without_verification_any_server_will_do(
    authority: Authority,
    other_authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCKER_TLS", "1")
    directory = authority.client(tmp_path, ca=other_authority.directory / "ca.pem")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(directory))
    async with tls_front(authority) as address:
        engine = DockerEngine(address)
        assert (await engine.info()).name == "docker"
        await engine.close()


async def test_certificates_that_are_none_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.pem").write_text("nonsense")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    engine = DockerEngine("tcp://127.0.0.1:2376")
    with pytest.raises(EngineUnavailableError, match=r"ca\.pem"):
        await engine.info()
    await engine.close()


# --- ssh ------------------------------------------------------------------------------------------

# Stands in for ssh and for `docker system dial-stdio` on the other machine.
FAKE_SSH = """
    #!{python}
    import json, os, socket, sys, threading

    with open({log!r}, "a") as log:
        log.write(json.dumps([os.getpid(), *sys.argv[1:]]) + "\\n")
    if "refused.example" in sys.argv:
        sys.exit("me@refused.example: Permission denied (publickey).\\x1b[2J")
    engine = socket.socket(socket.AF_UNIX)
    engine.connect({socket!r})

    def inward():
        while data := os.read(0, 65536):
            engine.sendall(data)
        engine.shutdown(socket.SHUT_WR)

    threading.Thread(target=inward, daemon=True).start()
    while data := engine.recv(65536):
        while data:
            data = data[os.write(1, data):]
"""


@pytest.fixture
def ssh_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[list[Any]]]:
    """Put the fake on the path; returns what it was called with, process ids first."""
    log = tmp_path / "calls"
    program = tmp_path / "ssh"
    program.write_text(
        textwrap.dedent(FAKE_SSH)
        .lstrip()
        .format(python=sys.executable, log=str(log), socket=SOCKET)
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return lambda: [json.loads(line) for line in log.read_text().splitlines()]


def processes_of(calls: list[list[Any]]) -> list[int]:
    return [call[0] for call in calls if Path(f"/proc/{call[0]}").exists()]


async def test_sessions_over_ssh(
    ssh_calls: Callable[[], list[list[Any]]], make_request: MakeRequest
) -> None:
    engine = DockerEngine("ssh://me@elsewhere:2222")
    await use(engine, make_request)
    await engine.close()
    calls = ssh_calls()
    assert {" ".join(call[1:]) for call in calls} == {
        "-l me -p 2222 -o ConnectTimeout=30 -T -- elsewhere docker system dial-stdio"
    }
    assert processes_of(calls) == []


async def test_what_ssh_says_is_in_the_error(ssh_calls: Callable[[], list[list[Any]]]) -> None:
    engine = DockerEngine("ssh://me@refused.example")
    with pytest.raises(EngineUnavailableError, match=r"Permission denied \(publickey\)") as caught:
        await engine.info()
    assert "ssh://me@refused.example" in str(caught.value)
    assert "\x1b" not in str(caught.value)
    await engine.close()


async def test_a_machine_without_ssh_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    engine = DockerEngine("ssh://elsewhere")
    with pytest.raises(EngineUnavailableError, match="needs the program 'ssh'"):
        await engine.info()
    await engine.close()


async def test_closing_ends_every_ssh_and_removes_the_socket(
    ssh_calls: Callable[[], list[list[Any]]], make_request: MakeRequest
) -> None:
    engine = DockerEngine("ssh://elsewhere")
    request = make_request()
    await engine.create_session(request)
    endpoint: Any = engine._api._endpoint
    directory: str = endpoint._directory
    assert os.stat(directory).st_mode & 0o777 == 0o700  # noqa: PTH116
    assert processes_of(ssh_calls())
    async with asyncio.timeout(SECONDS):
        await engine.close()
    assert processes_of(ssh_calls()) == []
    assert not os.path.exists(directory)  # noqa: ASYNC240, PTH110
