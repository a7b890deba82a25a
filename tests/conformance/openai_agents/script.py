"""What an agent does with a sandbox, step by step, through the framework alone.

Each step gives a value to be compared: two clients that agree on all of them are interchangeable.
"""

from __future__ import annotations

import asyncio
import io
import tarfile
import time
import urllib.request
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from agents.sandbox import Manifest
from agents.sandbox.entries import Dir, File
from agents.sandbox.errors import SandboxError
from agents.sandbox.session import BaseSandboxClient, SandboxSession
from agents.sandbox.snapshot import LocalSnapshotSpec

PORT = 8080
PATIENCE = 30.0
PATCH = (
    {"type": "create_file", "path": "made/new.txt", "diff": "+first\n+second"},
    {"type": "update_file", "path": "inline.txt", "diff": "@@\n-inline one\n+inline two"},
    {"type": "delete_file", "path": "gone.txt"},
)


def manifest() -> Manifest:
    return Manifest(
        environment={"value": {"COLOUR": "green and blue"}},
        entries={
            "inline.txt": File(content=b"inline one\n"),
            "gone.txt": File(content=b"gone\n"),
            "tree": Dir(children={"leaf.txt": File(content=b"leaf\n")}),
        },
    )


async def play(
    client: BaseSandboxClient[Any], options: object, snapshots: Path
) -> dict[str, object]:
    """Play the whole script and return what each step has given."""
    outcomes: dict[str, object] = {}
    session = await client.create(
        options=options, manifest=manifest(), snapshot=LocalSnapshotSpec(base_path=snapshots)
    )
    try:
        async with session:
            for step in (_commands, _files, _escapes, _users, _patches, _ptys, _ports):
                await step(session, outcomes)
            await session.exec("rm -rf kept; mkdir kept; echo kept > kept/a; ln -s a kept/link")
        state = client.serialize_session_state(session.state)
    finally:
        await client.delete(session)
    resumed = await client.resume(client.deserialize_session_state(state))
    try:
        async with resumed:
            await _restored(resumed, outcomes)
    finally:
        await client.delete(resumed)
    return outcomes


async def _commands(session: SandboxSession, outcomes: dict[str, object]) -> None:
    async def run(*command: str, **options: Any) -> tuple[bytes, bytes, int]:
        done = await session.exec(*command, **options)
        return done.stdout, done.stderr, done.exit_code

    outcomes["a line of shell"] = await run("echo out; echo err >&2; exit 3")
    outcomes["arguments"] = await run("printf", "%s|", "a b", "c'd", shell=False)
    outcomes["its directory"] = await run("pwd")
    outcomes["another shell"] = await run('echo "${BASH_VERSION:+bash}"', shell=["bash", "-c"])
    outcomes["the manifest's variables"] = await run('printf %s "$COLOUR"')
    outcomes["a signal"] = (await run("kill -TERM $$"))[2]
    outcomes["no such program"] = (await run("/no/such", shell=False))[2] in (126, 127)
    outcomes["much output"] = len((await run("head -c 5000000 /dev/zero"))[0])
    outcomes["out of time"] = await _said(lambda: session.exec("sleep 1000", timeout=0.5))
    outcomes["it runs"] = await session.running()


async def _files(session: SandboxSession, outcomes: dict[str, object]) -> None:
    content = bytes(range(256)) * 4096
    await session.write(Path("deep/er/blob"), io.BytesIO(content))
    outcomes["a file back"] = (await session.read(Path("deep/er/blob"))).read() == content
    outcomes["its beginning"] = await session.read_bounded(Path("deep/er/blob"), max_bytes=10)
    outcomes["an absolute name"] = (await session.read(Path("/workspace/inline.txt"))).read()
    outcomes["a file that is missing"] = await _said(lambda: session.read(Path("missing")))
    outcomes["no file but a directory"] = await _said(lambda: session.read(Path("deep")))
    outcomes["in no directory"] = await _said(lambda: session.read(Path("inline.txt/x")))
    outcomes["a listing"] = sorted(
        (entry.path, entry.kind.value, entry.size if entry.kind.value == "file" else 0)
        for entry in await session.ls(".")
    )
    await session.mkdir("made/by/hand", parents=True)
    await session.mv("deep/er/blob", "made/by/hand/moved")
    outcomes["the same file"] = await session.same_file("inline.txt", "made/../inline.txt")
    outcomes["another file"] = await session.same_file("inline.txt", "gone.txt")
    outcomes["moved"] = [entry.path for entry in await session.ls("made/by/hand")]
    await session.rm("made", recursive=True)
    outcomes["removed"] = await _said(lambda: session.ls("made"))
    await session.exec("ln -s inline.txt link.txt")
    await session.write(Path("link.txt"), io.BytesIO(b"inline one\n"))
    outcomes["written through a link"] = (await session.exec("readlink link.txt")).stdout
    await session.extract("out/bundle.tar", _archive({"hello.txt": b"hello\n"}))
    outcomes["extracted"] = (await session.read(Path("out/hello.txt"))).read()


