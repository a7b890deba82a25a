"""A command that writes 100 MB of text, and taking all of it."""

from __future__ import annotations

from fumehood import AsyncSession, Exit

SIZE = 100_000_000
_LINE = "012345678901234567890123456789012345678901234567890123456789abc"
COMMAND = f"yes {_LINE} | head -c {SIZE}"


async def take(session: AsyncSession) -> None:
    """Stream the command's output to this process and let go of each piece at once."""
    size = 0
    async for event in session.exec_stream(["sh", "-c", COMMAND]):
        if isinstance(event, Exit):
            event.result.check()
        else:
            size += len(event.data)
    if size != SIZE:
        raise RuntimeError(f"{size} bytes came of {SIZE}")
