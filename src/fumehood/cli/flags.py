"""The options of ``run`` and ``exec``, each declared once: its form, its help, its place."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_CONTAINER = "Container"
_FILES = "Files"
_LEASE = "Lease"
_LIMITS = "Limits"

Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="CMD", help="The program and its arguments.", show_default=False),
]

# --- what it runs in -----------------------------------------------------------------------------

Image = Annotated[
    str,
    typer.Option(
        metavar="IMAGE", envvar="FUMEHOOD_IMAGE", help="Its image.", rich_help_panel=_CONTAINER
    ),
]
Pull = Annotated[
    str,
    typer.Option(
        metavar="missing|always|never", help="When to pull it.", rich_help_panel=_CONTAINER
    ),
]
Platform = Annotated[
    str | None,
    typer.Option(
        metavar="OS/ARCH",
        help="linux/amd64 or linux/arm64.",
        show_default="the engine's",
        rich_help_panel=_CONTAINER,
    ),
]
NetworkMode = Annotated[
    str,
    typer.Option(
        metavar="none|bridge|NAME",
        help="What it can reach: nothing, all that the host can, or a network of the engine.",
        rich_help_panel=_CONTAINER,
    ),
]
AllowedHosts = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        metavar="HOST[:PORT]",
        help="Let it reach this host, on 443 and 80 or on PORT, and nothing else, while this "
        "process runs: a name, '*.' and a name, an address or addresses. Can be repeated.",
        show_default=False,
        rich_help_panel=_CONTAINER,
    ),
]
SessionUser = Annotated[
    str | None,
    typer.Option(
        metavar="USER[:GROUP]",
        help="Who runs commands, by name or number.",
        show_default="the image's user",
        rich_help_panel=_CONTAINER,
    ),
]
Runtime = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="An OCI runtime of the engine, such as runsc.",
        show_default="the engine's",
        rich_help_panel=_CONTAINER,
    ),
]
ReadOnly = Annotated[
    bool,
    typer.Option(
        "--read-only",
        help="Only the workspace, /tmp and /dev can be written.",
        rich_help_panel=_CONTAINER,
    ),
]
SessionId = Annotated[
    str | None,
    typer.Option(metavar="ID", help="Its id.", show_default="made up", rich_help_panel=_CONTAINER),
]

# --- what is in it -------------------------------------------------------------------------------

Files = Annotated[
    list[str] | None,
    typer.Option(
        "--file",
        metavar="LOCAL[:REMOTE]",
        help="Copy a file into the workspace first. Can be repeated.",
        show_default=False,
        rich_help_panel=_FILES,
    ),
]
Directories = Annotated[
    list[str] | None,
    typer.Option(
        "--dir",
        metavar="LOCAL[:REMOTE]",
        help="The same for a directory; 'src:.' puts what it holds into the workspace itself. "
        "Links and special files are left out.",
        show_default=False,
        rich_help_panel=_FILES,
    ),
]
WorkspaceId = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        help="Keep the workspace under this name, or use it again.",
        show_default="gone with the session",
        rich_help_panel=_FILES,
    ),
]
FromSnapshot = Annotated[
    str | None,
    typer.Option(
        "--from-snapshot",
        metavar="NAME",
        help="Begin with the files of a snapshot: see 'fumehood snapshots ls'.",
        show_default="the image's, and an empty workspace",
        rich_help_panel=_FILES,
    ),
]
Volumes = Annotated[
    list[str] | None,
    typer.Option(
        "--volume",
        metavar="NAME:DIR[:rw]",
        help="Show a volume of the engine at this directory, read-only unless 'rw' is said. Can be "
        "repeated.",
        show_default=False,
        rich_help_panel=_FILES,
    ),
]
Workdir = Annotated[
    str,
    typer.Option(metavar="DIR", help="Where the workspace is mounted.", rich_help_panel=_FILES),
]

# --- what it may use, and when it ends -----------------------------------------------------------

Timeout = Annotated[
    str,
    typer.Option(
        metavar="TIME",
        help="How long the command may take: 30, 90s, 10m, 2h; 0 for no limit.",
        rich_help_panel=_LIMITS,
    ),
]
Memory = Annotated[
    str,
    typer.Option(metavar="SIZE", help="Memory, without swap: 512m, 2g.", rich_help_panel=_LIMITS),
]
Cpus = Annotated[
    float, typer.Option(metavar="N", help="Processors' worth of time.", rich_help_panel=_LIMITS)
]
Pids = Annotated[
    int, typer.Option(metavar="N", help="Processes and threads.", rich_help_panel=_LIMITS)
]
MaxFile = Annotated[
    str,
    typer.Option(
        metavar="SIZE",
        help="The largest file that can be copied into the session.",
        rich_help_panel=_LIMITS,
    ),
]
Ttl = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="The session's longest life: 10m, 2h.",
        show_default="no limit",
        rich_help_panel=_LEASE,
    ),
]
Idle = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="End the session when nothing has run in it for so long.",
        show_default="no limit",
        rich_help_panel=_LEASE,
    ),
]
Detach = Annotated[
    bool,
    typer.Option(
        "--detach",
        "-d",
        help="Leave the session running at the end, and print its id. Needs --ttl or --idle; "
        "CMD may be left out.",
        rich_help_panel=_LEASE,
    ),
]

# --- how the command is run ----------------------------------------------------------------------

Env = Annotated[
    list[str] | None,
    typer.Option(
        "--env",
        "-e",
        metavar="NAME[=VALUE]",
        help="A variable of the command; without a value, the one from here. Can be repeated.",
        show_default=False,
    ),
]
EnvFile = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="Variables, one NAME=VALUE on a line.", show_default=False),
]
CommandUser = Annotated[
    str | None,
    typer.Option(
        metavar="USER[:GROUP]",
        help="Who runs the command, by name or number.",
        show_default="the session's user",
    ),
]
Directory = Annotated[
    str,
    typer.Option(
        "--workdir", metavar="DIR", help="Where it runs, relative to the workspace or absolute."
    ),
]
Stdin = Annotated[
    bool | None,
    typer.Option(
        "--stdin/--no-stdin",
        "-i/-n",
        help="Pass standard input on.",
        show_default="unless it is a terminal",
    ),
]
Tty = Annotated[
    bool,
    typer.Option(
        "--tty",
        "-t",
        help="Run it at a terminal that is joined to this one; without CMD, the user's own shell. "
        "There is no time limit but --ttl.",
    ),
]
Raw = Annotated[
    bool,
    typer.Option(
        "--raw", help="Pass output on byte by byte: otherwise control characters are spelled out."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
TrialImage = Annotated[
    str | None,
    typer.Option(
        metavar="IMAGE",
        envvar="FUMEHOOD_IMAGE",
        help="The image of the sessions that are made.",
        show_default="one that is there",
    ),
]
