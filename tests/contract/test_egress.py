"""Egress by allow-list: what goes through, what does not, and what is told of it."""

from __future__ import annotations

import asyncio
import http.server
import logging
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from contract.adapter import Api
from contract.scripted_egress import GET, TUNNEL
from fumehood import (
    Allow,
    AsyncSession,
    EgressEvent,
    EgressReason,
    Hooks,
    InvalidRequestError,
    Lifecycle,
    Network,
    Pool,
    PortError,
)
from fumehood.egress import dial

MEMORY = pytest.mark.engines("docker", "memory")
SECRET = "Bearer hunter2"
KEY = "hunter3"


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "http://elsewhere.test/")
            self.end_headers()
        elif self.path == "/headers":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(repr(self.headers.items()).encode())
        else:
            super().do_GET()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"%d bytes" % len(body))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """A directory and the port of this machine's loopback where it is served."""
    root = tmp_path_factory.mktemp("served")
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *args: _Handler(*args, directory=str(root))
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield root, server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names below .test are this machine's loopback; nothing else is resolved."""
    real = dial.lookup

    def lookup(name: str, port: int) -> list[dial.Place]:
        if not name.endswith(".test"):
            raise OSError("no such name")
        return real("127.0.0.1", port)

    monkeypatch.setattr(dial, "lookup", lookup)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def told() -> list[EgressEvent]:
    """What the hook was told."""
    return []


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def proxied(
    api: Api, served: tuple[Path, int], told: list[EgressEvent]
) -> AsyncIterator[AsyncSession]:
    """A session that may reach the server by its address and by a few names."""
    async with (
        api.sandbox(network=allowed(served[1]), hooks=Hooks(on_egress=told.append)) as sandbox,
        sandbox.create_session(id=api.new_id()) as session,
    ):
        yield session


def allowed(port: int) -> Network:
    """What the session is made with."""
    secret = Allow("secret.test", headers={"Authorization": SECRET})
    here = Allow("127.0.0.1", headers={"X-Key": KEY})
    return Network.allow(here, "good.test", "*.wild.test", secret, ports=(port,))


def decided(told: list[EgressEvent]) -> list[EgressEvent]:
    """Return the decisions, without the ends of connections: those may come late."""
    return [event for event in told if not event.ended]


async def get(session: AsyncSession, url: str) -> str:
    """Return what a request from inside gets; also loopback goes through the proxy."""
    result = await session.exec(
        ["python3", "-c", GET, url], env={"no_proxy": "", "NO_PROXY": ""}, check=True
    )
    return result.stdout


@MEMORY
async def test_what_is_named_is_reached_and_told_of(
    proxied: AsyncSession, served: tuple[Path, int], told: list[EgressEvent]
) -> None:
    root, port = served
    (root / "page").write_text("hello from outside")
    for host, rule in (("good.test", "good.test"), ("a.b.wild.test", "*.wild.test")):
        told.clear()
        assert await get(proxied, f"http://{host}:{port}/page") == "200 hello from outside\n"
        (event,) = decided(told)
        assert event.allowed
        assert (event.host, event.port, event.rule) == (host, port, rule)
        assert (event.method, event.address) == ("GET", "127.0.0.1")
    assert await get(proxied, f"http://127.0.0.1:{port}/page") == "200 hello from outside\n"
    assert proxied.effective_limits.network == "allow"
    assert proxied.egress_statistics()["served"] >= 3


@MEMORY
@pytest.mark.parametrize(
    "url,reason",
    [
        ("http://elsewhere.test/", EgressReason.NOT_LISTED),
        ("http://wild.test/", EgressReason.NOT_LISTED),
        ("http://good.test:1/", EgressReason.PORT),
        ("http://169.254.169.254/latest/meta-data/", EgressReason.PRIVATE_ADDRESS),
    ],
)
async def test_what_is_not_named_is_refused_with_a_reason(
    proxied: AsyncSession, told: list[EgressEvent], url: str, reason: EgressReason
) -> None:
    told.clear()
    answer = await get(proxied, url)
    assert answer.startswith("403 fumehood: ")
    assert "allowed here: 127.0.0.1" in answer
    assert [(event.allowed, event.reason) for event in decided(told)] == [(False, reason)]


