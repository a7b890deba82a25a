"""What a session sees of the host's kernel, and who may use the engine's socket: pure judgement."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping

from fumehood.cli.checks import Finding

KERNEL_FILES: Mapping[str, str] = {
    "core_pattern": "proc/sys/kernel/core_pattern",
    "dmesg_restrict": "proc/sys/kernel/dmesg_restrict",
    "ptrace_scope": "proc/sys/kernel/yama/ptrace_scope",
}
"""Settings of the host that are the same inside of every container, and where they are read."""

_READABLE_BY_OTHERS = stat.S_IROTH | stat.S_IWOTH


def kernel_findings(settings: Mapping[str, str]) -> list[Finding]:
    """Judge the host's settings; one that is missing could not be read."""
    return [*_cores(settings), *_messages(settings), *_tracing(settings)]


def _cores(settings: Mapping[str, str]) -> Iterator[Finding]:
    pattern = settings.get("core_pattern", "").strip()
    if pattern.startswith("|"):
        yield Finding(
            "note",
            "core dumps",
            f"the host pipes them to a program ({pattern[1:].split()[0] if pattern[1:] else '?'}): "
            "sessions ask for none, but a kernel may start it all the same, outside of the session",
        )
    elif pattern:
        yield Finding("ok", "core dumps", "written to a file, and sessions may write none")


def _messages(settings: Mapping[str, str]) -> Iterator[Finding]:
    value = settings.get("dmesg_restrict", "").strip()
    if value == "0":
        yield Finding(
            "note",
            "kernel log",
            "kernel.dmesg_restrict is 0: whether a session reads the host's log depends on the "
            "engine's seccomp profile alone",
        )


def _tracing(settings: Mapping[str, str]) -> Iterator[Finding]:
    value = settings.get("ptrace_scope", "").strip()
    if value in ("", "0"):
        yield Finding(
            "note",
            "tracing",
            "no Yama, or kernel.yama.ptrace_scope is 0: commands of one user in one session can "
            "trace each other; none can trace the supervisor",
        )


def socket_findings(address: str, mode: int | None) -> list[Finding]:
    """Judge who may use the engine's socket.

    Args:
        address: the engine's, as ``EngineInfo`` has it.
        mode: of the socket's file; None for one that is none, or is not on this machine.
    """
    if mode is None or not address.startswith("unix://"):
        return []
    if mode & _READABLE_BY_OTHERS:
        return [
            Finding(
                "warning",
                "socket",
                f"{address} is open to every user of this machine, and who uses it is root on "
                "it: chmod o= it",
            )
        ]
    if mode & stat.S_IWGRP:
        return [
            Finding("note", "socket", "who is in its group can become root on the engine's host")
        ]
    return [Finding("ok", "socket", "its owner's alone")]