async def _escapes(session: SandboxSession, outcomes: dict[str, object]) -> None:
    await session.exec("ln -sf /etc escape; ln -sf /etc/passwd leaf")
    for name, path in {
        "up and out": "../etc/passwd",
        "an absolute way out": "/etc/passwd",
        "through a link": "escape/passwd",
        "a link itself": "leaf",
    }.items():
        where, content = Path(path), io.BytesIO(b"x")
        outcomes[f"{name}, read"] = await _said(partial(session.read, where))
        outcomes[f"{name}, written"] = await _said(partial(session.write, where, content))
    await session.exec("rm escape leaf")


async def _users(session: SandboxSession, outcomes: dict[str, object]) -> None:
    outcomes["another user"] = (await session.exec("id -un", user="user")).stdout
    outcomes["no such user"] = (await session.exec("true", user="nobody-here")).exit_code == 0
    await session.exec("mkdir -p open; chmod 777 open; echo secret > hidden; chmod 600 hidden")
    await session.write(Path("open/theirs"), io.BytesIO(b"theirs"), user="user")
    outcomes["whose file"] = (await session.exec("stat -c %U open/theirs")).stdout
    outcomes["read as them"] = (await session.read(Path("open/theirs"), user="user")).read()
    outcomes["not for them"] = await _said(lambda: session.read(Path("hidden"), user="user"))
    await session.exec("rm -rf open hidden")


async def _patches(session: SandboxSession, outcomes: dict[str, object]) -> None:
    outcomes["patched"] = await session.apply_patch([dict(part) for part in PATCH])
    outcomes["created"] = (await session.read(Path("made/new.txt"))).read()
    outcomes["updated"] = (await session.read(Path("inline.txt"))).read()
    outcomes["deleted"] = await _said(lambda: session.read(Path("gone.txt")))
    misfit = {"type": "update_file", "path": "inline.txt", "diff": "@@\n-nothing\n+x"}
    outcomes["a patch that does not fit"] = await _said(lambda: session.apply_patch([misfit]))


async def _ptys(session: SandboxSession, outcomes: dict[str, object]) -> None:
    done = await session.pty_exec_start("echo out; echo err >&2; exit 4", yield_time_s=30)
    outcomes["a short command"] = (sorted(done.output.split()), done.exit_code, done.process_id)
    asked = await session.pty_exec_start(
        'test -t 0 && printf "name: " && read name && echo "hello $name"', tty=True, yield_time_s=1
    )
    outcomes["a question"] = (asked.output, asked.exit_code)
    assert asked.process_id is not None
    number = asked.process_id
    told = await session.pty_write_stdin(session_id=number, chars="you\n", yield_time_s=30)
    outcomes["its answer"] = (told.output, told.exit_code, told.process_id)
    outcomes["told already"] = await _said(
        lambda: session.pty_write_stdin(session_id=number, chars="")
    )
    silent = await session.pty_exec_start("sleep 1000", yield_time_s=0.25)
    outcomes["without a terminal"] = await _said(
        lambda: session.pty_write_stdin(session_id=silent.process_id or 0, chars="x")
    )
    await session.pty_terminate_all()
    outcomes["cut in characters"] = (
        await session.pty_exec_start("printf 'ä%.0s' $(seq 400)", max_output_tokens=20)
    ).original_token_count


async def _ports(session: SandboxSession, outcomes: dict[str, object]) -> None:
    await session.pty_exec_start(f"python3 -m http.server {PORT} -d tree", yield_time_s=0.25)
    endpoint = await session.resolve_exposed_port(PORT)
    outcomes["a page of its server"] = await asyncio.to_thread(
        _fetch, f"{endpoint.url_for('http')}leaf.txt"
    )
    outcomes["a port that is not exposed"] = await _said(lambda: session.resolve_exposed_port(9))
    await session.pty_terminate_all()


async def _restored(session: SandboxSession, outcomes: dict[str, object]) -> None:
    found = await session.exec("find . -mindepth 1 -not -path './tree*' | sort")
    outcomes["files of the snapshot"] = found.stdout.decode().split()
    outcomes["a link of it"] = (await session.exec("cat kept/link")).stdout
    outcomes["its patched file"] = (await session.read(Path("inline.txt"))).read()


async def _said(do: Callable[[], Awaitable[object]]) -> str:
    """Return what kind of error something is, and its code where it has one."""
    try:
        await do()
    except SandboxError as exc:
        return f"{type(exc).__name__} {exc.error_code}"
    except (RuntimeError, ValueError) as exc:
        return f"{type(exc).__name__}: {exc}"
    return "nothing"


def _archive(files: dict[str, bytes]) -> io.BytesIO:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    held.seek(0)
    return held


def _fetch(url: str) -> bytes:
    """Return a page of a server that may be about to start."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE) as page:
                return bytes(page.read())
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
