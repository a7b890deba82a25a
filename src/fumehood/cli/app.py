"""The commands, put together."""

from __future__ import annotations

import platform
from enum import StrEnum
from typing import Annotated

import typer

from fumehood import __version__
from fumehood.cli import (
    copy,
    doctor,
    looking,
    mcp,
    output,
    pool,
    port,
    processes,
    run,
    running,
    sessions,
    shell,
    state,
)
from fumehood.cli.self_check import command as self_check

app: typer.Typer = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    # A traceback is for FUMEHOOD_DEBUG, and never with the values of local variables.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Level(StrEnum):
    """How much of the library's log is shown."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def _print_version(wanted: bool) -> None:
    if wanted:
        version()


@app.callback()
def common(
    ctx: typer.Context,
    docker_host: Annotated[
        str | None,
        typer.Option(
            "--docker-host",
            "-H",
            metavar="ADDRESS",
            help="The engine: unix://, tcp:// or ssh://.",
            show_default="as the docker command finds it",
        ),
    ] = None,
    log_level: Annotated[
        Level | None,
        typer.Option(help="Show what the library does, on standard error.", show_default="off"),
    ] = None,
    print_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Sandbox sessions for untrusted code, on the Docker engine that you run.

    [bold]Examples[/bold]

      fumehood run -- python3 -c "print('hello sandbox')"
      fumehood ls
      fumehood self-check

    Each command explains itself: fumehood run --help. FUMEHOOD_DEBUG=1 shows
    where an error comes from.
    """
    running.log_to_stderr(log_level)
    ctx.obj = running.Common(docker_host=docker_host)


def version() -> None:
    """Print the version of fumehood and of what it runs on.

    [bold]Examples[/bold]

      fumehood version
    """
    output.line(
        f"fumehood {__version__} "
        f"(Python {platform.python_version()}, {platform.system()} {platform.machine()})"
    )
    raise typer.Exit


# After the first word that is no option everything belongs to the command that is run.
_PASSING = {"allow_interspersed_args": False}

app.command("run", context_settings=_PASSING)(run.run)
app.command("exec", context_settings=_PASSING)(sessions.exec_)
app.command("shell", context_settings=_PASSING)(shell.shell)
app.command("ps")(processes.ps)
app.command("logs")(processes.logs)
app.command("stop")(processes.stop)
app.command("ls")(sessions.ls)
app.command("cp")(copy.cp)
app.command("grep")(looking.grep)
app.command("watch")(looking.watch)
app.command("rm")(sessions.rm)
app.command("port")(port.command)
app.command("mcp")(mcp.mcp)
app.command("pause")(sessions.pause)
app.command("unpause")(sessions.unpause)
app.command("resume")(state.resume)
app.command("snapshot")(state.snapshot)
app.add_typer(state.snapshots, name="snapshots")
app.command("fork")(state.fork)
app.add_typer(sessions.workspaces, name="workspace")
app.command("gc")(sessions.gc)
app.command("pool")(pool.command)
app.command("doctor")(doctor.doctor)
app.command("self-check")(self_check.self_check)
app.command("version")(version)
