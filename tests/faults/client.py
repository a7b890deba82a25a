"""A program with a session, which comes to an end as its first argument says.

    python client.py SCENE ADDRESS IMAGE SESSION_ID GRACE HEARTBEAT

It prints ``ready`` once it is where the test wants it.
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import os
import resource
import signal
import sys
import threading
from collections.abc import Awaitable, Callable

from fumehood import (
    AsyncDockerSandbox,
    AsyncSession,
    DockerSandbox,
    Lifecycle,
    Limits,
    Pool,
    Session,
    SessionEndedError,
)

LIMITS = Limits(timeout=None, memory_mb=64, pids=64, max_file_bytes=1 << 30)


def ready() -> None:
    print("ready", flush=True)


async def idle(session: AsyncSession) -> None:
    ready()
    await asyncio.Event().wait()


async def busy(session: AsyncSession) -> None:
    """Five commands with children, a file of 100 MB on its way in, and another on its way out."""
    line = ["sh", "-c", "echo up; sleep 600 & sleep 600"]
    streams = [session.exec_stream(line) for _ in range(5)]
    for stream in streams:
        await anext(stream)
    await session.exec(["truncate", "-s", "100M", "outward"], check=True)
    reader = session.read_file_stream("outward")
    await anext(reader)
    async with session.write_file_stream("inward") as file:
        for number in range(100):
            await file.write(bytes(1_000_000))
            if number == 40:
                ready()
                await asyncio.Event().wait()


async def abort(session: AsyncSession) -> None:
    ready()
    os.abort()


async def fault(session: AsyncSession) -> None:
    ready()
    ctypes.string_at(0)


async def another_program(session: AsyncSession) -> None:
    """The process lives on as something else."""
    ready()
    os.execv("/bin/sleep", ["sleep", "600"])


async def heir(session: AsyncSession) -> None:
    """A child that knows nothing of the session holds the connection and outlives its parent."""
    if os.fork() == 0:
        signal.pause()
    ready()
    os._exit(0)


async def children(session: AsyncSession) -> None:
    """Children that end in every way; the session is their parent's."""

    def unhandled() -> None:
        raise RuntimeError("unhandled")

    def in_a_thread() -> None:
        thread = threading.Thread(target=sys.exit)
        thread.start()
        thread.join()

    for way in (lambda: os._exit(3), unhandled, sys.exit, in_a_thread, lambda: None):
        child = os.fork()
        if child == 0:
            try:
                way()
            finally:
                # As an interpreter ends that was not forked from within a running loop.
                atexit._run_exitfuncs()
                os._exit(0)
        os.waitpid(child, 0)  # noqa: ASYNC222 - it is what is waited for, and short
        assert (await session.exec(["echo", "on"], check=True)).stdout == "on\n"
    ready()
    await asyncio.Event().wait()


async def hungry(session: AsyncSession) -> None:
    """Take memory without end."""
    ready()
    await asyncio.to_thread(sys.stdin.readline)
    taken = []
    while True:
        taken.append(bytearray(os.urandom(1 << 20)))


async def until_told(session: AsyncSession) -> None:
    """Wait for the session's end, and say what it was."""
    running = asyncio.ensure_future(session.exec(["sleep", "600"]))
    await session.ping()
    ready()
    try:
        await running
    except SessionEndedError as error:
        print(type(error).__name__, await session.wait_ended(), flush=True)


async def interrupted_close(session: AsyncSession) -> None:
    ready()
    await asyncio.to_thread(sys.stdin.readline)
    await session.destroy(wait=True)


def closed_loop(sandbox: AsyncDockerSandbox, session_id: str) -> None:
    """Close the event loop under a session with a command under way."""
    loop = asyncio.new_event_loop()
    session = loop.run_until_complete(sandbox.create_session(id=session_id)._make())
    running = loop.create_task(session.exec(["sleep", "600"]))
    loop.run_until_complete(session.ping())
    del running
    loop.close()
    ready()


def at_exit(sandbox: DockerSandbox, session_id: str) -> None:
    """End a session when the interpreter ends, whatever is gone by then."""
    session = sandbox.create_session(id=session_id)
    atexit.register(session.destroy)
    ready()


