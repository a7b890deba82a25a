"""Options, names and programs that want more than they may have, or that are none."""

from __future__ import annotations

import functools
import inspect
import math
import secrets
from collections.abc import Callable
from decimal import Decimal
from typing import Any, cast

import pytest

from cases.mark import case
from contract.observer import Observer
from fumehood import (
    AsyncDockerSandbox,
    DockerSandbox,
    EngineError,
    InvalidRequestError,
    Lifecycle,
    Limits,
    Manifest,
    Network,
    SandboxError,
    Security,
    Volume,
    Workspace,
)
from fumehood.options import GRANTABLE_CAPABILITIES
from hostile.arena import KINDS, Arena
from hostile.conftest import OpenArena

PROFILE = "An image's entrypoint, health check and labels have no effect"
LIMITS = "Memory without swap, CPU and pids as asked for, read back from the kernel"
SUPERVISOR = "The workload cannot stop, trace or speak as the supervisor"
MIB = 1 << 20

# --- options that would open the sandbox ------------------------------------------------------

_OPENINGS = """
    privileged pid pid_mode ipc ipc_mode uts_mode userns userns_mode cgroupns cgroup_parent
    network_mode net binds volumes_from mounts bind devices device_requests
    device_cgroup_rules gpus cap_add capabilities security_opt sysctls ulimits links
    group_add extra_hosts dns host_config entrypoint command init restart_policy auto_remove
    log_config oom_kill_disable oom_score_adj read_only tmpfs shm_size masked_paths
    readonly_paths no_new_privileges i_accept_no_isolation
"""


@case("H49", PROFILE)
async def test_there_is_no_option_that_opens_the_sandbox() -> None:
    makers: tuple[Callable[..., object], ...] = (
        AsyncDockerSandbox, AsyncDockerSandbox.python, DockerSandbox, Limits, Network, Security,
        Lifecycle, Workspace, Manifest, AsyncDockerSandbox().create_session,
    )  # fmt: skip
    for make in makers:
        for name in _OPENINGS.split():
            with pytest.raises(TypeError, match=name):
                make(**{name: True})


@case("H49", PROFILE)
async def test_every_option_that_there_is_was_thought_about() -> None:
    # A new one belongs here once it is known what a hostile value of it does.
    assert set(inspect.signature(AsyncDockerSandbox).parameters) == {
        "image", "pull", "workdir", "workspace", "lifecycle", "network", "limits", "security",
        "env", "user", "labels", "hooks", "platform", "progress", "docker_host", "volumes",
        "pool",
    }  # fmt: skip
    assert set(inspect.signature(Volume).parameters) == {"name", "target", "read_only"}
    assert set(inspect.signature(Security).parameters) == {
        "readonly_rootfs", "workload_capabilities", "seccomp", "runtime",
    }  # fmt: skip
    assert set(inspect.signature(Network).parameters) == {"mode", "name", "domains", "ports"}
    assert set(inspect.signature(AsyncDockerSandbox.create_session).parameters) == {
        "self", "id", "workspace", "manifest", "metadata", "ports", "volumes", "from_snapshot",
    }  # fmt: skip


DENIES = '"defaultAction": "SCMP_ACT_ERRNO"'
ALLOWS = '"defaultAction": "SCMP_ACT_ALLOW"'


def json_refused(text: str) -> Callable[[], object]:
    """Return what makes a Security with a seccomp profile."""
    return lambda: Security(seccomp=text)


