"""Fifty commands at once in one session, with the asynchronous API."""

from __future__ import annotations

import asyncio
import os

from fumehood import AsyncDockerSandbox

IMAGE = os.environ.get("FUMEHOOD_IMAGE", "python:3.13-slim")


async def main() -> None:
    """Start them, gather them, add their results up."""
    async with AsyncDockerSandbox(image=IMAGE) as sandbox, sandbox.create_session() as session:
        commands = (session.shell(f"echo $(({n} * {n}))", check=True) for n in range(50))
        results = await asyncio.gather(*commands)
        print("sum of squares:", sum(int(result.stdout) for result in results))


if __name__ == "__main__":
    asyncio.run(main())
