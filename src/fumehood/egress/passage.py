"""One connection from inside, from its head to its end: decided, dialled, carried, told of."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
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
from fumehood.egress.answers import STATUS, log, why
from fumehood.egress.ends import BrokenError, End, InsideEnd, OutsideEnd
from fumehood.egress.heads import (
    ESTABLISHED,
    MAX_HEAD,
    BadRequestError,
    Head,
    HeadReader,
    parse_head,
    refusal,
)
from fumehood.egress.interception import Interception
from fumehood.egress.policy import Decision, Policy
from fumehood.egress.rules import Allow
from fumehood.egress.tls import TlsEnd
from fumehood.egress.within import Conversation
from fumehood.errors import SandboxError
from fumehood.results import EgressReason

logger: logging.Logger = logging.getLogger("fumehood.egress")

HEAD_SECONDS = 15.0
"""For a request's head to come whole."""
HANDSHAKE_SECONDS = 15.0
"""For TLS to begin on one side."""
LINGER_SECONDS = 5.0
"""For whoever was answered to take the answer and close."""


class Surroundings(Protocol):
    """What a passage needs of the proxy that it belongs to."""

    session_id: str
    hooks: hooks.Hooks
    executor: Executor
    interception: Interception

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
        self._inside: End = InsideEnd(channel)
        self._traffic = Traffic()
        self._head: Head | None = None
        self._decision: Decision | None = None
        self._address: Address | None = None
        self._kept_from: Address | None = None
        self._task: asyncio.Task[None] | None = None
        self._begun = 0.0
        self._cut = False
        self._admitted = False
        self._intercepted: Allow | None = None

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
        decision = policy.decide(head.host, head.port)
        if not decision.allowed:
            return False
        if self._intercepted is not None and not _same_trust(self._intercepted, decision.rule):
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
            status, phrase = STATUS[exc.reason]
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
            raise Refused(self._decision.reason, why(self._decision.reason, head))
        rule = self._decision.rule
        if head.tunnel and rule is not None and rule.intercepts:
            self._intercepted = rule
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
            # For the owner alone: what a name leads to here is nothing for a session.
            self._kept_from = candidates[0].address
            reason = EgressReason.PRIVATE_ADDRESS
            raise Refused(reason, why(reason, head))
        connection, self._address = made
        reader, writer = await dial.streams(connection)
        proper = False
        try:
            outside: End = OutsideEnd(reader, writer)
            if self._intercepted is not None:
                outside = await self._secure(head, self._intercepted, outside)
            self._admitted = True
            await self._tell(EgressReason.ALLOWED)
            proper = await self._carry(head, inside, rest, outside, reader, writer)
        finally:
            if not proper:
                reset(writer)
        with contextlib.suppress(OSError):  # all of it has been delivered
            writer.close()
            await writer.wait_closed()

    async def _secure(self, head: Head, rule: Allow, outside: End) -> End:
        """Begin TLS with the server: whoever asked is told yes only when it is the right one."""
        context = await self._proxy.interception.outside(rule.ca)
        secure = TlsEnd(outside, context, server_hostname=str(head.host))
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                await secure.handshake()
        except ssl.SSLCertVerificationError as exc:
            reason = EgressReason.BAD_CERTIFICATE
            text = f"the certificate of {head.where} is not trusted: {exc.verify_message}"
            raise Refused(reason, text) from exc
        except TimeoutError as exc:
            text = f"{head.where} does not begin TLS"
            raise Refused(EgressReason.TIMED_OUT, text) from exc
        except OSError as exc:
            text = f"there is no TLS with {head.where}: {exc.strerror}"
            raise Refused(EgressReason.UNREACHABLE, text) from exc
        return secure

    async def _carry(
        self,
        head: Head,
        inside: h11.Connection,
        rest: bytes,
        outside: End,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Carry what was let through; return whether it came to a proper end."""
        reason = EgressReason.ALLOWED
        try:
            if self._intercepted is not None:
                await self._intercept(head, rest, outside)
            elif head.tunnel:
                await self._tunnel(rest, reader, writer)
            else:
                sides = exchange.Sides(self._inside, inside, outside, self._traffic)
                await exchange.exchange(sides, head, self._added(), rest)
                await self._close()
        except exchange.UpstreamError as exc:
            reason = exc.reason
            # Within a tunnel, whoever asked there has been told.
            if not exc.begun and not head.tunnel:
                status, phrase = STATUS[reason]
                await self._answer(status, phrase, f"{head.where}: {exc}")
        except BadRequestError as exc:
            reason = EgressReason.BAD_REQUEST
            logger.debug("session %s: a bad request or body: %s", self._proxy.session_id, exc)
        except TimeoutError:
            reason = EgressReason.TIMED_OUT
        except (OSError, BrokenError) as exc:
            reason = EgressReason.UNREACHABLE
            logger.debug("session %s: %s broke: %s", self._proxy.session_id, head.where, exc)
        await self._tell(reason, ended=True)
        return reason is EgressReason.ALLOWED

    def _added(self) -> list[tuple[str, str]]:
        """Return what a request is given by the rule of now: a change counts from the next one on.

        Whether it is let through at all, `recheck` has seen to. What a rule is to add inside TLS
        goes nowhere in the clear.
        """
        assert self._head is not None
        rule = self._proxy.policy.decide(self._head.host, self._head.port).rule
        if rule is None or rule.intercepts != (self._intercepted is not None):
            return []
        return list(rule.headers.items())

    async def _intercept(self, head: Head, rest: bytes, outside: End) -> None:
        """Answer in the server's place, and ask it what was asked here, with headers added."""
        context = await self._proxy.interception.inside(str(head.host))
        await self._inside.write(ESTABLISHED)
        inside = TlsEnd(InsideEnd(self._channel, rest), context)
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                await inside.handshake()
        except ssl.SSLError as exc:
            raise BadRequestError(f"TLS with the program inside: {exc}") from exc
        conversation = Conversation(inside, outside, head, self._added, self._traffic)
        try:
            await conversation.run()
        except (BadRequestError, exchange.UpstreamError):
            if conversation.finished:
                await self._linger()
            raise
        await self._linger()

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
            raise BrokenError(answer.error.name.lower())

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
        await self._linger()

    async def _linger(self) -> None:
        with contextlib.suppress(TimeoutError):  # then it is cut off
            async with asyncio.timeout(LINGER_SECONDS):
                while await self._channel.receive() is not None:
                    pass
                await self._channel.wait_finished()

    async def _tell(self, reason: EgressReason, *, ended: bool = False) -> None:
        head, rule = self._head, self._decision.rule if self._decision is not None else None
        address = self._address or self._kept_from
        event = hooks.EgressEvent(
            session_id=self._proxy.session_id,
            method=head.method if head is not None else "",
            host=str(head.host) if head is not None else "",
            port=head.port if head is not None else 0,
            allowed=self._admitted,
            reason=reason,
            rule=rule.host if rule is not None else None,
            address=str(address) if address is not None else None,
            intercepted=self._intercepted is not None,
            ended=ended,
            bytes_up=self._traffic.received,
            bytes_down=self._traffic.sent,
            duration=asyncio.get_running_loop().time() - self._begun,
        )
        log(event)
        await hooks.tell(self._proxy.hooks.on_egress, event)


def _same_trust(before: Allow, now: Allow | None) -> bool:
    """Whether a connection that was intercepted by one rule may go on under another."""
    return now is not None and now.intercepts and now.ca == before.ca
