"""From a session's request to the body of the Engine API's create call: a pure function.

What an image or the engine's own configuration could slip in is either overridden here by an
explicit value or refused before (see :func:`check`): an image's ENTRYPOINT, CMD, USER, WORKDIR,
HEALTHCHECK and STOPSIGNAL, its labels of our prefix, and the engine's defaults for init, log
driver, shared memory, namespaces and restart. An image's ENV and EXPOSE cannot be taken out by the
API; PID 1 is static and reads no variable of the image, and nothing is published that the caller
did not name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from fumehood.engines import labels
from fumehood.engines.base import SessionRequest
from fumehood.errors import ImageRefusedError, InvalidRequestError
from fumehood.options import MIB
from fumehood.volumes import Volume, within

Json = dict[str, object]
"""A JSON object as the Engine API takes it."""

SUPERVISOR_DIRECTORY = "/.fumehood"
SUPERVISOR_PATH = "/.fumehood/supervisor"

TMP_MB = 128
"""Size of the memory-backed /tmp."""
DEV_MB = 64
"""Size of /dev: fixed by the engine, writable for a container's root even on a read-only root."""
SHM_MB = 64
"""Size of /dev/shm."""
TMP_INODES = 65_536
_INODES_PER_MB = 1024
MEMORY_QUOTA_MB = 1024
"""The largest quota of a workspace that is held in memory where the engine's disk can hold one."""

_ENTRIES_OF_PROC = """
    bus fs irq sys sysrq-trigger
    allocinfo bootconfig buddyinfo cgroups cmdline config.gz consoles cpu cpuinfo crypto device-tree
    devices diskstats dma driver dynamic_debug execdomains fb filesystems iomem ioports kallsyms
    key-users kmsg kpagecgroup kpagecount kpageflags loadavg lock_stat lockdep lockdep_chains
    lockdep_stats locks mdstat meminfo misc modules mtrr pagetypeinfo partitions pressure schedstat
    slabinfo softirqs stat swaps sysvipc tty uptime version version_signature vmallocinfo vmcore
    vmstat zoneinfo
"""
# The engine's own list (bus to sysrq-trigger), which one of ours replaces, and every other entry of
# /proc that is not a process's. They are one for the whole machine: without a user namespace a
# container's root owns them, and a chmod of one would hold for the host and for every container.
# What a kernel lacks the runtime leaves out. The directory of the control groups is, in their first
# version, a memory-backed one without a size: what is written there, none of our budgets covers.
# Each controller in it is a mount by itself, which runc makes read-only and crun (1.8) does not: a
# container's root, whose files these are, could lift its own limits there.
_CONTROLLERS = """
    blkio cpu cpu,cpuacct cpuacct cpuset devices freezer hugetlb memory misc net_cls
    net_cls,net_prio net_prio perf_event pids rdma systemd unified
"""
READONLY_PATHS = (
    "/sys/fs/cgroup",
    *(f"/sys/fs/cgroup/{name}" for name in _CONTROLLERS.split()),
    *(f"/proc/{name}" for name in _ENTRIES_OF_PROC.split()),
)
_TAKEN_DIRECTORIES = (SUPERVISOR_DIRECTORY, "/proc", "/sys", "/dev")

_POOL_ID = re.compile(r"[a-z2-7]{16}")
# PID 1 needs them to become the reserved uid, to start commands as other users and to kill these.
_SUPERVISOR_CAPABILITIES = frozenset({"SETUID", "SETGID", "KILL"})


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """What the specification depends on besides the request."""

    version: str
    """Our own version: the value of the label ``fumehood``."""
    supervisor_volume: str
    supervisor_digest: str = ""
    """SHA-256 of the supervisor, for the label of a volume that the engine has to make anew."""
    sysctls: bool = True
    """Whether the runtime takes the namespaced kernel parameters that we set."""
    masked_paths: tuple[str, ...] | None = None
    """Paths to hide instead of the engine's own list; ``None`` leaves its list alone."""
    disk_quotas: bool = False
    """Whether the engine's volumes can have a size (xfs with project quotas)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """A container that is ready to be created."""

    name: str
    body: Json
    workspace_volume: str | None
    """The persistent workspace's volume; ``None`` when the workspace goes with the container."""


