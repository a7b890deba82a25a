"""The sweep: what AutoRemove cannot see, found by label and taken away by exact name.

Any number of clients may sweep at once, while others create. What makes that safe is the engine: a
container that was never started is removed without force, so one that starts at that moment stays;
a volume that a container uses cannot be removed. Ages are by the engine's own clock.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping

from fumehood._supervisor.install import INSTALLER_PREFIX, Installer
from fumehood.engines import docker_listing, labels
from fumehood.engines.base import Container, SweepReport
from fumehood.engines.container_spec import container_name, warm_name, workspace_volume
from fumehood.engines.docker_client import ApiClient
from fumehood.engines.docker_removal import Remover
from fumehood.errors import SandboxError

_log = logging.getLogger("fumehood.engine")

TTL_SLACK = 30.0
"""Seconds past its TTL that a running session's own supervisor is left to end it."""
INSTALLER_SECONDS = 300.0
"""A filling container that runs for so long hangs."""

_INSTALLER = re.compile(rf"/{re.escape(INSTALLER_PREFIX)}[0-9a-f]{{16}}")
_ANONYMOUS = re.compile(r"[0-9a-f]{64}")


class Sweeper:
    """One sweep of one engine."""

    def __init__(self, api: ApiClient, *, remover: Remover, installer: Installer) -> None:
        self._api = api
        self._remover = remover
        self._installer = installer
        self._containers: list[str] = []
        self._volumes: list[str] = []
        self._supervisors: list[str] = []
        self._kept: list[str] = []
        self._failed: dict[str, str] = {}

    async def sweep(
        self,
        *,
        now: float,
        minimum_age: float,
        supervisors: bool,
        expired: Callable[[Container], Awaitable[bool]] | None,
    ) -> SweepReport:
        """Look once and return what was found.

        Args:
            now: the engine's time, in seconds since the epoch.
        """
        sessions = await self._sweep_sessions(now, minimum_age, expired)
        await self._sweep_installers(now, minimum_age)
        await self._sweep_volumes(now, minimum_age, sessions, supervisors=supervisors)
        report = SweepReport(
            containers=tuple(self._containers),
            volumes=tuple(self._volumes),
            supervisors=tuple(self._supervisors),
            kept=tuple(self._kept),
            failed=dict(self._failed),
        )
        removed = len(report.containers) + len(report.volumes) + len(report.supervisors)
        _log.log(
            logging.INFO if removed or report.failed else logging.DEBUG,
            "sweep of %s: %d containers, %d volumes, %d supervisors removed; %d kept; %d failed",
            self._api.address,
            len(report.containers),
            len(report.volumes),
            len(report.supervisors),
            len(report.kept),
            len(report.failed),
        )
        return report

    async def _list_containers(self, label: str) -> list[Mapping[str, object]]:
        found = await self._api.request(
            "GET",
            "containers/json",
            params={"all": "1", "filters": json.dumps({"label": [label]})},
            doing="listing what could be swept",
        )
        return [docker_listing.mapping(item) for item in docker_listing.sequence(found)]

    async def _sweep_sessions(
        self,
        now: float,
        minimum_age: float,
        expired: Callable[[Container], Awaitable[bool]] | None,
    ) -> set[str]:
        """Remove sessions that are over; return the ids of all that were there."""
        seen: set[str] = set()
        for item in await self._list_containers(labels.SESSION):
            container = docker_listing.from_list(item)
            if container is None:
                # Its labels say one thing and its name another: not ours to remove.
                continue
            # Volumes carry the id that their container was made with.
            seen.update({container.session_id, container.pool_id} - {""})
            name = (warm_name if container.warm else container_name)(container.session_id)
            try:
                await self._sweep_session(container, name, now, minimum_age, expired)
            except SandboxError as exc:
                self._failed[name] = str(exc)
        return seen

    async def _sweep_session(
        self,
        container: Container,
        name: str,
        now: float,
        minimum_age: float,
        expired: Callable[[Container], Awaitable[bool]] | None,
    ) -> None:
        age = now - container.created_at
        runs = container.state in ("running", "paused")
        over = container.state == "exited"
        if container.state == "created":
            over = age >= minimum_age
        elif runs and container.ttl is not None and not container.warm:
            # In a pool nobody's time runs yet: such a one ends with the client whose pool it is.
            over = age > container.ttl + TTL_SLACK
            if container.pool_id and expired is None:
                over = False  # its time counts from its claim, which only its supervisor knows
            if over and expired is not None:
                over = await expired(container)
        if over and await self._remover.remove_container(container.id, name, force=runs):
            self._containers.append(name)
        else:
            self._kept.append(name)

    async def _sweep_installers(self, now: float, minimum_age: float) -> None:
        for item in await self._list_containers(labels.INSTALL):
            names = [str(name) for name in docker_listing.sequence(item.get("Names"))]
            created = item.get("Created")
            if len(names) != 1 or not _INSTALLER.fullmatch(names[0]):
                continue
            age = now - float(created) if isinstance(created, (int, float)) else 0.0
            running = item.get("State") == "running"
            name = names[0].removeprefix("/")
            if age < (INSTALLER_SECONDS if running else minimum_age):
                self._kept.append(name)
                continue
            try:
                if await self._remover.remove_container(str(item.get("Id")), name, force=running):
                    self._containers.append(name)
            except SandboxError as exc:
                self._failed[name] = str(exc)

    async def _sweep_volumes(
        self, now: float, minimum_age: float, sessions: set[str], *, supervisors: bool
    ) -> None:
        answer = docker_listing.mapping(
            await self._api.request(
                "GET",
                "volumes",
                params={"filters": json.dumps({"label": [labels.OURS]})},
                doing="listing volumes that could be swept",
            )
        )
        for item in map(docker_listing.mapping, docker_listing.sequence(answer.get("Volumes"))):
            name = str(item.get("Name"))
            marks = docker_listing.text_map(item.get("Labels"))
            if now - docker_listing.timestamp(item.get("CreatedAt")) < minimum_age:
                continue
            session_id = marks.get(labels.SESSION)
            digest = marks.get(labels.SUPERVISOR, "")
            if session_id is not None and _ANONYMOUS.fullmatch(name):
                if session_id not in sessions and await self._remove_volume(name):
                    self._volumes.append(name)
            elif self._is_overdue_workspace(name, marks) and await self._remove_volume(name):
                self._volumes.append(name)
            elif (
                supervisors
                and digest
                and name.startswith(f"fumehood-supervisor-{digest[:16]}-")
                and await self._remove_volume(name)
            ):
                self._installer.forget(name)
                self._supervisors.append(name)

    @staticmethod
    def _is_overdue_workspace(name: str, marks: Mapping[str, str]) -> bool:
        """Whether a volume was to go with the session that made it (the engine knows if it has)."""
        workspace_id = marks.get(labels.WORKSPACE, "")
        return (
            bool(workspace_id)
            and name == workspace_volume(workspace_id)
            and marks.get(labels.DESTROY_WORKSPACE) == "1"
        )

    async def _remove_volume(self, name: str) -> bool:
        try:
            removed = await self._remover.remove_volume(name, f"volume {name}")
        except SandboxError as exc:
            self._failed[name] = str(exc)
            return False
        if not removed:
            self._kept.append(name)
        return removed
