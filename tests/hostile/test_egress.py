"""Egress in hostile hands: requests that lie, names that lead elsewhere, connections without end.

What went out is not asked of the proxy: `outside` knows from the interpreter itself what this
process has connected to, and has every byte that came to the one server there is.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from cases.invariants import memory_mib
from cases.mark import case
from cases.spellings import LOOPBACK, METADATA
from fumehood import Allow, Network
from fumehood.egress import exchange, passage
from fumehood.egress.heads import MAX_HEAD
from fumehood.egress.proxy import MAX_CONNECTIONS
from hostile.arena import KINDS, Arena
from hostile.conftest import OpenArena
from hostile.outside import HERE, Outside, outside

WALL = "With `Network.allow`, a session reaches allowed hosts"

# Sends each request of a list on a connection of its own; prints the first line of each answer.
ASK = """
import json, socket, sys
def ask(request):
    with socket.create_connection(("127.0.0.1", 3128)) as s:
        got = b""
        try:
            s.sendall(bytes.fromhex(request))
            while piece := s.recv(65536):
                got += piece
        except OSError as error:
            got = got or type(error).__name__.encode()
        return got.partition(b"\\r\\n")[0].decode("latin-1")
print(json.dumps([ask(request) for request in json.load(sys.stdin)]))
"""
FOLLOW = """
import sys, urllib.error, urllib.request
for url in sys.argv[1:]:
    try:
        print(urllib.request.urlopen(url).status)
    except urllib.error.HTTPError as error:
        print(error.code)
