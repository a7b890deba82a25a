"""A forked child neither uses the parent's sessions nor keeps them alive."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from contract.adapter import PYTHON
from contract.observer import Observer

_PARENT = """
import os, signal, sys
from fumehood import DockerSandbox, Lifecycle, SandboxError
sandbox = DockerSandbox(image=sys.argv[1], pull="never", lifecycle=Lifecycle(disconnect_grace=1))
session = sandbox.create_session(id=sys.argv[2])
pid = os.fork()
if pid == 0:
    try:
        session.exec(["true"])
    except SandboxError as error:
        print("refused" if "forked" in str(error) else error, os.getpid(), flush=True)
    signal.pause()
signal.pause()
"""


async def test_a_child_that_outlives_its_parent_does_not_keep_the_session(
    observer: Observer, prefix: str
) -> None:
    session_id = f"{prefix}-forked"
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PARENT, PYTHON, session_id, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    child = 0
    try:
        said, number = (await asyncio.wait_for(parent.stdout.readline(), 60)).split()
        child = int(number)
        assert said == b"refused"
        assert await observer.container(session_id) is not None
        parent.kill()
        # Far below the heartbeat's patience of a minute, which would be the second line.
        await observer.gone(session_id, within=30)
        os.kill(child, 0)  # it is alive all the while
    finally:
        if parent.returncode is None:
            parent.kill()
        await parent.wait()
        if child:
            os.kill(child, signal.SIGKILL)
