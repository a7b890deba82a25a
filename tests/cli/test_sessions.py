from __future__ import annotations

import json
from typing import Any

import pytest

from cli.program import Fumehood, containers, docker, volumes

pytestmark = pytest.mark.engine


def listed(fumehood: Fumehood, id: str) -> dict[str, Any]:
    [found] = [item for item in json.loads(fumehood("ls", "--json").text) if item["id"] == id]
    return dict(found)


def test_a_detached_session_is_listed_and_used_and_removed(fumehood: Fumehood, new_id: str) -> None:
    made = fumehood("run", "--detach", "--ttl", "5m", "--idle", "4m", "--id", new_id)
    assert (made.code, made.text, made.errors) == (0, f"{new_id}\n", "")
    [row] = [line for line in fumehood("ls").text.splitlines() if line.startswith(new_id)]
    assert "running, detached" in row
    assert "fumehood/test-python" in row
    info = listed(fumehood, new_id)
    assert (info["ttl"], info["idle_timeout"], info["detached"]) == (300, 240, True)
    written = fumehood("exec", new_id, "--", "sh", "-c", "echo kept > f; pwd")
    assert written.text == "/workspace\n"
    assert fumehood("exec", new_id, "--", "cat", "f").text == "kept\n"
    assert fumehood("rm", new_id).text == f"{new_id}\n"
    assert containers(new_id) == []
    assert volumes(new_id) == []


def test_a_command_can_be_run_before_the_session_is_left(fumehood: Fumehood, new_id: str) -> None:
    made = fumehood(
        "run", "-d", "--ttl", "5m", "--id", new_id, "--", "sh", "-c", "echo x > f; exit 3"
    )
    assert (made.code, made.text) == (3, "")
    assert f"fumehood rm {new_id}" in made.errors
    assert fumehood("exec", new_id, "--", "cat", "f").text == "x\n"
    assert fumehood("rm", new_id).code == 0


def test_a_command_in_a_session_has_its_own_place_user_and_variables(
    fumehood: Fumehood, session: str
) -> None:
    words = ["--workdir", "/tmp", "--user", "1000:1000", "--env", "A=1"]
    ended = fumehood("exec", *words, session, "--", "sh", "-c", 'pwd; id -u; id -g; echo "$A"')
    assert ended.text.split() == ["/tmp", "1000", "1000", "1"]


def test_a_command_in_a_session_streams_both_ways(fumehood: Fumehood, session: str) -> None:
    process = fumehood.start("exec", session, "cat")
    assert process.stdin
    assert process.stdout
    for line in (b"one\n", b"two\n"):
        process.stdin.write(line)
        process.stdin.flush()
        assert process.stdout.readline() == line
    process.stdin.close()
    assert process.wait(60) == 0


def test_exit_codes_in_a_session_are_those_of_run(fumehood: Fumehood, session: str) -> None:
    assert fumehood("exec", session, "--", "sh", "-c", "exit 9").code == 9
    assert fumehood("exec", "--timeout", "0.5", session, "--", "sleep", "1000").code == 124
    assert fumehood("exec", session, "--", "no-such-program").code == 127
    missing = fumehood("exec", "no-such-session", "--", "true")
    assert missing.code == 125
    assert "there is no session 'no-such-session'" in missing.errors


def test_what_is_not_there_cannot_be_removed_but_may_be_gone(fumehood: Fumehood) -> None:
    ended = fumehood("rm", "no-such-session")
    assert ended.code == 1
    assert "there is no session 'no-such-session'" in ended.errors
    assert fumehood("rm", "--force", "no-such-session").code == 0
    assert fumehood("workspace", "rm", "no-such-workspace").code == 1
    assert fumehood("workspace", "rm", "--force", "no-such-workspace").code == 0


def test_a_workspace_stays_unless_it_is_to_go_too(fumehood: Fumehood, new_id: str) -> None:
    for words, left in ((["rm", new_id], 1), (["rm", "--workspace", new_id], 0)):
        made = fumehood(
            "run", "--detach", "--ttl", "5m", "--id", new_id, "--workspace", f"{new_id}.ws"
        )
        assert made.code == 0, made.errors
        busy = fumehood("workspace", "rm", f"{new_id}.ws")
        assert busy.code == 1
        assert new_id in fumehood("workspace", "ls").text
        assert fumehood(*words).code == 0
        kept = docker("volume", "ls", "-q", "--filter", f"label=fumehood.workspace={new_id}.ws")
        assert len(kept.split()) == left


def test_a_sweep_leaves_live_sessions_alone(fumehood: Fumehood, session: str) -> None:
    swept = fumehood("gc", "--json")
    assert swept.code == 0, swept.errors
    report = json.loads(swept.text)
    assert f"fumehood-{session}" in report["kept"]
    assert f"fumehood-{session}" not in report["containers"]
    assert fumehood("exec", session, "--", "true").code == 0
    assert "in use" in fumehood("gc").text


def test_hostile_metadata_is_listed_as_text(fumehood: Fumehood, new_id: str) -> None:
    # Anybody who may use the engine can make such a container: labels are no proof of ours.
    evil = "evil\x1b]0;title\x07"
    docker(
        "create", "--name", f"fumehood-{new_id}", "--network", "none",
        "--label", "fumehood=1", "--label", f"fumehood.session={new_id}",
        "--label", f"fumehood.nonce={'0' * 64}", "--label", f"fumehood.owner={evil}",
        "--label", "fumehood.workdir=/workspace", "--label", f"fumehood.image={evil}",
        "fumehood/test-python", "true",
    )  # fmt: skip
    try:
        shown = fumehood("ls")
        assert new_id in shown.text
        assert r"evil\x1b]0;title\x07" in shown.text
        assert "\x1b" not in shown.text
    finally:
        docker("rm", f"fumehood-{new_id}")


def test_a_session_is_paused_and_goes_on(fumehood: Fumehood, session: str) -> None:
    fumehood("exec", session, "--", "sh", "-c", "sleep 600 &")
    paused = fumehood("pause", session)
    assert (paused.code, paused.text) == (0, "")
    assert f"{session}: 1 process stopped" in paused.errors
    refused = fumehood("exec", session, "--", "true")
    assert refused.code == 125
    assert "unpause" in refused.errors
    assert fumehood("unpause", session).code == 0
    assert fumehood("exec", session, "--", "pkill", "sleep").code == 0
