"""A client of the Model Context Protocol that works in a session of ``fumehood mcp``.

Any client does the same: it starts the program and speaks over its standard streams. Needs
`pip install 'fumehood[mcp]'`.

    python examples/mcp_client.py
"""

from __future__ import annotations

import asyncio
import os
import sys

from mcp import Client, StdioServerParameters

IMAGE = os.environ.get("FUMEHOOD_IMAGE", "python:3.13-slim")
SERVER = StdioServerParameters(
    command=sys.executable,
    args=["-m", "fumehood.cli", "mcp", "--image", IMAGE],
    # Of its own accord a client hands a server next to nothing of its environment.
    env=dict(os.environ),
)


async def main() -> None:
    """Write a file, run it, search for it; the session ends with the connection."""
    async with Client(SERVER) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        print(f"offered: {', '.join(names)}")
        await client.call_tool(
            "write_file", {"path": "hello.py", "content": 'print("hello over MCP")\n'}
        )
        ran = await client.call_tool("exec_command", {"argv": ["python3", "hello.py"]})
        found = await client.call_tool("search_files", {"pattern": "hello", "include": ["*.py"]})
        for result in (ran, found):
            for block in result.content:
                print(getattr(block, "text", block))


if __name__ == "__main__":
    asyncio.run(main())
