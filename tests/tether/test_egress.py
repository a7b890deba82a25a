"""The proxy of a session over a scripted supervisor: connections that it takes over, and leaves."""

from __future__ import annotations

from fakes.supervisor import FakeSupervisor, Opened
from fumehood._wire.table import ErrorCode, Field, Frame, Operation
from fumehood.egress.policy import Policy
from fumehood.egress.proxy import start_proxy
from fumehood.hooks import Hooks
from tether.conftest import Connect


def listens(peer: FakeSupervisor, channel: Opened) -> None:
    """Let it listen, and somebody connect at once; who takes that over hears nothing."""
    if channel.operation is Operation.LISTEN:
        peer.send_fields(Frame.OPENED, channel.number, {})
        peer.send_fields(Frame.INCOMING, channel.number, {Field.TICKET: 1})


def gives_up(peer: FakeSupervisor) -> None:
    peer.on_frame = lambda raw: (
        peer.fail(raw.channel, ErrorCode.CANCELLED) if raw.frame is Frame.CANCEL else None
    )


async def test_a_connection_that_is_being_taken_over_at_the_end_is_given_up(
    connect: Connect,
) -> None:
    async with connect(script=listens) as link:
        gives_up(link.peer)
        proxy = await start_proxy(link.tether, "s1", Hooks(), Policy([]), None)
        accepting = await link.peer.opened(2)
        assert accepting.operation is Operation.ACCEPT
        await proxy.aclose()
        assert accepting.cancelled
        assert link.tether.alive
        assert link.tether.statistics()["live"] == 0
