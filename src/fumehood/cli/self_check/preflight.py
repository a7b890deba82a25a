"""What ``fumehood doctor`` looks at from inside of its one session: the walls, and the room."""

from __future__ import annotations

import asyncio

from fumehood import AsyncSession
from fumehood.cli import output
from fumehood.cli.checks import Finding
from fumehood.cli.self_check import judges
from fumehood.cli.self_check.ground import Ground, NotTriedError, load

LEAST_FREE = 0.05
"""Of the space and of the inodes of the engine's disk."""
LEAST_FREE_BYTES = 1 << 30

# What is tried, by which attack, and what is said when it holds.
_WALLS = (
    ("process 1", "matrix", ("supervisor",), judges.matrix, "closed to every probe"),
    (
        "privileges",
        "privilege",
        ("status",),
        judges.identity,
        "no capabilities, no new privileges, a seccomp filter",
    ),
)


async def look_inside(session: AsyncSession, architecture: str) -> list[Finding]:
    """Try the walls of a session, and measure what its disk has left.

    Args:
        session: any; it is attacked from inside, and goes on as before.
        architecture: the engine's.

    Raises:
        SandboxError: the attacks could not be brought there.
    """
    ground = Ground(session, await asyncio.to_thread(load, architecture))
    found: list[Finding] = []
    try:
        await ground.settle_users()
        for what, name, arguments, judge, good in _WALLS:
            got = [
                line
                for user in ground.users
                for line in judge(await ground.told(name, *arguments, user=user))
            ]
            found.append(Finding("problem", what, got[0]) if got else Finding("ok", what, good))
        found += disk_findings(await ground.told("space", "/", session.workdir))
        mounts = await session.read_text_file("proc/self/mountinfo", root="/")
        found += quota_findings(mounts, session.workdir)
    except NotTriedError as exc:
        found.append(Finding("warning", "session", f"not everything could be looked at: {exc}"))
    return found


def disk_findings(text: str) -> list[Finding]:
    """Judge what the file systems of containers and of workspaces have left.

    Args:
        text: what the attack `space` printed for the root directory and the workspace.

    Raises:
        NotTriedError: it printed something else.
    """
    try:
        lines = [[int(word) for word in line.split()] for line in text.splitlines()]
        (root, workspace) = lines
        found: list[Finding] = []
        for what, (free, size, inodes_free, inodes) in (
            ("disk of containers", root),
            ("disk of workspaces", workspace),
        ):
            share = f"{output.bytes_text(free)} of {output.bytes_text(size)} are free"
            # Some file systems make inodes as they need them, and say that there are none.
            names = f", {inodes_free} of {inodes} inodes" if inodes else ""
            short = free < max(LEAST_FREE_BYTES, LEAST_FREE * size) or (
                inodes > 0 and inodes_free < LEAST_FREE * inodes
            )
            found.append(Finding("warning" if short else "ok", what, share + names))
    except ValueError as exc:
        raise NotTriedError("the free space could not be measured") from exc
    return found


def quota_findings(mounts: str, workdir: str) -> list[Finding]:
    """Judge whether the disk of workspaces can have quotas, by a session's table of mounts."""
    for line in mounts.splitlines():
        mount, separator, device = line.partition(" - ")
        places, kinds = mount.split(), device.split()
        if not separator or len(places) < 5 or len(kinds) < 3 or places[4] != workdir:
            continue
        options = set(kinds[2].split(","))
        if kinds[0] == "xfs" and options & {"prjquota", "pquota"}:
            return [Finding("ok", "quotas", "workspaces lie on xfs with project quotas")]
        return [Finding("note", "quotas", f"workspaces lie on {kinds[0]} without project quotas")]
    return []
