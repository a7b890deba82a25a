"""Text out of bytes that nobody has vouched for: decoding, lines, and what may reach a terminal."""

from __future__ import annotations

import codecs

from fumehood.errors import InvalidRequestError

_MAX_SHOWN = 120
_MAX_SHOWN_BITS = 256


def encode(text: str, what: str) -> bytes:
    """Return a caller's text as bytes for a container: UTF-8, whatever the client's locale.

    Bytes that Python has smuggled into a string (surrogateescape) come out again.

    Raises:
        InvalidRequestError: half a surrogate pair, which no encoding has.
    """
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as exc:
        raise InvalidRequestError(
            f"{what} {brief(text)} holds half a surrogate pair, which has no bytes"
        ) from exc


def check_codec(encoding: str, errors: str = "strict") -> None:
    """Refuse an encoding, or a way with what does not fit it, that Python does not know.

    Raises:
        InvalidRequestError: it is none of text, or none at all.
    """
    try:
        "".encode(encoding)
    except (LookupError, TypeError, ValueError) as exc:
        raise InvalidRequestError(f"encoding {brief(encoding)} is none of text") from exc
    try:
        codecs.lookup_error(errors)
    except (LookupError, TypeError, ValueError) as exc:
        raise InvalidRequestError(f"errors {brief(errors)} is not known to Python") from exc


def brief(value: object) -> str:
    """Return ``repr(value)`` for a message, cut: what a caller passes may be a megabyte."""
    if isinstance(value, int) and value.bit_length() > _MAX_SHOWN_BITS:
        return f"a number of {value.bit_length()} bits"
    if isinstance(value, (str, bytes)) and len(value) > _MAX_SHOWN:
        return f"{value[:_MAX_SHOWN]!r}… ({len(value)} in all)"
    try:
        shown = repr(value)
    except ValueError:  # a number inside it that is too long for Python to print
        shown = f"<{type(value).__name__}>"
    return shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}…"


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
    # Marks that reorder or hide what a reader sees ("Trojan Source", CVE-2021-42574), and those
    # that some programs take for the end of a line.
    code: f"\\u{code:04x}"
    for code in (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF)
}


def printable(text: str) -> str:
    """Return text that a terminal shows and does not obey: control characters are spelled out.

    Newlines and tabs stay. A carriage return is spelled out too: it would overwrite what stands
    before it on the line (CVE-2021-25743).
    """
    return text.translate(_ESCAPES).encode("utf-8", "backslashreplace").decode("utf-8")
