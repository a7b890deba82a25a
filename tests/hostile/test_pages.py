"""Web pages as attackers: of what listens on this machine they get nothing to run, and no word.

A browser reaches ``fumehood mcp --http`` as any program here does, for whatever page it shows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest
import pytest_asyncio
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from cases.mark import case
from mcp_server.conftest import PATIENCE, TOKEN, http, sessions

PAGES = "Web pages get nothing from `fumehood mcp --http`"
MARKUP = "<img src=x onerror=alert(1)>\x1b]0;<script>alert(2)</script>\x07 javascript:alert(3)"
DATA = ("application/json", "text/event-stream", "text/plain")
"""What no browser looks for markup in, as long as it may not guess."""
RIGHT = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/json, text/event-stream"}
WRONG = ("Bearer", TOKEN, f"Basic {TOKEN}", f"bearer {TOKEN}", f"Bearer {TOKEN[:-1]}")
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


@pytest_asyncio.fixture(loop_scope="session")
async def server() -> AsyncIterator[str]:
    """Give the address of a server as its users start it; its sessions go with it."""
    before = await sessions()
    async with http() as (url, _):
        yield url
    async with asyncio.timeout(PATIENCE):
        while await sessions() - before:
            await asyncio.sleep(0.1)


def check_harmless(answer: httpx2.Response) -> None:
    """Fail if a page could read an answer, or a browser take it for one."""
    if "content-type" in answer.headers:
        assert answer.headers["content-type"].split(";")[0] in DATA
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers


@case("H55", PAGES)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
async def test_whoever_has_no_token_gets_one_answer_to_everything(server: str, method: str) -> None:
    async with httpx2.AsyncClient() as client:
        for path in ("", "/..", "?<script>alert(1)</script>", "/%3Cscript%3E"):
            for given in ({}, *({"Authorization": text} for text in WRONG)):
                answer = await client.request(method, f"{server}{path}", headers=given)
                assert answer.status_code == 401, given
                check_harmless(answer)
                assert "script" not in answer.text


@case("H55", PAGES)
async def test_no_other_host_or_origin_is_let_in_even_with_the_token(server: str) -> None:
    port = httpx2.URL(server).port
    hosts = ("evil.example", f"evil.example:{port}", f"127.0.0.1.evil.example:{port}", "[::2]", "")
    origins = (
        "null",
        "http://evil.example",
        f"http://127.0.0.1.evil.example:{port}",
        f"http://localhost.evil.example:{port}",
        f"https://evil.example:{port}",
        "file://",
    )
    async with httpx2.AsyncClient() as client:
        for host in hosts:
            answer = await client.post(server, json=PING, headers={**RIGHT, "Host": host})
            assert answer.status_code in (400, 421), host
            if answer.status_code == 421:
                check_harmless(answer)
        for origin in origins:
            answer = await client.post(server, json=PING, headers={**RIGHT, "Origin": origin})
            assert answer.status_code == 403, origin
            check_harmless(answer)


@case("H55", PAGES)
async def test_markup_from_inside_is_text_in_an_answer_that_is_data(server: str) -> None:
    seen: list[httpx2.Response] = []

    async def note(answer: httpx2.Response) -> None:
        seen.append(answer)

    async with (
        httpx2.AsyncClient(
            headers=RIGHT, timeout=PATIENCE, event_hooks={"response": [note]}
        ) as connection,
        Client(streamable_http_client(server, http_client=connection)) as client,
    ):
        made = await client.call_tool("exec_command", {"argv": ["sh", "-c", f"echo '{MARKUP}'"]})
        assert "<img src=x onerror=alert(1)>" in str(made.content)
    assert seen
    for answer in seen:
        check_harmless(answer)
