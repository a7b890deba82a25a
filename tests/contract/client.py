"""A client in a process of its own, to be killed: ``python client.py FLAVOUR SCENE ID GRACE``.

It says ``ready`` once it is in the middle of its scene, and goes on until it is ended.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import cast

from contract.adapter import Api, Flavour
from contract.programs import TREES
from fumehood import AsyncSession, Lifecycle, Limits, Stderr, Stdout

LARGE = Limits(max_file_bytes=1 << 40, timeout=None)
BLOCK = bytes(1 << 20)


def ready() -> None:
    print("ready", flush=True)


async def idle(session: AsyncSession) -> None:
    ready()
    await asyncio.Event().wait()


async def execs(session: AsyncSession) -> None:
    """Five commands, each with a process that has left its session and closed its descriptors."""
    streams = [session.exec_stream(TREES["double fork"].argv("work")) for _ in range(5)]
    for stream in streams:
        await anext(stream)
    ready()
    await asyncio.gather(*(anext(stream) for stream in streams))


async def upload(session: AsyncSession) -> None:
    async with session.write_file_stream("large") as file:
        for number in range(1 << 30):
            await file.write(BLOCK)
            if number == 20:
                ready()


async def download(session: AsyncSession) -> None:
    await session.exec(["truncate", "-s", "100G", "large"], check=True)
    size = 0
    async for chunk in session.read_file_stream("large"):
        size += len(chunk)
        if size >= 20 << 20 and size - len(chunk) < 20 << 20:
            ready()


async def stalled(session: AsyncSession) -> None:
    """A command that floods a reader which has stopped: the engine's buffers are full."""
    stream = session.exec_stream(["cat", "/dev/zero"])
    await anext(stream)
    ready()
    await asyncio.Event().wait()
    await stream.aclose()


async def process(session: AsyncSession) -> None:
    """A managed process that goes on when a file appears; what was read of it is in another one."""
    script = (
        "import os, time\n"
        "for number in range(20000):\n"
        "    os.write(1 + number % 2, b'%09d\\n' % number)\n"
        "    while number == 500 and not os.path.exists('go'): time.sleep(0.01)\n"
    )
    # A change of the stream with each line: of a smaller log the beginning might be forgotten.
    started = await session.start_process(
        ["python3", "-c", script], name="counter", log_bytes=4 << 20
    )
    stream = started.stream()
    seen = bytearray()
    while b"000000300\n" not in seen:
        event = await anext(stream)
        if isinstance(event, (Stdout, Stderr)):
            seen += event.data
    await session.write_file("seen", bytes(seen))
    ready()
    await asyncio.Event().wait()
    await stream.aclose()


async def leave(session: AsyncSession) -> None:
    """End without a word to anybody."""
    ready()
    os._exit(3)


SCENES = {
    scene.__name__: scene for scene in (idle, execs, upload, download, stalled, process, leave)
}


async def main(flavour: str, scene: str, session_id: str, grace: str, *lease: str) -> None:
    ttl, idle_timeout, detached = (float(item) if item else None for item in lease or ("",) * 3)
    api = Api(cast("Flavour", flavour), "client")
    sandbox = api.sandbox(
        limits=LARGE,
        lifecycle=Lifecycle(
            disconnect_grace=float(grace),
            ttl=ttl,
            idle_timeout=idle_timeout,
            detached=bool(detached),
        ),
    )
    session = await sandbox.create_session(id=session_id)
    await SCENES[scene](session)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
