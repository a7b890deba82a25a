"""Servers to reach inside a session, with nothing but Python's own library."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from contract.programs import python
from fumehood import AsyncSession, Stdout

# What each connection `c` gets; the port is printed once it is listened on.
_SERVER = """
import socket, sys, threading
s = socket.create_server(("{host}", {port}), family=socket.{family}, backlog=512)
print("listening", flush=True)
def serve(c):
{body}
while True:
    c, _ = s.accept()
    threading.Thread(target=serve, args=(c,), daemon=True).start()
"""

ECHO = """
while data := c.recv(65536):
    c.sendall(data)
c.sendall(b"!")
c.close()
"""

HTTP = """
import http.server, hashlib, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_):
        pass
    def do_GET(self):
        size = int(self.path.rpartition("/")[2] or 0)
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.send_header("X-Host", self.headers["Host"])
        self.end_headers()
        block = bytes(range(256)) * 256
        while size > 0:
            self.wfile.write(block[:size])
            size -= len(block)
    def do_POST(self):
        digest = hashlib.sha256(self.rfile.read(int(self.headers["Content-Length"])))
        text = digest.hexdigest().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 512
server = Server(("127.0.0.1", PORT), Handler)
print("listening", flush=True)
server.serve_forever()
"""

# As much of RFC 6455 as an echo of short messages needs.
WEBSOCKET = """
import base64, hashlib
head = b""
while not head.endswith(b"\\r\\n\\r\\n"):
    head += c.recv(1)
key = [l.split(b":")[1].strip() for l in head.split(b"\\r\\n") if l.lower().startswith(b"sec-websocket-key")][0]
guid = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
accept = base64.b64encode(hashlib.sha1(key + guid).digest())
c.sendall(b"HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
          b"Sec-WebSocket-Accept: " + accept + b"\\r\\n\\r\\n")
f = c.makefile("rb")
while True:
    first, length = f.read(2)
    mask, data = f.read(4), f.read(length & 127)
    text = bytes(b ^ mask[i % 4] for i, b in enumerate(data))
    c.sendall(bytes([first, len(text)]) + text)
    if first & 15 == 8:
        break
c.close()
"""  # noqa: E501 - a program in a string


def server(body: str, port: int, host: str = "127.0.0.1") -> str:
    """Return the program of a server that runs ``body`` for each connection."""
    lines = "\n".join("    " + line for line in body.strip().splitlines())
    family = "AF_INET6" if ":" in host else "AF_INET"
    program = _SERVER.replace("{body}", lines).replace("{family}", family)
    return program.replace("{host}", host).replace("{port}", str(port))


@contextlib.asynccontextmanager
async def running(session: AsyncSession, program: str) -> AsyncIterator[None]:
    """Run a server inside while the block runs, from when it listens."""
    stream = session.exec_stream(python(program), timeout=None)
    try:
        event = await stream.__anext__()
        assert isinstance(event, Stdout), event
        assert event.data == b"listening\n"
        yield
    finally:
        await stream.aclose()
