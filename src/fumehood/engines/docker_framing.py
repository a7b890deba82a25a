"""Docker's multiplexing of stdout and stderr into one stream, taken off.

A frame is eight bytes of header (one byte of stream type, three of nothing, four of length) and a
payload. The length is the other side's word: the payload is passed on as it comes, and nothing is
allocated by it. No input or output is done here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from fumehood.engines.docker_text import Ring
from fumehood.errors import ProtocolError

HEADER: struct.Struct = struct.Struct(">B3xL")
MAX_DIAGNOSTICS = 4096
_STDOUT = 1
_STDERR = 2


class StdcopyParser:
    """Takes Docker's multiplexing off: bytes in, stdout's bytes out, in pieces as they come.

    Knows nothing of sockets. :meth:`feed` hands out the pieces of stdout in order; stderr goes to
    :attr:`stderr`. State is one header's bytes and one counter, whatever is announced.
    """

    __slots__ = ("_header", "_left", "_type", "stderr")

    def __init__(self) -> None:
        self._header = b""
        self._left = 0
        self._type = _STDOUT
        self.stderr: Ring = Ring(MAX_DIAGNOSTICS)

    @property
    def at_boundary(self) -> bool:
        """Whether the bytes so far end with a whole frame."""
        return not self._header and self._left == 0

    def feed(self, data: bytes, out: Callable[[memoryview], object]) -> None:
        """Call ``out`` with each piece of stdout in ``data``, which it does not copy.

        Raises:
            ProtocolError: a stream type that an attached container cannot have; the pieces before
                it were handed out.
        """
        position, end = 0, len(data)
        view = memoryview(data)
        while position < end:
            if self._left == 0:
                position = self._take_header(data, position, end)
                continue
            stop = min(position + self._left, end)
            piece = view[position:stop]
            self._left -= stop - position
            position = stop
            if self._type == _STDOUT:
                out(piece)
            else:
                self.stderr.add(bytes(piece))

    def _take_header(self, data: bytes, position: int, end: int) -> int:
        if not self._header and end - position >= HEADER.size:
            self._type, self._left = HEADER.unpack_from(data, position)
            position += HEADER.size
        else:
            missing = HEADER.size - len(self._header)
            self._header += data[position : position + missing]
            position = min(position + missing, end)
            if len(self._header) < HEADER.size:
                return position
            self._type, self._left = HEADER.unpack(self._header)
            self._header = b""
        if self._type not in (_STDOUT, _STDERR):
            raise ProtocolError(
                f"the engine's stream carries a frame of type {self._type}, "
                "which is neither stdout nor stderr"
            )
        return position
