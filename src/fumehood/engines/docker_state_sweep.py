"""The sweep of held states: what expired, what was never finished, what nothing uses any more.

As safe beside those who hold and resume as the other sweep is: an image that a container uses and a
volume that one has are refused by the engine, and what may be under way is left its time.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping

from fumehood.engines import docker_held, labels
from fumehood.engines.base import SweepReport
from fumehood.engines.docker_client import ApiClient
from fumehood.engines.docker_copier import COPIER_NAME, COPY_SECONDS
from fumehood.engines.docker_held import DRAFT_NAME, draft_name
from fumehood.engines.docker_listing import mapping, sequence, text_map, timestamp
from fumehood.engines.docker_references import layer_reference
from fumehood.engines.docker_removal import Remover
from fumehood.engines.docker_state import Holdings
from fumehood.engines.state import Holding
from fumehood.errors import SandboxError

DRAFT_SECONDS = 600.0
"""For which a state may be unfinished while nothing is copied into it."""

_ANONYMOUS = re.compile(r"[0-9a-f]{64}")


class StateSweeper:
    """One sweep of one engine's held states."""

    def __init__(self, api: ApiClient, *, holdings: Holdings, remover: Remover) -> None:
        self._api = api
        self._holdings = holdings
        self._remover = remover
        self._containers: list[str] = []
        self._volumes: list[str] = []
        self._images: list[str] = []
        self._kept: list[str] = []
        self._failed: dict[str, str] = {}

    async def sweep(self, *, now: float, minimum_age: float) -> SweepReport:
        """Look once and return what was found.

        Args:
            now: the engine's time, in seconds since the epoch.
            minimum_age: seconds; what is younger may be under way.
        """
        copied_into = await self._sweep_copiers(now, minimum_age)
        for item in await self._list("containers/json", labels.HELD):
            await self._sweep_held(item, now, minimum_age, copied_into)
        await self._sweep_volumes(now, minimum_age)
        await self._sweep_layers(now, minimum_age)
        return SweepReport(
            containers=tuple(self._containers),
            volumes=tuple(self._volumes),
            images=tuple(self._images),
            kept=tuple(self._kept),
            failed=dict(self._failed),
        )

    async def _list(self, path: str, label: str) -> list[Mapping[str, object]]:
        found = await self._api.request(
            "GET",
            path,
            params={"all": "1", "filters": json.dumps({"label": [label]})},
            doing="listing what could be swept",
        )
        return [mapping(item) for item in sequence(found)]

    async def _sweep_copiers(self, now: float, minimum_age: float) -> set[str]:
        """Remove those that hang or never began; return the names of what is copied into."""
        targets: set[str] = set()
        for item in await self._list("containers/json", labels.COPY):
            names = [str(name) for name in sequence(item.get("Names"))]
            if len(names) != 1 or not COPIER_NAME.fullmatch(names[0]):
                continue
            running = item.get("State") == "running"
            if _age(item, now) < (COPY_SECONDS if running else minimum_age):
                targets.add(text_map(item.get("Labels")).get(labels.COPY, ""))
                self._kept.append(names[0].removeprefix("/"))
            else:
                await self._remove(str(item.get("Id")), names[0].removeprefix("/"), force=running)
        return targets

    async def _sweep_held(
        self, item: Mapping[str, object], now: float, minimum_age: float, copied_into: set[str]
    ) -> None:
        holding = docker_held.from_list(item)
        if holding is not None:
            await self._sweep_holding(holding, now, minimum_age)
            return
        token = text_map(item.get("Labels")).get(labels.TOKEN_HELD, "")
        names = [str(name) for name in sequence(item.get("Names"))]
        if len(names) != 1 or not DRAFT_NAME.fullmatch(names[0]):
            return
        name = draft_name(token)
        if names[0] != f"/{name}":
            return
        taken = text_map(item.get("Labels")).get(labels.TAKEN)
        patience = COPY_SECONDS if taken else max(DRAFT_SECONDS, minimum_age)
        if name in copied_into or _age(item, now) < patience:
            self._kept.append(name)
        else:
            await self._remove(str(item.get("Id")), name, force=False)

    async def _sweep_holding(self, holding: Holding, now: float, minimum_age: float) -> None:
        name = docker_held.holding_name(holding.kind, holding.name)
        try:
            if holding.expires_at is not None and now > holding.expires_at:
                destroy = holding.destroy_workspace
                await self._holdings.remove(holding, destroy_workspace=destroy)
                self._containers.append(name)
                return
            self._kept.append(name)
            if holding.kind == "stopped" and now - holding.created_at >= minimum_age:
                await self._finish_stop(holding)
        except SandboxError as exc:
            self._failed[name] = str(exc)

    async def _finish_stop(self, holding: Holding) -> None:
        """Remove the session that a client has stopped and then did not live to remove."""
        live = await self._remover.find(holding.name)
        if live is not None and docker_held.is_origin(holding, live):
            await self._remove(live.id, f"session {holding.name!r}", force=True)

    async def _remove(self, engine_id: str, name: str, *, force: bool) -> None:
        try:
            removed = await self._remover.remove_container(engine_id, name, force=force)
        except SandboxError as exc:
            self._failed[name] = str(exc)
            return
        (self._containers if removed else self._kept).append(name)

    async def _sweep_volumes(self, now: float, minimum_age: float) -> None:
        answer = mapping(
            await self._api.request(
                "GET",
                "volumes",
                params={"filters": json.dumps({"label": [labels.TOKEN_HELD]})},
                doing="listing volumes that could be swept",
            )
        )
        for item in map(mapping, sequence(answer.get("Volumes"))):
            name = str(item.get("Name"))
            token = text_map(item.get("Labels")).get(labels.TOKEN_HELD, "")
            young = now - timestamp(item.get("CreatedAt")) < minimum_age
            if young or not _ANONYMOUS.fullmatch(name) or not labels.is_token(token):
                continue
            try:
                if await self._remover.remove_volume(name, f"volume {name}"):
                    self._volumes.append(name)
            except SandboxError as exc:
                self._failed[name] = str(exc)

    async def _sweep_layers(self, now: float, minimum_age: float) -> None:
        for item in await self._list("images/json", labels.LAYER):
            tag = text_map(item.get("Labels")).get(labels.LAYER, "")
            reference = layer_reference(tag)
            # Under another name it is somebody's own, made of one of ours.
            if not labels.is_token(tag) or reference not in sequence(item.get("RepoTags")):
                continue
            if _age(item, now) < minimum_age:
                continue
            try:
                if await self._remover.remove_layer(tag):
                    self._images.append(reference)
                else:
                    self._kept.append(reference)
            except SandboxError as exc:
                self._failed[reference] = str(exc)


def joined(one: SweepReport, other: SweepReport) -> SweepReport:
    """Return two reports as one."""
    return dataclasses.replace(
        one,
        containers=one.containers + other.containers,
        volumes=one.volumes + other.volumes,
        images=one.images + other.images,
        kept=one.kept + other.kept,
        failed={**one.failed, **other.failed},
    )


def _age(item: Mapping[str, object], now: float) -> float:
    created = item.get("Created")
    return now - float(created) if isinstance(created, (int, float)) else 0.0
