"""What a case puts into its session first, and what it lets run there beside itself."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

from fumehood import AsyncSession, SandboxError, Stdout
from hostile.arena import Arena

OUTSIDE = "/tmp/outside"
SECRET = b"secret"

T = TypeVar("T")


async def build(arena: Arena, *steps: str, user: str | None = None) -> None:
    """Take steps of ``attacks/scene.c``, such as ``link:NAME:TARGET``.

    Args:
        arena: where.
        steps: what to do, in turn; the workspace is the current directory.
        user: who does it, instead of the arena's user.
    """
    program = await arena.bring("scene")
    await arena.session.exec([program, *steps], user=user or arena.kind.user, check=True)


async def hide_a_secret(arena: Arena) -> None:
    """Put a file outside of the workspace, where the workload itself could read and write it."""
    await build(arena, f"dir:{OUTSIDE}", f"file:{OUTSIDE}/f:{SECRET.decode()}")


async def secret_is_as_it_was(session: AsyncSession) -> bool:
    """Say whether nothing was changed, added or removed there."""
    names = [entry.name for entry in await session.list_files(OUTSIDE, root="/")]
    return names == ["f"] and await session.read_file(f"{OUTSIDE}/f", root="/") == SECRET


@contextlib.asynccontextmanager
async def beside(arena: Arena, name: str, *arguments: str) -> AsyncIterator[None]:
    """Let a program of ``attacks/`` be at work in the session until the end of the block."""
    program = await arena.bring(name)
    argv = [program, *arguments]
    async with arena.session.exec_stream(argv, user=arena.kind.user, timeout=None) as stream:
        started = await anext(stream)
        assert isinstance(started, Stdout), started
        assert started.text == "up\n"
        yield


async def outcome(call: Awaitable[T]) -> T | SandboxError:
    """Return what an operation gives: its value, or its error where that has a type of ours."""
    try:
        return await call
    except SandboxError as error:
        return error


async def names(session: AsyncSession, path: str = ".") -> list[str]:
    """Return every path in a directory of the workspace, hidden and temporary ones too."""
    return [entry.path for entry in await session.list_files(path, recursive=True)]
