"""What an engine is and what it enforces: ``/version`` and ``/info``, read once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from fumehood.engines.base import EngineInfo, SessionRequest
from fumehood.engines.docker_listing import mapping, sequence, timestamp
from fumehood.engines.docker_text import printable
from fumehood.errors import EngineUnsupportedError

Architecture = Literal["amd64", "arm64"]

_ARCHITECTURES: Mapping[str, Architecture] = {
    "amd64": "amd64",
    "x86_64": "amd64",
    "arm64": "arm64",
    "aarch64": "arm64",
}


def architecture(name: object, what: str) -> Architecture:
    """Return the architecture by Docker's name for it.

    Raises:
        EngineUnsupportedError: there is no supervisor for it.
    """
    found = _ARCHITECTURES.get(str(name))
    if found is None:
        raise EngineUnsupportedError(
            f"{what} is for {printable(str(name))!r}; fumehood runs on amd64 and arm64"
        )
    return found


def engine_info(
    version: Mapping[str, object],
    info: Mapping[str, object],
    *,
    address: str,
    api_version: str,
    asked: float,
) -> EngineInfo:
    """Return what the engine says of itself. Its text is printable, its numbers are its word.

    Args:
        version: the answer to ``/version``.
        info: the answer to ``/info``.
        address: where it was asked, for messages.
        api_version: what was agreed on.
        asked: this machine's time when ``/info`` was asked for, in seconds since the epoch.
    """
    if str(info.get("OSType", version.get("Os", "linux"))) != "linux":
        raise EngineUnsupportedError(
            f"the engine at {address} runs {printable(str(info.get('OSType')))} containers; "
            "fumehood needs Linux containers"
        )
    components = {
        printable(str(item.get("Name", ""))): printable(str(item.get("Version", "")))
        for item in map(mapping, sequence(version.get("Components")))
    }
    return EngineInfo(
        name=_name(version, components),
        version=_text(info, "ServerVersion") or _text(version, "Version"),
        api_version=api_version,
        architecture=architecture(
            version.get("Arch", info.get("Architecture")), f"the engine at {address}"
        ),
        kernel=_text(info, "KernelVersion"),
        operating_system=_text(info, "OperatingSystem"),
        cgroup_version=_text(info, "CgroupVersion") or "1",
        storage_driver=_text(info, "Driver"),
        runtimes=tuple(sorted(printable(name) for name in mapping(info.get("Runtimes")))),
        default_runtime=_text(info, "DefaultRuntime"),
        security_options=tuple(
            printable(str(option)) for option in sequence(info.get("SecurityOptions"))
        ),
        memory_limit=info.get("MemoryLimit") is True,
        swap_limit=info.get("SwapLimit") is True,
        pids_limit=info.get("PidsLimit") is True,
        cpu_limit=info.get("CpuCfsQuota") is True or info.get("CPUCfsQuota") is True,
        live_restore=info.get("LiveRestoreEnabled") is True,
        address=address,
        backing_filesystem=_driver_status(info, "Backing Filesystem"),
        warnings=tuple(printable(str(item)) for item in sequence(info.get("Warnings"))),
        components=components,
        clock_offset=told - asked if (told := timestamp(info.get("SystemTime"))) else None,
    )


def check_enforced(info: EngineInfo, request: SessionRequest) -> None:
    """Refuse to make a session whose limits the engine would quietly not enforce.

    Raises:
        EngineUnsupportedError: which limit or runtime, and what to do about it.
    """
    missing = [
        name
        for name, present in (
            ("memory", info.memory_limit),
            ("swap", info.swap_limit),
            ("pids", info.pids_limit),
            ("cpu", info.cpu_limit),
        )
        if not present
    ]
    if missing:
        raise EngineUnsupportedError(
            f"the engine at {info.address} does not enforce these limits: {', '.join(missing)}. "
            "Its host needs the cgroup controllers (rootless: delegation to the user; old kernels: "
            "boot with swapaccount=1 cgroup_enable=memory)"
        )
    if not any("seccomp" in option for option in info.security_options):
        raise EngineUnsupportedError(
            f"the engine at {info.address} runs containers without seccomp, which sessions rely on"
        )
    runtime = request.security.runtime
    if runtime is not None and runtime not in info.runtimes:
        raise EngineUnsupportedError(
            f"runtime {runtime!r} is not known to the engine at {info.address}; "
            f"it has {', '.join(info.runtimes) or 'none'}"
        )


# What engines hide by themselves, the newest of them: interrupt counts and thermal events tell what
# other tenants of the host do, and so do power meters.
_MASKED = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
_MASKS_ALL_SINCE = (28, 1)
_MAX_PROCESSORS = 512


def masked_paths(info: EngineInfo, *, processors: int) -> tuple[str, ...] | None:
    """Return the paths to hide, or ``None`` where the engine's own list is as good or better.

    A list replaces the engine's: it is sent only to engines whose own list is known to be a part of
    it.

    Args:
        info: the engine.
        processors: how many its host has.
    """
    match = re.match(r"(\d+)\.(\d+)", info.version)
    if match is None or info.name != "docker":
        return None
    if (int(match[1]), int(match[2])) >= _MASKS_ALL_SINCE:
        return None
    count = max(0, min(processors, _MAX_PROCESSORS))
    return _MASKED + tuple(
        f"/sys/devices/system/cpu/cpu{number}/thermal_throttle" for number in range(count)
    )


def _name(version: Mapping[str, object], components: Mapping[str, str]) -> str:
    platform = str(mapping(version.get("Platform")).get("Name", ""))
    text = f"{platform} {' '.join(components)}".lower()
    return "podman" if "podman" in text else "docker"


def _driver_status(info: Mapping[str, object], key: str) -> str:
    """Return what the storage driver says of itself: pairs of a name and a text."""
    for item in sequence(info.get("DriverStatus")):
        pair = sequence(item)
        if len(pair) == 2 and pair[0] == key:
            return printable(str(pair[1]))
    return ""


def _text(data: Mapping[str, object], key: str) -> str:
    value = data.get(key)
    return printable(value) if isinstance(value, str) else ""


_KEEPS_CONTAINERS = (24, 0, 8)
"""From this version on an engine that is restarted with live-restore keeps the containers that are
removed when they end; an older one removes them while they run."""


def streams_can_break(info: EngineInfo) -> bool:
    """Return whether a stream to a container may end while the container lives on."""
    if not info.address.startswith("unix://"):
        return True
    version = re.match(r"(\d+)\.(\d+)\.(\d+)", info.version)
    kept = version is None or tuple(map(int, version.groups())) >= _KEEPS_CONTAINERS
    return info.live_restore and kept
