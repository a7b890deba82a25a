"""One conversation on the tether, as the caller's side of it sees it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from fumehood._tether.backlog import Backlog
from fumehood._wire.events import Incoming, InputCredit, Opened, Output, OutputEnded
from fumehood._wire.messages import Answer, Process
from fumehood.errors import InvalidRequestError, SandboxError

if TYPE_CHECKING:
    from fumehood._tether.channels import Channels


class Channel:
    """One conversation: output to take, input to give, and one answer at the end.

    Credit goes back to the supervisor when output is taken from here, never before: a caller that
    stalls holds at most one channel window of bytes and stalls its own command alone.

    One task takes output and one gives input; neither may be shared.
    """

    __slots__ = (
        "_abandoned",
        "_answer",
        "_channels",
        "_done",
        "_failure",
        "_input_waiter",
        "_opened",
        "_output",
        "_output_ended",
        "_tickets",
        "_waiter",
        "described",
        "moved",
        "number",
    )

    def __init__(self, channels: Channels, number: int) -> None:
        self._channels = channels
        self.number: int = number
        self.described: list[Process] = []
        """Managed processes that the supervisor has described."""
        self._output = Backlog()
        self._answer: Answer | None = None
        self._failure: Callable[[], SandboxError] | None = None
        self._done: asyncio.Future[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._input_waiter: asyncio.Future[None] | None = None
        self._abandoned = False
        self.moved: int = 0
        """How often something has come from the supervisor: output, or credit for input."""
        self._opened = False
        self._output_ended = False
        self._tickets: deque[int] = deque()

    def __repr__(self) -> str:
        return f"<Channel {self.number} waiting={self._output.size} answer={self._answer!r}>"

    # --- the caller's side --------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether the answer, or the reason why there is none, is known."""
        return self._answer is not None or self._failure is not None

    @property
    def waiting(self) -> bool:
        """Whether a caller waits for the supervisor here, for output, an answer or credit."""
        return self._waiter is not None or self._input_waiter is not None

    @property
    def ready(self) -> bool:
        """Whether :meth:`receive` would not wait."""
        return bool(self._output) or self._output_ended or self.finished

    @property
    def outcome(self) -> Answer | None:
        """The answer, if it has come."""
        return self._answer

    async def wait_opened(self) -> bool:
        """Wait until the socket at the other end is there; False: the answer says why it is not.

        Raises:
            SessionEndedError: the session ended first.
            SessionLostError: the stream broke first.
        """
        while not self._opened and not self.finished:
            await self._wait()
        if self._failure is not None:
            raise self._failure()
        return self._opened

    async def next_ticket(self) -> int:
        """Return the number of the next connection from inside; for a ``listen`` alone.

        Raises:
            SandboxError: there will be none: why the channel or the session ended.
            EOFError: the channel has ended, and its answer says why.
        """
        while not self._tickets:
            if self._failure is not None:
                raise self._failure()
            if self._answer is not None:
                raise EOFError
            await self._wait()
        return self._tickets.popleft()

    @property
    def tickets(self) -> int:
        """How many connections from inside wait for :meth:`next_ticket`."""
        return len(self._tickets)

    async def receive(self) -> Output | None:
        """Return the next piece of output, or None after its end or once the answer is there.

        Cancelling it loses nothing: the next call returns what this one would have.

        Raises:
            SessionEndedError: the session ended first.
            SessionLostError: the stream broke first.
        """
        while not self._output:
            if self._failure is not None:
                raise self._failure()
            if self._output_ended or self._answer is not None:
                return None
            await self._wait()
        item = self._output.popleft()
        self._channels.consumed(self.number, len(item.data))
        return item

    async def answer(self) -> Answer:
        """Wait for the end and return the answer; output that nobody took is thrown away.

        Raises:
            SessionEndedError: the session ended first.
            SessionLostError: the stream broke first.
        """
        while await self.receive() is not None:
            pass
        await self.wait_finished()
        if self._failure is not None:
            raise self._failure()
        assert self._answer is not None
        return self._answer

    async def send(self, data: bytes | memoryview) -> bool:
        """Give all of ``data`` as input, as fast as the other end takes it.

        Returns False, without an error, when the other end stopped taking input: the command has
        closed its input or ended, and its answer says the rest.
        """
        view = memoryview(data)
        if view.format != "B" or not view.c_contiguous:
            view = memoryview(view.tobytes())  # windows count bytes, not items
        while view:
            if self.finished:
                return False
            allowed = self._channels.input_allowed(self.number)
            if not allowed:
                await self._wait_input()
                continue
            self._channels.send_input(self.number, view[:allowed])
            view = view[allowed:]
            await self._channels.drain()
        return not self.finished

    def end_input(self) -> None:
        """Close the input. Harmless when it is closed already."""
        if not self.finished:
            self._channels.end_input(self.number)

    def resize(self, rows: int, columns: int) -> None:
        """Give its terminal another size. Harmless after the end."""
        if not self.finished:
            self._channels.resize(self.number, rows, columns)

    def lost(self) -> SandboxError:
        """Return the reason why there is no answer."""
        assert self._failure is not None
        return self._failure()

    def cancel(self) -> None:
        """Ask for the end; the answer still comes. Harmless after it."""
        if not self.finished:
            self._channels.cancel(self.number)
            self._wake_input()

    def abandon(self) -> None:
        """Cancel, and take no more output: for a caller that has gone away. Never blocks."""
        self._abandoned = True
        self._channels.consumed(self.number, self._output.size)
        self._output.clear()
        self.cancel()

    def expire(self, failure: Callable[[], SandboxError]) -> None:
        """Give up waiting: the caller gets this error, the supervisor is told to end it."""
        if not self.finished:
            self.abandon()
            self.fail(failure)

    async def aclose(self, patience: float) -> None:
        """End the conversation; wait at most ``patience`` seconds for the supervisor's word.

        Any task may do so, also while another one waits for output. No word in time is no error:
        either the session is over, or the supervisor is so busy killing that its own escalation
        ends the session. Neither is this caller's to report.
        """
        if self.finished:
            return
        self.abandon()
        try:
            async with asyncio.timeout(patience):
                await self.wait_finished()
        except TimeoutError:
            return

    async def wait_finished(self) -> None:
        """Wait until :attr:`finished`, and take nothing. Any number may."""
        if not self.finished:
            if self._done is None:
                self._done = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._done)

    async def _wait(self) -> None:
        if self._waiter is not None:
            raise InvalidRequestError("another task waits for this output already")
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def _wait_input(self) -> None:
        if self._input_waiter is not None:
            raise InvalidRequestError("another task gives input here already")
        self._input_waiter = asyncio.get_running_loop().create_future()
        try:
            await self._input_waiter
        finally:
            self._input_waiter = None

    # --- the tether's side --------------------------------------------------------------------

    def take(self, event: Output | InputCredit | Opened | OutputEnded | Incoming) -> None:
        """Take from the tether what has come on the channel."""
        if isinstance(event, Output):
            self._deliver(event)
        elif isinstance(event, InputCredit):
            self.moved += 1
            self._wake_input()
        elif isinstance(event, Incoming):
            self._tickets.append(event.ticket)
            self._wake()
        else:
            self._opened = True
            self._output_ended |= isinstance(event, OutputEnded)
            self._wake()

    def _deliver(self, item: Output) -> None:
        self.moved += 1
        if self._abandoned:
            self._channels.consumed(self.number, len(item.data))
            return
        self._output.append(item)
        self._wake()

    def finish(self, answer: Answer) -> None:
        """Take the answer from the tether."""
        self._answer = answer
        self._wake_all()

    def fail(self, failure: Callable[[], SandboxError]) -> None:
        """Note that there will be no answer. Output that came before is thrown away with it."""
        if self.finished:
            return
        self._failure = failure
        self._output.clear()
        self._wake_all()

    def _wake_all(self) -> None:
        self._wake()
        self._wake_input()
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _wake_input(self) -> None:
        if self._input_waiter is not None and not self._input_waiter.done():
            self._input_waiter.set_result(None)
