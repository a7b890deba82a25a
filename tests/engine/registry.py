"""A tiny image registry: as much of the protocol as one pull needs."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import secrets
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass
class Registry:
    """What it holds, and what it was asked for."""

    port: int = 0
    credentials: tuple[str, str] | None = None
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    corrupt: bool = False
    """Serve other bytes than the digest says."""
    pulls: int = 0
    authorizations: list[str] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def blob(self, data: bytes) -> str:
        self.blobs[digest(data)] = data
        return digest(data)

    def image(
        self,
        name: str,
        *,
        tag: str = "latest",
        architecture: str = "amd64",
        config: dict[str, object] | None = None,
        as_list: bool = False,
    ) -> str:
        """Add an image of one unique file; return its reference."""
        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w") as archive:
            content = secrets.token_bytes(64)
            member = tarfile.TarInfo("file")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        packed = gzip.compress(layer.getvalue())
        settings = json.dumps(
            {
                "architecture": architecture,
                "os": "linux",
                "config": config or {},
                "rootfs": {"type": "layers", "diff_ids": [digest(layer.getvalue())]},
            }
        ).encode()
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {
                    "mediaType": CONFIG,
                    "size": len(settings),
                    "digest": self.blob(settings),
                },
                "layers": [{"mediaType": LAYER, "size": len(packed), "digest": self.blob(packed)}],
            }
        ).encode()
        kind = MANIFEST
        self.manifests[f"{name}:{digest(manifest)}"] = (kind, manifest)
        if as_list:
            kind = MANIFEST_LIST
            manifest = json.dumps(
                {
                    "schemaVersion": 2,
                    "mediaType": MANIFEST_LIST,
                    "manifests": [
                        {
                            "mediaType": MANIFEST,
                            "size": len(manifest),
                            "digest": digest(manifest),
                            "platform": {"architecture": architecture, "os": "linux"},
                        }
                    ],
                }
            ).encode()
            self.manifests[f"{name}:{digest(manifest)}"] = (kind, manifest)
        self.manifests[f"{name}:{tag}"] = (kind, manifest)
        return f"{self.host}/{name}:{tag}"

    def _refusal(self, request: web.Request) -> web.Response | None:
        given = request.headers.get("Authorization", "")
        self.authorizations.append(given)
        if self.credentials is None:
            return None
        wanted = base64.b64encode(":".join(self.credentials).encode()).decode()
        if given == f"Basic {wanted}":
            return None
        return web.json_response(
            {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]},
            status=401,
            headers={"WWW-Authenticate": 'Basic realm="the tests"'},
        )

    async def _root(self, request: web.Request) -> web.Response:
        return self._refusal(request) or web.json_response({})

    async def _manifest(self, request: web.Request) -> web.Response:
        if refusal := self._refusal(request):
            return refusal
        found = self.manifests.get(f"{request.match_info['name']}:{request.match_info['ref']}")
        if found is None:
            return web.json_response(
                {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]},
                status=404,
            )
        kind, body = found
        # An engine looks (HEAD) before it asks.
        self.pulls += request.method == "GET"
        return web.Response(
            body=body, content_type=kind, headers={"Docker-Content-Digest": digest(body)}
        )

    async def _blob(self, request: web.Request) -> web.Response:
        if refusal := self._refusal(request):
            return refusal
        data = self.blobs[request.match_info["digest"]]
        return web.Response(body=bytes(len(data)) if self.corrupt else data)

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/v2/", self._root)
        app.router.add_get("/v2/{name:.+}/manifests/{ref}", self._manifest)
        app.router.add_get("/v2/{name:.+}/blobs/{digest}", self._blob)
        return app


@asynccontextmanager
async def serving(registry: Registry) -> AsyncIterator[Registry]:
    """Serve a registry on a loopback port, which engines take without TLS."""
    runner = web.AppRunner(registry.application())
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        registry.port = runner.addresses[0][1]
        yield registry
    finally:
        await runner.cleanup()
