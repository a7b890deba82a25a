"""The portal: blocking calls over one loop in one thread, interrupts, forks and the end."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import signal
import subprocess
import sys
import textwrap
import threading
import traceback
from collections.abc import Iterator

import pytest

from fakes.supervisor import PATIENCE
from fumehood import SandboxError, SessionError, _portal
from fumehood._portal import Portal

NAME = "AsyncThing"


@pytest.fixture
def portal() -> Iterator[Portal]:
    """A portal of the test's own, ended after it."""
    made = Portal()
    yield made
    made.close()
    assert not made._thread.is_alive()


class Waiting:
    """A coroutine that waits, and notes how it went."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.cleaned = threading.Event()
        self.gate: asyncio.Event | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.may_end = threading.Event()

    async def run(self) -> None:
        self.gate = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self.entered.set()
        try:
            await self.gate.wait()
        finally:
            # Clean-up that takes its time: whoever interrupted waits for it.
            await self.loop.run_in_executor(None, self.may_end.wait, PATIENCE)
            self.cleaned.set()


def test_a_coroutine_runs_on_the_portals_thread_and_returns(portal: Portal) -> None:
    async def where() -> str:
        await asyncio.sleep(0)
        return threading.current_thread().name

    assert portal.call(where, instead=NAME) == "fumehood-portal"
    assert portal.look(lambda: threading.current_thread().name, instead=NAME) == "fumehood-portal"


def test_what_the_coroutine_raises_is_raised(portal: Portal) -> None:
    async def fail() -> None:
        raise ZeroDivisionError("here")

    async def end() -> None:
        raise StopAsyncIteration

    with pytest.raises(ZeroDivisionError, match="here") as caught:
        portal.call(fail, instead=NAME)
    assert "in fail" in "".join(traceback.format_exception(caught.value))
    with pytest.raises(StopAsyncIteration):
        portal.call(end, instead=NAME)


def test_what_cannot_even_start_is_raised_and_never_waited_for(portal: Portal) -> None:
    def broken() -> object:
        raise TypeError("no such argument")

    with pytest.raises(TypeError, match="no such argument"):
        portal.call(broken, instead=NAME)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_an_exit_out_of_a_coroutine_reaches_its_caller_and_the_loop_lives_on(
    portal: Portal, kind: type[BaseException]
) -> None:
    async def leave() -> None:
        raise kind

    async def fine() -> int:
        return 5

    with pytest.raises(kind):
        portal.call(leave, instead=NAME)
    assert portal.call(fine, instead=NAME) == 5


async def test_another_loop_awaits_a_coroutine_of_the_portal(portal: Portal) -> None:
    async def where(answer: str) -> str:
        await asyncio.sleep(0)
        if answer == "no":
            raise LookupError(answer)
        return threading.current_thread().name

    assert await portal.join(lambda: where("yes")) == "fumehood-portal"
    with pytest.raises(LookupError, match="no"):
        await portal.join(lambda: where("no"))

    async def from_within() -> str:
        return await portal.join(lambda: where("yes"))

    assert await portal.join(from_within) == "fumehood-portal"


async def test_who_is_cancelled_while_it_awaits_leaves_when_the_coroutine_has_cleaned_up(
    portal: Portal,
) -> None:
    waiting = Waiting()
    joined = asyncio.ensure_future(portal.join(waiting.run))
    await asyncio.to_thread(waiting.entered.wait, PATIENCE)
    joined.cancel()
    # A second time while it cleans up: it is still waited for.
    for _ in range(3):
        await asyncio.sleep(0)
    assert not joined.done()
    joined.cancel()
    waiting.may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await joined
    assert waiting.cleaned.is_set()


async def test_an_error_of_the_clean_up_does_not_hide_that_the_awaiting_task_was_cancelled(
    portal: Portal,
) -> None:
    entered = threading.Event()

    async def stubborn() -> None:
        try:
            entered.set()
            await asyncio.Event().wait()
        finally:
            raise LookupError("while cleaning up")

    joined = asyncio.ensure_future(portal.join(stubborn))
    await asyncio.to_thread(entered.wait, PATIENCE)
    joined.cancel()
    with pytest.raises(asyncio.CancelledError):
        await joined


def test_threads_share_the_portal(portal: Portal) -> None:
    barrier = threading.Barrier(8)

    async def value(number: int) -> int:
        await asyncio.sleep(0)
        return number

    def call(number: int) -> int:
        barrier.wait(PATIENCE)
        return portal.call(lambda: value(number), instead=NAME)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(call, range(8))) == list(range(8))


def interrupted(portal: Portal, waiting: Waiting, *, again: bool) -> threading.Thread:
    """A thread that presses Ctrl-C once the call waits, and once more in its clean-up."""

    def press() -> None:
        assert waiting.entered.wait(PATIENCE)
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGINT)
        if again:
            # The first one has been heard when the coroutine has been cancelled.
            assert waiting.loop is not None
            asyncio.run_coroutine_threadsafe(cancelled(), waiting.loop).result(PATIENCE)
            signal.pthread_kill(main, signal.SIGINT)
        else:
            waiting.may_end.set()

    async def cancelled() -> None:
        async with asyncio.timeout(PATIENCE):
            while not any(task.cancelling() for task in asyncio.all_tasks()):
                await asyncio.sleep(0)

    thread = threading.Thread(target=press)
    thread.start()
    return thread


def test_ctrl_c_cancels_the_coroutine_and_waits_until_it_has_cleaned_up(portal: Portal) -> None:
    waiting = Waiting()
    thread = interrupted(portal, waiting, again=False)
    with pytest.raises(KeyboardInterrupt):
        portal.call(waiting.run, instead=NAME)
    assert waiting.cleaned.is_set()
    thread.join(PATIENCE)


def test_a_second_ctrl_c_gives_up_waiting(portal: Portal) -> None:
    waiting = Waiting()
    thread = interrupted(portal, waiting, again=True)
    with pytest.raises(KeyboardInterrupt):
        portal.call(waiting.run, instead=NAME)
    assert not waiting.cleaned.is_set()
    waiting.may_end.set()
    assert waiting.cleaned.wait(PATIENCE)
    thread.join(PATIENCE)


def test_an_interrupt_before_anything_was_started_does_not_hang(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = portal._loop.call_soon_threadsafe
    calls = 0

    def interrupt(*args: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise KeyboardInterrupt
        return schedule(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(portal._loop, "call_soon_threadsafe", interrupt)
    with pytest.raises(KeyboardInterrupt):
        portal.call(asyncio.sleep, instead=NAME)  # type: ignore[arg-type]
    monkeypatch.undo()


INTERRUPTED = """
    import asyncio, os, signal, sys
    from fumehood._portal import Portal

    portal = Portal()
    FILES = ("_portal.py", "threading.py", "_base.py", "base_events.py", "selector_events.py")

    def interrupt_at(number):
        # Where the interpreter looks for signals: as a function begins, and after one in C.
        def profile(frame, event, arg):
            nonlocal number
            if event in ("call", "c_return") and frame.f_code.co_filename.endswith(FILES):
                number -= 1
                if number == 0:
                    sys.setprofile(None)
                    raise KeyboardInterrupt
        sys.setprofile(profile)

    def goes_on(number):
        \"\"\"Interrupt a call; return whether it ended in that.\"\"\"
        try:
            interrupted(number)
        except KeyboardInterrupt:
            return sys.getprofile() is None
        finally:
            sys.setprofile(None)
            # Whoever comes next is served.
            assert portal.look(lambda: number, instead="x") == number
        return False