"""

Walled = tuple[Arena, Outside]
OpenWalled = Callable[..., AbstractAsyncContextManager[Walled]]


async def idle(arena: Arena) -> None:
    """Wait until the proxy serves nobody."""
    async with asyncio.timeout(60):
        while arena.session.egress_statistics()["connections"]:
            await asyncio.sleep(0.02)


@pytest.fixture
def walled(open_arena: OpenArena, monkeypatch: pytest.MonkeyPatch) -> OpenWalled:
    """Return what gives a session that may reach ``good.test`` and more rules, and its outside."""

    @contextlib.asynccontextmanager
    async def open_(*rules: str | Allow) -> AsyncIterator[Walled]:
        async with outside(monkeypatch) as out:
            out.names["good.test"] = itertools.repeat([HERE])
            network = Network.allow("good.test", *rules, ports=(out.port, 80))
            async with open_arena(KINDS[0], network=network) as arena:
                out.forget()
                yield arena, out
                # Whatever the case was: the session does what it is for, and so does its proxy.
                assert await arena.alive()
                await idle(arena)

    return open_


async def ask(arena: Arena, *requests: str | bytes) -> list[str]:
    """Send requests from inside, one after the other; return the first lines of the answers."""
    raw = [r if isinstance(r, bytes) else r.encode() for r in requests]
    result = await arena.session.exec(
        ["python3", "-c", ASK],
        input=json.dumps([request.hex() for request in raw]).encode(),
        timeout=60,
        check=True,
    )
    answers: list[str] = json.loads(result.stdout)
    assert len(answers) == len(requests)
    return answers


def get(host: str, *headers: str) -> str:
    return "\r\n".join([f"GET http://{host}/ HTTP/1.1", "Host: x", *headers, "", ""])


def connect(where: str) -> str:
    return f"CONNECT {where} HTTP/1.1\r\nHost: x\r\n\r\n"


def refused(answer: str) -> bool:
    return answer.split(" ")[1:2] in (["400"], ["403"], ["405"], ["431"], ["501"], ["505"])


async def served(arena: Arena, out: Outside) -> bool:
    """Whether a request to what is allowed is still answered."""
    return await ask(arena, get(f"good.test:{out.port}")) == ["HTTP/1.1 200 OK"]


@case("H50", WALL)
async def test_no_spelling_of_a_private_address_leads_anywhere(walled: OpenWalled) -> None:
    async with walled("example.org", "*.example.org") as (arena, out):
        out.names["example.org"] = itertools.repeat([HERE])
        requests = []
        for host in METADATA + LOOPBACK:
            requests += [get(host), get(f"{host}:{out.port}"), connect(f"{host}:{out.port}")]
        answers = await ask(arena, *requests)
        passed = [r for r, a in zip(requests, answers, strict=True) if not refused(a)]
        assert passed == []
        assert (out.dialled, out.asked) == ([], [])


@case("H50", WALL)
async def test_the_host_of_a_request_is_its_targets_whatever_else_it_says(
    walled: OpenWalled,
) -> None:
    async with walled(HERE) as (arena, out):
        good = f"http://good.test:{out.port}/"
        lie = "169.254.169.254"
        for headers in (
            f"Host: {lie}",
            f"Host: good.test\r\nX-Forwarded-Host: {lie}\r\nForwarded: host={lie}",
            "Host: x\r\nConnection: host, close",
        ):
            (answer,) = await ask(arena, f"GET {good} HTTP/1.1\r\n{headers}\r\n\r\n")
            assert answer == "HTTP/1.1 200 OK"
        assert set(out.dialled) == {(HERE, out.port)}
        for request in await out.noted():
            assert request.lower().count(b"\nhost:") == 1
            assert f"Host: good.test:{out.port}\r\n".encode() in request


@case("X94", WALL)
async def test_a_request_that_is_not_one_goes_nowhere(walled: OpenWalled) -> None:
    async with walled(HERE) as (arena, out):
        good = f"good.test:{out.port}"
        url = f"http://{good}/"
        many = [f"X-{n}: y" for n in range(20_000)]
        bad: list[str | bytes] = [
            # Not a proxy's request at all.
            "GET / HTTP/1.1\r\nHost: good.test\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: good.test\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            f"GET {url}\r\n\r\n",
            f"GET {url} HTTP/2.0\r\nHost: x\r\n\r\n",
            f"GET  {url} HTTP/1.1\r\nHost: x\r\n\r\n",
            f"GET\t{url}\tHTTP/1.1\r\nHost: x\r\n\r\n",
            f"GET {url} x HTTP/1.1\r\nHost: x\r\n\r\n",
            f"G@T {url} HTTP/1.1\r\nHost: x\r\n\r\n",
            f"TRACE {url} HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            b"\x05\x01\x00\r\n\r\n",
            *(f"GET {s}://{good}/ HTTP/1.1\r\nHost: x\r\n\r\n" for s in ("https", "ftp", "file")),
            # Bytes and line ends that somebody else would read in another way.
            f"GET http://good.test\0.evil.test:{out.port}/ HTTP/1.1\r\nHost: x\r\n\r\n",
            get(good, "X: a\0b"),
            get(good, "X: a\nHost: y"),
            get(good, "X: a\rHost: y"),
            get(good, "X: a\r\n folded"),
            get(good, "X : a"),
            get(good, "\u00fc: a"),
            get(good, "no colon"),
            get(good, ": no name"),
            get(good, "Host: y"),
            # Lengths that contradict each other.
            get(good, "Content-Length: 1", "Content-Length: 1"),
            get(good, "Content-Length: 1", "Transfer-Encoding: chunked"),
            get(good, "Content-Length: 1, 1"),
            get(good, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
            get(good, "Transfer-Encoding: gzip, chunked"),
            get(good, "Transfer-Encoding: xchunked"),
            get(good, "Transfer-Encoding:\x0bchunked"),
            *(get(good, f"Content-Length: {n}") for n in ("-1", "+1", "0x1", "1_0", "1 1", "")),
            f"GET {url} HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            # A CONNECT to something that is no place, or with what it does not have.
            *(connect(f"good.test:{p}") for p in ("", "0", "65536", "-1", "+80", "8 0")),
            connect("good.test"),
            *(
                connect(w)
                for w in (url, f"x@{good}", f"//{good}", f"{good}/", f"{good}:{out.port}")
            ),
            connect(good).replace("\r\n\r\n", "\r\nContent-Length: 1\r\n\r\nx"),
            # More than a head can have.
            get(good, *many),
            get(good, "X: " + "y" * MAX_HEAD),
            f"GET {url}{'y' * MAX_HEAD} HTTP/1.1\r\nHost: x\r\n\r\n",
            "y" * (MAX_HEAD + 1),
        ]
        answers = await ask(arena, *bad)
        passed = [r[:80] for r, a in zip(bad, answers, strict=True) if not refused(a)]
        assert passed == []
        assert (out.dialled, out.asked) == ([], [])
        assert await served(arena, out)


@case("X94", WALL)
async def test_nothing_is_smuggled_behind_a_request(walled: OpenWalled) -> None:
    async with walled(HERE) as (arena, out):
        good = f"good.test:{out.port}"
        second = get("evil.test").replace("GET", "STEAL")
        chunked = "Transfer-Encoding: chunked"
        requests = [
            get(good) + second,
            get(good, "Content-Length: 2") + "ab" + second,
            get(good, chunked) + "2\r\nab\r\n0\r\n\r\n" + second,
            get(good, chunked) + "2;x=y\r\nab\r\n0\r\nHost: evil.test\r\n\r\n" + second,
            get(good, "Content-Length: 2", "Connection: content-length") + "ab" + second,
            get(good, "Expect: 100-continue", "Content-Length: 2") + "ab" + second,
            get(good, "Upgrade: websocket", "Connection: upgrade") + second,
            # Not whole, or not chunked: cut off, and never a request.
            get(good, chunked) + "2\nab\r\n0\r\n\r\n" + second,
            get(good, chunked) + "0x2\r\nab\r\n0\r\n\r\n" + second,
            get(good, chunked) + "2\r\nabc\r\n0\r\n\r\n" + second,
            get(good, chunked) + "f" * 21 + "\r\nab" + second,
        ]
        await ask(arena, *requests)
        async with asyncio.timeout(30):
            while len(out.requests) < len(out.dialled):
                await asyncio.sleep(0.01)
        assert set(out.dialled) == {(HERE, out.port)}
        assert set(out.asked) == {"good.test"}
        for request in out.requests:
            assert request.startswith(b"GET / HTTP/1.1\r\n")
            assert b"STEAL" not in request
            assert b"evil" not in request


@case("X95", WALL)
async def test_names_that_lead_to_private_addresses_lead_nowhere(walled: OpenWalled) -> None:
    private = [
        *("127.0.0.1", "127.0.0.2", "10.0.0.1", "169.254.169.254", "100.100.100.200", "0.0.0.0"),
        *(
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "fe80::1",
            "fd00::1",
        ),
    ]
    async with walled() as (arena, out):
        where = f"good.test:{out.port}"
        out.names["good.test"] = iter([*([each] for each in private), private])
        answers = await ask(arena, *itertools.repeat(get(where), len(private)), connect(where))
        assert set(answers) == {"HTTP/1.1 403 Private address not in Network.allow"}
        assert out.dialled == []


@case("X95", WALL)
async def test_a_name_that_changes_between_check_and_connection_changes_nothing(
    walled: OpenWalled,
) -> None:
    async with walled(HERE) as (arena, out):
        # Each answer is another one than the last, as a name server that rebinds gives them.
        turns = [[HERE], ["127.0.0.2"], ["169.254.169.254", HERE, "::1"], ["10.0.0.1"]]
        out.names["good.test"] = itertools.cycle(turns)
        where = f"good.test:{out.port}"
        answers = await ask(arena, *[get(where)] * 40, *[connect("good.test:80")] * 40)
        # Those that hold the one address that is named, and those that hold none.
        assert [a.split(" ")[1] for a in answers[:4]] == ["200", "403", "200", "403"]
        assert {host for host, _ in out.dialled} == {HERE}
        # Once for each request: what was checked is what is connected to.
        assert len(out.asked) == 80


@case("X95", WALL)
async def test_a_redirect_leads_nowhere_that_a_request_does_not(walled: OpenWalled) -> None:
    async with walled(HERE) as (arena, out):
        targets = ["http://169.254.169.254/", "http://2852039166/", "http://evil.test/"]
        targets += [f"http://{host}:{out.port}/" for host in ("[::1]", "127.1", "127.0.0.2")]

        async def redirect(data: bytes, _: object, writer: asyncio.StreamWriter) -> None:
            target = targets[int(data.split(b" ")[1][1:])]
            writer.write(f"HTTP/1.1 302 Found\r\nLocation: {target}\r\n\r\n".encode())
            writer.write_eof()

        out.serve = redirect
        urls = [f"http://good.test:{out.port}/{n}" for n in range(len(targets))]
        result = await arena.session.exec(
            ["python3", "-c", FOLLOW, *urls], env={"no_proxy": "", "NO_PROXY": ""}, check=True
        )
        assert set(result.stdout.split()) <= {"400", "403"}
        assert out.dialled == [(HERE, out.port)] * len(targets)
        assert set(out.asked) == {"good.test"}


# Opens connections and says a little on each; holds those that it can until its input ends.
HOLD = """
import socket, sys
count, said = int(sys.argv[1]), sys.argv[2].encode()
held = []
for _ in range(count):
    s = socket.socket()
    s.setblocking(False)
    s.connect_ex(("127.0.0.1", 3128))
    held.append(s)
