"""What is said of a decision: to whoever asked inside, and in the log."""

from __future__ import annotations

import logging

from fumehood import hooks
from fumehood.egress.heads import Head
from fumehood.egress.hosts import Name
from fumehood.results import EgressReason

logger: logging.Logger = logging.getLogger("fumehood.egress")

STATUS: dict[EgressReason, tuple[int, str]] = {
    EgressReason.NOT_LISTED: (403, "Not in Network.allow"),
    EgressReason.PORT: (403, "Port not in Network.allow"),
    EgressReason.PRIVATE_ADDRESS: (403, "Private address not in Network.allow"),
    EgressReason.UNRESOLVED: (502, "Name not resolved"),
    EgressReason.UNREACHABLE: (502, "Not reachable"),
    EgressReason.BAD_CERTIFICATE: (502, "Bad certificate"),
    EgressReason.TIMED_OUT: (504, "Timed out"),
    EgressReason.POLICY_CHANGED: (403, "Not in Network.allow any more"),
}
"""Of what is refused for a reason: the response's status and phrase."""


def why(reason: EgressReason, head: Head) -> str:
    """Return what the list does not let through, in words."""
    if reason is EgressReason.PORT:
        return f"port {head.port} of {head.host} is not allowed"
    if reason is EgressReason.PRIVATE_ADDRESS:
        leads = "leads to" if isinstance(head.host, Name) else "is"
        return f"{head.host} {leads} an address that is not public, and no rule names it"
    return f"{head.host} is not allowed"


def log(event: hooks.EgressEvent) -> None:
    """Write a decision or an end into the log: a line, without a path and without a header."""
    host = f"[{event.host}]" if ":" in event.host else event.host or "?"
    what = f"{event.method or 'a request'} {host}:{event.port}"
    if event.intercepted:
        what += " (intercepted)"
    if event.ended:
        logger.info(
            "session %s: %s ended (%s): %d bytes up, %d down, %.3f s",
            event.session_id,
            what,
            event.reason,
            event.bytes_up,
            event.bytes_down,
            event.duration,
        )
    elif event.allowed:
        logger.info(
            "session %s: %s allowed by %s (%s)", event.session_id, what, event.rule, event.address
        )
    else:
        reason = f"{event.reason} ({event.address})" if event.address else event.reason
        logger.warning("session %s: %s refused: %s", event.session_id, what, reason)
