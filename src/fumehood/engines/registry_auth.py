"""Registry credentials, found as the docker command line finds them.

In its ``config.json``: a credential helper for the registry (``credHelpers``), the helper for all
(``credsStore``), or an entry of ``auths``. The result is the header ``X-Registry-Auth`` of a pull,
which the engine passes on. Nothing is logged, and no credential is kept after the pull.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from fumehood.engines import docker_host
from fumehood.engines.docker_text import printable
from fumehood.errors import ImagePullError, InvalidRequestError

_log = logging.getLogger("fumehood.engine")

HELPER_SECONDS = 30.0
"""A helper may ask a key ring that asks its owner; it does not get longer than this."""
HUB_KEY = "https://index.docker.io/v1/"
"""Docker Hub's key in the configuration: older than the host names of registries."""

_HUB_NAMES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAX_ANSWER = 1 << 20
_TOKEN_USER = "<token>"  # noqa: S105
_NOT_FOUND = "credentials not found"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Credentials:
    """How to sign in to one registry. Shows nothing of it when printed."""

    server: str
    username: str = ""
    password: str = ""
    identity_token: str = ""

    def __repr__(self) -> str:
        return f"<Credentials for {self.server}>"

    def header(self) -> str:
        """Return the value of ``X-Registry-Auth``."""
        fields = {"serveraddress": self.server}
        if self.identity_token:
            fields["identitytoken"] = self.identity_token
        else:
            fields["username"] = self.username
            fields["password"] = self.password
        return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()


def registry_of(reference: str) -> str:
    """Return the registry of an image reference: its host, or ``docker.io``.

    The first part is a host only if it looks like one: with a dot or a port, or ``localhost``.
    """
    first, slash, _ = reference.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first
    return "docker.io"


def config_key(registry: str) -> str:
    """Return the name by which the configuration and its helpers know a registry."""
    return HUB_KEY if registry in _HUB_NAMES else registry


async def find(reference: str, environ: Mapping[str, str] | None = None) -> Credentials | None:
    """Return the credentials for an image's registry, or ``None`` to ask without.

    Args:
        reference: an image reference.
        environ: the environment, that of the process by default.

    Raises:
        ImagePullError: a helper is configured and does not work.
    """
    env = os.environ if environ is None else environ
    config = await asyncio.to_thread(docker_host.read_config, env)
    key = config_key(registry_of(reference))
    helpers = _mapping(config.get("credHelpers"))
    # A helper for this registry wins; like the command line, under each name the registry has.
    helper = next((helpers[name] for name in _names(key) if name in helpers), None)
    if helper is None:
        helper = config.get("credsStore")
    if isinstance(helper, str) and helper:
        found = await _ask_helper(helper, key, env)
        if found is not None:
            return found
    return _from_auths(_mapping(config.get("auths")), key)


def _names(key: str) -> tuple[str, ...]:
    return (key, "docker.io", "index.docker.io") if key == HUB_KEY else (key,)


def _from_auths(auths: Mapping[str, object], key: str) -> Credentials | None:
    wanted = _host(key)
    for name in (*_names(key), *auths):
        entry = auths.get(name)
        # Entries are also written as URLs ("https://registry.example/v2/").
        if isinstance(entry, dict) and (name == key or _host(name) == wanted):
            return _from_entry(cast("Mapping[str, object]", entry), key)
    return None


def _from_entry(entry: Mapping[str, object], key: str) -> Credentials | None:
    token = entry.get("identitytoken")
    if isinstance(token, str) and token:
        return Credentials(server=key, identity_token=token)
    username, password = entry.get("username"), entry.get("password")
    encoded = entry.get("auth")
    if isinstance(encoded, str) and encoded:
        try:
            text = base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as exc:
            raise ImagePullError(
                f"the docker configuration's credentials for {key} are not readable: "
                f"run docker login {key}"
            ) from exc
        username, _, password = text.partition(":")
        # The command line pads what it wrote with zero bytes.
        password = password.rstrip("\0")
    if isinstance(username, str) and isinstance(password, str) and username:
        return Credentials(server=key, username=username, password=password)
    return None


def _host(name: str) -> str:
    host = name.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return "docker.io" if host in _HUB_NAMES else host


async def _ask_helper(helper: str, key: str, env: Mapping[str, str]) -> Credentials | None:
    if not _HELPER.fullmatch(helper):
        raise InvalidRequestError(f"the docker configuration names a credential helper {helper!r}")
    name = f"docker-credential-{helper}"
    program = await asyncio.to_thread(shutil.which, name, path=env.get("PATH"))
    if program is None:
        raise ImagePullError(
            f"the docker configuration names the credential helper {name!r}, which is not installed"
        )
    process = await asyncio.create_subprocess_exec(
        program,
        "get",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(env),
        limit=_MAX_ANSWER,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(HELPER_SECONDS):
            output, errors = await process.communicate(key.encode())
    except TimeoutError as exc:
        raise ImagePullError(f"{name} did not answer within {HELPER_SECONDS:.0f} s") from exc
    finally:
        if process.returncode is None:
            process.kill()
            await asyncio.shield(asyncio.ensure_future(process.wait()))
    if process.returncode != 0:
        said = printable((output + b" " + errors).decode("utf-8", "replace"))
        if _NOT_FOUND in said.lower():
            _log.debug("%s has no credentials for %s", name, key)
            return None
        raise ImagePullError(f"{name} failed for {key}: {said or 'no reason given'}")
    return _from_helper(output, name, key)


def _from_helper(output: bytes, name: str, key: str) -> Credentials | None:
    try:
        parsed: object = json.loads(output)
    except ValueError as exc:
        raise ImagePullError(f"{name} answered for {key} with something that is not JSON") from exc
    answer = _mapping(parsed)
    username, secret = answer.get("Username"), answer.get("Secret")
    if not isinstance(username, str) or not isinstance(secret, str):
        raise ImagePullError(f"{name} answered for {key} without a user name and a secret")
    if username == _TOKEN_USER:
        return Credentials(server=key, identity_token=secret)
    return Credentials(server=key, username=username, password=secret) if username else None


def _mapping(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}