for s in held[:64]:
    s.setblocking(True)
    s.sendall(said)
print("held", flush=True)
sys.stdin.read()
"""


@case("X96", WALL)
async def test_requests_that_never_end_hold_the_others_up_for_a_while_only(
    walled: OpenWalled,
) -> None:
    async with walled(HERE) as (arena, out):
        argv = ["python3", "-c", HOLD, "200", "GET http://good.test/ HTTP/1.1\r\nX: "]
        process = await arena.session.start_process(argv, stdin=True)
        # Soon for these: not for one that means it, which may be slow on a busy machine.
        with pytest.MonkeyPatch.context() as soon:
            soon.setattr(passage, "HEAD_SECONDS", 0.5)
            soon.setattr(passage, "LINGER_SECONDS", 0.1)
            # More than there are places for: each is given up in its turn, and commands go on.
            async with asyncio.timeout(60):
                while arena.session.egress_statistics()["served"] < 200:
                    assert (await arena.session.exec(["true"], timeout=10)).ok
            await idle(arena)
        assert await served(arena, out)
        await process.stop(grace=0)


# Asks for tunnels, 60 at a time: every second one gets it, the others break off somewhere before.
TUNNELS = """
import socket, struct, sys
count, request = int(sys.argv[1]), sys.argv[2].encode()
for first in range(0, count, 60):
    batch = [socket.create_connection(("127.0.0.1", 3128)) for _ in range(min(60, count - first))]
    for n, s in enumerate(batch):
        s.sendall(request[: n % len(request)] if n % 2 else request)
    for n, s in enumerate(batch):
        if n % 2 == 0:
            assert b" 200 " in s.recv(4096)
        if n % 3:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
