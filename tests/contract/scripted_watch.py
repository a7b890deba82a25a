"""What the scripts of test_watch.py do in memory: the same to the same files."""

from __future__ import annotations

from collections.abc import Callable

from fumehood.testing import CommandCall, MemoryFiles

IN_ORDER = "cd w1; echo 1 >a; mkdir d; echo 2 >sub/b; mv a c; rm c; rmdir d"
MANY_WRITES = "cd w2; for i in 1 2 3 4 5 6 7 8 9; do echo $i >>f; done; chmod 600 f"
DEEP = "cd w3; for i in 1 2 3 4 5; do mkdir -p $i/x/y; echo >$i/x/y/f; done"
PREPARE_MOVES = "mkdir -p w4/in/a/b w4out/c"
MOVES_INSIDE = "mv w4/in/a w4/z; echo >w4/z/b/f"
MOVES_OUT_AND_IN = "mv w4/z w4gone; echo >w4gone/b/g; mv w4out w4/came; echo >w4/came/c/h"
PREPARE_IGNORED = "mkdir -p w6/node_modules/a w6/src"
IGNORED = "cd w6; echo >node_modules/a/f; echo >x.tmp; echo >src/a; mkdir src/node_modules"
UNIGNORED = "cd w6; mv x.tmp x; mv x y.tmp"
ONE_ALONE = "echo >w7/sub/f; mkdir w7/d; echo >w7/d/f; echo >w7/g"
REMOVES_ROOT = "rm -r w8"
MOVES_ROOT = "mv w8 w8gone"
MAKES_OUTSIDE = "echo >/tmp/w9"
REMOVES_OUTSIDE = "rm /tmp/w9"
MANY_FILES = (
    "import os\n"
    "for i in range(40000):\n"
    "    os.close(os.open(f'{i:0200}', os.O_CREAT))\n"
    "    os.unlink(f'{i:0200}')\n"
)
LATER = "mkdir -p w10/later/on; echo >w10/later/on/f"
PREPARE_LIMIT = "mkdir -p w11/a w11/b"
OVER_LIMIT = "mkdir w11/c"
REPLACES = "echo 2 >w13/f; mv w13/f w13/g"


def _in_order(files: MemoryFiles) -> None:
    files.write("w1/a", "1\n")
    files.mkdir("w1/d")
    files.write("w1/sub/b", "2\n")
    files.move("w1/a", "w1/c")
    files.remove("w1/c")
    files.remove("w1/d")


def _many_writes(files: MemoryFiles) -> None:
    # A mode cannot be changed in memory: its change would be one more that is put together.
    for number in range(1, 10):
        files.write("w2/f", files.read("w2/f") + f"{number}\n".encode())


def _deep(files: MemoryFiles) -> None:
    for number in range(1, 6):
        files.write(f"w3/{number}/x/y/f", "\n")


def _moves_inside(files: MemoryFiles) -> None:
    files.move("w4/in/a", "w4/z")
    files.write("w4/z/b/f", "\n")


def _moves_out_and_in(files: MemoryFiles) -> None:
    files.move("w4/z", "w4gone")
    files.write("w4gone/b/g", "\n")
    files.move("w4out", "w4/came")
    files.write("w4/came/c/h", "\n")


def _ignored(files: MemoryFiles) -> None:
    for name in ("node_modules/a/f", "x.tmp", "src/a"):
        files.write(f"w6/{name}", "\n")
    files.mkdir("w6/src/node_modules")


def _unignored(files: MemoryFiles) -> None:
    files.move("w6/x.tmp", "w6/x")
    files.move("w6/x", "w6/y.tmp")


def _one_alone(files: MemoryFiles) -> None:
    for name in ("sub/f", "d/f", "g"):
        files.write(f"w7/{name}", "\n")


def _many_files(files: MemoryFiles) -> None:
    # More than a watch keeps for its reader, in fewer steps than it takes a kernel's pipes.
    for number in range(10_000):
        files.write(f"w10/{number:0200}", b"")
        files.remove(f"w10/{number:0200}")


def _replaces(files: MemoryFiles) -> None:
    files.write("w13/f", "2\n")
    files.move("w13/f", "w13/g")


def _makes(*paths: str) -> Callable[[MemoryFiles], None]:
    def make(files: MemoryFiles) -> None:
        for path in paths:
            files.mkdir(path)

    return make


_SCRIPTS: dict[str, Callable[[MemoryFiles], None]] = {
    IN_ORDER: _in_order,
    MANY_WRITES: _many_writes,
    DEEP: _deep,
    PREPARE_MOVES: _makes("w4/in/a/b", "w4out/c"),
    MOVES_INSIDE: _moves_inside,
    MOVES_OUT_AND_IN: _moves_out_and_in,
    PREPARE_IGNORED: _makes("w6/node_modules/a", "w6/src"),
    IGNORED: _ignored,
    UNIGNORED: _unignored,
    ONE_ALONE: _one_alone,
    REMOVES_ROOT: lambda files: files.remove("w8"),
    MOVES_ROOT: lambda files: files.move("w8", "w8gone"),
    MAKES_OUTSIDE: lambda files: files.write("/tmp/w9", "\n"),
    REMOVES_OUTSIDE: lambda files: files.remove("/tmp/w9"),
    LATER: lambda files: files.write("w10/later/on/f", "\n"),
    PREPARE_LIMIT: _makes("w11/a", "w11/b"),
    OVER_LIMIT: _makes("w11/c"),
    REPLACES: _replaces,
}


def _script(does: Callable[[MemoryFiles], None]) -> Callable[[CommandCall], None]:
    return lambda call: does(call.files)


WATCH_COMMANDS: dict[str | tuple[str, ...], Callable[[CommandCall], None]] = {
    ("python3", "-c", MANY_FILES): _script(_many_files),
    **{("sh", "-ec", text): _script(does) for text, does in _SCRIPTS.items()},
}
