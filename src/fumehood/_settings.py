"""What a sandbox is configured to make, and what one call has asked for: checked values."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fumehood import options, paths
from fumehood.engines.base import PullPolicy
from fumehood.errors import FileTooLargeError, InvalidRequestError
from fumehood.hooks import Hooks
from fumehood.options import Lifecycle, Limits, Manifest, Network, Security, Workspace
from fumehood.text import brief
from fumehood.volumes import Volume, check_volumes

# What the engine accepts as a reference, in short; the engine itself is the judge of the rest. It
# must not begin with '-' (another tool's option) nor hold anything that a log or a terminal would
# obey.
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,511}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A sandbox's configuration, checked."""

    image: str
    pull: PullPolicy
    workdir: str
    workspace: Workspace
    lifecycle: Lifecycle
    network: Network
    limits: Limits
    security: Security
    env: Mapping[str, str]
    user: str | None
    labels: Mapping[str, str]
    hooks: Hooks
    platform: str | None
    volumes: tuple[Volume, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What one ``create_session`` asked for, checked."""

    session_id: str
    workspace: Workspace
    manifest: Manifest
    metadata: Mapping[str, str]
    ports: tuple[int, ...]
    volumes: tuple[Volume, ...]
    chosen: bool = True
    """Whether the caller has chosen the id; if not, any other will do."""


def check_settings(
    *,
    image: str,
    pull: PullPolicy,
    workdir: str,
    workspace: Workspace,
    lifecycle: Lifecycle,
    network: Network,
    limits: Limits,
    security: Security,
    env: Mapping[str, str] | None,
    user: str | int | None,
    labels: Mapping[str, str] | None,
    hooks: Hooks,
    platform: str | None,
    volumes: Sequence[Volume],
) -> Settings:
    """Check what a caller says of a sandbox."""
    for name, value, kind in (
        ("workspace", workspace, Workspace),
        ("lifecycle", lifecycle, Lifecycle),
        ("network", network, Network),
        ("limits", limits, Limits),
        ("security", security, Security),
        ("hooks", hooks, Hooks),
    ):
        if not isinstance(value, kind):
            raise InvalidRequestError(f"{name} must be a {kind.__name__}, not {brief(value)}")
    if pull not in ("missing", "always", "never"):
        raise InvalidRequestError(f"pull must be 'missing', 'always' or 'never', not {pull!r}")
    if platform not in (None, "linux/amd64", "linux/arm64"):
        raise InvalidRequestError(
            f"platform must be 'linux/amd64' or 'linux/arm64', not {platform!r}"
        )
    return Settings(
        image=_check_image(image),
        pull=pull,
        workdir=paths.directory(workdir, "workdir"),
        workspace=workspace,
        lifecycle=lifecycle,
        network=network,
        limits=limits,
        security=security,
        env=options.check_env(env),
        user=options.check_user(user),
        labels=options.check_labels(labels, "labels"),
        hooks=hooks,
        platform=platform,
        volumes=check_volumes(volumes),
    )


def _check_image(reference: str) -> str:
    """Return an image reference that is safe to send and to show."""
    if not isinstance(reference, str) or not _IMAGE.fullmatch(reference):
        raise InvalidRequestError(
            f"image {brief(reference)} is not an image reference such as 'python:3.13-slim'"
        )
    return reference


def check_manifest(manifest: Manifest, limits: Limits) -> None:
    """Refuse files that the session would refuse, before there is one."""
    for path, content in manifest.files.items():
        raw = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
        if len(raw) > limits.max_file_bytes:
            raise FileTooLargeError(
                f"Manifest.files[{path!r}] is {len(raw)} bytes; Limits.max_file_bytes is "
                f"{limits.max_file_bytes}",
                path=path,
                op="create_session",
            )
    directories = set(manifest.directories)
    for path in (*manifest.files, *manifest.directories):
        while path := path.rpartition("/")[0]:
            directories.add(path)
    if clash := directories & manifest.files.keys():
        raise InvalidRequestError(
            f"Manifest: {brief(min(clash))} is a file, and something else needs a directory there"
        )


def new_session_id() -> str:
    """Return an id that nobody else makes up: 80 random bits, 16 characters."""
    alphabet = "abcdefghijklmnopqrstuvwxyz234567"
    value = secrets.randbits(80)
    return "".join(alphabet[value >> shift & 31] for shift in range(0, 80, 5))
