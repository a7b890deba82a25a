"""A model's HTTP API on this machine's loopback, whose answers are written beforehand.

What an SDK sends is kept as it came over the wire, and what it is sent is what it would be sent by
the API itself: a whole answer as JSON, or the events of one as they come.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = dict[str, Any]
Events = Callable[[Answer], Iterator[str]]
"""Gives the lines of server-sent events that an answer comes in, to whom asks for a stream."""


@dataclass(slots=True)
class Api:
    """The API and what it has been asked."""

    answers: list[Answer]
    events: Events
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    """The bodies of all requests."""
    paths: list[str] = field(default_factory=list)


@contextmanager
def scripted(answers: Sequence[Answer], events: Events) -> Iterator[Api]:
    """Serve an API that gives one answer to each request, in their order, and error 400 then."""
    api = Api(list(answers), events)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            api.asked.append(body)
            api.paths.append(self.path)
            if not api.answers:
                self._reply(400, "application/json", ["{}"])
                return
            answer = api.answers.pop(0)
            if body.get("stream"):
                self._reply(200, "text/event-stream", api.events(answer))
            else:
                self._reply(200, "application/json", [json.dumps(answer)])

        def _reply(self, status: int, kind: str, parts: Sequence[str] | Iterator[str]) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.end_headers()
            for part in parts:
                self.wfile.write(part.encode())
                self.wfile.flush()

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        api.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield api
        finally:
            server.shutdown()
            thread.join()


def event(name: str, /, **fields: object) -> str:
    """Return one server-sent event, whose data names its type as well."""
    return f"event: {name}\n{data({'type': name, **fields})}"


def data(value: object) -> str:
    """Return an event that is nothing but data."""
    return f"data: {json.dumps(value)}\n\n"


def pieces(text: str, size: int = 7) -> Iterator[str]:
    """Cut a text as a stream does: anywhere."""
    for start in range(0, len(text), size):
        yield text[start : start + size]
