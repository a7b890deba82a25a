"""Intercepted TLS in hostile hands: requests for others, servers that are others, keys wanted.

What the server got is known from the server; what went out, from the interpreter: see `outside`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

import pytest

from cases.invariants import memory_mib
from cases.mark import case
from contract.outside import Certificates
from fumehood import Allow, FileError, Network
from fumehood.egress import authority, interception, passage
from fumehood.egress.proxy import MAX_CONNECTIONS
from hostile.arena import KINDS, Arena
from hostile.conftest import OpenArena
from hostile.outside import HERE, Outside, outside

SECRETS = "A rule's headers are nowhere in the container"
TRUST = "TLS that no rule intercepts is between the workload and the server"
SECRET = "Bearer hunter2"
NAMES = ("good.test", "evil.test", "new.test", "*.wild.test")
"""Those that the server has certificates for."""

# Sends each request of a list through a tunnel of its own, in TLS; prints the first line of each
# answer, or why there was no TLS.
ASK = """
import json, socket, ssl, sys
def ask(where, name, request):
    with socket.create_connection(("127.0.0.1", 3128)) as s:
        s.sendall(f"CONNECT {where} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n".encode())
        head = s.recv(4096).split(b"\\r\\n")[0].decode()
        if " 200 " not in head:
            return head
        context = ssl.create_default_context()
        context.check_hostname = False
        got = b""
        try:
            with context.wrap_socket(s, server_hostname=name or None) as t:
                t.sendall(bytes.fromhex(request))
                while piece := t.recv(65536):
                    got += piece
        except OSError as error:
            got = got or type(error).__name__.encode()
        return got.partition(b"\\r\\n")[0].decode("latin-1")
