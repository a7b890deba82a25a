"""What is said within a tunnel whose TLS ends here: requests one after the other, and answers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable

import h11

from fumehood._relay import Traffic
from fumehood.egress.answers import STATUS
from fumehood.egress.ends import BrokenError, End
from fumehood.egress.exchange import Outcome, Sides, UpstreamError, exchange
from fumehood.egress.heads import (
    MAX_HEAD,
    BadRequestError,
    Head,
    HeadReader,
    parse_within,
    refusal,
)

END_SECONDS = 5.0
"""For both sides to take the word that this was all."""
IDLE_SECONDS = 60.0
"""For a next request to begin: a connection that waits for it takes one of the session's places."""
HEAD_SECONDS = 15.0
"""For its head to come whole."""


class Conversation:
    """Carries requests from inside to one server, on one connection to each."""

    def __init__(
        self,
        inside: End,
        outside: End,
        tunnel: Head,
        added: Callable[[], Iterable[tuple[str, str]]],
        traffic: Traffic,
    ) -> None:
        """Begin with nothing said.

        Args:
            inside: the program, in TLS that ends here.
            outside: the server, in TLS that begins here.
            tunnel: what the program has asked for.
            added: returns the headers that a request is given, asked for each.
            traffic: where bodies are counted.
        """
        self._inside = inside
        self._outside = outside
        self._tunnel = tunnel
        self._added = added
        self._traffic = traffic
        self.finished: bool = False
        """Whether the program inside was told that nothing more comes. Else it is cut off."""

    async def run(self) -> None:
        """Carry requests until one of both sides has enough. What is refused is answered, and ends.

        The socket outside is the caller's to close.

        Raises:
            BadRequestError: a request was refused.
            UpstreamError: the server broke off, fell silent, or does not speak HTTP.
            TimeoutError: a head did not come in time.
            BrokenError, OSError: one of both sides broke.
            SandboxError: the session did.
        """
        rest = b""
        while (request := await self._next_request(rest)) is not None:
            outcome = await self._exchange(*request)
            if outcome.switched is not None:
                await self._go_on(outcome.rest, outcome.switched)
            if not outcome.reusable:
                break
            rest = outcome.rest
        await self._finish()
        with contextlib.suppress(OSError):  # all that it was asked for has been answered
            async with asyncio.timeout(END_SECONDS):
                await self._outside.finish()

    async def _next_request(self, rest: bytes) -> tuple[h11.Connection, Head, bytes] | None:
        """Return the next request, and what came behind its head; None: there is none."""
        try:
            whole = await self._next_head(rest)
            if whole is None:
                return None
            parser = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
            return parser, parse_within(parser, whole[0], self._tunnel), whole[1]
        except BadRequestError as exc:
            await self._refuse(exc.status, "Bad request", str(exc))
            raise

    async def _next_head(self, rest: bytes) -> tuple[bytes, bytes] | None:
        reader = HeadReader()
        data = rest or await self._begun()
        async with asyncio.timeout(HEAD_SECONDS):
            while data:
                if (whole := reader.feed(data)) is not None:
                    return whole
                data = await self._inside.read()
        return None

    async def _exchange(self, parser: h11.Connection, head: Head, rest: bytes) -> Outcome:
        sides = Sides(self._inside, parser, self._outside, self._traffic)
        try:
            return await exchange(sides, head, self._added(), rest)
        except UpstreamError as exc:
            if not exc.begun:
                status, phrase = STATUS[exc.reason]
                text = f"{head.where}: {exc}"
                await self._refuse(status, phrase, text, without_body=head.method == "HEAD")
            raise

    async def _begun(self) -> bytes:
        """Wait until a request begins; nothing: none does any more.

        Nor does one when the server has ended meanwhile, or says what nobody has asked for: then
        the program is to see that too, before it asks.
        """
        asking = asyncio.create_task(self._inside.read())
        ending = asyncio.create_task(self._outside.read())
        try:
            done, _ = await asyncio.wait(
                {asking, ending}, timeout=IDLE_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            return asking.result() if done == {asking} else b""
        finally:
            for task in (asking, ending):
                task.cancel()
            # A server that breaks off here has ended, in its way.
            await asyncio.gather(asking, ending, return_exceptions=True)

    async def _go_on(self, rest: bytes, switched: bytes) -> None:
        """Carry what is not HTTP any more, as it is, until one of both sides ends."""
        up = asyncio.create_task(self._up(rest))
        down = asyncio.create_task(self._down(switched))
        try:
            done, _ = await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)

    async def _up(self, data: bytes) -> None:
        while data := data or await self._inside.read():
            await self._outside.write(data)
            self._traffic.received += len(data)
            data = b""

    async def _down(self, data: bytes) -> None:
        while data := data or await self._outside.read():
            await self._inside.write(data)
            self._traffic.sent += len(data)
            data = b""

    async def _refuse(
        self, status: int, phrase: str, text: str, *, without_body: bool = False
    ) -> None:
        answer = refusal(status, phrase, f"fumehood: {text}\n", head=without_body)
        # Who has gone meanwhile needs no word.
        with contextlib.suppress(OSError, BrokenError):
            async with asyncio.timeout(END_SECONDS):
                await self._inside.write(answer)
        await self._finish()

    async def _finish(self) -> None:
        with contextlib.suppress(OSError, BrokenError):
            async with asyncio.timeout(END_SECONDS):
                await self._inside.finish()
        self.finished = True
