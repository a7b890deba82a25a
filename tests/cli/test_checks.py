from __future__ import annotations

import dataclasses

import pytest

from fumehood import EngineInfo
from fumehood.cli.checks import findings, parse_version, runc_faults
from fumehood.cli.host_checks import kernel_findings, socket_findings
from fumehood.cli.self_check.ground import NotTriedError
from fumehood.cli.self_check.preflight import disk_findings, quota_findings

GOOD = EngineInfo(
    name="docker",
    version="29.6.0",
    api_version="1.52",
    architecture="amd64",
    kernel="6.12.0",
    operating_system="Debian GNU/Linux 13",
    cgroup_version="2",
    storage_driver="overlayfs",
    runtimes=("runc", "runsc"),
    default_runtime="runc",
    security_options=("name=seccomp,profile=builtin", "name=apparmor", "name=rootless"),
    memory_limit=True,
    swap_limit=True,
    pids_limit=True,
    cpu_limit=True,
    live_restore=False,
    address="unix:///var/run/docker.sock",
    components={"runc": "1.4.3"},
)


def levels(**changes: object) -> dict[str, str]:
    """The worst level of each thing that is looked at."""
    order = ["ok", "note", "warning", "problem"]
    found: dict[str, str] = {}
    for item in findings(dataclasses.replace(GOOD, **changes)):  # type: ignore[arg-type]
        found[item.what] = max(found.get(item.what, "ok"), item.level, key=order.index)
    return found


def test_a_current_engine_has_no_warning() -> None:
    assert not {"warning", "problem"} & set(levels().values())


@pytest.mark.parametrize(
    ("changes", "what", "level"),
    [
        ({"memory_limit": False}, "limits", "problem"),
        ({"swap_limit": False}, "limits", "problem"),
        ({"pids_limit": False}, "limits", "problem"),
        ({"cpu_limit": False}, "limits", "problem"),
        ({"security_options": ("name=apparmor",)}, "seccomp", "problem"),
        ({"api_version": "1.40"}, "API", "problem"),
        ({"address": "tcp://10.0.0.1:2375"}, "address", "warning"),
        ({"components": {"runc": "1.3.2"}}, "runc 1.3.2", "warning"),
        ({"version": "24.0.7", "live_restore": True}, "docker 24.0.7", "warning"),
        ({"version": "25.0.4"}, "docker 25.0.4", "warning"),
        ({"version": "29.4.1"}, "docker 29.4.1", "note"),
        ({"cgroup_version": "1"}, "cgroup", "note"),
        ({"clock_offset": 3600.0}, "clock", "note"),
        ({"clock_offset": -3600.0}, "clock", "note"),
        ({"security_options": ("name=seccomp",)}, "users", "note"),
        ({"runtimes": ("runc",)}, "runtimes", "note"),
        ({"name": "podman"}, "engine", "note"),
        ({"warnings": ("No swap limit support",)}, "engine", "note"),
    ],
)
def test_what_is_lacking_is_said(changes: dict[str, object], what: str, level: str) -> None:
    assert levels(**changes)[what] == level


def test_tls_and_ssh_are_no_plain_tcp() -> None:
    assert "address" not in levels(address="tcp://10.0.0.1:2376 with TLS")
    assert "address" not in levels(address="ssh://build")


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("20.10.24+dfsg1", (20, 10, 24)),
        ("1.41", (1, 41, 0)),
        ("v1.4.0-rc.3", (1, 4, 0, -1)),
        ("dev", None),
    ],
)
def test_a_version_is_the_numbers_at_its_front(text: str, version: tuple[int, ...] | None) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("1.1.5", 3),
        ("1.1.12", 2),
        ("1.2.8", 1),
        ("1.3.2", 2),
        ("1.3.3", 1),
        ("1.3.6", 0),
        ("1.4.0", 1),
        ("1.4.3", 0),
    ],
)
def test_each_branch_of_runc_has_its_own_fix(text: str, count: int) -> None:
    version = parse_version(text)
    assert version is not None
    assert runc_faults(version).count("fixed in") == count


@pytest.mark.parametrize(
    ("settings", "what", "level"),
    [
        ({"core_pattern": "|/usr/lib/systemd/systemd-coredump %P"}, "core dumps", "note"),
        ({"core_pattern": "|"}, "core dumps", "note"),
        ({"core_pattern": "core\n"}, "core dumps", "ok"),
        ({"dmesg_restrict": "0\n"}, "kernel log", "note"),
        ({"ptrace_scope": "0\n"}, "tracing", "note"),
        ({}, "tracing", "note"),
    ],
)
def test_what_a_session_reads_of_the_hosts_kernel(
    settings: dict[str, str], what: str, level: str
) -> None:
    assert level in [item.level for item in kernel_findings(settings) if item.what == what]


def test_settings_that_are_good_or_hidden_are_no_findings() -> None:
    assert kernel_findings({"dmesg_restrict": "1\n", "ptrace_scope": "1\n"}) == []


@pytest.mark.parametrize(
    ("mode", "level"), [(0o140666, "warning"), (0o140660, "note"), (0o140600, "ok")]
)
def test_who_may_use_the_engines_socket(mode: int, level: str) -> None:
    (found,) = socket_findings("unix:///var/run/docker.sock", mode)
    assert (found.what, found.level) == ("socket", level)


def test_a_socket_that_is_not_here_is_not_judged() -> None:
    assert socket_findings("unix:///var/run/docker.sock", None) == []
    assert socket_findings("tcp://127.0.0.1:2376 with TLS", 0o140666) == []


GIB = 1 << 30
ROOM = f"{50 * GIB} {100 * GIB} 900 1000\n"


@pytest.mark.parametrize(
    ("line", "level"),
    [
        (ROOM, "ok"),
        (f"{50 * GIB} {100 * GIB} 0 0\n", "ok"),
        (f"{GIB // 2} {2 * GIB} 900 1000\n", "warning"),
        (f"{4 * GIB} {100 * GIB} 900 1000\n", "warning"),
        (f"{50 * GIB} {100 * GIB} 49 1000\n", "warning"),
    ],
)
def test_a_disk_with_little_left_is_a_warning(line: str, level: str) -> None:
    for text in (line + ROOM, ROOM + line):
        levels = sorted(item.level for item in disk_findings(text))
        assert levels == sorted(["ok", level])


@pytest.mark.parametrize("text", ["", ROOM, ROOM * 3, "1 2 3\n" + ROOM, "a b c d\n" + ROOM])
def test_a_disk_that_was_not_measured_is_not_called_good(text: str) -> None:
    with pytest.raises(NotTriedError):
        disk_findings(text)


MOUNT = "36 35 8:1 /x {place} rw,relatime - {kind} /dev/sda1 rw,{options}\n"


@pytest.mark.parametrize(
    ("kind", "options", "level"),
    [
        ("xfs", "attr2,prjquota", "ok"),
        ("xfs", "attr2,noquota", "note"),
        ("ext4", "prjquota", "note"),
    ],
)
def test_quotas_are_known_by_the_mount_of_the_workspace(
    kind: str, options: str, level: str
) -> None:
    other = MOUNT.format(place="/", kind="xfs", options="prjquota")
    mounts = other + MOUNT.format(place="/workspace", kind=kind, options=options)
    (found,) = quota_findings(mounts, "/workspace")
    assert (found.what, found.level) == ("quotas", level)
    assert quota_findings(other + "odd\n", "/workspace") == []
