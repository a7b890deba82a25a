"""``fumehood self-check``: what held, said as it is found, and a verdict."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import secrets
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import typer

from fumehood import (
    AsyncDockerSandbox,
    EngineInfo,
    Lifecycle,
    Limits,
    SandboxError,
    Security,
    __version__,
)
from fumehood.cli import flags, output, running
from fumehood.cli.images import with_any_image
from fumehood.cli.progress import PullDisplay
from fumehood.cli.self_check import checks
from fumehood.cli.self_check.checks import CHECKS, Grounds
from fumehood.cli.self_check.client import killed_client
from fumehood.cli.self_check.ground import Ground, NotHeldError, NotTriedError, load
from fumehood.cli.sessions import Json

Outcome = Literal["held", "not held", "not tried"]

_LIFECYCLE = Lifecycle(ttl=180)
_MAIN = Limits(memory_mb=256, pids=256, timeout=30)
_LIMITED = Limits(memory_mb=checks.MEMORY_MB, pids=checks.PIDS, timeout=30)
_MARKS: dict[Outcome, str] = {
    "held": "held     ",
    "not held": "NOT HELD ",
    "not tried": "NOT TRIED",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How one check ended."""

    id: str
    title: str
    outcome: Outcome
    detail: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a self-check is made with."""

    info: EngineInfo
    image: str
    runtime: str | None
    docker_host: str | None

    def sandbox(self, limits: Limits) -> AsyncDockerSandbox:
        """Return a factory of sessions with these limits."""
        return AsyncDockerSandbox(
            image=self.image,
            pull="never",
            lifecycle=_LIFECYCLE,
            limits=limits,
            security=Security(runtime=self.runtime),
            docker_host=self.docker_host,
        )


def self_check(
    ctx: typer.Context,
    image: flags.TrialImage = None,
    runtime: flags.Runtime = None,
    as_json: Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Attack sessions on your own engine, and say what held.

    It makes sessions, attacks them from inside with the programs of fumehood's
    own test suite (as the image's user, as root and as uid 1000), kills a
    client, and removes everything. Needs no privileges beyond the engine's
    socket, nothing of the image, and less than a minute. 'fumehood doctor'
    tells what the engine and its host could do better.

    [bold]Examples[/bold]

      fumehood self-check
      fumehood self-check --image alpine
      fumehood self-check --runtime runsc --json
      fumehood --docker-host ssh://build-1 self-check

    Exit codes: 0 when all held, 1 when something did not or could not be
    tried, 69 when no engine answers.
    """

    async def work() -> int:
        docker_host = running.common(ctx).docker_host
        async with AsyncDockerSandbox(docker_host=docker_host) as sandbox:
            info = await sandbox.engine_info()
        found = await with_any_image(image, _Look(docker_host, quiet=quiet))
        plan = Plan(info=info, image=found, runtime=runtime, docker_host=docker_host)
        show = _Display(plan, as_json=as_json, quiet=quiet)
        show.begin()
        findings: list[Finding] = []
        async for finding in findings_of(plan):
            findings.append(finding)
            show.one(finding)
        show.end(findings)
        return 0 if all(each.outcome == "held" for each in findings) else running.FAILED

    running.finish(work, after="Its sessions end by themselves within three minutes.")


class _Look:
    """Makes one session of an image, and returns the image's name: sessions can be made of it."""

    def __init__(self, docker_host: str | None, *, quiet: bool) -> None:
        self._docker_host = docker_host
        self._quiet = quiet

    async def __call__(self, image: str, pull: Literal["never", "missing"]) -> str:
        with PullDisplay(quiet=self._quiet) as display:
            async with (
                AsyncDockerSandbox(
                    image=image,
                    pull=pull,
                    lifecycle=_LIFECYCLE,
                    docker_host=self._docker_host,
                    progress=display,
                ) as sandbox,
                sandbox.create_session(),
            ):
                return image


# --- the attacks ------------------------------------------------------------------------------


async def findings_of(plan: Plan) -> AsyncIterator[Finding]:
    """Make every check, and yield each as it ends."""
    program = await asyncio.to_thread(load, plan.info.architecture)
    name = f"self-check-{secrets.token_hex(6)}"
    ids = [f"{name}-{part}" for part in ("main", "limited", "client")]
    async with plan.sandbox(_MAIN) as sandbox:
        async with (
            killed_client(
                sandbox,
                id=ids[2],
                image=plan.image,
                program=program,
                docker_host=plan.docker_host,
                runtime=plan.runtime,
            ) as watching,
            _grounds(plan, sandbox, program, ids) as grounds,
        ):
            for check in CHECKS:
                yield await _made(check.id, check.title, check.run(grounds))
            yield await _made("client", "a killed client leaves nothing", _waited(watching))
        yield await _made("leftovers", "nothing is left on the engine", _nothing(sandbox, ids))


