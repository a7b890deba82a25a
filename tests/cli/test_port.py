"""A forwarded port, from a terminal."""

from __future__ import annotations

import signal
import subprocess
import urllib.request

import pytest

from cli.program import PATIENCE, Fumehood

pytestmark = pytest.mark.engine

SERVER = "cd / && exec python3 -m http.server --bind 127.0.0.1 8000"


def test_a_port_leads_to_a_server_inside_until_control_c(fumehood: Fumehood, new_id: str) -> None:
    assert fumehood("run", "--detach", "--ttl", "5m", "--id", new_id).code == 0
    server = fumehood.start("exec", "--timeout", "0", new_id, "--", "sh", "-c", SERVER)
    process = fumehood.start("port", "--wait", "60", new_id, "8000")
    assert process.stdout
    address = process.stdout.readline().decode().strip()
    assert address.startswith("127.0.0.1:")
    with urllib.request.urlopen(f"http://{address}/etc/hostname", timeout=PATIENCE) as page:
        assert page.status == 200
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 130
    assert _stopped(server)
    assert fumehood("exec", new_id, "--", "true").code == 0


def _stopped(process: subprocess.Popen[bytes]) -> bool:
    process.send_signal(signal.SIGTERM)
    return process.wait(PATIENCE) == 143


def test_what_is_not_a_port_is_a_mistake(fumehood: Fumehood) -> None:
    for text in ("x", "80:", ":80", "1:2:3", "-1", "80:99999", "99999"):
        outcome = fumehood("port", "--", "no-such-session", text)
        assert outcome.code in (1, 2), (text, outcome)
        assert "Traceback" not in outcome.errors


def test_a_session_that_is_not_there_is_an_error(fumehood: Fumehood) -> None:
    outcome = fumehood("port", "no-such-session", "80")
    assert outcome.code == 1
    assert "there is no session" in outcome.errors
