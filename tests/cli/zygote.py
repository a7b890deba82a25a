"""A process that has imported the command line, and becomes a copy of itself for each command.

Most of what a command takes here is the import of libraries, a second of a processor each time; the
tests run hundreds. A copy is a process like any other: it has the arguments, the variables, the
directory and the three streams of who asks (`ask.py`), and ends by itself.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import signal
import socket
import sys
from typing import NoReturn

# What is imported late, by a command that reaches an engine.
import fumehood.engines.docker
from fumehood.cli import main
from fumehood.cli.app import app

STREAMS = 3
_REQUEST = 1 << 20


def prepare() -> None:
    """Have imported, by a page of help, what a command imports as it reads its words."""
    assert fumehood.engines.docker
    with contextlib.redirect_stdout(io.StringIO()):
        app(["run", "--help"], prog_name="fumehood", standalone_mode=False)


def serve(address: str) -> None:
    """Serve until standard input ends; returns in each copy, which is then to run the command."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        # Who waits for a copy is its keeper; nobody waits for a keeper.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            ready, _, _ = select.select([sys.stdin, listener], [], [])
            if sys.stdin in ready:
                os._exit(0)
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _keep(connection)
                return
            connection.close()


def _keep(connection: socket.socket) -> None:
    """Wait for a copy, say how it has ended, and end; or return, in the copy."""
    data, streams, _, _ = socket.recv_fds(connection, _REQUEST, STREAMS)
    while not data.endswith(b"\n"):
        data += connection.recv(_REQUEST)
    if copy := os.fork():
        _wait(connection, copy)
    connection.close()
    request = json.loads(data)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["fumehood", *request["arguments"]]


def _wait(connection: socket.socket, copy: int) -> NoReturn:
    ended = os.pidfd_open(copy)
    ready, _, _ = select.select([ended, connection.fileno()], [], [])
    if ended not in ready:  # who asked was killed
        signal.pidfd_send_signal(ended, signal.SIGKILL)
    _, status = os.waitpid(copy, 0)
    if ended in ready:
        connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


if __name__ == "__main__":
    prepare()
    serve(sys.argv[1])
    main()
