"""What is asked for is what the kernel enforces, and what happens beyond it has a type."""

from __future__ import annotations

import asyncio
import json

import pytest

from contract.adapter import PYTHON, Api
from contract.observer import Observer
from fumehood import (
    AsyncSession,
    CommandOutOfMemoryError,
    EngineUnsupportedError,
    ExecReason,
    FilePermissionError,
    InvalidRequestError,
    Limits,
    Network,
    ResourceLimitError,
    Security,
)

_TMPFS = (128 + 64 + 64) << 20  # /tmp, /dev and /dev/shm: the kernel counts them as memory

_CGROUP = """
import json, pathlib
def read(*names):
    for name in names:
        path = pathlib.Path("/sys/fs/cgroup", name)
        if path.exists():
            return path.read_text().split()
print(json.dumps({
    "memory": read("memory.max", "memory/memory.limit_in_bytes"),
    "swap": read("memory.swap.max", "memory/memory.memsw.limit_in_bytes"),
    "pids": read("pids.max", "pids/pids.max"),
    "quota": read("cpu.max", "cpu/cpu.cfs_quota_us"),
}))
"""

_FILL = """
import os, signal
def fill():
    while True:
        try:
            if os.fork() == 0:
                signal.pause()
        except BlockingIOError:
            return
fill()
print("full", flush=True)
while True:
    # Whoever ends meanwhile makes no room for anybody else.
    fill()
"""

_EAT = """
blocks = []
while True:
    blocks.append(bytearray(b"x" * (8 << 20)))
"""


async def test_the_effective_limits_are_the_kernels_own(api: Api) -> None:
    limits = Limits(
        memory_mb=200, cpus=0.5, pids=77, timeout=12, max_output_bytes=5, max_file_bytes=99,
        max_processes=3,
    )  # fmt: skip
    async with api.session(limits=limits) as session:
        found = session.effective_limits
        inside = json.loads(
            (await session.exec(["python3", "-c", _CGROUP], max_output_bytes=9999)).stdout
        )
        assert found.degraded == ()
        assert found.memory_mb == 200
        assert found.memory_total_bytes == (200 << 20) + _TMPFS == int(inside["memory"][0])
        assert found.swap_bytes == 0
        # Version 1 counts memory and swap together, version 2 swap alone.
        assert int(inside["swap"][0]) in (0, found.memory_total_bytes)
        assert found.pids == 77 == int(inside["pids"][0])
        assert found.cpus == 0.5
        assert int(inside["quota"][0]) == 50_000
        assert (found.timeout, found.max_output_bytes, found.max_file_bytes) == (12, 5, 99)
        assert found.max_processes == 3
        assert found.tmp_bytes == 128 << 20
        assert found.network == "none"
        assert found.no_new_privileges
        assert found.seccomp
        assert found.workload_capabilities == ()
        nofile = await session.shell("ulimit -Hn")
        assert int(nofile.stdout) == found.open_files <= 65_536
        assert (await session.shell("ulimit -c")).stdout == "0\n"


async def test_a_memory_hungry_command_is_a_typed_result_and_the_session_lives_on(
    api: Api,
) -> None:
    async with api.session(limits=Limits(memory_mb=64)) as session:
        for _ in range(20):
            result = await session.exec(["python3", "-c", _EAT])
            assert result.reason is ExecReason.OUT_OF_MEMORY
            assert (await session.exec(["echo", "alive"], check=True)).stdout == "alive\n"
        with pytest.raises(CommandOutOfMemoryError, match="memory_mb"):
            await session.exec(["python3", "-c", _EAT], check=True)
        # By its own hand is not out of memory.
        killed = await session.shell("kill -9 $$")
        assert killed.reason is ExecReason.SIGNALED
        assert (await session.shell("exit 137")).reason is ExecReason.EXITED


async def test_the_pids_limit_bounds_a_command_and_a_further_one_is_a_typed_error(
    api: Api,
) -> None:
    async with api.session(limits=Limits(pids=32)) as session:
        async with session.exec_stream(["python3", "-c", _FILL], timeout=None) as stream:
            await anext(stream)
            with pytest.raises(ResourceLimitError, match="pids"):
                # What is kept in readiness may still serve; who is served stays, and no room comes
                # free.
                await asyncio.gather(
                    *(session.exec(["sleep", "600"], timeout=30) for _ in range(4))
                )
            assert await session.ping() >= 0
        assert (await session.exec(["echo", "usable"], check=True)).stdout == "usable\n"


