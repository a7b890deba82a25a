"""``fumehood port``: a port of this machine that leads into a session, until Ctrl-C."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from fumehood.cli import output, running

_PORTS = re.compile(r"(\d{1,5})(?::(\d{1,5}))?")


def command(
    ctx: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID", help="Which session.")],
    ports: Annotated[
        str,
        typer.Argument(metavar="PORT[:LOCAL]", help="The port inside, and the one here (any)."),
    ],
    wait: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", help="Wait for a server inside first.")
    ] = 0.0,
) -> None:
    """Forward a port of this machine's loopback to a server inside a session.

    It needs no network in the session, and the server may listen on the
    session's own loopback. The address is printed; Ctrl-C ends the forward and
    leaves the session as it is.

    [bold]Examples[/bold]

      fumehood port ID 3000
      fumehood port ID 3000:8080
      fumehood port --wait 30 ID 3000
    """
    match = _PORTS.fullmatch(ports)
    if match is None:
        raise typer.BadParameter(f"{ports!r} is not PORT or PORT:LOCAL", param_hint="PORT[:LOCAL]")
    inside, local = int(match[1]), int(match[2] or 0)

    async def work() -> int:
        async with (
            running.common(ctx).sandbox() as sandbox,
            sandbox.connect(id) as session,
            session.forward_port(inside, local_port=local) as forward,
        ):
            if wait:
                await session.wait_for_port(inside, timeout=wait)
            output.line(f"{forward.host}:{forward.port}")
            reason = await session.wait_ended()
        output.note(f"the session has ended: {reason}")
        return running.FAILED

    running.finish(work)
