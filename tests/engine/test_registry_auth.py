"""Credentials are found where `docker login` and its helpers have put them."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from fumehood.engines import registry_auth
from fumehood.engines.registry_auth import HUB_KEY, Credentials, config_key, registry_of
from fumehood.errors import EngineUnavailableError, ImagePullError, InvalidRequestError


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "bin").mkdir()
    return {
        "DOCKER_CONFIG": str(tmp_path),
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
    }


def configure(env: dict[str, str], config: dict[str, Any]) -> None:
    (Path(env["DOCKER_CONFIG"]) / "config.json").write_text(json.dumps(config))


def helper(env: dict[str, str], name: str, script: str) -> None:
    """Put a credential helper on the path: a shell script with the server in $server."""
    path = Path(env["DOCKER_CONFIG"]) / "bin" / f"docker-credential-{name}"
    path.write_text(f'#!/bin/sh\n[ "$1" = get ] || exit 9\nserver=$(cat)\n{script}\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def encoded(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


def decoded(credentials: Credentials) -> Any:
    return json.loads(base64.urlsafe_b64decode(credentials.header()))


REGISTRIES = [
    ("python:3.13", "docker.io"),
    ("library/python", "docker.io"),
    ("owner/name@sha256:" + "0" * 64, "docker.io"),
    ("docker.io/owner/name", "docker.io"),
    ("ghcr.io/owner/name:tag", "ghcr.io"),
    ("localhost/name", "localhost"),
    ("localhost:5000/name", "localhost:5000"),
    ("host:5000/name", "host:5000"),
    ("[::1]:5000/name", "[::1]:5000"),
]


@pytest.mark.parametrize("reference,registry", REGISTRIES)
def test_the_registry_of_a_reference_is_its_host(reference: str, registry: str) -> None:
    assert registry_of(reference) == registry


def test_docker_hub_has_its_old_name_in_the_configuration() -> None:
    for name in ("docker.io", "index.docker.io", "registry-1.docker.io"):
        assert config_key(name) == HUB_KEY == "https://index.docker.io/v1/"
    assert config_key("ghcr.io") == "ghcr.io"


async def test_without_a_configuration_there_are_no_credentials(env: dict[str, str]) -> None:
    assert await registry_auth.find("ghcr.io/a/b", env) is None


async def test_a_login_is_found_by_registry(env: dict[str, str]) -> None:
    configure(
        env,
        {
            "auths": {
                "ghcr.io": encoded("me:pass:with:colons"),
                "https://url.example/v2/": encoded("you:secret"),
                HUB_KEY: encoded("hub:token"),
                "empty.example": {},
            }
        },
    )
    found = await registry_auth.find("ghcr.io/a/b", env)
    assert found is not None
    assert decoded(found) == {
        "serveraddress": "ghcr.io",
        "username": "me",
        "password": "pass:with:colons",
    }
    by_url = await registry_auth.find("url.example/a", env)
    assert by_url is not None
    assert by_url.username == "you"
    for reference in ("python", "docker.io/owner/name", "owner/name"):
        hub = await registry_auth.find(reference, env)
        assert hub is not None
        assert decoded(hub)["serveraddress"] == HUB_KEY
    assert await registry_auth.find("empty.example/a", env) is None
    assert await registry_auth.find("other.example/a", env) is None
    # A port is part of the name: another registry.
    assert await registry_auth.find("ghcr.io:443/a", env) is None


async def test_an_identity_token_is_passed_on_as_one(env: dict[str, str]) -> None:
    configure(env, {"auths": {"r.example": encoded("u:") | {"identitytoken": "tok"}}})
    found = await registry_auth.find("r.example/a", env)
    assert found is not None
    assert decoded(found) == {"serveraddress": "r.example", "identitytoken": "tok"}


async def test_a_helper_is_asked_on_its_standard_input(env: dict[str, str]) -> None:
    helper(env, "mine", 'echo "{\\"Username\\": \\"for $server\\", \\"Secret\\": \\"s\\"}"')
    configure(env, {"credsStore": "mine", "auths": {"r.example": encoded("stale:one")}})
    found = await registry_auth.find("r.example/a", env)
    assert found is not None
    assert decoded(found)["username"] == "for r.example"
    hub = await registry_auth.find("python", env)
    assert hub is not None
    assert hub.username == f"for {HUB_KEY}"


async def test_a_helper_of_one_registry_wins_over_that_of_all(env: dict[str, str]) -> None:
    helper(env, "all", 'echo "{\\"Username\\": \\"all\\", \\"Secret\\": \\"s\\"}"')
    helper(env, "one", 'echo "{\\"Username\\": \\"<token>\\", \\"Secret\\": \\"tok\\"}"')
    configure(env, {"credsStore": "all", "credHelpers": {"r.example": "one"}})
    found = await registry_auth.find("r.example/a", env)
    assert found is not None
    assert decoded(found) == {"serveraddress": "r.example", "identitytoken": "tok"}
    other = await registry_auth.find("other.example/a", env)
    assert other is not None
    assert other.username == "all"


async def test_a_helper_without_an_answer_leaves_the_login(env: dict[str, str]) -> None:
    helper(env, "mine", "echo 'credentials not found in native keychain'; exit 1")
    configure(env, {"credsStore": "mine", "auths": {"r.example": encoded("me:pw")}})
    found = await registry_auth.find("r.example/a", env)
    assert found is not None
    assert found.username == "me"
    assert await registry_auth.find("other.example/a", env) is None


FAILURES = [
    ("fails", "echo 'the key ring \033[2J is locked' >&2; exit 3", "is locked"),
    ("no JSON", "echo nonsense", "not JSON"),
    ("no secret", 'echo \'{"Username": "u"}\'', "without a user name and a secret"),
    ("a list", "echo '[]'", "without a user name and a secret"),
]


@pytest.mark.parametrize("what,script,says", FAILURES, ids=[what for what, *_ in FAILURES])
async def test_a_helper_that_does_not_work_is_named(
    env: dict[str, str], what: str, script: str, says: str
) -> None:
    helper(env, "mine", script)
    configure(env, {"credsStore": "mine"})
    with pytest.raises(ImagePullError, match=says) as caught:
        await registry_auth.find("r.example/a", env)
    assert "docker-credential-mine" in str(caught.value)
    assert "\x1b" not in str(caught.value)


async def test_a_helper_that_is_not_installed_is_named(env: dict[str, str]) -> None:
    configure(env, {"credsStore": "absent"})
    with pytest.raises(ImagePullError, match=r"docker-credential-absent.*not installed"):
        await registry_auth.find("r.example/a", env)


@pytest.mark.parametrize("name", ["../../bin/sh", "a b", "x;reboot", "-x", "a/b"])
async def test_a_helper_with_a_name_that_is_a_path_is_refused(
    env: dict[str, str], name: str
) -> None:
    configure(env, {"credsStore": name})
    with pytest.raises(InvalidRequestError, match="credential helper"):
        await registry_auth.find("r.example/a", env)


async def test_a_helper_that_hangs_is_ended(
    env: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(registry_auth, "HELPER_SECONDS", 0.3)
    helper(env, "mine", f"echo $$ > {tmp_path / 'pid'}; exec sleep 1000")
    configure(env, {"credsStore": "mine"})
    with pytest.raises(ImagePullError, match="did not answer"):
        await registry_auth.find("r.example/a", env)
    pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_helper_is_ended_with_its_caller(env: dict[str, str], tmp_path: Path) -> None:
    helper(
        env,
        "mine",
        f"echo $$ > {tmp_path / 'pid.new'}; mv {tmp_path}/pid.new {tmp_path}/pid; exec sleep 1000",
    )
    configure(env, {"credsStore": "mine"})
    asking = asyncio.ensure_future(registry_auth.find("r.example/a", env))
    async with asyncio.timeout(20):
        while not (tmp_path / "pid").exists():
            await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.parametrize("auth", ["%%%", base64.b64encode(b"\xff\xfe:x").decode()])
async def test_a_login_that_is_not_readable_says_what_to_do(env: dict[str, str], auth: str) -> None:
    configure(env, {"auths": {"r.example": {"auth": auth}}})
    with pytest.raises(ImagePullError, match=r"docker login r\.example"):
        await registry_auth.find("r.example/a", env)


async def test_a_broken_configuration_is_named(env: dict[str, str]) -> None:
    (Path(env["DOCKER_CONFIG"]) / "config.json").write_text("{")
    with pytest.raises(EngineUnavailableError, match=r"config\.json"):
        await registry_auth.find("r.example/a", env)


async def test_no_secret_is_shown_or_logged(
    env: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    configure(env, {"auths": {"r.example": encoded("me:hunter2")}})
    with caplog.at_level(logging.DEBUG):
        found = await registry_auth.find("r.example/a", env)
    assert found is not None
    assert "hunter2" not in repr(found) + str(found) + caplog.text
