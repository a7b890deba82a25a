"""Hostile output is text: it is decoded by one rule, and a terminal shows it and does not obey."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fumehood import InvalidRequestError
from fumehood.text import StreamDecoder, brief, decode, encode, printable

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@pytest.mark.parametrize(
    "hostile, shown",
    [
        ("\x1b]52;c;cm0gLXJm\x07", "\\x1b]52;c;cm0gLXJm\\x07"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("good\rbad ", "good\\x0dbad "),
        ("\x9b2J", "\\x9b2J"),
        ("\x90q\x9c", "\\x90q\\x9c"),
        ("a\bb\x7f", "a\\x08b\\x7f"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u2028b\u2029c\x85", "a\\u2028b\\u2029c\\x85"),
        ("\ufeffa", "\\ufeffa"),
        ("\udcff\ud800", "\\udcff\\ud800"),
        ("plain\n\ttext é 😀", "plain\n\ttext é 😀"),
        ("", ""),
    ],
)
def test_what_a_terminal_would_obey_is_spelled_out(hostile: str, shown: str) -> None:
    assert printable(hostile) == shown


@given(st.text())
def test_nothing_printable_is_obeyed(text: str) -> None:
    shown = printable(text)
    for character in shown:
        assert character in "\n\t" or unicodedata.category(character) not in (
            "Cc",
            "Cs",
            "Zl",
            "Zp",
        )
        assert character not in BIDI
    assert printable(shown) == shown
    shown.encode("utf-8")


@given(st.binary(max_size=60), st.integers(1, 7))
def test_a_stream_decodes_as_the_whole_does(data: bytes, size: int) -> None:
    decoder = StreamDecoder()
    pieces = [decoder.feed(data[at : at + size]) for at in range(0, len(data), size)]
    assert "".join(pieces) + decoder.finish() == data.decode("utf-8", "replace")


@given(st.text(), st.integers(0, 60))
def test_a_cut_inside_a_character_shows_nothing_of_it(text: str, at: int) -> None:
    raw = text.encode("utf-8", "replace")[:at]
    shown = decode(raw)
    assert "\ufffd" not in shown or "\ufffd" in text
    assert raw.startswith(shown.encode())
    assert len(raw) - len(shown.encode()) <= 3


def test_bytes_that_are_no_text_are_shown_as_such() -> None:
    assert decode(b"a\xffb\xe2\x82") == "a\ufffdb"
    assert decode(b"\xed\xa0\x80") == "\ufffd" * 3


def test_text_becomes_the_bytes_that_it_came_from() -> None:
    assert encode("é\udcff", "x") == b"\xc3\xa9\xff"
    with pytest.raises(InvalidRequestError, match=r"^input .* surrogate"):
        encode("\ud800", "input")


@pytest.mark.parametrize(
    "value",
    ["x" * 10**6, b"x" * 10**6, [0] * 10**6, 10**5000, [10**5000], {"a": "\x1b" * 10**5}],
    ids=lambda value: type(value).__name__,
)
def test_any_value_has_a_short_name_for_a_message(value: object) -> None:
    assert len(brief(value)) < 200
    assert brief(value).isprintable()


def test_a_short_value_is_shown_whole() -> None:
    assert [brief(value) for value in ("a\n", 5, None, (1, 2))] == ["'a\\n'", "5", "None", "(1, 2)"]
