"""What a supervisor that lies says, in the words of ``attacks/liar.c``."""

from __future__ import annotations

from collections.abc import Mapping

from fakes.supervisor import READY, WELCOME, exit_frame, frame_of
from fumehood._wire import codec, table
from fumehood._wire.table import EndCode, Field, Frame

STAY = "h"
NOISE = "n"
HEAR = "w"

Fields = Mapping[Field, int | str]


def said(*pieces: bytes) -> str:
    """Say bytes, once."""
    return f"s {b''.join(pieces).hex()}"


def repeated(*pieces: bytes, times: int = 0) -> str:
    """Say bytes many times, or for ever."""
    return f"r {times} {b''.join(pieces).hex()}"


def slowly(milliseconds: int) -> str:
    """Say the rest byte by byte."""
    return f"t {milliseconds}"


def complained(kib: int) -> str:
    """Write noise to standard error."""
    return f"e {kib}"


def gone(code: int = 0) -> str:
    """Exit."""
    return f"x {code}"


def script(*words: str) -> dict[str, str]:
    """Return the environment that makes a liar say this and then stay, deaf and silent."""
    return {"LIE": " ".join([*words, STAY]) + ";"}


def header(frame: int, channel: int, length: int) -> bytes:
    """Return a frame's header, whatever it claims."""
    return (frame << 24 | length).to_bytes(4, "big") + channel.to_bytes(4, "big")


def welcome(**more: int | str) -> bytes:
    """Return a WELCOME; ``more`` are fields by their table names."""
    return frame_of(Frame.WELCOME, 0, {**WELCOME, **_named(more)})


def ready(**more: int | str) -> bytes:
    """Return a READY; ``more`` are fields by their table names."""
    return frame_of(Frame.READY, 0, {**READY, **_named(more)})


def end(reason: EndCode = EndCode.DESTROYED, **more: int | str) -> bytes:
    """Return an END; ``more`` are fields by their table names."""
    return frame_of(Frame.END, 0, {Field.REASON: int(reason), **_named(more)})


def long_end(size: int) -> list[str]:
    """Say an END whose message has so many bytes."""
    fields = codec.encode_fields({Field.REASON: int(EndCode.NOT_CONFIGURED)})
    message = (Field.MESSAGE << 24 | size).to_bytes(4, "big")
    head = header(Frame.END, 0, len(fields) + len(message) + size)
    return [said(head, fields, message), repeated(b"x" * 100, times=size // 100)]


def stdout(channel: int, size: int = 4096) -> bytes:
    """Return output of a command."""
    return codec.encode_frame(Frame.STDOUT, channel, b"x" * size)


def credit(channel: int, amount: int) -> bytes:
    """Return credit for input."""
    return codec.encode_frame(Frame.CREDIT, channel, amount.to_bytes(4, "big"))


def ping() -> bytes:
    """Return a PING."""
    return codec.encode_frame(Frame.PING, 0, bytes(table.PING_BYTES))


def exited(channel: int, code: int = 0, **more: int) -> bytes:
    """Return an EXIT, whatever it claims."""
    return exit_frame(channel, code, **more)


def done(channel: int) -> bytes:
    """Return a DONE."""
    return frame_of(Frame.DONE, channel, {})


def _named(more: Mapping[str, int | str]) -> dict[Field, int | str]:
    return {Field[name.upper()]: value for name, value in more.items()}


GREETED = said(welcome(), ready())
"""A greeting as a good supervisor's: the lies come later."""
