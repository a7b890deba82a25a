"""``fumehood self-check``: on a good engine all holds, and what does not hold is said."""

from __future__ import annotations

import contextlib
import json
import platform
from collections.abc import AsyncGenerator
from typing import Unpack

import pytest

from cli.program import Fumehood, containers, volumes
from fumehood import AsyncDockerSandbox, EndReason, Lifecycle, Limits, Security, SessionLostError
from fumehood.cli.self_check import checks, client, command
from fumehood.cli.self_check.checks import CHECKS, Check, Grounds
from fumehood.cli.self_check.command import Finding
from fumehood.cli.self_check.ground import Ground, NotHeldError, NotTriedError, load
from fumehood.sandbox import SandboxOptions

pytestmark = pytest.mark.engine

BY_ID = {check.id: check for check in CHECKS}
PROGRAM = load("arm64" if platform.machine() == "aarch64" else "amd64")


def test_all_holds_and_programs_are_told_as_json(fumehood: Fumehood) -> None:
    ended = fumehood("self-check", "--json")
    assert ended.code == 0, ended.text
    data = json.loads(ended.text)
    ids = [each["id"] for each in data["checks"]]
    assert ids == [*BY_ID, "client", "leftovers"]
    assert {each["outcome"] for each in data["checks"]} == {"held"}
    assert data["held"] == data["tried"] == len(ids)
    assert data["engine"]["components"]["runc"]
    assert data["image"] == "fumehood/test-python"
    assert ended.errors == ""


def test_an_image_that_is_not_there_is_an_error_that_names_it(fumehood: Fumehood) -> None:
    ended = fumehood("self-check", "--image", "fumehood/no-such-image:tag")
    assert (ended.code, ended.text) == (1, "")
    assert "fumehood/no-such-image:tag" in ended.errors


def test_a_runtime_that_the_engine_lacks_is_an_error_that_names_it(fumehood: Fumehood) -> None:
    ended = fumehood("self-check", "--image", "fumehood/test-scratch", "--runtime", "no-such")
    assert ended.code == 1
    assert "'no-such' is not known to the engine" in ended.errors


# --- what does not hold is said ---------------------------------------------------------------


@contextlib.asynccontextmanager
async def grounds(**options: Unpack[SandboxOptions]) -> AsyncGenerator[Grounds]:
    """Give sessions that hold less than the self-check's own."""
    options.setdefault("lifecycle", Lifecycle(ttl=60))
    options.setdefault("pull", "never")
    async with (
        AsyncDockerSandbox(image="fumehood/test-busybox", **options) as sandbox,
        sandbox.create_session() as session,
    ):
        ground = Ground(session, PROGRAM)
        yield Grounds(main=ground, limited=ground)


async def test_a_command_with_capabilities_is_not_held() -> None:
    async with grounds(security=Security(workload_capabilities=("CHOWN",))) as open_:
        with pytest.raises(NotHeldError, match=r"as the image's user: Cap\w+ is 0+1"):
            await BY_ID["identity"].run(open_)


async def test_a_memory_that_suffices_for_the_bomb_is_not_held() -> None:
    limits = Limits(memory_mb=checks.MEMORY_MB + 1024)
    async with grounds(limits=limits) as open_:
        with pytest.raises(NotHeldError, match="ended as exited"):
            await BY_ID["memory-bomb"].run(open_)


async def test_who_is_left_is_found_and_named() -> None:
    async with grounds() as open_:
        left = await open_.main.attack("tree", "daemons", "leave")
        assert left.left_running == 3
        with pytest.raises(NotHeldError, match="still there: 3 processes, such as tree"):
            await open_.main.nobody_left()


async def test_an_attack_that_breaks_off_shows_nothing() -> None:
    async with grounds() as open_:
        with pytest.raises(NotTriedError, match="tree ended early"):
            await open_.main.told("tree", "no such shape")
        with pytest.raises(NotTriedError, match="did not come up"):
            async with open_.main.under_way("tree", "no such shape"):
                raise AssertionError("it came up")


