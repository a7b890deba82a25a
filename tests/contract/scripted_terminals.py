"""What the programs of test_terminals.py do in memory: the same at the same terminal."""

from __future__ import annotations

import asyncio
from typing import Any

from contract.programs import python
from fumehood.testing import CommandCall, CommandReply

LOOKS = "tty; stty size; echo $TERM $A; pwd; test -t 0 && test -t 1 && test -t 2 && exit 7"
READY = "import sys; print('ready', flush=True); [print(repr(line)) for line in sys.stdin]"
SIZES = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.01; done"
BEFORE = "echo before; read line"
SAVES_AT_HANG_UP = "trap 'echo saved >saved; exit 9' HUP; sleep 1000 & echo ready; wait"
IGNORES_HANG_UP = "trap '' HUP; setsid sleep 1000 & echo ready; while :; do sleep 1000; done"
EXITS_WITH_4 = "exit 4"


def answers(number: int) -> str:
    """Return a script that reads a line and says it again behind a number."""
    return f"read x; echo {number}-$x"


def _look(call: CommandCall) -> CommandReply:
    assert call.size is not None
    rows, columns = call.size
    shown = f"/dev/pts/0\n{rows} {columns}\n{call.env['TERM']} {call.env['A']}\n{call.cwd}\n"
    return CommandReply(stdout=shown, exit_code=7)


async def _ready(call: CommandCall) -> None:
    await call.write("ready\n")
    while line := await call.read_line():
        await call.write(f"{line!r}\n")


async def _sizes(call: CommandCall) -> None:
    await call.write("ready\n")
    while True:
        rows, columns = await call.resized()
        await call.write(f"{rows} {columns}\n")


async def _before(call: CommandCall) -> None:
    await call.write("before\n")
    await call.read_line()


async def _save(call: CommandCall) -> int:
    await call.write("ready\n")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        call.files.write("saved", "saved\n")
        return 9
    raise AssertionError


async def _ignore(call: CommandCall) -> None:
    await call.write("ready\n")
    # The hang-up, and not what comes when its time is over: a test leaves no task behind.
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await asyncio.Event().wait()


async def _answer(call: CommandCall) -> str:
    number = call.argv[-1].removeprefix("read x; echo ").removesuffix("-$x")
    return f"{number}-{await call.read_line()}"


def _sh(script: str) -> tuple[str, ...]:
    return ("sh", "-c", script)


TERMINAL_COMMANDS: dict[str | tuple[str, ...], Any] = {
    _sh(LOOKS): _look,
    tuple(python(READY)): _ready,
    _sh(SIZES): _sizes,
    _sh(BEFORE): _before,
    _sh(SAVES_AT_HANG_UP): _save,
    _sh(IGNORES_HANG_UP): _ignore,
    _sh(EXITS_WITH_4): 4,
    **{_sh(answers(number)): _answer for number in range(20)},
    ("pgrep", "sleep"): 1,  # a script has no children
}
