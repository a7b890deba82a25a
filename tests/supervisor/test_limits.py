"""What the supervisor reads back of its control groups, in both of their versions.

The files are made up: both kernels' forms are read on every machine, whichever it has.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.conftest import Containers

NO_LIMIT = (1 << 64) - 1

SECOND = {
    "cgroup.controllers": "cpu memory pids\n",
    "memory.max": "805306368\n",
    "memory.swap.max": "0\n",
    "pids.max": "512\n",
    "cpu.max": "150000 100000\n",
    "memory.events": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n",
}
FIRST = {
    "memory/memory.limit_in_bytes": "805306368\n",
    "memory/memory.memsw.limit_in_bytes": "805306368\n",
    "pids/pids.max": "512\n",
    "cpu/cpu.cfs_quota_us": "150000\n",
    "cpu/cpu.cfs_period_us": "100000\n",
}
BOUND = (805_306_368, 0, 512, 150_000, 100_000)


def laid_out(tmp_path: Path, files: dict[str, str]) -> Path:
    # It is read as the reserved user, who owns none of it.
    tmp_path.chmod(0o755)
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def read_back(containers: Containers, groups: Path) -> tuple[int, tuple[int, ...]]:
    ready = containers(groups=groups).begin().peer.ready
    assert ready is not None
    return ready.cgroup_version, (
        ready.memory_max,
        ready.swap_max,
        ready.pids_max,
        ready.cpu_quota_us,
        ready.cpu_period_us,
    )


@pytest.mark.parametrize(("version", "files"), [(1, FIRST), (2, SECOND)])
def test_limits_are_read_back_in_both_versions(
    containers: Containers, tmp_path: Path, version: int, files: dict[str, str]
) -> None:
    assert read_back(containers, laid_out(tmp_path, files)) == (version, BOUND)


@pytest.mark.parametrize(
    ("version", "files"),
    [
        (1, {"memory/memory.limit_in_bytes": "9223372036854771712\n", "pids/pids.max": "max\n"}),
        (1, {"memory/memory.limit_in_bytes": "", "cpu/cpu.cfs_quota_us": "-1\n"}),
        (2, SECOND | {"memory.max": "max\n", "cpu.max": "max 100000\n"}),
        (2, {"cgroup.controllers": "\n"}),
        (0, {"unknown": "0\n"}),
    ],
)
def test_what_is_no_limit_or_cannot_be_read_is_never_told_as_one(
    containers: Containers, tmp_path: Path, version: int, files: dict[str, str]
) -> None:
    found, (memory, *_, quota, period) = read_back(containers, laid_out(tmp_path, files))
    assert (found, memory, quota, period) == (version, NO_LIMIT, NO_LIMIT, 100_000)
