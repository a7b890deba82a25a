"""One connection from inside, from its head to its end: decided, dialled, carried, told of."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from concurrent.futures import Executor
from typing import Protocol

import h11

from fumehood import hooks
from fumehood._core import CANCEL_PATIENCE
from fumehood._relay import Traffic, relay, reset
from fumehood._tether.channel import Channel
from fumehood._tether.cleanup import to_the_end
from fumehood._wire.messages import Fail
from fumehood.egress import dial, exchange
from fumehood.egress.addresses import Address
from fumehood.egress.heads import (
    ESTABLISHED,
    MAX_HEAD,
    BadRequestError,
    Head,
    HeadReader,
    parse_head,
    refusal,
)
from fumehood.egress.hosts import Name
from fumehood.egress.policy import Decision, Policy
from fumehood.errors import SandboxError
from fumehood.results import EgressReason

logger: logging.Logger = logging.getLogger("fumehood.egress")

HEAD_SECONDS = 15.0
"""For a request's head to come whole."""
LINGER_SECONDS = 5.0
"""For whoever was answered to take the answer and close."""

_STATUS: dict[EgressReason, tuple[int, str]] = {
    EgressReason.NOT_LISTED: (403, "Not in Network.allow"),
    EgressReason.PORT: (403, "Port not in Network.allow"),
    EgressReason.PRIVATE_ADDRESS: (403, "Private address not in Network.allow"),
    EgressReason.UNRESOLVED: (502, "Name not resolved"),
    EgressReason.UNREACHABLE: (502, "Not reachable"),
    EgressReason.TIMED_OUT: (504, "Timed out"),
    EgressReason.POLICY_CHANGED: (403, "Not in Network.allow any more"),
}


class Surroundings(Protocol):
    """What a passage needs of the proxy that it belongs to."""

    session_id: str
    hooks: hooks.Hooks
    executor: Executor

    @property
    def policy(self) -> Policy:
        """The policy of this moment."""
        ...


