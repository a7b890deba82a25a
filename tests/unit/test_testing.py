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
    PortError,
    PortRefusedError,
    PortResetError,
    SessionNotFoundError,
)
from fumehood.terminals import AsyncTerminal
from fumehood.testing import (
    AsyncMemorySandbox,
    CommandCall,
    CommandReply,
    Commands,
    Connection,
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
    for sandbox in (
        AsyncMemorySandbox(network=Network.bridge()),
        AsyncMemorySandbox(lifecycle=Lifecycle(idle_timeout=5)),
    ):
        async with sandbox:
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


# --- ports ------------------------------------------------------------------------------------


async def test_a_port_is_free_again_when_its_script_has_ended() -> None:
    async def greet(connection: Connection) -> None:
        await connection.write("hello\n")

    async def web(call: CommandCall) -> CommandReply | None:
        try:
            with call.serve(80, greet):
                await asyncio.Event().wait()
        except OSError as exc:
            return CommandReply(stderr=str(exc), exit_code=1)
        return None

    async with (
        AsyncMemorySandbox(commands={"web": web}) as sandbox,
        sandbox.create_session() as session,
    ):
        for _ in range(2):
            process = await session.start_process(["web"])
            await session.wait_for_port(80)
            second = await session.exec(["web"])
            assert (second.exit_code, "in use" in second.stderr) == (1, True)
            async with session.connect_port(80) as stream:
                assert await stream.read() == b"hello\n"
                assert await stream.read() == b""
            await process.stop()
        with pytest.raises(PortRefusedError):
            await session.connect_port(80)


async def test_a_forward_leads_to_a_scripted_server() -> None:
    async def http(connection: Connection) -> None:
        request = await connection.read_line()
        while await connection.read_line() != b"\r\n":
            pass
        body = f"you asked for {request.split()[1].decode()}"
        await connection.write(f"HTTP/1.0 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}")

    async def web(call: CommandCall) -> None:
        with call.serve(8000, http):
            await asyncio.Event().wait()

    async with (
        AsyncMemorySandbox(commands={"web": web}) as sandbox,
        sandbox.create_session() as session,
    ):
        await session.start_process(["web"])
        await session.wait_for_port(8000)
        async with session.forward_port(8000) as forward:
            reader, writer = await asyncio.open_connection(forward.host, forward.port)
            writer.write(b"GET /page HTTP/1.0\r\n\r\n")
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
        assert answer.endswith(b"\r\n\r\nyou asked for /page")


async def test_who_has_sent_its_end_is_served_and_who_breaks_off_is_not() -> None:
    taken: list[bytes] = []
    told, hung, broken = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def take(connection: Connection) -> None:
        if await connection.read_line() == b"hang\n":
            try:
                hung.set()
                await asyncio.Event().wait()
            finally:
                broken.set()
        taken.append(await connection.read())
        told.set()

    async def sink(call: CommandCall) -> None:
        with call.serve(80, take):
            await asyncio.Event().wait()

    async with (
        AsyncMemorySandbox(commands={"sink": sink}) as sandbox,
        sandbox.create_session() as session,
        asyncio.timeout(30),
    ):
        await session.start_process(["sink"])
        await session.wait_for_port(80)
        async with session.connect_port(80) as stream:
            await stream.write(b"line\nrest")
        await told.wait()
        assert taken == [b"rest"]
        with pytest.raises(RuntimeError, match="mine"):
            async with session.connect_port(80) as stream:
                await stream.write(b"hang\n")
                await hung.wait()
                raise RuntimeError("mine")
        await broken.wait()


async def test_a_server_that_fails_is_a_reset_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(connection: Connection) -> None:
        raise KeyError("mine")

    async def bad(call: CommandCall) -> None:
        with call.serve(80, fail):
            await asyncio.Event().wait()

    async with (
        AsyncMemorySandbox(commands={"bad": bad}) as sandbox,
        sandbox.create_session() as session,
    ):
        await session.start_process(["bad"])
        await session.wait_for_port(80)
        async with session.connect_port(80) as stream:
            with pytest.raises(PortResetError):
                await stream.read()
    [record] = caplog.records
    assert record.exc_info is not None


async def test_scripts_connect_to_each_other() -> None:
    async def add(connection: Connection) -> None:
        total = 0
        while line := await connection.read_line():
            total += int(line)
        await connection.write(f"{total}\n")
        await connection.write_eof()

    async def server(call: CommandCall) -> None:
        with call.serve(80, add):
            await asyncio.Event().wait()

    async def client(call: CommandCall) -> str:
        async with call.connect(80) as connection:
            await connection.write("1\n2\n")
            await connection.write_eof()
            answer = await connection.read_line()
            assert await connection.read() == b""
        try:
            async with call.connect(81):
                raise AssertionError
        except ConnectionRefusedError as exc:
            return f"{answer.decode()}{exc.strerror}\n"

    async with (
        AsyncMemorySandbox(commands={"server": server, "client": client}) as sandbox,
        sandbox.create_session() as session,
        asyncio.timeout(30),
    ):
        await session.start_process(["server"])
        await session.wait_for_port(80)
        result = await session.exec(["client"])
        assert result.stdout == "3\nnobody listens at port 81\n"
        async with session.connect_port(80) as stream:
            await stream.write(b"40\n2\n")
            await stream.write_eof()
            assert await stream.read() == b"42\n"
            assert await stream.read() == b""


async def test_a_script_whose_peer_breaks_off_hears_a_reset_and_one_that_leaves_is_heard() -> None:
    left = asyncio.Event()

    async def serve(connection: Connection) -> None:
        if await connection.read_line() == b"break\n":
            raise ConnectionResetError
        try:
            while True:
                await connection.write(bytes(1 << 16))
        except ConnectionResetError:
            left.set()

    async def server(call: CommandCall) -> None:
        with call.serve(80, serve):
            await asyncio.Event().wait()

    async def client(call: CommandCall) -> str:
        async with call.connect(80) as connection:
            await connection.write("flood\n")
            assert await connection.read()
        async with call.connect(80) as connection:
            await connection.write("break\n")
            try:
                await connection.read()
            except ConnectionResetError:
                return "reset\n"
        raise AssertionError

    async with (
        AsyncMemorySandbox(commands={"server": server, "client": client}) as sandbox,
        sandbox.create_session() as session,
        asyncio.timeout(30),
    ):
        await session.start_process(["server"])
        await session.wait_for_port(80)
        assert (await session.exec(["client"])).stdout == "reset\n"
        await left.wait()


async def test_the_port_of_the_proxy_is_one_that_a_script_may_have_taken() -> None:
    async def take(call: CommandCall) -> None:
        async def nothing(connection: Connection) -> None:
            await connection.read()

        with call.serve(3128, nothing):
            await call.write("taken\n")
            await asyncio.Event().wait()

    network = Network.allow("example.org")
    async with (
        AsyncMemorySandbox(commands={"take": take}, network=network) as sandbox,
        sandbox.create_session() as session,
        asyncio.timeout(30),
    ):
        # The proxy was there first, and is no process of anybody.
        with pytest.raises(CommandError, match="3128 is in use"):
            await session.exec(["take"])
        assert await session.list_processes() == []
        async with sandbox.connect(session.id) as joined:
            with pytest.raises(PortError, match="another client"):
                await joined.set_network(network)
            assert (await joined.exec(["env"])).stdout.count("http_proxy=") == 1
        async with session.connect_port(3128) as stream:
            await stream.write(
                b"GET http://elsewhere.test/ HTTP/1.1\r\nHost: elsewhere.test\r\n\r\n"
            )
            assert (await stream.read()).startswith(b"HTTP/1.1 403 ")
        assert session.egress_statistics()["served"] == 1


async def test_without_a_program_a_terminal_has_the_scripted_shell() -> None:
    async def shell(call: CommandCall) -> int:
        while line := await call.read_line():
            await call.write(f"{call.argv[0]} {line}")
        return 3

    async with AsyncMemorySandbox() as sandbox, sandbox.create_session() as session:
        async with session.open_terminal() as terminal:
            with pytest.raises(CommandNotFoundError, match="no shell"):
                await terminal.wait()
        sandbox.on("bash", shell)
        async with session.open_terminal() as terminal:
            await terminal.write("a\x07b\r")
            await terminal.send_eof()
            assert b"".join([data async for data in terminal]) in (
                b"a^Gb\r\n/bin/bash a\x07b\r\n",
                b"/bin/bash a\x07b\r\na^Gb\r\n",
            )
            assert (await terminal.wait()).exit_code == 3


async def test_what_is_typed_ahead_is_bounded_and_arrives_whole() -> None:
    begun = asyncio.Event()

    async def count(call: CommandCall) -> str:
        await begun.wait()
        size = 0
        while line := await call.read_line():
            size += len(line)
        return f"<{size}>"

    async with (
        AsyncMemorySandbox(commands={"count": count}) as sandbox,
        sandbox.create_session() as session,
        session.open_terminal(["count"]) as terminal,
    ):
        shown = asyncio.ensure_future(_all(terminal))
        await terminal.write(b"0123456789\r" * 10_000)
        begun.set()
        await terminal.send_eof()
        assert b"<110000>" in await shown


async def _all(terminal: AsyncTerminal) -> bytes:
    return b"".join([data async for data in terminal])


async def test_a_command_without_a_terminal_has_no_size(caplog: pytest.LogCaptureFixture) -> None:
    async def look(call: CommandCall) -> None:
        assert call.size is None
        await call.resized()

    async with (
        AsyncMemorySandbox(commands={"look": look}) as sandbox,
        sandbox.create_session() as session,
    ):
        with pytest.raises(CommandError, match="not a terminal"):
            await session.exec(["look"])
        async with session.open_terminal(["cat"]) as terminal:
            await terminal.resize(1, 2)
            await terminal.send_eof()
            assert (await terminal.wait()).ok
