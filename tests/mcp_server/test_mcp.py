"""The server of the Model Context Protocol, with the protocol's own client at its other end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent, TextResourceContents

from fumehood import AsyncDockerSandbox
from mcp_server.conftest import PATIENCE, TOKEN, http, sessions, stdio

pytestmark = pytest.mark.engine

Mode = Literal["auto", "legacy"]
MODES: tuple[Mode, ...] = ("auto", "legacy")
BOTH = pytest.mark.parametrize("mode", MODES)


@asynccontextmanager
async def over_http(url: str, mode: Mode, token: str | None = TOKEN) -> AsyncIterator[Client]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=PATIENCE) as connection,
        Client(streamable_http_client(url, http_client=connection), mode=mode) as client,
    ):
        yield client


def text(result: CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


async def use(client: Client) -> None:
    """Do what a client does first, and look at each kind of answer."""
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert tools["exec_command"].input_schema["properties"]["command"]
    written = await client.call_tool("write_file", {"path": "a b.txt", "content": "kept\n"})
    assert not written.is_error
    ran = await client.call_tool("exec_command", {"command": "cat 'a b.txt'; exit 3"})
    assert not ran.is_error
    assert text(ran).startswith("exit code 3 ")
    assert ran.structured_content is not None
    assert ran.structured_content["stdout"]["text"] == "kept\n"
    found = await client.call_tool("search_files", {"pattern": "ke?pt", "include": ["*.txt"]})
    assert text(found) == "1 match; 1 file searched\na b.txt\n1: kept"
    missing = await client.call_tool("read_file", {"path": "none"})
    assert missing.is_error
    assert "none" in text(missing)
    wrong = await client.call_tool("read_file", {"file": "none"})
    assert wrong.is_error
    assert "takes: path" in text(wrong)
    (resource,) = (await client.list_resources()).resources
    assert (resource.name, resource.size) == ("a b.txt", 5)
    (content,) = (await client.read_resource(str(resource.uri))).contents
    assert isinstance(content, TextResourceContents)
    assert content.text == "kept\n"
    with pytest.raises(MCPError):
        await client.read_resource("workspace:///none")


@BOTH
async def test_a_client_at_standard_streams_has_a_session(mode: Mode) -> None:
    before = await sessions()
    async with Client(stdio(), mode=mode) as client:
        await use(client)
        assert len(await sessions() - before) == 1


@BOTH
async def test_a_client_over_http_has_a_session(mode: Mode) -> None:
    async with http() as (url, _), over_http(url, mode) as client:
        await use(client)


async def test_connections_over_http_do_not_share_a_session_and_end_it() -> None:
    before = await sessions()
    async with http() as (url, _):
        async with over_http(url, "legacy") as one, over_http(url, "legacy") as two:
            await one.call_tool("write_file", {"path": "mine", "content": ""})
            listed = await two.call_tool("list_files")
            assert text(listed) == ".: 0 entries"
            assert len(await sessions() - before) == 2
        async with asyncio.timeout(PATIENCE):
            while await sessions() - before:
                await asyncio.sleep(0.05)


@BOTH
async def test_progress_comes_while_a_command_runs_and_a_cancelled_one_is_killed(
    mode: Mode,
) -> None:
    async with Client(stdio(), mode=mode) as client:
        begun = asyncio.Event()
        seen: list[str | None] = []

        async def progress(progress: float, total: float | None, message: str | None) -> None:
            seen.append(message)
            begun.set()

        call = asyncio.ensure_future(
            client.call_tool(
                "exec_command",
                {"command": "echo begun; exec sleep 1000", "timeout": 600},
                progress_callback=progress,
            )
        )
        async with asyncio.timeout(PATIENCE):
            await begun.wait()
            call.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await call
            while "sleep" in text(await client.call_tool("exec_command", {"argv": ["ps", "ax"]})):
                await asyncio.sleep(0.05)
        assert seen == ["begun\n"]


async def test_sessions_by_name_are_made_used_and_ended() -> None:
    async with Client(stdio("--sessions=named")) as client:
        nameless = await client.call_tool("list_files")
        assert "every tool needs session" in text(nameless)
        unknown = await client.call_tool("list_files", {"session": "one"})
        assert "create_session" in text(unknown)
        for name in ("one", "two"):
            assert not (await client.call_tool("create_session", {"session": name})).is_error
        await client.call_tool("write_file", {"session": "one", "path": "f", "content": "1"})
        assert (await client.call_tool("read_file", {"session": "two", "path": "f"})).is_error
        (resource,) = (await client.list_resources()).resources
        assert str(resource.uri) == "workspace://one/f"
        assert not (await client.call_tool("end_session", {"session": "one"})).is_error
        assert (await client.call_tool("list_files", {"session": "one"})).is_error


async def test_a_file_and_options_say_what_a_server_is(tmp_path: Any) -> None:
    file = tmp_path / "server.toml"
    file.write_text(
        """
        [sandbox]
        env = { GREETING = "hello" }
        [sandbox.limits]
        memory_mb = 128
        [policy.commands]
        allow = ["sh", "printenv"]
        [server]
        include = ["exec_command", "list_files"]
        """
    )
    async with Client(stdio(f"--config={file}", "--cpus=0.5")) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        assert tools == ["exec_command", "list_files"]
        assert "hello" in text(await client.call_tool("exec_command", {"command": "printenv"}))
        refused = await client.call_tool("exec_command", {"argv": ["ls"]})
        assert "allowed: sh, printenv" in text(refused)


async def test_a_session_that_has_ended_is_told_and_replaced() -> None:
    before = await sessions()
    async with Client(stdio("--idle=600")) as client, AsyncDockerSandbox() as sandbox:
        await client.call_tool("write_file", {"path": "lost", "content": ""})
        (id,) = await sessions() - before
        (info,) = [info for info in await sandbox.list_sessions() if info.id == id]
        assert info.idle_timeout == 600
        await sandbox.destroy_session(id)
        # Its files have ended with it: nothing of the server's is wrong.
        assert (await client.list_resources()).resources == []
        answer = await client.call_tool("list_files")
        assert answer.is_error
        assert "the sandbox has ended (" in text(answer)
        assert text(await client.call_tool("list_files")) == ".: 0 entries"


async def test_a_killed_server_leaves_nothing() -> None:
    before = await sessions()
    async with http() as (url, process), over_http(url, "auto") as client:
        await client.call_tool("exec_command", {"argv": ["true"]})
        assert await sessions() - before
        process.kill()
        await process.wait()


@BOTH
async def test_a_server_that_is_told_to_end_answers_its_calls_first(mode: Mode) -> None:
    before = await sessions()
    async with (
        http(stderr=asyncio.subprocess.PIPE) as (url, process),
        over_http(url, mode) as client,
    ):
        running = asyncio.Event()

        async def progress(progress: float, total: float | None, message: str | None) -> None:
            running.set()

        arguments = {"command": "echo begun; exec sleep 1000"}
        call = asyncio.create_task(
            client.call_tool("exec_command", arguments, progress_callback=progress)
        )
        async with asyncio.timeout(PATIENCE):
            await running.wait()
            process.terminate()
            answer = await call
            _, said = await process.communicate()
        assert answer.is_error
        assert "the sandbox has ended (destroyed)" in text(answer)
        assert said == b"fumehood: SIGTERM: cleaning up (once more to leave at once)\n"
        assert process.returncode == 128 + signal.SIGTERM
        assert await sessions() == before


async def test_nobody_is_let_in_without_the_token_or_from_a_strange_page() -> None:
    async with http() as (url, _), httpx2.AsyncClient() as client:
        body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        right = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/json"}
        for headers, status in (
            ({}, 401),
            ({"Authorization": f"Bearer {TOKEN}x"}, 401),
            ({**right, "Origin": "http://evil.example"}, 403),
            ({**right, "Host": "evil.example"}, 421),
        ):
            answer = await client.post(url, json=body, headers=headers)
            assert answer.status_code == status, headers