async def test_without_a_network_there_is_loopback_and_nothing_else(session: AsyncSession) -> None:
    program = """
import socket
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
print(sorted(name for _, name in socket.if_nameindex()), socket.gethostbyname("localhost"))
for address in ("1.1.1.1", "169.254.169.254", "172.17.0.1"):
    try:
        socket.create_connection((address, 53), timeout=2)
        print("reached", address)
    except OSError as error:
        print(error.errno)
"""
    result = await session.exec(["python3", "-c", program], check=True)
    first, *others = result.stdout.splitlines()
    assert "'lo'" in first
    assert "eth" not in first
    assert first.endswith("127.0.0.1")
    assert others == ["101"] * 3  # ENETUNREACH


async def test_bridge_and_named_networks_have_an_interface(api: Api, observer: Observer) -> None:
    name = api.new_id()
    await observer.call(
        "POST", "networks/create", body={"Name": name, "Internal": True, "CheckDuplicate": True}
    )
    try:
        for network in (Network.bridge(), Network.named(name)):
            async with api.session(network=network) as session:
                devices = await session.exec(["cat", "/proc/net/dev"], check=True)
                assert "eth0" in devices.stdout
                assert session.effective_limits.network == (network.name or network.mode)
    finally:
        await observer.call("DELETE", f"networks/{name}")


async def test_published_ports_are_on_loopback_only(api: Api, observer: Observer) -> None:
    async with (
        api.sandbox(network=Network.bridge()) as sandbox,
        sandbox.create_session(ports=[8000]) as session,
    ):
        serve = ["python3", "-m", "http.server", "8000"]
        async with session.exec_stream(serve, env={"PYTHONUNBUFFERED": "1"}) as stream:
            await anext(stream)
            port = session.published_ports[8000]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.0 200")
            writer.close()
            await writer.wait_closed()
        container = await observer.container(session.id)
        assert container is not None
        bindings = container["NetworkSettings"]["Ports"]["8000/tcp"]
        assert {binding["HostIp"] for binding in bindings} == {"127.0.0.1"}


@pytest.mark.parametrize("user", [None, "nonroot", 0, 4242])
async def test_granted_capabilities_are_there_for_every_user_and_no_others(
    api: Api, user: str | int | None
) -> None:
    granted = Security(workload_capabilities=("CHOWN", "NET_BIND_SERVICE"))
    async with api.session(security=granted) as session:
        assert session.effective_limits.workload_capabilities == ("CHOWN", "NET_BIND_SERVICE")
        status = await session.exec(["cat", "/proc/self/status"], user=user, check=True)
        fields = dict(line.split(":\t", 1) for line in status.stdout.splitlines() if ":\t" in line)
        assert int(fields["CapEff"], 16) == 1 << 0 | 1 << 10
        assert int(fields["CapPrm"], 16) == 1 << 0 | 1 << 10
        if user is None:
            await session.shell("touch f && chown 7:7 f", check=True)


async def test_root_tools_let_root_make_a_user_who_can_be_run_as(api: Api) -> None:
    async with api.session(security=Security.root_tools()) as session:
        await session.exec(["adduser", "--disabled-password", "--comment", "", "guest"], check=True)
        await session.shell("touch f && chown guest f", check=True)
        assert (await session.exec(["whoami"], user="guest", check=True)).stdout == "guest\n"
        assert (await session.exec(["stat", "-c", "%U", "f"], check=True)).stdout == "guest\n"


async def test_a_read_only_root_leaves_the_workspace_and_tmp_writable(api: Api) -> None:
    async with api.session(security=Security(readonly_rootfs=True)) as session:
        assert session.effective_limits.readonly_rootfs
        assert not (await session.shell("touch /usr/x")).ok
        await session.shell("touch /tmp/x x", check=True)
        with pytest.raises(FilePermissionError):
            await session.write_file("usr/x", "", root="/")


async def test_a_seccomp_profile_of_the_callers_is_in_force(api: Api) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
    }
    # The engine's own profile, less one thing, is what a caller would send; a small one that allows
    # nothing shows that it is ours that counts: not even the supervisor comes up.
    async with api.sandbox(security=Security(seccomp=json.dumps(profile))) as sandbox:
        with pytest.raises(Exception, match="session"):
            await sandbox.create_session()


async def test_what_the_engine_cannot_give_is_refused_before_anything_is_created(
    api: Api, observer: Observer
) -> None:
    name = api.new_id()
    async with api.sandbox(PYTHON, security=Security(runtime="no-such-runtime")) as sandbox:
        with pytest.raises(EngineUnsupportedError):
            await sandbox.create_session(id=name)
    assert await observer.container(name) is None


async def test_ports_need_a_network(api: Api) -> None:
    async with api.sandbox() as sandbox:
        with pytest.raises(InvalidRequestError, match="network"):
            await sandbox.create_session(ports=[80])
