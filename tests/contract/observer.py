"""The engine as it is, seen from outside: asked directly, never through fumehood."""

from __future__ import annotations

import asyncio
import io
import json
import os
import tarfile
import time
from collections.abc import Mapping
from typing import Any

import aiohttp

from fumehood import Snapshot

_DEFAULT_SOCKET = "/var/run/docker.sock"


class Observer:
    """Asks the Engine API. It belongs to the event loop that made it."""

    def __init__(self, address: str | None = None) -> None:
        if address is None:
            address = os.environ.get("DOCKER_HOST", f"unix://{_DEFAULT_SOCKET}")
        scheme, _, rest = address.partition("://")
        connector = aiohttp.UnixConnector(rest) if scheme == "unix" else aiohttp.TCPConnector()
        self._base = "http://docker" if scheme == "unix" else f"http://{rest}"
        # Each request its own connection: what stays open would look like a leak.
        self._http = aiohttp.ClientSession(connector=connector, headers={"Connection": "close"})

    async def close(self) -> None:
        """Release everything."""
        await self._http.close()

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: object | None = None,
        absent: bool = False,
        **params: str,
    ) -> Any:
        """Call the Engine API; with ``absent`` a 404 is the answer None."""
        url = f"{self._base}/{path}"
        async with self._http.request(method, url, json=body, params=params) as reply:
            text = await reply.text()
            if absent and reply.status == 404:
                return None
            assert reply.status < 400, f"{method} {path}: {reply.status} {text}"
            return json.loads(text) if text.strip() else {}

    async def file(self, session_id: str, path: str) -> bytes:
        """Return a file of a session's container as the engine itself reads it."""
        url = f"{self._base}/containers/fumehood-{session_id}/archive"
        async with self._http.get(url, params={"path": path}) as reply:
            assert reply.status == 200, await reply.text()
            archive = io.BytesIO(await reply.read())
        with tarfile.open(fileobj=archive) as members:
            member = members.extractfile(members.next() or "")
            assert member is not None, f"{path} is no file"
            return member.read()

    async def made(self, prefix: str, since: float) -> set[str]:
        """Return the ids of all containers made since then for sessions with such ids."""
        filters = json.dumps({"type": ["container"], "event": ["create"]})
        params = {"since": f"{since:.9f}", "until": f"{time.time():.9f}", "filters": filters}
        async with self._http.get(f"{self._base}/events", params=params) as reply:
            assert reply.status == 200, await reply.text()
            events = [json.loads(line) for line in (await reply.text()).splitlines()]
        actors = [event["Actor"] for event in events]
        return {
            actor["ID"]
            for actor in actors
            if actor["Attributes"]["name"].startswith(f"fumehood-{prefix}")
        }

    async def container(self, session_id: str) -> dict[str, Any] | None:
        """Return what the engine knows of a session's container."""
        found = await self.call("GET", f"containers/fumehood-{session_id}/json", absent=True)
        return found if found is None else dict(found)

    async def containers(self, label: str, value: str) -> list[str]:
        """Return the names of all containers with this label, whatever they are."""
        filters = json.dumps({"label": [f"{label}={value}"]})
        found = await self.call("GET", "containers/json", all="1", filters=filters)
        return sorted(name.lstrip("/") for item in found for name in item["Names"])

    async def volumes(self, session_id: str) -> list[str]:
        """Return the names of the volumes that go with a session."""
        return [
            name
            for name, labels in (await self._volumes()).items()
            if labels.get("fumehood.session") == session_id
        ]

    async def _volumes(self) -> dict[str, Mapping[str, str]]:
        found = await self.call("GET", "volumes", filters='{"label": ["fumehood"]}')
        return {item["Name"]: item["Labels"] or {} for item in found["Volumes"] or ()}

    async def workspace_exists(self, workspace_id: str) -> bool:
        """Return whether a persistent workspace's volume is there."""
        return f"fumehood-ws-{workspace_id}" in await self._volumes()

    async def left(self, prefix: str) -> list[str]:
        """Return everything that sessions and workspaces with such ids have left."""
        containers = await self.call("GET", "containers/json", all="1")
        names = [name.lstrip("/") for item in containers for name in item["Names"]]
        found = [name for name in names if name.startswith(f"fumehood-{prefix}")]
        found += [name for name in names if name.startswith("fumehood.")]
        found += await self.layers()
        for name, labels in (await self._volumes()).items():
            ids = (labels.get("fumehood.session"), labels.get("fumehood.workspace"))
            found += [f"volume {name} of {id}" for id in ids if id and id.startswith(prefix)]
        return sorted(found)

    async def layers(self) -> list[str]:
        """Return the images of sessions' file systems."""
        images = await self.call("GET", "images/json", filters='{"reference": ["fumehood-layer"]}')
        return [tag for item in images for tag in item["RepoTags"] or ()]

    async def layer_of(self, stopped: str) -> str:
        """Return the image of a stopped session's file system; empty where it needs none."""
        found = await self.call("GET", f"containers/fumehood.stopped.{stopped}/json")
        tag = found["Config"]["Labels"]["fumehood.layer"]
        return f"fumehood-layer:{tag}" if tag else ""

    async def has_layer(self, snapshot: Snapshot) -> bool:
        """Return whether the image of a snapshot's file system is there."""
        return f"fumehood-layer:{snapshot.id}" in await self.layers()

    async def processes(self, session_id: str) -> list[str]:
        """Return the command line of every process in a session's container."""
        found = await self.call(
            "GET", f"containers/fumehood-{session_id}/top", ps_args="-eo pid,args"
        )
        return [str(row[-1]) for row in found["Processes"]]

    async def host_pids(self, session_id: str) -> list[int]:
        """Return the host's process ids of everything in a session's container."""
        found = await self.call(
            "GET", f"containers/fumehood-{session_id}/top", ps_args="-eo pid,args"
        )
        return [int(row[0]) for row in found["Processes"]]

    async def gone(self, session_id: str, *, within: float) -> None:
        """Wait until container and ephemeral volume of a session are gone.

        Raises:
            TimeoutError: after ``within`` seconds.
        """
        path = f"containers/fumehood-{session_id}/wait"
        async with asyncio.timeout(within):
            # The engine answers when it has forgotten the container, its volumes first.
            await self.call("POST", path, condition="removed", absent=True)
            while await self.volumes(session_id):
                await asyncio.sleep(0.02)
