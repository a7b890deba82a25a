"""The proxy of a session, in the client: it listens inside, through the supervisor, and decides."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Executor, ThreadPoolExecutor

from fumehood._core import CANCEL_PATIENCE
from fumehood._tether.channel import Channel
from fumehood._tether.cleanup import stop, to_the_end
from fumehood._tether.tether import Tether
from fumehood._wire.messages import Fail
from fumehood._wire.requests import accept_request, listen_request
from fumehood._wire.table import ErrorCode
from fumehood.egress.interception import Interception
from fumehood.egress.passage import Passage
from fumehood.egress.policy import Policy
from fumehood.errors import PortError, SandboxError
from fumehood.hooks import Hooks

logger: logging.Logger = logging.getLogger("fumehood.egress")

PORT = 3128
"""Where it listens inside, on loopback: fixed, so that commands know it before it does."""
MAX_CONNECTIONS = 64
"""At once. Those beyond wait: some with the supervisor, the others in the kernel's queue."""

_LOOKUPS = 8
_PAUSE = 0.1
"""Seconds before a connection is asked for again that the session had no room for."""


class Proxy:
    """Serves the connections that commands of one session make to its port.

    It knows the session's tether and not the session: a session that everybody has dropped must
    still be found to be so.
    """

    def __init__(
        self,
        tether: Tether,
        listen: Channel,
        session_id: str,
        hooks: Hooks,
        policy: Policy,
        interception: Interception,
    ) -> None:
        self._tether = tether
        self._listen = listen
        self.session_id: str = session_id
        self.hooks: Hooks = hooks
        # Of its own: names that nobody answers for must not take the threads of the program that
        # this is a part of.
        self.executor: Executor = ThreadPoolExecutor(_LOOKUPS, "fumehood-names")
        self.interception: Interception = interception
        self._policy = policy
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._passages: dict[asyncio.Task[None], Passage] = {}
        self._served = 0
        self._sent = 0
        self._received = 0
        self._accepting = asyncio.create_task(self._accept())
        self._closing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Proxy {self.session_id} {self.statistics()} {self._policy!r}>"

    @property
    def policy(self) -> Policy:
        """What it goes by now."""
        return self._policy

    async def set_policy(self, policy: Policy) -> None:
        """Go by another policy from now on, and cut off what it would not let through.

        Raises:
            SandboxError: what it intercepts, the commands cannot be given to trust. It goes by the
                policy of before.
        """
        await self.interception.prepare(policy.intercepted)
        self._policy = policy
        cut = [task for task, passage in self._passages.items() if passage.recheck()]
        if cut:
            await asyncio.wait(cut)

    def statistics(self) -> dict[str, int]:
        """Return live numbers: connections now and in all, bytes of those that have ended."""
        return {
            "connections": len(self._passages),
            "served": self._served,
            "bytes_up": self._received,
            "bytes_down": self._sent,
        }

    async def _accept(self) -> None:
        """Take one connection after the other, as many at a time as there may be."""
        while True:
            await self._slots.acquire()
            try:
                ticket = await self._listen.next_ticket()
            except (EOFError, SandboxError) as exc:
                # With the session, its stream, or this proxy.
                logger.debug("session %s: its proxy has ended: %r", self.session_id, exc)
                self._end()
                return
            task = asyncio.create_task(self._serve(ticket))
            self._tasks.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._slots.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("session %s: a connection failed", self.session_id, exc_info=error)

    async def _serve(self, ticket: int) -> None:
        task = asyncio.current_task()
        assert task is not None
        channel = await self._take(ticket)
        if channel is None:
            return
        passage = self._passages[task] = Passage(self, channel)
        self._served += 1
        try:
            await passage.run()
        finally:
            del self._passages[task]
            self._received += passage.traffic.received
            self._sent += passage.traffic.sent

    async def _take(self, ticket: int) -> Channel | None:
        """Take over a connection; None: it is gone, or the session is."""
        while True:
            channel: Channel | None = None
            try:
                channel = self._tether.open(accept_request(ticket))
                if await channel.wait_opened():
                    return channel
                answer = await channel.answer()
            except SandboxError as exc:
                logger.debug("session %s: %s", self.session_id, exc)
                return None
            except BaseException:
                # Nobody serves it now: whoever has connected inside is to know.
                if channel is not None:
                    await to_the_end(channel.aclose(CANCEL_PATIENCE))
                raise
            assert isinstance(answer, Fail)
            if answer.error not in (ErrorCode.TOO_MANY_CHANNELS, ErrorCode.PROCESS_LIMIT):
                logger.debug("session %s: ticket %d: %s", self.session_id, ticket, answer)
                return None
            # It waits with the supervisor, and would for ever if nobody asked again.
            await asyncio.sleep(_PAUSE)

    async def aclose(self) -> None:
        """Stop listening and cut off what is under way. Idempotent."""
        await asyncio.shield(self._end())

    def _end(self) -> asyncio.Task[None]:
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        return self._closing

    async def _close(self) -> None:
        await stop(self._accepting)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await to_the_end(self._listen.aclose(CANCEL_PATIENCE))
        self.executor.shutdown(wait=False, cancel_futures=True)
        self.interception.close()


async def start_proxy(
    tether: Tether, session_id: str, hooks: Hooks, policy: Policy, image_roots: str | None
) -> Proxy:
    """Listen inside, and return the proxy.

    Args:
        tether: the session's.
        session_id: its id.
        hooks: who is told.
        policy: what it goes by.
        image_roots: where the image's environment says that its trusted roots are.

    Raises:
        PortError: somebody inside, or another client, has the port.
        SessionEndedError: the session is over.
        SandboxError: what is intercepted, the commands cannot be given to trust.
    """
    channel = tether.open(listen_request(PORT), standing=True)
    interception = Interception(tether, session_id, image_roots)
    try:
        if not await channel.wait_opened():
            answer = await channel.answer()
            assert isinstance(answer, Fail)
            raise _failure(answer, session_id)
        # Once the port is ours: another client that serves it has put its own certificate there.
        await interception.prepare(policy.intercepted)
    except BaseException:
        interception.close()
        await to_the_end(channel.aclose(CANCEL_PATIENCE))
        raise
    return Proxy(tether, channel, session_id, hooks, policy, interception)


def _failure(answer: Fail, session_id: str) -> PortError:
    if answer.error is ErrorCode.ADDRESS_IN_USE:
        text = (
            f"port {PORT} inside session {session_id} is taken: by a command, or by another client "
            "that serves the session's network"
        )
    else:
        text = f"port {PORT} inside session {session_id}: {answer.error.name.lower()}"
    return PortError(text, port=PORT, op="set_network", session_id=session_id)
