"""What a caller asks for: frozen values, checked when they are made.

Durations are seconds (``float``, ``int`` or ``timedelta``); sizes are bytes unless the name ends
in ``_mb`` (MiB). A value that is out of range raises :class:`~fumehood.errors.InvalidRequestError`
before anything exists on the engine.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, cast

from fumehood import paths
from fumehood._checks import (
    MAX_ENV_BYTES,
    MAX_METADATA_VALUE,
    RESERVED_UID,
    Seconds,
    check_env,
    check_labels,
    check_name,
    check_user,
    flag,
    mapping,
    names,
    optional_seconds,
    seconds,
    whole,
)
from fumehood.egress.rules import DEFAULT_PORTS, Allow, check_ports
from fumehood.errors import InvalidRequestError
from fumehood.text import brief, encode

__all__ = [
    "GRANTABLE_CAPABILITIES",
    "MAX_ENV_BYTES",
    "MAX_METADATA_VALUE",
    "MIB",
    "RESERVED_UID",
    "Lifecycle",
    "Limits",
    "Manifest",
    "Network",
    "Seconds",
    "Security",
    "UnknownHeadersError",
    "Workspace",
    "check_env",
    "check_labels",
    "check_name",
    "check_user",
    "optional_seconds",
    "seconds",
    "network_from_dict",
    "to_dict",
    "whole",
]

MIB = 1 << 20
MAX_RULES = 1000
"""Of an allow-list."""

_NETWORK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_RUNTIME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

# Not SCMP_ACT_TRACE: a command may trace another and let its calls pass.
_DENYING_ACTIONS = (
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_TRAP",
)

GRANTABLE_CAPABILITIES = (
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "SETUID",
    "SETGID",
    "NET_BIND_SERVICE",
)
"""The only Linux capabilities that a workload can be given."""

ROOT_TOOLS = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETGID", "SETUID")
"""What :meth:`Security.root_tools` grants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Where a session's files live.

    Use :meth:`ephemeral` (gone with the session, the default) or :meth:`persistent` (a named
    volume that is kept and can be used again).

    Example::

        DockerSandbox(workspace=Workspace.persistent("user-42"))
    """

    mode: Literal["ephemeral", "persistent"] = "ephemeral"
    id: str | None = None
    """The name of a persistent workspace: it selects the volume."""
    destroy_with_session: bool = True
    """Whether ``destroy()`` deletes the volume. Always true for an ephemeral workspace."""

    def __post_init__(self) -> None:
        if self.mode not in ("ephemeral", "persistent"):
            raise InvalidRequestError(
                f"workspace mode must be ephemeral or persistent: {brief(self.mode)}"
            )
        flag(self.destroy_with_session, "destroy_with_session")
        if self.mode == "persistent":
            if self.id is None:
                raise InvalidRequestError("a persistent workspace needs an id")
            check_name(self.id, "workspace id")
        elif self.id is not None or not self.destroy_with_session:
            raise InvalidRequestError(
                "an ephemeral workspace has no id and always goes with its session; "
                "use Workspace.persistent(id) to keep files"
            )

    @classmethod
    def ephemeral(cls) -> Workspace:
        """A new, empty workspace for each session, deleted with it."""
        return cls()

    @classmethod
    def persistent(cls, id: str, *, destroy_with_session: bool = False) -> Workspace:
        """The workspace of this name, made at first use and kept unless told otherwise."""
        return cls(mode="persistent", id=id, destroy_with_session=destroy_with_session)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """The lease: what ends a session by itself. All of it is held by the supervisor."""

    ttl: Seconds | None = None
    """The longest life, counted from the start, also while the host sleeps. ``None``: no limit."""
    idle_timeout: Seconds | None = None
    """How long a session may go without an active operation. ``None``: no limit."""
    disconnect_grace: Seconds = 10.0
    """How long the session waits for a client to come back after its stream has ended."""
    heartbeat_timeout: Seconds = 60.0
    """How long a silent client counts as alive (for ends that the engine does not report)."""
    detached: bool = False
    """Outlive the client. Needs ``ttl`` or ``idle_timeout``, or the session would never end."""

    def __post_init__(self) -> None:
        for name, minimum in (("ttl", 0.1), ("idle_timeout", 0.1)):
            object.__setattr__(
                self, name, optional_seconds(getattr(self, name), name, minimum=minimum)
            )
        object.__setattr__(
            self, "disconnect_grace", seconds(self.disconnect_grace, "disconnect_grace")
        )
        object.__setattr__(
            self,
            "heartbeat_timeout",
            seconds(self.heartbeat_timeout, "heartbeat_timeout", minimum=1.0),
        )
        if flag(self.detached, "detached") and self.ttl is None and self.idle_timeout is None:
            raise InvalidRequestError(
                "a detached session needs a ttl or an idle_timeout: nothing else would ever end it"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a session may use. Enforced by the kernel and the supervisor, read back from inside."""

    timeout: Seconds | None = 30.0
    """The default time of a command. ``None``: no limit. Other operations are not bound by it."""
    max_output_bytes: int = 1_048_576
    """Of each stream of a command the first so many bytes are kept; the rest is counted."""
    max_file_bytes: int = 64 * MIB
    """The largest file that buffered reads return and that any write through the API makes."""
    memory_mb: int = 512
    """Memory of all commands together, without swap; tmpfs budgets come on top (SECURITY.md)."""
    cpus: float = 1.0
    """CPU time per second of wall time."""
    pids: int = 512
    """Processes and threads at once, the supervisor's own included."""
    max_processes: int = 16
    """Managed processes (``start_process``) that may run at a time."""
    workspace_mb: int | None = None
    """A hard quota for an ephemeral workspace, in memory or, where the engine's disk has quotas and
    it is above 1024, there. ``None``: the free space of the engine's disk, down to its floor."""
    disk_floor_mb: int | None = None
    """What a session leaves free on a disk without a quota: one that writes when there is less is
    ended (``EndReason.DISK_FULL``). ``None``: a twentieth of the disk, at most 1024. 0: nobody
    watches it."""

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "timeout", optional_seconds(self.timeout, "timeout", minimum=0.001))
        whole(self.max_output_bytes, "max_output_bytes", minimum=0, maximum=1 << 40)
        whole(self.max_file_bytes, "max_file_bytes", minimum=0, maximum=1 << 50)
        whole(self.memory_mb, "memory_mb", minimum=16, maximum=1 << 24)
        whole(self.pids, "pids", minimum=16, maximum=1 << 20)
        whole(self.max_processes, "max_processes", minimum=0, maximum=128)
        if self.workspace_mb is not None:
            whole(self.workspace_mb, "workspace_mb", minimum=1, maximum=1 << 20)
        if self.disk_floor_mb is not None:
            whole(self.disk_floor_mb, "disk_floor_mb", minimum=0, maximum=1 << 24)
        if isinstance(self.cpus, bool) or not isinstance(self.cpus, (int, float)):
            raise InvalidRequestError(f"cpus must be a number, not {brief(self.cpus)}")
        if not 0.01 <= self.cpus <= 4096:  # false for NaN too
            raise InvalidRequestError(f"cpus must be from 0.01 to 4096, not {brief(self.cpus)}")
        set_(self, "cpus", float(self.cpus))


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What a session can reach. The default is nothing."""

    mode: Literal["none", "bridge", "named", "allow"] = "none"
    name: str | None = None
    domains: tuple[str | Allow, ...] = ()
    """What :meth:`allow` lists."""
    ports: tuple[int, ...] = DEFAULT_PORTS
    """Of the domains that have none of their own."""

    def __post_init__(self) -> None:
        if self.mode not in ("none", "bridge", "named", "allow"):
            raise InvalidRequestError(f"network mode {brief(self.mode)} is not known")
        if (self.mode == "named") != (self.name is not None):
            raise InvalidRequestError("Network.named(name) is the way to join a network by name")
        if self.name is not None:
            _check_network_name(self.name)
        if isinstance(self.domains, Allow):
            raise InvalidRequestError("domains must be a tuple, not one rule")
        rules = tuple(
            item if isinstance(item, Allow) else Allow(item)
            for item in cast("tuple[str | Allow, ...]", names(self.domains, "domains"))  # type: ignore[arg-type]
        )
        if (self.mode == "allow") != bool(rules):
            raise InvalidRequestError("Network.allow needs at least one domain")
        if len(rules) > MAX_RULES:
            raise InvalidRequestError(f"{len(rules)} rules: at most {MAX_RULES} are possible")
        plain = tuple(
            rule.host if rule.ports is None and not rule.headers else rule for rule in rules
        )
        object.__setattr__(self, "domains", plain)
        object.__setattr__(self, "ports", check_ports(self.ports))

    @property
    def rules(self) -> tuple[Allow, ...]:
        """The list of :meth:`allow`, each entry as a rule."""
        return tuple(item if isinstance(item, Allow) else Allow(item) for item in self.domains)

    @property
    def intercepted(self) -> tuple[str, ...]:
        """The hosts of the rules that end TLS in this client."""
        return tuple(rule.host for rule in self.rules if rule.intercepts)

    @classmethod
    def none(cls) -> Network:
        """No network at all: not even a name can be resolved."""
        return cls()

    @classmethod
    def bridge(cls) -> Network:
        """The engine's default bridge: everything that the host can reach, metadata included."""
        return cls(mode="bridge")

    @classmethod
    def named(cls, name: str) -> Network:
        """An existing network of the engine."""
        return cls(mode="named", name=name)

    @classmethod
    def allow(cls, *domains: str | Allow, ports: tuple[int, ...] = DEFAULT_PORTS) -> Network:
        """Only these hosts, through a proxy in this client; the container itself has no network.

        Args:
            domains: names, ``"*."`` and a name, addresses, or :class:`Allow` for more than that.
            ports: TCP ports of those that have none of their own.
        """
        return cls(mode="allow", domains=tuple(domains), ports=ports)


