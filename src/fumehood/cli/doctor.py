"""``fumehood doctor``: the engine, what it can enforce, and one real session."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import typer

from fumehood import (
    AsyncDockerSandbox,
    AsyncSession,
    EngineInfo,
    FileError,
    Lifecycle,
    SandboxError,
    __version__,
)
from fumehood.cli import flags, output, running
from fumehood.cli.checks import Finding, findings
from fumehood.cli.host_checks import KERNEL_FILES, kernel_findings, socket_findings
from fumehood.cli.images import with_any_image
from fumehood.cli.self_check.preflight import look_inside
from fumehood.cli.sessions import Json

_MARKS = {"ok": "ok     ", "note": "note   ", "warning": "WARNING", "problem": "PROBLEM"}
_ROUND_TRIPS = 20
_SHOWN_MS = 0.1
"""Steps of a start that took less are left out of the text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What one real session showed."""

    image: str
    created_ms: float
    steps_ms: Mapping[str, float]
    round_trip_ms: float
    write_and_read_ms: float
    destroyed_ms: float
    limits: Mapping[str, Any]
    kernel: Mapping[str, str]
    inside: tuple[Finding, ...]


def doctor(
    ctx: typer.Context,
    image: flags.TrialImage = None,
    as_json: Json = False,
) -> None:
    """Look at the engine: what it can enforce, and whether a session works.

    It makes one session, takes the time of each step, prints which limits the
    kernel confirms from inside, tries its walls and measures its disk, and
    removes it. 'fumehood self-check' tries everything. Nothing is pulled unless
    --image names it.

    [bold]Examples[/bold]

      fumehood doctor
      fumehood --docker-host ssh://build-1 doctor
      fumehood doctor --image alpine --json

    Exit codes: 0 when sessions work, 1 when they do not, 69 when no engine answers.
    """

    async def work() -> int:
        docker_host = running.common(ctx).docker_host
        async with AsyncDockerSandbox(docker_host=docker_host) as sandbox:
            info = await sandbox.engine_info()
        found = findings(info) + socket_findings(info.address, _socket_mode(info.address))
        trial: Trial | None = None
        try:
            trial = await _try_session(docker_host, image, info.architecture)
        except SandboxError as exc:
            found.append(Finding("problem", "session", str(exc)))
        else:
            found += [*kernel_findings(trial.kernel), *trial.inside, *_degraded(trial)]
        if as_json:
            typer.echo(json.dumps(_data(info, found, trial), indent=2, default=str))
        else:
            _print(info, found, trial)
        return running.FAILED if any(item.level == "problem" for item in found) else 0

    running.finish(work, after="The trial session ends by itself within a minute.")


async def _try_session(docker_host: str | None, image: str | None, architecture: str) -> Trial:
    async def attempt(name: str, pull: Literal["never", "missing"]) -> Trial:
        async with AsyncDockerSandbox(
            image=name, pull=pull, lifecycle=Lifecycle(ttl=60), docker_host=docker_host
        ) as sandbox:
            return await _trial(sandbox, name, architecture)

    return await with_any_image(image, attempt)


async def _trial(sandbox: AsyncDockerSandbox, image: str, architecture: str) -> Trial:
    start = time.perf_counter()
    session = await sandbox.create_session()
    created = time.perf_counter()
    try:
        round_trip = await _median_round_trip(session)
        before = time.perf_counter()
        await session.write_file("probe", bytes(1024))
        if await session.read_file("probe") != bytes(1024):
            raise SandboxError("a file came back other than it was written")
        written = time.perf_counter() - before
        kernel = await _kernel(session)
        inside = await look_inside(session, architecture)
        limits = dataclasses.asdict(session.effective_limits)
    finally:
        leaving = time.perf_counter()
        await session.destroy(wait=True)
    return Trial(
        image=image,
        created_ms=(created - start) * 1e3,
        steps_ms=_steps(session),
        round_trip_ms=round_trip * 1e3,
        write_and_read_ms=written * 1e3,
        destroyed_ms=(time.perf_counter() - leaving) * 1e3,
        limits=limits,
        kernel=kernel,
        inside=tuple(inside),
    )


def _steps(session: AsyncSession) -> dict[str, float]:
    if session.start is None:
        return {}
    return {name: seconds * 1e3 for name, seconds in session.start.steps.items()}


async def _kernel(session: AsyncSession) -> dict[str, str]:
    """Read the host's settings from inside, as any command could."""
    found: dict[str, str] = {}
    for name, path in KERNEL_FILES.items():
        try:
            found[name] = await session.read_text_file(path, root="/")
        except FileError:
            continue  # not in this kernel, or hidden by the engine
    return found


def _socket_mode(address: str) -> int | None:
    """Return the mode of the engine's socket, where there is one on this machine."""
    if not address.startswith("unix://"):
        return None
    try:
        return Path(address.removeprefix("unix://")).stat().st_mode
    except OSError:
        return None


async def _median_round_trip(session: AsyncSession) -> float:
    times = sorted([await session.ping() for _ in range(_ROUND_TRIPS)])
    return times[len(times) // 2]


def _degraded(trial: Trial) -> list[Finding]:
    lacking = trial.limits["degraded"]
    if lacking:
        return [Finding("warning", "session", f"not confirmed: {text}") for text in lacking]
    return [Finding("ok", "session", "the kernel confirms every limit from inside")]


def _print(info: EngineInfo, found: list[Finding], trial: Trial | None) -> None:
    parts = ", ".join(f"{name} {version}" for name, version in info.components.items())
    for name, text in (
        ("fumehood", __version__),
        ("engine", f"{info.name} {info.version}, API {info.api_version}, {info.address}"),
        ("host", f"{info.operating_system}, Linux {info.kernel}, {info.architecture}"),
        ("made of", parts),
        ("storage", info.storage_driver),
        ("runtimes", ", ".join(info.runtimes)),
    ):
        output.line(f"{name:<10} {text}")
    output.line()
    for item in found:
        output.line(f"{_MARKS[item.level]}  {item.what}: {item.text}")
    if trial is None:
        return
    output.line()
    output.line(f"a session in {trial.image}")
    for name, value in (
        ("ready after", trial.created_ms),
        *((f"  {step}", value) for step, value in trial.steps_ms.items() if value >= _SHOWN_MS),
        ("round trip", trial.round_trip_ms),
        ("1 KiB written and read", trial.write_and_read_ms),
        ("removed after", trial.destroyed_ms),
    ):
        output.line(f"  {name:<24} {value:9.2f} ms")
    output.line("what its kernel reported")
    for key, value in trial.limits.items():
        output.line(f"  {key:<24} {_shown(key, value)}")


def _shown(key: str, value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in cast("tuple[object, ...]", value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "the engine's" if key == "runtime" else "no limit"
    return str(value)


def _data(info: EngineInfo, found: list[Finding], trial: Trial | None) -> dict[str, Any]:
    return {
        "fumehood": __version__,
        "engine": {
            field.name: _plain(getattr(info, field.name)) for field in dataclasses.fields(info)
        },
        "findings": [dataclasses.asdict(item) for item in found],
        "session": None if trial is None else dataclasses.asdict(trial),
    }


def _plain(value: object) -> object:
    return dict(cast("Mapping[str, str]", value)) if isinstance(value, Mapping) else value
