"""Keeping a session's files and beginning with them, against `docker commit` and `cp`."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.baseline import LABEL
from benchmarks.bench import Bench, Group
from benchmarks.measure import MIB, median
from benchmarks.row import Row, at_most
from fumehood import AsyncSession

_ROUNDS = 4
_FORKS = 4
_FILES = 400
_FILE_BYTES = 64 * 1024
_LAYER = 16 * MIB

Times = dict[str, list[float]]


class _ByHand:
    """What one does without fumehood: a commit, a volume, `cp -a` in a container."""

    def __init__(self, bench: Bench, session: AsyncSession, volume: str) -> None:
        self._docker = bench.baseline.docker
        # aiodocker has no types for what it does with volumes.
        self._volumes: Any = bench.baseline.docker.volumes
        self._image = bench.image
        self._session = session
        self._volume = volume
        self._tag = f"{LABEL}-{secrets.token_hex(6)}"

    async def snapshot(self) -> None:
        """Commit, and copy the workspace to a volume."""
        container = await self._docker.containers.get(f"fumehood-{self._session.id}")
        await container.commit(repository=self._tag, tag="x")
        await self._copy(self._volume, self._tag)

    async def restore(self, name: str) -> None:
        """Copy the volume to one of its own, and start a container with both."""
        await self._copy(self._tag, name)
        container = await self._docker.containers.create(
            {
                "Image": f"{self._tag}:x",
                "Entrypoint": ["sleep", "infinity"],
                "Labels": {LABEL: "1"},
                "HostConfig": {"NetworkMode": "none", "Binds": [f"{name}:/workspace"]},
            },
            name=name,
        )
        await container.start()

    async def _copy(self, source: str, target: str) -> None:
        await self._volumes.create({"Name": target, "Labels": {LABEL: "1"}})
        container = await self._docker.containers.create(
            {
                "Image": self._image,
                "Entrypoint": ["cp", "-a", "/from/.", "/to"],
                "Labels": {LABEL: "1"},
                "HostConfig": {
                    "NetworkMode": "none",
                    "Binds": [f"{source}:/from:ro", f"{target}:/to"],
                },
            },
            name=f"{target}-copier",
        )
        await container.start()
        ended: Any = await container.wait()
        if ended["StatusCode"] != 0:
            raise RuntimeError("cp failed")
        await container.delete()

    async def forget(self, name: str) -> None:
        """Remove a restored container with its volume."""
        await (await self._docker.containers.get(name)).delete(force=True)
        await (await self._volumes.get(name)).delete()

    async def forget_all(self) -> None:
        """Remove the snapshot."""
        await (await self._volumes.get(self._tag)).delete()
        await self._docker.images.delete(f"{self._tag}:x")


async def _timed(call: Callable[[], Awaitable[Any]]) -> tuple[float, Any]:
    start = time.perf_counter()
    made = await call()
    return time.perf_counter() - start, made


async def _round(bench: Bench, session: AsyncSession, hand: _ByHand, times: Times) -> None:
    names = [f"{LABEL}-{secrets.token_hex(6)}" for _ in range(_FORKS)]
    took, snapshot = await _timed(session.snapshot)
    times["snapshot"].append(took)
    took, _ = await _timed(hand.snapshot)
    times["commit"].append(took)

    async def restore() -> AsyncSession:
        return await bench.sandbox.create_session(from_snapshot=snapshot)

    took, made = await _timed(restore)
    times["restore"].append(took)
    await made.destroy()
    by_hand = 0.0
    for name in names:
        took, _ = await _timed(lambda name=name: hand.restore(name))  # type: ignore[misc]
        by_hand += took
        times["start"].append(took)
    times["starts"].append(times["commit"][-1] + by_hand)
    for name in names:
        await hand.forget(name)
    took, forks = await _timed(lambda: session.fork(_FORKS))
    times["fork"].append(took)
    for fork in forks:
        await fork.destroy()
    await bench.sandbox.delete_snapshot(snapshot)
    await hand.forget_all()


async def _state(bench: Bench) -> list[Row]:
    times: Times = {
        name: [] for name in ("snapshot", "commit", "restore", "start", "fork", "starts")
    }
    async with bench.sandbox.create_session() as session:
        content = secrets.token_bytes(_FILE_BYTES)
        for number in range(_FILES):
            await session.write_file(f"d{number % 20}/f{number}", content)
        fill = ["dd", "if=/dev/urandom", "of=/var/layer", "bs=1M", f"count={_LAYER // MIB}"]
        await session.exec(fill, check=True)
        docker = bench.baseline.docker
        found = await (await docker.containers.get(f"fumehood-{session.id}")).show()
        (volume,) = [
            mount["Name"] for mount in found["Mounts"] if mount["Destination"] == session.workdir
        ]
        for _ in range(_ROUNDS):
            await _round(bench, session, _ByHand(bench, session, volume), times)

    def row(name: str, what: str, side: str, other: str, against: str, factor: float) -> Row:
        return Row(
            name=name,
            what=what,
            unit="ms",
            ours=median(times[side]) * 1e3,
            baseline=median(times[other]) * 1e3,
            against=against,
            target=at_most(factor),
            samples=len(times[side]),
        )

    return [
        row("snapshot", "snapshot: a layer of 16 MiB, 400 files of 64 KiB", "snapshot", "commit",
            "docker commit, and cp -a to a volume", 1.5),
        row("restore", "a session from that snapshot", "restore", "start",
            "cp -a to a volume, and a container", 1.5),
        row("fork-4", "four forks of that session", "fork", "starts",
            "the same by hand, one after the other", 1),
    ]  # fmt: skip


GROUPS = (Group(rows=("snapshot", "restore", "fork-4"), measure=_state),)
