"""The tools of a model, over real sessions and both APIs: what they do, and what they refuse."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from contract.adapter import Api
from contract.scripted import LISTENS
from fumehood import AsyncSession, Limits, Session, SessionEndedError
from fumehood.tools import (
    ApprovalRequest,
    AsyncToolset,
    CommandOutcome,
    CommandRules,
    Failure,
    LogPart,
    Policy,
    PortList,
    ToolPolicy,
    ToolResult,
    create_tools,
)

pytestmark = pytest.mark.engine


class Tools:
    """A toolset of either flavour behind awaited calls."""

    def __init__(self, session: AsyncSession, **options: Any) -> None:
        inner = session if isinstance(session, AsyncSession) else cast("Any", session)._inner
        assert isinstance(inner, (AsyncSession, Session))
        self.set = create_tools(inner, **options)

    async def __call__(self, name: str, /, **arguments: object) -> ToolResult:
        if isinstance(self.set, AsyncToolset):
            return await self.set.dispatch(name, arguments)
        return await asyncio.to_thread(self.set.dispatch, name, arguments)


def refusal(result: ToolResult) -> Failure:
    assert isinstance(result.value, Failure), result.text
    return result.value


async def test_a_command_tells_its_status_and_both_streams(session: AsyncSession) -> None:
    result = await Tools(session)("exec_command", command="echo out; echo err >&2; exit 3")
    assert not result.is_error
    assert isinstance(result.value, CommandOutcome)
    assert (result.value.exit_code, result.value.reason) == (3, "exited")
    lines = result.text.splitlines()
    assert lines[0].startswith("exit code 3 · ")
    assert lines[1:] == ["--- stdout", "out", "--- stderr", "err"]
    assert result.data["stdout"]["text"] == "out\n"


async def test_a_command_takes_arguments_a_directory_and_input(session: AsyncSession) -> None:
    tools = Tools(session)
    await tools("write_file", path="sub/x", content="")
    result = await tools(
        "exec_command", argv=["sh", "-c", "pwd; cat; ls"], cwd="sub", stdin="typed\n"
    )
    assert result.text.splitlines()[2:] == ["/workspace/sub", "typed", "x"]


async def test_a_timeout_is_a_result_with_the_output_until_then(session: AsyncSession) -> None:
    result = await Tools(session)("exec_command", command="echo begun; sleep 100", timeout=0.5)
    assert "timed out after 0.5 s" in result.text
    assert "begun" in result.text
    assert result.data["reason"] == "timed_out"


@pytest.mark.engines("docker", "memory")
async def test_a_policy_without_a_time_leaves_commands_the_sessions_own(api: Api) -> None:
    async with api.session(limits=Limits(timeout=0.5)) as session:
        plain, strict = Tools(session), Tools(session, policy=Policy(timeout=0.25))
        for tools, seconds in ((plain, "0.5"), (strict, "0.25")):
            result = await tools("exec_command", argv=["sleep", "100"])
            assert result.text.startswith(f"timed out after {seconds} s: killed")


async def test_long_output_keeps_its_beginning_and_its_end(session: AsyncSession) -> None:
    tools = Tools(session, policy=Policy(max_bytes=1000))
    result = await tools("exec_command", argv=["seq", "100000"])
    assert isinstance(result.value, CommandOutcome)
    shown = result.value.stdout
    assert shown.bytes == 588895
    assert shown.text.startswith("1\n2\n")
    assert shown.text.endswith("99999\n100000\n")
    assert len(shown.text) < 1100
    assert f"[… {shown.left_out_bytes} bytes, " in shown.text


@pytest.mark.parametrize("size", [2_000_000, 70_000_000])
async def test_the_size_of_output_is_told_however_much_it_is(
    session: AsyncSession, size: int
) -> None:
    argv = ["head", "-c", str(size), "/dev/zero"]
    result = await Tools(session)("exec_command", argv=argv, timeout=600)
    shown = result.data["stdout"]
    assert shown["bytes"] == size
    assert shown["left_out_bytes"] == size - shown["text"].count("\0")
    # Only what was never seen is told as lost: what lies between beginning and end was.
    assert ("were written and not kept" in shown["text"]) == (size > 64 << 20)


@pytest.mark.engines("docker", "memory")
async def test_a_missing_program_and_bad_arguments_are_results(session: AsyncSession) -> None:
    tools = Tools(session)
    assert refusal(await tools("exec_command", argv=["no-such"])).code == "command_not_found"
    both: dict[str, object] = {"command": "a", "argv": ["a"]}
    wrong: list[dict[str, object]] = [{}, {"argv": []}, {"comand": "x"}, both]
    for arguments in wrong:
        assert refusal(await tools("exec_command", **arguments)).kind == "arguments"
    assert "exec_command" in refusal(await tools("run")).message


@pytest.mark.engines("docker", "memory")
async def test_pages_lead_from_one_to_the_next(session: AsyncSession) -> None:
    tools = Tools(session)
    await tools("write_file", path="lines", content="".join(f"line {n}\n" for n in range(1, 8)))
    first = await tools("read_file", path="lines", max_lines=3)
    assert first.text == "lines: lines 1-3 (more: start_line=4)\nline 1\nline 2\nline 3\n"
    last = await tools("read_file", path="/workspace/lines", start_line=7)
    assert last.text == "lines: lines 7-7 (end of file)\nline 7\n"
    assert (await tools("read_file", path="lines", start_line=99)).text == "lines has no line 99"
    missing = refusal(await tools("read_file", path="none"))
    assert missing.code == "file_not_found"
    assert refusal(await tools("read_file", path="../x")).code == "invalid_path"


@pytest.mark.engines("docker", "memory")
async def test_an_edit_is_exact_or_says_why_not(session: AsyncSession) -> None:
    tools = Tools(session)
    await tools("write_file", path="e.py", content="a = 1\r\nb = 1\r\n\tc = 2\n")
    twice = refusal(await tools("edit_file", path="e.py", old_text="= 1", new_text="= 3"))
    assert "2 times, at lines 1, 2" in twice.message
    done = await tools("edit_file", path="e.py", old_text="b = 1", new_text="b = 9")
    assert done.text == "edited e.py: replaced once"
    await tools("edit_file", path="e.py", old_text="= ", new_text="== ", replace_all=True)
    assert await session.read_file("e.py") == b"a == 1\r\nb == 9\r\n\tc == 2\n"
    near = refusal(await tools("edit_file", path="e.py", old_text="  c == 2\n}", new_text=""))
    assert near.message.endswith("white space or its end: line 3")
    await session.write_file("aaa", "aaa")
    over = refusal(
        await tools("edit_file", path="aaa", old_text="aa", new_text="", replace_all=True)
    )
    assert "overlap" in over.message
    assert await session.read_file("aaa") == b"aaa"


@pytest.mark.engines("docker", "memory")
async def test_an_edit_keeps_line_ends_and_loses_nobodys_work(session: AsyncSession) -> None:
    await session.write_file("crlf", "one\r\ntwo\r\nthree\r\n")
    plain = Tools(session)
    await plain("edit_file", path="crlf", old_text="one\ntwo", new_text="1\n2")
    assert await session.read_file("crlf") == b"1\r\n2\r\nthree\r\n"

    async def meanwhile(request: ApprovalRequest) -> bool:
        assert "edit crlf: 1 replacements" in request.summary
        await session.write_file("crlf", "written by somebody else\n")
        return True

    tools = Tools(session, policy=Policy(approve=meanwhile, approval=("edit_file",)))
    missed = refusal(await tools("edit_file", path="crlf", old_text="three", new_text="3"))
    assert "is not in the file" in missed.message
    assert await session.read_file("crlf") == b"written by somebody else\n"


@pytest.mark.engines("docker", "memory")
async def test_a_search_shows_lines_by_file_within_the_caps(session: AsyncSession) -> None:
    tools = Tools(session, policy=Policy(max_lines=6))
    await session.write_file("a/one.py", "import os\ndef f():\n    return 1\n")
    await session.write_file("a/two.txt", "def no\n")
    await session.write_file("b.py", "x\n" * 20 + "def f(): pass\n")
    found = await tools(
        "search_files", pattern=r"DEF \w+\(", ignore_case=True, include=["one.py", "b.py"]
    )
    assert found.text.splitlines() == [
        "2 matches; 2 files searched",
        "a/one.py",
        "2: def f():",
        "b.py",
        "21: def f(): pass",
    ]
    assert found.data["hits"][0] == {"path": "a/one.py", "line_number": 2, "line": "def f():"}
    around = await tools("search_files", pattern="f()", literal=True, path="a", context=1)
    assert around.text.splitlines()[1:] == [
        "a/one.py",
        "1- import os",
        "2: def f():",
        "3-     return 1",
        "--",
    ]
    many = await tools("search_files", pattern="x", path="b.py")
    assert many.text.startswith("5 matches; there are more: narrow")
    assert (await tools("search_files", pattern="no", path="a")).text == (
        "1 match; 2 files searched\na/two.txt\n1: def no"
    )


@pytest.mark.engines("docker", "memory")
async def test_a_search_says_what_is_wrong_with_it(session: AsyncSession) -> None:
    tools = Tools(session)
    assert refusal(await tools("search_files", pattern="(")).kind == "arguments"
    assert "look" in refusal(await tools("search_files", pattern="(?=x)")).message
    assert refusal(await tools("search_files", pattern="x", path="no")).code == "file_not_found"
    await session.write_file("min.js", "a" * 5000 + "needle" + "b" * 5000)
    shown = (await tools("search_files", pattern="needle")).text
    assert "needle" in shown
    assert len(shown) < 600


@pytest.mark.engines("docker", "memory")
async def test_directories_are_listed_within_the_caps(session: AsyncSession) -> None:
    tools = Tools(session, policy=Policy(max_lines=3))
    for name in "abcde":
        await session.write_file(f"many/{name}", name)
    result = await tools("list_files", path="many")
    assert result.text.startswith("many: 5 entries\n")
    assert "2 more entries" in result.text
    assert [entry["path"] for entry in result.data["entries"]] == ["many/a", "many/b", "many/c"]
    assert result.data["skipped_unreadable"] == 0


async def test_a_model_is_told_that_a_listing_is_not_all_there_is(session: AsyncSession) -> None:
    tools = Tools(session)
    await session.write_file("partly/shut/secret", "x")
    await session.exec(["chmod", "000", "partly/shut"], check=True)
    result = await tools("list_files", path="partly", recursive=True)
    assert result.text.startswith("partly: 1 entries, 1 skipped (not readable)\n")
    assert result.data["skipped_unreadable"] == 1
    await session.exec(["chmod", "700", "partly/shut"], check=True)


@pytest.mark.engines("docker", "memory")
async def test_processes_are_started_read_written_and_stopped(session: AsyncSession) -> None:
    tools = Tools(session)
    started = await tools("start_process", argv=["cat"], name="cat", stdin=True)
    assert started.data["status"] == "running"
    await tools("write_process_stdin", process="cat", text="first\nsecond\n")
    process = await session.get_process("cat")
    async for event in process.stream():
        if "second" in getattr(event, "text", ""):
            break
    logs = await tools("read_process_logs", process="cat", since=0)
    assert isinstance(logs.value, LogPart)
    assert (logs.value.text, logs.value.next_offset) == ("first\nsecond\n", 13)
    rest = await tools("read_process_logs", process="cat", since=6)
    assert rest.data["text"] == "second\n"
    assert "running: cat" in (await tools("list_processes")).text
    stopped = await tools("stop_process", process="cat", grace=0)
    assert stopped.data["status"] == "exited"
    assert refusal(await tools("stop_process", process="none")).code == "process_not_found"


@pytest.mark.engines("docker", "memory")
async def test_ports_are_waited_for_and_listed(session: AsyncSession) -> None:
    tools = Tools(session)
    nobody = refusal(await tools("wait_for_port", port=8123, timeout=0.2))
    assert "nobody listens at port 8123" in nobody.message
    server = (await tools("start_process", argv=LISTENS)).data["id"]
    assert not (await tools("wait_for_port", port=8123, timeout=30)).is_error
    listed = await tools("list_ports")
    assert isinstance(listed.value, PortList)
    assert "8123 on 127.0.0.1" in listed.text
    await tools("stop_process", process=server, grace=0)


# --- policies ---------------------------------------------------------------------------------


async def test_an_allowed_program_is_the_one_on_the_path_by_whatever_name(
    session: AsyncSession,
) -> None:
    tools = Tools(session, policy=Policy(commands=CommandRules(allow=("ls", "env", "echo"))))
    await session.exec(["sh", "-c", "cp /bin/true ls; ln -sf /bin/cat l; mkdir -p bin"], check=True)
    assert not (await tools("exec_command", command="ls -a")).is_error
    assert not (await tools("exec_command", argv=["/bin/ls"])).is_error
    assert not (await tools("exec_command", argv=["env", "A=1", "ls"])).is_error
    for argv in (["cat", "x"], ["./ls"], ["/workspace/ls"], ["./l"], ["env", "cat"], ["sh"]):
        answer = refusal(await tools("exec_command", argv=argv))
        assert answer.kind == "policy"
        assert answer.message.endswith("allowed: ls, env, echo")
    answer = refusal(await tools("exec_command", command="echo a; cat x"))
    assert "this line needs a shell" in answer.message
    assert refusal(await tools("start_process", argv=["cat"])).kind == "policy"
    assert refusal(await tools("exec_command", argv=["env", "-S", "cat x"])).kind == "policy"


async def test_a_blocked_program_is_found_behind_links_and_wrappers(session: AsyncSession) -> None:
    tools = Tools(session, policy=Policy(commands=CommandRules(block=("cat",))))
    await session.exec(["sh", "-c", "ln -sf /bin/cat ./harmless"], check=True)
    for arguments in (
        {"argv": ["cat", "x"]},
        {"argv": ["./harmless"]},
        {"argv": ["env", "-u", "A", "B=1", "cat"]},
        {"argv": ["timeout", "-s", "KILL", "5", "nice", "cat"]},
        {"argv": ["sh", "-ec", "true && cat x"]},
        {"argv": ["sh", "-c", "-e", "cat x"]},
        {"argv": ["bash", "--norc", "-euo", "pipefail", "-c", "true && cat x"]},
        {"argv": ["bash", "-c", "--", "cat x"]},
        {"command": "cat x"},
        {"command": "echo $(cat x)"},
        {"command": "true|'cat' x"},
        {"command": "command cat x"},
    ):
        answer = refusal(await tools("exec_command", **arguments))
        assert answer.kind == "policy"
        assert "is blocked here" in answer.message
    assert (await tools("exec_command", command="echo a && echo b")).data["exit_code"] == 0
    # What no file is, the shell is: a list of blocked programs is no reason to be without it.
    assert (await tools("exec_command", command="exit 3")).data["exit_code"] == 3
    plain = {"argv": ["sh", "-eo", "noglob", "-c", "echo *"]}
    assert (await tools("exec_command", **plain)).data["stdout"]["text"] == "*\n"


async def test_one_binary_for_many_programs_goes_by_its_names(busybox: AsyncSession) -> None:
    only = Tools(busybox, policy=Policy(commands=CommandRules(allow=("ls",))))
    assert not (await only("exec_command", argv=["ls"])).is_error
    for argv in (["cat", "x"], ["busybox", "cat", "x"], ["busybox", "ls"]):
        assert refusal(await only("exec_command", argv=argv)).kind == "policy"
    without = Tools(busybox, policy=Policy(commands=CommandRules(block=("cat",))))
    assert not (await without("exec_command", argv=["ls"])).is_error
    for argv in (["cat", "x"], ["busybox", "cat"], ["busybox", "sh", "-c", "cat x"]):
        assert refusal(await without("exec_command", argv=argv)).kind == "policy"


async def test_what_may_be_written_is_decided_where_links_lead(session: AsyncSession) -> None:
    tools = Tools(session, policy=Policy(writable=("src",), max_write_bytes=100))
    await session.exec(["sh", "-c", "mkdir -p src docs && ln -sfn ../docs src/out"], check=True)
    assert not (await tools("write_file", path="src/new/a.py", content="x")).is_error
    for path in ("docs/a", "src/out/a", "srcs", "/workspace/docs/b"):
        answer = refusal(await tools("write_file", path=path, content="x"))
        assert "writable: src" in answer.message
    assert refusal(await tools("write_file", path="src/b", content="x" * 101)).kind == "policy"
    assert not await session.exists("docs/a")


@pytest.mark.engines("docker", "memory")
async def test_nothing_that_changes_is_offered_for_looking_only(session: AsyncSession) -> None:
    tools = Tools(session, policy=Policy(read_only=True))
    assert {"read_file", "list_files", "list_ports"} <= set(tools.set.names)
    assert not {"exec_command", "write_file", "stop_process"} & set(tools.set.names)
    assert "may only be looked at" in refusal(await tools("write_file", path="a")).message


@pytest.mark.engines("docker", "memory")
async def test_a_call_waits_for_approval_and_is_told_of_a_refusal(session: AsyncSession) -> None:
    asked: list[tuple[str, str]] = []

    def approve(request: Any) -> bool | str:
        asked.append((request.tool, request.summary))
        return True if "good" in request.summary else "not today"

    policy = Policy(approve=approve, tools={"write_file": ToolPolicy(approval=False)})
    tools = Tools(session, policy=policy)
    assert not (await tools("exec_command", command="echo good")).is_error
    answer = refusal(await tools("exec_command", command="touch bad"))
    assert answer.kind == "denied"
    assert answer.message.endswith("not today")
    assert not await session.exists("bad")
    assert not (await tools("write_file", path="w", content="")).is_error
    assert asked == [("exec_command", "'echo good'"), ("exec_command", "'touch bad'")]


@pytest.mark.engines("docker", "memory")
async def test_a_longer_timeout_than_the_policys_is_refused(session: AsyncSession) -> None:
    policy = Policy(tools={"exec_command": ToolPolicy(max_timeout=2)})
    answer = refusal(await Tools(session, policy=policy)("exec_command", command="x", timeout=3))
    assert "more than the 2 seconds" in answer.message


@pytest.mark.engines("docker", "memory")
async def test_the_end_of_the_session_is_no_result(api: Api) -> None:
    async with api.session() as session:
        tools = Tools(session)
        await session.destroy()
        with pytest.raises(SessionEndedError):
            await tools("exec_command", command="true")