@MEMORY
async def test_a_redirect_is_a_request_like_any_other(
    proxied: AsyncSession, served: tuple[Path, int]
) -> None:
    answer = await get(proxied, f"http://good.test:{served[1]}/redirect")
    assert answer.startswith("403 fumehood: elsewhere.test is not allowed")


@MEMORY
async def test_a_rules_headers_go_to_its_host_and_to_no_other(
    proxied: AsyncSession, served: tuple[Path, int]
) -> None:
    assert SECRET in await get(proxied, f"http://secret.test:{served[1]}/headers")
    assert SECRET not in await get(proxied, f"http://good.test:{served[1]}/headers")
    # Asked for as an address, and not by a name that leads there.
    assert KEY in await get(proxied, f"http://127.0.0.1:{served[1]}/headers")
    assert KEY not in await get(proxied, f"http://secret.test:{served[1]}/headers")
    environment = (await proxied.exec(["env"], check=True)).stdout
    assert "http_proxy=http://127.0.0.1:3128" in environment
    assert SECRET not in environment


async def test_each_decision_is_a_line_and_what_went_through_is_counted(
    proxied: AsyncSession,
    served: tuple[Path, int],
    told: list[EgressEvent],
    caplog: pytest.LogCaptureFixture,
) -> None:
    _, port = served
    await idle(proxied)
    told.clear()
    before = proxied.egress_statistics()
    body = bytes(300_000)

    async def post(where: str, *options: str) -> str:
        argv = ["curl", "-sS", "--noproxy", "", *options, "--data-binary", "@-", f"http://{where}/"]
        return (await proxied.exec(argv, input=body, check=True)).stdout

    with caplog.at_level(logging.INFO, logger="fumehood.egress"):
        assert await post(f"secret.test:{port}") == "300000 bytes"
        assert await post(f"good.test:{port}", "--proxytunnel") == "300000 bytes"
        assert (await post(f"[::1]:{port}")).startswith("fumehood: ::1 is an address")
        await idle(proxied)
    ended = {event.host: event for event in told if event.ended}
    plain, tunnel = ended["secret.test"], ended["good.test"]
    assert (plain.bytes_up, plain.bytes_down) == (300_000, len("300000 bytes"))
    # Of a tunnel all that was in it, the heads too.
    assert tunnel.method == "CONNECT"
    assert 300_000 < tunnel.bytes_up < 301_000
    assert len("300000 bytes") < tunnel.bytes_down < 1000
    after = proxied.egress_statistics()
    for name in ("bytes_up", "bytes_down"):
        both = getattr(plain, name) + getattr(tunnel, name)
        assert after[name] - before[name] == both
    lines = [r.getMessage() for r in caplog.records if r.name == "fumehood.egress"]
    about = f"session {proxied.id}: "
    assert f"{about}POST secret.test:{port} allowed by secret.test (127.0.0.1)" in lines
    counted = f"{about}POST secret.test:{port} ended (allowed): 300000 bytes up, 12 down, "
    assert [line for line in lines if line.startswith(counted)] != []
    assert f"{about}CONNECT good.test:{port} allowed by good.test (127.0.0.1)" in lines
    assert f"{about}POST [::1]:{port} refused: private_address" in lines
    assert SECRET not in "".join(lines)


async def idle(session: AsyncSession) -> None:
    """Wait until the proxy serves nobody: the ends of all connections have been told."""
    async with asyncio.timeout(60):
        while session.egress_statistics()["connections"]:
            await asyncio.sleep(0.01)


def make_repository(root: Path) -> None:
    """Make ``repo.git`` with one commit, to be served as files."""
    work, bare = root / "work", root / "repo.git"
    if bare.exists():
        return
    run = ["git", "-c", "user.name=t", "-c", "user.email=t@t.test", "-C", str(work)]
    for argv in (
        ["git", "init", "-q", str(work)],
        [*run, "commit", "-q", "--allow-empty", "-m", "over the tether"],
        ["git", "clone", "-q", "--bare", str(work), str(bare)],
        ["git", "-C", str(bare), "update-server-info"],
    ):
        subprocess.run(argv, check=True)


async def test_git_clones_through_it(proxied: AsyncSession, served: tuple[Path, int]) -> None:
    root, port = served
    make_repository(root)
    await proxied.exec(
        ["git", "clone", "-q", f"http://good.test:{port}/repo.git", "clone"], check=True
    )
    log = await proxied.exec(["git", "-C", "clone", "log", "--format=%s"], check=True)
    assert log.stdout == "over the tether\n"


