"""Trees on their way when a stream or an engine breaks: they go on, or end typed and clean."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cases.mark import case
from faults.conftest import MakeSandbox, OpenProxy, sweep
from faults.engine import OwnEngine
from faults.reached import reached
from fumehood import SessionEndedError, TransferProgress
from fumehood.engines.docker import ENGINE_ONLY

BROKEN = "A live session survives the loss of its stream"
TRANSFER = "A transfer that is cancelled, killed or out of disk"
MIB = 1 << 20
FILES = 16
"""Of one MiB each: many times what is on its way at once, which is half of that."""


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A tree whose files all differ."""
    directory = tmp_path / "top"
    directory.mkdir()
    for number in range(FILES):
        (directory / str(number)).write_bytes(os.urandom(MIB))
    return directory


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def at(megabytes: list[int], act: Callable[[], object]) -> Callable[[TransferProgress], None]:
    """Do something each time that a transfer has come so far: it waits for that."""
    left = list(megabytes)

    def progress(step: TransferProgress) -> None:
        if left and step.bytes >= left[0] * MIB:
            del left[0]
            act()

    return progress


@case("X76", BROKEN)
async def test_a_tree_goes_up_and_comes_back_over_streams_that_are_cut_in_its_middle(
    sandbox: MakeSandbox, open_proxy: OpenProxy, top: Path, tmp_path: Path
) -> None:
    cuts: list[int] = []
    async with reached(sandbox, open_proxy) as (proxy, session):

        def cut() -> None:
            cuts.append(proxy.cut_streams())

        # From one cut to the next it only comes over another stream, and so to its end.
        sent = await session.upload(top, "t", verify=True, progress=at([4, 12], cut))
        assert session.statistics()["resumed"] == 2
        got = await session.download("t", tmp_path / "t", verify=True, progress=at([4, 12], cut))
        assert session.statistics()["resumed"] == 4
    assert cuts == [1, 1, 1, 1]
    assert (sent.files, sent.bytes, sent.skipped) == (FILES, FILES * MIB, ())
    assert (got.files, got.bytes, got.skipped) == (FILES, FILES * MIB, ())
    assert content(tmp_path / "t") == content(top)


@case("X123", TRANSFER)
@pytest.mark.slow
@pytest.mark.parametrize("way", ["up", "down"])
async def test_an_engine_that_is_killed_under_a_tree_leaves_whole_files_and_a_typed_end(
    engine: OwnEngine,
    sandbox: MakeSandbox,
    monkeypatch: pytest.MonkeyPatch,
    top: Path,
    tmp_path: Path,
    way: str,
) -> None:
    # Who goes past it would not notice.
    monkeypatch.setenv(ENGINE_ONLY, "engine")
    killing: list[asyncio.Future[None]] = []

    def kill() -> None:
        killing.append(asyncio.ensure_future(engine.kill()))

    async with sandbox() as box:
        session = await box.create_session()
        with pytest.raises(SessionEndedError):
            if way == "up":
                await session.upload(top, "t", progress=at([4], kill))
            else:
                await session.upload(top, "t")
                await session.download("t", tmp_path / "t", progress=at([4], kill))
        await asyncio.gather(*killing)
        if way == "down":
            found = content(tmp_path / "t")
            assert 0 < len(found) < FILES
            assert found.items() <= content(top).items()
        await engine.start()
        await session.destroy(wait=True)
        await sweep(engine)
        assert await engine.observer.left("") == []
