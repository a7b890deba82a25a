"""TLS on top of an end: what the program, or the server, says in it.

Python's own streams would need a socket inside, and take a connection that was cut for one that has
ended: here a body whose end is the connection's is whole, or broken.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl

from fumehood._relay import PIECE
from fumehood.egress.ends import End


class TlsEnd:
    """An end inside TLS; :meth:`handshake` comes first.

    It holds at most one piece of what has come from below, and nothing of what goes there.
    """

    def __init__(
        self, below: End, context: ssl.SSLContext, *, server_hostname: str | None = None
    ) -> None:
        """Begin on an end.

        Args:
            below: what carries it.
            context: a client's if there is a name, otherwise a server's.
            server_hostname: whom a client asks for, and whose certificate it has to see.
        """
        self._below = below
        self._coming = ssl.MemoryBIO()
        self._going = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._coming,
            self._going,
            server_side=server_hostname is None,
            server_hostname=server_hostname,
        )
        # Records leave in the order in which they were made, whichever task has made them.
        self._sending = asyncio.Lock()
        self._server_side = server_hostname is None
        self._failure: ssl.SSLError | None = None

    async def handshake(self) -> None:
        """Agree on the keys. It has no time limit of its own.

        Raises:
            ssl.SSLError: they do not agree; ``SSLCertVerificationError``: the server is another.
            OSError: what carries it broke.
        """
        while True:
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            except ssl.SSLError:
                # The other side is told why, if it still listens.
                with contextlib.suppress(OSError):
                    await self._flush()
                raise
            else:
                await self._flush()
                return

    async def read(self) -> bytes:
        """Return what comes next; nothing: the other side has said that this was all.

        When cancelled, nothing is lost.

        Raises:
            ssl.SSLEOFError: a server's connection was cut instead. Of a client's that is no matter:
                a request says itself where it ends, and many programs never say more.
            OSError: it broke.
        """
        while (data := self._take()) is None:
            # Answers to what TLS itself has asked for.
            await self._flush()
            await self._fill()
        return data

    def _take(self) -> bytes | None:
        """Return all that can be read now, up to a piece; None: more has to come from below."""
        if self._failure is not None:
            raise self._failure
        pieces: list[bytes] = []
        size = 0
        while size < PIECE:
            try:
                piece = self._object.read(PIECE - size)
            except ssl.SSLWantReadError:
                return b"".join(pieces) if pieces else None
            except ssl.SSLError as exc:
                if self._server_side and isinstance(exc, ssl.SSLEOFError):
                    break
                # What came before it is good. OpenSSL would say later that all has ended well.
                self._failure = exc
                if not pieces:
                    raise
                break
            if not piece:
                break
            pieces.append(piece)
            size += len(piece)
        return b"".join(pieces)

    async def write(self, data: bytes) -> None:
        """Send all of it, as fast as the other side takes it."""
        view = memoryview(data)
        while view:
            view = view[self._object.write(view[:PIECE]) :]
            await self._flush()

    async def finish(self) -> None:
        """Say that nothing more comes: who reads then knows an end from a cut."""
        # It is said at once, and the other side's own word is not waited for. After a failure there
        # is nothing to be said.
        with contextlib.suppress(ssl.SSLError):
            self._object.unwrap()
        await self._flush()
        await self._below.finish()

    async def _fill(self) -> None:
        data = await self._below.read()
        if data:
            self._coming.write(data)
        else:
            self._coming.write_eof()

    async def _flush(self) -> None:
        async with self._sending:
            while self._going.pending:
                await self._below.write(self._going.read(PIECE))
