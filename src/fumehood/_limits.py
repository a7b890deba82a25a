"""What is really enforced, out of what the supervisor read back and what was asked for."""

from __future__ import annotations

import math

from fumehood._wire.messages import Ready
from fumehood.options import GRANTABLE_CAPABILITIES, MIB, Limits, Network, Security
from fumehood.results import EffectiveLimits

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
assert set(_CAPABILITY_BITS) == set(GRANTABLE_CAPABILITIES)


def capability_mask(names: tuple[str, ...]) -> int:
    """Return capabilities as the bits that the kernel knows them by."""
    return sum(1 << _CAPABILITY_BITS[name] for name in names)


def capability_names(mask: int) -> tuple[str, ...]:
    """Return the grantable capabilities of a mask, sorted."""
    return tuple(sorted(name for name, bit in _CAPABILITY_BITS.items() if mask >> bit & 1))


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

    asked_bytes = limits.memory_mb * MIB
    expect(
        "memory_mb",
        limits.memory_mb,
        "no limit" if ready.memory_max == UNLIMITED else ready.memory_max // MIB,
        ready.memory_max != UNLIMITED and ready.memory_max >= asked_bytes,
    )
    expect("swap", 0, ready.swap_max, ready.swap_max == 0)
    expect("pids", limits.pids, ready.pids_max, ready.pids_max == limits.pids)
    cpus = (
        math.inf
        if ready.cpu_quota_us == UNLIMITED or not ready.cpu_period_us
        else ready.cpu_quota_us / ready.cpu_period_us
    )
    expect("cpus", limits.cpus, cpus, math.isclose(cpus, limits.cpus, rel_tol=0.02, abs_tol=0.002))
    expect("no_new_privileges", True, bool(ready.no_new_privs), bool(ready.no_new_privs))
    expect("seccomp", True, bool(ready.seccomp), bool(ready.seccomp))
    expect(
        "readonly_rootfs",
        security.readonly_rootfs,
        bool(ready.rootfs_readonly),
        bool(ready.rootfs_readonly) or not security.readonly_rootfs,
    )
    tmpfs = ready.workspace_fs == _TMPFS_MAGIC
    if limits.workspace_mb is not None:
        wanted = limits.workspace_mb * MIB
        holds = tmpfs and ready.workspace_bytes <= wanted
        expect("workspace_mb", limits.workspace_mb, ready.workspace_bytes // MIB, holds)
    return EffectiveLimits(
        memory_mb=limits.memory_mb if ready.memory_max != UNLIMITED else 0,
        memory_total_bytes=ready.memory_max,
        swap_bytes=ready.swap_max,
        cpus=cpus,
        pids=ready.pids_max,
        open_files=ready.open_files,
        timeout=None if limits.timeout is None else float(limits.timeout),  # type: ignore[arg-type]
        max_output_bytes=limits.max_output_bytes,
        max_file_bytes=ready.max_file_bytes or limits.max_file_bytes,
        max_processes=ready.max_processes or limits.max_processes,
        workspace_bytes=ready.workspace_bytes if tmpfs else None,
        workspace_tier="tmpfs" if tmpfs else "volume",
        tmp_bytes=ready.tmp_bytes,
        network=network.name or network.mode,
        readonly_rootfs=bool(ready.rootfs_readonly),
        no_new_privileges=bool(ready.no_new_privs),
        seccomp=bool(ready.seccomp),
        workload_capabilities=capability_names(ready.workload_caps)
        or security.workload_capabilities,
        runtime=security.runtime,
        degraded=tuple(degraded),
    )
