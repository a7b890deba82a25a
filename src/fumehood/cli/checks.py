"""What an engine can enforce, and which known faults it has: pure judgement of what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from fumehood import EngineInfo

Level = Literal["ok", "note", "warning", "problem"]
"""``problem``: no session can be made. ``warning``: something that should be mended."""

_Version = tuple[int, ...]
_LATEST: _Version = (1 << 30,)
_CLOCKS_DIFFER = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    what: str
    text: str


def findings(info: EngineInfo) -> list[Finding]:
    """Judge an engine by what it says of itself; what a session proves comes on top."""
    return [
        *_address(info),
        *_limits(info),
        *_confinement(info),
        *_versions(info),
        *_runtimes(info),
        *_clock(info),
        *(Finding("note", "engine", f"it warns: {text}") for text in info.warnings),
    ]


def _address(info: EngineInfo) -> Iterator[Finding]:
    if info.address.startswith("tcp://") and not info.address.endswith(" with TLS"):
        yield Finding(
            "warning",
            "address",
            "plain TCP: whoever reaches this port owns the engine's host; use TLS or ssh://",
        )
    if info.name != "docker":
        yield Finding("note", "engine", f"{info.name} is served as well as it can be, no more")


def _limits(info: EngineInfo) -> Iterator[Finding]:
    missing = [
        name
        for name, there in (
            ("memory", info.memory_limit),
            ("swap", info.swap_limit),
            ("pids", info.pids_limit),
            ("cpu", info.cpu_limit),
        )
        if not there
    ]
    if missing:
        yield Finding(
            "problem",
            "limits",
            f"not enforced: {', '.join(missing)}. The host needs the cgroup controllers (rootless: "
            "their delegation; old kernels: boot with swapaccount=1 cgroup_enable=memory)",
        )
    else:
        yield Finding("ok", "limits", "memory, swap, pids and cpu are enforced")
    if info.cgroup_version == "1":
        yield Finding("note", "cgroup", "version 1: works; version 2 counts memory more exactly")
    else:
        yield Finding("ok", "cgroup", f"version {info.cgroup_version}")
    driver = info.storage_driver or "the engine"
    below = f" on {info.backing_filesystem}" if info.backing_filesystem else ""
    yield Finding(
        "note",
        "disk",
        "a workspace has a hard quota only with Limits.workspace_mb; otherwise the space of "
        f"{driver}{below} bounds it",
    )


def _confinement(info: EngineInfo) -> Iterator[Finding]:
    options = info.security_options
    if any("seccomp" in option for option in options):
        yield Finding("ok", "seccomp", "on")
    else:
        yield Finding("problem", "seccomp", "off: sessions rely on it")
    modules = [name for name in ("apparmor", "selinux") if any(name in o for o in options)]
    if modules:
        yield Finding("ok", "mandatory access", ", ".join(modules))
    else:
        yield Finding(
            "note", "mandatory access", "neither AppArmor nor SELinux: one wall less to break"
        )
    if any("rootless" in option for option in options):
        yield Finding("ok", "users", "rootless: root in a container is nobody on the host")
    elif any("userns" in option for option in options):
        yield Finding("ok", "users", "user namespaces: root in a container is not root outside")
    else:
        yield Finding(
            "note", "users", "no user namespaces: root in a container is uid 0 without capabilities"
        )


def _versions(info: EngineInfo) -> Iterator[Finding]:
    api = parse_version(info.api_version)
    if api and api < (1, 41):
        yield Finding("problem", "API", f"{info.api_version} is too old: 1.41 is needed")
    version = parse_version(info.version)
    if info.name == "docker" and version:
        yield from _docker_faults(info, version)
    runc = info.components.get("runc", "")
    found = parse_version(runc)
    if found:
        faults = runc_faults(found)
        if faults:
            yield Finding(
                "warning",
                f"runc {runc}",
                f"{faults}. A distribution's own package may hold the fix under an older number",
            )
        else:
            yield Finding("ok", f"runc {runc}", "no known escape")


def _docker_faults(info: EngineInfo, version: _Version) -> Iterator[Finding]:
    what = f"docker {info.version}"
    if info.live_restore and version < (24, 0, 8):
        yield Finding(
            "warning",
            what,
            "live-restore before 24.0.8 deletes running sessions when the engine restarts",
        )
    if version < (23, 0, 11) or (25, 0, 0) <= version < (25, 0, 5):
        yield Finding(
            "warning",
            what,
            "CVE-2024-29018: containers on an internal network can still ask DNS outside (sessions "
            "without a network cannot)",
        )
    if version < (29, 4, 2):
        yield Finding(
            "note",
            what,
            "its seccomp profile allows AF_ALG (CVE-2026-31431); the supervisor's own filter "
            "denies it to commands",
        )
    if version < (29, 5, 1):
        yield Finding(
            "note",
            what,
            "'docker cp' has known holes (CVE-2026-41567, -41568, -42306): fumehood never uses it "
            "on a running session, you should not either",
        )


def runc_faults(version: _Version) -> str:
    """Return the known escapes of a version of runc, or ``""``."""
    faults: list[str] = []
    if version < (1, 1, 12):
        faults.append("CVE-2024-21626 (fixed in 1.1.12)")
    if version < (1, 2, 8) or (1, 3, 0) <= version < (1, 3, 3):
        faults.append("CVE-2025-31133, -52565 and -52881 (fixed in 1.2.8, 1.3.3 and 1.4.0)")
    if version < (1, 3, 6) or (1, 4, 0) <= version < (1, 4, 3):
        faults.append("CVE-2026-41579 (low; fixed in 1.3.6 and 1.4.3)")
    return "; ".join(faults)


def _runtimes(info: EngineInfo) -> Iterator[Finding]:
    stronger = [
        name for name in info.runtimes if name.startswith(("runsc", "kata", "io.containerd.kata"))
    ]
    if stronger:
        yield Finding("ok", "runtimes", f"{', '.join(stronger)} (fumehood run --runtime)")
    else:
        yield Finding(
            "note",
            "runtimes",
            f"{info.default_runtime or 'runc'} shares the host's kernel; for hostile code of many "
            "tenants install gVisor (runsc) or Kata",
        )


def _clock(info: EngineInfo) -> Iterator[Finding]:
    offset = info.clock_offset
    if offset is not None and abs(offset) > _CLOCKS_DIFFER:
        yield Finding(
            "note",
            "clock",
            f"the engine's is {abs(offset):.0f} s {'ahead of' if offset > 0 else 'behind'} this "
            "machine's: deadlines hold all the same, times of files and in listings differ",
        )


def parse_version(text: str) -> _Version | None:
    """Return the numbers at the front of a version; None if there are none.

    A release candidate comes before its release: ``1.4.0-rc.3`` is below ``(1, 4, 0)``.
    """
    match = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?(-rc)?", text)
    if match is None:
        return None
    numbers = (int(match[1]), int(match[2]), int(match[3] or 0))
    return (*numbers, -1) if match[4] else numbers
