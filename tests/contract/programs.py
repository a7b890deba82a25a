"""What runs inside the containers: small programs of known shape.

Each takes a marker as its last argument. Forked children keep their command line, so that every
process of a program can be found by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fumehood import AsyncSession

_PRELUDE = """
import ctypes, os, platform, signal, sys, time
libc = ctypes.CDLL(None, use_errno=True)

def up():
    os.write(1, b"partial output\\n")

def wait():
    while True:
        signal.pause()

def close_all():
    os.chdir("/")
    for fd in range(3):
        os.close(fd)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A command that never ends by itself and writes a line once all of its processes are up."""

    source: str
    least: int
    """Processes that it has at every moment, at least."""

    def argv(self, marker: str) -> list[str]:
        """Return the command."""
        return ["python3", "-c", _PRELUDE + self.source, marker]


TREES = {
    "sleeping": Tree(source="up(); wait()", least=1),
    "setsid child": Tree(
        source="""
if os.fork() == 0:
    os.setsid()
    wait()
up(); wait()
""",
        least=2,
    ),
    "double fork": Tree(
        source="""
ready, done = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    close_all()
    os.write(done, b"1")
    os.close(done)
    wait()
os.close(done)
os.wait()
os.read(ready, 1)
up(); wait()
""",
        least=2,
    ),
    "signals ignored": Tree(
        source="""
for number in set(range(1, 32)) - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
for _ in range(3):
    if os.fork() == 0:
        while True:
            time.sleep(100)
up()
while True:
    time.sleep(100)
""",
        least=4,
    ),
    "new pids all the time": Tree(
        source="""
for _ in range(20):
    if os.fork() == 0:
        os.setsid()
        while True:
            if os.fork():
                os._exit(0)
            os.setsid()
            time.sleep(0.005)
up(); wait()
""",
        least=1,
    ),
    "fifty sessions": Tree(
        source="""
for _ in range(50):
    if os.fork() == 0:
        os.setsid()
        wait()
up(); wait()
""",
        least=51,
    ),
    "a sibling by CLONE_PARENT": Tree(
        source="""
number = {"x86_64": 56, "aarch64": 220}[platform.machine()]
if libc.syscall(number, 0x00008000 | signal.SIGCHLD, 0, 0, 0, 0) == 0:
    wait()
up(); wait()
""",
        least=2,
    ),
    "a subreaper of its own": Tree(
        source="""
libc.prctl(36, 1, 0, 0, 0)
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid()
        wait()
    os._exit(0)
os.wait()
up(); wait()
""",
        least=2,
    ),
    "a stopped child": Tree(
        source="""
child = os.fork()
if child == 0:
    wait()
os.kill(child, signal.SIGSTOP)
os.waitpid(child, os.WUNTRACED)
up(); wait()
""",
        least=2,
    ),
    "a fork bomb": Tree(
        source="""
up()
while True:
    try:
        os.fork()
    except OSError:
        pass
""",
        least=1,
    ),
}


_SCAN = """
import os, sys
marker = sys.stdin.buffer.read()
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        line = open(f"/proc/{pid}/cmdline", "rb").read()
        state = open(f"/proc/{pid}/stat", "rb").read().rpartition(b")")[2].split()[0]
    except OSError:
        continue
    if marker in line.split(b"\\0") and state not in b"ZX":
        print(pid)
"""


async def alive(session: AsyncSession, marker: str) -> list[int]:
    """Return the pids, inside the container, of what runs with a marker as an argument."""
    # The marker comes as input, so that the search does not find itself.
    result = await session.exec(["python3", "-c", _SCAN], input=marker, check=True)
    return [int(line) for line in result.stdout.split()]


def python(source: str, *arguments: str) -> list[str]:
    """Return the command that runs some Python."""
    return ["python3", "-c", source, *arguments]


Stream = Literal["stdout", "stderr"]


def write_bytes(count: int, stream: Stream = "stdout", *, fill: str = "x") -> list[str]:
    """Return a command that writes exactly so many bytes."""
    return python(
        "import sys\n"
        "left = int(sys.argv[1]); block = sys.argv[3].encode() * 65536\n"
        "out = getattr(sys, sys.argv[2]).buffer\n"
        "while left: left -= out.write(block[:left])\n",
        str(count),
        stream,
        fill,
    )
