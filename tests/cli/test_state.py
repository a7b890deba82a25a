"""Stop, resume, snapshot and fork from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.program import Fumehood, containers, volumes

pytestmark = pytest.mark.engine


def test_a_session_is_stopped_listed_resumed_and_removed(fumehood: Fumehood, new_id: str) -> None:
    assert fumehood("run", "--detach", "--ttl", "5m", "--id", new_id).code == 0
    assert fumehood("exec", new_id, "--", "sh", "-c", "echo kept > f").code == 0
    stopped = fumehood("stop", "--expires", "1h", new_id)
    assert (stopped.code, stopped.text, stopped.errors) == (0, f"{new_id}\n", "")
    [info] = [item for item in json.loads(fumehood("ls", "--json").text) if item["id"] == new_id]
    assert info["state"] == "stopped"
    assert info["expires_at"] is not None
    [row] = [line for line in fumehood("ls").text.splitlines() if line.startswith(new_id)]
    # "ID stopped, detached AGE LEFT …": of the hour, and not of the time to live of five minutes.
    left = row.split()[4]
    assert left.endswith("m")
    assert int(left[:-1]) > 30
    refused = fumehood("exec", new_id, "--", "true")
    assert refused.code != 0
    assert "resume" in refused.errors
    assert fumehood("resume", "--ttl", "5m", new_id).text == f"{new_id}\n"
    assert fumehood("exec", new_id, "--", "cat", "f").text == "kept\n"
    assert fumehood("stop", new_id).code == 0
    assert fumehood("rm", new_id).text == f"{new_id}\n"
    assert containers(new_id) == []
    assert volumes(new_id) == []


def test_a_snapshot_is_taken_listed_begun_from_and_deleted(
    fumehood: Fumehood, session: str, new_id: str
) -> None:
    name = f"{new_id}-point"
    assert fumehood("exec", session, "--", "sh", "-c", "echo kept > f").code == 0
    taken = fumehood("snapshot", "--name", name, "--expires", "1h", session)
    assert (taken.code, taken.text) == (0, f"{name}\n")
    found = {item["name"]: item for item in json.loads(fumehood("snapshots", "ls", "--json").text)}
    assert found[name]["image"] == "fumehood/test-python"
    assert name in fumehood("snapshots", "ls").text
    assert fumehood("snapshot", "--name", name, session).code != 0
    begun = fumehood("run", "--from-snapshot", name, "--", "cat", "f")
    assert (begun.code, begun.text) == (0, "kept\n"), begun.errors
    for option in ("--image", "--workspace"):
        refused = fumehood("run", option, "x", "--from-snapshot", name, "--", "true")
        assert refused.code == 2
        assert option in refused.errors
    assert fumehood("run", "--from-snapshot", f"{name}-not", "--", "true").code == 125
    assert fumehood("snapshots", "rm", name).text == f"{name}\n"
    assert fumehood("snapshots", "rm", name).code != 0
    assert fumehood("snapshots", "rm", "--force", name).code == 0


def test_a_snapshot_goes_through_a_file(
    fumehood: Fumehood, session: str, new_id: str, tmp_path: Path
) -> None:
    name, file = f"{new_id}-point", tmp_path / "point.snapshot"
    assert fumehood("exec", session, "--", "sh", "-c", "echo kept > f").code == 0
    assert fumehood("snapshot", "--name", name, session).code == 0
    written = fumehood("snapshots", "export", name, str(file))
    assert (written.code, written.text) == (0, f"{file}\n")
    assert f"{file.stat().st_size} bytes in" in written.errors
    assert fumehood("snapshots", "export", "nobody", str(file)).code != 0
    taken = fumehood("snapshots", "import", "--quiet", str(file))
    assert taken.code != 0
    assert name in taken.errors
    assert fumehood("snapshots", "rm", name).code == 0
    taken = fumehood("snapshots", "import", "--quiet", "--expires", "1h", str(file))
    assert (taken.code, taken.text, taken.errors) == (0, f"{name}\n", "")
    assert fumehood("snapshots", "rm", name).code == 0
    file.write_text("no snapshot")
    broken = fumehood("snapshots", "import", str(file))
    assert broken.code != 0
    assert str(file) in broken.errors


def test_forks_outlive_the_command_that_made_them(fumehood: Fumehood, session: str) -> None:
    assert fumehood("exec", session, "--", "sh", "-c", "echo kept > f").code == 0
    made = fumehood("fork", "-n", "2", "--ttl", "5m", session)
    ids = made.text.split()
    try:
        assert (made.code, len(set(ids))) == (0, 2)
        for id in ids:
            assert fumehood("exec", id, "--", "cat", "f").text == "kept\n"
    finally:
        assert fumehood("rm", "--force", *ids).code == 0
