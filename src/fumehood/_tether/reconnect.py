"""The way back to a supervisor whose stream has broken: another stream, for the same connection."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from fumehood._tether.cleanup import to_the_end
from fumehood._wire.codec import WireViolationError
from fumehood._wire.messages import Welcome
from fumehood._wire.resume import Resumption
from fumehood._wire.table import Violation
from fumehood.engines.base import ByteStream
from fumehood.errors import EngineUnavailableError, SandboxError, SessionNotFoundError
from fumehood.text import printable

logger = logging.getLogger("fumehood.tether")

Reopen = Callable[[], Awaitable[ByteStream]]
"""Opens one more stream to the session's supervisor. Raises SessionNotFoundError when there is no
such session any more, and any other SandboxError when it may be worth another try."""

_ANSWER_SECONDS = 10.0
"""In which a supervisor must answer on a new stream before another one is tried."""
_MOST_WORDS = 512
"""Bytes of an engine's error text that are shown."""
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0


class RefusedError(Exception):
    """The supervisor no longer has the connection."""


class Attempt:
    """One new stream, from its opening to the answer.

    Args:
        stream: not yet started.
        resumption: the greeting for it.
        taken: called with the stream and the answer; from then on the stream is the tether's.
        on_data: gets what comes behind the answer.
        on_close: told of the stream's end after it was taken.
    """

    def __init__(
        self,
        stream: ByteStream,
        resumption: Resumption,
        *,
        taken: Callable[[ByteStream, Welcome], None],
        on_data: Callable[[bytes | memoryview], None],
        on_close: Callable[[ByteStream, Exception | None], None],
    ) -> None:
        self._stream = stream
        self._resumption = resumption
        self._taken = taken
        self._on_data = on_data
        self._on_close = on_close
        self._answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.succeeded: bool = False

    async def run(self) -> None:
        """Greet, and wait for the answer; a stream that was not taken is closed.

        Raises:
            RefusedError: the supervisor does not have the connection.
            WireViolationError: what answers breaks the wire's rules.
            SandboxError: the stream ended, or nothing came in time.
        """
        try:
            self._stream.start(self._received, self._closed)
            self._stream.write(self._resumption.hello)
            async with asyncio.timeout(_ANSWER_SECONDS):
                await self._answered
        except TimeoutError as exc:
            if not self.succeeded:
                raise EngineUnavailableError("no answer on the new stream") from exc
        finally:
            if not self.succeeded:
                # Where this is cancelled, so is the future; nothing that comes now is an answer.
                self._answered.cancel()
                await to_the_end(self._stream.close())

    def _received(self, data: bytes | memoryview) -> None:
        if self.succeeded:
            self._on_data(data)
        elif not self._answered.done():
            try:
                self._answer(data)
            except WireViolationError as violation:
                words = bytes(data[:_MOST_WORDS])
                self._answered.set_exception(_engines_word(violation, words) or violation)

    def _answer(self, data: bytes | memoryview) -> None:
        rest = self._resumption.receive(data)
        if rest is None:
            return
        if self._resumption.welcome is None:
            self._answered.set_exception(RefusedError())
            return
        self._taken(self._stream, self._resumption.welcome)
        self.succeeded = True
        self._answered.set_result(None)
        if rest:
            self._on_data(rest)

    def _closed(self, error: Exception | None) -> None:
        if self.succeeded:
            self._on_close(self._stream, error)
        elif not self._answered.done():
            said = self._stream.diagnostics().strip()
            failure = EngineUnavailableError(
                f"the new stream ended before its answer: {error or said or 'without a word'}"
            )
            failure.__cause__ = error
            self._answered.set_exception(failure)


def _engines_word(violation: WireViolationError, data: bytes) -> SandboxError | None:
    """Return an engine's error text as an error of its own: it comes instead of a stream.

    Docker has promised a stream when it finds that the container is ending, and says so on it. No
    frame begins with a byte that can be printed.
    """
    if violation.violation is not Violation.BAD_FRAME or not 0x20 <= data[0] < 0x7F:
        return None
    text = printable(data.decode("utf-8", "replace").strip())
    return EngineUnavailableError(f"instead of a stream there came: {text}")


async def come_back(
    reopen: Reopen, attempt: Callable[[ByteStream], Attempt], *, session_id: str, within: float
) -> str:
    """Try again and again, for ``within`` seconds; return "" or why there is no way back.

    Raises:
        WireViolationError: what answers breaks the wire's rules.
    """
    pause = _FIRST_PAUSE
    last = ""
    tried: Attempt | None = None
    try:
        async with asyncio.timeout(within):
            while True:
                try:
                    tried = attempt(await reopen())
                    await tried.run()
                except SessionNotFoundError:
                    return "its container is gone"
                except RefusedError:
                    return "its supervisor has not waited for this client"
                except WireViolationError:
                    raise
                except SandboxError as exc:
                    last = printable(str(exc))
                    logger.debug("session %s: no new stream yet: %s", session_id, last)
                else:
                    return ""
                # Many sessions may have lost their streams at once: not all in step.
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - no secret
                pause = min(2 * pause, _LONGEST_PAUSE)
    except TimeoutError:
        if tried is not None and tried.succeeded:
            return ""
        return f"no new stream within {within:g} s" + (f" ({last})" if last else "")
