"""A supervisor that lies: what becomes of the client, and of the container that it is in."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import pytest_asyncio
from _pytest.mark.structures import ParameterSet

from cases.mark import case
from contract.memory import growth
from contract.observer import Observer
from fumehood import (
    AsyncDockerSandbox,
    AsyncSession,
    EndReason,
    Lifecycle,
    Limits,
    OperationTimeoutError,
    ProtocolError,
    SandboxError,
    SessionLostError,
    SupervisorError,
    _paused,
    _progress,
    _run,
    _start,
    _transfer,
)
from fumehood import session as session_module
from fumehood._supervisor import binary
from fumehood._wire import table
from fumehood._wire.table import EndCode, ErrorCode, Frame
from fumehood.engines.docker_framing import MAX_DIAGNOSTICS
from hostile import lies
from hostile.arena import compiled

BYTES = "Broken bytes from a container are a typed error, bounded in memory"
CREATION = "A failed or cancelled creation leaves nothing"
MIB = 1 << 20
BOUND = 32 * MIB
"""By how much a liar may make this process grow: windows, and what Python keeps for itself."""
PATIENCE = 30.0
"""Seconds after which something hangs; every promise below is shorter."""
SETTLE = 1.5
"""Seconds that a supervisor has to come up, here: the usual thirty show no more."""

Lying = Callable[..., AbstractAsyncContextManager[AsyncSession]]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lying program."""
    path = tmp_path_factory.mktemp("liar") / "supervisor"
    path.write_bytes(compiled("liar"))
    return path


