"""All rows, in the order of the table."""

from benchmarks.bench import Group
from benchmarks.rows import (
    client,
    commands,
    files,
    ports,
    processes,
    sessions,
    starts,
    state,
    streams,
)

GROUPS: tuple[Group, ...] = (
    *commands.GROUPS,
    *processes.GROUPS,
    *files.GROUPS,
    *streams.GROUPS,
    *ports.GROUPS,
    *sessions.GROUPS,
    *starts.GROUPS,
    *state.GROUPS,
    *client.GROUPS,
)
