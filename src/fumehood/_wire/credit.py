"""Flow control as two small counters: what may still be sent, what is owed to the other."""

from __future__ import annotations

from fumehood._wire import table
from fumehood._wire.codec import WireViolationError
from fumehood._wire.table import Violation


class SendWindow:
    """How many bytes may still be sent."""

    __slots__ = ("_initial", "available")

    def __init__(self, initial: int) -> None:
        self._initial = initial
        self.available = initial

    def spend(self, amount: int) -> None:
        """Take bytes that are being sent out of the window; the caller has seen that they fit."""
        self.available -= amount

    def credit(self, amount: int) -> None:
        """Put returned bytes back.

        Raises:
            WireViolationError: the other side returns more than it was given.
        """
        if self.available + amount > self._initial:
            raise WireViolationError(Violation.BAD_CREDIT, f"CREDIT of {amount} beyond the window")
        self.available += amount


class ReceiveWindow:
    """How many bytes may still arrive, and how many are to be given back."""

    __slots__ = ("_available", "_owed")

    def __init__(self, initial: int) -> None:
        self._available = initial
        self._owed = 0

    def receive(self, amount: int) -> None:
        """Count bytes that have arrived.

        Raises:
            WireViolationError: more than the window allowed.
        """
        if amount > self._available:
            raise WireViolationError(
                Violation.BAD_CREDIT,
                f"{amount} bytes of output where {self._available} were allowed",
            )
        self._available -= amount

    def consume(self, amount: int) -> int:
        """Note consumed bytes and return the credit to send now: 0 until it is worth a frame."""
        self._owed += amount
        if self._owed < table.CREDIT_STEP:
            return 0
        credit, self._owed = self._owed, 0
        self._available += credit
        return credit
