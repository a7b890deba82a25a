from __future__ import annotations

import json

import pytest

from cli.program import Fumehood

pytestmark = pytest.mark.engine


def test_it_tells_what_the_engine_is_and_tries_a_session(fumehood: Fumehood) -> None:
    shown = fumehood("doctor")
    assert shown.code == 0, shown.errors
    for word in ("engine     docker ", "runc", "seccomp: on", "a session in fumehood/test-python",
                 "process 1: closed to every probe",
                 "privileges: no capabilities", "disk of workspaces: ", "quotas: ",
                 "ready after", "  create ", "  start ", "  supervisor ",
                 "round trip", "removed after", "memory_total_bytes"):  # fmt: skip
        assert word in shown.text


def test_programs_get_the_same_as_json(fumehood: Fumehood) -> None:
    data = json.loads(fumehood("doctor", "--json").text)
    assert data["engine"]["api_version"]
    assert {item["level"] for item in data["findings"]} <= {"ok", "note", "warning"}
    assert data["session"]["limits"]["no_new_privileges"] is True
    assert data["session"]["limits"]["network"] == "none"
    assert {"client", "engine", "image", "create", "attach", "start", "supervisor"} <= set(
        data["session"]["steps_ms"]
    )


@pytest.mark.parametrize(
    "address", ["unix:///nonexistent/docker.sock", "tcp://127.0.0.1:1", "ssh://nobody@127.0.0.1:1"]
)
def test_an_engine_that_does_not_answer_is_a_clear_error(fumehood: Fumehood, address: str) -> None:
    ended = fumehood("--docker-host", address, "doctor")
    assert ended.code == 69
    assert ended.errors.count("fumehood: error: ") == 1
    assert address in ended.errors
    assert "Traceback" not in ended.errors


def test_an_image_that_is_not_there_is_a_problem_and_not_the_engine(fumehood: Fumehood) -> None:
    ended = fumehood("doctor", "--image", "fumehood/no-such-image:tag")
    assert ended.code == 1
    assert "PROBLEM  session: " in ended.text
