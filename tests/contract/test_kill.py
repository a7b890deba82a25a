"""A command that must end ends with everything it has started, and nothing else does."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable

import pytest

from cases.invariants import eventually_none, now
from contract.adapter import Api
from contract.conftest import workload
from contract.observer import Observer
from contract.programs import TREES, alive, python
from fumehood import AsyncSession, ExecReason, ExecResult, Limits, Stdout

SHAPES = [name for name in TREES if name != "a fork bomb"]


async def nothing_of(observer: Observer, session: AsyncSession, marker: str) -> None:
    """Assert that nothing with a marker is alive, seen from inside and by the engine."""
    assert await alive(session, marker) == []
    assert [line for line in await workload(observer, session.id) if marker in line] == []


async def out_of_time(
    session: AsyncSession,
    argv: list[str],
    *,
    stood: Callable[[ExecResult], object],
    user: str | int | None = None,
) -> ExecResult:
    """Run what never ends into its timeout; on a busy machine with more time, until it stood.

    Args:
        argv: the command.
        stood: tells from the result whether all of it was there when its time was over.
        user: whose it is.
    """
    for seconds in (1, 5, 20):
        result = await session.exec(argv, timeout=seconds, user=user)
        assert result.reason is ExecReason.TIMED_OUT
        if stood(result):
            return result
    raise AssertionError("not all of it was ever there")


def said_so(result: ExecResult) -> bool:
    """Tell whether a tree has said that it stands."""
    return result.stdout == "partial output\n"


@pytest.mark.parametrize("shape", SHAPES)
async def test_nothing_of_a_command_is_alive_after_its_timeout(
    session: AsyncSession, observer: Observer, shape: str
) -> None:
    marker = f"timeout-{shape}"
    result = await out_of_time(session, TREES[shape].argv(marker), stood=said_so)
    await nothing_of(observer, session, marker)
    assert result.killed >= TREES[shape].least
    assert result.left_running == 0
    assert (await session.exec(["echo", "usable"], check=True)).stdout == "usable\n"


async def test_a_timeout_ends_a_plain_sleep_and_a_shell_around_it(
    session: AsyncSession, observer: Observer
) -> None:
    for argv in (["sleep", "31337"], ["sh", "-c", "sleep 31337; true"]):
        result = await session.exec(argv, timeout=1)
        assert result.timed_out
        assert [line for line in await workload(observer, session.id) if "31337" in line] == []


async def test_a_fork_bomb_is_gone_after_its_timeout(api: Api, observer: Observer) -> None:
    async with api.session(limits=Limits(pids=128)) as session:
        argv = TREES["a fork bomb"].argv("bomb")
        await out_of_time(session, argv, stood=lambda result: result.killed >= 10)
        await nothing_of(observer, session, "bomb")
        assert (await session.exec(["echo", "usable"], check=True)).stdout == "usable\n"


@pytest.mark.parametrize("user", ["user", 4242])
async def test_the_processes_of_any_user_are_killed(
    session: AsyncSession, observer: Observer, user: str | int
) -> None:
    marker = f"user-{user}"
    argv = TREES["double fork"].argv(marker)
    result = await out_of_time(session, argv, stood=said_so, user=user)
    assert result.killed == 2
    await nothing_of(observer, session, marker)


async def test_a_tree_that_changes_its_users_is_killed(api: Api, observer: Observer) -> None:
    from fumehood import Security

    async with api.session(
        security=Security(workload_capabilities=("SETUID", "SETGID"))
    ) as session:
        source = (
            "import os, signal\n"
            "for uid in (1, 1000, 4242, 65534):\n"
            "    if os.fork() == 0:\n"
            "        os.setgid(uid); os.setuid(uid)\n"
            "        while True: signal.pause()\n"
            "while True: signal.pause()\n"
        )
        argv = python(source, "users")
        result = await out_of_time(session, argv, stood=lambda result: result.killed >= 5)
        assert result.killed == 5
        await nothing_of(observer, session, "users")


async def test_the_end_by_a_signal_takes_the_tree_along(
    session: AsyncSession, observer: Observer
) -> None:
    source = (
        "import os, signal, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    while True: signal.pause()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    result = await session.exec(python(source, "signalled"))
    assert (result.reason, result.signal) == (ExecReason.SIGNALED, signal.SIGKILL)
    assert (result.killed, result.left_running) == (1, 0)
    await nothing_of(observer, session, "signalled")


async def test_what_a_command_leaves_in_the_background_lives_on_until_the_session_ends(
    api: Api, observer: Observer
) -> None:
    async with api.session() as session:
        source = (
            "import os, signal\n"
            "for _ in range(3):\n"
            "    if os.fork() == 0:\n"
            "        os.setsid()\n"
            "        while True: signal.pause()\n"
        )
        result = await session.exec(python(source, "background"), check=True)
        assert (result.left_running, result.killed) == (3, 0)
        await session.exec(["sleep", "60"], timeout=0.3)
        assert len(await alive(session, "background")) == 3
    assert await observer.container(session.id) is None


async def test_killing_one_command_leaves_the_others_as_they_are(api: Api) -> None:
    async with api.session() as session:
        await session.exec(
            python("import os, signal\nif os.fork() == 0: signal.pause()", "bystander")
        )
        counting = "import time\nfor n in range(150): print(n, flush=True); time.sleep(0.01)\n"
        innocents = [
            asyncio.create_task(session.exec(python(counting), check=True)) for _ in range(4)
        ]
        for shape in ("new pids all the time", "fifty sessions", "signals ignored"):
            assert (await session.exec(TREES[shape].argv("guilty"), timeout=0.5)).timed_out
        for innocent in innocents:
            result = await innocent
            assert result.stdout.split() == [str(number) for number in range(150)]
        assert await alive(session, "guilty") == []
        assert len(await alive(session, "bystander")) == 1


async def test_many_commands_run_out_of_time_together(
    session: AsyncSession, observer: Observer
) -> None:
    names = ["double fork", "setsid child", "signals ignored", "sleeping"] * 4
    results = await asyncio.gather(
        *(session.exec(TREES[name].argv("together"), timeout=1.5) for name in names)
    )
    for name, result in zip(names, results, strict=True):
        assert result.reason is ExecReason.TIMED_OUT
        # Sixteen at once are slow to grow, and there may be one more while they do: what has said
        # that it stands was killed whole.
        if result.stdout:
            assert result.killed == TREES[name].least
        else:
            assert result.killed >= 1
    await nothing_of(observer, session, "together")


# --- a caller that goes away ------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["sleeping", "double fork", "signals ignored"])
@pytest.mark.flavours("async")
async def test_cancelling_the_caller_kills_the_tree_before_it_returns(
    session: AsyncSession, observer: Observer, shape: str
) -> None:
    marker = f"cancel-{shape}"
    stream = session.exec_stream(TREES[shape].argv(marker), timeout=None)
    assert isinstance(await anext(stream), Stdout)
    tasks = [
        asyncio.ensure_future(anext(stream)),
        asyncio.ensure_future(session.exec(TREES[shape].argv(marker), timeout=None)),
    ]
    while len(await alive(session, marker)) < 2 * TREES[shape].least:
        assert not any(task.done() for task in tasks)
    for task in tasks:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await nothing_of(observer, session, marker)


@pytest.mark.flavours("async")
async def test_a_timeout_of_the_caller_kills_the_tree_before_it_returns(
    session: AsyncSession, observer: Observer
) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await session.exec(TREES["double fork"].argv("outer"), timeout=None)
    await nothing_of(observer, session, "outer")


@pytest.mark.flavours("async")
async def test_a_cancelled_caller_leaves_no_channel_and_no_task(session: AsyncSession) -> None:
    before = asyncio.all_tasks()
    for _ in range(20):
        task = asyncio.create_task(session.exec(["cat"], input=bytes(1 << 20), timeout=None))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert session.statistics()["live"] == 0
    # The session may be moving to a stream past the engine, and closes the first one: that ends.
    assert await eventually_none(lambda: now({*map(str, asyncio.all_tasks() - before)})) == []


INTERRUPTED = """
import sys, threading, _thread
from fumehood import DockerSandbox
with DockerSandbox(image="fumehood/test-python", pull="never") as sandbox:
    with sandbox.create_session(id=sys.argv[1]) as session:
        try:
            session.exec(["sh", "-c", "touch up; sleep 31338"], timeout=None)
        except KeyboardInterrupt:
            pass
        else:
            sys.exit("not interrupted")
        found = session.exec(["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\\\0' ' '"])
        print("left" if "sleep 31338" in found.stdout else "gone", flush=True)
"""


@pytest.mark.flavours("blocking")
async def test_ctrl_c_kills_the_tree_and_the_session_goes_on(api: Api, observer: Observer) -> None:
    session_id = api.new_id()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", INTERRUPTED, session_id, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(60):
            while not any("sleep 31338" in line for line in await _lines(observer, session_id)):
                await asyncio.sleep(0.02)
            process.send_signal(signal.SIGINT)
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            os.kill(process.pid, signal.SIGKILL)
            await process.wait()
    assert (output, process.returncode) == (b"gone\n", 0)
    assert await observer.container(session_id) is None


async def _lines(observer: Observer, session_id: str) -> list[str]:
    found = await observer.container(session_id)
    if found is None or not found["State"]["Running"]:
        return []
    return await observer.processes(session_id)