def blocked(sandbox: DockerSandbox, session_id: str) -> None:
    """Wait in a blocking call, and say how it ended."""
    session: Session = sandbox.create_session(id=session_id)
    reporter = threading.Timer(0, ready)
    reporter.start()
    try:
        session.exec(["sleep", "600"])
    except SessionEndedError as error:
        print(type(error).__name__, error.reason, flush=True)


def blocked_create(sandbox: DockerSandbox, session_id: str) -> None:
    """Be in the middle of a creation."""
    ready()
    with sandbox, sandbox.create_session(id=session_id):
        signal.pause()


SCENES: dict[str, Callable[[AsyncSession], Awaitable[None]]] = {
    scene.__name__: scene
    for scene in (
        idle,
        busy,
        abort,
        fault,
        another_program,
        heir,
        children,
        hungry,
        until_told,
        interrupted_close,
    )
}


async def create(sandbox: AsyncDockerSandbox, session_id: str) -> None:
    """Be in the middle of a creation."""
    ready()
    async with sandbox, sandbox.create_session(id=session_id):
        await asyncio.Event().wait()


async def pool(sandbox: AsyncDockerSandbox, session_id: str) -> None:
    """Have containers that wait, one session from among them, and more on their way."""
    await sandbox.warm_up()
    first = await sandbox.create_session(id=session_id)
    await first.exec(["true"], check=True)
    ready()
    await asyncio.Event().wait()


async def stop(session: AsyncSession) -> None:
    """Write a file in each place, and stop once the test says so."""
    await session.write_file("kept", "x")
    await session.exec(["sh", "-c", "echo x > /kept"], check=True)
    ready()
    await asyncio.to_thread(sys.stdin.readline)
    await session.stop()


async def fork(session: AsyncSession) -> None:
    """Fork a session with a file once the test says so."""
    await session.write_file("kept", "x")
    ready()
    await asyncio.to_thread(sys.stdin.readline)
    await session.fork(2)
    await asyncio.Event().wait()


async def resume(sandbox: AsyncDockerSandbox, session_id: str) -> None:
    """Be in the middle of bringing a session back."""
    ready()
    await sandbox.resume(session_id)
    await asyncio.Event().wait()


async def moves(sandbox: AsyncDockerSandbox, path: str) -> None:
    """Be in the middle of writing a snapshot to a file, or of taking it in from there."""
    ready()
    if os.path.exists(path):  # noqa: PTH110, ASYNC240 - nothing else is on this loop
        await sandbox.import_snapshot(path, name="taken")
    else:
        await sandbox.export_snapshot("point", path)
    await asyncio.Event().wait()


async def play(scene: str, sandbox: AsyncDockerSandbox, session_id: str) -> None:
    if scene == "create":
        await create(sandbox, session_id)
    elif scene == "pool":
        await pool(sandbox, session_id)
    elif scene == "resume":
        await resume(sandbox, session_id)
    elif scene == "moves":
        await moves(sandbox, session_id)
    elif scene in ("stop", "fork"):
        act = stop if scene == "stop" else fork
        await act(await sandbox.create_session(id=session_id))
    else:
        await SCENES[scene](await sandbox.create_session(id=session_id))


def main(scene: str, address: str, image: str, session_id: str, grace: str, heartbeat: str) -> None:
    # A shell has its background jobs ignore Ctrl-C, and so would whatever they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # A crash is meant here and needs no picture.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    lifecycle = Lifecycle(disconnect_grace=float(grace), heartbeat_timeout=float(heartbeat))
    blocking = {scene.__name__: scene for scene in (at_exit, blocked, blocked_create)}
    if scene in blocking:
        blocking[scene](
            DockerSandbox(
                image=image, pull="never", docker_host=address, lifecycle=lifecycle, limits=LIMITS
            ),
            session_id,
        )
        return
    sandbox = AsyncDockerSandbox(
        image=image,
        pull="never",
        docker_host=address,
        lifecycle=lifecycle,
        limits=LIMITS,
        pool=Pool(min_idle=3) if scene == "pool" else None,
    )
    if scene == "closed_loop":
        closed_loop(sandbox, session_id)
    else:
        asyncio.run(play(scene, sandbox, session_id))


if __name__ == "__main__":
    main(*sys.argv[1:])
