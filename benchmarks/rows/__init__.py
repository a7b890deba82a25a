"""All rows, in the order of the table."""

from benchmarks.bench import Group
from benchmarks.rows import (
    client,
    commands,
    egress,
    files,
    growth,
    ports,
    processes,
    search,
    sessions,
    starts,
    state,
    streams,
    trees,
)

GROUPS: tuple[Group, ...] = (
    *commands.GROUPS,
    *processes.GROUPS,
    *files.GROUPS,
    *search.GROUPS,
    *streams.GROUPS,
    *ports.GROUPS,
    *egress.GROUPS,
    *sessions.GROUPS,
    *starts.GROUPS,
    *growth.GROUPS,
    *state.GROUPS,
    *client.GROUPS,
    # Last: on some file systems files are slow to make for minutes after so many were removed.
    *trees.GROUPS,
)
