"""What the framework's rules leave open: a whole agent, cancelling, images without a Python."""

from __future__ import annotations

import asyncio
import os
import posixpath
from collections.abc import Iterator
from typing import Any

import pytest
from deepagents import create_deep_agent
from deepagents.backends.utils import _EXTENSION_TO_FILE_TYPE, _VIDEO_EXTRA_EXTENSIONS
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage

from fumehood import AsyncDockerSandbox, DockerSandbox, Session, SessionEndedError, SessionError
from fumehood.adapters._deepagents_read import BINARY_SUFFIXES
from fumehood.adapters.deepagents import FumehoodBackend

IMAGE = os.environ.get("FUMEHOOD_IMAGE", "fumehood/test-python")
SCRATCH = "fumehood/test-scratch"


class Scripted(GenericFakeChatModel):
    """A model that says what it was given to say, whatever tools it is offered."""

    def bind_tools(self, tools: object, **_: Any) -> Scripted:
        return self


def call(name: str, **arguments: object) -> AIMessage:
    return AIMessage(
        content="", tool_calls=[{"name": name, "args": arguments, "id": f"call-{name}"}]
    )


def script() -> Scripted:
    return Scripted(
        messages=iter(
            [
                call(
                    "write_file", file_path="/workspace/sum.py", content="print(sum(range(11)))\n"
                ),
                call(
                    "edit_file",
                    file_path="/workspace/sum.py",
                    old_string="range(11)",
                    new_string="range(101)",
                ),
                call("execute", command="python3 sum.py; echo done >&2"),
                call("glob", pattern="*.py", path="/workspace"),
                call("grep", pattern="sum(", path="/workspace", output_mode="content"),
                call("ls", path="/workspace"),
                call("read_file", file_path="/workspace/sum.py"),
                AIMessage(content="It is 5050."),
            ]
        )
    )


def answers(state: dict[str, Any]) -> dict[str, str]:
    return {
        message.name or "": str(message.content)
        for message in state["messages"]
        if isinstance(message, ToolMessage)
    }


def check(told: dict[str, str]) -> None:
    assert "5050" in told["execute"]
    assert "done" in told["execute"]
    assert "/workspace/sum.py" in told["glob"]
    assert "range(101)" in told["grep"]
    assert "/workspace/sum.py" in told["ls"]
    assert "print(sum(range(101)))" in told["read_file"]


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with DockerSandbox(image=IMAGE) as sandbox, sandbox.create_session() as made:
        yield made


@pytest.fixture
def backend(session: Session) -> FumehoodBackend:
    return FumehoodBackend(session)


@pytest.fixture(scope="module")
def bare() -> Iterator[FumehoodBackend]:
    """A backend on an image that holds no program at all."""
    sandbox = DockerSandbox(image=SCRATCH, pull="never")
    with sandbox, sandbox.create_session() as made:
        yield FumehoodBackend(made)


def test_an_agent_works_in_a_session_when_it_is_invoked(backend: FumehoodBackend) -> None:
    agent = create_deep_agent(model=script(), backend=backend)
    check(answers(agent.invoke({"messages": [("user", "What is the sum?")]})))


async def test_an_agent_works_in_the_same_session_when_it_is_awaited(
    backend: FumehoodBackend,
) -> None:
    agent = create_deep_agent(model=script(), backend=backend)
    check(answers(await agent.ainvoke({"messages": [("user", "What is the sum?")]})))


async def test_an_agent_works_in_an_async_session() -> None:
    async with AsyncDockerSandbox(image=IMAGE) as sandbox, sandbox.create_session() as session:
        backend = FumehoodBackend(session)
        agent = create_deep_agent(model=script(), backend=backend)
        check(answers(await agent.ainvoke({"messages": [("user", "What is the sum?")]})))
        with pytest.raises(SessionError, match="await it"):
            backend.execute("true")


async def test_cancelling_an_awaited_command_kills_it_before_the_task_is_over(
    backend: FumehoodBackend, session: Session
) -> None:
    await asyncio.to_thread(session.exec, ["rm", "-f", "begun"])
    command = "sleep 1000 & echo $! > pid; mv pid begun; wait"
    task = asyncio.ensure_future(backend.aexecute(command, timeout=0))
    while not await asyncio.to_thread(session.exists, "begun"):
        assert not task.done()
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gone = await backend.aexecute("kill -0 $(cat begun)")
    assert gone.exit_code != 0


