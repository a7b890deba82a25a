"""``fumehood run``: a session for one command, or with ``--detach`` one that stays."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import typer

from fumehood import (
    AsyncDockerSandbox,
    AsyncSession,
    Lifecycle,
    Limits,
    Network,
    Security,
    Workspace,
)
from fumehood.cli import commands, flags, output, running, values
from fumehood.cli.progress import CopyDisplay, PullDisplay
from fumehood.cli.shell import Shell, attach, check_terminal
from fumehood.cli.staging import Load

DEFAULT_IMAGE = "python:3.13-slim"


def run(
    ctx: typer.Context,
    command: flags.Words = None,
    image: flags.Image = DEFAULT_IMAGE,
    pull: flags.Pull = "missing",
    platform: flags.Platform = None,
    network: flags.NetworkMode = "none",
    allow: flags.AllowedHosts = None,
    user: flags.SessionUser = None,
    runtime: flags.Runtime = None,
    read_only: flags.ReadOnly = False,
    id: flags.SessionId = None,
    file: flags.Files = None,
    dir: flags.Directories = None,
    workspace: flags.WorkspaceId = None,
    from_snapshot: flags.FromSnapshot = None,
    workdir: flags.Workdir = "/workspace",
    volume: flags.Volumes = None,
    env: flags.Env = None,
    env_file: flags.EnvFile = None,
    timeout: flags.Timeout = "30s",
    memory: flags.Memory = "512m",
    cpus: flags.Cpus = 1.0,
    pids: flags.Pids = 512,
    max_file: flags.MaxFile = "64m",
    ttl: flags.Ttl = None,
    idle: flags.Idle = None,
    detach: flags.Detach = False,
    stdin: flags.Stdin = None,
    tty: flags.Tty = False,
    raw: flags.Raw = False,
    quiet: flags.Quiet = False,
) -> None:
    """Run a command in a new session, and leave nothing behind.

    Output appears while the command runs, its exit code becomes this one's,
    and the session goes with all that is in it: also on Ctrl-C, and when this
    process is killed.

    [bold]Examples[/bold]

      fumehood run -- python3 -c "print('hello sandbox')"
      fumehood run --file main.py -- python3 main.py
      fumehood run --dir src:. --timeout 10m -- make test
      fumehood run --workspace user-42 -- sh -c 'date >> visits'
      fumehood run --volume datasets:/data -- ls /data
      fumehood run --from-snapshot before-the-upgrade -- make test
      fumehood run --allow pypi.org --allow '*.pythonhosted.org' -- pip install x
      fumehood run --tty -- python3
      cat data.csv | fumehood run --file clean.py -- python3 clean.py
      fumehood run --detach --ttl 1h

    [bold]Exit codes[/bold]

      the command's own; 128+N when signal N ended it
      124  it ran out of time          126  it cannot be executed
      125  fumehood failed             127  there is no such program
      137  it ran out of memory         69  no engine answers
      130  interrupted (Ctrl-C)          2  a value was refused
    """
    argv = values.command_line(command)
    if not argv and not detach and not tty:
        raise typer.BadParameter("there is no command to run", param_hint="CMD")
    if allow and network != "none":
        raise typer.BadParameter(
            f"it lists all that can be reached, and '--network {network}' says otherwise",
            param_hint="--allow",
        )
    if from_snapshot is not None:
        _check_files(ctx)
    if tty:
        _check_terminal(ctx)
    plan = Plan(
        argv=argv,
        id=id,
        from_snapshot=from_snapshot,
        detach=detach,
        stdin=stdin,
        tty=tty,
        env=values.environment(env or (), env_file or ()),
        raw=raw,
        quiet=quiet,
        timeout=values.duration(timeout, "--timeout"),
        files=[values.staged_file(text) for text in file or ()],
        directories=[values.staged_directory(text) for text in dir or ()],
        max_file_bytes=values.size(max_file, "--max-file"),
    )
    longest = values.duration(ttl, "--ttl") if ttl is not None else None
    idlest = values.duration(idle, "--idle") if idle is not None else None
    if detach and longest is None and idlest is None:
        raise typer.BadParameter(
            "a detached session needs --ttl or --idle: nothing else would ever end it",
            param_hint="--detach",
        )
    memory_mb = values.megabytes(memory, "--memory")

    async def work() -> int:
        display = PullDisplay(quiet=quiet)
        sandbox = AsyncDockerSandbox(
            image=image,
            # Its own check names the three.
            pull=cast("Literal['missing', 'always', 'never']", pull),
            workdir=workdir,
            workspace=Workspace.persistent(workspace) if workspace else Workspace.ephemeral(),
            lifecycle=Lifecycle(ttl=longest, idle_timeout=idlest, detached=detach),
            network=network_of(network, allow or ()),
            limits=Limits(
                timeout=plan.timeout,
                memory_mb=memory_mb,
                cpus=cpus,
                pids=pids,
                max_file_bytes=plan.max_file_bytes,
            ),
            security=Security(readonly_rootfs=read_only, runtime=runtime),
            env=plan.env,
            user=user,
            platform=platform,
            progress=display,
            volumes=[values.volume(text) for text in volume or ()],
            docker_host=running.common(ctx).docker_host,
        )
        return await _run(sandbox, plan, display)

    running.finish(
        work,
        failed=running.NOT_RUN,
        after="The session's lease ends it within seconds; 'fumehood gc' sweeps what is left.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What ``run`` is to do in its session, and how it talks about it."""

    argv: list[str]
    id: str | None
    from_snapshot: str | None
    detach: bool
    stdin: bool | None
    tty: bool
    env: dict[str, str]
    raw: bool
    quiet: bool
    timeout: float | None
    files: Sequence[values.Staged]
    directories: Sequence[values.Staged]
    max_file_bytes: int


