"""Anthropic's bash and text editor, over real sessions and both APIs."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from contract.adapter import Api
from fumehood import AsyncSession, InvalidRequestError, Session, SessionEndedError
from fumehood.tools import ApprovalRequest, CommandRules, Failure, Policy, ToolResult
from fumehood.tools.anthropic_tools import (
    BASH,
    EDITOR,
    AnthropicTools,
    AsyncAnthropicTools,
    tool_result,
)

pytestmark = pytest.mark.engine


class Tools:
    """Tools of either flavour behind awaited calls."""

    def __init__(self, session: AsyncSession, policy: Policy | None = None) -> None:
        self.set: AsyncAnthropicTools | AnthropicTools
        if isinstance(session, AsyncSession):
            self.set = AsyncAnthropicTools(session, policy=policy)
        else:
            inner = cast("Any", session)._inner
            assert isinstance(inner, Session)
            self.set = AnthropicTools(inner, policy=policy)

    async def _call(self, name: str, given: dict[str, object]) -> ToolResult:
        if isinstance(self.set, AsyncAnthropicTools):
            return await self.set.dispatch(name, given)
        return await asyncio.to_thread(self.set.dispatch, name, given)

    async def bash(self, **given: object) -> ToolResult:
        return await self._call(BASH, given)

    async def edit(self, command: str, path: str, **given: object) -> ToolResult:
        return await self._call(EDITOR, {"command": command, "path": path, **given})

    async def other(self, name: str) -> ToolResult:
        return await self._call(name, {})


def refusal(result: ToolResult) -> Failure:
    assert isinstance(result.value, Failure), result.text
    return result.value


async def test_a_directory_and_variables_last_until_a_restart(session: AsyncSession) -> None:
    tools = Tools(session)
    first = await tools.bash(command="mkdir -p 'a b' && cd 'a b' && export WHO=\"it's me\"; exit 3")
    assert first.text.startswith("exit code 3")
    kept = await tools.bash(command='pwd; echo "$WHO"')
    assert kept.data["stdout"]["text"] == "/workspace/a b\nit's me\n"
    assert not (await tools.bash(restart=True)).is_error
    fresh = await tools.bash(command='pwd; echo "[$WHO]"')
    assert fresh.data["stdout"]["text"] == "/workspace\n[]\n"


async def test_a_command_that_is_killed_leaves_the_shell_as_it_was(session: AsyncSession) -> None:
    tools = Tools(session, Policy(timeout=1))
    await tools.bash(command="cd /tmp")
    killed = await tools.bash(command="cd /; echo begun; sleep 100")
    assert "timed out" in killed.text
    assert "begun" in killed.text
    assert (await tools.bash(command="pwd")).data["stdout"]["text"] == "/tmp\n"


async def test_two_toolsets_have_two_shells(session: AsyncSession) -> None:
    one, two = Tools(session), Tools(session)
    await one.bash(command="cd /tmp")
    assert (await two.bash(command="pwd")).data["stdout"]["text"] == "/workspace\n"


async def test_what_lasts_is_kept_from_other_users_and_taken_from_none(
    session: AsyncSession,
) -> None:
    tools = Tools(session)
    others = {entry.path for entry in await session.list_files("/tmp", root="/")}
    await tools.bash(command="export SECRET=1")
    [kept] = [
        entry.path
        for entry in await session.list_files("/tmp", root="/")
        if ".fumehood-bash-" in entry.path and entry.path not in others
    ]
    assert (await session.stat(kept, root="/")).mode == 0o600
    await session.remove(kept, root="/")
    await session.exec(["sh", "-c", f"echo echo taken >{kept}"], user="65534", check=True)
    told = await tools.bash(command="echo own; exit 3")
    assert (told.data["exit_code"], told.data["stdout"]["text"]) == (3, "own\n")


async def test_an_editor_creates_views_replaces_and_inserts(session: AsyncSession) -> None:
    tools = Tools(session)
    path = "/workspace/edited/e.txt"
    await tools.edit("create", path, file_text="one\ntwo\nthree\n")
    await tools.edit("str_replace", path, old_str="two", new_str="2")
    await tools.edit("insert", path, insert_line=0, insert_text="zero")
    await tools.edit("insert", path, insert_line=4, insert_text="four\nfive")
    assert await session.read_text_file("edited/e.txt") == "zero\none\n2\nthree\nfour\nfive"
    part = await tools.edit("view", path, view_range=[2, 3])
    assert part.text == "     2\tone\n     3\t2"
    whole = await tools.edit("view", path)
    assert whole.text.splitlines()[-1] == "     6\tfive"
    await tools.edit("str_replace", path, old_str="zero\n")
    assert (await session.read_text_file("edited/e.txt")).startswith("one\n")
    assert "e.txt" in (await tools.edit("view", "/workspace/edited")).text


async def test_an_insert_after_a_line_without_an_end_gives_it_one(session: AsyncSession) -> None:
    tools = Tools(session)
    await session.write_file("bare", "one")
    await tools.edit("insert", "bare", insert_line=1, insert_text="two\n")
    assert await session.read_text_file("bare") == "one\ntwo\n"


async def test_an_insert_keeps_line_ends_and_loses_nobodys_work(session: AsyncSession) -> None:
    tools = Tools(session)
    await session.write_file("crlf", "one\r\ntwo")
    told = await tools.edit("insert", "crlf", insert_line=2, insert_text="three\nfour")
    assert told.text == "edited crlf: inserted behind line 2"
    assert await session.read_file("crlf") == b"one\r\ntwo\r\nthree\r\nfour"
    await session.write_file("empty", "")
    await tools.edit("insert", "empty", insert_line=0, insert_text="first\n")
    assert await session.read_file("empty") == b"first\n"

    async def meanwhile(request: ApprovalRequest) -> bool:
        assert request.summary == "'edit crlf: insert behind line 1'"
        await session.write_file("crlf", "written by somebody else\n")
        return True

    careful = Tools(session, Policy(approve=meanwhile))
    missed = refusal(await careful.edit("insert", "crlf", insert_line=1, insert_text="x"))
    assert "written to meanwhile" in missed.message
    assert await session.read_file("crlf") == b"written by somebody else\n"


async def test_an_insert_is_held_by_the_policy_of_edits(session: AsyncSession) -> None:
    await session.write_file("docs/a", "a\n")
    for policy, said in (
        (Policy(writable=("src",)), "writable: src"),
        (Policy(max_write_bytes=20), "more than the 20"),
        (Policy(read_only=True), "may only be looked at"),
        (Policy(approve=lambda _: "not today", approval=("edit_file",)), "not today"),
    ):
        careful = Tools(session, policy)
        told = await careful.edit("insert", "docs/a", insert_line=1, insert_text="b" * 50)
        assert said in refusal(told).message
    assert await session.read_file("docs/a") == b"a\n"


async def test_what_cannot_be_done_says_so_and_changes_nothing(session: AsyncSession) -> None:
    tools = Tools(session)
    await session.write_file("w", "a a\n")
    assert "2 times" in refusal(await tools.edit("str_replace", "w", old_str="a")).message
    assert (
        "has 1 lines"
        in refusal(await tools.edit("insert", "w", insert_line=2, insert_text="")).message
    )
    assert refusal(await tools.edit("view", "none")).code == "file_not_found"
    assert refusal(await tools.edit("view", "w", view_range=[3, 2])).kind == "arguments"
    assert refusal(await tools.edit("undo_edit", "w")).kind == "arguments"
    assert refusal(await tools.bash()).kind == "arguments"
    assert EDITOR in refusal(await tools.other("computer")).message
    await session.write_file("bin", b"\xff\n")
    assert (
        "UTF-8"
        in refusal(await tools.edit("insert", "bin", insert_line=0, insert_text="x")).message
    )
    assert await session.read_text_file("w") == "a a\n"
    assert await session.read_file("bin") == b"\xff\n"


async def test_a_policy_holds_for_both(session: AsyncSession) -> None:
    ruled = Tools(session, Policy(commands=CommandRules(allow=("ls",)), writable=("src",)))
    assert [tool["name"] for tool in ruled.set.definitions()] == [EDITOR]
    assert refusal(await ruled.bash(command="ls")).kind == "unknown_tool"
    assert refusal(await ruled.edit("create", "etc", file_text="")).kind == "policy"
    looking = Tools(session, Policy(read_only=True))
    assert [tool["name"] for tool in looking.set.definitions()] == [EDITOR]
    assert refusal(await looking.edit("create", "x", file_text="")).kind == "unknown_tool"
    asked: list[str] = []

    def approve(request: Any) -> str:
        asked.append(request.summary)
        return "not today"

    careful = Tools(session, Policy(approve=approve))
    assert "not today" in refusal(await careful.bash(command="touch made")).message
    assert "touch made" in asked[0]
    with pytest.raises(FileNotFoundError):
        await session.stat("made")


async def test_the_end_of_the_session_is_raised(api: Api) -> None:
    async with api.session() as session:
        tools = Tools(session)
        await session.destroy()
        with pytest.raises(SessionEndedError):
            await tools.bash(command="true")


async def test_a_session_of_the_other_kind_is_refused(session: AsyncSession) -> None:
    with pytest.raises(InvalidRequestError):
        AsyncAnthropicTools(cast("Any", object()))
    with pytest.raises(InvalidRequestError):
        AnthropicTools(cast("Any", object()))
    block = tool_result("id", await Tools(session).bash(command="false"))
    assert (block["tool_use_id"], block["is_error"]) == ("id", False)