@pytest.fixture(scope="module")
def volume(program: Path) -> str:
    """The name of the volume that it will be installed in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(binary.VARIABLE, str(program))
        return binary.load("amd64").volume


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def liar(program: Path, volume: str, observer: Observer) -> AsyncIterator[Path]:
    """Give the program; nothing of it is left on the engine afterwards."""
    yield program
    await observer.call("DELETE", f"volumes/{volume}", absent=True)


@pytest.fixture
def lying(liar: Path, prefix: str, observer: Observer, monkeypatch: pytest.MonkeyPatch) -> Lying:
    """Return what gives a session whose PID 1 says what it is told to; nothing is left of it."""
    monkeypatch.setenv(binary.VARIABLE, str(liar))
    monkeypatch.setattr(_start, "SETTLE_TIMEOUT", SETTLE)
    monkeypatch.setattr(_run.Backstop, "SLACK", 1.0)

    @contextlib.asynccontextmanager
    async def make(*words: str) -> AsyncIterator[AsyncSession]:
        name = f"{prefix}-{secrets.token_hex(4)}"
        # It holds to nothing, so its lease is worth nothing either: no help must come from there.
        sandbox = AsyncDockerSandbox(
            image="fumehood/test-busybox",
            pull="never",
            env=lies.script(*words),
            limits=Limits(memory_mb=64, pids=16, timeout=2),
            lifecycle=Lifecycle(disconnect_grace=3600),
        )
        with growth() as grown:
            try:
                async with (
                    asyncio.timeout(PATIENCE),
                    sandbox,
                    sandbox.create_session(id=name) as it,
                ):
                    yield it
            finally:
                assert await observer.container(name) is None
                assert await observer.volumes(name) == []
        assert grown() < BOUND

    return make


# Those that are waited for.
LONG = ("nothing", "one byte at a time", "complaints for ever", "a frame that never ends")


def marked(told: Iterable[str], long: Iterable[str]) -> list[ParameterSet]:
    """Return lies as parameters; those that are told for long are slow."""
    slow = pytest.mark.slow
    return [pytest.param(lie, marks=slow if lie in long else (), id=lie) for lie in told]


def assert_fit_to_print(text: str) -> None:
    """Fail if a message is long, or holds what a terminal would obey."""
    # The end of what PID 1 has complained of, each byte of it spelled out.
    assert len(text) < 4 * MAX_DIAGNOSTICS + 1000
    assert all(char.isprintable() or char == "\n" for char in text)


# --- before there is a session ----------------------------------------------------------------

AT_THE_DOOR: dict[str, tuple[list[str], type[SandboxError]]] = {
    "noise": ([lies.NOISE], ProtocolError),
    "a type that is none": ([lies.said(lies.header(0xFF, 0, 0))], ProtocolError),
    "a length of 16 MiB": (
        [lies.said(lies.header(Frame.WELCOME, 0, 0xFFFFFF)), lies.repeated(bytes(1024))],
        ProtocolError,
    ),
    "a frame of the client's own": ([lies.said(lies.header(Frame.HELLO, 0, 8))], ProtocolError),
    "ready before welcome": ([lies.said(lies.ready(), lies.welcome())], ProtocolError),
    "two welcomes": ([lies.said(lies.welcome(), lies.welcome())], ProtocolError),
    "a version of its own": ([lies.said(lies.welcome(version=9))], ProtocolError),
    "as if configured before": ([lies.said(lies.welcome(configured=1))], ProtocolError),
    "output of nothing": ([lies.said(lies.welcome(), lies.stdout(1))], ProtocolError),
    "an end with a cursor in it": (
        [lies.said(lies.end(EndCode.NOT_CONFIGURED, message="\x1b[2J\r"))],
        ProtocolError,
    ),
    "an end of 60 KB": (lies.long_end(60_000), ProtocolError),
    "a body in parts": (
        [lies.repeated(lies.header(Frame.PART, 0, 1), b"x", times=100)],
        ProtocolError,
    ),
    "an end": (
        [lies.said(lies.end(EndCode.NOT_CONFIGURED, error=int(ErrorCode.IO), message="no"))],
        SupervisorError,
    ),
    "pings for ever": (
        [lies.said(lies.welcome()), lies.repeated(lies.ping())],
        OperationTimeoutError,
    ),
    "nothing": ([], OperationTimeoutError),
    "one byte at a time": (
        [lies.slowly(100), lies.said(lies.welcome(), lies.ready())],
        OperationTimeoutError,
    ),
    "complaints for ever": ([lies.complained(0)], OperationTimeoutError),
}


@case("H40", BYTES)
@pytest.mark.parametrize("lie", marked(AT_THE_DOOR, LONG))
async def test_who_lies_at_the_door_is_removed(lying: Lying, lie: str) -> None:
    words, error = AT_THE_DOOR[lie]
    with pytest.raises(error) as caught:
        async with lying(*words):
            raise AssertionError("it came up")
    assert_fit_to_print(str(caught.value))


STEPS: dict[str, list[str]] = {
    "without a word": [lies.gone(3)],
    "with complaints": [lies.complained(10_000), lies.gone(3)],
    "inside a header": [lies.said(lies.welcome()[:5]), lies.gone()],
    "inside the welcome": [lies.said(lies.welcome()[:-1]), lies.gone(3)],
    "after the welcome": [lies.said(lies.welcome()), lies.gone(3)],
    "inside the ready": [lies.said(lies.welcome(), lies.ready()[:-1]), lies.gone(137)],
}


@case("X33", CREATION)
@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
async def test_who_dies_on_the_way_leaves_nothing(lying: Lying, step: str) -> None:
    with pytest.raises(SupervisorError, match="before it was ready") as caught:
        async with lying(*STEPS[step]):
            raise AssertionError("it came up")
    assert_fit_to_print(str(caught.value))


@case("X33", CREATION)
async def test_who_dies_when_it_is_ready_is_lost_and_leaves_nothing(lying: Lying) -> None:
    with pytest.raises((SessionLostError, SupervisorError)):
        async with lying(lies.GREETED, lies.gone(3)) as session:
            await session.exec(["true"])


# --- in a session -----------------------------------------------------------------------------

IN_A_SESSION: dict[str, list[str]] = {
    "noise": [lies.NOISE],
    "output of a channel that was never opened": [lies.said(lies.stdout(7))],
    "output of a channel that has ended": [lies.said(lies.exited(1), lies.stdout(1))],
    "a second end": [lies.said(lies.exited(1), lies.exited(1))],
    "the answer to something else": [lies.said(lies.done(1))],
    "output without an end": [lies.repeated(lies.stdout(1))],
    "output on the connection's own channel": [lies.said(lies.header(Frame.STDOUT, 0, 1), b"x")],
    "credit for what takes no input": [
        lies.said(lies.credit(1, 1 << 31)),
        lies.repeated(lies.credit(1, 1)),
    ],
    "an exit code that is none": [lies.said(lies.exited(1, (1 << 64) - 1))],
    "a signal that is none": [lies.said(lies.exited(1, 255, signal=127))],
    "a greeting again": [lies.said(lies.welcome(), lies.ready())],
    "something after the end": [lies.said(lies.end(), lies.exited(1))],
    "a frame that never ends": [
        lies.said(lies.header(Frame.STDOUT, 1, table.MAX_PAYLOAD)),
        lies.slowly(1),
        lies.repeated(b"x", times=50),
    ],
    "pings for ever": [lies.repeated(lies.ping())],
    "nothing": [],
}
PROTOCOL_BROKEN = {*IN_A_SESSION} - {
    "something after the end",
    "a frame that never ends",
    "pings for ever",
    "nothing",
}


@case("H42", BYTES)
@pytest.mark.parametrize("lie", marked(IN_A_SESSION, LONG))
async def test_who_lies_in_a_session_is_removed(lying: Lying, lie: str, observer: Observer) -> None:
    async with lying(lies.GREETED, lies.HEAR, *IN_A_SESSION[lie]) as session:
        if lie in ("output of a channel that has ended", "a second end"):
            # What came first was true as far as anybody can tell.
            with contextlib.suppress(ProtocolError):
                await session.exec(["true"])
        else:
            with pytest.raises(SandboxError):
                await session.exec(["true"], timeout=1)
        reason = await session.wait_ended()
        if lie in PROTOCOL_BROKEN:
            assert reason is EndReason.PROTOCOL
        if reason in (EndReason.PROTOCOL, EndReason.RESOURCES):
            # Without a word from anybody who holds the session.
            await observer.gone(session.id, within=10)
        else:
            assert lie == "something after the end"


@case("H42", BYTES)
async def test_a_relay_that_lies_is_a_typed_error(lying: Lying) -> None:
    async with (
        lying(lies.GREETED) as session,
        AsyncDockerSandbox(image="fumehood/test-busybox", pull="never") as other,
    ):
        with pytest.raises(ProtocolError):
            await other.connect(session.id)


@case("H42", BYTES)
@pytest.mark.slow
async def test_a_caller_that_has_enough_is_not_kept_by_a_supervisor_that_is_deaf(
    lying: Lying, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lying(lies.GREETED) as session:
        for module in (_run, _transfer, session_module):
            monkeypatch.setattr(module, "CANCEL_PATIENCE", 0.2)
        for operation in (
            lambda: session.exec(["true"], timeout=None),
            lambda: session.read_file("x"),
            lambda: session.write_file("x", bytes(4 * MIB)),
            session.list_files,
            session.ping,
        ):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await operation()


@case("H42", BYTES)
async def test_a_supervisor_that_only_answers_pings_keeps_no_call_for_ever(
    lying: Lying, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lying(lies.GREETED, lies.repeated(lies.ping())) as session:
        # The bound is a minute; what is seen here is that there is one.
        monkeypatch.setattr(_progress, "PATIENCE", 0.4)
        monkeypatch.setattr(_paused, "ANSWER", 0.2)
        for operation, op in (
            (lambda: session.read_file("x"), "read_file"),
            (lambda: session.write_file("x", bytes(4 * MIB)), "write_file"),
            (session.list_files, "list_files"),
            (session.ping, "ping"),
        ):
            with pytest.raises(OperationTimeoutError) as caught:
                await operation()
            assert caught.value.op == op