OPEN_VALUES: dict[str, Callable[[], object]] = {
    "the host's network": lambda: Network.named("host"),
    "another container's network": lambda: Network.named("container:x"),
    "a mode that is none": lambda: Network(mode="host"),  # type: ignore[arg-type]
    "SYS_ADMIN": lambda: Security(workload_capabilities=("SYS_ADMIN",)),
    "ALL": lambda: Security(workload_capabilities=("ALL",)),
    "cap_sys_ptrace": lambda: Security(workload_capabilities=("cap_sys_ptrace",)),
    "unconfined": json_refused("unconfined"),
    "allowed by default": json_refused(f"{{{ALLOWS}}}"),
    "allowed by a later key": json_refused(f"{{{DENIES}, {ALLOWS}}}"),
    # The engine's reader takes keys in any case, and the last of them counts.
    "allowed by a key in another case": json_refused(
        f"{{{DENIES}, {ALLOWS.replace('defaultAction', 'DefaultAction')}}}"
    ),
    "allowed by a key in upper case": json_refused(
        f"{{{DENIES}, {ALLOWS.replace('defaultAction', 'DEFAULTACTION')}}}"
    ),
    "logged by default": json_refused('{"defaultAction": "SCMP_ACT_LOG"}'),
    # A command may trace another, and let all pass.
    "left to a tracer": json_refused('{"defaultAction": "SCMP_ACT_TRACE"}'),
    "left to a listener": json_refused('{"defaultAction": "SCMP_ACT_NOTIFY"}'),
    "left to what nobody knows": json_refused('{"defaultAction": "SCMP_ACT_WHATEVER"}'),
    "the root as a workspace": lambda: AsyncDockerSandbox(workdir="/"),
    "the way up as a workspace": lambda: AsyncDockerSandbox(workdir="/a/../../etc"),
    "the supervisor's uid": lambda: AsyncDockerSandbox(user=64999),
    "the supervisor's gid": lambda: AsyncDockerSandbox(user="0:64999"),
    "our label": lambda: AsyncDockerSandbox(labels={"fumehood.session": "x"}),
    "a directory of the host as a volume": lambda: Volume("/etc", "/data"),
    "a mount as a volume": lambda: Volume("data:/h", "/data"),
    "the supervisor's own volume": lambda: Volume("fumehood-supervisor-x", "/data"),
    "the way up as a directory": lambda: Volume("data", "/data/../.."),
    "volumes in the engine's own words": lambda: AsyncDockerSandbox(
        volumes=["/:/host"]  # type: ignore[list-item]
    ),
    "a volume in an id": lambda: Workspace.persistent("/:/host"),
    "an option as an image": lambda: AsyncDockerSandbox(image="--privileged"),
    "a mount as an image": lambda: AsyncDockerSandbox(image="-v/:/h"),
}


def refusal(make: Callable[[], object]) -> str | None:
    """Return what a refusal says, None for what is taken; anything else is a failure."""
    try:
        make()
    except InvalidRequestError as error:
        return str(error)
    return None


@case("H49", PROFILE)
async def test_a_value_that_opens_the_sandbox_is_refused_at_once() -> None:
    taken = [name for name, make in OPEN_VALUES.items() if refusal(make) is None]
    assert taken == []


TAKEN = (
    "/proc", "/proc/sys", "/sys", "/sys/fs/cgroup", "/dev", "/dev/shm", "/.fumehood",
    "/.fumehood/supervisor", "/tmp",
)  # fmt: skip


@case("H49", PROFILE)
async def test_the_workspace_takes_no_place_of_the_kernels_or_ours(open_arena: OpenArena) -> None:
    for place in TAKEN:
        with pytest.raises(InvalidRequestError, match=place):
            async with open_arena(KINDS[2], workdir=place):
                pass


@case("H49", PROFILE)
async def test_no_network_of_the_engines_own_is_joined_by_another_of_its_names(
    open_arena: OpenArena, observer: Observer
) -> None:
    known = {item["Name"]: item["Id"] for item in await observer.call("GET", "networks")}
    for name in (known["host"], known["host"][:12], known["none"], known["bridge"][:20]):
        with pytest.raises(EngineError):
            async with open_arena(KINDS[2], network=Network.named(name)):
                pass


@case("H49", PROFILE)
async def test_the_widest_session_that_can_be_asked_for_is_still_a_narrow_container(
    open_arena: OpenArena, observer: Observer
) -> None:
    widest = Security(workload_capabilities=GRANTABLE_CAPABILITIES)
    async with open_arena(
        KINDS[0], security=widest, network=Network.bridge(), user="root"
    ) as arena:
        found = await observer.container(arena.session.id)
    assert found is not None
    host = found["HostConfig"]
    assert host["Privileged"] is False
    empty = (
        "Binds",
        "VolumesFrom",
        "Devices",
        "DeviceRequests",
        "DeviceCgroupRules",
        "GroupAdd",
        "Links",
    )
    assert [name for name in empty if host[name]] == []
    spaces = {name: host[name] for name in ("PidMode", "UTSMode", "UsernsMode", "IpcMode")}
    assert spaces == {"PidMode": "", "UTSMode": "", "UsernsMode": "", "IpcMode": "private"}
    assert (host["NetworkMode"], host["CapDrop"]) == ("bridge", ["ALL"])
    assert set(host["CapAdd"]) == {*GRANTABLE_CAPABILITIES, "KILL"}
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert {mount["Type"] for mount in found["Mounts"]} == {"volume"}
    assert {mount["Destination"]: mount["RW"] for mount in found["Mounts"]} == {
        "/.fumehood": False,
        "/workspace": True,
    }
    assert not host["OomKillDisable"]


