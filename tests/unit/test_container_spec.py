"""The container of a session is a pure function of its request: golden bodies and refusals.

A golden file is made anew with ``FUMEHOOD_WRITE_GOLDEN=1``; the difference is for a person to read.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from fumehood._settings import new_session_id
from fumehood.engines import container_spec, labels
from fumehood.engines.base import Image, SessionRequest
from fumehood.engines.container_spec import EngineFacts
from fumehood.errors import ImageRefusedError, InvalidRequestError
from fumehood.options import MIB, Limits, Network, Security, check_name
from fumehood.volumes import Volume

GOLDEN = Path(__file__).parent / "golden" / "container_spec"

IMAGE = Image(
    id="sha256:" + "1" * 64,
    reference="python:3.13-slim",
    user="app",
    env=(("PATH", "/usr/bin"), ("SECRET_OF_THE_IMAGE", "x")),
    workdir="/srv/app",
    architecture="amd64",
)
REQUEST = SessionRequest(
    session_id="s-1",
    nonce="ab" * 32,
    image=IMAGE,
    workdir="/workspace",
    network=Network.none(),
    limits=Limits(),
    security=Security(),
)
FACTS = EngineFacts(
    version="0.1.0",
    supervisor_volume="fumehood-supervisor-0123456789abcdef-amd64",
    supervisor_digest="0123456789abcdef" * 4,
)
SECCOMP = '{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []}'

CASES: dict[str, tuple[SessionRequest, EngineFacts]] = {
    "default": (REQUEST, FACTS),
    "everything": (
        replace(
            REQUEST,
            session_id="user-42.run_7",
            network=Network.named("agents"),
            limits=Limits(memory_mb=1024, cpus=0.25, pids=64),
            security=Security(
                readonly_rootfs=True,
                workload_capabilities=("NET_BIND_SERVICE", "CAP_DAC_OVERRIDE"),
                seccomp=SECCOMP,
                runtime="runsc",
            ),
            workspace_id="user-42",
            destroy_workspace=True,
            ttl=600.0,
            idle_timeout=60.5,
            detached=True,
            owner="me@host:1",
            labels={"team": "a"},
            metadata={"task": "grüße", "n": "1"},
            ports=(8000, 9000),
            volumes=(Volume("datasets", "/data"), Volume("cache", "/srv/cache", read_only=False)),
            platform="linux/arm64",
        ),
        replace(FACTS, sysctls=False, masked_paths=("/proc/interrupts", "/proc/kcore")),
    ),
    "workspace_quota": (replace(REQUEST, limits=Limits(workspace_mb=64)), FACTS),
    "workspace_quota_on_xfs": (
        replace(REQUEST, limits=Limits(workspace_mb=4096)),
        replace(FACTS, disk_quotas=True),
    ),
    "root_workload_on_bridge": (
        replace(REQUEST, network=Network.bridge(), chown_workspace=False, ports=(8080,)),
        FACTS,
    ),
    "hostile_image_labels": (
        replace(
            REQUEST,
            image=replace(
                IMAGE, reserved_labels=("fumehood", "fumehood.session", "fumehood.unknown")
            ),
        ),
        FACTS,
    ),
}


@pytest.mark.parametrize("case", sorted(CASES))
def test_a_request_becomes_exactly_this_body(case: str) -> None:
    request, facts = CASES[case]
    spec = container_spec.build(request, facts)
    made = json.dumps(
        container_spec.container_json(spec), indent=2, sort_keys=True, ensure_ascii=False
    )
    path = GOLDEN / f"{case}.json"
    if os.environ.get("FUMEHOOD_WRITE_GOLDEN"):
        path.write_text(made + "\n")
    assert made + "\n" == path.read_text()


def test_every_golden_file_belongs_to_a_case() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(CASES)


def body(**changes: Any) -> dict[str, Any]:
    request = replace(REQUEST, **changes)
    return cast("dict[str, Any]", container_spec.build(request, FACTS).body)


def test_the_same_request_gives_the_same_bytes_each_time() -> None:
    first, second = (json.dumps(body(metadata={"b": "2", "a": "1"})) for _ in range(2))
    assert first == second


def test_the_kernel_limit_is_the_callers_memory_plus_every_memory_backed_directory() -> None:
    plain = body(limits=Limits(memory_mb=512))["HostConfig"]
    quota = body(limits=Limits(memory_mb=512, workspace_mb=100))["HostConfig"]
    assert plain["Memory"] == plain["MemorySwap"] == (512 + 128 + 64 + 64) * MIB
    assert quota["Memory"] == quota["MemorySwap"] == (512 + 128 + 64 + 64 + 100) * MIB


def test_a_quota_is_the_disks_only_where_it_is_large_and_the_disk_can_hold_it() -> None:
    for quota, disk_quotas, on_disk in (
        (container_spec.MEMORY_QUOTA_MB, True, False),
        (container_spec.MEMORY_QUOTA_MB + 1, True, True),
        (container_spec.MEMORY_QUOTA_MB + 1, False, False),
        (None, True, False),
    ):
        request = replace(REQUEST, limits=Limits(memory_mb=512, workspace_mb=quota))
        facts = replace(FACTS, disk_quotas=disk_quotas)
        assert container_spec.quota_on_disk(request, facts) is on_disk
        in_memory = 0 if on_disk else quota or 0
        assert container_spec.memory_bytes(request, facts) == (
            (512 + 128 + 64 + 64 + in_memory) * MIB
        )


def test_pid_1_has_three_capabilities_and_chown_only_for_the_workspace() -> None:
    assert body(chown_workspace=False)["HostConfig"]["CapAdd"] == ["KILL", "SETGID", "SETUID"]
    assert body()["HostConfig"]["CapAdd"] == ["CHOWN", "KILL", "SETGID", "SETUID"]
    assert body()["HostConfig"]["CapDrop"] == ["ALL"]


def test_nothing_of_the_caller_or_the_image_is_in_the_containers_environment() -> None:
    assert body()["Env"] == []


def test_the_nonce_is_in_one_label_of_the_container_and_in_no_volume() -> None:
    text = json.dumps(body(workspace_id="w"))
    assert text.count(REQUEST.nonce) == 1
    assert body()["Labels"][labels.NONCE] == REQUEST.nonce


def test_labels_of_our_prefix_that_an_image_brings_are_blanked_out() -> None:
    image = replace(IMAGE, reserved_labels=("fumehood.session", "fumehood.surprise"))
    made = body(image=image)["Labels"]
    assert made["fumehood.surprise"] == ""
    assert made["fumehood.session"] == "s-1"


def test_every_label_that_we_read_is_set_so_that_no_image_can_set_it() -> None:
    read = {
        value
        for name, value in vars(labels).items()
        if name.isupper() and isinstance(value, str) and labels.is_reserved(value)
    }
    others = {labels.TOKEN, labels.SUPERVISOR, labels.INSTALL, labels.COPY}
    # Read on containers that have a name of another form alone.
    others |= {labels.HELD, labels.TOKEN_HELD, labels.SNAPSHOT, labels.ORIGIN, labels.EXPIRES}
    others.add(labels.TAKEN)
    assert read - others <= set(body()["Labels"])


def test_callers_labels_cannot_replace_ours() -> None:
    made = body(labels={"fumehood.session": "another", "mine": "1"})["Labels"]
    assert made["fumehood.session"] == "s-1"
    assert made["mine"] == "1"


def test_ports_are_published_on_the_loopback_address_alone() -> None:
    made = body(network=Network.bridge(), ports=(80,))
    assert made["HostConfig"]["PortBindings"] == {
        "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]
    }
    assert made["HostConfig"]["PublishAllPorts"] is False


def test_different_ids_never_share_a_name() -> None:
    ids = ["a", "a-b", "a.b", "a_b", "ws-a", "supervisor-a"]
    names = [container_spec.container_name(name) for name in ids]
    names += [container_spec.workspace_volume(name) for name in ids]
    # Containers and volumes are different things on an engine: compare within each.
    assert len(set(names[: len(ids)])) == len(set(names[len(ids) :])) == len(ids)


def test_an_allow_list_changes_nothing_of_the_container() -> None:
    # What it lets through goes over the tether.
    allowed = replace(REQUEST, network=Network.allow("example.org"))
    assert container_spec.build(allowed, FACTS) == container_spec.build(REQUEST, FACTS)


REFUSED: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("ports without a network", {"ports": (80,)}, InvalidRequestError, "without a network"),
    (
        "ports with an allow-list",
        {"network": Network.allow("example.org"), "ports": (80,)},
        InvalidRequestError,
        "without a network",
    ),
    (
        "a port out of range",
        {"network": Network.bridge(), "ports": (70_000,)},
        InvalidRequestError,
        "70000",
    ),
    *(
        (
            f"a volume at {target}",
            {"volumes": (Volume("datasets", target),)},
            InvalidRequestError,
            "is taken",
        )
        for target in (
            "/workspace",
            "/workspace/data",
            "/.fumehood/x",
            "/.fumehood",
            "/proc/1",
            "/sys",
            "/dev/shm",
            "/tmp",
            "/tmp/data",
        )
    ),
    (
        "a volume around the workspace",
        {"workdir": "/srv/work", "volumes": (Volume("datasets", "/srv"),)},
        InvalidRequestError,
        "/srv/work is taken",
    ),
    (
        "a quota of a persistent workspace",
        {"workspace_id": "w", "limits": Limits(workspace_mb=8)},
        InvalidRequestError,
        "ephemeral",
    ),
    (
        "a workspace over the supervisor",
        {"workdir": "/.fumehood/x"},
        InvalidRequestError,
        "/.fumehood",
    ),
    ("a workspace in /proc", {"workdir": "/proc/1"}, InvalidRequestError, "/proc"),
    ("a workspace at /dev", {"workdir": "/dev"}, InvalidRequestError, "/dev"),
    ("a workspace at /tmp", {"workdir": "/tmp"}, InvalidRequestError, "/tmp"),
    (
        "an image with a volume",
        {"image": replace(IMAGE, volumes=("/var/lib/data",))},
        ImageRefusedError,
        "/var/lib/data",
    ),
]


@pytest.mark.parametrize("what,changes,error,says", REFUSED, ids=[what for what, *_ in REFUSED])
def test_it_is_refused_before_anything_is_created(
    what: str, changes: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        container_spec.build(replace(REQUEST, **changes), FACTS)


@pytest.mark.parametrize("volume", ["/workspace", "/workspace/"])
def test_an_images_volume_at_the_workspace_is_the_workspace(volume: str) -> None:
    container_spec.build(replace(REQUEST, image=replace(IMAGE, volumes=(volume,))), FACTS)


@pytest.mark.parametrize("workdir", ["/tmp/work", "/devel", "/process", "/srv"])
def test_directories_that_only_look_taken_are_free(workdir: str) -> None:
    assert body(workdir=workdir)["Labels"][labels.WORKDIR] == workdir


# The table of the hardened profile: what must be explicit, whatever the engine's own default is.
PROFILE: list[tuple[str, object]] = [
    ("Entrypoint", ["/.fumehood/supervisor"]),
    ("Cmd", []),
    ("User", "0:0"),
    ("WorkingDir", "/"),
    ("Tty", False),
    ("OpenStdin", True),
    ("StdinOnce", True),
    ("AttachStdin", True),
    ("AttachStdout", True),
    ("AttachStderr", True),
    ("Healthcheck", {"Test": ["NONE"]}),
    ("StopSignal", "SIGTERM"),
    ("StopTimeout", 3),
    ("NetworkDisabled", True),
    ("ExposedPorts", {}),
    ("HostConfig.AutoRemove", True),
    ("HostConfig.RestartPolicy", {"Name": "no", "MaximumRetryCount": 0}),
    ("HostConfig.SecurityOpt", ["no-new-privileges"]),
    ("HostConfig.Privileged", False),
    ("HostConfig.NetworkMode", "none"),
    ("HostConfig.PidMode", ""),
    ("HostConfig.UTSMode", ""),
    ("HostConfig.UsernsMode", ""),
    ("HostConfig.IpcMode", "private"),
    ("HostConfig.CgroupnsMode", "private"),
    ("HostConfig.ReadonlyRootfs", False),
    ("HostConfig.ShmSize", 64 * MIB),
    ("HostConfig.OomScoreAdj", 500),
    ("HostConfig.PidsLimit", 512),
    ("HostConfig.NanoCpus", 1_000_000_000),
    ("HostConfig.CpuShares", 512),
    ("HostConfig.Ulimits", [{"Name": "core", "Soft": 0, "Hard": 0}]),
    ("HostConfig.LogConfig", {"Type": "none", "Config": {}}),
    ("HostConfig.Init", False),
    ("HostConfig.Runtime", ""),
    (
        "HostConfig.Sysctls",
        {
            "kernel.shm_rmid_forced": "1",
            "kernel.msgmni": "16",
            "kernel.sem": "250 32000 100 128",
        },
    ),
]


@pytest.mark.parametrize("field,value", PROFILE, ids=[field for field, _ in PROFILE])
def test_the_hardened_profile_is_explicit(field: str, value: object) -> None:
    found: Any = body()
    for part in field.split("."):
        found = found[part]
    assert found == value


@pytest.mark.parametrize(
    "field", ["Binds", "VolumesFrom", "Devices", "DeviceRequests", "GroupAdd", "Links", "Dns"]
)
def test_what_opens_the_host_is_never_sent(field: str) -> None:
    for request, facts in CASES.values():
        sent = cast("dict[str, Any]", container_spec.build(request, facts).body)
        assert field not in sent["HostConfig"]
        mounts = sent["HostConfig"]["Mounts"]
        assert {mount["Type"] for mount in mounts} == {"volume"}


def test_a_container_that_waits_has_a_name_that_no_session_can_have() -> None:
    waiting = new_session_id()
    assert container_spec.is_pool_id(waiting)
    name = container_spec.build(replace(REQUEST, session_id=waiting, warm=True), FACTS).name
    assert name.startswith(container_spec.container_name(""))
    with pytest.raises(InvalidRequestError):
        check_name(name.removeprefix(container_spec.container_name("")), "session id")
