"""Whatever is asked for inside, nothing but what is allowed is ever looked up or dialled."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cases.spellings import LOOPBACK, METADATA
from fakes.channel import FakeChannel
from fumehood import Allow, EgressEvent, Hooks, Network
from fumehood.egress import dial
from fumehood.egress.hosts import to_address
from fumehood.egress.passage import Passage
from fumehood.egress.policy import Policy

NETWORK = Network.allow(
    "good.org", Allow("*.wild.org", ports=(8443,)), Allow("10.1.2.0/30", ports=(5432, 80))
)
PUBLIC = ["1.1.1.1", "2606:4700::1111"]
NAMED = ["10.1.2.3"]
FORBIDDEN = ["127.0.0.1", "169.254.169.254", "10.1.2.4", "::1", "::ffff:1.1.1.1", "fe80::1", "::"]


class Here(Executor):
    """Does what it is given at once: no thread, so that a run can be repeated."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except OSError as exc:
            done.set_exception(exc)
        return done


class Wall:
    """What a passage needs around it, and a world in which every attempt is noted and fails."""

    def __init__(self, leads_to: list[str]) -> None:
        self.session_id = "s1"
        self.hooks = Hooks(on_egress=self._told)
        self.executor: Executor = Here()
        self.interception: Any = None  # no rule here asks for it
        self.policy = Policy(NETWORK.rules, NETWORK.ports)
        self.leads_to = leads_to
        self.told: list[EgressEvent] = []
        self.asked: list[tuple[str, int]] = []
        self.dialled: list[tuple[str, int]] = []

    def _told(self, event: EgressEvent) -> None:
        self.told.append(event)

    def lookup(self, name: str, port: int) -> list[dial.Place]:
        self.asked.append((name, port))
        return [
            dial.Place(to_address(a), socket.AF_INET6 if ":" in a else socket.AF_INET, (a, port))
            for a in self.leads_to
        ]

    async def dial(self, place: dial.Place) -> socket.socket:
        host, port = place.sockaddr[:2]
        assert isinstance(host, str)
        assert isinstance(port, int)
        # What was judged and what is connected to are one.
        assert place.address == to_address(host)
        self.dialled.append((host, port))
        raise ConnectionRefusedError(111, "refused")


@pytest.fixture(scope="module", autouse=True)
def no_lingering() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fumehood.egress.passage.LINGER_SECONDS", 0.0)
        yield


def serve(pieces: list[bytes], leads_to: list[str]) -> tuple[Wall, FakeChannel]:
    """Serve a connection on which these bytes come."""
    wall, channel = Wall(leads_to), FakeChannel(pieces)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dial, "lookup", wall.lookup)
        patch.setattr(dial, "_dial", wall.dial)
        asyncio.run(Passage(wall, channel).run())
    assert channel.closed
    return wall, channel


def named(host: str, port: int) -> bool:
    """Whether the list has a name, in words of this test's own."""
    return (host == "good.org" and port in (443, 80)) or (
        host.endswith(".wild.org") and len(host) > len(".wild.org") and port == 8443
    )


HOSTS = (
    st.sampled_from(
        ["good.org", "GOOD.org.", "a.b.wild.org", "wild.org", "xgood.org", "x.good.org"]
    )
    | st.sampled_from(["10.1.2.3", "10.1.2.4", "1.1.1.1", "[2606:4700::1111]", "[::1]"])
    | st.sampled_from(METADATA + LOOPBACK)
    | st.text(max_size=20)
)
PORTS = st.sampled_from(
    ["", *[":80", ":443", ":8443", ":5432", ":22", ":0", ":65616", ":080", ":+80"]]
)
TARGETS = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(
            ["http://", "", "HTTP://", "https://", "//", "http:", "http://u@", "ftp://"]
        ),
        HOSTS,
        PORTS,
        st.sampled_from(["", "/", "/x?y", "?x", "#x", "/@good.org", "\\@good.org"]),
    ),
)
HEADERS = st.lists(
    st.sampled_from(["Host: good.org", "Host: 127.0.0.1", "X: y", "Content-Length: 3"])
    | st.sampled_from(["Transfer-Encoding: chunked", "Connection: host", " folded", "bad"]),
    max_size=4,
)


@st.composite
def requests(draw: st.DrawFn) -> list[bytes]:
    """A request or something near one, in pieces."""
    method = draw(st.sampled_from(["GET", "CONNECT", "POST", "TRACE", "get", ""]))
    version = draw(st.sampled_from(["HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "X"]))
    first = f"{method} {draw(TARGETS)} {version}"
    text = "\r\n".join([first, "Host: x", *draw(HEADERS), "", draw(st.text(max_size=5))])
    raw = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(raw)))
        raw[at : at + draw(st.integers(0, 1))] = draw(st.binary(max_size=2))
    cut = draw(st.integers(0, len(raw)))
    return [bytes(raw[:cut]), bytes(raw[cut:])]


@given(requests(), st.lists(st.sampled_from(PUBLIC + NAMED + FORBIDDEN), max_size=8))
def test_nothing_but_an_allowed_host_and_port_is_ever_dialled(
    pieces: list[bytes], leads_to: list[str]
) -> None:
    wall, channel = serve(pieces, leads_to)
    assert all(named(*where) for where in wall.asked), wall.asked
    assert len(wall.asked) <= 1
    for address, port in wall.dialled:
        assert address in PUBLIC + NAMED
        if address in NAMED:
            assert port in (5432, 80)
        if wall.asked:
            assert address in leads_to
            assert port == wall.asked[0][1]
        else:
            assert address in NAMED  # a public one is reached by a name, or by a rule for itself
    # Nobody answers in this world: whatever it was, it is not let through, and was told of once.
    assert not channel.sent.startswith(b"HTTP/1.1 2")
    assert len(wall.told) <= 1
    assert not any(event.allowed for event in wall.told)


@pytest.mark.parametrize(
    ("target", "leads_to", "dialled"),
    [
        ("http://good.org/", PUBLIC, [("1.1.1.1", 80), ("2606:4700::1111", 80)]),
        ("http://GOOD.org.:443/", ["::1", "1.1.1.1"], [("1.1.1.1", 443)]),
        ("http://a.wild.org:8443/", ["1.1.1.1"], [("1.1.1.1", 8443)]),
        ("http://good.org/", NAMED, [("10.1.2.3", 80)]),
        ("http://good.org:443/", NAMED, []),
        ("http://good.org/", FORBIDDEN, []),
        ("http://10.1.2.3:5432/", [], [("10.1.2.3", 5432)]),
        ("http://1.1.1.1/", [], []),
        ("http://wild.org:8443/", PUBLIC, []),
    ],
)
def test_what_is_dialled_for_a_request(
    target: str, leads_to: list[str], dialled: list[tuple[str, int]]
) -> None:
    wall, _ = serve([f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()], leads_to)
    assert wall.dialled == dialled


def test_a_name_with_very_many_addresses_is_tried_a_few_times() -> None:
    many = [f"1.1.1.{n}" for n in range(100)]
    wall, channel = serve([b"CONNECT good.org:443 HTTP/1.1\r\nHost: x\r\n\r\n"], many)
    assert len(wall.dialled) == dial.MAX_TRIES
    assert channel.sent.startswith(b"HTTP/1.1 502 ")
