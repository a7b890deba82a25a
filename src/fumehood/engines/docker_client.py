"""One engine: aiodocker with a negotiated API version, deadlines and mapped errors.

Calls that aiodocker offers go through it; what it lacks (a create's warnings, a raw stream, event
history, an uncompressed upload) is asked of the Engine API over the same session.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import cast

import aiodocker
import aiohttp
from yarl import URL

from fumehood.engines import docker_errors, docker_host, docker_listing
from fumehood.engines.cleanups import Cleanups
from fumehood.engines.docker_endpoints import Endpoint, UnixEndpoint
from fumehood.engines.docker_stream import DockerStream, take_over
from fumehood.engines.docker_text import printable
from fumehood.errors import EngineError, EngineUnavailableError, EngineUnsupportedError

_log = logging.getLogger("fumehood.engine")

MIN_API: tuple[int, int] = (1, 41)
"""The oldest Engine API that has what the hardened profile needs (Docker 20.10)."""
MAX_API: tuple[int, int] = (1, 52)
"""The newest one that we ask for: a later engine is spoken to in this version."""

CALL_SECONDS = 60.0
CONNECT_SECONDS = 10.0
CLOSE_SECONDS = 2.0
"""In which connections say goodbye: the last thing that a client does, and often in a hurry."""
_MAX_JSON_LINE = 1 << 20
_VERSION_REFUSED = re.compile(r"client version \S+ is too (old|new)\b")


class ApiClient:
    """The Engine API of one engine. Belongs to the event loop that first uses it."""

    def __init__(self, docker_host: str | None) -> None:
        self._host = docker_host
        self._endpoint: Endpoint | None = None
        self._docker: aiodocker.Docker | None = None
        self._connecting = asyncio.Lock()
        self._version: Mapping[str, object] = {}
        self._agreed = False
        self._closed = False
        self.cleanups: Cleanups = Cleanups()
        """What is still to be asked of the engine before it is closed."""

    def __repr__(self) -> str:
        state = "closed" if self._closed else "connected" if self._docker else "new"
        return f"<ApiClient {self.address} {state}>"

    @property
    def address(self) -> str:
        """Where the engine is; before the first call, what is known of that."""
        if self._endpoint is not None:
            return self._endpoint.address
        return self._host or "the address of `docker context`"

    @property
    def local(self) -> bool:
        """Whether the engine is behind a socket of this machine."""
        return isinstance(self._endpoint, UnixEndpoint)

    @property
    def api_version(self) -> str:
        """The version that both sides speak, once connected (``"1.41"``)."""
        return self._docker.api_version.removeprefix("v") if self._docker else ""

    async def version(self) -> Mapping[str, object]:
        """Return the engine's ``/version``, asked once."""
        await self._connected()
        return self._version

    async def _connected(self) -> aiodocker.Docker:
        if self._docker is not None and self._agreed:
            return self._docker
        async with self._connecting:
            if self._docker is None:
                self._docker = await self._connect()
            elif not self._agreed:
                await self._agree(self._docker)
            return self._docker

    async def _connect(self) -> aiodocker.Docker:
        if self._closed:
            raise EngineError("the engine was closed")
        # In a thread: the docker command line's configuration is in files.
        endpoint = await asyncio.to_thread(docker_host.resolve, self._host)
        self._endpoint = endpoint
        with docker_errors.mapped("connecting", endpoint.address):
            url, connector = await endpoint.open()
        docker = aiodocker.Docker(
            url=url,
            connector=connector,
            session=aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            ),
            api_version=f"v{MIN_API[0]}.{MIN_API[1]}",
        )
        try:
            await self._agree(docker)
        except BaseException:
            await self._say_goodbye(docker)
            await endpoint.close()
            raise
        return docker

    async def _agree(self, docker: aiodocker.Docker) -> None:
        async with self._watched("connecting", CALL_SECONDS):
            # Without a version: every engine answers, also one that is too old or too new.
            async with docker.session.get(URL(f"{docker.docker_host}/version")) as response:
                body = await self._checked(response, "asking for the engine's version")
            self._version = docker_listing.mapping(json.loads(body))
            docker.api_version = f"v{negotiate(self._version, self.address)}"
        self._agreed = True
        _log.debug(
            "connected to %s: version %s, API %s",
            self.address,
            printable(str(self._version.get("Version"))),
            docker.api_version,
        )

    @asynccontextmanager
    async def _watched(self, doing: str, seconds: float | None) -> AsyncGenerator[None, None]:
        """Bound what is done by a deadline in seconds and map its errors."""
        assert self._endpoint is not None
        try:
            with docker_errors.mapped(doing, self.address):
                async with asyncio.timeout(seconds):
                    yield
        except EngineUnavailableError as exc:
            if said := await self._endpoint.diagnosis():
                raise EngineUnavailableError(f"{exc}; it said: {printable(said)}") from exc
            raise

    @asynccontextmanager
    async def calling(
        self, doing: str, *, seconds: float | None = CALL_SECONDS
    ) -> AsyncGenerator[aiodocker.Docker, None]:
        """Give aiodocker for one call, with a deadline in seconds, mapped errors and a log line.

        Raises:
            ApiError: the engine answered with an error status.
            EngineUnavailableError: it cannot be reached.
            EngineUnsupportedError: it is another than at the last call and speaks other versions.
            OperationTimeoutError: it did not answer in time.
        """
        docker = await self._connected()
        started = time.monotonic()
        outcome = "failed"
        try:
            async with self._watched(doing, seconds):
                yield docker
            outcome = "done"
        except docker_errors.ApiError as exc:
            outcome = f"answered {exc.status}"
            if exc.status == 400 and _VERSION_REFUSED.match(exc.detail):
                # Another release has taken the engine's place since the two agreed.
                self._agreed = False
                raise EngineUnsupportedError(
                    f"{exc}; it was updated or replaced: call again, and the API version is "
                    "negotiated anew"
                ) from exc
            raise
        finally:
            took = (time.monotonic() - started) * 1000
            _log.debug("%s: %s after %.1f ms", doing, outcome, took)

    async def request(
        self,
        method: str,
        path: str,
        *,
        doing: str,
        params: Mapping[str, str] | None = None,
        body: object = None,
        data: bytes | AsyncIterable[bytes] | None = None,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        seconds: float | None = CALL_SECONDS,
    ) -> object:
        """Make one call and return its JSON, or ``None`` for an empty answer."""
        async with self.calling(doing, seconds=seconds) as docker:
            async with self._open(
                docker,
                method,
                path,
                params=params,
                data=data if body is None else json.dumps(body).encode(),
                headers={"Content-Type": content_type, **(headers or {})},
            ) as response:
                answer = await self._checked(response, doing)
            return json.loads(answer) if answer.strip() else None

    async def find(self, path: str, *, doing: str) -> Mapping[str, object] | None:
        """Return one object of the engine as it shows it, or ``None`` if there is none."""
        try:
            found = await self.request("GET", path, doing=doing)
        except docker_errors.ApiError as exc:
            if exc.status == 404:
                return None
            raise
        if not isinstance(found, dict):
            raise EngineError(f"{doing}: the engine's answer is not an object")
        return cast("Mapping[str, object]", found)

    async def clock(self) -> float:
        """Return the engine's own time, in seconds since the epoch.

        Raises:
            EngineError: it does not tell a time that could be read.
        """
        info = await self.find("info", doing="asking for the engine's time")
        now = docker_listing.timestamp((info or {}).get("SystemTime"))
        if not now:
            raise EngineError(f"the engine at {self.address} does not tell its time")
        return now

    async def each_line(
        self,
        method: str,
        path: str,
        *,
        take: Callable[[Mapping[str, object]], None],
        doing: str,
        params: Mapping[str, str] | None = None,
        data: AsyncIterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> None:
        """Make one call and hand over the JSON objects of its answer, one a line, as they come.

        A connection that breaks in the middle is an error, never a short answer. It calls back and
        yields nothing: an asynchronous generator that waits when its event loop is closed under it
        cannot be closed any more, and complains. What ``take`` raises ends the call, as it is.
        """
        refusal: Exception | None = None
        async with (
            self.calling(doing, seconds=seconds) as docker,
            self._open(docker, method, path, params=params, data=data, headers=headers) as response,
        ):
            if response.status >= 400:
                await self._checked(response, doing)
            pending = b""
            async for chunk in response.content.iter_any():
                *whole, pending = (pending + chunk).split(b"\n")
                if len(pending) > _MAX_JSON_LINE:
                    raise EngineError(f"{doing}: the engine's answer has an endless line")
                if refusal := _refusal(take, whole):
                    break
            else:
                try:
                    refusal = _refusal(take, [pending])
                except json.JSONDecodeError as exc:
                    raise docker_errors.ApiBrokenOffError(
                        f"{doing}: the engine's answer ends in the middle of a line"
                    ) from exc
        if refusal is not None:
            # Not in the context above: there a ValueError is an answer that is no JSON.
            raise refusal

    async def chunks(
        self,
        method: str,
        path: str,
        *,
        doing: str,
        params: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """Make one call and yield the bytes of its answer as they come. Close the generator."""
        async with (
            self.calling(doing, seconds=seconds) as docker,
            self._open(docker, method, path, params=params, data=None, headers=None) as response,
        ):
            if response.status >= 400:
                await self._checked(response, doing)
            async for chunk in response.content.iter_any():
                yield chunk

    @asynccontextmanager
    async def waiting(
        self, container: str, condition: str, *, doing: str, seconds: float
    ) -> AsyncGenerator[Callable[[], Awaitable[int]], None]:
        """Register a wait for a container; give a coroutine function that returns its exit code.

        The engine has the wait before the body runs: a container that is started there and ends at
        once is not missed.

        Args:
            condition: ``"next-exit"`` or ``"removed"``.
            seconds: the bound for everything, the body included.
        """
        async with (
            self.calling(doing, seconds=seconds) as docker,
            self._open(
                docker,
                "POST",
                f"containers/{container}/wait",
                params={"condition": condition},
                data=None,
                headers=None,
            ) as response,
        ):
            if response.status >= 400:
                await self._checked(response, doing)

            async def exit_code() -> int:
                answer = docker_listing.mapping(json.loads(await response.read()))
                error = docker_listing.mapping(answer.get("Error")).get("Message")
                if error:
                    raise EngineError(f"{doing} failed: {printable(str(error))}")
                code = answer.get("StatusCode")
                if not isinstance(code, int):
                    raise EngineError(f"{doing}: the engine's answer has no exit code")
                return code

            yield exit_code

    async def hijack(
        self,
        path: str,
        *,
        doing: str,
        what: str,
        params: Mapping[str, str] | None = None,
        body: object = None,
        can_break: bool = False,
    ) -> DockerStream:
        """Make a call that turns its connection into a raw stream, and return the stream.

        Args:
            doing: the call, for messages.
            what: the stream, for messages about its later life.
            can_break: what the stream says of itself.
        """
        async with self.calling(doing) as docker:
            response = await docker.session.post(
                self._url(docker, path),
                params=params,
                data=None if body is None else json.dumps(body).encode(),
                headers={
                    "Content-Type": "application/json",
                    "Connection": "Upgrade",
                    "Upgrade": "tcp",
                },
            )
            if response.status >= 400:
                async with response:
                    await self._checked(response, doing)
            return take_over(response, address=self.address, what=what, can_break=can_break)

    def _url(self, docker: aiodocker.Docker, path: str) -> URL:
        return URL(f"{docker.docker_host}/{docker.api_version}/{path}")

    def _open(
        self,
        docker: aiodocker.Docker,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None,
        data: bytes | AsyncIterable[bytes] | None,
        headers: Mapping[str, str] | None,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return docker.session.request(
            method, self._url(docker, path), params=params, data=data, headers=headers
        )

    async def _checked(self, response: aiohttp.ClientResponse, doing: str) -> bytes:
        body = await response.read()
        if response.status < 400:
            return body
        try:
            message = str(json.loads(body)["message"])
        except (ValueError, KeyError, TypeError):
            message = body.decode("utf-8", "replace")
        raise docker_errors.api_error(response.status, message, doing)

    async def close(self) -> None:
        """Wait for clean-up that is under way, then close every connection. Idempotent."""
        await self.cleanups.settle()
        self._closed = True
        docker, self._docker = self._docker, None
        if docker is not None:
            await self._say_goodbye(docker)
            await docker.close()
        if self._endpoint is not None:
            await self._endpoint.close()

    async def _say_goodbye(self, docker: aiodocker.Docker) -> None:
        try:
            # aiohttp waits until each connection has told of its end. An interrupt that hits the
            # event loop can swallow that, and then nobody would ever hear of it.
            async with asyncio.timeout(CLOSE_SECONDS):
                await docker.session.close()
        except TimeoutError:
            _log.warning("not every connection to %s has told of its end", self.address)


def negotiate(version: Mapping[str, object], address: str) -> str:
    """Return the newest API version that both sides speak (``"1.41"``).

    Raises:
        EngineUnsupportedError: there is none.
    """
    newest = _parse(version.get("ApiVersion"))
    oldest = _parse(version.get("MinAPIVersion")) or (1, 0)
    if newest is None:
        raise EngineUnsupportedError(
            f"what answers at {address} does not say which API version it speaks"
        )
    if newest < MIN_API:
        raise EngineUnsupportedError(
            f"the engine at {address} speaks API {_dotted(newest)}; {_dotted(MIN_API)} "
            "(Docker 20.10) or newer is needed"
        )
    if oldest > MAX_API:
        raise EngineUnsupportedError(
            f"the engine at {address} needs API {_dotted(oldest)} or newer; this version of "
            f"fumehood speaks up to {_dotted(MAX_API)}: update fumehood"
        )
    return _dotted(min(newest, MAX_API))


def _parse(value: object) -> tuple[int, int] | None:
    major, _, minor = str(value or "").partition(".")
    if not (major.isdecimal() and minor.isdecimal() and len(major) + len(minor) <= 9):
        return None
    return int(major), int(minor)


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _refusal(
    take: Callable[[Mapping[str, object]], None], lines: Sequence[bytes]
) -> Exception | None:
    """Hand over the lines; return what the taker raised, if it did."""
    for line in lines:
        if line.strip():
            found = json.loads(line)
            if not isinstance(found, dict):
                raise ValueError("a line of the answer is not an object")
            try:
                take(cast("Mapping[str, object]", found))
            except Exception as exc:  # noqa: BLE001 - it is raised again, where it means what it says
                return exc
    return None
