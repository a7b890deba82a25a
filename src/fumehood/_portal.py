"""One event loop in one thread of its own, for the blocking classes of the whole process.

The blocking API is the asynchronous one, run here. A portal is made at the first blocking call and
ends with the interpreter. A forked child starts without one: the parent's loop, and everything
that lives on it, stays the parent's.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import logging
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Generic, Protocol, TypeVar, cast

from fumehood.errors import SessionError

logger = logging.getLogger("fumehood.portal")

_T = TypeVar("_T")

EXIT_PATIENCE = 5.0
"""Seconds that what is still open gets to end at the interpreter's exit; leases do the rest."""

_lock = threading.Lock()
_portal: Portal | None = None


class Closable(Protocol):
    """Something that lives on the portal and can be closed more than once."""

    async def close(self) -> None:
        """Close it."""


class _Outcome(Generic[_T]):
    """What has come of a call: the loop's thread gives it, and one other thread waits for it.

    One lock, whose methods are the interpreter's own. An interrupt that hits the Python code of a
    ``concurrent.futures.Future`` leaves its condition locked, and then the loop's thread, which
    belongs to everybody, waits for ever to give its answer. Here it never waits.
    """

    def __init__(self) -> None:
        self._given = threading.Lock()
        self._given.acquire()
        self._value: _T | None = None
        self._error: BaseException | None = None
        self.done: bool = False

    def give(self, task: asyncio.Task[_T]) -> None:
        """Take what a task that is done has come to."""
        if task.cancelled():
            self.fail(concurrent.futures.CancelledError())
        elif (error := task.exception()) is not None:
            self.fail(error)
        else:
            self._value = task.result()
            self._tell()

    def fail(self, error: BaseException) -> None:
        """Take an error for it."""
        self._error = error
        self._tell()

    def _tell(self) -> None:
        self.done = True
        self._given.release()

    def wait(self) -> None:
        """Wait for it; after an interrupt, again."""
        # An interrupt may come when the lock has been taken already: it is `done` that tells.
        while not self.done:
            self._given.acquire()

    def result(self) -> _T:
        """Wait for it, and return or raise it."""
        self.wait()
        error, self._error = self._error, None
        if error is None:
            return cast("_T", self._value)
        try:
            raise error
        finally:
            # The error knows this frame by its traceback: not the other way round as well.
            del error