print(json.dumps([ask(*each) for each in json.load(sys.stdin)]))
"""

Tunnelled = tuple[Arena, Outside]
OpenTunnelled = Callable[..., AbstractAsyncContextManager[Tunnelled]]


@functools.cache
def certificates() -> Certificates:
    """Return the certificates of the server outside."""
    return Certificates()


def rules(ca: str, *hosts: str, port: int) -> Network:
    """Return a list that adds the secret for these hosts, on this machine."""
    made = [Allow(h, headers={"Authorization": SECRET}, tls="intercept", ca=ca) for h in hosts]
    return Network.allow(HERE, *made, ports=(port,))


@pytest.fixture
def tunnelled(open_arena: OpenArena, monkeypatch: pytest.MonkeyPatch) -> OpenTunnelled:
    """Return what gives a session with a secret for ``good.test`` and ``*.wild.test``.

    Its server has certificates for all names below .test, or the given ones.
    """

    @contextlib.asynccontextmanager
    async def open_(
        secure: ssl.SSLContext | None = None, ca: str | None = None
    ) -> AsyncIterator[Tunnelled]:
        made = secure or await asyncio.to_thread(certificates().context, *NAMES)
        async with outside(monkeypatch, made) as out:
            for name in (*NAMES, "a.wild.test", "b.wild.test"):
                out.names[name] = itertools.repeat([HERE])
            network = rules(ca or certificates().ca, "good.test", "*.wild.test", port=out.port)
            async with open_arena(KINDS[0], network=network) as arena:
                out.forget()
                yield arena, out
                assert await arena.alive()
                async with asyncio.timeout(60):
                    while arena.session.egress_statistics()["connections"]:
                        await asyncio.sleep(0.02)

    return open_


async def ask(
    arena: Arena, out: Outside, *requests: str, host: str = "good.test", name: str | None = None
) -> list[str]:
    """Send requests through tunnels to a host; return the first lines of the answers."""
    where = f"{host}:{out.port}"
    asked = [(where, host if name is None else name, r.encode("latin-1").hex()) for r in requests]
    result = await arena.session.exec(
        ["python3", "-c", ASK], input=json.dumps(asked), timeout=60, check=True
    )
    answers: list[str] = json.loads(result.stdout)
    return answers


def get(*headers: str, host: str = "good.test", first: str = "GET / HTTP/1.1") -> str:
    return "\r\n".join([first, f"Host: {host}", *headers, "", ""])


def good(out: Outside, *headers: str) -> str:
    return get(*headers, host=f"good.test:{out.port}")


async def served(arena: Arena, out: Outside) -> bool:
    """Whether a good request is still answered, with the secret in it."""
    before = b"".join(await out.noted()).count(SECRET.encode())
    answers = await ask(arena, out, good(out, "Connection: close"))
    after = b"".join(await out.noted()).count(SECRET.encode())
    return answers == ["HTTP/1.1 200 OK"] and after == before + 1


@case("X110", SECRETS)
async def test_no_other_host_of_the_same_server_is_asked_for(tunnelled: OpenTunnelled) -> None:
    async with tunnelled() as (arena, out):
        port = out.port
        others = (
            "evil.test",
            f"evil.test:{port}",
            "good.test",
            "good.test:444",
            f"x@good.test:{port}",
        )
        more = (f"good.test:{port}, evil.test", f"good.test.:{port}x", f"[::1]:{port}", "127.1", "")
        answers = await ask(arena, out, *(get(host=host) for host in others + more))
        assert {answer.split(" ")[1] for answer in answers} <= {"400", "421"}
        targets = (
            f"https://evil.test:{port}/",
            f"http://good.test:{port}/",
            f"evil.test:{port}",
            "x",
        )
        for method in ("GET", "CONNECT", "OPTIONS"):
            lines = (f"{method} {target} HTTP/1.1" for target in targets)
            answers = await ask(
                arena, out, *(good(out).replace("GET / HTTP/1.1", n) for n in lines)
            )
            assert {answer.split(" ")[1] for answer in answers} <= {"400", "405"}
        assert b"".join(await out.noted()) == b""
        assert await served(arena, out)


@case("X111", SECRETS)
async def test_nothing_is_smuggled_behind_a_request_in_a_tunnel(tunnelled: OpenTunnelled) -> None:
    async with tunnelled() as (arena, out):
        steal = get(first="STEAL / HTTP/1.1", host="evil.test")
        chunked = "Transfer-Encoding: chunked"
        requests = [
            good(out) + steal,
            good(out, "Content-Length: 2") + "ab" + steal,
            good(out, "Content-Length: 2", chunked) + "0\r\n\r\n" + steal,
            good(out, "Content-Length: 2", "Content-Length: 60") + "ab" + steal,
            good(out, "Content-Length: 2, 60") + "ab" + steal,
            good(out, chunked) + "2;x=y\r\nab\r\n0\r\nHost: evil.test\r\n\r\n" + steal,
            good(out, chunked) + "2\nab\r\n0\r\n\r\n" + steal,
            good(out, chunked) + "2\r\nabc\r\n0\r\n\r\n" + steal,
            good(out, "Transfer-Encoding: xchunked") + "0\r\n\r\n" + steal,
            good(out, "X: y\r\n Content-Length: 2") + "ab" + steal,
            good(out, "X: y\n" + chunked) + "0\r\n\r\n" + steal,
            good(out, "Connection: content-length", "Content-Length: 2") + "ab" + steal,
            good(out, "Connection: upgrade", "Upgrade: h2c") + steal,
        ]
        await ask(arena, out, *requests)
        for request in await out.noted():
            assert request == b"" or request.startswith(b"GET / HTTP/1.1\r\n")
            assert b"STEAL" not in request
            assert b"evil" not in request
        assert await served(arena, out)


@case("X111", SECRETS)
async def test_no_spelling_of_a_header_puts_another_value_in_its_place(
    tunnelled: OpenTunnelled,
) -> None:
    async with tunnelled() as (arena, out):
        forged = ("Authorization: mine", "AUTHORIZATION: mine", "Connection: authorization")
        trailer = "0\r\nAuthorization: mine\r\n\r\n"
        requests = [good(out, each, "Connection: close") for each in forged]
        requests.append(good(out, "Transfer-Encoding: chunked", "Connection: close") + trailer)
        assert await ask(arena, out, *requests) == ["HTTP/1.1 200 OK"] * 4
        for request in await out.noted():
            assert request.lower().count(b"authorization") == 1
            assert f"Authorization: {SECRET}\r\n".encode() in request


@case("X112", SECRETS)
@pytest.mark.parametrize("fault", ["name", "issuer", "expired", "no TLS"])
async def test_a_server_that_is_not_the_one_it_should_be_gets_nothing(
    tunnelled: OpenTunnelled, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        if fault == "expired":
            patch.setattr(authority, "LIFETIME", timedelta(hours=-1))
        made = await asyncio.to_thread(authority.Authority, ["test"])
    name = "evil.test" if fault == "name" else "good.test"
    server = await asyncio.to_thread(made.server_context, name)
    server.sni_callback = lambda *_: None
    if fault == "no TLS":
        # What it says instead of a certificate is an alert.
        server.minimum_version = server.maximum_version = ssl.TLSVersion.TLSv1_2
        server.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
    ca = None if fault == "issuer" else made.pem.decode()
    async with tunnelled(server, ca) as (arena, out):
        (answer,) = await ask(arena, out, good(out))
        phrase = "Not reachable" if fault == "no TLS" else "Bad certificate"
        assert answer == f"HTTP/1.1 502 {phrase}"
        assert b"".join(await out.noted()) == b""


@case("X113", SECRETS)
async def test_tls_is_for_the_tunnels_name_or_for_none(tunnelled: OpenTunnelled) -> None:
    async with tunnelled() as (arena, out):
        request = get("Connection: close", host=f"a.wild.test:{out.port}")
        for name in ("b.wild.test", "good.test", "evil.test", "test", "a.wild.test.evil"):
            (answer,) = await ask(arena, out, request, host="a.wild.test", name=name)
            assert "Error" in answer
        assert b"".join(await out.noted()) == b""
        for name in ("", "A.wild.test"):
            (answer,) = await ask(arena, out, request, host="a.wild.test", name=name)
            assert answer == "HTTP/1.1 200 OK"
        assert await served(arena, out)


# Opens tunnels, says some bytes in each, and holds all of them until its input ends.
HOLD = """
import json, socket, sys
where, said, count = json.loads(sys.argv[1])
held = []
for n in range(count):
    s = socket.create_connection(("127.0.0.1", 3128))
    s.sendall(f"CONNECT {where} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n".encode() + bytes.fromhex(said))
    held.append(s)
    if len(held) >= 60:
        held.pop(0).close()
