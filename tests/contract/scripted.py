"""What the commands of the shared tests do in memory: the same as the programs that they name."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from contract.programs import python
from contract.scripted_egress import EGRESS_COMMANDS
from contract.scripted_terminals import TERMINAL_COMMANDS
from contract.scripted_watch import WATCH_COMMANDS
from contract.servers import ECHO, server
from fumehood.testing import CommandCall, CommandReply, Connection

FAILS = ("sh", "-c", "echo out; echo because >&2; exit 3")
HANGS = ("sh", "-c", "echo begun; exec sleep 600")
FLOODS = ("sh", "-c", "yes | head -c 3000000")
SAVES = ("sh", "-c", 'cat >"$WHERE"')

ENDS_WITH_7 = ("sh", "-c", "echo out; echo err >&2; exit 7")
COUNTS = ("sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done")
REWRITES = ("sh", "-c", "while :; do echo $((n += 1)) > n; done")
LOGS = ("sh", "-c", "for i in 1 2 3; do echo line $i; done; echo up >&2; read x")
OVERFLOWS = ("sh", "-c", "head -c 100000 /dev/zero; printf end")
UP = ("sh", "-c", "echo up; exec sleep 1000")
POLITE = ("sh", "-c", "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.01; done")
KEEPS_OUTSIDE = "echo outside > /var/tmp/kept"
WHO = ("sh", "-c", "echo $WHO")
_LISTENER = """
import socket, time
s = socket.socket()
s.bind(("127.0.0.1", 8123))
s.listen()
time.sleep(1000)
"""
LISTENS = ("python3", "-c", _LISTENER)
ECHO_PORT = 8000


async def _hang(call: CommandCall) -> None:
    await call.write("begun\n")
    await asyncio.Event().wait()


def _save(call: CommandCall) -> None:
    call.files.write(f"{call.cwd}/{call.env['WHERE']}", call.stdin)


async def _log(call: CommandCall) -> None:
    for number in (1, 2, 3):
        await call.write(f"line {number}\n")
    await call.write_error("up\n")
    await call.read_line()


async def _up(call: CommandCall) -> None:
    await call.write("up\n")
    await asyncio.Event().wait()


async def _count_up(call: CommandCall) -> None:
    for number in itertools.count(1):
        await call.write(f"{number}\n")
        await asyncio.sleep(0.01)


async def _rewrite(call: CommandCall) -> None:
    for number in itertools.count(1):
        call.files.write("n", f"{number}\n")
        await asyncio.sleep(0)


async def _polite(call: CommandCall) -> CommandReply:
    try:
        await _up(call)
    except asyncio.CancelledError:
        return CommandReply(stdout="bye\n", exit_code=5)
    raise AssertionError


async def _count(call: CommandCall) -> str:
    size = 0
    while data := await call.read():
        size += len(data)
    return f"{size}\n"


async def _listen(call: CommandCall) -> None:
    async def nothing(connection: Connection) -> None:
        await connection.read()

    with call.serve(8123, nothing):
        await asyncio.Event().wait()


async def _echo(call: CommandCall) -> None:
    async def echo(connection: Connection) -> None:
        while data := await connection.read():
            await connection.write(data)
        await connection.write(b"!")

    with call.serve(ECHO_PORT, echo):
        await call.write("listening\n")
        await asyncio.Event().wait()


COMMANDS: dict[Any, Any] = {
    FAILS: CommandReply(stdout="out\n", stderr="because\n", exit_code=3),
    HANGS: _hang,
    FLOODS: b"y\n" * 1_500_000,
    SAVES: _save,
    ENDS_WITH_7: CommandReply(stdout="out\n", stderr="err\n", exit_code=7),
    LOGS: _log,
    OVERFLOWS: bytes(100_000) + b"end",
    UP: _up,
    COUNTS: _count_up,
    REWRITES: _rewrite,
    "/hello": "hello\n",
    POLITE: _polite,
    WHO: lambda call: f"{call.env['WHO']}\n",
    ("wc", "-c"): _count,
    LISTENS: _listen,
    tuple(python(server(ECHO, ECHO_PORT))): _echo,
    ("/bin/sh", "-c", KEEPS_OUTSIDE): lambda call: call.files.write("/var/tmp/kept", "outside\n"),
    **EGRESS_COMMANDS,
    **TERMINAL_COMMANDS,
    **WATCH_COMMANDS,
}