def test_a_command_that_runs_out_of_time_tells_what_it_wrote(backend: FumehoodBackend) -> None:
    told = backend.execute("echo before; sleep 1000", timeout=1)
    assert told.exit_code == 124
    assert told.output.startswith("before\n")
    assert "killed after" in told.output


def test_both_streams_come_in_the_order_in_which_they_were_written(
    backend: FumehoodBackend,
) -> None:
    told = backend.execute("for i in 1 2 3; do echo out $i; echo err $i >&2; done; exit 3")
    assert told.output == "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n"
    assert told.exit_code == 3


def test_a_session_that_is_over_is_an_error_and_no_result() -> None:
    with DockerSandbox(image=IMAGE) as sandbox, sandbox.create_session() as session:
        backend = FumehoodBackend(session)
        session.destroy()
        with pytest.raises(SessionEndedError):
            backend.execute("true")
        with pytest.raises(SessionEndedError):
            backend.read("/etc/passwd")


# --- files, with nothing of the image's help ------------------------------------------------------


def test_an_image_without_programs_has_its_files_and_says_that_it_has_no_shell(
    bare: FumehoodBackend,
) -> None:
    assert bare.write("/workspace/a/b.txt", "one\ntwo\n").error is None
    assert bare.edit("/workspace/a/b.txt", "two", "three").occurrences == 1
    assert bare.read("/workspace/a/b.txt").file_data == {
        "content": "one\nthree",
        "encoding": "utf-8",
    }
    assert [entry["path"] for entry in bare.ls("/workspace").entries or []] == ["/workspace/a"]
    assert [found["line"] for found in bare.grep("three", "/workspace").matches or []] == [2]
    assert [found["path"] for found in bare.glob("*.txt", "/").matches or []] == [
        "/workspace/a/b.txt"
    ]
    assert bare.delete("/workspace/a").error is None
    assert bare.read("/workspace/a/b.txt").error == "File '/workspace/a/b.txt': file_not_found"
    told = bare.execute("true")
    assert told.exit_code == 126
    assert "/bin/sh" in told.output


def test_pages_of_a_file_follow_each_other(backend: FumehoodBackend) -> None:
    backend.write("/workspace/lines", "".join(f"line {n}\n" for n in range(5)))
    first = backend.read("/workspace/lines", limit=2)
    assert (first.start_line, first.end_line, first.next_offset, first.total_lines) == (
        1,
        2,
        2,
        None,
    )
    last = backend.read("/workspace/lines", offset=4, limit=2)
    assert (last.start_line, last.end_line, last.next_offset, last.total_lines) == (5, 5, None, 5)
    assert backend.read("/workspace/lines", limit=0).no_lines_requested
    assert "no line 6" in str(backend.read("/workspace/lines", offset=5).error)


def test_a_line_that_is_longer_than_a_page_is_cut_and_the_next_one_follows(
    backend: FumehoodBackend,
) -> None:
    backend.write("/workspace/long", "é" * 400_000 + "\nnext\n")
    first = backend.read("/workspace/long")
    assert first.file_data is not None
    assert "too long to be shown" in first.file_data["content"]
    assert first.next_offset == 1
    second = backend.read("/workspace/long", offset=1)
    assert second.file_data is not None
    assert second.file_data["content"] == "next"


def test_what_the_framework_shows_as_no_text_is_read_as_bytes() -> None:
    assert {*_EXTENSION_TO_FILE_TYPE, *_VIDEO_EXTRA_EXTENSIONS} == BINARY_SUFFIXES


def test_a_file_of_bytes_is_binary_without_a_suffix(backend: FumehoodBackend) -> None:
    backend.upload_files([("/workspace/blob", b"\xff\x00\x01")])
    data = backend.read("/workspace/blob").file_data
    assert data is not None
    assert (data["encoding"], data["content"]) == ("base64", "/wAB")


@pytest.mark.parametrize("ends", ["\r\n", "mixed"])
def test_an_edit_finds_lines_as_they_were_shown(backend: FumehoodBackend, ends: str) -> None:
    before = b"one\r\ntwo\r\nthree\r\n" if ends == "\r\n" else b"one\r\ntwo\r\nthree\n"
    backend.upload_files([("/workspace/ends", before)])
    assert backend.edit("/workspace/ends", "one\ntwo\n", "1\n2\n").occurrences == 1
    [after] = backend.download_files(["/workspace/ends"])
    assert after.content == before.replace(b"one\r\ntwo", b"1\r\n2")