class Refused(Exception):  # noqa: N818 - an outcome, not a fault
    """A request goes no further."""

    def __init__(self, reason: EgressReason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Passage:
    """A connection that somebody inside has made. ``run`` is its whole life."""

    def __init__(self, proxy: Surroundings, channel: Channel) -> None:
        self._proxy = proxy
        self._channel = channel
        self._traffic = Traffic()
        self._head: Head | None = None
        self._decision: Decision | None = None
        self._address: Address | None = None
        self._task: asyncio.Task[None] | None = None
        self._begun = 0.0
        self._cut = False
        self._admitted = False

    @property
    def traffic(self) -> Traffic:
        """What has gone through: ``received`` from inside, ``sent`` to there."""
        return self._traffic

    def recheck(self) -> bool:
        """Cut it off if the policy of now would not let it through, and say so."""
        if self._head is None or self._decision is None or not self._decision.allowed:
            return False
        if self._task is None or self._still_allowed():
            return False
        self._cut = True
        self._task.cancel()
        return True

    def _still_allowed(self) -> bool:
        assert self._head is not None
        policy, head = self._proxy.policy, self._head
        if not policy.decide(head.host, head.port).allowed:
            return False
        return self._address is None or policy.permits(self._address, head.port)

    # --- from its head to its end -------------------------------------------------------------

    async def run(self) -> None:
        """Serve it. What breaks it ends it; nothing but a cancellation comes out."""
        self._task = asyncio.current_task()
        self._begun = asyncio.get_running_loop().time()
        try:
            await self._serve()
        except asyncio.CancelledError:
            if not self._cut:
                raise
            assert self._task is not None
            self._task.uncancel()
            await self._tell(EgressReason.POLICY_CHANGED, ended=self._admitted)
        except SandboxError as exc:
            # The session is over, or its stream: there is nobody to be told anything.
            logger.debug("session %s: %s", self._proxy.session_id, exc)
        finally:
            await to_the_end(self._channel.aclose(CANCEL_PATIENCE))

    async def _serve(self) -> None:
        inside = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                whole = await self._read_head()
            if whole is None:
                return
            self._head = parse_head(inside, whole[0])
        except TimeoutError:
            await self._tell(EgressReason.TIMED_OUT)
            await self._answer(408, "Timed out", f"no whole request within {HEAD_SECONDS:g} s")
            return
        except BadRequestError as exc:
            await self._tell(EgressReason.BAD_REQUEST)
            await self._answer(exc.status, "Bad request", str(exc))
            return
        self._begun = asyncio.get_running_loop().time()
        try:
            await self._admit(self._head, inside, whole[1])
        except Refused as exc:
            await self._tell(exc.reason)
            status, phrase = _STATUS[exc.reason]
            text = f"{exc}\nallowed here: {self._proxy.policy.describe()}"
            await self._answer(status, phrase, text)

    async def _read_head(self) -> tuple[bytes, bytes] | None:
        reader = HeadReader()
        while (item := await self._channel.receive()) is not None:
            if (whole := reader.feed(item.data)) is not None:
                return whole
        return None

    async def _admit(self, head: Head, inside: h11.Connection, rest: bytes) -> None:
        self._decision = self._proxy.policy.decide(head.host, head.port)
        if not self._decision.allowed:
            raise Refused(self._decision.reason, _why(self._decision.reason, head))
        try:
            candidates = await dial.places(head.host, head.port, self._proxy.executor)
            made = await dial.dial(candidates, lambda a: self._proxy.policy.permits(a, head.port))
        except dial.UnresolvedError as exc:
            reason = EgressReason.UNRESOLVED
            raise Refused(reason, f"{head.host} has no address that this client finds") from exc
        except TimeoutError as exc:
            raise Refused(EgressReason.TIMED_OUT, f"{head.where} does not answer") from exc
        except OSError as exc:
            reason = EgressReason.UNREACHABLE
            raise Refused(reason, f"{head.where} cannot be reached: {exc.strerror}") from exc
        if made is None:
            reason = EgressReason.PRIVATE_ADDRESS
            raise Refused(reason, _why(reason, head))
        connection, self._address = made
        reader, writer = await dial.streams(connection)
        proper = False
        try:
            self._admitted = True
            await self._tell(EgressReason.ALLOWED)
            proper = await self._carry(head, inside, rest, reader, writer)
        finally:
            if not proper:
                reset(writer)
        with contextlib.suppress(OSError):  # all of it has been delivered
            writer.close()
            await writer.wait_closed()

    async def _carry(
        self,
        head: Head,
        inside: h11.Connection,
        rest: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Carry what was let through; return whether it came to a proper end."""
        reason = EgressReason.ALLOWED
        try:
            if head.tunnel:
                await self._tunnel(rest, reader, writer)
            else:
                assert self._decision is not None
                assert self._decision.rule is not None
                added = self._decision.rule.headers.items()
                await exchange.exchange(
                    exchange.Sides(self._channel, inside, reader, writer, self._traffic),
                    head,
                    added,
                    rest,
                )
                await self._close()
        except exchange.UpstreamError as exc:
            reason = exc.reason
            if not exc.begun:
                status, phrase = _STATUS[reason]
                await self._answer(status, phrase, f"{head.where}: {exc}")
        except BadRequestError as exc:
            reason = EgressReason.BAD_REQUEST
            logger.debug("session %s: a bad body: %s", self._proxy.session_id, exc)
        except (OSError, exchange.BrokenError) as exc:
            reason = EgressReason.UNREACHABLE
            logger.debug("session %s: %s broke: %s", self._proxy.session_id, head.where, exc)
        await self._tell(reason, ended=True)
        return reason is EgressReason.ALLOWED

    async def _tunnel(
        self, rest: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await self._channel.send(ESTABLISHED)
        if rest:
            writer.write(rest)
            self._traffic.received += len(rest)
            await writer.drain()
        answer = await relay(self._channel, reader, writer, self._traffic)
        if isinstance(answer, Fail):
            raise exchange.BrokenError(answer.error.name.lower())

    # --- what is said -------------------------------------------------------------------------

    async def _answer(self, status: int, phrase: str, text: str) -> None:
        """Send a response of our own, and let it arrive."""
        without_body = self._head is not None and self._head.method == "HEAD"
        body = f"fumehood: {text}\n"
        await self._channel.send(refusal(status, phrase, body, head=without_body))
        await self._close()

    async def _close(self) -> None:
        """End our side, and throw away what still comes: a reset would take the answer along."""
        self._channel.end_input()
        with contextlib.suppress(TimeoutError):  # then it is cut off
            async with asyncio.timeout(LINGER_SECONDS):
                while await self._channel.receive() is not None:
                    pass
                await self._channel.wait_finished()

    async def _tell(self, reason: EgressReason, *, ended: bool = False) -> None:
        head, rule = self._head, self._decision.rule if self._decision is not None else None
        event = hooks.EgressEvent(
            session_id=self._proxy.session_id,
            method=head.method if head is not None else "",
            host=str(head.host) if head is not None else "",
            port=head.port if head is not None else 0,
            allowed=self._admitted,
            reason=reason,
            rule=rule.host if rule is not None else None,
            address=str(self._address) if self._address is not None else None,
            ended=ended,
            bytes_up=self._traffic.received,
            bytes_down=self._traffic.sent,
            duration=asyncio.get_running_loop().time() - self._begun,
        )
        log(event)
        await hooks.tell(self._proxy.hooks.on_egress, event)


def log(event: hooks.EgressEvent) -> None:
    """Write a decision or an end into the log: a line, without a path and without a header."""
    what = f"{event.method or 'a request'} {event.host or '?'}:{event.port}"
    if event.ended:
        logger.info(
            "session %s: %s ended (%s): %d bytes up, %d down, %.3f s",
            event.session_id,
            what,
            event.reason,
            event.bytes_up,
            event.bytes_down,
            event.duration,
        )
    elif event.allowed:
        logger.info(
            "session %s: %s allowed by %s (%s)", event.session_id, what, event.rule, event.address
        )
    else:
        logger.warning("session %s: %s refused: %s", event.session_id, what, event.reason)


def _why(reason: EgressReason, head: Head) -> str:
    if reason is EgressReason.PORT:
        return f"port {head.port} of {head.host} is not allowed"
    if reason is EgressReason.PRIVATE_ADDRESS:
        leads = "leads to" if isinstance(head.host, Name) else "is"
        return f"{head.host} {leads} an address that is not public, and no rule names it"
    return f"{head.host} is not allowed"