"""


def test_an_interrupt_anywhere_in_a_call_leaves_the_portal_to_the_others() -> None:
    done = child(
        INTERRUPTED
        + """
    async def brief():
        await asyncio.sleep(0)

    def interrupted(number):
        interrupt_at(number)
        portal.call(brief, instead="x")

    number = 1
    while goes_on(number):
        number += 1
    assert number > 10, number
    portal.close()
    """
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_second_interrupt_anywhere_in_a_call_leaves_the_portal_to_the_others() -> None:
    done = child(
        INTERRUPTED
        + """
    async def until_cancelled():
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()

    def interrupted(number):
        def first(signum, frame):
            interrupt_at(number)
            raise KeyboardInterrupt
        signal.signal(signal.SIGINT, first)
        portal.call(until_cancelled, instead="x")

    number = 1
    while goes_on(number):
        number += 1
    assert number > 10, number
    portal.close()
    """
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_call_out_of_a_hook_is_an_error_and_not_a_deadlock(portal: Portal) -> None:
    async def hook() -> None:
        portal.call(hook, instead=NAME)

    with pytest.raises(SessionError, match=NAME):
        portal.call(hook, instead=NAME)


def test_after_its_end_a_call_is_an_error_and_not_a_hang() -> None:
    portal = Portal()
    portal.close()
    portal.close()
    with pytest.raises(SandboxError, match="exiting"):
        portal.look(lambda: None, instead=NAME)


def test_what_is_still_open_is_closed_at_the_end() -> None:
    class Open:
        closed = 0

        async def close(self) -> None:
            self.closed += 1

    class Broken(Open):
        async def close(self) -> None:
            raise ZeroDivisionError

    portal = Portal()
    items = [Open(), Broken(), Open()]
    for item in items:
        portal.on_exit(item)
    portal.close()
    assert [item.closed for item in items] == [1, 0, 1]


def test_what_never_ends_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_portal, "EXIT_PATIENCE", 0.01)

    class Stuck:
        async def close(self) -> None:
            await asyncio.Event().wait()

    portal = Portal()
    stuck = Stuck()
    portal.on_exit(stuck)
    portal.close()
    assert not portal._thread.is_alive()


def test_the_process_has_one_portal() -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert len({id(pool.submit(_portal.get).result()) for _ in range(20)}) == 1


def child(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a new interpreter, in which every warning is shown."""
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "always", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE * 3,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )


OPEN_SESSION = """
    import asyncio, os, signal, sys, threading, warnings
    import fumehood
    from fakes.engine import MemoryEngine

    sandbox = fumehood.DockerSandbox()

    def attach():
        engine = MemoryEngine()
        sandbox._async._engine = engine
        sandbox._async._loop = asyncio.get_running_loop()
        return engine

    engine = sandbox._portal.look(attach, instead="x")
    session = sandbox.create_session(id="s1")
"""


def test_a_session_in_blocking_calls() -> None:
    done = child(
        OPEN_SESSION
        + """
    with session:
        print(session.exec(["echo", "hi"]).stdout)
        print([type(event).__name__ for event in session.exec_stream(["echo", "hi"])])
        with session.write_file_stream("f") as file:
            file.write(b"12")
            print(file.size)
        print(session.stat("f").size, session.state, repr(session))
        try:
            session.exec("ls")
        except fumehood.InvalidRequestError as error:
            print("refused")
    print(session.state, session.end_reason, engine.removed)
    sandbox.close()
    """
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "hi",
        "['Stdout', 'Exit']",
        "2",
        "3 running <Session s1 running>",
        "refused",
        "ended destroyed [('s1', False)]",
    ]


def test_a_call_from_a_running_loop_warns_and_names_the_asynchronous_class() -> None:
    done = child(
        OPEN_SESSION
        + """
    async def blocking():
        with warnings.catch_warnings(record=True) as caught:
            print(session.exec(["echo", "hi"]).stdout)
        print(caught[0].category.__name__, caught[0].message)
        # The warning points at the line that blocks, not into fumehood.
        print(caught[0].filename)

    asyncio.run(blocking())
    session.destroy()
    sandbox.close()
    """
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "hi"
    assert lines[1].startswith("RuntimeWarning")
    assert "AsyncSession" in lines[1]
    assert lines[2] == "<string>"


def test_the_interpreter_ends_quickly_and_silently_with_things_open() -> None:
    done = child(
        OPEN_SESSION
        + """
    import atexit
    atexit.register(lambda: None)
    stream = session.exec_stream(["echo", "hi"])
    next(stream)
    engine.script = lambda peer, channel: None
    hanging = threading.Thread(target=lambda: session.exec(["x"], timeout=None), daemon=True)
    threading.excepthook = lambda args: None
    hanging.start()
    sandbox._portal.look(lambda: None, instead="x")
    print("end")
    """
    )
    assert done.stdout == "end\n"
    assert done.stderr == ""
    assert done.returncode == 0


def test_an_interrupt_at_the_interpreters_exit_makes_no_noise() -> None:
    done = child(
        OPEN_SESSION
        + """
    def stuck():
        engine.hold_removal.clear()
    sandbox._portal.look(stuck, instead="x")
    wind_up = sandbox._portal._wind_up
    async def press():
        os.kill(os.getpid(), signal.SIGINT)
        await wind_up()
    sandbox._portal._wind_up = press
    print("end")
    """
    )
    assert done.stdout == "end\n"
    assert "Traceback" not in done.stderr
    assert done.returncode == 0


def test_a_forked_child_gets_a_clear_error_and_harms_nothing() -> None:
    done = child(
        OPEN_SESSION
        + """
    sys.stdout.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            session.exec(["echo", "from the child"])
        except fumehood.SessionError as error:
            print("child:", error)
        other = fumehood.DockerSandbox()
        other.close()
        print("child: a new one works")
        sys.exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    print("parent:", session.exec(["echo", "still here"]).stdout, engine.removed)
    session.destroy()
    sandbox.close()
    """
    )
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].startswith("child: this object belongs to the process that made it")
    assert lines[1:] == ["child: a new one works", "parent: still here []"]