def container_name(session_id: str) -> str:
    """Return the name of a session's container; different ids never share one."""
    return f"fumehood-{session_id}"


def warm_name(pool_id: str) -> str:
    """Return the name of a container that waits in a pool: one that no session's id can make.

    Ids begin with a letter or a digit.
    """
    return f"fumehood-_warm-{pool_id}"


def is_pool_id(session_id: str) -> bool:
    """Whether an id is one that a pool's container may have been made with: no caller's choice."""
    return _POOL_ID.fullmatch(session_id) is not None


def workspace_volume(workspace_id: str) -> str:
    """Return the name of a persistent workspace's volume."""
    return f"fumehood-ws-{workspace_id}"


def creation_token(nonce: str) -> str:
    """Return the label by which a failed create knows the volume that it has made itself.

    A digest, because a volume outlives its session and the nonce is the tether's secret.
    """
    return hashlib.sha256(f"fumehood volume {nonce}".encode()).hexdigest()[:32]


def check(request: SessionRequest) -> None:
    """Refuse what must not be created, before anything is.

    Raises:
        InvalidRequestError: options that contradict each other.
        ImageRefusedError: the image declares a VOLUME other than the workspace.
    """
    if request.ports and _is_offline(request):
        raise InvalidRequestError(
            f"ports {list(request.ports)} cannot be published without a network: use "
            "Network.bridge(), or forward_port(), which needs no network"
        )
    for port in request.ports:
        if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65_535:
            raise InvalidRequestError(f"port {port!r} is not from 1 to 65535")
    if request.workspace_id is not None and request.limits.workspace_mb is not None:
        raise InvalidRequestError(
            "workspace_mb bounds an ephemeral workspace; a persistent one is a volume on the "
            "engine's disk, which has no quota"
        )
    for volume in request.volumes:
        _check_target(volume, request.workdir)
    for taken in _TAKEN_DIRECTORIES:
        if within(request.workdir, taken):
            raise InvalidRequestError(
                f"workdir {request.workdir!r} is not possible: {taken} is taken"
            )
    if request.workdir == "/tmp":  # noqa: S108
        raise InvalidRequestError(
            "workdir '/tmp' is not possible: /tmp is a memory-backed directory"
        )
    foreign = [path for path in request.image.volumes if path.rstrip("/") != request.workdir]
    if foreign:
        raise ImageRefusedError(
            f"image {request.image.reference!r} declares VOLUME {', '.join(map(repr, foreign))}: "
            "the engine would mount an unbounded volume there that no option removes; use an image "
            f"without it, or make it the workspace with workdir={foreign[0]!r}"
        )


def _check_target(volume: Volume, workdir: str) -> None:
    for taken in (*_TAKEN_DIRECTORIES, "/tmp", workdir):  # noqa: S108
        # Around one of ours is as bad as below it: the order of mounts would decide who sees what.
        if within(volume.target, taken) or within(taken, volume.target):
            raise InvalidRequestError(
                f"volume {volume.name!r} cannot be at {volume.target!r}: {taken} is taken"
            )


def build(request: SessionRequest, facts: EngineFacts) -> ContainerSpec:
    """Return the container of a session.

    The result depends on the arguments alone: the golden tests compare it byte for byte.
    """
    check(request)
    offline = _is_offline(request)
    body: Json = {
        "Image": request.image.id,
        "Entrypoint": [SUPERVISOR_PATH],
        "Cmd": [],
        # PID 1 starts as root to become the reserved uid; the image's USER is the commands' user.
        "User": "0:0",
        # Not the image's: PID 1 must not start in a directory that an image chose.
        "WorkingDir": "/",
        # Nothing of the caller: `docker inspect` shows it to everyone, and commands get theirs
        # over the tether.
        "Env": [],
        "Labels": _labels(request, facts),
        "Tty": False,
        "OpenStdin": True,
        # The end of the client's stream is an end of file for PID 1, which starts the grace.
        "StdinOnce": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "Healthcheck": {"Test": ["NONE"]},
        "StopSignal": "SIGTERM",
        "StopTimeout": 3,
        "NetworkDisabled": offline,
        "ExposedPorts": {f"{port}/tcp": {} for port in request.ports},
        "HostConfig": _host_config(request, facts),
    }
    return ContainerSpec(
        name=(warm_name if request.warm else container_name)(request.session_id),
        body=body,
        workspace_volume=(
            workspace_volume(request.workspace_id) if request.workspace_id is not None else None
        ),
    )


