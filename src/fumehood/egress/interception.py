"""What the TLS of a session is intercepted with: who answers inside, and who is trusted outside."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from fumehood._tether.tether import Tether
from fumehood.egress import trust
from fumehood.errors import SandboxError

if TYPE_CHECKING:
    from fumehood.egress.authority import Authority

logger: logging.Logger = logging.getLogger("fumehood.egress")

MAX_CONTEXTS = 256
"""Hosts whose certificate is kept: behind a ``*.`` there are as many names as anybody thinks of."""
MAX_TRUSTED = 64
"""Sets of certificates for the outside that are kept, of rules with a ``ca`` of their own."""

_T = TypeVar("_T")
_Key = TypeVar("_Key")


class Interception:
    """Makes the session's authority when a rule first asks for it, and certificates on demand.

    Keys and certificates are made in a thread of its own, one at a time: however many handshakes
    are begun inside, this client's loop and its other threads have time for others.
    """

    def __init__(self, tether: Tether, session_id: str, image_roots: str | None) -> None:
        """Prepare nothing yet.

        Args:
            tether: the session's.
            session_id: its id, for messages.
            image_roots: where the image's environment says that its roots are.
        """
        self._tether = tether
        self._session_id = session_id
        self._image_roots = image_roots
        self._executor = ThreadPoolExecutor(1, "fumehood-tls")
        self._lock = asyncio.Lock()
        self._rules: tuple[str, ...] = ()
        self._authority: Authority | None = None
        self._inside: OrderedDict[str, ssl.SSLContext] = OrderedDict()
        self._outside: OrderedDict[str | None, ssl.SSLContext] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Interception {self._session_id} {self._authority!r} {self.statistics()}>"

    def statistics(self) -> dict[str, int]:
        """Return how many certificates, and trusted sets of them, are kept."""
        return {"hosts": len(self._inside), "trusted": len(self._outside)}

    async def prepare(self, rules: Iterable[str]) -> None:
        """Be able to answer for what these rules name, and have the commands trust it.

        Where the authority of before cannot, another one takes its place: programs that have read
        the old certificate have to read the new one.

        Raises:
            SandboxError: the certificate could not be put into the session.
        """
        async with self._lock:
            wanted = tuple(rules)
            if wanted:
                await self._serving(wanted)
            self._rules = wanted

    async def inside(self, host: str) -> ssl.SSLContext:
        """Return what answers in a host's place.

        Raises:
            SandboxError: an authority at its end could not be replaced.
        """
        async with self._lock:
            authority = await self._serving(self._rules)
            return await self._kept(
                self._inside, host, MAX_CONTEXTS, lambda: authority.server_context(host)
            )

    async def outside(self, ca: str | None) -> ssl.SSLContext:
        """Return what trusts the given certificates, or this machine's roots.

        The server's certificate must be for the name that it is asked for.
        """
        async with self._lock:
            return await self._kept(self._outside, ca, MAX_TRUSTED, lambda: _trusting(ca))

    def close(self) -> None:
        """End its thread; the keys go with this object. Idempotent."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _serving(self, rules: tuple[str, ...]) -> Authority:
        """Return an authority for these rules; the lock is held."""
        if self._authority is None or not self._authority.serves(rules):
            # Here, because no one else needs a library of cryptography.
            from fumehood.egress.authority import Authority

            authority = await self._run(lambda: Authority(rules))
            try:
                await self._place(authority)
            except SandboxError as exc:
                logger.warning(
                    "session %s: its commands cannot be given a certificate to trust: %s",
                    self._session_id,
                    exc,
                )
                raise
            self._authority = authority
            self._inside.clear()
        return self._authority

    async def _place(self, authority: Authority) -> None:
        roots = await trust.image_roots(self._tether, self._session_id, self._image_roots)
        if not roots:
            roots = await self._run(trust.own_roots)
        await trust.place(self._tether, self._session_id, authority.pem, roots)

    async def _kept(
        self,
        kept: OrderedDict[_Key, ssl.SSLContext],
        key: _Key,
        most: int,
        make: Callable[[], ssl.SSLContext],
    ) -> ssl.SSLContext:
        """Return what is kept for a key, or make it and let go of what was used longest ago."""
        if (found := kept.get(key)) is not None:
            kept.move_to_end(key)
            return found
        made = kept[key] = await self._run(make)
        if len(kept) > most:
            kept.popitem(last=False)
        return made

    async def _run(self, make: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, make)


def _trusting(ca: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=ca)
    context.options |= ssl.OP_NO_RENEGOTIATION
    # What is passed on is HTTP/1.1, whatever the server would like better.
    context.set_alpn_protocols(["http/1.1"])
    return context