print("held", flush=True)
sys.stdin.read()
"""


@case("X114", SECRETS)
@pytest.mark.parametrize(
    "said",
    [
        b"\x16\x03\x01\x40\x00\x01" + bytes(99),
        pytest.param(b"", marks=pytest.mark.slow),
        pytest.param(b"\x16\x03\x01\x02", marks=pytest.mark.slow),
    ],
)
async def test_a_handshake_that_never_ends_holds_nobody_up_for_long(
    tunnelled: OpenTunnelled, said: bytes
) -> None:
    async with tunnelled() as (arena, out):
        what = json.dumps([f"good.test:{out.port}", said.hex(), 200])
        # Soon for these: not for one that means it, which may be slow on a busy machine.
        with pytest.MonkeyPatch.context() as soon:
            soon.setattr(passage, "HANDSHAKE_SECONDS", 1.0)
            process = await arena.session.start_process(["python3", "-c", HOLD, what], stdin=True)
            async with asyncio.timeout(90):
                while arena.session.egress_statistics()["served"] < 200:
                    assert (await arena.session.exec(["true"], timeout=20)).ok
                    assert arena.session.egress_statistics()["connections"] <= MAX_CONNECTIONS
        await process.stop(grace=0)
        assert await served(arena, out)


# Shakes hands for one name after the other, and breaks off.
SHAKE = """
import socket, ssl, sys
port, count = sys.argv[1:]
context = ssl.create_default_context()
for n in range(int(count)):
    name = f"n{n}.wild.test"
    with socket.create_connection(("127.0.0.1", 3128)) as s:
        s.sendall(f"CONNECT {name}:{port} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n".encode())
        assert b" 200 " in s.recv(4096)
        with context.wrap_socket(s, server_hostname=name):
            pass
