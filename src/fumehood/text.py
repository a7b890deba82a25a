"""Text out of bytes that nobody has vouched for: decoding, lines, and what may reach a terminal."""

from __future__ import annotations

import codecs


def decode(data: bytes) -> str:
    """Decode as UTF-8: invalid bytes become U+FFFD, a character cut at the end is dropped."""
    return codecs.getincrementaldecoder("utf-8")("replace").decode(data, final=False)


class StreamDecoder:
    r"""Decode a stream piece by piece; a character that is split comes with its later piece.

    Example::

        decoder = StreamDecoder()
        text = decoder.feed(b"caf\xc3") + decoder.feed(b"\xa9") + decoder.finish()
    """

    __slots__ = ("_decoder",)

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> str:
        """Return the text that is complete with ``data``."""
        return self._decoder.decode(data)

    def finish(self) -> str:
        """Return what is left at the end of the stream: U+FFFD for a character that never ended."""
        return self._decoder.decode(b"", final=True)


_KEPT = {ord("\n"), ord("\t")}
_ESCAPES: dict[int, str] = {
    code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if code not in _KEPT
} | {
    # Marks that reorder or hide what a reader sees ("Trojan Source", CVE-2021-42574).
    code: f"\\u{code:04x}"
    for code in (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF)
}


def printable(text: str) -> str:
    """Return text that a terminal shows and does not obey: control characters are spelled out.

    Newlines and tabs stay. A carriage return is spelled out too: it would overwrite what stands
    before it on the line (CVE-2021-25743).
    """
    return text.translate(_ESCAPES).encode("utf-8", "backslashreplace").decode("utf-8")
