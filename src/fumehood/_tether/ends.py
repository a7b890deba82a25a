"""Why sessions end, in the words of the wire, of the API and of people."""

from __future__ import annotations

from fumehood._wire import table
from fumehood._wire.codec import WireViolationError
from fumehood._wire.messages import End
from fumehood._wire.table import EndCode, Violation
from fumehood.errors import (
    OperationTimeoutError,
    SessionEndedError,
    SessionLostError,
    SupervisorError,
)
from fumehood.results import EndReason
from fumehood.text import printable

END_REASONS: dict[EndCode, EndReason] = {
    EndCode.DESTROYED: EndReason.DESTROYED,
    EndCode.TTL: EndReason.TTL,
    EndCode.IDLE: EndReason.IDLE,
    EndCode.CLIENT_LOST: EndReason.CLIENT_LOST,
    EndCode.NOT_CONFIGURED: EndReason.NOT_CONFIGURED,
    EndCode.STOPPED: EndReason.STOPPED,
    EndCode.PROTOCOL: EndReason.PROTOCOL,
    EndCode.RESOURCES: EndReason.RESOURCES,
    EndCode.DISK_FULL: EndReason.DISK_FULL,
}


def ended_error(session_id: str, reason: EndReason, detail: str = "") -> SessionEndedError:
    """Return the error for an operation on a session that is over."""
    kind = SessionLostError if reason is EndReason.LOST else SessionEndedError
    more = f" ({detail})" if detail else ""
    return kind(
        f"session {session_id} is over: {_EXPLANATIONS[reason]}{more}",
        reason=reason,
        session_id=session_id,
    )


def left_error(session_id: str) -> SessionEndedError:
    """Return the error for an operation after this client has left."""
    return SessionEndedError(
        f"this client has left session {session_id}", reason="detached", session_id=session_id
    )


def lost_error(session_id: str, text: str, reason: EndReason = EndReason.LOST) -> SessionLostError:
    """Return the error for a session whose stream is no more; ``text`` says why, after a colon."""
    return SessionLostError(
        f"the stream to session {session_id} broke{text}", reason=reason, session_id=session_id
    )


def explained_error(session_id: str, reason: EndReason) -> SessionLostError:
    """Return the error for a stream that broke, once the engine has told of its session's end."""
    return lost_error(session_id, f": {_EXPLANATIONS[reason]}", reason)


def given_up_error(session_id: str, why: str) -> SupervisorError:
    """Return the error for a session whose supervisor is beyond control."""
    return SupervisorError(f"session {session_id} was given up: {why}", session_id=session_id)


def violation_error(session_id: str, violation: Violation, detail: str) -> WireViolationError:
    """Return the error for a session whose other end has broken the wire's rules."""
    error = WireViolationError(violation, detail)
    error.session_id = session_id
    return error


def never_ready_error(session_id: str, text: str) -> SupervisorError:
    """Return the error for a session whose stream ended before anything was set up."""
    return SupervisorError(
        f"the supervisor of session {session_id} ended before it was ready{text}",
        session_id=session_id,
    )


def silent_error(session_id: str, seconds: float, text: str) -> OperationTimeoutError:
    """Return the error for a session of which nothing was heard in time."""
    return OperationTimeoutError(
        f"the supervisor of session {session_id} did not answer within {seconds:g} s{text}",
        op="create_session",
        session_id=session_id,
    )


def setup_error(session_id: str, end: End, *, welcomed: bool) -> SupervisorError:
    """Return the error for a session that ended before it was ready.

    Args:
        welcomed: whether its supervisor had chosen a version of the protocol.
    """
    if end.message:
        why = printable(end.message)
    elif end.error is not None:
        why = end.error.name.lower()
    elif end.reason is EndCode.PROTOCOL and not welcomed:
        # All that it can say to whom it shares no version with.
        why = (
            "its supervisor speaks none of this client's versions of the protocol "
            f"({table.VERSION_MIN} to {table.VERSION_MAX})"
        )
    else:
        why = str(END_REASONS[end.reason])
    return SupervisorError(
        f"session {session_id} could not be set up: {why}", session_id=session_id
    )


_EXPLANATIONS: dict[EndReason, str] = {
    EndReason.DESTROYED: "it was destroyed",
    EndReason.TTL: "its ttl has passed (Lifecycle.ttl, or session.extend() in time)",
    EndReason.IDLE: "it was idle for longer than Lifecycle.idle_timeout",
    EndReason.CLIENT_LOST: "no client was connected for longer than Lifecycle.disconnect_grace",
    EndReason.NOT_CONFIGURED: "it was never configured",
    EndReason.STOPPED: "its container was stopped",
    EndReason.PROTOCOL: "its stream broke the wire's rules",
    EndReason.RESOURCES: "it could not be kept under control with the resources it had",
    EndReason.DISK_FULL: "it was writing to a disk that is nearly full: remove what the engine "
    "does not need (docker system df), give sessions a quota (Limits.workspace_mb), or let them "
    "go further (Limits.disk_floor_mb)",
    EndReason.LOST: "its container is gone",
}
