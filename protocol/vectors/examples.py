"""A good example of everything, to be varied."""

from __future__ import annotations

from encoding import FIELDS, FRAMES, OPERATIONS, Fields, Value

NONCE = bytes(range(32))
EXAMPLES: dict[str, Value] = {
    "version_min": 1, "version_max": 1, "version": 1, "nonce": NONCE, "client": "fumehood/0.1",
    "build": "0123456789abcdef", "architecture": "amd64", "configured": 0, "connection": 1,
    "user": "node", "workdir": b"/workspace", "env": b"PATH=/bin", "ttl_ms": 600_000,
    "idle_ms": 60_000, "grace_ms": 10_000, "heartbeat_ms": 60_000, "detached": 0,
    "metadata": b'{"run": "7"}', "workload_caps": 0, "max_file_bytes": 1 << 26, "max_processes": 16, "chown_workspace": 1,
    "write_hosts": 0, "disk_floor_bytes": 1 << 30, "workspace_quota_bytes": 0, "uid": 1000, "gid": 1000, "home": b"/home/node", "memory_max": 1 << 29,
    "swap_max": 0, "pids_max": 512, "cpu_quota_us": 100_000, "cpu_period_us": 100_000,
    "open_files": 65_536, "no_new_privs": 1, "seccomp": 2, "cap_bounding": 0xE0,
    "workspace_fs": 0xEF53, "workspace_bytes": 0, "rootfs_readonly": 0, "kernel": "6.1.0",
    "cgroup_version": 2, "tmp_bytes": 1 << 27, "uptime_ms": 1234, "ttl_left_ms": 5,
    "idle_left_ms": 6, "channels": 7, "connections": 1, "trees": 0, "rows": 24, "columns": 80,
    "operation": 1,
    "argument": b"/bin/true", "cwd": b".", "timeout_ms": 30_000, "stdout_limit": 1 << 20,
    "stderr_limit": 1 << 20, "stdin": 0, "path": b"a/b", "target": b"c", "root": 0, "offset": 0,
    "limit": 1 << 26, "mode": 0o644, "parents": 1, "recursive": 0, "follow": 1, "reason": 1,
    "exit_code": 0, "signal": 0, "duration_us": 1100, "stdout_total": 5, "stderr_total": 0,
    "killed": 0, "left_running": 0, "size": 5, "entries": 3, "error": 1, "errno": 2,
    "step": "open", "message": "no such file", "type": 1, "modified_ns": 1_700_000_000_000_000_000,
    "name": b"a", "link": b"../b", "capability": "extra", "paused_ms": 1500,
    "resume_key": NONCE[::-1], "received": 1 << 20, "port": 8080, "ticket": 5,
    "process": 7, "log_bytes": 1 << 20, "process_name": "dev-server", "at_end": 0, "group": 1, "close": 0,
    "pid": 42, "started_ns": 1_700_000_000_000_000_000, "ended_ns": 1_700_000_001_000_000_000,
    "include": b"p", "exclude": b"q", "program": b"r", "line": b"l", "before": 2, "after": 3, "event": 1,
    "log_first": 100, "log_end": 5000, "argv_cut": 1, "tied": 1, "environment": b"A=1\0B=2\0",
    "unreadable": 2,
}  # fmt: skip


def example(names: list[str]) -> Fields:
    """These fields with their example values, by tag."""
    return [(n, EXAMPLES[n]) for n in sorted(names, key=lambda n: FIELDS[n]["tag"])]


def open_fields(operation: str, *, optional: bool = False, without: str = "") -> Fields:
    """What OPEN of an operation holds."""
    rule = OPERATIONS[operation]
    names = [*rule["required"], *(rule["optional"] if optional else [])]
    fields = example(["operation", *(name for name in names if name != without)])
    return [(n, rule["code"] if n == "operation" else v) for n, v in fields]


def channel_of(name: str) -> int:
    """A channel that the frame may be on."""
    return 0 if FRAMES[name]["channel"] == "zero" else 3


def sides_of(name: str) -> list[str]:
    """Who may send it."""
    sender = FRAMES[name]["from"]
    return ["client", "supervisor"] if sender == "both" else [sender]


def with_fields() -> list[str]:
    """The frames with fields, without OPEN."""
    return [n for n, f in FRAMES.items() if f["payload"] == "fields" and n != "OPEN"]


def replaced(fields: Fields, name: str, value: Value) -> Fields:
    """The same fields with another value for one."""
    return [(n, value if n == name else v) for n, v in fields]
