"""``fumehood grep`` and ``fumehood watch``: what files hold, and what happens to them."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from fumehood import SearchMatch, SearchResult, WatchEvent
from fumehood.cli import output, running, values
from fumehood.cli.values import Place

NOTHING_FOUND = 1
TROUBLE = 2

_Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object for each line, for programs.")
]


def grep(
    ctx: typer.Context,
    pattern: Annotated[str, typer.Argument(metavar="PATTERN", help="A regular expression.")],
    place: Annotated[
        str, typer.Argument(metavar="ID[:PATH]", help="Which session, and a directory or a file.")
    ],
    fixed: Annotated[
        bool, typer.Option("--fixed-strings", "-F", help="PATTERN is text as it stands.")
    ] = False,
    ignore_case: Annotated[
        bool, typer.Option("--ignore-case", "-i", help="ASCII letters in either case are the same.")
    ] = False,
    context: Annotated[
        int, typer.Option("-C", min=0, max=100, help="Lines before and after each match.")
    ] = 0,
    names_only: Annotated[
        bool, typer.Option("--files-with-matches", "-l", help="Print the files' names alone.")
    ] = False,
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Search these files alone. Can be repeated."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            help="Leave out files and directories. Can be repeated.",
            show_default=".git",
        ),
    ] = None,
    max_matches: Annotated[
        int, typer.Option(min=1, max=100_000, help="End the search behind so many lines.")
    ] = 1000,
    timeout: Annotated[
        str, typer.Option(metavar="TIME", help="End the search after so long; 0: no limit.")
    ] = "30s",
    as_json: _Json = False,
) -> None:
    r"""Search the text files of a session: PATH:LINE:TEXT of each line that matches.

    The image needs no grep: the session's supervisor searches by itself, with
    the rights of its user, in time that no pattern can blow up. PATH is relative
    to the workspace, or absolute. Patterns are Python's, without look-around
    and references to groups. No link is followed and no .gitignore is read.

    The exit code is grep's: 0 with matches, 1 without, 2 when something is
    wrong. A search that was ended early says so on standard error.

    [bold]Examples[/bold]

      fumehood grep 'def \w+' ID
      fumehood grep -i -C 2 --include '*.log' error ID:/var/log
      fumehood grep -lF 'TODO(me)' ID:src
    """
    where = _place(place)
    wanted = values.duration(timeout, "--timeout")

    async def work() -> int:
        async with (
            running.common(ctx).sandbox() as sandbox,
            sandbox.connect(where.session or "") as session,
        ):
            result = await session.search(
                pattern,
                where.path,
                regex=not fixed,
                ignore_case=ignore_case,
                context=context,
                max_matches=max_matches,
                include=include or (),
                exclude=(".git",) if exclude is None else exclude,
                timeout=wanted,
                root="/" if where.absolute else None,
            )
        if as_json:
            for match in result.matches:
                typer.echo(json.dumps(_match(match)))
        elif names_only:
            for path in dict.fromkeys(match.path for match in result.matches):
                output.line(path)
        else:
            _show(result, context)
        _tell_left_out(result)
        return 0 if result.matches else NOTHING_FOUND

    running.finish(work, failed=TROUBLE)


def _show(result: SearchResult, context: int) -> None:
    """Print as grep does: ``:`` after a match's number, ``-`` after that of a line around it."""
    last: tuple[str, int] | None = None
    for match in result.matches:
        number = match.line_number - len(match.before)
        if context and last is not None and last != (match.path, number):
            output.line("--")
        for text in match.before:
            output.line(f"{match.path}-{number}-{text}")
            number += 1
        output.line(f"{match.path}:{match.line_number}:{match.line}")
        number += 1
        for text in match.after:
            output.line(f"{match.path}-{number}-{text}")
            number += 1
        last = (match.path, number)


def _tell_left_out(result: SearchResult) -> None:
    """Say what a reader of the matches alone would not know."""
    if result.stopped_by is not None:
        why = {
            "matches": "--max-matches is reached",
            "output": "the matches take more than 16 MiB",
            "time": "--timeout is over",
        }[result.stopped_by]
        output.note(f"the search was ended early: {why}")
    for number, what in (
        (result.skipped_large, "larger than 64 MiB"),
        (result.skipped_unreadable, "not readable by the session's user"),
    ):
        if number:
            output.note(f"not searched: {output.count(number, 'file')} {what}")


def _match(match: SearchMatch) -> dict[str, object]:
    return {
        "path": match.path,
        "line_number": match.line_number,
        "line": match.line,
        "start": match.start,
        "end": match.end,
        "cut": match.cut,
        "before": list(match.before),
        "after": list(match.after),
    }


def watch(
    ctx: typer.Context,
    place: Annotated[
        str, typer.Argument(metavar="ID[:PATH]", help="Which session, and a directory.")
    ],
    flat: Annotated[
        bool, typer.Option("--flat", help="The directory alone, not what is beneath it.")
    ] = False,
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Neither watch nor tell these. Can be repeated."),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option("-n", min=1, help="End after so many events."),
    ] = None,
    as_json: _Json = False,
) -> None:
    """Tell what happens to the files of a session, until Ctrl-C.

    A line for each event: what it is (created, modified, deleted, moved) and
    the path, for a moved one also the new path; what happens to one file within
    50 milliseconds is put together. "overflow" means that more has happened than
    could be told. Nothing that happens after "watching" is said is missed.

    It is the kernel's inotify inside: the image needs no tool. Ctrl-C leaves the
    session as it is; a watch does not keep an idle session alive.

    [bold]Examples[/bold]

      fumehood watch ID
      fumehood watch --ignore node_modules --ignore .git ID:src
      fumehood watch -n 1 ID:out
    """
    where = _place(place)

    async def work() -> int:
        async with (
            running.common(ctx).sandbox() as sandbox,
            sandbox.connect(where.session or "") as session,
            session.watch(
                where.path,
                recursive=not flat,
                ignore=ignore or (),
                root="/" if where.absolute else None,
            ) as events,
        ):
            output.note(f"watching {where.path} (Ctrl-C ends it)")
            left = count
            async for event in events:
                if as_json:
                    typer.echo(json.dumps(_event(event)))
                else:
                    moved = "" if event.target is None else f" -> {event.target}"
                    output.line(f"{event.kind:<8}  {event.path}{moved}")
                # Whoever reads it from a pipe waits for it.
                sys.stdout.flush()
                left = None if left is None else left - 1
                if left == 0:
                    return 0
        # A session that ends is an error of its own; this is the end that a watch has by itself.
        output.note(f"{where.path} is gone: nothing is left to watch")
        return running.FAILED

    running.finish(work)


def _event(event: WatchEvent) -> dict[str, object]:
    return {
        "kind": str(event.kind),
        "path": event.path,
        "target": event.target,
        "is_directory": event.is_directory,
    }


def _place(text: str) -> Place:
    """Return a place in a session; without a path it is the workspace."""
    found = values.place(text if ":" in text else f"{text}:")
    if found.session is None:
        raise typer.BadParameter(f"{text!r} is not ID or ID:PATH", param_hint="ID[:PATH]")
    return found