class Portal:
    """Runs coroutines for threads that wait for them. Use :func:`get`."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._closables: weakref.WeakSet[Closable] = weakref.WeakSet()
        self._thread = threading.Thread(target=self._run, name="fumehood-portal", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        while not self._closed:
            try:
                self._loop.run_forever()
            except (KeyboardInterrupt, SystemExit):
                # From a hook, and its caller gets it; asyncio lets these two end the loop as well,
                # which belongs to everybody else too.
                continue

    def call(self, make: Callable[[], Coroutine[Any, Any, _T]], *, instead: str) -> _T:
        """Run a coroutine to its end and return its result.

        An exception in the waiting thread, such as ``KeyboardInterrupt``, cancels the coroutine and
        waits until it has cleaned up; a second one gives up waiting.

        Args:
            make: makes the coroutine; called on the loop.
            instead: the asynchronous class to name when the caller has a running loop of its own.

        Raises:
            SessionError: in a process that was forked from the one that made the portal, in a hook
                (which runs on the loop that would have to wait for itself), and after the end.
        """
        self._check(instead)
        outcome: _Outcome[_T] = _Outcome()
        task: asyncio.Task[_T] | None = None
        cancelled = False

        def start() -> None:
            nonlocal task
            try:
                task = self._loop.create_task(make())
            except Exception as exc:  # noqa: BLE001 - it is the caller's, who waits for the outcome
                outcome.fail(exc)
            else:
                task.add_done_callback(outcome.give)

        def cancel() -> None:
            nonlocal cancelled
            if task is not None:
                if not cancelled:
                    task.cancel()
                cancelled = True
            elif not outcome.done:  # interrupted before the start was even asked for
                outcome.fail(concurrent.futures.CancelledError())

        try:
            self._loop.call_soon_threadsafe(start)
            return outcome.result()
        except BaseException:
            try:
                if not outcome.done:
                    self._loop.call_soon_threadsafe(cancel)
                outcome.wait()
            except BaseException:
                # Perhaps before it was asked for: nobody waits, and it is stopped all the same.
                self._loop.call_soon_threadsafe(cancel)
                raise
            raise

    async def join(self, make: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Run a coroutine here for a task of another loop, which awaits its result.

        For objects that live on the portal and are called from a loop as well. When the task is
        cancelled, so is the coroutine, and it has cleaned up before this raises.

        Raises:
            SessionError: as :meth:`call`, but on the portal's own loop it is simply awaited.
        """
        self._check_alive()
        here = asyncio.get_running_loop()
        if here is self._loop:
            return await make()
        ended = here.create_future()
        task: asyncio.Task[_T] | None = None

        def over() -> None:
            if not ended.done():
                ended.set_result(None)

        async def run() -> _T:
            return await make()

        def start() -> None:
            nonlocal task
            task = self._loop.create_task(run())
            task.add_done_callback(lambda _: here.call_soon_threadsafe(over))

        def cancel() -> None:
            # Always behind the start.
            assert task is not None
            task.cancel()

        self._loop.call_soon_threadsafe(start)
        cancelled: asyncio.CancelledError | None = None
        while not ended.done():
            try:
                await asyncio.shield(ended)
            except asyncio.CancelledError as exc:
                # Once: a second one would stop the clean-up.
                if cancelled is None:
                    self._loop.call_soon_threadsafe(cancel)
                cancelled = exc
        assert task is not None
        if cancelled is not None:
            if not task.cancelled():
                task.exception()  # nobody asks for it any more
            raise cancelled
        return task.result()

    def look(self, read: Callable[[], _T], *, instead: str) -> _T:
        """Run a plain function on the loop and return its result."""

        async def wrapped() -> _T:
            return read()

        return self.call(wrapped, instead=instead)

    def _check_alive(self) -> None:
        if self._pid != os.getpid():
            raise SessionError(
                "this object belongs to the process that made it, and this one was forked from it: "
                "make a new sandbox here and use connect(id)"
            )
        if self._closed:
            raise SessionError("the interpreter is exiting; what was still open has been closed")

    def _check(self, instead: str) -> None:
        self._check_alive()
        if threading.current_thread() is self._thread:
            raise SessionError(
                f"a blocking call on fumehood's own event loop would wait for ever: in a hook, "
                f"use {instead}"
            )
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop()
            warnings.warn(
                f"a blocking call stops this thread's event loop; use {instead} here",
                RuntimeWarning,
                stacklevel=5,
            )

    def on_exit(self, item: Closable) -> None:
        """Note what is to be closed when the interpreter exits, if it is still there then."""
        self._closables.add(item)

    def close(self) -> None:
        """Close what is still open, end the loop and its thread."""
        if self._closed or self._pid != os.getpid() or not self._thread.is_alive():
            return
        try:
            with contextlib.suppress(TimeoutError, concurrent.futures.CancelledError):
                asyncio.run_coroutine_threadsafe(self._wind_up(), self._loop).result(
                    EXIT_PATIENCE + 1.0
                )
        finally:
            self._closed = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(1.0)
        if not self._thread.is_alive():
            self._loop.close()

    async def _wind_up(self) -> None:
        items = list(self._closables)
        try:
            async with asyncio.timeout(EXIT_PATIENCE):
                for result in await asyncio.gather(
                    *(item.close() for item in items), return_exceptions=True
                ):
                    if isinstance(result, BaseException):
                        logger.warning("while closing at exit: %s", result)
        except TimeoutError:
            logger.warning("not everything could be closed at exit; leases end the rest")
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._loop.shutdown_asyncgens()
        await self._loop.shutdown_default_executor()


def get() -> Portal:
    """Return this process's portal, starting it at the first call."""
    global _portal
    with _lock:
        if _portal is None:
            _portal = Portal()
        return _portal


def _close_at_exit() -> None:
    # Who interrupts the exit wants out: leases end the rest.
    with contextlib.suppress(KeyboardInterrupt):
        if _portal is not None:
            _portal.close()


def _forget_in_child() -> None:
    global _portal, _lock
    # The thread did not survive the fork, and the lock may have been held by another one.
    _lock = threading.Lock()
    _portal = None


atexit.register(_close_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
