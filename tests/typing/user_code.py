"""What users write, as the type checkers see it. Never run: mypy and pyright read it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import assert_never, assert_type

from fumehood import (
    AsyncDockerSandbox,
    AsyncSession,
    CommandFailedError,
    DockerSandbox,
    EffectiveLimits,
    EndReason,
    EngineInfo,
    ErrorCode,
    ExecEnded,
    ExecEvent,
    ExecResult,
    ExecStarted,
    Exit,
    FileEntries,
    FileError,
    Hooks,
    Lifecycle,
    Limits,
    Manifest,
    Network,
    PullProgress,
    SandboxError,
    Security,
    Session,
    SessionEndedError,
    SessionInfo,
    SessionState,
    Stderr,
    Stdout,
    SweepReport,
    TextPage,
    Workspace,
)


def started(event: ExecStarted) -> None:
    assert_type(event.argv, tuple[str, ...])


async def ended(event: ExecEnded) -> None:
    assert_type(event.result, ExecResult | None)


def progress(step: PullProgress) -> None:
    print(step.layer, step.current / (step.total or 1))


SANDBOX = DockerSandbox(
    image="node:22-bookworm",
    pull="missing",
    workspace=Workspace.persistent("user-42", destroy_with_session=False),
    lifecycle=Lifecycle(ttl=600, idle_timeout=timedelta(minutes=1), disconnect_grace=5.5),
    limits=Limits(timeout=30, max_output_bytes=64_000, memory_mb=512, cpus=1),
    network=Network.none(),
    security=Security(workload_capabilities=("CHOWN",)),
    env={"A": "1"},
    user=1000,
    labels={"team": "x"},
    hooks=Hooks(on_exec_start=started, on_exec_end=ended, on_destroy=lambda event: None),
    progress=progress,
)


def presets() -> None:
    assert_type(DockerSandbox.python(), DockerSandbox)
    assert_type(DockerSandbox.node("24", network=Network.bridge()), DockerSandbox)
    assert_type(AsyncDockerSandbox.deno(limits=Limits(pids=64), user="deno"), AsyncDockerSandbox)


def blocking() -> None:
    with SANDBOX.create_session(
        id="one",
        manifest=Manifest(files={"a.py": "x", "b.bin": b"\0"}, directories=("out",)),
        metadata={"for": "me"},
        ports=[8080],
    ) as session:
        assert_type(session, Session)
        assert_type(session.id, str)
        assert_type(session.state, SessionState)
        assert_type(session.end_reason, EndReason | None)
        assert_type(session.effective_limits, EffectiveLimits)
        assert_type(session.published_ports, Mapping[int, int])
        assert_type(session.metadata, Mapping[str, str])
        result = session.exec(["node", Path("a.js"), b"\xff"], timeout=None, input="x", check=True)
        assert_type(result, ExecResult)
        assert_type(result.stdout, str)
        assert_type(result.stdout_bytes, bytes)
        assert_type(result.signal, int | None)
        assert_type(result.check(), ExecResult)
        assert_type(session.shell("ls", timeout=timedelta(seconds=3)), ExecResult)
        assert_type(session.exec(["cat"], input=[b"a", b"b"]), ExecResult)
        for event in session.exec_stream(["make"]):
            assert_type(event, ExecEvent)
            handle(event)
        with session.exec_stream(["make"]) as stream:
            assert_type(next(stream), ExecEvent)
            stream.close()
        assert_type(session.read_file("f"), bytes)
        assert_type(session.read_text_file("f", encoding="latin-1", root="/"), str)
        assert_type(session.read_text_file_page("f", start_line=3), TextPage)
        assert_type(session.list_files(), FileEntries)
        assert_type(session.stat("f").type == "directory", bool)
        assert_type(session.exists("f"), bool)
        for chunk in session.read_file_stream("f"):
            assert_type(chunk, bytes)
        with session.write_file_stream("f") as file:
            file.write(bytearray(b"x"))
            assert_type(file.size, int)
        session.write_file("f", memoryview(b"x"))
        session.extend(ttl=None)
        assert_type(session.wait_ended(), EndReason)
    with SANDBOX.connect("one") as joined:
        assert_type(joined, Session)
    assert_type(SANDBOX.list_sessions(), list[SessionInfo])
    assert_type(SANDBOX.gc(), SweepReport)
    assert_type(SANDBOX.engine_info(), EngineInfo)
    SANDBOX.close()


def handle(event: ExecEvent) -> str:
    """Every event is one of three: a checker knows when one is forgotten."""
    if isinstance(event, (Stdout, Stderr)):
        assert_type(event, Stdout | Stderr)
        return event.text
    if isinstance(event, Exit):
        return event.result.reason
    assert_never(event)


def matched(event: ExecEvent) -> None:
    match event:
        case Stdout(data, text):
            assert_type(data, bytes)
            assert_type(text, str)
        case Stderr():
            pass
        case Exit(result):
            assert_type(result, ExecResult)


async def awaited() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"x"

    async with AsyncDockerSandbox() as sandbox, sandbox.create_session() as session:
        assert_type(sandbox, AsyncDockerSandbox)
        assert_type(session, AsyncSession)
        assert_type(await session.exec(["x"], input=pieces()), ExecResult)
        async for event in session.exec_stream(["x"]):
            assert_type(event, ExecEvent)
        async with session.exec_stream(["x"]) as stream:
            assert_type(await anext(stream), ExecEvent)
        assert_type(await session.read_file("f"), bytes)
        assert_type([chunk async for chunk in session.read_file_stream("f")], list[bytes])
        async with session.write_file_stream("f") as file:
            await file.write(b"x")
    assert_type(await sandbox.create_session(), AsyncSession)
    assert_type(await sandbox.connect("one"), AsyncSession)
    async with sandbox.connect("one") as joined:
        assert_type(joined, AsyncSession)
    assert_type(await sandbox.list_sessions(), list[SessionInfo])


def failing(session: Session) -> Iterator[str]:
    try:
        session.exec(["x"], check=True)
    except CommandFailedError as error:
        assert_type(error.result, ExecResult)
        assert_type(error.code, ErrorCode)
    except FileError as error:
        assert_type(error.path, str)
    except SessionEndedError as error:
        assert_type(error.reason, str)
    except SandboxError as error:
        assert_type(error.session_id, str | None)
        assert_type(error.retryable, bool)
        yield error.message
