"""Why sessions end, in the words of the wire, of the API and of people."""

from __future__ import annotations

from fumehood._wire.table import EndCode
from fumehood.errors import SessionEndedError, SessionLostError
from fumehood.results import EndReason

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


_EXPLANATIONS: dict[EndReason, str] = {
    EndReason.DESTROYED: "it was destroyed",
    EndReason.TTL: "its ttl has passed (Lifecycle.ttl, or session.extend() in time)",
    EndReason.IDLE: "it was idle for longer than Lifecycle.idle_timeout",
    EndReason.CLIENT_LOST: "no client was connected for longer than Lifecycle.disconnect_grace",
    EndReason.NOT_CONFIGURED: "it was never configured",
    EndReason.STOPPED: "the engine stopped its container",
    EndReason.PROTOCOL: "its stream broke the wire's rules",
    EndReason.RESOURCES: "it could not be kept under control with the resources it had",
    EndReason.DISK_FULL: "it was writing to a disk that is nearly full: remove what the engine "
    "does not need (docker system df), give sessions a quota (Limits.workspace_mb), or let them "
    "go further (Limits.disk_floor_mb)",
    EndReason.LOST: "its container is gone",
}
