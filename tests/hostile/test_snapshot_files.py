"""Files that say that they are snapshots, from anybody, made to do harm where they are imported."""

from __future__ import annotations

import io
import json
import secrets
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from cases.invariants import never_gone
from cases.mark import case
from contract.adapter import BUSYBOX
from contract.observer import Observer
from fumehood import AsyncDockerSandbox, EngineUnsupportedError, SandboxError, SnapshotFileError
from fumehood._moving.file import SnapshotWriter

FILES = "A snapshot's file is a stranger's"
Members = Iterable[tuple[tarfile.TarInfo, bytes]]

CONFIG = {
    "architecture": "amd64",
    "user": "",
    "env": ["PATH=/bin"],
    "workdir": "/",
    "entrypoint": [],
    "cmd": [],
}
HEAD: dict[str, Any] = {
    "name": "stranger",
    "image": BUSYBOX,
    "workdir": "/workspace",
    "labels": {},
    "config": CONFIG,
}


def entry(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **values: Any) -> Any:
    """Return a member of an archive."""
    made = tarfile.TarInfo(name)
    made.type, made.size, made.mode = kind, len(data), 0o755
    for key, value in values.items():
        setattr(made, key, value)
    return made, data


def archive(members: Members) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as made:
        for member, data in members:
            made.addfile(member, io.BytesIO(data))
    return out.getvalue()


def snapshot(
    head: dict[str, Any] | None = None, files: bytes = b"", workspace: bytes = b""
) -> bytes:
    """Return a file that is whole, whatever is in it."""
    out = io.BytesIO()
    writer = SnapshotWriter(out)
    writer.head(HEAD | (head or {}))
    for part, data in (("files", files), ("workspace", workspace)):
        writer.begin(part)
        writer.add(data)
    writer.end()
    return out.getvalue()


def flat() -> bytes:
    """Return a good file system with nothing to run in it."""
    return archive([entry("etc", tarfile.DIRTYPE), entry("etc/x", data=b"x")])


WORKSPACES: dict[str, Callable[[], bytes]] = {
    "up": lambda: archive([entry("../../etc/cron.d/x", data=b"x")]),
    "absolute": lambda: archive([entry("/etc/cron.d/x", data=b"x")]),
    "a device": lambda: archive([entry("sda", tarfile.BLKTYPE, devmajor=8)]),
    "a link to the host's": lambda: archive([entry("l", tarfile.LNKTYPE, linkname="/etc/shadow")]),
    "the root as a link": lambda: archive([entry(".", tarfile.SYMTYPE, linkname="/")]),
    "holes": lambda: archive([entry("s", tarfile.GNUTYPE_SPARSE)]),
    "no end": lambda: archive([entry("a", pax_headers={"size": str(1 << 50)})]),
    "compressed": lambda: b"\x28\xb5\x2f\xfd" + bytes(4000),
}
HEADS: dict[str, dict[str, Any]] = {
    "a name": {"name": "../../x"},
    "no name": {"name": None},
    "an image": {"image": "x y"},
    "a workdir": {"workdir": "/a/../../etc"},
    "the root as workdir": {"workdir": "/"},
    "our labels": {"labels": {"fumehood.session": "x"}},
    "labels": {"labels": ["x"]},
    "a config": {"config": None},
    "an environment": {"config": CONFIG | {"env": ["A=\0"]}},
    "no list": {"config": CONFIG | {"cmd": {"a": "b"}}},
    "a user": {"config": CONFIG | {"user": 0}},
    "an architecture": {"config": CONFIG | {"architecture": "s390x"}},
    "a version": {"version": 2},
    "a format": {"format": "docker"},
}


async def refused(path: Path, data: bytes, observer: Observer) -> SandboxError:
    """Import it, which must not work and must leave nothing."""
    path.write_bytes(data)  # noqa: ASYNC240 - nothing else is on this loop
    before = await observer.left("stranger")
    async with AsyncDockerSandbox(image=BUSYBOX, pull="never") as sandbox:
        with pytest.raises((SnapshotFileError, EngineUnsupportedError)) as caught:
            await sandbox.import_snapshot(path)
        assert "stranger" not in [item.name for item in await sandbox.list_snapshots()]
    assert await never_gone(lambda: observer.left("stranger"), before=before) == []
    return caught.value


@case("X100", FILES)
@pytest.mark.parametrize("made", WORKSPACES.values(), ids=WORKSPACES)
async def test_a_workspace_that_leads_elsewhere_is_refused(
    observer: Observer, tmp_path: Path, made: Callable[[], bytes]
) -> None:
    data = snapshot(files=flat(), workspace=made())
    assert isinstance(await refused(tmp_path / "f", data, observer), SnapshotFileError)


