"""What the programs of test_egress.py do in memory: the same bytes to the same proxy."""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin, urlsplit

import h11

from fumehood.testing import CommandCall

# Prints the status and the body, of an error too.
GET = """
import sys, urllib.error, urllib.request
try:
    with urllib.request.urlopen(sys.argv[1]) as answer:
        print(answer.status, answer.read().decode())
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
except urllib.error.URLError as error:
    print(error.reason)
"""
# A tunnel that says what it gets until its end.
TUNNEL = """
import socket, sys
s = socket.create_connection(("127.0.0.1", 3128))
s.sendall(f"CONNECT {sys.argv[1]} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n".encode())
print(s.recv(4096).split(b"\\r\\n")[0].decode(), flush=True)
try:
    while s.recv(4096): pass
    print("end", flush=True)
except OSError:
    print("reset", flush=True)
"""


async def _get(call: CommandCall, url: str) -> str:
    proxy = urlsplit(call.env["http_proxy"]).port
    assert proxy is not None
    while True:
        status, headers, body = await _ask(call, proxy, url)
        if status != 302:
            return f"{status} {body.decode()}\n"
        url = urljoin(url, headers[b"location"].decode())


async def _ask(call: CommandCall, proxy: int, url: str) -> tuple[int, dict[bytes, bytes], bytes]:
    parser = h11.Connection(h11.CLIENT)
    headers = [("Host", urlsplit(url).netloc), ("Connection", "close")]
    status, answered, body = 0, dict[bytes, bytes](), b""
    async with call.connect(proxy) as connection:
        request = h11.Request(method="GET", target=url, headers=headers)
        await connection.write(parser.send(request) or b"")
        await connection.write(parser.send(h11.EndOfMessage()) or b"")
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                parser.receive_data(await connection.read())
            elif isinstance(event, h11.Response):
                status, answered = event.status_code, dict(event.headers)
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            else:
                return status, answered, body


async def _tunnel(call: CommandCall, where: str) -> None:
    async with call.connect(3128) as connection:
        await connection.write(f"CONNECT {where} HTTP/1.1\r\nHost: x\r\n\r\n")
        await call.write((await connection.read()).split(b"\r\n")[0] + b"\n")
        try:
            while await connection.read():
                pass
        except ConnectionResetError:
            await call.write("reset\n")
        else:
            await call.write("end\n")


async def _python(call: CommandCall) -> object:
    scripts = {GET: _get, TUNNEL: _tunnel}
    if call.argv[1] == "-c" and call.argv[2] in scripts:
        return await scripts[call.argv[2]](call, call.argv[3])
    return NotImplemented


EGRESS_COMMANDS: dict[str | tuple[str, ...], Any] = {"python3": _python}
