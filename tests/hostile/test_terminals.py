"""Terminals in hostile hands: other people's, endless, shouting, held on to, used up."""

from __future__ import annotations

import asyncio

import pytest

from cases.mark import case
from fumehood import ResourceLimitError
from fumehood.terminals import AsyncTerminal
from hostile.arena import Arena
from hostile.test_terminal import EVERYTHING

OWNED = "A terminal belongs to its user"
END = "A terminal's end is its program's"
SHARED = "Terminals for every session whatever the others do"

# Everything that one process can try on a terminal that another one sits at.
STEAL = """
import errno, fcntl, os, sys, termios
path = sys.argv[1]
def attempt(what, do):
    try:
        do()
        print(what, "ok")
    except OSError as exc:
        print(what, errno.errorcode[exc.errno])
assert os.getsid(0) == os.getpid()
attempt("read", lambda: os.open(path, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK))
attempt("write", lambda: os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK))
attempt("chmod", lambda: os.chmod(path, 0o666))
attempt("remove", lambda: os.unlink(path))
attempt("replace", lambda: os.rename(path, path + "x"))
def take(force):
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    fcntl.ioctl(fd, termios.TIOCSCTTY, force)
attempt("control", lambda: take(0))
attempt("control-by-force", lambda: take(1))
# A leader without a terminal that opens one gets it, unless it has an owner.
try:
    os.open(path, os.O_RDWR | os.O_NONBLOCK)
except OSError:
    pass
attempt("controls-after-open", lambda: os.open("/dev/tty", os.O_RDWR))
"""

HOG = """
import errno, os, time
held, code = [], 0
for _ in range(10_000):
    try:
        held.append(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY))
    except OSError as exc:
        code = exc.errno
        break
print(len(held), errno.errorcode.get(code), flush=True)
time.sleep(1000)
"""


def program(source: str, *arguments: str) -> list[str]:
    return ["python3", "-S", "-c", source, *arguments]


async def read_until(terminal: AsyncTerminal, wanted: bytes) -> bytes:
    seen = b""
    async with asyncio.timeout(30):
        while wanted not in seen:
            data = await terminal.read()
            assert data, seen
            seen += data
    return seen


async def steal(arena: Arena, path: str, user: str) -> dict[str, str]:
    done = await arena.session.exec(program(STEAL, path), user=user, check=True)
    return dict(line.split() for line in done.stdout.splitlines())


@case("X80", OWNED)
async def test_another_user_does_nothing_to_a_terminal(python: Arena) -> None:
    session = python.session
    async with session.open_terminal(["sh", "-c", "tty; cat"], user="1000") as terminal:
        path = (await read_until(terminal, b"\n")).decode().strip()
        # Root has none of root's capabilities. 5 is the group that an engine mounts terminals for.
        for user in ("65532", "65532:5", "0"):
            attempts = await steal(python, path, user)
            assert attempts.pop("controls-after-open") == "ENXIO"
            assert attempts.pop("remove") in ("EPERM", "EACCES")
            assert attempts.pop("replace") in ("EPERM", "EACCES")
            assert attempts == {
                "read": "EACCES",
                "write": "EACCES",
                "chmod": "EPERM",
                "control": "EACCES",
                "control-by-force": "EACCES",
            }, user
        # It is as it was.
        await terminal.write("still mine\r")
        await read_until(terminal, b"still mine\r\nstill mine\r\n")


@case("X81", OWNED)
async def test_its_own_user_cannot_take_its_control_away(python: Arena) -> None:
    session = python.session
    script = "tty; trap 'echo interrupted' INT; while :; do read line; done"
    async with session.open_terminal(["bash", "-c", script], user="1000") as terminal:
        path = (await read_until(terminal, b"\n")).decode().strip()
        attempts = await steal(python, path, "1000")
        assert attempts["control"] == attempts["control-by-force"] == "EPERM"
        assert attempts["controls-after-open"] == "ENXIO"
        # Keys still act on those who sit at it.
        await terminal.write(b"\x03")
        await read_until(terminal, b"interrupted")


@case("X82", END)
async def test_escape_bombs_arrive_as_bytes_and_act_on_nothing_here(python: Arena) -> None:
    await python.session.write_file("bomb", EVERYTHING)
    script = "stty raw -echo; cat bomb; echo over"
    async with python.session.open_terminal(["sh", "-c", script]) as terminal:
        shown = b"".join([data async for data in terminal])
        assert shown == EVERYTHING + b"over\n"
        assert "\x1b" not in repr(terminal)
    assert await python.alive()


@case("X83", END)
async def test_who_floods_or_holds_on_delays_no_end(python: Arena) -> None:
    session = python.session
    for holder in ("yes", "sleep 1000", "cat"):
        script = f"trap '' HUP; for n in 1 2 3; do setsid {holder} & done; echo said; exit 5"
        async with asyncio.timeout(30), session.open_terminal(["sh", "-c", script]) as terminal:
            async for _ in terminal:
                pass
            assert (await terminal.wait()).exit_code == 5
    script = "stty raw; while :; do cat /dev/zero; done"
    async with asyncio.timeout(30), session.open_terminal(["sh", "-c", script]) as terminal:
        assert await terminal.read()
        # Nobody reads on, and somebody types what nobody takes.
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await terminal.write(b"x" * (2 << 20))
    assert terminal.result is not None
    assert await python.alive()


@case("X84", SHARED)
@pytest.mark.slow
async def test_ten_thousand_terminals_are_an_error_of_their_own(python: Arena) -> None:
    session = python.session
    hog = await session.open_terminal(program(HOG))
    held, code = (await read_until(hog, b"\n")).split()
    assert int(held) > 500
    assert code in (b"ENOSPC", b"EMFILE")
    if code == b"ENOSPC":
        with pytest.raises(ResourceLimitError, match=r"kernel\.pty\.max"):
            async with session.open_terminal(["true"]) as terminal:
                await terminal.read()
    assert await python.alive()
    await hog.aclose()
    async with session.open_terminal(["echo", "again"]) as terminal:
        assert await terminal.read() == b"again\r\n"