def _host_config(request: SessionRequest, facts: EngineFacts) -> Json:
    limits, security = request.limits, request.security
    capabilities = _SUPERVISOR_CAPABILITIES | set(security.workload_capabilities)
    if request.chown_workspace:
        capabilities |= {"CHOWN"}
    memory = memory_bytes(request, facts)
    config: Json = {
        "AutoRemove": True,
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "CapDrop": ["ALL"],
        "CapAdd": sorted(capabilities),
        "SecurityOpt": _security_options(security.seccomp),
        "Privileged": False,
        "ReadonlyRootfs": security.readonly_rootfs,
        "NetworkMode": _network_mode(request),
        "PublishAllPorts": False,
        # Loopback only: a published port on all addresses bypasses the host's firewall.
        "PortBindings": {
            f"{port}/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}] for port in request.ports
        },
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "PidMode": "",
        "UTSMode": "",
        "UsernsMode": "",
        "Tmpfs": {
            # `exec` spelled out: the engine's default is noexec, and installers run code in /tmp.
            "/tmp": f"rw,exec,nosuid,nodev,size={TMP_MB}m,nr_inodes={TMP_INODES},mode=1777"  # noqa: S108
        },
        "ShmSize": SHM_MB * MIB,
        "Mounts": [
            _supervisor_mount(facts),
            _workspace_mount(request, facts),
            *(_volume_mount(volume, request, facts) for volume in request.volumes),
        ],
        "Memory": memory,
        # The same value: no swap at all.
        "MemorySwap": memory,
        # When the host itself runs out of memory, sandboxes go first.
        "OomScoreAdj": 500,
        "PidsLimit": limits.pids,
        "NanoCpus": round(limits.cpus * 1_000_000_000),
        "CpuShares": 512,
        # No nofile here: an engine without CAP_SYS_RESOURCE refuses to start a container with more
        # than its own hard limit, and fewer than the engine's default gains nothing. The supervisor
        # lowers it in each child. No nproc either: the kernel counts it per uid over the whole
        # host.
        "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],
        # Attach still works, and a flood of output cannot fill the engine's disk.
        "LogConfig": {"Type": "none", "Config": {}},
        # Explicit: an engine that is configured with init=true would put another PID 1 before ours.
        "Init": False,
        "Runtime": security.runtime or "",
        "ReadonlyPaths": list(READONLY_PATHS),
    }
    if facts.sysctls:
        # What outlives the command that made it counts as memory, and no kill gives it back: shared
        # segments go with their last user, and of messages and semaphores there can be few (16
        # queues, 32,000 semaphores in 128 sets: together less than 32 MiB).
        config["Sysctls"] = {
            "kernel.shm_rmid_forced": "1",
            "kernel.msgmni": "16",
            "kernel.sem": "250 32000 100 128",
        }
    if facts.masked_paths is not None:
        config["MaskedPaths"] = list(facts.masked_paths)
    return config


def quota_on_disk(request: SessionRequest, facts: EngineFacts) -> bool:
    """Return whether a workspace's quota is the disk's to hold, and not the memory's."""
    quota = request.limits.workspace_mb
    return quota is not None and quota > MEMORY_QUOTA_MB and facts.disk_quotas


