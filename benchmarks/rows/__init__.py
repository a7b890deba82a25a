"""All rows, in the order of the table."""

from benchmarks.bench import Group
from benchmarks.rows import client, commands, files, sessions, streams

GROUPS: tuple[Group, ...] = (
    *commands.GROUPS,
    *files.GROUPS,
    *streams.GROUPS,
    *sessions.GROUPS,
    *client.GROUPS,
)
