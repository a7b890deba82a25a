"""Sandboxes in memory: what scripts may say, and what is refused rather than silently missing."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from fumehood import (
    AsyncProcess,
    CommandError,
    CommandNotFoundError,
    EngineUnsupportedError,
    InvalidRequestError,
    Lifecycle,
    Network,
    Pool,
    SessionNotFoundError,
)
from fumehood.adapters._joined import joined
from fumehood.testing import (
    AsyncMemorySandbox,
    CommandCall,
    CommandReply,
    Commands,
    MemorySandbox,
)
from fumehood.testing._engine import MemoryEngine
from fumehood.tools import CommandRules, Failure, Policy, create_tools


async def test_a_reply_has_short_forms_and_the_longest_name_wins() -> None:
    commands: Commands = {
        "text": "out\n",
        "bytes": b"\xff",
        "code": 4,
        "nothing": None,
        "git": "any\n",
        ("git", "push"): CommandReply(stderr="no\n", exit_code=1),
        "echo": "mine\n",
    }
    async with (
        AsyncMemorySandbox(commands=commands) as sandbox,
        sandbox.create_session() as session,
    ):
        assert (await session.exec(["/usr/bin/text"])).stdout == "out\n"
        assert (await session.exec(["bytes"])).stdout_bytes == b"\xff"
        assert (await session.exec(["code"])).exit_code == 4
        assert (await session.exec(["nothing"])).ok
        assert (await session.exec(["git", "status"])).stdout == "any\n"
        assert (await session.exec(["git", "push"])).stderr == "no\n"
        assert (await session.exec(["echo", "x"])).stdout == "mine\n"
        with pytest.raises(CommandNotFoundError):
            await session.exec(["/opt/text"])


async def test_one_function_answers_all_and_leaves_the_rest_to_what_is_built_in() -> None:
    async def answer(call: CommandCall) -> object:
        return f"{call.argv} {call.cwd}" if call.argv[0] == "mine" else NotImplemented

    async with (
        AsyncMemorySandbox(commands=answer) as sandbox,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        sandbox.create_session() as session,
    ):
        assert (await session.exec(["mine"])).stdout == "('mine',) /workspace"
        assert (await session.exec(["echo", "x"])).stdout == "x\n"
        with pytest.raises(CommandNotFoundError):
            await session.exec(["none"])


async def test_a_script_that_fails_is_an_error_that_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(call: CommandCall) -> None:
        raise KeyError("mine")

    with caplog.at_level(logging.ERROR, logger="fumehood.testing"):
        async with (
            AsyncMemorySandbox(commands={"fail": fail}) as sandbox,
            sandbox.create_session() as session,
        ):
            with pytest.raises(CommandError, match="KeyError: 'mine'"):
                await session.exec(["fail"])
            assert (await session.exec(["true"])).ok
    [record] = caplog.records
    assert record.exc_info is not None


async def test_a_line_whose_streams_an_adapter_joins_runs_its_script_too() -> None:
    async def both(call: CommandCall) -> CommandReply:
        await call.write_error("first\n")
        return CommandReply(stdout="second\n", stderr="third\n", exit_code=4)

    commands: Commands = {"both": both, ("/bin/sh", "-c", "a | b"): "piped\n"}
    async with (
        AsyncMemorySandbox(commands=commands) as sandbox,
        sandbox.create_session() as session,
    ):
        result = await session.exec(joined("both -x"))
        assert (result.stdout, result.stderr, result.exit_code) == ("first\nsecond\nthird\n", "", 4)
        assert (await session.exec(joined("a | b"))).stdout == "piped\n"
        assert (await session.exec(joined("none"))).stdout == "sh: 1: none: not found\n"
        with pytest.raises(InvalidRequestError, match="script this one"):
            await session.exec(joined("a | c"))


async def test_the_idle_clock_stands_still_for_as_long_as_something_goes_on() -> None:
    begun, told = asyncio.Event(), asyncio.Event()

    async def wait(call: CommandCall) -> None:
        begun.set()
        await told.wait()

    lifecycle = Lifecycle(idle_timeout=600, detached=True)
    async with (
        AsyncMemorySandbox(commands={"wait": wait}, lifecycle=lifecycle) as sandbox,
        sandbox.create_session() as session,
    ):
        [info] = await sandbox.list_sessions()
        assert info.idle_timeout == 600
        engine = sandbox._use()
        assert isinstance(engine, MemoryEngine)
        clock = engine._made[session.nonce].supervisor._idle

        def runs() -> bool:
            return clock._timer is not None

        assert runs()
        running = asyncio.create_task(session.exec(["wait"]))
        await begun.wait()
        assert not runs()
        assert clock.left == 600
        told.set()
        await running
        async with session.watch():
            assert runs()
        await session.pause()
        assert not runs()
        await session.unpause()
        assert runs()
        assert 0 < clock.left <= 600
        # What is detached and ends when it is idle needs no other limit.
        await session.extend(ttl=None)
    assert not runs()


async def test_what_memory_cannot_do_is_refused(tmp_path: Path) -> None:
    async with AsyncMemorySandbox() as sandbox, sandbox.create_session() as session:
        degraded = {item.partition(":")[0] for item in session.effective_limits.degraded}
        assert degraded >= {"memory_mb", "pids", "cpus", "seccomp", "no_new_privileges"}
        with pytest.raises(EngineUnsupportedError, match="published ports"):
            await sandbox.create_session(ports=[80])
        await session.snapshot("kept")
        with pytest.raises(EngineUnsupportedError, match="export"):
            await sandbox.export_snapshot("kept", tmp_path / "kept.tar")
        async with AsyncMemorySandbox() as another:
            with pytest.raises(SessionNotFoundError):
                await another.connect(session.id)


async def test_what_is_scripted_while_a_session_waits_in_a_pool_can_be_run_in_it() -> None:
    async with AsyncMemorySandbox(pool=Pool(min_idle=1)) as sandbox:
        await sandbox.warm_up()
        assert await sandbox.list_sessions() == []
        sandbox.on("late", "came\n")
        async with sandbox.create_session() as session:
            assert session.start is not None
            assert session.start.kind == "warm"
            assert (await session.exec(["late"])).stdout == "came\n"
            assert (await session.stat("/usr/bin/late", root="/")).size == 0


async def test_what_waits_in_a_pool_is_no_session_and_ends_with_its_sandbox() -> None:
    sandbox = AsyncMemorySandbox(pool=Pool(min_idle=2))
    async with sandbox:
        await sandbox.warm_up()
        engine = sandbox._use()
        assert isinstance(engine, MemoryEngine)
        waiting = [made.container.session_id for made in engine._made.values()]
        assert len(waiting) == 2
        for session_id in waiting:
            with pytest.raises(SessionNotFoundError):
                await sandbox.connect(session_id)
            await sandbox.destroy_session(session_id)
        assert len(engine._made) == 2
        # One that is destroyed before the engine knows its name leaves nothing.
        session = await sandbox.create_session()
        await session.destroy()
        assert session.nonce not in engine._made
    assert engine._made == {}


async def test_what_no_session_in_memory_has_is_refused_before_there_is_one() -> None:
    async with AsyncMemorySandbox(network=Network.bridge()) as sandbox:
        with pytest.raises(EngineUnsupportedError, match="in memory"):
            await sandbox.create_session()
        assert await sandbox.list_sessions() == []
    for commands in ("git", {1: "x"}, {"git": 1.5}, {(): "x"}):
        with pytest.raises(InvalidRequestError):
            AsyncMemorySandbox(commands=commands)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidRequestError, match="exit_code"):
        CommandReply(exit_code=256)


async def test_a_command_is_ended_at_whatever_moment_its_caller_is_cancelled() -> None:
    async def hang(call: CommandCall) -> None:
        await asyncio.Event().wait()

    async with (
        AsyncMemorySandbox(commands={"hang": hang}) as sandbox,
        sandbox.create_session() as session,
    ):
        for steps in range(6):
            task = asyncio.create_task(session.exec(["hang"], timeout=None))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            async with asyncio.timeout(10):
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert session.statistics()["live"] == 0
        assert (await session.exec(["true"])).ok


# --- shells and programs ----------------------------------------------------------------------


async def test_a_plain_line_runs_as_in_a_shell_and_any_other_is_refused() -> None:
    async with (
        AsyncMemorySandbox(commands={"git": lambda call: f"{call.argv[1:]}"}) as sandbox,
        sandbox.create_session() as session,
    ):
        assert (await session.shell("git commit -m 'a b'")).stdout == "('commit', '-m', 'a b')"
        missing = await session.shell("none at all")
        assert (missing.exit_code, missing.stderr) == (127, "sh: 1: none: not found\n")
        for line in ("git a | git b", "cd x", "A=1 git", "git *", "git '", "", "git $HOME"):
            with pytest.raises(InvalidRequestError, match="plain command lines"):
                await session.shell(line)
        sandbox.on(("/bin/sh", "-c", "git a | git b"), "piped\n")
        assert (await session.shell("git a | git b")).stdout == "piped\n"


async def test_programs_can_be_added_and_rules_find_them() -> None:
    async with AsyncMemorySandbox() as sandbox:
        sandbox.on("pytest", "1 passed\n")
        with pytest.raises(InvalidRequestError):
            sandbox.on("", 1.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        async with sandbox.create_session() as session:
            policy = Policy(commands=CommandRules(allow=("pytest",)))
            tools = create_tools(session, policy=policy)
            passed = await tools.dispatch("exec_command", {"command": "pytest -q"})
            assert "1 passed" in passed.text
            refused = await tools.dispatch("exec_command", {"command": "echo x"})
            assert isinstance(refused.value, Failure)
            assert refused.value.kind == "policy"


def test_programs_can_be_added_to_a_blocking_sandbox_too() -> None:
    with MemorySandbox() as sandbox, sandbox.create_session() as session:
        sandbox.on("late", 3)
        assert session.exec(["late"]).exit_code == 3


# --- processes --------------------------------------------------------------------------------


async def stubborn(call: CommandCall) -> None:
    for _ in range(2):
        try:
            await call.write("up\n")
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await call.write("no\n")


async def until(process: AsyncProcess, text: str) -> None:
    async with process.stream() as stream:
        async for event in stream:
            if text in getattr(event, "text", ""):
                return


async def test_a_script_that_will_not_end_is_killed_after_its_grace() -> None:
    async with (
        AsyncMemorySandbox(commands={"stubborn": stubborn}) as sandbox,
        sandbox.create_session() as session,
    ):
        process = await session.start_process(["stubborn"])
        await until(process, "up")
        result = await process.stop(grace=0.01)
        assert (result.exit_code, result.killed) == (137, 1)
        assert result.stdout.startswith("up\nno\n")
        logs = await process.logs()
        await asyncio.sleep(0)
        assert await process.logs() == logs


async def test_a_process_whose_script_fails_has_crashed(caplog: pytest.LogCaptureFixture) -> None:
    def fail(call: CommandCall) -> None:
        raise KeyError("mine")

    async with (
        AsyncMemorySandbox(commands={"fail": fail}) as sandbox,
        sandbox.create_session() as session,
    ):
        result = await (await session.start_process(["fail"])).wait()
        assert (result.exit_code, result.stderr) == (1, "script of fail: KeyError: 'mine'\n")
    [record] = caplog.records
    assert record.exc_info is not None


async def test_a_process_reads_lines_and_what_is_left() -> None:
    async def reader(call: CommandCall) -> str:
        first, second, rest = await call.read_line(), await call.read_line(), await call.read()
        return f"{first!r} {second!r} {rest!r} {await call.read_line()!r}"

    async with (
        AsyncMemorySandbox(commands={"reader": reader}) as sandbox,
        sandbox.create_session() as session,
    ):
        process = await session.start_process(["reader"], stdin=True)
        for piece in ("on", "e\ntwo", "\nrest"):
            await process.write(piece)
        await process.close_stdin()
        expected = r"'one\n' 'two\n' b'rest' ''"
        assert (await process.wait()).stdout == expected
        assert (await session.exec(["reader"], input="one\ntwo\nrest")).stdout == expected


async def test_the_end_of_a_session_ends_its_processes() -> None:
    ended = asyncio.Event()

    async def run(call: CommandCall) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with AsyncMemorySandbox(commands={"run": run}) as sandbox:
        async with sandbox.create_session() as session:
            await session.start_process(["run"])
            await session.exec(["true"])
        async with asyncio.timeout(10):
            await ended.wait()


async def test_those_that_have_ended_are_forgotten_as_the_supervisor_does() -> None:
    async with AsyncMemorySandbox() as sandbox, sandbox.create_session() as session:
        for _ in range(70):
            await (await session.start_process(["true"])).wait()
        known = [process.id for process in await session.list_processes()]
        assert len(known) in (64, 65)
        assert known[-1] == "p70"


# --- trees and state --------------------------------------------------------------------------


async def test_a_link_in_a_tree_is_named_in_the_result_and_the_rest_arrives(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / "link").symlink_to("a")
    async with AsyncMemorySandbox() as sandbox, sandbox.create_session() as session:
        sent = await session.upload(f"{tmp_path}/.", "t")
        assert [item.path for item in sent.skipped] == ["link"]
        assert await session.read_file("t/a") == b"x"


async def test_what_is_in_the_way_of_a_tree_is_named_in_the_result(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    for name in ("a", "b", "c/d"):
        (tmp_path / name).write_text(name)
    async with AsyncMemorySandbox() as sandbox, sandbox.create_session() as session:
        await session.make_directory("t/a")
        await session.write_file("t/c", "in the way")
        sent = await session.upload(f"{tmp_path}/.", "t", verify=True)
        assert sorted(item.path for item in sent.skipped) == ["a", "c", "c/d"]
        assert (sent.files, sent.directories, sent.bytes) == (1, 0, 1)


async def test_a_stopped_session_has_its_settings_again_and_no_process() -> None:
    commands: Commands = {"who": lambda call: f"{call.env['A']} {call.cwd}"}
    async with AsyncMemorySandbox(commands=commands, env={"A": "x" * 100_000}) as sandbox:
        session = await sandbox.create_session()
        await session.start_process(["sleep", "1000"])
        await session.stop()
        async with sandbox.resume(session.id) as again:
            assert (await again.exec(["who"])).stdout == "x" * 100_000 + " /workspace"
            assert await again.list_processes() == []


async def test_a_snapshot_is_not_changed_by_the_sessions_that_it_begins() -> None:
    async with AsyncMemorySandbox() as sandbox:
        async with sandbox.create_session() as session:
            await session.write_file("a/b", "x")
            await session.snapshot("one")
        assert [item.name for item in await sandbox.list_snapshots()] == ["one"]
        for _ in range(2):
            async with sandbox.create_session(from_snapshot="one") as copy:
                assert await copy.read_file("a/b") == b"x"
                await copy.write_file("a/b", "y")
                await copy.remove("a", recursive=True)
