"""Attacks on process 1: signals, its memory, its descriptors, its program, its stream."""

from __future__ import annotations

import asyncio
import contextlib
import platform
import secrets
import time
from collections.abc import Iterable

import pytest

from cases.mark import case
from contract.observer import Observer
from fumehood._supervisor import binary
from fumehood._wire import codec
from fumehood._wire.table import ExecCode, Field, Frame
from fumehood.engines import labels
from fumehood.engines.container_spec import SUPERVISOR_PATH
from hostile.arena import Arena
from hostile.trees import PATIENCE, SOON, STARVED, begun, workload

SUPERVISOR = "The workload cannot stop, trace or speak as the supervisor"
OTHER = 4242
"""A user that no image knows, beside the one of the attack."""

FORGED_EXIT: dict[Field, int | bytes | str | Iterable[bytes | str]] = {
    Field.REASON: int(ExecCode.EXITED),
    Field.EXIT_CODE: 66,
    Field.SIGNAL: 0,
    Field.DURATION_US: 1,
    Field.STDOUT_TOTAL: 6,
    Field.STDERR_TOTAL: 0,
    Field.KILLED: 0,
    Field.LEFT_RUNNING: 0,
}


@pytest.fixture(scope="session")
def built() -> bytes:
    """The supervisor's program as this machine has it."""
    return binary.load("arm64" if platform.machine() == "aarch64" else "amd64").data


@case("H01", SUPERVISOR)
async def test_no_signal_stops_the_supervisor(arena: Arena) -> None:
    done = await arena.attack("signals", check=True)
    # Process 1 is of another user: not even root without capabilities may signal it.
    assert done.stdout == "64 refused\n"
    assert await arena.alive()


@case("H02", SUPERVISOR)
@pytest.mark.timeout(60)
async def test_a_flood_of_signals_changes_nothing(arena: Arena) -> None:
    done = await arena.attack("signals", "15625", check=True)
    assert done.stdout == "1000000 refused\n"
    assert await arena.alive()


@case("H03", SUPERVISOR)
async def test_nothing_can_be_done_to_the_supervisors_processes(arena: Arena) -> None:
    done = await arena.attack("matrix", "supervisor", check=True)
    *allowed, summary = done.stdout.splitlines()
    assert allowed == []
    probes, _, _, processes, _ = summary.split()
    # Process 1 and the reaper of this very command at least.
    assert int(processes) >= 2
    assert int(probes) > 400 * int(processes)
    # The same probes find something where nothing is in their way.
    done = await arena.attack("matrix", "child", check=True)
    assert len(done.stdout.splitlines()) > 40
    assert await arena.alive()


@case("H07", SUPERVISOR)
async def test_no_secret_of_the_client_or_of_another_user_is_to_be_found(
    arena: Arena, observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, others, clients, typed = (secrets.token_hex(16) for _ in range(4))
    monkeypatch.setenv("FUMEHOOD_CANARY", clients)
    container = await observer.container(arena.session.id)
    assert container is not None
    nonce = container["Config"]["Labels"][labels.NONCE]
    tree = await arena.bring("tree")
    search = await arena.bring("secrets")
    async with contextlib.AsyncExitStack() as stack:
        for user, env, input in ((None, mine, None), (OTHER, others, typed)):
            stream = await begun(
                arena, [tree, "sleeping"], user=user, env={"SECRET": env}, input=input
            )
            await stack.enter_async_context(stream)
        words = "\n".join((mine, others, typed, clients, nonce))
        found = await arena.session.exec([search], input=words, timeout=PATIENCE, check=True)
    # A command's environment is its own user's to read: the search does work.
    assert [int(line) > 0 for line in found.stdout.splitlines()] == [True] + [False] * 4


@case("H08", SUPERVISOR)
async def test_a_command_inherits_its_three_descriptors_and_no_others(arena: Arena) -> None:
    program = await arena.bring("descriptors")
    tree = await arena.bring("tree")
    expected = "0 device\n1 pipe\n2 pipe\n"
    assert (await arena.session.exec([program], check=True)).stdout == expected
    async with await begun(arena, [tree, "sleeping"], input="x"):
        for _ in range(20):
            results = await asyncio.gather(
                *(arena.session.exec([program], check=True) for _ in range(4)),
                arena.session.write_file("written", bytes(100_000)),
                arena.session.exec([program], input="x", check=True),
            )
            assert [result.stdout for result in results[:4] if result] == [expected] * 4
            with_input = results[5]
            assert with_input is not None
            assert with_input.stdout == "0 pipe\n1 pipe\n2 pipe\n"


@case("H09", SUPERVISOR)
async def test_nobody_speaks_as_the_supervisor(arena: Arena) -> None:
    forged = b"".join(
        codec.encode_frame(Frame.STDOUT, channel, b"forged")
        + codec.encode_frame(Frame.EXIT, channel, codec.encode_fields(FORGED_EXIT))
        for channel in range(1, 64)
    )
    program = await arena.bring("forge")
    result = await arena.session.exec([program], input=forged, timeout=PATIENCE, check=True)
    # No place took it; the socket, which is there, hung up.
    assert result.stdout == f"{len(forged)} bytes, many places\n"
    assert await arena.alive()


@case("H09", SUPERVISOR)
async def test_frames_in_the_output_of_a_command_are_its_output(user: Arena) -> None:
    forged = codec.encode_frame(Frame.EXIT, 1, codec.encode_fields(FORGED_EXIT)) * 1000
    # It says everything that it was given on its own standard output.
    program = await user.bring("repeat")
    result = await user.session.exec([program], input=forged, timeout=PATIENCE, check=True)
    assert result.stdout_bytes == forged
    assert await user.alive()


@case("H10", SUPERVISOR)
async def test_the_supervisors_program_is_neither_read_nor_changed(
    arena: Arena, observer: Observer, built: bytes
) -> None:
    result = await arena.attack("binary", check=True)
    # The first line shows that tracing would be a way, were it another program.
    assert result.stdout == "tracing of a program that may be read\ntried everything\n"
    assert await observer.file(arena.session.id, SUPERVISOR_PATH) == built
    assert await arena.alive()


@case("X08", SUPERVISOR)
async def test_no_weight_makes_the_supervisor_wait(arena: Arena, observer: Observer) -> None:
    program = await arena.bring("weights")
    # It would say what it was given before that.
    stream = await begun(arena, [program])
    for _ in range(20):
        assert await arena.session.ping() < SOON
    begin = time.monotonic()
    await stream.aclose()
    assert time.monotonic() - begin < STARVED
    assert await workload(observer, arena.session) == []
    assert await arena.alive()


@case("X09", SUPERVISOR)
async def test_no_signal_of_a_descriptors_owner_stops_the_supervisor(arena: Arena) -> None:
    tree = await arena.bring("tree")
    async with await begun(arena, [tree, "daemons"], user=OTHER) as other:
        # Its own reaper, the other command's and what waits for the next one are among those.
        for _ in range(3):
            named = await arena.attack("owner", check=True)
            assert int(named.stdout.split()[0]) >= 3
        assert await arena.alive()
        # The other command's reaper still does its work.
        begin = time.monotonic()
        await other.aclose()
        assert time.monotonic() - begin < SOON
    result = await arena.attack("tree", "daemons", "leave", check=True)
    assert result.left_running == 3
