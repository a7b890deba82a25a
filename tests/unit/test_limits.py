"""What is enforced is what the kernel says; what was only asked for is named as not held."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.supervisor import READY, frame_of
from fumehood import Limits, Network, Security
from fumehood._limits import (
    UNLIMITED,
    capability_mask,
    capability_names,
    effective,
    joined,
)
from fumehood._wire.codec import FrameReader
from fumehood._wire.messages import Ready
from fumehood._wire.table import Field, Frame
from fumehood.engines.container_spec import DEV_MB, SHM_MB
from fumehood.options import GRANTABLE_CAPABILITIES, MIB

LIMITS = Limits(memory_mb=256, cpus=0.5, pids=64, max_processes=4, max_file_bytes=1000)
TMPFS = 0x01021994
XFS = 0x58465342


def decoded(**changes: int) -> Ready:
    fields = {**READY, **{Field[name.upper()]: value for name, value in changes.items()}}
    (raw,) = FrameReader("supervisor").feed(frame_of(Frame.READY, 0, fields))
    return Ready.decode(raw)


GOOD = decoded(
    memory_max=(256 + DEV_MB + SHM_MB + 128) * MIB,
    tmp_bytes=128 * MIB,
    pids_max=64,
    cpu_quota_us=50_000,
    cpu_period_us=100_000,
    max_processes=4,
    max_file_bytes=1000,
)


def changed(fields: dict[str, int]) -> Ready:
    return replace(GOOD, **fields)  # type: ignore[arg-type]


def test_what_the_kernel_confirms_is_shown_as_enforced() -> None:
    found = effective(GOOD, LIMITS, Network.none(), Security())
    assert found.degraded == ()
    assert (found.memory_mb, found.cpus, found.pids, found.swap_bytes) == (256, 0.5, 64, 0)
    assert (found.max_processes, found.max_file_bytes, found.timeout) == (4, 1000, 30.0)
    assert (found.network, found.workspace_tier, found.workspace_bytes) == ("none", "none", None)
    assert found.no_new_privileges
    assert found.seccomp


@pytest.mark.parametrize(
    "change, name",
    [
        ({"memory_max": UNLIMITED}, "memory_mb"),
        ({"memory_max": 1}, "memory_mb"),
        ({"swap_max": 1}, "swap"),
        ({"pids_max": UNLIMITED}, "pids"),
        ({"pids_max": 65}, "pids"),
        ({"cpu_quota_us": UNLIMITED}, "cpus"),
        ({"cpu_period_us": 0}, "cpus"),
        ({"cpu_quota_us": 60_000}, "cpus"),
        ({"no_new_privs": 0}, "no_new_privileges"),
        ({"seccomp": 0}, "seccomp"),
    ],
)
def test_what_the_kernel_does_not_confirm_is_named(change: dict[str, int], name: str) -> None:
    found = effective(changed(change), LIMITS, Network.none(), Security())
    (degraded,) = found.degraded
    assert degraded.startswith(f"{name}: asked for")


def test_options_that_were_asked_for_are_compared_too() -> None:
    limits = replace(LIMITS, workspace_mb=10)
    security = Security(readonly_rootfs=True)
    found = effective(GOOD, limits, Network.named("mine"), security)
    assert [text.partition(":")[0] for text in found.degraded] == [
        "readonly_rootfs",
        "workspace_mb",
    ]
    assert found.network == "mine"
    memory = GOOD.memory_max + 10 * MIB
    held = replace(
        GOOD,
        rootfs_readonly=1,
        workspace_fs=TMPFS,
        workspace_bytes=10 * MIB,
        memory_max=memory,
    )
    found = effective(held, limits, Network.bridge(), security)
    assert found.degraded == ()
    assert (found.workspace_tier, found.workspace_bytes) == ("tmpfs", 10 * MIB)


@pytest.mark.parametrize(
    "report, tier, quota",
    [
        ({}, "none", None),
        ({"disk_floor_bytes": 5 * MIB}, "floor-watch", None),
        # A quota was asked for, and the directory has the whole disk for its size.
        (
            {"workspace_fs": XFS, "workspace_quota_bytes": 1, "disk_floor_bytes": 1},
            "floor-watch",
            None,
        ),
        ({"workspace_fs": XFS, "workspace_quota_bytes": 1 << 34}, "xfs-quota", 1 << 34),
        ({"workspace_quota_bytes": 1 << 34}, "none", None),
        ({"workspace_fs": TMPFS, "disk_floor_bytes": 1}, "tmpfs", 1 << 34),
    ],
)  # fmt: skip
def test_the_tier_is_what_the_workspaces_file_system_shows(
    report: dict[str, int], tier: str, quota: int | None
) -> None:
    for found in (
        joined(changed(report), LIMITS),
        effective(changed(report), LIMITS, Network.none(), Security()),
    ):
        assert (found.workspace_tier, found.workspace_bytes) == (tier, quota)
        assert found.disk_floor_bytes == report.get("disk_floor_bytes", 0)


def test_a_quota_on_the_disk_that_holds_is_not_missed() -> None:
    limits = replace(LIMITS, workspace_mb=1 << 14)
    report = {"workspace_fs": XFS, "workspace_quota_bytes": 1 << 34, "workspace_bytes": 1 << 34}
    assert effective(changed(report), limits, Network.none(), Security()).degraded == ()
    (degraded,) = effective(GOOD, limits, Network.none(), Security()).degraded
    assert degraded.startswith("workspace_mb: asked for")


def test_who_joins_is_shown_what_holds_and_compares_nothing() -> None:
    found = joined(GOOD, Limits(timeout=None))
    assert (found.memory_mb, found.pids, found.degraded) == (256, 64, ())
    assert found.timeout is None


@given(numbers=st.lists(st.integers(0, UNLIMITED), min_size=8, max_size=8))
def test_no_report_of_a_supervisor_breaks_it(numbers: list[int]) -> None:
    names = ["memory_max", "swap_max", "pids_max", "cpu_quota_us", "cpu_period_us", "tmp_bytes"]
    names += ["workspace_bytes", "workload_caps"]
    found = effective(
        changed(dict(zip(names, numbers, strict=True))), LIMITS, Network.none(), Security()
    )
    assert found.memory_mb >= 0
    assert found.cpus >= 0 or math.isinf(found.cpus)


def test_capabilities_are_bits_and_names() -> None:
    assert capability_mask(()) == 0
    assert capability_mask(("CHOWN", "SETUID")) == 0b1000_0001
    assert capability_names(capability_mask(GRANTABLE_CAPABILITIES)) == tuple(
        sorted(GRANTABLE_CAPABILITIES)
    )
    # Bits that no workload can be given are not shown as given.
    assert capability_names(UNLIMITED) == tuple(sorted(GRANTABLE_CAPABILITIES))
