"""The door of the MCP server over HTTP, when the server is to end."""

from __future__ import annotations

import asyncio
from typing import cast

from starlette.types import Message, Receive, Scope, Send

from fumehood.mcp.http import Gate
from fumehood.mcp.server import SandboxServer

PATIENCE = 10.0


class Sessions:
    """Stands for the server: the end of its sessions answers who asks."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def end_all(self) -> None:
        self.ended.set()


class Client:
    """One request at the door."""

    def __init__(self, gate: Gate, method: str) -> None:
        self.sent: list[Message] = []
        scope: Scope = {"type": "http", "method": method, "path": "/mcp", "headers": []}
        self.request = asyncio.create_task(self._ask(gate, scope))

    async def _ask(self, gate: Gate, scope: Scope) -> None:
        async def receive() -> Message:
            return {"type": "http.request"}

        async def send(message: Message) -> None:
            self.sent.append(message)

        await gate(scope, receive, send)

    @property
    def status(self) -> int | None:
        return self.sent[0]["status"] if self.sent else None


async def test_who_has_asked_is_answered_before_the_end_and_nobody_after_it() -> None:
    sessions = Sessions()
    let_in = asyncio.Semaphore(0)
    closed = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        let_in.release()
        await (closed if scope["method"] == "GET" else sessions.ended).wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    gate = Gate(app, cast("SandboxServer", sessions), None)
    async with asyncio.timeout(PATIENCE):
        stream, call = Client(gate, "GET"), Client(gate, "POST")
        await let_in.acquire()
        await let_in.acquire()
        assert (stream.status, call.status) == (None, None)
        await gate.end()
        # The stream is not waited for: its client would hold it open for ever.
        assert (stream.status, call.status) == (None, 200)
        late = Client(gate, "POST")
        await late.request
        assert late.status == 503
        closed.set()
        await asyncio.gather(stream.request, call.request)
