"""All rows, in the order of the table."""

from benchmarks.bench import Group
from benchmarks.rows import client, commands, files, ports, sessions, streams

GROUPS: tuple[Group, ...] = (
    *commands.GROUPS,
    *files.GROUPS,
    *streams.GROUPS,
    *ports.GROUPS,
    *sessions.GROUPS,
    *client.GROUPS,
)
