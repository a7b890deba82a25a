"""Output, names and messages that want to be obeyed by a terminal: shown as text, kept as bytes."""

from __future__ import annotations

import asyncio
import logging
import traceback
import unicodedata
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cases.mark import case
from cli.program import Fumehood
from fumehood import Exit, SandboxError, Stderr, Stdout
from fumehood.text import printable
from hostile.arena import Arena

TERMINAL = "The command line shows hostile output, names and labels as text"

SPELLS: dict[str, bytes] = {
    "clipboard": b"\x1b]52;c;c2VjcmV0\x07",
    "clipboard, read": b"\x1b]52;c;?\x1b\\",
    "title": b"\x1b]0;root@host\x07",
    "title, reported as input": b"\x1b[21t",
    "link": b"\x1b]8;;file:///etc/passwd\x1b\\click\x1b]8;;\x1b\\",
    "answer back": b"\x05\x1b[c\x1b[6n\x1bZ",
    "another screen": b"\x1b[?1049h\x1b[2J\x1b[H",
    "overwritten line": b"rm -rf /\rls      \n",
    "taken back": b"evil\x08\x08\x08\x08good\x7f",
    "eight-bit control": "\x9b31m\x9d0;title\x9c\x85".encode(),
    "eight-bit control, raw": b"\x9b31m\x9d0;x\x9c",
    "reordered": "\u202e\u2066gpj.exe\u2069\u200f\u061c\ufeff".encode(),
    "line ends that are none": "a\u2028b\u2029c\x0bd\x0ce".encode(),
    "device control": b"\x1bP$q q\x1b\\\x1b_Ga=T;\x1b\\\x1b^x\x1b\\",
    "hidden": b"\x1b[8mhidden\x1b[0m\x1b#8\x0e\x0f",
    "every byte": bytes(range(1, 256)),
}
EVERYTHING = b"".join(SPELLS.values())
# Names of files and programs hold neither.
NAME = EVERYTHING.replace(b"/", b"").replace(b"\\", b"")[:200]


def obeyed(text: str) -> set[str]:
    """Return the characters in a text that a terminal would obey, or that hide what is there."""
    return {
        char
        for char in text
        if char not in "\n\t" and unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    }


@case("H54", TERMINAL)
async def test_the_api_keeps_every_byte(arena: Arena) -> None:
    program = await arena.bring("echo")
    argv: list[str | bytes] = [program, EVERYTHING]
    done = await arena.session.exec(argv, check=True)
    assert done.stdout_bytes == EVERYTHING + b"\0"
    assert done.stdout == (EVERYTHING + b"\0").decode("utf-8", "replace")
    pieces = [event async for event in arena.session.exec_stream(argv)]
    data = [event.data for event in pieces if isinstance(event, Stdout)]
    assert b"".join(data) == EVERYTHING + b"\0"
    for shown in (done, *pieces):
        assert obeyed(repr(shown)) == set()
    await arena.session.write_file("x", EVERYTHING)
    assert await arena.session.read_file("x") == EVERYTHING


@case("H54", TERMINAL)
@pytest.mark.slow
async def test_the_command_line_shows_it_as_text(arena: Arena, tmp_path: Path) -> None:
    program = await arena.bring("echo")
    # As a shell passes bytes on.
    words = ("exec", arena.session.id, "--", program, EVERYTHING.decode("utf-8", "surrogateescape"))
    ended = await asyncio.to_thread(Fumehood(tmp_path), *words)
    assert (ended.code, ended.err) == (0, b"")
    assert obeyed(ended.text) == set()
    # Nothing is left out: each is spelled out where it stood.
    assert ended.text == printable((EVERYTHING + b"\0").decode("utf-8", "replace"))


FLOOD = """
import sys
for number in range(100_000):
    sys.stdout.write(f"\\x1b[3{number % 8}m")
    sys.stderr.write("\\r\\x1b[K")
sys.stdout.write("\\n")
"""


@case("H54", TERMINAL)
@pytest.mark.slow
async def test_a_flood_of_colours_is_as_many_words(python: Arena, tmp_path: Path) -> None:
    await python.session.write_file("flood.py", FLOOD)
    ended = await asyncio.to_thread(
        Fumehood(tmp_path), "exec", python.session.id, "--", "python3", "flood.py"
    )
    assert ended.text == "".join(rf"\x1b[3{number % 8}m" for number in range(100_000)) + "\n"
    assert ended.errors == r"\x0d\x1b[K" * 100_000
    kept = {Stdout: 0, Stderr: 0}
    async for event in python.session.exec_stream(["python3", "flood.py"]):
        if not isinstance(event, Exit):
            kept[type(event)] += len(event.data)
    assert kept == {Stdout: 500_001, Stderr: 400_000}


@case("H54", TERMINAL)
async def test_errors_and_logs_show_it_as_text(
    arena: Arena, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="fumehood")
    session = arena.session
    program = await arena.bring("complain")
    name = NAME.decode("utf-8", "surrogateescape")
    attempts: list[Callable[[], Awaitable[object]]] = [
        lambda: session.exec([program, EVERYTHING], check=True),
        lambda: session.exec([f"/{name}"]),
        lambda: session.exec([f"./{name}/x"]),
        lambda: session.exec([program], cwd=name),
        lambda: session.exec([program], user=name),
        lambda: session.exec([program], env={name: "x"}),
        lambda: session.shell(name, cwd="/absent" + name),
        lambda: session.read_file(name),
        lambda: session.read_file(name, root="/"),
        lambda: session.write_file(f"x/{name}", b""),
        lambda: session.list_files(name),
        lambda: session.rename(name, "other"),
        lambda: session.remove(name),
    ]
    await session.write_file("x", b"")
    for number, attempt in enumerate(attempts):
        with pytest.raises(SandboxError) as caught:
            await attempt()
        error = caught.value
        for text in (str(error), repr(error), "".join(traceback.format_exception(error))):
            assert obeyed(text) == set(), number
    assert [record for record in caplog.records if obeyed(record.getMessage())] == []


@case("H54", TERMINAL)
@pytest.mark.slow
async def test_names_of_files_are_shown_as_text_and_kept(arena: Arena, tmp_path: Path) -> None:
    session = arena.session
    # As the workload makes them: the API takes fewer.
    program = await arena.bring("makename")
    made = b"n\x1b]0;title\x07\r\n\x9b31m" + "\u202e".encode()
    await session.exec([program, made], check=True)
    entries = {entry.path: entry for entry in await session.list_files()}
    name = made.decode("utf-8", "surrogateescape")
    assert name in entries
    assert obeyed(repr(entries[name])) == set()
    fumehood = Fumehood(tmp_path)
    ended = await asyncio.to_thread(fumehood, "cp", "-r", f"{session.id}:.", "landed")
    assert obeyed(ended.text + ended.errors) == set()