def test_a_write_and_an_edit_go_through_a_link(backend: FumehoodBackend) -> None:
    backend.execute("rm -f target link loop; echo old > target; ln -s target link; ln -s loop loop")
    assert backend.edit("/workspace/link", "old", "new").occurrences == 1
    assert backend.execute("cat target; readlink link").output == "new\ntarget\n"
    assert backend.write("/workspace/link", "newer").error is None
    assert backend.execute("cat target; readlink link").output == "newertarget\n"
    assert backend.write("/workspace/loop", "x").error == (
        "Failed to write file '/workspace/loop': invalid_path"
    )


def test_globs_know_the_frameworks_rule_of_names_with_a_dot(backend: FumehoodBackend) -> None:
    backend.execute(
        "mkdir -p dots/.github dots/src && cd dots && "
        "touch .env top.yml .github/ci.yml src/a.yml && "
        "ln -s top.yml link.yml && ln -s src dir.yml && ln -s nowhere dangling.yml"
    )

    def found(pattern: str) -> list[str]:
        matches = backend.glob(pattern, "/workspace/dots").matches or []
        return [match["path"].removeprefix("/workspace/dots/") for match in matches]

    assert found("*.yml") == [".github/ci.yml", "link.yml", "src/a.yml", "top.yml"]
    assert found("**/*.yml") == ["link.yml", "src/a.yml", "top.yml"]
    assert found("/*.yml") == ["link.yml", "top.yml"]
    assert found("*") == [".github/ci.yml", "link.yml", "src/a.yml", "top.yml"]
    assert found(".env") == [".env"]
    assert "traversal" in str(backend.glob("../*.py", "/workspace/dots").error)


def test_a_search_takes_the_frameworks_globs_caps_and_lines(backend: FumehoodBackend) -> None:
    backend.execute(
        "mkdir -p s/.git s/.hid s/src && cd s && "
        "for f in .git/x .hid/h.py src/a.py src/b.txt; do printf 'a.c\\nabc\\nd e\\n' > $f; done"
    )

    def found(text: str, **options: Any) -> list[tuple[str, int]]:
        matches = backend.grep(text, "/workspace/s", **options).matches or []
        return [(m["path"].removeprefix("/workspace/s/"), m["line"]) for m in matches]

    assert found("a.c", glob="src/**/*.py") == [("src/a.py", 1)]
    assert found("a.c", glob="*.py") == [(".hid/h.py", 1), ("src/a.py", 1)]
    assert found("a.c", glob="**/*.py") == [("src/a.py", 1)]
    assert found("a.c\nd e", glob="b.txt") == [("src/b.txt", 1), ("src/b.txt", 3)]
    assert all(not path.startswith(".git/") for path, _ in found("a.c"))
    assert [m["line"] for m in backend.grep("abc", "/workspace/s/.git").matches or []] == [2]
    capped = backend.grep("a", "/workspace/s", max_count=2)
    assert len(capped.matches or []) == 2
    assert capped.truncated
    assert not backend.grep("abc", "/workspace/s/src", max_count=2).truncated


def test_a_glob_passes_over_what_may_not_be_read_and_says_so(backend: FumehoodBackend) -> None:
    backend.execute(
        "mkdir -p locked/in/closed locked/in/open && "
        "touch locked/n.one locked/in/n.two locked/in/open/n.three locked/in/closed/n.four && "
        "chmod 0 locked/in/closed"
    )
    everywhere = ["n.one", "n.three", "n.two"]
    for pattern, there in {
        "n.*": everywhere,
        "**/n.*": everywhere,
        "in/**": everywhere[1:],
    }.items():
        found = backend.glob(pattern, "/workspace/locked")
        names = [posixpath.basename(match["path"]) for match in found.matches or []]
        assert sorted(names) == there
        assert (found.truncated, found.truncation_reason) == (True, "unreadable")
    backend.execute("chmod 755 locked/in/closed")
    assert not backend.glob("n.*", "/workspace/locked").truncated


def test_a_search_of_everything_leaves_out_what_has_no_end(backend: FumehoodBackend) -> None:
    backend.write("/workspace/needle.here", "x")
    assert [match["path"] for match in backend.glob("needle.*").matches or []] == [
        "/workspace/needle.here"
    ]
    assert [match["path"] for match in backend.grep("x", "/", "needle.*").matches or []] == [
        "/workspace/needle.here"
    ]
    # There is one of this name for each process.
    assert [m for m in backend.glob("status").matches or [] if m["path"].startswith("/proc")] == []