async def test_a_session_that_outlives_its_killed_client_is_not_held_and_removed(
    monkeypatch: pytest.MonkeyPatch, new_id: str
) -> None:
    # As if the grace had been none: the session is there until it is over.
    monkeypatch.setattr(client, "GRACE", 0.0)
    monkeypatch.setattr(client, "_SLACK", 0.1)
    async with AsyncDockerSandbox(image="fumehood/test-busybox", pull="never") as sandbox:
        with pytest.raises(NotHeldError, match="still there"):
            async with client.killed_client(
                sandbox,
                id=new_id,
                image="fumehood/test-busybox",
                program=PROGRAM,
                docker_host=None,
                runtime=None,
            ) as watching:
                await watching
    assert containers(new_id) == []
    assert volumes(new_id) == []


async def test_a_client_that_cannot_begin_shows_nothing(new_id: str) -> None:
    async with AsyncDockerSandbox(image="fumehood/test-busybox", pull="never") as sandbox:
        with pytest.raises(NotTriedError, match="no-such-runtime"):
            async with client.killed_client(
                sandbox,
                id=new_id,
                image="fumehood/test-busybox",
                program=PROGRAM,
                docker_host=None,
                runtime="no-such-runtime",
            ) as watching:
                await watching


# --- findings and the verdict -----------------------------------------------------------------


async def ended(error: Exception) -> Finding:
    async def run() -> str:
        raise error

    return await command._made("x", "title", run())


async def test_every_way_to_fail_is_an_outcome() -> None:
    assert (await ended(NotHeldError("a"))).outcome == "not held"
    assert (await ended(NotTriedError("b"))).outcome == "not tried"
    lost = await ended(SessionLostError("c", reason=EndReason.LOST))
    assert (lost.outcome, lost.detail) == ("not held", "SessionLostError: c")
    with pytest.raises(ZeroDivisionError):
        await ended(ZeroDivisionError())


def of(*outcomes: command.Outcome) -> list[Finding]:
    return [
        Finding(id=f"check-{number}", title="title", outcome=outcome, detail="", seconds=1.0)
        for number, outcome in enumerate(outcomes)
    ]


@pytest.mark.parametrize(
    ("findings", "says"),
    [
        (of("held", "held"), "2 of 2 held, in 2 s: nothing got out, nothing is left"),
        (of("held", "not held"), "1 of 2 held, in 2 s. NOT HELD: check-1. Run no code"),
        (of("held", "not tried"), "but these show nothing: check-1"),
    ],
    ids=["all", "one not", "one not tried"],
)
def test_the_verdict_names_what_did_not_hold(findings: list[Finding], says: str) -> None:
    assert says in command._verdict(findings)


async def test_each_finding_is_a_line_as_it_is_found_and_hostile_text_in_it_is_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with AsyncDockerSandbox() as sandbox:
        info = await sandbox.engine_info()
    plan = command.Plan(info=info, image="image", runtime=None, docker_host=None)
    show = command._Display(plan, as_json=False, quiet=False)
    show.begin()
    bad = Finding(id="x", title="title", outcome="not held", detail="\x1b[2J\n", seconds=0.25)
    show.one(bad)
    show.end([bad])
    first, line, last = capsys.readouterr().out.splitlines()
    assert f"on docker {info.version}, " in first
    assert line == "NOT HELD   title: \\x1b[2J\\n (0.2 s)"
    assert last.startswith("0 of 1 held")
    quiet = command._Display(plan, as_json=False, quiet=True)
    quiet.begin()
    quiet.one(bad)
    quiet.end([bad])
    assert capsys.readouterr().out.splitlines() == [last]


def test_every_check_has_a_name_of_its_own() -> None:
    assert len(BY_ID) == len(CHECKS)
    assert all(isinstance(check, Check) and check.title for check in CHECKS)