@case("X100", FILES)
@pytest.mark.parametrize("what", [what for what in WORKSPACES if what != "a device"])
async def test_a_file_system_that_leads_elsewhere_is_refused(
    observer: Observer, tmp_path: Path, what: str
) -> None:
    made = WORKSPACES[what]
    data = snapshot(files=made(), workspace=archive([]))
    assert isinstance(await refused(tmp_path / "f", data, observer), SnapshotFileError)


@case("X101", FILES)
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
async def test_a_head_that_asks_for_what_nobody_may_is_refused(
    observer: Observer, tmp_path: Path, head: dict[str, Any]
) -> None:
    data = snapshot(head, files=flat(), workspace=archive([]))
    assert isinstance(await refused(tmp_path / "f", data, observer), SnapshotFileError)


@case("X101", FILES)
async def test_another_architecture_is_refused(observer: Observer, tmp_path: Path) -> None:
    data = snapshot(
        {"config": CONFIG | {"architecture": "arm64"}}, files=flat(), workspace=archive([])
    )
    error = await refused(tmp_path / "f", data, observer)
    assert isinstance(error, EngineUnsupportedError)
    assert "arm64" in str(error)


@case("X102", FILES)
async def test_a_head_without_an_end_is_refused(observer: Observer, tmp_path: Path) -> None:
    for head in ({"labels": {"a": "x" * (2 << 20)}}, {"labels": json.loads("[" * 500 + "]" * 500)}):
        await refused(tmp_path / "f", snapshot(head), observer)


@case("X103", FILES)
async def test_a_file_that_ends_early_or_was_changed_leaves_nothing(
    observer: Observer, tmp_path: Path
) -> None:
    whole = snapshot(files=flat(), workspace=archive([entry("a", data=b"y" * 3000)]))
    changed = bytearray(whole)
    changed[whole.index(b"y" * 100)] ^= 1
    for data in (whole[:-2048], whole[: whole.index(b"y" * 100) + 50], bytes(changed)):
        assert isinstance(await refused(tmp_path / "f", data, observer), SnapshotFileError)


@case("X104", FILES)
async def test_nothing_but_files_comes_from_a_file_that_is_taken(
    observer: Observer, tmp_path: Path
) -> None:
    name = f"taken-{secrets.token_hex(4)}"
    before = await observer.left("taken")
    mark = secrets.token_hex(8)
    workspace = archive(
        [
            entry("./", tarfile.DIRTYPE),
            # Through a link of its own, a file for somebody else's directory.
            entry("way", tarfile.SYMTYPE, linkname="/etc"),
            entry("way/written", data=mark.encode()),
            entry("a", data=b"text", mode=0o4755),
        ]
    )
    files = archive(
        [
            entry("etc", tarfile.DIRTYPE),
            entry("dev", tarfile.DIRTYPE),
            entry("dev/sda", tarfile.BLKTYPE, devmajor=8),
        ]
    )
    head = {
        "name": name,
        "config": CONFIG | {"env": [f"MARK={mark}", "A=$PATH\n\"'`x`"], "entrypoint": ["/x"]},
    }
    path = tmp_path / "f"
    path.write_bytes(snapshot(head, files=files, workspace=workspace))
    async with AsyncDockerSandbox(image=BUSYBOX, pull="never") as sandbox:
        taken = await sandbox.import_snapshot(path)
        try:
            made = await observer.call("GET", f"images/fumehood-layer:{taken.id}/json")
            marks = {key: value for key, value in made["Config"]["Labels"].items() if value}
            assert marks == {"fumehood.layer": taken.id}
            assert not made["Config"].get("ExposedPorts")
            assert made["Config"].get("Healthcheck") in (None, {"Test": ["NONE"]})
            assert made["RepoTags"] == [f"fumehood-layer:{taken.id}"]
            assert made["Config"]["Env"] == head["config"]["env"]  # type: ignore[index]
            assert not made["Config"].get("Volumes")
            assert not made["Config"].get("OnBuild")
            async with sandbox.create_session(from_snapshot=taken) as session:
                assert [item.path for item in await session.list_files()] == ["a", "way"]
                outside = [item.path for item in await session.list_files("/etc", root="/")]
                assert "written" not in str(outside)
                await session.destroy(wait=True)
        finally:
            await sandbox.delete_snapshot(taken)
    assert await never_gone(lambda: observer.left("taken"), before=before) == []
