"""Programs that are none, that are being written, and the one that is the supervisor's."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from cases.mark import case
from fumehood import (
    CommandError,
    CommandNotExecutableError,
    CommandNotFoundError,
    SandboxError,
)
from hostile.arena import Arena

SUPERVISOR = "The workload cannot stop, trace or speak as the supervisor"


def elf(machine: int = 0x3E, kind: int = 2, entries: int = 0, interpreter: bytes = b"") -> bytes:
    """Return a 64-bit ELF header, of whatever machine, with nothing behind it or an interpreter."""
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += kind.to_bytes(2, "little") + machine.to_bytes(2, "little") + b"\x01\0\0\0"
    head += bytes(8) + (64).to_bytes(8, "little") + bytes(8) + bytes(4) + (64).to_bytes(2, "little")
    head += (56).to_bytes(2, "little") + entries.to_bytes(2, "little") + bytes(6)
    if interpreter:
        place = 64 + 56
        size = len(interpreter).to_bytes(8, "little")
        head += (3).to_bytes(4, "little") + (4).to_bytes(4, "little") + place.to_bytes(8, "little")
        head += bytes(16) + size + size + bytes(8) + interpreter
    return head


PROGRAMS: Mapping[str, bytes] = {
    "empty": b"",
    "text": b"echo hello\n",
    "no-interpreter": b"#!/no/such/interpreter\n",
    "directory-interpreter": b"#!/\n",
    "empty-interpreter": b"#!\n",
    "endless-interpreter": b"#!" + b"/" * 100_000,
    "own-interpreter": b"#!/workspace/own-interpreter\n",
    "nul": bytes(4096),
    "of-another-machine": elf(machine=0xFFFF),
    "arm": elf(machine=0xB7),
    "cut-elf": elf()[:30],
    "no-segments": elf(entries=0),
    "too-many-segments": elf(entries=0xFFFF),
    "absent-loader": elf(kind=3, entries=1, interpreter=b"/no/such/loader\0"),
    "endless-loader": elf(kind=3, entries=1, interpreter=b"/" * 9000),
    "core-dump": elf(kind=4),
}


@case("H58", SUPERVISOR)
async def test_what_is_no_program_is_a_typed_error_and_no_exit_code(arena: Arena) -> None:
    session = arena.session
    for name, content in PROGRAMS.items():
        await session.write_file(name, content, mode=0o755)
        with pytest.raises(CommandNotExecutableError, match=name):
            await session.exec([f"{session.workdir}/{name}"])
    await session.write_file("no-mode", elf(), mode=0o644)
    await session.make_directory("directory")
    for path in ("no-mode", "directory", "."):
        with pytest.raises(CommandNotExecutableError):
            await session.exec([f"{session.workdir}/{path}"])
    for path in ("absent", "absent/x", "empty/x", "x" * 300, "x/" * 2500):
        with pytest.raises(CommandError) as caught:
            await session.exec([f"{session.workdir}/{path}"])
        assert len(str(caught.value)) < 12_000
    assert await arena.alive()


@case("H58", SUPERVISOR)
async def test_a_program_that_is_being_written_is_a_typed_error(arena: Arena) -> None:
    session = arena.session
    program = await arena.bring("echo")
    target = await arena.bring("hello")
    async with session.exec_stream([program, "busy", target], timeout=30) as busy:
        await anext(busy)
        with pytest.raises(CommandNotExecutableError, match=r"(?i)text file busy"):
            await session.exec([target])
    assert (await session.exec([target])).stdout == "hello\n"


@case("X36", SUPERVISOR)
@pytest.mark.slow
async def test_the_supervisors_own_program_is_of_no_use_to_a_command(arena: Arena) -> None:
    # It may be executed by everybody, as it must be, and by nobody read.
    for program in ("/.fumehood/supervisor", "/proc/self/exe"):
        for user in ("0", "12345"):
            for words in ([], ["relay"], ["install", "/dev/shm/taken"]):
                try:
                    done = await arena.session.exec([program, *words], user=user, timeout=5)
                except (CommandNotExecutableError, CommandNotFoundError):
                    continue
                assert not done.ok, (program, words)
                assert not done.timed_out
    assert not await arena.session.exists("/dev/shm/taken", root="/")
    with pytest.raises(SandboxError):
        await arena.session.read_file("/.fumehood/supervisor", root="/")
    assert await arena.alive()
