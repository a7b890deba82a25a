"""What a session in memory does with requests about its state: its environment, pauses."""

from __future__ import annotations

from fumehood._wire.table import ErrorCode, Field, Frame, Operation
from fumehood.testing._talk import Place, Serve, Talk, number
from fumehood.testing.files import RefusedError

_PIECE = 32_768


class StateOperations:
    """Those that stopping, snapshots and forks are made of.

    Args:
        place: the session's.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self.table: dict[Operation, Serve] = {
            Operation.ENVIRONMENT: self._environment,
            Operation.PAUSE: self._pause,
            Operation.UNPAUSE: self._pause,
        }

    async def _environment(self, talk: Talk) -> None:
        pairs = (f"{name}={value}\0" for name, value in self._place.env.items())
        whole = "".join(pairs).encode("utf-8", "surrogateescape")
        offset = number(talk, Field.OFFSET)
        if offset > len(whole):
            raise RefusedError(ErrorCode.INVALID)
        piece = whole[offset : offset + _PIECE]
        talk.finish(Frame.DONE, {Field.SIZE: len(whole), Field.ENVIRONMENT: piece})

    async def _pause(self, talk: Talk) -> None:
        pause = self._place.pause
        change = pause.hold if talk.operation is Operation.PAUSE else pause.release
        change(talk.connection if talk.fields.get(Field.TIED) else None)
        talk.finish(Frame.DONE, {Field.ENTRIES: pause.stopped})
