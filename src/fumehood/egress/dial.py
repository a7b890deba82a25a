"""Connections of this machine to the outside: names resolved once, and what was checked dialled."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass

from fumehood.egress.addresses import Address
from fumehood.egress.hosts import Host, Name, to_address

CONNECT_SECONDS = 10.0
"""For one address to answer."""
RESOLVE_SECONDS = 15.0
MAX_TRIES = 6
"""Addresses of one name that are tried."""

LIMIT = 1 << 17

Sockaddr = tuple[str | int | bytes, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """An address to connect to, in the form that the kernel takes: nothing resolves it again."""

    address: Address
    family: int
    sockaddr: Sockaddr


class UnresolvedError(Exception):
    """A name has no address, or nobody could say so in time."""


def lookup(name: str, port: int) -> list[Place]:
    """Resolve a name as this machine does. It blocks, so it runs in a thread.

    Raises:
        OSError: it has no address.
    """
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [
        Place(to_address(sockaddr[0]), family, sockaddr)
        for family, _, _, _, sockaddr in found
        # Else it is a family that this Python was built without.
        if isinstance(sockaddr[0], str)
    ]


async def places(host: Host, port: int, executor: Executor) -> list[Place]:
    """Return what a host leads to, without repetitions.

    Raises:
        UnresolvedError: nothing.
    """
    if not isinstance(host, Name):
        family = socket.AF_INET if host.version == 4 else socket.AF_INET6
        return [Place(host, family, (str(host), port))]
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            found = await loop.run_in_executor(executor, lookup, host.text, port)
    except TimeoutError:
        raise UnresolvedError("no answer in time") from None
    except (OSError, UnicodeError) as exc:
        raise UnresolvedError(str(exc)) from exc
    if not found:
        raise UnresolvedError("no address")
    return list(dict.fromkeys(found))


async def dial(
    candidates: Iterable[Place], permitted: Callable[[Address], bool]
) -> tuple[socket.socket, Address] | None:
    """Connect to the first candidate that is permitted and answers; None: not one is permitted.

    Each is asked about at the moment at which it is connected to.

    Raises:
        OSError: none of those that are permitted answers; a TimeoutError among them.
    """
    failure: OSError | None = None
    tries = 0
    for place in candidates:
        if not permitted(place.address):
            continue
        tries += 1
        if tries > MAX_TRIES:
            break
        try:
            return await _dial(place), place.address
        except OSError as exc:
            failure = exc
    if failure is not None:
        raise failure
    return None


async def _dial(place: Place) -> socket.socket:
    loop = asyncio.get_running_loop()
    connection = socket.socket(place.family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with asyncio.timeout(CONNECT_SECONDS):
            # A numeric address: the loop has nothing to resolve.
            await loop.sock_connect(connection, place.sockaddr)
    except BaseException:
        connection.close()
        raise
    return connection


async def streams(connection: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return a connected socket as streams, which close it from then on."""
    try:
        return await asyncio.open_connection(sock=connection, limit=LIMIT)
    except BaseException:
        connection.close()
        raise
