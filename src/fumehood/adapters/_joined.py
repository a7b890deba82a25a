"""A line of shell whose two streams come as one, in order."""

from __future__ import annotations

SCRIPT = 'exec /bin/sh -c "$1" 2>&1'
"""Joins the streams before the line begins. A session in memory knows it by these words."""


def joined(line: str) -> list[str]:
    """Return the command that runs a line of shell with standard error in standard output."""
    return ["/bin/sh", "-c", SCRIPT, "sh", line]
