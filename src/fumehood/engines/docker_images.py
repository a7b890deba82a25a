"""Images on a Docker engine: look them up, and pull them as the policy says."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Mapping

from fumehood.engines import labels, registry_auth
from fumehood.engines.base import Image, PullPolicy, PullProgress
from fumehood.engines.docker_client import ApiClient
from fumehood.engines.docker_errors import ApiBrokenOffError, ApiError
from fumehood.engines.docker_facts import architecture
from fumehood.engines.docker_listing import identifier, mapping, sequence, text_map
from fumehood.engines.docker_references import check_reference, layer_reference
from fumehood.engines.docker_text import printable
from fumehood.errors import (
    EngineUnsupportedError,
    ImageNotFoundError,
    ImagePullError,
    ImageRefusedError,
    InvalidRequestError,
)

_log = logging.getLogger("fumehood.engine")

CACHE_SECONDS = 5.0
"""How long a reference is known to be an id: many sessions in a row ask once."""
_CACHE_ENTRIES = 256

_PLATFORM = re.compile(r"linux(?:/(?P<arch>[a-z0-9_]+)(?:/[a-z0-9]+)?)?")

_REFUSED = re.compile(r"unauthorized|denied|authentication|no basic auth", re.IGNORECASE)
_UNKNOWN = re.compile(r"not found|manifest unknown|does not exist", re.IGNORECASE)


def check_platform(platform: str | None) -> str | None:
    """Return a platform that we can serve: ``linux``, ``linux/amd64``, ``linux/arm64[/v8]``."""
    if platform is None:
        return None
    match = _PLATFORM.fullmatch(platform) if isinstance(platform, str) else None
    if match is None:
        raise InvalidRequestError(f"platform {platform!r} is not one such as 'linux/arm64'")
    if match["arch"]:
        architecture(match["arch"], f"platform {platform!r}")
    return platform


class Images:
    """The images of one engine."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self._known: dict[tuple[str, str | None], tuple[float, Image]] = {}
        # One pull of a reference at a time in this client: the engine would share the layers but
        # report the progress of each.
        self._pulls: dict[tuple[str, str | None], asyncio.Lock] = {}

    async def prepare(
        self,
        reference: str,
        *,
        pull: PullPolicy,
        platform: str | None,
        progress: Callable[[PullProgress], None] | None,
    ) -> Image:
        """Return the image; see :meth:`fumehood.engines.base.Engine.prepare_image`."""
        check_reference(reference)
        key = (reference, check_platform(platform))
        known = self._known.get(key)
        if pull != "always" and known is not None and time.monotonic() - known[0] < CACHE_SECONDS:
            return known[1]
        image = None if pull == "always" else await self._inspect(reference, platform)
        if image is None and pull == "never":
            if platform is not None and await self._inspect(reference, None) is not None:
                raise ImageRefusedError(
                    f"image {reference!r} on this engine is not for {platform!r} and pull is "
                    f"'never': run docker pull --platform {platform} {reference}"
                )
            raise ImageNotFoundError(
                f"image {reference!r} is not on this engine and pull is 'never': "
                f"run docker pull {reference}"
            )
        if image is None:
            image = await self._pull_once(key, pull, progress)
        if len(self._known) >= _CACHE_ENTRIES:
            self._known.clear()
        self._known[key] = (time.monotonic(), image)
        return image

    def forget(self) -> None:
        """Look every reference up again: an image that was known may be gone."""
        self._known.clear()

    async def _pull_once(
        self,
        key: tuple[str, str | None],
        pull: PullPolicy,
        progress: Callable[[PullProgress], None] | None,
    ) -> Image:
        reference, platform = key
        lock = self._pulls.setdefault(key, asyncio.Lock())
        async with lock:
            # Somebody may have pulled it while this one waited.
            image = await self._inspect(reference, platform) if pull == "missing" else None
            if image is None:
                await self._pull(reference, platform, progress)
                image = await self._inspect(reference, platform)
        self._pulls.pop(key, None)
        if image is None:
            raise ImagePullError(
                f"image {reference!r} was pulled, but the engine does not have it"
                + (f" for {platform}" if platform else "")
            )
        return image

    async def _inspect(self, reference: str, platform: str | None) -> Image | None:
        """Return the image, or ``None`` if the engine lacks it or has another platform's."""
        found = await self._api.find(
            f"images/{reference}/json", doing=f"looking for image {reference!r}"
        )
        if found is None:
            return None
        if platform is not None and not _serves(platform, found):
            _log.debug("image %s is there, but not for %s", reference, platform)
            return None
        return read_image(found, reference)

    async def _pull(
        self,
        reference: str,
        platform: str | None,
        progress: Callable[[PullProgress], None] | None,
    ) -> None:
        if reference.startswith("sha256:"):
            raise ImageNotFoundError(
                f"image {reference!r} is not on this engine, and an id alone cannot be pulled"
            )
        started = time.monotonic()
        _log.info("pulling %s%s", reference, f" for {platform}" if platform else "")
        params = {"fromImage": reference}
        if ":" not in reference.rpartition("/")[2]:
            # Without a tag the engine would pull every one of them.
            params["tag"] = "latest"
        if platform is not None:
            params["platform"] = platform
        credentials = await registry_auth.find(reference)
        headers = {} if credentials is None else {"X-Registry-Auth": credentials.header()}

        def take(line: Mapping[str, object]) -> None:
            error = line.get("error") or mapping(line.get("errorDetail")).get("message")
            if error:
                raise _failed(reference, str(error), signed_in=credentials is not None)
            if progress is not None:
                progress(_progress(reference, line))

        try:
            await self._api.each_line(
                "POST",
                "images/create",
                take=take,
                params=params,
                headers=headers,
                doing=f"pulling image {reference!r}",
            )
        except ApiError as exc:
            raise _failed(reference, exc.detail, signed_in=credentials is not None) from exc
        except ApiBrokenOffError as exc:
            raise ImagePullError(str(exc)) from exc
        _log.info("pulled %s in %.1f s", reference, time.monotonic() - started)