"""


@case("X115", SECRETS)
@pytest.mark.parametrize("count", [150, pytest.param(3000, marks=pytest.mark.slow)])
async def test_names_and_handshakes_without_end_leave_nothing(
    tunnelled: OpenTunnelled, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(interception, "MAX_CONTEXTS", 32)
    kept: list[int] = []
    real = interception.Interception.inside

    async def inside(self: interception.Interception, host: str) -> ssl.SSLContext:
        made = await real(self, host)
        kept.append(self.statistics()["hosts"])
        return made

    monkeypatch.setattr(interception.Interception, "inside", inside)
    async with tunnelled() as (arena, out):
        for n in range(count):
            out.names[f"n{n}.wild.test"] = itertools.repeat([HERE])
        before = memory_mib()
        argv = ["python3", "-c", SHAKE, str(out.port), str(count)]
        done = await arena.session.exec(argv, timeout=240)
        assert done.ok, done.stderr
        assert len(kept) == count
        assert max(kept) == 32
        # The server, with a certificate for each, is in this process too.
        assert memory_mib() - before < 48 + count // 20
        assert await served(arena, out)


@case("X116", SECRETS)
async def test_a_server_that_answers_with_anything_but_an_answer_harms_nobody_in_a_tunnel(
    tunnelled: OpenTunnelled,
) -> None:
    ok = b"HTTP/1.1 200 OK\r\n"
    answers = {
        b"": "502",
        b"\x00" * 1000: "502",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n": "502",
        ok + b"X: " + b"y" * (1 << 20): "502",
        ok + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n": "502",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 1000: "502",
        ok + b"Content-Length: 9\r\n\r\nab": "200",
        ok + b"Content-Length: 2\r\n\r\nab" + ok * 100: "200",
        ok + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n": "200",
    }
    async with tunnelled() as (arena, out):

        async def lie(data: bytes, _: object, writer: asyncio.StreamWriter) -> None:
            writer.write(list(answers)[int(data.split(b" ")[1][1:])])
            await writer.drain()
            writer.close()

        out.serve = lie
        asked = [good(out).replace("GET /", f"GET /{n}") for n in range(len(answers))]
        found = await ask(arena, out, *asked)
        assert [line.split(" ")[1] for line in found] == list(answers.values())
        out.serve = None
        assert await served(arena, out)


async def intercept_another(arena: Arena, out: Outside) -> None:
    """Let the session have a certificate of another authority, for one more host."""
    hosts = ("good.test", "*.wild.test", "new.test")
    await arena.session.set_network(rules(certificates().ca, *hosts, port=out.port))


async def another_is_served(arena: Arena, out: Outside) -> bool:
    """Whether the one more host answers, by a certificate that the session trusts."""
    request = get("Connection: close", host=f"new.test:{out.port}")
    return await ask(arena, out, request, host="new.test") == ["HTTP/1.1 200 OK"]


# What may stand where a certificate is to be put.
TRAPS = [
    "mkdir -p ca.pem/x",
    "ln -s /etc/passwd ca.pem",
    "rmdir /dev/shm/fumehood && touch /dev/shm/fumehood",
    *(
        pytest.param(trap, marks=pytest.mark.slow)
        for trap in (
            "mkfifo ca.pem",
            "ln -s /etc/passwd ca-bundle.pem",
            "rmdir /dev/shm/fumehood && ln -s /proc/1 /dev/shm/fumehood",
        )
    ),
]


@case("X117", TRUST)
@pytest.mark.parametrize("trap", TRAPS)
async def test_a_trap_in_the_certificates_place_is_replaced_or_an_error(
    tunnelled: OpenTunnelled, trap: str
) -> None:
    async with tunnelled() as (arena, out):
        before = await arena.session.read_file("etc/passwd", root="/")
        await arena.session.shell(f"cd /dev/shm/fumehood && rm -f *.pem && {trap}", check=True)
        with contextlib.suppress(FileError):
            await intercept_another(arena, out)
        assert await arena.session.read_file("etc/passwd", root="/") == before
        # Nothing half-made is left of it either.
        drafts = ["find", "/dev/shm", "-name", "*.pem.*"]
        assert (await arena.session.exec(drafts, check=True)).stdout == ""
        await arena.session.shell("rm -rf /dev/shm/fumehood", check=True)
        await arena.session.set_network(Network.allow(HERE, ports=(out.port,)))
        hosts = ("good.test", "new.test", "last.test")
        await arena.session.set_network(rules(certificates().ca, *hosts, port=out.port))
        assert await another_is_served(arena, out)


ROOTS = "/etc/ssl/certs/ca-certificates.crt"


@case("X118", TRUST)
@pytest.mark.parametrize(
    "made",
    [
        "mkfifo",
        "ln -s /dev/zero",
        *(
            pytest.param(made, marks=pytest.mark.slow)
            for made in ("ln -s /proc/kmsg", "truncate -s 5G", "mkdir", "ln -sr .")
        ),
    ],
)
async def test_roots_that_are_none_are_left_alone(tunnelled: OpenTunnelled, made: str) -> None:
    async with tunnelled() as (arena, out):
        before = memory_mib()
        await arena.session.shell(f"rm -f {ROOTS}; cd /etc/ssl; {made} {ROOTS}", check=True)
        await intercept_another(arena, out)
        assert await another_is_served(arena, out)
        assert memory_mib() - before < 32


# Says what it is given in a tunnel, and prints how it began to be answered.
RAW = """
import json, socket, sys
where, *said = json.load(sys.stdin)
for each in said:
    with socket.create_connection(("127.0.0.1", 3128)) as s:
        s.sendall(f"CONNECT {where} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n".encode())
        s.sendall(bytes.fromhex(each))
        s.shutdown(socket.SHUT_WR)
        got = b""
        try:
            while piece := s.recv(65536):
                got += piece
        except OSError:
            pass
        print(got.partition(b"\\r\\n\\r\\n")[2][:1].hex() or "-")