def _check_network_name(name: str) -> None:
    if not isinstance(name, str) or not _NETWORK_NAME.fullmatch(name):
        raise InvalidRequestError(f"network name {brief(name)} is not usable")
    if name in ("none", "bridge", "host", "default") or name.startswith("container:"):
        raise InvalidRequestError(
            f"network {name!r} is not one to join by name: use Network.none() or "
            "Network.bridge(); the host's network is never shared"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """What the hardened profile leaves open. no-new-privileges cannot be turned off."""

    readonly_rootfs: bool = False
    """Make everything but the workspace, /tmp and /dev read-only."""
    workload_capabilities: tuple[str, ...] = ()
    """Linux capabilities for the commands, out of :data:`GRANTABLE_CAPABILITIES`."""
    seccomp: str | None = None
    """A seccomp profile as JSON text instead of the engine's own. ``"unconfined"`` is refused."""
    runtime: str | None = None
    """An OCI runtime that the engine knows (``"runsc"``, ``"kata"``). ``None``: the engine's."""

    def __post_init__(self) -> None:
        flag(self.readonly_rootfs, "readonly_rootfs")
        granted: list[str] = []
        for name in names(self.workload_capabilities, "workload_capabilities"):
            short = str(name).upper().removeprefix("CAP_")
            if short not in GRANTABLE_CAPABILITIES:
                raise InvalidRequestError(
                    f"capability {brief(name)} cannot be granted; possible: "
                    + ", ".join(GRANTABLE_CAPABILITIES)
                )
            if short not in granted:
                granted.append(short)
        object.__setattr__(self, "workload_capabilities", tuple(sorted(granted)))
        if self.runtime is not None and (
            not isinstance(self.runtime, str) or not _RUNTIME.fullmatch(self.runtime)
        ):
            raise InvalidRequestError(f"runtime {brief(self.runtime)} is not a runtime's name")
        if self.seccomp is not None:
            _check_seccomp(self.seccomp)

    @classmethod
    def root_tools(cls) -> Security:
        """The profile for images whose own tools expect root: ``adduser``, ``chown``, ``apt-get``.

        Every command, whoever runs it, has the capabilities CHOWN, DAC_OVERRIDE, FOWNER, FSETID,
        SETGID and SETUID: inside its container it reads and changes any file and becomes any user
        but the supervisor's. What keeps it in the container is as ever.
        """
        return cls(workload_capabilities=ROOT_TOOLS)


def _check_seccomp(profile: str) -> None:
    if not isinstance(profile, str) or profile == "unconfined":
        raise InvalidRequestError(
            f"seccomp {brief(profile)} is refused: give a profile as JSON text"
        )
    try:
        parsed: object = json.loads(profile)
    except (ValueError, RecursionError) as exc:
        raise InvalidRequestError(f"seccomp must be a profile as JSON text: {exc}") from exc
    fields = cast("dict[str, object]", parsed) if isinstance(parsed, dict) else {}
    # The engine reads keys in any case, and of several that it takes for one the last counts.
    actions = [action for key, action in fields.items() if key.casefold() == "defaultaction"]
    if len(actions) != 1 or actions[0] not in _DENYING_ACTIONS:
        raise InvalidRequestError(
            "a seccomp profile must deny by default: one defaultAction, out of "
            + ", ".join(_DENYING_ACTIONS)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What is in the workspace before the first command runs.

    Example::

        Manifest(files={"main.py": "print('hi')"}, directories=("out",), env={"LANG": "C.UTF-8"})
    """

    files: Mapping[str, str | bytes] = field(default_factory=dict[str, str | bytes])
    """Contents by path, relative to the workspace; parents are made."""
    directories: tuple[str, ...] = ()
    """Directories to make, relative to the workspace."""
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    """Environment of every command of the session."""

    def __post_init__(self) -> None:
        files: dict[str, str | bytes] = {}
        for path, content in mapping(self.files, "Manifest.files").items():
            if not isinstance(content, (str, bytes, bytearray, memoryview)):
                raise InvalidRequestError(
                    f"Manifest.files[{brief(path)}] must be str or bytes, "
                    f"not {type(content).__name__}"
                )
            name = paths.relative(path)
            if name in files:
                raise InvalidRequestError(f"Manifest.files holds {brief(name)} twice")
            if isinstance(content, str):
                encode(content, f"Manifest.files[{brief(path)}]")
            files[name] = content if isinstance(content, str) else bytes(content)
        directories = tuple(
            paths.relative(path) for path in names(self.directories, "Manifest.directories")
        )
        set_ = object.__setattr__
        set_(self, "files", MappingProxyType(files))
        set_(self, "directories", directories)
        set_(self, "env", MappingProxyType(check_env(self.env, "Manifest.env")))

    def __reduce__(self) -> tuple[object, ...]:
        # Options cross process pools; a read-only view of a dict cannot be copied or pickled.
        return _manifest, (dict(self.files), self.directories, dict(self.env))


def _manifest(
    files: dict[str, str | bytes], directories: tuple[str, ...], env: dict[str, str]
) -> Manifest:
    return Manifest(files=files, directories=directories, env=env)


def to_dict(value: Lifecycle | Limits | Network | Security | Workspace) -> dict[str, object]:
    """Return an option as plain data, for a label or a report; of secrets only their names."""
    if not isinstance(value, Network):
        return dataclasses.asdict(value)
    domains = [
        item
        if isinstance(item, str)
        else {
            "host": item.host,
            "ports": item.ports,
            "headers": sorted(item.headers),
            "tls": item.tls,
        }
        for item in value.domains
    ]
    return {"mode": value.mode, "name": value.name, "domains": domains, "ports": value.ports}


class UnknownHeadersError(InvalidRequestError):
    """A rule had headers, whose values are secrets and were not noted, and nobody has them."""


def network_from_dict(data: Mapping[str, Any], known: Network) -> Network:
    """Return the network that :func:`to_dict` has described.

    Args:
        data: what it has returned.
        known: where headers are looked for: a rule for the same host, ports and names of headers,
            with TLS to it ended at the same place.

    Raises:
        UnknownHeadersError: there is none.
    """
    having = {_described(rule): rule for rule in known.rules if rule.headers}
    domains: list[str | Allow] = []
    for item in data["domains"]:
        if isinstance(item, str):
            domains.append(item)
            continue
        rule = Allow(item["host"], ports=item["ports"])
        if item["headers"]:
            wanted = (rule.host, rule.ports, tuple(item["headers"]), item.get("tls", "end-to-end"))
            if wanted not in having:
                raise UnknownHeadersError(
                    f"the headers of the rule for {brief(rule.host)} are secrets and were not "
                    "noted with the session: use a sandbox whose Network.allow has them"
                )
            rule = having[wanted]
        domains.append(rule)
    ports = data.get("ports", DEFAULT_PORTS)
    return Network(mode=data["mode"], name=data["name"], domains=tuple(domains), ports=ports)


def _described(rule: Allow) -> tuple[str, tuple[int, ...] | None, tuple[str, ...], str]:
    """Return a rule without its secrets."""
    return rule.host, rule.ports, tuple(sorted(rule.headers)), rule.tls