def _failed(reference: str, message: str, *, signed_in: bool) -> Exception:
    """Return what a failed pull means, by the registry's words: there is no code for it."""
    said = printable(message)
    registry = registry_auth.registry_of(reference)
    if "no matching manifest" in said:
        return EngineUnsupportedError(
            f"image {reference!r} has no variant for the platform asked for: {said}"
        )
    if _REFUSED.search(said):
        # Registries answer so for what does not exist, too, to those who are not signed in.
        hint = "check the credentials" if signed_in else f"run docker login {registry}"
        return ImagePullError(
            f"image {reference!r}: {registry} refuses it ({said}); it may not exist, or {hint}"
        )
    if _UNKNOWN.search(said):
        return ImageNotFoundError(f"image {reference!r} is not known to {registry}: {said}")
    return ImagePullError(f"pulling image {reference!r} failed: {said}")


def _progress(reference: str, line: Mapping[str, object]) -> PullProgress:
    detail = mapping(line.get("progressDetail"))
    current, total = detail.get("current"), detail.get("total")
    return PullProgress(
        image=reference,
        layer=printable(str(line.get("id", "")), limit=128),
        status=printable(str(line.get("status", "")), limit=256),
        current=current if isinstance(current, int) else 0,
        total=total if isinstance(total, int) else 0,
    )


def _serves(platform: str, found: Mapping[str, object]) -> bool:
    match = _PLATFORM.fullmatch(platform)
    wanted = match["arch"] if match else None
    if wanted is None:
        return True
    return architecture(wanted, "it") == architecture(
        found.get("Architecture"), f"image {printable(str(found.get('Id')))}"
    )


def _layer(data: Mapping[str, object], config: Mapping[str, object]) -> str:
    """Return the tag of an image of a session's file system: label and name must agree on it."""
    tag = text_map(config.get("Labels")).get(labels.LAYER, "")
    return tag if tag and layer_reference(tag) in sequence(data.get("RepoTags")) else ""


def read_image(data: Mapping[str, object], reference: str) -> Image:
    """Return what an inspection says of an image."""
    config = mapping(data.get("Config"))
    if str(data.get("Os") or "linux") != "linux":
        raise ImageRefusedError(f"image {reference!r} is not a Linux image")
    env: list[tuple[str, str]] = []
    for item in sequence(config.get("Env")):
        name, _, value = str(item).partition("=")
        env.append((name, value))
    return Image(
        id=identifier(data, f"looking for image {reference!r}"),
        reference=reference,
        user=str(config.get("User") or ""),
        env=tuple(env),
        workdir=str(config.get("WorkingDir") or ""),
        architecture=architecture(data.get("Architecture"), f"image {reference!r}"),
        volumes=tuple(sorted(mapping(config.get("Volumes")))),
        layer=_layer(data, config),
        reserved_labels=tuple(
            sorted(key for key in text_map(config.get("Labels")) if labels.is_reserved(key))
        ),
    )