async def _run(sandbox: AsyncDockerSandbox, plan: Plan, display: PullDisplay) -> int:
    # Before there is a session: what cannot be sent ends it here.
    load = await asyncio.to_thread(Load.look, plan.files, plan.directories, plan.max_file_bytes)
    async with sandbox:
        with display:
            session = await sandbox.create_session(id=plan.id, from_snapshot=plan.from_snapshot)
        try:
            with CopyDisplay(quiet=plan.quiet, total=load.size, name="staging") as shown:
                await load.send(session, shown)
            code = await _command(session, plan)
        except BaseException:
            await session.destroy()
            raise
        if plan.detach:
            await session.detach()
            _tell_detached(session, plan)
        else:
            await session.destroy()
        return code


def _check_files(ctx: typer.Context) -> None:
    """Refuse beside ``--from-snapshot`` what says otherwise where the files come from."""
    _refuse(ctx, "the snapshot's is used", "image", "pull", "platform", "workspace")


def _check_terminal(ctx: typer.Context) -> None:
    """Refuse ``--tty`` without a terminal, and with what a terminal does not have."""
    check_terminal("run --tty")
    _refuse(ctx, "a terminal does without it", "timeout", "raw", "stdin")


def _refuse(ctx: typer.Context, why: str, *names: str) -> None:
    for name in names:
        source = ctx.get_parameter_source(name)
        # What the environment says is for all commands, and gives way.
        if source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(why, param_hint=f"--{name}")


async def _command(session: AsyncSession, plan: Plan) -> int:
    if plan.tty:
        wanted = Shell(argv=plan.argv or None, env=plan.env, quiet=plan.quiet)
        return await attach(session, wanted)
    if not plan.argv:
        return 0
    return await commands.run(
        session,
        commands.Command(
            argv=plan.argv,
            timeout=plan.timeout,
            stdin=plan.stdin,
            raw=plan.raw,
            quiet=plan.quiet,
        ),
    )


def _tell_detached(session: AsyncSession, plan: Plan) -> None:
    if not plan.argv:
        # Alone on standard output, for `id=$(fumehood run --detach …)`.
        output.line(session.id)
    elif not plan.quiet:
        output.note(f"session {session.id} stays: 'fumehood rm {session.id}' ends it")


def network_of(mode: str, allowed: Sequence[str] = ()) -> Network:
    """Return the network that options name."""
    if allowed:
        return Network.allow(*map(values.allowed_host, allowed))
    match mode:
        case "none":
            return Network.none()
        case "bridge":
            return Network.bridge()
        case _:
            return Network.named(mode)
