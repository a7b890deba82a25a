"""Held states that leave a Docker engine, and others that come in.

What leaves is read from containers that never start: the whole file system, so that no engine needs
an image that only another one has, and the workspace. What comes in is unpacked by the engine into
an image that has no name but ours and no configuration but what is given here, and into a new
volume; then it is held as any other state is, with the same steps and the same sweep.
"""

from __future__ import annotations

import secrets
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Mapping,
)
from contextlib import aclosing, contextmanager

from fumehood._version import __version__
from fumehood.engines import docker_held, labels
from fumehood.engines.docker_client import ApiClient
from fumehood.engines.docker_copier import COPY_SECONDS
from fumehood.engines.docker_errors import api_error
from fumehood.engines.docker_held import draft_name
from fumehood.engines.docker_listing import identifier, mapping
from fumehood.engines.docker_references import layer_reference
from fumehood.engines.docker_removal import Remover
from fumehood.engines.docker_state import COMMIT_SECONDS, Holdings
from fumehood.engines.state import Holding, ImageConfig, TakeRequest
from fumehood.errors import EngineError, EngineUnsupportedError, SandboxError


class Moves:
    """Lets held states out of one engine, and into it."""

    def __init__(self, api: ApiClient, *, holdings: Holdings, remover: Remover) -> None:
        self._api = api
        self._holdings = holdings
        self._remover = remover

    # --- out -----------------------------------------------------------------------------------

    async def config(self, holding: Holding) -> ImageConfig:
        """Return what sessions with these files begin with."""
        return docker_held.image_config(await self._image(holding.image_id))

    async def files(self, holding: Holding) -> AsyncGenerator[bytes, None]:
        """Yield the file system as a tar archive."""
        # Not the holding container's own: that has the record in it.
        token = secrets.token_hex(16)
        doing = f"reading the files of {holding.kind} {holding.name!r}"
        try:
            reader = await self._stand_in(holding.image_id, token, layer="", doing=doing)
            chunks = self._api.chunks(
                "GET", f"containers/{reader}/export", doing=doing, seconds=COPY_SECONDS
            )
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield chunk
        finally:
            await self._api.cleanups.run(self._holdings.discard_draft(token))

    async def workspace(self, holding: Holding) -> AsyncGenerator[bytes, None]:
        """Yield the workspace's files as a tar archive."""
        chunks = self._api.chunks(
            "GET",
            f"containers/{holding.id}/archive",
            params={"path": f"{holding.workdir}/."},
            doing=f"reading the workspace of {holding.kind} {holding.name!r}",
            seconds=COPY_SECONDS,
        )
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk

    # --- in ------------------------------------------------------------------------------------

    async def take_in(
        self,
        request: TakeRequest,
        *,
        files: AsyncIterable[bytes],
        workspace: AsyncIterable[bytes],
        complete: Callable[[], Awaitable[int]],
    ) -> Holding:
        """Hold files that come from elsewhere; see the protocol."""
        await self._holdings.check_free(request)
        try:
            image_id, size = await self._take_files(request, _Watched(files))
            draft = await self._holdings.draft(request, image_id, request.token, None)
            await self._take_workspace(draft, _Watched(workspace))
            record = {
                **request.record,
                "layer_bytes": size,
                "workspace_bytes": await complete(),
                "duration": 0,
            }
            await self._holdings.put_record(draft, request.token, record)
            return await self._holdings.give_name(request, draft)
        except BaseException:
            await self._api.cleanups.run(self._holdings.abandon(request))
            raise

    async def _take_files(self, request: TakeRequest, files: _Watched) -> tuple[str, int]:
        """Make an image of a file system; return its id and its bytes."""
        repository, _, tag = layer_reference(request.token).partition(":")
        doing = "taking in the file system of a snapshot"

        def take(line: Mapping[str, object]) -> None:
            detail = line.get("error") or mapping(line.get("errorDetail")).get("message")
            if detail:
                raise api_error(500, str(detail), doing)

        with files.sent():
            await self._api.each_line(
                "POST",
                "images/create",
                take=take,
                params={
                    "fromSrc": "-",
                    "repo": repository,
                    "tag": tag,
                    # From here on a sweep knows whose it is.
                    "changes": f"LABEL {labels.LAYER}={request.token}",
                },
                data=files,
                headers={"Content-Type": "application/x-tar"},
                doing=doing,
                seconds=COPY_SECONDS,
            )
        # The engine would read the rest of the configuration as lines of a Dockerfile, which were
        # not made for texts from elsewhere: an image that is committed takes it as it is.
        unpacked = await self._image(layer_reference(request.token))
        if unpacked.get("Architecture") != request.config.architecture:
            raise EngineUnsupportedError(
                f"the snapshot is for {request.config.architecture}, and this engine makes "
                f"images for {unpacked.get('Architecture')}"
            )
        stand_in = await self._stand_in(
            identifier(unpacked, doing), request.token, layer=request.token, doing=doing
        )
        answer = mapping(
            await self._api.request(
                "POST",
                "commit",
                params={"container": stand_in, "repo": repository, "tag": tag, "pause": "0"},
                body=docker_held.taken_config(
                    await self._holdings.inspect(stand_in, doing), request.config, request.token
                ),
                doing=doing,
                seconds=COMMIT_SECONDS,
            )
        )
        await self._remover.remove_container(stand_in, "what an image was made of", force=False)
        image_id = identifier(answer, doing)
        made = await self._image(image_id)
        size = made.get("Size")
        return image_id, size if isinstance(size, int) else 0

    async def _take_workspace(self, draft: str, workspace: _Watched) -> None:
        with workspace.sent():
            await self._api.request(
                "PUT",
                f"containers/{draft}/archive",
                # Not the workspace's own place: an engine refuses links that lead out of where it
                # unpacks.
                params={"path": "/"},
                data=workspace,
                content_type="application/x-tar",
                doing="taking in the workspace of a snapshot",
                seconds=COPY_SECONDS,
            )

    # --- both ----------------------------------------------------------------------------------

    async def _image(self, reference: str) -> Mapping[str, object]:
        found = await self._api.find(f"images/{reference}/json", doing="looking at an image")
        if found is None:
            raise EngineError("the image of a snapshot is not on the engine any more")
        return found

    async def _stand_in(self, image_id: str, token: str, *, layer: str, doing: str) -> str:
        """Create a container that never starts, which a sweep takes for a draft."""
        marks = {
            labels.OURS: __version__,
            labels.HELD: "",
            labels.TOKEN_HELD: token,
            labels.TAKEN: "1",
            labels.NONCE: "",
            labels.SESSION: "",
        }
        body = docker_held.holding_body(image_id, marks, layer=layer, workdir="", mount=None)
        answer = mapping(
            await self._api.request(
                "POST",
                "containers/create",
                params={"name": draft_name(token)},
                body=body,
                doing=doing,
            )
        )
        return identifier(answer, doing)


class _Watched:
    """Bytes for the body of a call; what goes wrong in making them is not lost with the call."""

    def __init__(self, pieces: AsyncIterable[bytes]) -> None:
        self._pieces = pieces
        self._error: Exception | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._pieces:
                yield piece
        except Exception as exc:
            self._error = exc
            raise

    @contextmanager
    def sent(self) -> Generator[None, None, None]:
        """Give a context for the call: it raises what went wrong here, not that the call broke."""
        try:
            yield
        except SandboxError as exc:
            if self._error is not None:
                raise self._error from exc
            raise
