"""One suite for two APIs: the blocking classes behind the awaited names.

A test is written once, against the asynchronous classes. In the ``blocking`` flavour the same names
lead to the blocking classes: each method runs in a worker thread of its own, ``async with`` and
``async for`` become ``with`` and ``for`` there. Nothing is translated besides.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
from collections.abc import AsyncIterator, Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Literal, Self, Unpack, cast

from contract.scripted import COMMANDS
from fumehood import (
    AsyncDockerSandbox,
    AsyncSession,
    DockerSandbox,
    Manifest,
    Session,
    Snapshot,
    Volume,
    Workspace,
)
from fumehood._sync.base import Blocking
from fumehood.sandbox import SandboxOptions
from fumehood.session import SessionRequest
from fumehood.testing import AsyncMemorySandbox, MemorySandbox

Flavour = Literal["async", "blocking"]
FLAVOURS: tuple[Flavour, ...] = ("async", "blocking")
Where = Literal["docker", "memory"]

PYTHON = "fumehood/test-python"
NONROOT = "fumehood/test-python-nonroot"
BUSYBOX = "fumehood/test-busybox"
SCRATCH = "fumehood/test-scratch"

_END = object()


class Api:
    """One flavour of the public API. Every session gets an id by which leaks are found.

    Args:
        flavour: which one.
        prefix: what the ids begin with.
        where: on a real engine, or in memory, where commands do what ``contract.scripted`` says.
    """

    def __init__(self, flavour: Flavour, prefix: str, where: Where = "docker") -> None:
        self.flavour = flavour
        self.where = where
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
        if self.where == "memory":
            return self._in_memory(image, options)
        if self.flavour == "async":
            return _AsyncSandbox(self, image, options)
        sandbox = _BlockingSandbox(self, image, options)
        return cast("AsyncDockerSandbox", _Awaited(sandbox, self._threads))

    def _in_memory(self, image: str, options: SandboxOptions) -> AsyncDockerSandbox:
        if self.flavour == "async":
            return AsyncMemorySandbox(commands=COMMANDS, image=image, **options)
        sandbox = MemorySandbox(commands=COMMANDS, image=image, **options)
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
        volumes: Sequence[Volume] | None = None,
        from_snapshot: Snapshot | str | None = None,
    ) -> SessionRequest:
        name = self._api.new_id() if id is None else id
        return super().create_session(
            id=name,
            workspace=workspace,
            manifest=manifest,
            metadata=metadata,
            ports=ports,
            volumes=volumes,
            from_snapshot=from_snapshot,
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
        volumes: Sequence[Volume] | None = None,
        from_snapshot: Snapshot | str | None = None,
    ) -> Session:
        name = self._api.new_id() if id is None else id
        return super().create_session(
            id=name,
            workspace=workspace,
            manifest=manifest,
            metadata=metadata,
            ports=ports,
            volumes=volumes,
            from_snapshot=from_snapshot,
        )


class _Awaited:
    """A blocking object under the names of its asynchronous twin.

    What the twin's method is decides how the blocking one is called: a coroutine's runs in a
    thread, an opening's as well once it is awaited or entered, any other at once. The blocking
    objects in what is returned are put behind their twins' names too.
    """

    def __init__(self, inner: Blocking[Any], threads: ThreadPoolExecutor) -> None:
        self._inner = inner
        self._threads = threads

    def __repr__(self) -> str:
        return repr(self._inner)

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._inner, "close" if name == "aclose" else name)
        if not callable(member):
            return member
        twin = getattr(type(self._inner._async), name)
        if inspect.iscoroutinefunction(twin):
            return lambda *args, **options: self._run(lambda: member(*args, **options))
        returns = str(inspect.signature(twin).return_annotation)
        if returns == "SessionRequest" or returns.startswith("Opening["):
            return lambda *args, **options: _Made(lambda: member(*args, **options), self._threads)
        kind = member.__func__.__globals__.get(inspect.signature(member).return_annotation)
        if isinstance(kind, type) and issubclass(kind, Blocking):
            # A stream, say, that does nothing before its first step.
            return lambda *args, **options: self._twins(member(*args, **options))
        # Neither API waits in it, but the blocking one refuses a thread that runs a loop.
        return lambda *args, **options: self._threads.submit(member, *args, **options).result()

    async def _run(self, call: Callable[[], Any]) -> Any:
        loop = asyncio.get_running_loop()
        return self._twins(await loop.run_in_executor(self._threads, call))

    def _twins(self, value: Any) -> Any:
        if isinstance(value, Blocking):
            return _Awaited(value, self._threads)
        if type(value) is list:  # and no list that knows more
            return [self._twins(item) for item in value]
        return value

    async def __aenter__(self) -> Self:
        await self._run(cast("Any", self._inner).__enter__)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._run(lambda: cast("Any", self._inner).__exit__(kind, error, trace))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        # StopIteration cannot cross a future.
        item = await self._run(lambda: next(cast("Any", self._inner), _END))
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
