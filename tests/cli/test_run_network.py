"""``fumehood run --allow``: what is listed is reached, and nothing else."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest

from cli.program import Fumehood

pytestmark = pytest.mark.engine

GET = """
import sys, urllib.error, urllib.request
for url in sys.argv[1:]:
    try:
        print(urllib.request.urlopen(url).read().decode())
    except urllib.error.HTTPError as error:
        print(error.code)
"""


class _Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello from outside")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    """Where this machine's loopback says hello."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hello) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_what_is_listed_is_reached_and_nothing_else(fumehood: Fumehood, port: int) -> None:
    # Also loopback goes through the proxy: there is nothing to be found on the session's own.
    direct = ["--env", "no_proxy=", "--env", "NO_PROXY="]
    urls = [f"http://127.0.0.1:{port}/", f"http://127.0.0.2:{port}/", "http://127.0.0.1:1/"]
    ended = fumehood(
        "run", "--allow", f"127.0.0.1:{port}", *direct, "--", "python3", "-c", GET, *urls
    )
    assert (ended.code, ended.text) == (0, "hello from outside\n403\n403\n"), ended.errors


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--allow", "http://pypi.org"], "no scheme"),
        (["--allow", "pypi.org:99999"], "port must be"),
        (["--allow", "pypi.org", "--network", "bridge"], "says otherwise"),
    ],
)
def test_a_list_that_cannot_be_is_code_2(fumehood: Fumehood, words: list[str], said: str) -> None:
    ended = fumehood("run", *words, "--", "true")
    assert ended.code == 2
    assert said in ended.errors
