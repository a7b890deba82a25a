"""Images on a Docker engine: look them up, and pull them as the policy says."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from fumehood.engines import labels
from fumehood.engines.base import Image, PullPolicy, PullProgress
from fumehood.engines.docker_client import ApiClient
from fumehood.engines.docker_errors import ApiError
from fumehood.engines.docker_facts import architecture
from fumehood.engines.docker_listing import mapping, sequence, text_map
from fumehood.errors import ImageNotFoundError, ImageRefusedError

CACHE_SECONDS = 5.0
"""How long a reference is known to be an id: many sessions in a row ask once."""


class Images:
    """The images of one engine."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self._known: dict[tuple[str, str | None], tuple[float, Image]] = {}

    async def prepare(
        self,
        reference: str,
        *,
        pull: PullPolicy,
        platform: str | None,
        progress: Callable[[PullProgress], None] | None,
    ) -> Image:
        """Return the image; see :meth:`fumehood.engines.base.Engine.prepare_image`."""
        known = self._known.get((reference, platform))
        if pull != "always" and known is not None and time.monotonic() - known[0] < CACHE_SECONDS:
            return known[1]
        image = await self._inspect(reference, platform)
        if image is None:
            raise ImageNotFoundError(
                f"image {reference!r} is not on this engine and pull is 'never': "
                f"run docker pull {reference}"
            )
        self._known[reference, platform] = (time.monotonic(), image)
        return image

    def forget(self) -> None:
        """Look every reference up again: an image that was known is gone."""
        self._known.clear()

    async def _inspect(self, reference: str, platform: str | None) -> Image | None:
        try:
            async with self._api.calling(f"looking for image {reference!r}") as docker:
                found = await docker.images.inspect(reference)
        except ApiError as exc:
            if exc.status == 404:
                return None
            raise
        return read_image(mapping(found), reference)


def read_image(data: Mapping[str, object], reference: str) -> Image:
    """Return what an inspection says of an image."""
    config = mapping(data.get("Config"))
    if str(data.get("Os", "linux")) != "linux":
        raise ImageRefusedError(f"image {reference!r} is not a Linux image")
    env: list[tuple[str, str]] = []
    for item in sequence(config.get("Env")):
        name, _, value = str(item).partition("=")
        env.append((name, value))
    return Image(
        id=str(data["Id"]),
        reference=reference,
        user=str(config.get("User") or ""),
        env=tuple(env),
        workdir=str(config.get("WorkingDir") or ""),
        architecture=architecture(data.get("Architecture"), f"image {reference!r}"),
        volumes=tuple(sorted(mapping(config.get("Volumes")))),
        reserved_labels=tuple(
            sorted(key for key in text_map(config.get("Labels")) if labels.is_reserved(key))
        ),
    )