# --- names and texts --------------------------------------------------------------------------

SPELLS = (
    "$(id)", "`id`", "'; touch /tmp/x; '", "{{.Config}}", "%s%n", "-v/:/h", "--privileged",
    "../../etc", '"}, "Privileged": true, {"', "\u202eevil", "grüße 🙂",
)  # fmt: skip


@case("H53", PROFILE)
async def test_hostile_labels_and_metadata_are_text(
    open_arena: OpenArena, observer: Observer, prefix: str
) -> None:
    labels = {f"team/{number}": spell for number, spell in enumerate(SPELLS)}
    name = f"{prefix}-{secrets.token_hex(4)}"
    async with (
        AsyncDockerSandbox(image=KINDS[2].image, pull="never", labels=labels) as sandbox,
        sandbox.create_session(id=name, metadata=labels) as session,
    ):
        found = await observer.container(name)
        assert found is not None
        assert found["HostConfig"]["Privileged"] is False
        assert {key: found["Config"]["Labels"][key] for key in labels} == labels
        listed = {info.id: info for info in await sandbox.list_sessions()}
        assert listed[name].metadata == session.metadata == labels


@case("H53", PROFILE)
async def test_huge_names_are_refused_without_being_shown(open_arena: OpenArena) -> None:
    huge = "x" * MIB
    makers: tuple[Callable[[], object], ...] = (
        lambda: AsyncDockerSandbox(image=huge),
        lambda: AsyncDockerSandbox(workdir="/" + huge),
        lambda: AsyncDockerSandbox(user=huge),
        lambda: AsyncDockerSandbox(labels={"a": huge}),
        lambda: AsyncDockerSandbox(labels={huge: "a"}),
        lambda: AsyncDockerSandbox(labels={f"a{n}": "" for n in range(100_000)}),
        lambda: AsyncDockerSandbox(env={huge + "=": ""}),
        lambda: AsyncDockerSandbox(env={"A": huge}),
        lambda: AsyncDockerSandbox().create_session(id=huge),
        lambda: AsyncDockerSandbox().create_session(metadata={"a": huge}),
        lambda: AsyncDockerSandbox().connect(huge),
        lambda: Workspace.persistent(huge),
        lambda: Network.named(huge),
        lambda: Security(runtime=huge),
    )
    for make in makers:
        with pytest.raises(InvalidRequestError) as caught:
            make()
        assert len(str(caught.value)) < 500


@case("H53", PROFILE)
async def test_hostile_environments_and_arguments_arrive_as_they_are(arena: Arena) -> None:
    program = await arena.bring("echo")
    odd = [*SPELLS, "", " ", "\n", "\x1b]0;title\x07", "a=b", "\udcff\udcfe", "x" * 100_000]
    done = await arena.session.exec([program, *odd], check=True)
    assert done.stdout_bytes.split(b"\0")[:-1] == [
        text.encode("utf-8", "surrogateescape") for text in odd
    ]
    env = {f"V{number}": text for number, text in enumerate(odd)}
    # What a loader, a shell or Python would obey means nothing to the supervisor.
    env |= {"LD_PRELOAD": "/workspace/x.so", "PATH": "", "IFS": "/", "FUMEHOOD_SUPERVISOR": "/x"}
    done = await arena.session.exec([program, "env"], env=env, check=True)
    seen = dict(entry.split(b"=", 1) for entry in done.stdout_bytes.split(b"\0")[:-1])
    for name, text in env.items():
        assert seen[name.encode()] == text.encode("utf-8", "surrogateescape")


@case("H53", PROFILE)
@pytest.mark.slow
async def test_a_mebibyte_of_arguments_and_two_hundred_thousand_of_them_arrive(
    arena: Arena,
) -> None:
    program = await arena.bring("echo")
    long = [secrets.token_hex(65_000) for _ in range(8)]
    many = [str(number % 10) for number in range(200_000)]
    for arguments in (long, many):
        done = await arena.session.exec([program, *arguments], check=True, max_output_bytes=4 * MIB)
        assert done.stdout_bytes == b"".join(text.encode() + b"\0" for text in arguments)
    with pytest.raises(InvalidRequestError):
        await arena.session.exec([program, *many, *many])
    assert await arena.alive()


# --- limits -----------------------------------------------------------------------------------

ODD: tuple[Any, ...] = (
    0, -1, 1, 1e-9, 0.5, 2**31, 2**63, 2**64, 10**400, -(2**63), math.nan, math.inf, -math.inf,
    True, None, "", "1", "1g", b"1", [], [1], {}, Decimal(1), 1j, object(), Limits, "x" * MIB,
)  # fmt: skip