@asynccontextmanager
async def _grounds(
    plan: Plan, sandbox: AsyncDockerSandbox, program: bytes, ids: Sequence[str]
) -> AsyncGenerator[Grounds]:
    async with (
        sandbox.create_session(id=ids[0]) as main,
        plan.sandbox(_LIMITED) as small,
        small.create_session(id=ids[1]) as limited,
    ):
        grounds = Grounds(main=Ground(main, program), limited=Ground(limited, program))
        await grounds.main.settle_users()
        yield grounds


async def _waited(watching: asyncio.Task[str]) -> str:
    return await watching


async def _nothing(sandbox: AsyncDockerSandbox, ids: Sequence[str]) -> str:
    left = sorted({info.id for info in await sandbox.list_sessions()} & set(ids))
    if left:
        raise NotHeldError(f"sessions are left: {', '.join(left)}")
    return f"{len(ids)} sessions were made"


async def _made(id: str, title: str, run: Awaitable[str]) -> Finding:
    begin = time.monotonic()
    outcome: Outcome = "held"
    try:
        detail = await run
    except NotHeldError as exc:
        outcome, detail = "not held", str(exc)
    except NotTriedError as exc:
        outcome, detail = "not tried", str(exc)
    except SandboxError as exc:
        # Of an attack that cannot even be made nothing is known; a session that it has ended is
        # none that held.
        outcome, detail = "not held", f"{type(exc).__name__}: {exc}"
    seconds = round(time.monotonic() - begin, 3)
    return Finding(id=id, title=title, outcome=outcome, detail=detail, seconds=seconds)


# --- what is said -----------------------------------------------------------------------------


class _Display:
    """Tells of each finding at once; with JSON only at a terminal, on standard error."""

    def __init__(self, plan: Plan, *, as_json: bool, quiet: bool) -> None:
        self._plan = plan
        self._json = as_json
        self._lines = not as_json and not quiet
        self._notes = as_json and not quiet and sys.stderr.isatty()

    def begin(self) -> None:
        """Say what is attacked."""
        info = self._plan.info
        runtime = self._plan.runtime or info.default_runtime or "runc"
        version = info.components.get(runtime, "")
        self._say(
            f"fumehood {__version__} on {info.name} {info.version}, {runtime} {version}".rstrip()
            + f", Linux {info.kernel}, {info.architecture}; sessions in {self._plan.image}"
        )

    def one(self, finding: Finding) -> None:
        """Say how a check ended."""
        self._say(
            f"{_MARKS[finding.outcome]}  {finding.title}: {finding.detail} "
            f"({finding.seconds:.1f} s)"
        )

    def end(self, findings: Sequence[Finding]) -> None:
        """Say the verdict, or print all as JSON."""
        if self._json:
            typer.echo(json.dumps(_data(self._plan, findings), indent=2))
            return
        output.line(_verdict(findings))

    def _say(self, text: str) -> None:
        if self._lines:
            output.line(text)
            sys.stdout.flush()
        elif self._notes:
            output.note(text)


def _verdict(findings: Sequence[Finding]) -> str:
    held = sum(each.outcome == "held" for each in findings)
    seconds = sum(each.seconds for each in findings)
    counted = f"{held} of {len(findings)} held, in {seconds:.0f} s"
    bad = [each.id for each in findings if each.outcome == "not held"]
    if bad:
        return (
            f"{counted}. NOT HELD: {', '.join(bad)}. Run no code on this engine that you do not "
            "trust; SECURITY.md says how to report it"
        )
    if held < len(findings):
        rest = ", ".join(each.id for each in findings if each.outcome == "not tried")
        return f"{counted}. Nothing got out, but these show nothing: {rest}"
    return f"{counted}: nothing got out, nothing is left"


def _data(plan: Plan, findings: Sequence[Finding]) -> dict[str, Any]:
    info = plan.info
    return {
        "fumehood": __version__,
        "engine": {
            "name": info.name,
            "version": info.version,
            "api_version": info.api_version,
            "components": dict(info.components),
            "architecture": info.architecture,
            "kernel": info.kernel,
            "cgroup_version": info.cgroup_version,
            "security_options": list(info.security_options),
        },
        "image": plan.image,
        "runtime": plan.runtime or info.default_runtime,
        "held": sum(each.outcome == "held" for each in findings),
        "tried": len(findings),
        "checks": [dataclasses.asdict(each) for each in findings],
    }
