"""A Python interpreter in a session that keeps its variables from one cell of code to the next."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from fumehood.exec import ExecStream
from fumehood.results import Exit, Stderr
from fumehood.session import AsyncSession

MAX_LOG_BYTES = 1 << 20
"""Of what a cell writes; the rest is counted."""
MAX_ANSWER_BYTES = 64 << 20
"""Of what a cell gives back: an image, say."""
SOURCE = (
    files("fumehood.adapters").joinpath("_smolagents_interpreter.py").read_text(encoding="utf-8")
)


class InterpreterEndedError(Exception):
    """The interpreter is gone, and its variables with it; the next cell gets a new one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The exception that a cell ended with."""

    name: str
    value: str
    traceback: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a cell has come to."""

    logs: str
    result: str | None
    """The ``repr`` of its last line, where that is an expression and not None."""
    failure: Failure | None


class Log:
    """What a cell writes, up to the mark behind it."""

    def __init__(self, mark: bytes, rest: bytes) -> None:
        self._mark = mark
        self._pending = rest
        self._kept = bytearray()
        self._dropped = 0
        self.rest: bytes | None = None
        """What came behind the mark, once that is there."""

    def feed(self, data: bytes) -> None:
        """Take what has come."""
        if self.rest is not None:
            self.rest += data
            return
        data = self._pending + data
        at = data.find(self._mark)
        if at >= 0:
            self._keep(data[:at])
            self.rest = data[at + len(self._mark) :]
            return
        # The mark may have begun.
        sure = max(0, len(data) - len(self._mark) + 1)
        self._keep(data[:sure])
        self._pending = data[sure:]

    def _keep(self, data: bytes) -> None:
        room = MAX_LOG_BYTES - len(self._kept)
        self._kept += data[:room]
        self._dropped += len(data) - min(len(data), room)

    def text(self) -> str:
        """Return it as text, and how much is missing; without the mark it was cut short."""
        if self.rest is None:
            self._keep(self._pending)
            self._pending = b""
        text = self._kept.decode("utf-8", "replace")
        if self._dropped:
            text += f"\n[{self._dropped} more bytes of output are not shown]\n"
        return text


class Kernel:
    """The interpreter. All of it happens on the loop of its session.

    Args:
        session: where it runs.
        python: the image's Python, 3.8 or newer.
    """

    def __init__(self, session: AsyncSession, python: str) -> None:
        self._session = session
        self._python = python
        self._running: _Running | None = None
        self.turn = asyncio.Lock()
        """One cell at a time: held by whoever runs some."""

    @property
    def started(self) -> bool:
        """Whether there is an interpreter, with variables."""
        return self._running is not None

    async def run(self, source: str, timeout: float | None) -> Answer:
        """Run a cell, in a new interpreter where there is none.

        Cancelled, or out of time, the interpreter is killed with everything it has started.

        Raises:
            InterpreterEndedError: it has ended, was killed, or talks nonsense.
            SandboxError: it could not be started; the session is over.
        """
        if self._running is None:
            self._running = _Running(self._session, self._python)
        try:
            async with asyncio.timeout(timeout):
                return await self._running.run(source)
        except TimeoutError as exc:
            await self.close()
            raise InterpreterEndedError(f"the code was killed after {timeout:g} s") from exc
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Kill the interpreter. Idempotent."""
        running, self._running = self._running, None
        if running is not None:
            await running.stream.aclose()


class _Running:
    def __init__(self, session: AsyncSession, python: str) -> None:
        self._mark = f"\0{secrets.token_hex(16)}\0".encode()
        self._cells: asyncio.Queue[str] = asyncio.Queue()
        self._cells.put_nowait(self._mark.decode())
        self._late = b""
        self.stream: ExecStream = session.exec_stream(
            [python, "-u", "-c", SOURCE], input=self._typed(), timeout=None
        )

    async def _typed(self) -> AsyncIterator[bytes]:
        while True:
            yield json.dumps(await self._cells.get()).encode() + b"\n"

    async def run(self, source: str) -> Answer:
        self._cells.put_nowait(source)
        log = Log(self._mark, self._late)
        log.feed(b"")
        answer = bytearray()
        while log.rest is None or not answer.endswith(b"\n"):
            event = await anext(self.stream, None)
            if event is None:
                raise InterpreterEndedError("the interpreter was ended while the code ran")
            if isinstance(event, Exit):
                raise InterpreterEndedError(
                    f"the interpreter has ended, with exit code {event.result.exit_code}, "
                    f"and its variables are gone\n{log.text()}"
                )
            if isinstance(event, Stderr):
                log.feed(event.data)
                continue
            answer += event.data
            if len(answer) > MAX_ANSWER_BYTES:
                raise InterpreterEndedError(
                    f"the code gave back more than {MAX_ANSWER_BYTES} bytes"
                )
        self._late = log.rest
        return _parsed(bytes(answer), log.text())


def _parsed(line: bytes, logs: str) -> Answer:
    """Return an answer, which the code may have forged."""
    try:
        told: Any = json.loads(line)
        result, error = told["result"], told["error"]
        failure = None
        if error is not None:
            failure = Failure(
                name=_text(error["name"]),
                value=_text(error["value"]),
                traceback=_text(error["traceback"]),
            )
        return Answer(logs=logs, result=None if result is None else _text(result), failure=failure)
    except (ValueError, TypeError, KeyError, RecursionError) as exc:
        raise InterpreterEndedError("the interpreter has given an answer that is none") from exc


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"not a text: {type(value).__name__}")
    return value
