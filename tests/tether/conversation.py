"""A conversation that can be cut anywhere: what is said, and what a caller must have seen of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from fakes.resuming import ResumingSupervisor
from fakes.supervisor import FakeSupervisor, Opened, record
from fumehood._wire import table
from fumehood._wire.codec import RawFrame
from fumehood._wire.requests import exec_request
from fumehood._wire.table import Frame, Operation
from tether.conftest import Link, connected

COMMAND = exec_request(
    (b"x",),
    cwd=b".",
    env=(),
    user=None,
    timeout_ms=0,
    stdout_limit=0,
    stderr_limit=0,
    stdin=False,
)
PIECE = bytes(table.MAX_PAYLOAD)
WORDS = [b"some ", b"input, ", b"in pieces"]


@dataclass
class Seen:
    """What a caller has seen of the conversation."""

    echoed: list[bytes] = field(default_factory=list)
    results: list[object] = field(default_factory=list)


def echo(peer: FakeSupervisor, channel: Opened) -> None:
    """Answer a listing at once; everything else when its input has ended (see `answering`)."""
    if channel.operation is Operation.LIST:
        peer.entries(channel.number, "a", "b")
        peer.done(channel.number, entries=2)
    elif channel.operation is Operation.STAT:
        peer.stdout(channel.number, record(b"f"))
        peer.done(channel.number)


def answering(peer: ResumingSupervisor) -> ResumingSupervisor:
    """Let commands say what they are told, and writes take it."""

    def note(raw: RawFrame) -> None:
        channel = peer.channels.get(raw.channel)
        if channel is None or channel.ended:
            return
        if raw.frame is Frame.STDIN and channel.operation is Operation.EXEC:
            peer.stdout(channel.number, raw.payload)
            peer.give(channel.number, len(raw.payload))
        elif raw.frame is Frame.EOF and channel.operation is Operation.WRITE:
            peer.done(channel.number, size=len(channel.input))
        elif raw.frame is Frame.EOF:
            peer.stderr(channel.number, b"done")
            peer.exit(channel.number, 3, stdout_total=len(channel.input), stderr_total=4)
            peer.acknowledge()
        elif raw.frame is Frame.CANCEL:
            peer.done(channel.number)

    peer.on_frame = note
    return peer


async def converse(link: Link) -> Seen:
    """Have one conversation of each kind; what is seen does not depend on how the stream is."""
    seen = Seen()

    async def pieces() -> AsyncIterator[bytes]:
        for word in WORDS:
            yield word
            await asyncio.sleep(0)

    result = await link.session.exec(["cat"], input=pieces())
    seen.results.append((result.stdout_bytes, result.stderr_bytes, result.exit_code))
    names = [entry.path for entry in await link.session.list_files()]
    seen.results.append(names)
    both = await asyncio.gather(
        link.session.write_file("f", b"content"), link.session.exec(["cat"], input=b"again")
    )
    seen.results.append((both[1].stdout_bytes, both[1].exit_code))
    return seen


EXPECTED = [(b"".join(WORDS), b"done", 3), ["a", "b"], (b"again", 3)]


async def lengths() -> tuple[int, int, int, int]:
    """From where to where both directions can be cut: behind READY, to the end."""
    peer = answering(ResumingSupervisor(script=echo))
    async with connected(peer=peer) as link:
        down, up = len(peer.kept), peer.received
        assert (await converse(link)).results == EXPECTED
        return down + 1, len(peer.kept), up + 1, peer.received


def check(peer: ResumingSupervisor, link: Link, seen: Seen) -> None:
    assert seen.results == EXPECTED
    opened = sorted(peer.channels)
    assert opened == [1, 2, 3, 4]
    inputs = {bytes(peer.channels[number].input) for number in (1, 3, 4)}
    assert inputs == {b"".join(WORDS), b"content", b"again"}
    assert link.tether.statistics()["live"] == 0
