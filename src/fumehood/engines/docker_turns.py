"""Who may create next: so many at once, in the order in which they came, work ahead of stock.

An engine that is asked for a hundred containers at once works on all of them together, and the
first is ready not long before the last. A few at a time keep its processors as busy, and almost
every caller is served earlier.
"""

from __future__ import annotations

import asyncio
from collections import deque

AT_ONCE = 8
"""Creates of one client that an engine works on at a time. Measured with 32 on two processors: from
2 to 32 at a time the whole takes the same 2 to 3 s; the first is ready after 0.2 s with two, 0.4 s
with eight, 0.5 to 1.1 s with all at once. More than there are processors is for larger machines."""
BACKGROUND_AT_ONCE = 2
"""The same for a pool's stock, which nobody waits for."""


class Turns:
    """Hands out turns, the first to come first; background work only while nothing else is there.

    A turn that has begun is not taken back: what is in the foreground never waits for background
    work, but may run beside what of it has begun.
    """

    def __init__(
        self, at_once: int = AT_ONCE, background_at_once: int = BACKGROUND_AT_ONCE
    ) -> None:
        self._limits = {False: at_once, True: background_at_once}
        self._running = {False: 0, True: 0}
        self._waiting: dict[bool, deque[asyncio.Future[None]]] = {False: deque(), True: deque()}

    def __repr__(self) -> str:
        return f"<Turns {self.statistics()}>"

    def statistics(self) -> dict[str, int]:
        """Return live numbers."""
        return {
            "running": self._running[False],
            "waiting": len(self._waiting[False]),
            "background_running": self._running[True],
            "background_waiting": len(self._waiting[True]),
        }

    async def enter(self, *, background: bool = False) -> None:
        """Wait for a turn. When cancelled, none has been taken."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[background].append(turn)
        self._hand_out()
        try:
            await turn
        except asyncio.CancelledError:
            if turn in self._waiting[background]:
                self._waiting[background].remove(turn)
            elif not turn.cancelled():
                self.leave(background=background)
            self._hand_out()
            raise

    def leave(self, *, background: bool = False) -> None:
        """Give a turn back."""
        self._running[background] -= 1
        self._hand_out()

    def _hand_out(self) -> None:
        self._serve(background=False)
        if not self._running[False] and not self._waiting[False]:
            self._serve(background=True)

    def _serve(self, *, background: bool) -> None:
        waiting = self._waiting[background]
        while waiting and self._running[background] < self._limits[background]:
            turn = waiting.popleft()
            if not turn.done():
                self._running[background] += 1
                turn.set_result(None)