@MEMORY
async def test_a_name_that_leads_to_a_private_address_is_refused(
    api: Api, served: tuple[Path, int]
) -> None:
    network = Network.allow("good.test", ports=(served[1],))
    told: list[EgressEvent] = []
    async with (
        api.sandbox(network=network, hooks=Hooks(on_egress=told.append)) as sandbox,
        sandbox.create_session(id=api.new_id()) as session,
    ):
        answer = await get(session, f"http://good.test:{served[1]}/")
        assert answer.startswith("403 fumehood: good.test leads to an address that is not public")
        # Which one is for the owner, who may name it; not for the session.
        assert "127.0.0.1" not in answer
    assert [event.address for event in told] == ["127.0.0.1"]


@MEMORY
async def test_the_network_changes_while_it_runs(api: Api, served: tuple[Path, int]) -> None:
    port = served[1]
    async with (
        api.sandbox(network=allowed(port)) as sandbox,
        sandbox.create_session(id=api.new_id()) as session,
    ):
        stream = session.exec_stream(["python3", "-c", TUNNEL, f"good.test:{port}"])
        assert "200" in getattr(await anext(stream), "text", "")
        await session.set_network(Network.none())
        # It was cut off, and not ended.
        assert getattr(await anext(stream), "text", "") == "reset\n"
        await stream.aclose()
        assert (await get(session, f"http://good.test:{port}/")).startswith("403")
        await session.set_network(allowed(port))
        assert (await get(session, f"http://good.test:{port}/")).startswith("200")
        async with sandbox.connect(session.id) as joined:
            with pytest.raises(PortError, match="another client"):
                await joined.set_network(allowed(port))
        with pytest.raises(InvalidRequestError, match="only to"):
            await session.set_network(Network.bridge())


@MEMORY
async def test_a_session_that_was_made_without_a_network_gets_none(session: AsyncSession) -> None:
    with pytest.raises(InvalidRequestError, match=r"was made with Network\.none"):
        await session.set_network(Network.allow("example.org"))
    assert session.egress_statistics() == dict.fromkeys(
        ("connections", "served", "bytes_up", "bytes_down"), 0
    )


# --- sessions that are made of another one, or waited before they were asked for ------------------


@MEMORY
async def test_a_session_that_waited_in_a_pool_has_its_network(
    api: Api, served: tuple[Path, int]
) -> None:
    _, port = served
    async with api.sandbox(
        network=allowed(port), pool=Pool(min_idle=1, max_idle=1), lifecycle=Lifecycle(ttl=300)
    ) as sandbox:
        await sandbox.warm_up()
        async with sandbox.create_session(id=api.new_id()) as session:
            assert session.start is not None
            assert session.start.kind == "warm"
            assert SECRET in await get(session, f"http://secret.test:{port}/headers")
            assert (await get(session, "http://elsewhere.test/")).startswith("403")


async def test_a_session_comes_back_with_its_network(api: Api, served: tuple[Path, int]) -> None:
    _, port = served
    network = Network.allow("good.test", "127.0.0.1", ports=(port,))
    async with api.sandbox(network=network) as sandbox, api.sandbox() as another:
        session = await sandbox.create_session(id=api.new_id())
        await session.stop()
        async with another.resume(session.id) as again:
            assert (await get(again, f"http://good.test:{port}/")).startswith("200")
            (fork,) = await again.fork()
            async with fork:
                assert (await get(fork, f"http://good.test:{port}/")).startswith("200")
                assert (await get(fork, "http://elsewhere.test/")).startswith("403")


async def test_headers_that_were_not_noted_come_from_whoever_brings_the_session_back(
    api: Api, served: tuple[Path, int]
) -> None:
    _, port = served
    async with (
        api.sandbox(network=allowed(port)) as sandbox,
        api.sandbox() as without,
        api.sandbox(network=allowed(port)) as other,
    ):
        session = await sandbox.create_session(id=api.new_id())
        (fork,) = await session.fork()
        async with fork:
            assert SECRET in await get(fork, f"http://secret.test:{port}/headers")
        await session.stop()
        with pytest.raises(InvalidRequestError, match=r"sandbox whose Network\.allow has them"):
            await without.resume(session.id)
        # It was not lost by that.
        async with other.resume(session.id) as again:
            assert SECRET in await get(again, f"http://secret.test:{port}/headers")
