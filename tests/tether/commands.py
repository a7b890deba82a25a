"""What a scripted supervisor does with what it is asked: end it, at once or when it is told to."""

from __future__ import annotations

from collections.abc import Callable

from fakes.supervisor import FakeSupervisor, Opened
from fumehood._wire.table import ExecCode, Frame, Operation


def cancelled(peer: FakeSupervisor, channel: Opened, *, killed: int = 1) -> None:
    """Answer a CANCEL as the supervisor does: the tree is dead."""
    peer.exit(channel.number, 137, signal=9, reason=ExecCode.CANCELLED, killed=killed)


def answer_cancels(peer: FakeSupervisor) -> None:
    peer.on_frame = lambda raw: (
        cancelled(peer, peer.channels[raw.channel]) if raw.frame is Frame.CANCEL else None
    )


def says(**fields: int) -> Callable[[FakeSupervisor, Opened], None]:
    return lambda peer, channel: peer.exit(channel.number, **fields)


def accepts(peer: FakeSupervisor, channel: Opened) -> None:
    """Answer what has no input at once, and a write when its input has ended."""
    if channel.operation is not Operation.WRITE:
        peer.done(channel.number)
