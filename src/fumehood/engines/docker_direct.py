"""A stream to a supervisor that goes past the engine, where both are on this very machine.

The engine copies each byte of an attached stream twice, in two processes of its own. A client that
is root on the engine's host can do without: it enters the container's network namespace for a
moment, in a thread of its own, and connects to the socket at which relays knock. To the supervisor
it is another relay: the same uid, the same nonce.

Nothing is asked of the container's file system, and no path in it is opened. That the process at
the other end is the session's supervisor is checked before anything is sent: by the engine's word
for its number, by its cgroup, and by the kernel's word for who listens.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import platform
import socket
import struct
import sys
import threading
from pathlib import Path

from fumehood.engines import forks
from fumehood.engines.docker_stream import HIGH_WATER, DockerStream, Unframed
from fumehood.options import RESERVED_UID

_SOCKET = b"\0fumehood"
"""The supervisor's listener (``supervisor/src/relay.h``): an abstract name, in no directory."""

_CLONE_NEWNET = 0x40000000
_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4
_UNCHANGED = -1
_CREDENTIALS = struct.Struct("3i")
# setresuid, setresgid. The kernel's own calls change the one thread that makes them; those of libc
# change every thread of the process.
_CALLS = {"x86_64": (117, 119), "aarch64": (147, 149)}


def possible() -> bool:
    """Whether this process may enter another network namespace at all: root, on Linux."""
    return sys.platform == "linux" and platform.machine() in _CALLS and os.geteuid() == 0


async def open_direct(pid: int, container_id: str, *, what: str) -> DockerStream:
    """Connect to the supervisor that is this machine's process ``pid``; return the stream.

    Args:
        pid: the engine's number for the container's first process.
        container_id: the engine's id of the container, which that process's cgroup must name.
        what: the stream, for messages.

    Raises:
        OSError: there is no such process, it is another one, or this process may not.
    """
    loop = asyncio.get_running_loop()
    dialled: asyncio.Future[socket.socket] = loop.create_future()

    def settle(sock: socket.socket | None, error: OSError | None) -> None:
        if dialled.done():  # cancelled meanwhile
            if sock is not None:
                sock.close()
        elif sock is not None:
            dialled.set_result(sock)
        else:
            dialled.set_exception(error or OSError("no socket"))

    def dial() -> None:
        sock, failed = None, None
        try:
            # A child that is forked in the middle would have what is open here, and for good.
            with forks.none_meanwhile():
                sock = _dial(pid, container_id)
                forks.keep(sock)
        except OSError as exc:
            failed = exc
        try:
            loop.call_soon_threadsafe(settle, sock, failed)
        except RuntimeError:  # the loop is closed: nobody waits any more
            if sock is not None:
                sock.close()

    # Never a thread of a pool: this one ends in another namespace and as another user.
    threading.Thread(target=dial, name="fumehood-direct", daemon=True).start()
    try:
        sock = await dialled
    except asyncio.CancelledError:
        # It may have come in the very turn of the cancellation.
        if dialled.done() and not dialled.cancelled() and dialled.exception() is None:
            dialled.result().close()
        raise
    try:
        transport, stream = await loop.create_unix_connection(lambda: _Opening(what), sock=sock)
    except BaseException:
        sock.close()
        raise
    return stream.taken(transport)


class _Opening(asyncio.Protocol):
    """Holds a fresh transport until it is a stream's; nothing is read before."""

    def __init__(self, what: str) -> None:
        self._what = what

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Read nothing yet."""
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()

    def taken(self, transport: asyncio.Transport) -> DockerStream:
        """Make the transport a stream."""
        transport.set_write_buffer_limits(high=HIGH_WATER)
        stream = DockerStream(
            transport, address="this machine", what=self._what, parser=Unframed(), paced=False
        )
        transport.set_protocol(stream)
        return stream


def _dial(pid: int, container_id: str) -> socket.socket:
    """Enter the namespace, become the reserved uid, connect, look who listens. Ends its thread."""
    process = os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # From here on it is one process: the directory of one that has ended names no other.
        _check_container(process, container_id)
        _check_users(process)
        _enter(process)
    finally:
        os.close(process)
    _become_reserved()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Without waiting: whoever is in the container may keep the queue of the listener full.
        sock.setblocking(False)
        sock.connect(_SOCKET)
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        peer, uid, _ = _CREDENTIALS.unpack(raw)
        if (peer, uid) != (pid, RESERVED_UID):
            raise PermissionError(f"process {peer} of uid {uid} listens there")
    except BaseException:
        sock.close()
        raise
    return sock


def _check_container(process: int, container_id: str) -> None:
    """The number may be another host's, or another process's by now."""
    with os.fdopen(os.open("cgroup", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process), "rb") as lines:
        if container_id.encode() not in lines.read():
            raise ProcessLookupError("the process is none of the container's")


def _check_users(process: int) -> None:
    """In a user namespace of the container's own, the reserved uid is another number out here."""
    own, there = Path("/proc/self/ns/user").stat(), os.stat("ns/user", dir_fd=process)
    if (own.st_dev, own.st_ino) != (there.st_dev, there.st_ino):
        raise PermissionError("the container has users of its own")


def _enter(process: int) -> None:
    namespace = os.open("ns/net", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process)
    try:
        _call("setns", _libc().setns(namespace, _CLONE_NEWNET))
    finally:
        os.close(namespace)


def _become_reserved() -> None:
    """Change this thread's effective ids. It is the supervisor's rule for those who knock."""
    libc = _libc()
    setresuid, setresgid = _CALLS[platform.machine()]
    # The kernel takes a change of uid for a reason to protect the whole process: back to what it
    # was, since the process has only lent the supervisor a thread.
    dumpable = libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0)
    _call("setresgid", libc.syscall(setresgid, _UNCHANGED, RESERVED_UID, _UNCHANGED))
    _call("setresuid", libc.syscall(setresuid, _UNCHANGED, RESERVED_UID, _UNCHANGED))
    if dumpable == 1:
        _call("prctl", libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(name: str, result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