@case("H56", LIMITS)
@pytest.mark.parametrize("kind", [Limits, Lifecycle])
async def test_an_odd_limit_is_refused_or_a_number_that_means_itself(kind: type) -> None:
    for name in inspect.signature(kind).parameters:
        for value in ODD:
            said = refusal(functools.partial(kind, **{name: value}))
            if said is not None:
                assert len(said) < 500, (name, value)
                continue
            found = getattr(kind(**{name: value}), name)
            assert found == value, (name, value)
            assert found is None or isinstance(found, (bool, int, float))


SMALLEST = Limits(
    timeout=0.001,
    max_output_bytes=0,
    max_file_bytes=0,
    memory_mb=16,
    cpus=0.01,
    pids=16,
    max_processes=0,
    workspace_mb=1,
)


@case("H56", LIMITS)
@pytest.mark.slow
async def test_the_smallest_limits_are_enforced_and_not_none(open_arena: OpenArena) -> None:
    for kind in KINDS:
        async with open_arena(kind, limits=SMALLEST) as arena:
            session = arena.session
            found = session.effective_limits
            assert found.degraded == ()
            assert (found.memory_mb, found.pids, found.swap_bytes) == (16, 16, 0)
            assert found.cpus == pytest.approx(0.01)
            assert (found.timeout, found.max_output_bytes) == (0.001, 0)
            assert (found.max_file_bytes, found.workspace_bytes) == (0, MIB)
            # 0 bytes are none, and not "without a limit".
            with pytest.raises(SandboxError):
                await session.write_file("x", b"x")
            await session.write_file("empty", b"")


@case("H56", LIMITS)
@pytest.mark.slow
@pytest.mark.parametrize(
    "limits",
    [
        Limits(memory_mb=1 << 24, pids=1 << 20),
        Limits(workspace_mb=1 << 20),
        Limits(timeout=10 * 365 * 86_400.0, max_output_bytes=1 << 40, max_file_bytes=1 << 50),
    ],
    ids=["memory", "workspace", "client"],
)
async def test_the_largest_limits_hold(open_arena: OpenArena, limits: Limits) -> None:
    async with open_arena(KINDS[2], limits=limits) as arena:
        assert arena.session.effective_limits.degraded == ()
        await arena.session.exec(["true"], check=True)


@case("H56", LIMITS)
async def test_more_processors_than_there_are_is_refused_by_the_engine(
    open_arena: OpenArena,
) -> None:
    with pytest.raises(EngineError, match=r"(?i)cpu"):
        async with open_arena(KINDS[2], limits=Limits(cpus=4096)):
            pass


# --- ports ------------------------------------------------------------------------------------

PORTS = "Published ports are on loopback only"


@case("H51", PORTS)
async def test_a_port_is_a_number_and_says_nothing_of_where_it_is_open(
    observer: Observer, prefix: str
) -> None:
    odd: list[Any] = ["", "80", "0.0.0.0:80", "[::]:80", b"80", (80, 80), True, 80.5, -1, 0, 65_536]
    name = f"{prefix}-ports"
    async with AsyncDockerSandbox(
        image=KINDS[3].image, pull="never", network=Network.bridge()
    ) as sandbox:
        for port in odd:
            with pytest.raises(InvalidRequestError):
                await sandbox.create_session(id=name, ports=[port])
        for ports in ("80", b"80", 80, {"80": 80}):
            with pytest.raises(InvalidRequestError):
                await sandbox.create_session(id=name, ports=cast("Any", ports))
        assert await observer.container(name) is None
        async with sandbox.create_session(id=name, ports=[80, 65_535]) as session:
            container = await observer.container(name)
            assert container is not None
            bindings = container["NetworkSettings"]["Ports"]
            assert set(bindings) == {"80/tcp", "65535/tcp"}
            assert {each["HostIp"] for all_ in bindings.values() for each in all_} == {"127.0.0.1"}
            assert set(session.published_ports) == {80, 65_535}


@case("H51", PORTS)
async def test_a_session_without_a_network_publishes_nothing(
    observer: Observer, prefix: str
) -> None:
    name = f"{prefix}-ports"
    async with AsyncDockerSandbox(image=KINDS[3].image, pull="never") as sandbox:
        with pytest.raises(InvalidRequestError):
            await sandbox.create_session(id=name, ports=[80])
    assert await observer.container(name) is None