"""


# Tries to listen where the proxy does, in every way that lets two listen side by side.
TAKE = """
import socket
taken = 0
for host in ("127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1", "::"):
    for option in (None, socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        if option is not None:
            s.setsockopt(socket.SOL_SOCKET, option, 1)
        try:
            s.bind((host, 3128))
            s.listen()
            taken += 1
        except OSError:
            pass
        s.close()
print(taken)
"""


@case("X96", WALL)
async def test_no_command_takes_the_proxys_place(walled: OpenWalled) -> None:
    async with walled(HERE) as (arena, out):
        taken = await arena.session.exec(["python3", "-c", TAKE], check=True)
        assert taken.stdout == "0\n"
        # Not after the list was emptied either: it goes on to say no.
        await arena.session.set_network(Network.none())
        taken = await arena.session.exec(["python3", "-c", TAKE], check=True)
        assert taken.stdout == "0\n"
        assert await ask(arena, get(f"good.test:{out.port}")) == [
            "HTTP/1.1 403 Not in Network.allow"
        ]


@case("X97", WALL)
@pytest.mark.parametrize("count", [800, pytest.param(10_000, marks=pytest.mark.slow)])
async def test_tunnels_without_end_leave_nothing(walled: OpenWalled, count: int) -> None:
    async with walled(HERE) as (arena, out):
        before = memory_mib()
        request = connect(f"good.test:{out.port}")
        attack = asyncio.create_task(
            arena.session.exec(["python3", "-c", TUNNELS, str(count), request], timeout=240)
        )
        most = 0
        while not attack.done():
            most = max(most, arena.session.egress_statistics()["connections"])
            assert (await arena.session.exec(["true"], timeout=20)).ok
        assert (await attack).ok, attack.result().stderr
        assert most <= MAX_CONNECTIONS
        assert len(out.dialled) == count // 2
        assert memory_mib() - before < 64
        assert await served(arena, out)
        assert set(out.dialled) == {(HERE, out.port)}


@case("X98", WALL)
async def test_what_is_never_read_inside_is_not_kept_outside(walled: OpenWalled) -> None:
    async def flood(_: bytes, reader: object, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            # Small: what the server itself still has is in this process too, forty times.
            writer.write(bytes(1 << 16))
            await writer.drain()

    async with walled(HERE) as (arena, out):
        out.serve = flood
        before = memory_mib()
        argv = ["python3", "-c", HOLD, "40", get(f"good.test:{out.port}")]
        process = await arena.session.start_process(argv, stdin=True)
        async with asyncio.timeout(60):
            while len(out.dialled) < 40:
                await asyncio.sleep(0.01)
        # Each has all that anybody takes for it, and commands in between are as quick as ever.
        for _ in range(20):
            assert (await arena.session.exec(["true"], timeout=10)).ok
        # A window, a socket's buffers and the server's own, which is in this process too.
        assert memory_mib() - before < 40 * 2.5 + 32
        await process.stop(grace=0)


@case("X99", WALL)
async def test_a_host_that_answers_with_anything_but_an_answer_harms_nobody(
    walled: OpenWalled,
) -> None:
    ok = b"HTTP/1.1 200 OK\r\n"
    answers = {
        b"": "502",
        b"\x00" * 1000: "502",
        b"SSH-2.0-OpenSSH\r\n\r\n": "502",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * (1 << 20): "502",
        ok + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n": "502",
        ok + b"Content-Length: -1\r\n\r\n": "502",
        ok + b"X: a\0b\r\n\r\n": "502",
        ok + b"Transfer-Encoding: gzip, chunked\r\n\r\n": "502",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 1000: "502",
        b"HTTP/1.1 200 O": "502",
        # Begun, and then not what was said: it is cut off where it is wrong.
        ok + b"Content-Length: 9\r\n\r\nab": "200",
        ok + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n": "200",
        # The connection stays open without a word.
        b"silence": "504",
    }
    async with walled(HERE) as (arena, out):

        async def lie(data: bytes, _: object, writer: asyncio.StreamWriter) -> None:
            answer = list(answers)[int(data.split(b" ")[1][1:])]
            if answer == b"silence":
                return
            writer.write(answer)
            writer.write_eof()

        out.serve = lie
        where = f"GET http://good.test:{out.port}"
        asked = [f"{where}/{n} HTTP/1.1\r\nHost: x\r\n\r\n" for n in range(len(answers))]
        found = await ask(arena, *asked[:-1])
        # Soon for the one that says nothing: others may be slow on a busy machine.
        with pytest.MonkeyPatch.context() as soon:
            soon.setattr(exchange, "QUIET_SECONDS", 1.0)
            found += await ask(arena, asked[-1])
        assert [line.split(" ")[1] for line in found] == list(answers.values())
        out.serve = None
        assert await served(arena, out)