def memory_bytes(request: SessionRequest, facts: EngineFacts) -> int:
    """Return the kernel's memory limit: what commands may use plus every tmpfs's budget.

    Pages of a tmpfs count and outlive the process that wrote them; with the budgets on top, killing
    the commands always frees enough for the supervisor.
    """
    limits = request.limits
    workspace = 0 if quota_on_disk(request, facts) else limits.workspace_mb or 0
    return (limits.memory_mb + TMP_MB + DEV_MB + SHM_MB + workspace) * MIB


def _security_options(seccomp: str | None) -> list[str]:
    options = ["no-new-privileges"]
    if seccomp is not None:
        # In one line: the engine reads the profile from the option's value.
        options.append(f"seccomp={json.dumps(json.loads(seccomp), separators=(',', ':'))}")
    return options


def _is_offline(request: SessionRequest) -> bool:
    # What `allow` lets through goes over the tether.
    return request.network.mode in ("none", "allow")


def _network_mode(request: SessionRequest) -> str:
    if _is_offline(request):
        return "none"
    if request.network.mode == "named":
        assert request.network.name is not None
        return request.network.name
    return request.network.mode


def _labels(request: SessionRequest, facts: EngineFacts) -> dict[str, str]:
    # Keys of our prefix that the image brings are merged in by the engine unless we name them too.
    result = dict.fromkeys(request.image.reserved_labels, "")
    result.update(request.labels)
    result.update(labels.of_session(request, version=facts.version))
    return result


def _supervisor_mount(facts: EngineFacts) -> Json:
    return {
        "Type": "volume",
        "Source": facts.supervisor_volume,
        "Target": SUPERVISOR_DIRECTORY,
        "ReadOnly": True,
        "VolumeOptions": {
            # Without it, the engine would fill an empty volume from the image's own directory.
            "NoCopy": True,
            "Labels": labels.of_supervisor(facts.supervisor_digest, version=facts.version),
        },
    }


def _workspace_mount(request: SessionRequest, facts: EngineFacts) -> Json:
    mount: Json = {"Type": "volume", "Target": request.workdir, "ReadOnly": False}
    options: Json = {"NoCopy": True}
    if request.workspace_id is not None:
        mount["Source"] = workspace_volume(request.workspace_id)
        options["Labels"] = labels.of_workspace(
            request.workspace_id,
            token=creation_token(request.nonce),
            destroy=request.destroy_workspace,
            version=facts.version,
        )
    else:
        # Anonymous: AutoRemove takes it along. The labels are for the sweep.
        options["Labels"] = labels.of_ephemeral_volume(request.session_id, version=facts.version)
        if request.limits.workspace_mb is not None:
            options["DriverConfig"] = _quota(
                request.limits.workspace_mb, on_disk=quota_on_disk(request, facts)
            )
    mount["VolumeOptions"] = options
    return mount


def _volume_mount(volume: Volume, request: SessionRequest, facts: EngineFacts) -> Json:
    return {
        "Type": "volume",
        "Source": volume.name,
        "Target": volume.target,
        "ReadOnly": volume.read_only,
        "VolumeOptions": {
            "NoCopy": True,
            # A volume that is there keeps its own labels. These mark the empty one that the engine
            # would make if it went away at this moment: the create then fails and removes it.
            "Labels": {
                labels.OURS: facts.version,
                labels.TOKEN: creation_token(request.nonce),
            },
        },
    }


def _quota(size_mb: int, *, on_disk: bool) -> Json:
    if on_disk:
        # Of bytes alone: the engine sets no limit for names. The floor watch counts those.
        return {"Name": "local", "Options": {"size": f"{size_mb}m"}}
    # A volume and not a tmpfs mount, so that it is found, mounted and removed like the others.
    return {
        "Name": "local",
        "Options": {
            "type": "tmpfs",
            "device": "tmpfs",
            "o": f"size={size_mb}m,nr_inodes={size_mb * _INODES_PER_MB},mode=0755,nosuid,nodev",
        },
    }


def container_json(spec: ContainerSpec) -> Mapping[str, object]:
    """Return a specification as plain data, for a report or a golden file."""
    return {"name": spec.name, "body": spec.body, "workspace_volume": spec.workspace_volume}
