"""What the loggers tell: enough to follow a session, and never a secret."""

from __future__ import annotations

import logging

import pytest

from contract.adapter import Api
from contract.observer import Observer
from fumehood import CommandNotFoundError, Manifest


async def test_a_sessions_life_can_be_followed_at_info(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="fumehood"):
        async with api.session() as session:
            await session.exec(["true"])
    told = [record.getMessage() for record in caplog.records if record.name.startswith("fumehood")]
    assert any(session.id in line and "ready" in line for line in told)


async def test_no_secret_is_logged_even_at_debug(
    api: Api, observer: Observer, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "hunter2-7f3a"
    with caplog.at_level(logging.DEBUG, logger="fumehood"):
        async with api.session(
            env={"A": f"{secret}-sandbox"},
            manifest=Manifest(files={"key": f"{secret}-file"}, env={"B": f"{secret}-manifest"}),
        ) as session:
            await session.exec(["cat"], env={"C": f"{secret}-env"}, input=f"{secret}-input")
            with pytest.raises(CommandNotFoundError):
                await session.exec(["no-such-program"], env={"C": f"{secret}-failed"})
            await session.write_file("other", f"{secret}-written")
            container = await observer.container(session.id)
            assert container is not None
            nonce = container["Config"]["Labels"]["fumehood.nonce"]
            assert secret not in str(container)
    assert caplog.records
    for record in caplog.records:
        line = f"{record.getMessage()} {record.args!r} {record.exc_text or ''}"
        assert secret not in line
        assert nonce not in line
