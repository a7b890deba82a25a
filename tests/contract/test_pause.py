"""A pause: commands stand still, and everything that ends a session goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import aclosing

import pytest

from contract.adapter import PYTHON, SCRATCH, Api
from contract.observer import Observer
from contract.scripted import COUNTS, POLITE, UP
from fumehood import (
    EndReason,
    Exit,
    Lifecycle,
    OperationTimeoutError,
    SessionEndedError,
    SessionPausedError,
    SessionState,
    Stdout,
)

MEMORY = pytest.mark.engines("docker", "memory")


@MEMORY
async def test_a_stream_stops_and_goes_on_where_it_was(api: Api) -> None:
    async with (
        api.session() as session,
        aclosing(session.exec_stream(COUNTS)) as stream,
    ):
        seen = ""
        states: list[SessionState] = []
        async for event in stream:
            assert isinstance(event, Stdout)
            seen += event.text
            if seen.endswith("5\n"):
                assert await session.pause() >= 1
                states.append(session.state)
                await session.unpause()
                states.append(session.state)
            if seen.count("\n") > 40:
                break
        assert states[:2] == [SessionState.PAUSED, SessionState.RUNNING]
        numbers = [int(line) for line in seen.splitlines()[:40]]
        assert numbers == list(range(1, 41))


@MEMORY
async def test_no_command_starts_and_files_can_be_used(api: Api) -> None:
    async with api.session() as session:
        await session.write_file("f", b"1")
        assert await session.pause() == 0
        with pytest.raises(SessionPausedError, match="unpause") as caught:
            await session.exec(["true"])
        assert caught.value.retryable
        assert caught.value.session_id == session.id
        assert await session.read_file("f") == b"1"
        await session.unpause()
        assert (await session.exec(["cat", "f"])).stdout == "1"


@MEMORY
async def test_a_timeout_does_not_run(api: Api) -> None:
    async with api.session() as session:
        stream = session.exec_stream(UP, timeout=1)
        async with aclosing(stream):
            assert isinstance(await anext(stream), Stdout)
            assert await session.pause() == 1
            end = asyncio.ensure_future(anext(stream))
            done, _ = await asyncio.wait({end}, timeout=2)
            assert not done
            await session.unpause()
            last = await end
            assert isinstance(last, Exit)
            assert last.result.timed_out


@MEMORY
async def test_a_signal_to_what_stands_still_is_heard_afterwards(api: Api) -> None:
    async with api.session() as session:
        process = await session.start_process(POLITE)
        async with process.stream() as stream:
            assert isinstance(await anext(stream), Stdout)
        assert await session.pause() >= 1
        await process.signal(signal.SIGTERM)
        with pytest.raises(SessionPausedError):
            await process.signal(signal.SIGCONT)
        with pytest.raises(OperationTimeoutError):
            await process.wait(1)
        await session.unpause()
        result = await process.wait(30)
        assert (result.stdout, result.exit_code) == ("up\nbye\n", 5)


@MEMORY
async def test_a_command_that_is_given_up_is_killed_in_a_pause(api: Api) -> None:
    async with api.session() as session:
        stream = session.exec_stream(UP)
        assert isinstance(await anext(stream), Stdout)
        process = await session.start_process(UP)
        assert await session.pause() == 2
        await stream.aclose()
        assert (await process.stop(grace=0)).killed == 1
        assert await session.pause() == 2
        await session.unpause()
        assert await session.pause() == 0
        await session.unpause()


@MEMORY
async def test_an_image_without_anything_is_paused_like_any(api: Api) -> None:
    async with api.session(SCRATCH) as session:
        assert await session.pause() == 0
        await session.unpause()
        assert (await session.exec(["/hello"])).ok


async def test_a_paused_session_is_destroyed_and_leaves_nothing(
    api: Api, observer: Observer
) -> None:
    async with api.session() as session:
        await session.shell("sleep 600 & setsid sleep 600 &")
        assert await session.pause() == 2
        await session.destroy()
        assert session.state is SessionState.ENDED
        with pytest.raises(SessionEndedError):
            await session.unpause()
        await observer.gone(session.id, within=30)


@MEMORY
async def test_the_ttl_ends_a_paused_session(api: Api, observer: Observer) -> None:
    async with api.session(lifecycle=Lifecycle(ttl=2)) as session:
        await session.start_process(["sleep", "600"])
        assert await session.pause() == 1
        assert await session.wait_ended() is EndReason.TTL
        await observer.gone(session.id, within=30)


@MEMORY
async def test_another_client_sees_the_pause_and_ends_it(api: Api) -> None:
    async with (
        api.sandbox(lifecycle=Lifecycle(ttl=600)) as sandbox,
        sandbox.create_session() as session,
        sandbox.connect(session.id) as other,
    ):
        await session.pause()
        with pytest.raises(SessionPausedError):
            await other.exec(["true"])
        await other.unpause()
        await session.exec(["true"], check=True)


_PAUSER = """
import signal, sys
from fumehood import DockerSandbox, Lifecycle
sandbox = DockerSandbox(image=sys.argv[1], pull="never", lifecycle=Lifecycle(disconnect_grace=1))
session = sandbox.create_session(id=sys.argv[2])
session.shell("sleep 600 & setsid sleep 600 &")
assert session.pause() == 2
print("paused", flush=True)
signal.pause()
"""


async def test_a_client_that_is_killed_leaves_no_paused_session(
    api: Api, observer: Observer
) -> None:
    session_id = api.new_id()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PAUSER, PYTHON, session_id, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"paused\n"
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    await observer.gone(session_id, within=30)