"""


@case("X119", SECRETS)
async def test_what_is_no_tls_in_a_tunnel_goes_nowhere(tunnelled: OpenTunnelled) -> None:
    async with tunnelled() as (arena, out):
        said = [
            good(out).encode(),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"SSH-2.0-OpenSSH\r\n",
            bytes(1000),
            b"\x16\x03\x01\xff\xff" + bytes(70_000),
            b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
            b"\x80\x2e\x01\x00\x02" + bytes(44),
            b"\x15\x03\x01\x00\x02\x02\x28",
            b"",
        ]
        what = json.dumps([f"good.test:{out.port}", *(each.hex() for each in said)])
        done = await arena.session.exec(["python3", "-c", RAW], input=what, timeout=60, check=True)
        # An alert of TLS, or nothing: no answer of a server's.
        assert set(done.stdout.split()) <= {"15", "-"}
        assert b"".join(await out.noted()) == b""
        assert await served(arena, out)


@case("X119", SECRETS)
async def test_a_secret_for_tls_is_never_sent_in_the_clear(
    open_arena: OpenArena, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passage, "HANDSHAKE_SECONDS", 1.0)
    async with outside(monkeypatch) as out:
        out.names["good.test"] = itertools.repeat([HERE])
        network = rules(certificates().ca, "good.test", port=out.port)
        async with open_arena(KINDS[0], network=network) as arena:
            url = f"http://good.test:{out.port}/"
            assert (await arena.session.exec(["curl", "-sS", url], check=True)).stdout == "hello"
            tunnel = await arena.session.exec(["curl", "-sSp", url])
            assert "504" in tunnel.stderr
        assert len(await out.noted()) == 2
        assert out.requests[0].startswith(b"GET / HTTP/1.1\r\n")
        assert b"GET" not in out.requests[1]
        assert SECRET.encode() not in b"".join(await out.noted())
