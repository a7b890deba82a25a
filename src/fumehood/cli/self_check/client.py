"""What becomes of a session whose client is killed: nothing of it may be left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from fumehood import AsyncDockerSandbox
from fumehood.cli.self_check.ground import PATIENCE, NotHeldError, NotTriedError

GRACE = 10.0
"""Seconds that a session waits for a lost client, as ``fumehood run`` asks for it."""
_SLACK = 10.0
_LOOK = 0.2


@asynccontextmanager
async def killed_client(
    sandbox: AsyncDockerSandbox,
    *,
    id: str,
    image: str,
    program: bytes,
    docker_host: str | None,
    runtime: str | None,
) -> AsyncGenerator[asyncio.Task[str]]:
    """Start another client, kill it once its command runs, and watch what becomes of its session.

    Args:
        sandbox: asks the engine; nothing is created with it.
        id: of the session; whatever happens, it is gone at the end of the block.
        image: which is on the engine.
        program: all attacks, as :func:`ground.load` returns them.
        docker_host: the engine, as the command line got it.
        runtime: the OCI runtime, as the command line got it.

    Yields:
        what waits until the session is gone, and returns how long that took; it raises
        :class:`NotHeldError` when it is not gone in time.
    """
    async with _file_of(program) as path:
        words = [*(["--docker-host", docker_host] if docker_host else []), "run", "--quiet"]
        words += ["--id", id, "--image", image, "--pull", "never", "--timeout", "0", "--ttl", "2m"]
        words += ["--runtime", runtime] if runtime else []
        words += ["--file", f"{path}:tree", "--", "/workspace/tree", "daemons"]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "fumehood.cli",
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={key: value for key, value in os.environ.items() if key != "FUMEHOOD_DEBUG"},
        )
        task = asyncio.create_task(_watch(sandbox, process, id), name="fumehood-killed-client")
        try:
            yield task
        finally:
            task.cancel()
            # Whoever awaited it has its error; here it only has to be over.
            await asyncio.gather(task, return_exceptions=True)
            await _kill(process)
            await sandbox.destroy_session(id)


@asynccontextmanager
async def _file_of(program: bytes) -> AsyncGenerator[Path]:
    """Give a program as a file of this machine, for the other client to send."""

    def write() -> Path:
        path = Path(tempfile.mkdtemp(prefix="fumehood-")) / "tree"
        path.write_bytes(program)
        path.chmod(0o755)
        return path

    path = await asyncio.to_thread(write)
    try:
        yield path
    finally:
        await asyncio.to_thread(shutil.rmtree, path.parent)


async def _watch(sandbox: AsyncDockerSandbox, process: asyncio.subprocess.Process, id: str) -> str:
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE):
            said = await process.stdout.readline()
    except TimeoutError as exc:
        raise NotTriedError("the other client did not come up in time") from exc
    if said != b"up\n" or not await _is_there(sandbox, id):
        await _kill(process)
        errors = (await process.stderr.read()).decode("utf-8", "replace").strip()
        raise NotTriedError(f"the other client did not come up: {errors[-200:]}")
    await _kill(process)
    begin = time.monotonic()
    while await _is_there(sandbox, id):
        if time.monotonic() - begin > GRACE + _SLACK:
            raise NotHeldError(f"its session is still there {GRACE + _SLACK:.0f} s later")
        await asyncio.sleep(_LOOK)
    return f"gone {time.monotonic() - begin:.1f} s later, with a grace of {GRACE:.0f} s"


async def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    await process.wait()


async def _is_there(sandbox: AsyncDockerSandbox, id: str) -> bool:
    return any(info.id == id for info in await sandbox.list_sessions())
