"""A call that is cancelled at any of its steps ends, and leaves nothing half-done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from cases.invariants import eventually_none
from cases.mark import case
from faults.conftest import MakeSandbox
from faults.engine import OwnEngine
from faults.steps import cancelled_at
from fumehood import (
    AsyncSession,
    FileEntry,
    Hooks,
    Manifest,
    SessionCreated,
    SessionState,
    Workspace,
)

CREATION = "A failed or cancelled creation leaves nothing"
KILL = "A command that runs out of time, or whose caller is cancelled"
FILES = "The file API never leaves the workspace"
CONTENT = b"0123456789abcdef" * 16 * 1024


@case("X42", CREATION)
async def test_a_creation_cancelled_at_any_step_leaves_nothing(
    engine: OwnEngine, sandbox: MakeSandbox
) -> None:
    manifest = Manifest(files={"one": "1", "two": CONTENT}, directories=("three",))
    made: list[AsyncSession] = []

    async def told(_: SessionCreated) -> None:
        await asyncio.sleep(0)

    async with sandbox(hooks=Hooks(on_session_create=told)) as box:
        first = await box.create_session()  # the supervisor is on the engine
        await first.destroy(wait=True)

        async def create() -> None:
            made.append(await box.create_session(id="stepped", manifest=manifest))

        step = 1
        while await cancelled_at(step, create):
            assert made == [], f"step {step}"
            assert await engine.observer.left("") == [], f"step {step}"
            step += 1
        await made[0].destroy()
    assert step > 8, "it had hardly any steps: nothing was shown"


@case("X45", CREATION)
async def test_a_destroy_cancelled_at_any_step_goes_on_to_its_end(
    engine: OwnEngine, sandbox: MakeSandbox
) -> None:
    workspace = Workspace.persistent("stepped", destroy_with_session=True)
    step, more = 0, True
    async with sandbox() as box:
        while more:
            session = await box.create_session(workspace=workspace)
            more = await cancelled_at(step, session.destroy)
            # Once begun it goes on by itself; nobody has to ask twice. A cancellation before the
            # first step has begun nothing.
            if step == 0:
                assert session.state is SessionState.RUNNING
                await session.destroy()
            assert await eventually_none(lambda: engine.observer.left("")) == [], f"step {step}"
            step += 1
    assert step > 3, "it had hardly any steps: nothing was shown"


Call = Callable[[AsyncSession], Awaitable[object]]


async def command(session: AsyncSession) -> object:
    return await session.exec(["sh", "-c", "cat; sleep 0.05"], input=CONTENT)


async def piecewise(session: AsyncSession) -> object:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield CONTENT[: 64 * 1024]

    return await session.exec(["cat"], input=pieces())


async def stream(session: AsyncSession) -> object:
    return [event async for event in session.exec_stream(["head", "-c", "500000", "/dev/zero"])]


async def many(session: AsyncSession) -> object:
    async with asyncio.TaskGroup() as group:
        return [group.create_task(session.exec(["echo", "on"])) for _ in range(4)]


@case("X43", KILL)
@pytest.mark.parametrize("call", [command, piecewise, stream, many], ids=lambda call: call.__name__)
async def test_a_command_cancelled_at_any_step_is_dead(
    engine: OwnEngine, sandbox: MakeSandbox, call: Call
) -> None:
    async with sandbox() as box, box.create_session() as session:
        container = await engine.container_id(session.id)
        step = 1
        while await cancelled_at(step, lambda: made(call, session)):
            await only_the_supervisor(engine, container)
            await no_channel(session)
            step += 1
        await session.exec(["true"], check=True)
    assert step > 2, "it had hardly any steps: nothing was shown"


async def made(call: Call, session: AsyncSession) -> object:
    return await call(session)


async def only_the_supervisor(engine: OwnEngine, container: str) -> None:
    """Fail if a cancelled command has left a process: it was dead before its caller went on."""

    async def others() -> list[str]:
        return [name for name in engine.names(container) if name in ("sh", "sleep", "cat", "head")]

    assert await eventually_none(others) == []


async def no_channel(session: AsyncSession) -> None:
    """Fail if a channel stays open; one whose iteration was left is closed a moment later."""

    async def live() -> list[str]:
        count = session.statistics()["live"]
        return [f"{count} channels"] if count else []

    assert await eventually_none(live) == []


async def write(session: AsyncSession) -> None:
    await session.write_file("file", CONTENT)


async def write_stream(session: AsyncSession) -> object:
    async with session.write_file_stream("file") as file:
        for start in range(0, len(CONTENT), 65536):
            await file.write(CONTENT[start : start + 65536])
    return file


async def read(session: AsyncSession) -> object:
    return await session.read_file("source")


async def read_stream(session: AsyncSession) -> object:
    return b"".join([chunk async for chunk in session.read_file_stream("source")])


async def listing(session: AsyncSession) -> object:
    found: list[FileEntry] = await session.list_files()
    return found


@case("X44", FILES)
@pytest.mark.parametrize(
    "call", [write, write_stream, read, read_stream, listing], ids=lambda call: call.__name__
)
async def test_a_transfer_cancelled_at_any_step_is_whole_or_not_there(
    sandbox: MakeSandbox, call: Call
) -> None:
    async with sandbox() as box, box.create_session() as session:
        await session.write_file("source", CONTENT)
        step = 0
        while await cancelled_at(step, lambda: made(call, session)):
            found = {entry.path for entry in await session.list_files()}
            assert found <= {"source", "file"}, f"step {step}: half a file under another name"
            if "file" in found:
                assert await session.read_file("file") == CONTENT
                await session.remove("file")
            await no_channel(session)
            step += 1
        assert await session.read_file("source") == CONTENT
    assert step > 1, "it had hardly any steps: nothing was shown"
