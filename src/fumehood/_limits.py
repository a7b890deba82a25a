"""What is really enforced, out of what the supervisor read back and what was asked for."""

from __future__ import annotations

import math

from fumehood._wire.messages import Ready
from fumehood.engines.container_spec import DEV_MB, SHM_MB
from fumehood.options import GRANTABLE_CAPABILITIES, MIB, Limits, Network, Security, seconds
from fumehood.results import EffectiveLimits, WorkspaceTier

UNLIMITED = (1 << 64) - 1

# Bit numbers of <linux/capability.h>.
_CAPABILITY_BITS = {
    "CHOWN": 0,
    "DAC_OVERRIDE": 1,
    "FOWNER": 3,
    "FSETID": 4,
    "SETGID": 6,
    "SETUID": 7,
    "NET_BIND_SERVICE": 10,
}
_TMPFS_MAGIC = 0x01021994
_XFS_MAGIC = 0x58465342
assert set(_CAPABILITY_BITS) == set(GRANTABLE_CAPABILITIES)


def capability_mask(names: tuple[str, ...]) -> int:
    """Return capabilities as the bits that the kernel knows them by."""
    return sum(1 << _CAPABILITY_BITS[name] for name in names)


def capability_names(mask: int) -> tuple[str, ...]:
    """Return the grantable capabilities of a mask, sorted."""
    return tuple(sorted(name for name, bit in _CAPABILITY_BITS.items() if mask >> bit & 1))


def joined(ready: Ready, own: Limits) -> EffectiveLimits:
    """Return what holds in a session that somebody else has made: the report, as it is.

    ``own`` are the limits of the one who joins: its timeout and output cap are its own affair.
    """
    return _report(ready, own, network="unknown", runtime=None, degraded=())


def effective(
    ready: Ready, limits: Limits, network: Network, security: Security
) -> EffectiveLimits:
    """Compare the supervisor's report with what was asked for.

    A value that the kernel does not confirm is reported as the kernel has it and named in
    ``degraded``: nothing is ever shown as enforced because it was asked for.
    """
    degraded: list[str] = []

    def expect(name: str, asked: object, found: object, holds: bool) -> None:
        if not holds:
            degraded.append(f"{name}: asked for {asked}, the kernel says {found}")

    memory = _memory_mb(ready)
    expect("memory_mb", limits.memory_mb, memory, memory == limits.memory_mb)
    expect("swap", 0, ready.swap_max, ready.swap_max == 0)
    expect("pids", limits.pids, ready.pids_max, ready.pids_max == limits.pids)
    cpus = _cpus(ready)
    expect("cpus", limits.cpus, cpus, math.isclose(cpus, limits.cpus, rel_tol=0.02, abs_tol=0.002))
    expect("no_new_privileges", True, bool(ready.no_new_privs), bool(ready.no_new_privs))
    expect("seccomp", True, bool(ready.seccomp), bool(ready.seccomp))
    expect(
        "readonly_rootfs",
        security.readonly_rootfs,
        bool(ready.rootfs_readonly),
        bool(ready.rootfs_readonly) or not security.readonly_rootfs,
    )
    if limits.workspace_mb is not None:
        wanted = limits.workspace_mb * MIB
        holds = _tier(ready) in ("tmpfs", "xfs-quota") and ready.workspace_bytes <= wanted
        expect("workspace_mb", limits.workspace_mb, ready.workspace_bytes // MIB, holds)
    return _report(
        ready,
        limits,
        network=network.name or network.mode,
        runtime=security.runtime,
        degraded=tuple(degraded),
    )


def _report(
    ready: Ready, limits: Limits, *, network: str, runtime: str | None, degraded: tuple[str, ...]
) -> EffectiveLimits:
    tier = _tier(ready)
    return EffectiveLimits(
        memory_mb=_memory_mb(ready),
        memory_total_bytes=ready.memory_max,
        swap_bytes=ready.swap_max,
        cpus=_cpus(ready),
        pids=ready.pids_max,
        open_files=ready.open_files,
        timeout=None if limits.timeout is None else seconds(limits.timeout, "timeout"),
        max_output_bytes=limits.max_output_bytes,
        max_file_bytes=ready.max_file_bytes,
        max_processes=ready.max_processes,
        workspace_bytes=ready.workspace_bytes if tier in ("tmpfs", "xfs-quota") else None,
        workspace_tier=tier,
        disk_floor_bytes=ready.disk_floor_bytes,
        tmp_bytes=ready.tmp_bytes,
        network=network,
        readonly_rootfs=bool(ready.rootfs_readonly),
        no_new_privileges=bool(ready.no_new_privs),
        seccomp=bool(ready.seccomp),
        workload_capabilities=capability_names(ready.workload_caps),
        runtime=runtime,
        degraded=degraded,
    )


def _tier(ready: Ready) -> WorkspaceTier:
    """What bounds the workspace, by what its file system says of itself."""
    if _is_tmpfs(ready):
        return "tmpfs"
    # A directory with a project quota has the quota for its size.
    if ready.workspace_fs == _XFS_MAGIC and ready.workspace_bytes <= ready.workspace_quota_bytes:
        return "xfs-quota"
    return "floor-watch" if ready.disk_floor_bytes else "none"


def _is_tmpfs(ready: Ready) -> bool:
    return ready.workspace_fs == _TMPFS_MAGIC


def _memory_mb(ready: Ready) -> int:
    """What commands may use of the kernel's limit; 0 when there is none.

    The kernel counts memory-backed file systems too, so the limit was set higher by their sizes.
    """
    if ready.memory_max == UNLIMITED:
        return 0
    budgets = ready.tmp_bytes + (DEV_MB + SHM_MB) * MIB
    budgets += ready.workspace_bytes if _is_tmpfs(ready) else 0
    return max(0, ready.memory_max - budgets) // MIB


def _cpus(ready: Ready) -> float:
    if ready.cpu_quota_us == UNLIMITED or not ready.cpu_period_us:
        return math.inf
    return ready.cpu_quota_us / ready.cpu_period_us
