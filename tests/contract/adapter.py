"""One suite for two APIs: the blocking classes behind the awaited names.

A test is written once, against the asynchronous classes. In the ``blocking`` flavour the same names
lead to the blocking classes: each method runs in a worker thread of its own, ``async with`` and
``async for`` become ``with`` and ``for`` there. Nothing is translated besides.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Literal, Self, Unpack, cast

from fumehood import (
    AsyncDockerSandbox,
    AsyncSession,
    DockerSandbox,
    Manifest,
    Session,
    Workspace,
)
from fumehood.sandbox import SandboxOptions
from fumehood.session import SessionRequest

Flavour = Literal["async", "blocking"]
FLAVOURS: tuple[Flavour, ...] = ("async", "blocking")

PYTHON = "fumehood/test-python"
NONROOT = "fumehood/test-python-nonroot"
BUSYBOX = "fumehood/test-busybox"
SCRATCH = "fumehood/test-scratch"

_ENTERED = ("create_session", "connect")
_ITERATED = ("exec_stream", "read_file_stream", "write_file_stream")
_END = object()


class Api:
    """One flavour of the public API. Every session gets an id by which leaks are found."""

    def __init__(self, flavour: Flavour, prefix: str) -> None:
        self.flavour = flavour
        self.prefix = prefix
        self._numbers = itertools.count(1)
        # As many threads as a test has blocking calls at once, and none before they are needed.
        self._threads = ThreadPoolExecutor(max_workers=160, thread_name_prefix="contract")

    def new_id(self) -> str:
        """Return an id for a session or workspace of this run."""
        return f"{self.prefix}-{self.flavour[0]}{next(self._numbers)}"

    def sandbox(self, image: str = PYTHON, **options: Unpack[SandboxOptions]) -> AsyncDockerSandbox:
        """Return a sandbox of this flavour, to be closed by the caller."""
        options.setdefault("pull", "never")
        if self.flavour == "async":
            return _AsyncSandbox(self, image, options)
        sandbox = _BlockingSandbox(self, image, options)
        return cast("AsyncDockerSandbox", _Awaited(sandbox, self._threads))

    @contextlib.asynccontextmanager
    async def session(
        self,
        image: str = PYTHON,
        *,
        id: str | None = None,
        manifest: Manifest | None = None,
        **options: Unpack[SandboxOptions],
    ) -> AsyncIterator[AsyncSession]:
        """Give one session of a sandbox of its own, and end both."""
        async with (
            self.sandbox(image, **options) as sandbox,
            sandbox.create_session(id=id, manifest=manifest) as session,
        ):
            yield session

    def close(self) -> None:
        """End the worker threads."""
        self._threads.shutdown()


class _AsyncSandbox(AsyncDockerSandbox):
    def __init__(self, api: Api, image: str, options: SandboxOptions) -> None:
        super().__init__(image=image, **options)
        self._api = api

    def create_session(
        self,
        *,
        id: str | None = None,
        workspace: Workspace | None = None,
        manifest: Manifest | None = None,
        metadata: Mapping[str, str] | None = None,
        ports: Sequence[int] = (),
    ) -> SessionRequest:
        name = self._api.new_id() if id is None else id
        return super().create_session(
            id=name, workspace=workspace, manifest=manifest, metadata=metadata, ports=ports
        )


class _BlockingSandbox(DockerSandbox):
    def __init__(self, api: Api, image: str, options: SandboxOptions) -> None:
        super().__init__(image=image, **options)
        self._api = api

    def create_session(
        self,
        *,
        id: str | None = None,
        workspace: Workspace | None = None,
        manifest: Manifest | None = None,
        metadata: Mapping[str, str] | None = None,
        ports: Sequence[int] = (),
    ) -> Session:
        name = self._api.new_id() if id is None else id
        return super().create_session(
            id=name, workspace=workspace, manifest=manifest, metadata=metadata, ports=ports
        )


class _Awaited:
    """A blocking object under the names of its asynchronous twin."""

    def __init__(self, inner: Any, threads: ThreadPoolExecutor) -> None:
        self._inner = inner
        self._threads = threads

    def __repr__(self) -> str:
        return repr(self._inner)

    def __getattr__(self, name: str) -> Any:
        if name == "statistics":
            # Not a coroutine in either API; the blocking one refuses a thread that runs a loop.
            return lambda: self._threads.submit(self._inner.statistics).result()
        member = getattr(self._inner, "close" if name == "aclose" else name)
        if not callable(member):
            return member
        if name in _ENTERED:
            return lambda *args, **options: _Made(lambda: member(*args, **options), self._threads)
        if name in _ITERATED:
            return lambda *args, **options: _Awaited(member(*args, **options), self._threads)
        return lambda *args, **options: self._run(lambda: member(*args, **options))

    async def _run(self, call: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def __aenter__(self) -> Self:
        await self._run(self._inner.__enter__)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._run(lambda: self._inner.__exit__(kind, error, trace))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        # StopIteration cannot cross a future.
        item = await self._run(lambda: next(self._inner, _END))
        if item is _END:
            raise StopAsyncIteration
        return item


class _Made:
    """A session that is yet to be made: awaited, or entered."""

    def __init__(self, make: Callable[[], Any], threads: ThreadPoolExecutor) -> None:
        self._make = make
        self._threads = threads
        self._session: _Awaited | None = None

    async def _wait(self) -> _Awaited:
        loop = asyncio.get_running_loop()
        return _Awaited(await loop.run_in_executor(self._threads, self._make), self._threads)

    def __await__(self) -> Generator[Any, None, _Awaited]:
        return self._wait().__await__()

    async def __aenter__(self) -> _Awaited:
        self._session = await self._wait()
        return await self._session.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._session is not None
        await self._session.__aexit__(kind, error, trace)
