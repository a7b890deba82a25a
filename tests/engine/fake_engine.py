"""An endpoint that answers as a test wants an engine to answer."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

VERSION: dict[str, Any] = {
    "Version": "20.10.24",
    "ApiVersion": "1.41",
    "MinAPIVersion": "1.12",
    "Os": "linux",
    "Arch": "amd64",
    "Components": [{"Name": "Engine", "Version": "20.10.24"}],
}
INFO: dict[str, Any] = {
    "ID": "A:B",
    "OSType": "linux",
    "Architecture": "x86_64",
    "ServerVersion": "20.10.24",
    "MemoryLimit": True,
    "SwapLimit": True,
    "PidsLimit": True,
    "CpuCfsQuota": True,
    "Runtimes": {"runc": {"path": "runc"}},
    "DefaultRuntime": "runc",
    "SecurityOptions": ["name=seccomp,profile=default"],
    "SystemTime": "2026-01-01T00:00:00.123456789Z",
    "Warnings": None,
}

_VERSIONED = re.compile(r"/(?:v(\d+\.\d+)/)?(.*)")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FakeEngine:
    """Answers ``/version`` and ``/info`` with what it is given, and the rest by handlers.

    A request in a version that it does not speak is refused in a real engine's words.
    """

    def __init__(
        self, *, version: dict[str, Any] | None = None, info: dict[str, Any] | None = None
    ) -> None:
        self.version = VERSION | (version or {})
        self.info = INFO | (info or {})
        self.paths: list[str] = []
        self.handlers: dict[str, Handler] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        self.paths.append(f"{request.method} {path}")
        spoken, bare = _VERSIONED.fullmatch(path).groups()  # type: ignore[union-attr]
        if spoken is not None and (refusal := self._refusal(spoken)):
            return web.json_response({"message": refusal}, status=400)
        for prefix, handler in self.handlers.items():
            if bare.startswith(prefix):
                return await handler(request)
        if bare == "version":
            return web.json_response(self.version)
        if bare == "info":
            return web.json_response(self.info)
        return web.json_response({"message": f"no such thing: {bare}"}, status=404)

    def _refusal(self, spoken: str) -> str | None:
        newest, oldest = self.version["ApiVersion"], self.version["MinAPIVersion"]
        if _number(spoken) < _number(oldest):
            return (
                f"client version {spoken} is too old. Minimum supported API version is {oldest}, "
                "please upgrade your client to a newer version"
            )
        if _number(spoken) > _number(newest):
            return f"client version {spoken} is too new. Maximum supported API version is {newest}"
        return None


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


@asynccontextmanager
async def serving(engine: FakeEngine, directory: Path) -> AsyncIterator[str]:
    """Serve an engine on a unix socket; give its address."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", engine.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        path = directory / "engine.sock"
        await web.UnixSite(runner, str(path)).start()
        yield f"unix://{path}"
    finally:
        await runner.cleanup()
