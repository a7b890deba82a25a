"""What a client reads: the meaning of a frame's fields, and nothing of when it may come.

Each message is built from fields that the codec has checked. What only the meaning of a number can
forbid is a violation here, so nothing above sees it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from fumehood._wire import codec, table
from fumehood._wire.codec import RawFrame, Value, WireViolationError
from fumehood._wire.table import EndCode, ErrorCode, ExecCode, Field, Frame, Violation

_MAX_ERRNO = 4095  # the kernel's own bound
_MAX_SIGNAL = 64

Fields = dict[Field, Value]


def _uint(fields: Fields, field: Field) -> int:
    return cast("int", fields[field])


def _optional_uint(fields: Fields, field: Field) -> int | None:
    return cast("int | None", fields.get(field))


def _text(fields: Fields, field: Field) -> str:
    return cast("str", fields.get(field, ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The supervisor's answer to HELLO."""

    version: int
    build: str
    architecture: str
    configured: bool
    connection: int
    capabilities: tuple[str, ...]
    resume_key: bytes | None = field(default=None, repr=False)
    """The connection's secret; who has it may take the connection over."""
    received: int | None = None
    """Of a connection that is resumed: how many bytes of it have arrived."""

    @classmethod
    def decode(cls, raw: RawFrame) -> Welcome:
        """Build it from a frame."""
        fields = codec.decode_frame_fields(raw)
        version = _uint(fields, Field.VERSION)
        if not table.VERSION_MIN <= version <= table.VERSION_MAX:
            raise WireViolationError(Violation.BAD_VALUE, f"WELCOME: version={version}")
        return cls(
            version=version,
            build=_text(fields, Field.BUILD),
            architecture=_text(fields, Field.ARCHITECTURE),
            configured=bool(_uint(fields, Field.CONFIGURED)),
            connection=_uint(fields, Field.CONNECTION),
            capabilities=tuple(cast("list[str]", fields.get(Field.CAPABILITY, []))),
            resume_key=cast("bytes | None", fields.get(Field.RESUME_KEY)),
            received=_optional_uint(fields, Field.RECEIVED),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What the kernel enforces, as PID 1 reads it back. Amounts of 2**64 - 1 mean 'no limit'."""

    uid: int
    gid: int
    memory_max: int
    swap_max: int
    pids_max: int
    cpu_quota_us: int
    cpu_period_us: int
    open_files: int
    no_new_privs: int
    seccomp: int
    cap_bounding: int
    workspace_fs: int
    workspace_bytes: int
    rootfs_readonly: int
    kernel: str
    cgroup_version: int
    tmp_bytes: int
    grace_ms: int = 0
    """The configuration in force, from here on: what a later connection did not send itself."""
    heartbeat_ms: int = 0
    detached: int = 0
    workload_caps: int = 0
    max_file_bytes: int = 0
    max_processes: int = 0
    disk_floor_bytes: int = 0
    """0: the workspace is not watched."""
    workspace_quota_bytes: int = 0
    """What was asked for; 0: none."""
    metadata: bytes = b""
    """What its creator noted, of a session whose labels do not have it; of any content."""

    @classmethod
    def decode(cls, raw: RawFrame) -> Ready:
        """Build it from a frame."""
        fields = codec.decode_frame_fields(raw)
        numbers = {
            field.name.lower(): cast("int", value)
            for field, value in fields.items()
            if field not in (Field.KERNEL, Field.HOME, Field.METADATA)
        }
        return cls(
            kernel=_text(fields, Field.KERNEL),
            metadata=cast("bytes", fields.get(Field.METADATA, b"")),
            **numbers,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The last frame of a connection."""

    reason: EndCode
    error: ErrorCode | None
    message: str

    @classmethod
    def decode(cls, raw: RawFrame) -> End:
        """Build it from a frame."""
        fields = codec.decode_frame_fields(raw)
        return cls(
            reason=EndCode(_uint(fields, Field.REASON)),
            error=ErrorCode(_uint(fields, Field.ERROR)) if Field.ERROR in fields else None,
            message=_text(fields, Field.MESSAGE),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a command ended."""

    reason: ExecCode
    exit_code: int
    signal: int
    duration_us: int
    stdout_total: int
    stderr_total: int
    killed: int
    left_running: int
    offset: int | None = None
    """Of a managed process: how many bytes it has written in all."""

    @classmethod
    def decode(cls, raw: RawFrame) -> Exit:
        """Build it from a frame."""
        return cls.of(codec.decode_frame_fields(raw), "EXIT")

    @classmethod
    def of(cls, fields: Fields, what: str) -> Exit:
        """Build it from fields, all of which are there."""
        numbers = cast("dict[Field, int]", fields)
        exit_code, signal = numbers[Field.EXIT_CODE], numbers[Field.SIGNAL]
        if exit_code > 255 or signal > _MAX_SIGNAL or (signal and exit_code != 128 + signal):
            raise WireViolationError(
                Violation.BAD_VALUE, f"{what}: exit_code={exit_code}, signal={signal}"
            )
        return cls(
            reason=ExecCode(numbers[Field.REASON]),
            exit_code=exit_code,
            signal=signal,
            duration_us=numbers[Field.DURATION_US],
            stdout_total=numbers[Field.STDOUT_TOTAL],
            stderr_total=numbers[Field.STDERR_TOTAL],
            killed=numbers[Field.KILLED],
            left_running=numbers[Field.LEFT_RUNNING],
            offset=numbers.get(Field.OFFSET),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The success of an operation that is not a command; which numbers there are depends on it."""

    size: int | None
    entries: int | None
    uptime_ms: int | None
    ttl_left_ms: int | None
    idle_left_ms: int | None
    channels: int | None
    connections: int | None
    trees: int | None
    paused_ms: int | None
    offset: int | None = None
    process: int | None = None
    pid: int | None = None
    started_ns: int | None = None
    environment: bytes | None = None
    unreadable: int | None = None

    @classmethod
    def decode(cls, raw: RawFrame) -> Done:
        """Build it from a frame."""
        fields = codec.decode_frame_fields(raw)
        numbers = {
            field.name.lower(): _optional_uint(fields, field)
            for field in table.FRAME_OPTIONAL[Frame.DONE] - {Field.ENVIRONMENT}
        }
        environment = cast("bytes | None", fields.get(Field.ENVIRONMENT))
        return cls(**numbers, environment=environment)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """Why an operation failed, or a command could not be started."""

    error: ErrorCode
    errno: int
    step: str
    message: str
    size: int | None

    @classmethod
    def decode(cls, raw: RawFrame) -> Fail:
        """Build it from a frame."""
        fields = codec.decode_frame_fields(raw)
        errno = _uint(fields, Field.ERRNO)
        if errno > _MAX_ERRNO:
            raise WireViolationError(Violation.BAD_VALUE, f"FAIL: errno={errno}")
        return cls(
            error=ErrorCode(_uint(fields, Field.ERROR)),
            errno=errno,
            step=_text(fields, Field.STEP),
            message=_text(fields, Field.MESSAGE),
            size=_optional_uint(fields, Field.SIZE),
        )


Answer = Exit | Done | Fail

_END = frozenset(
    {
        Field.REASON,
        Field.EXIT_CODE,
        Field.SIGNAL,
        Field.DURATION_US,
        Field.STDOUT_TOTAL,
        Field.STDERR_TOTAL,
        Field.KILLED,
        Field.LEFT_RUNNING,
        Field.ENDED_NS,
    }
)
"""What is known of a process that has ended, all of it or nothing."""


def decode_position(raw: RawFrame) -> int:
    """Return where the output behind a POSITION begins."""
    return _uint(codec.decode_frame_fields(raw), Field.OFFSET)


def decode_ticket(raw: RawFrame) -> int:
    """Return the number by which a connection from inside can be taken over."""
    return _uint(codec.decode_frame_fields(raw), Field.TICKET)


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One managed process, as the supervisor describes it."""

    process: int
    name: str
    argv: tuple[bytes, ...]
    argv_cut: bool
    pid: int
    stdin: bool
    """Whether its standard input is open."""
    log_bytes: int
    log_first: int
    log_end: int
    started_ns: int
    ended_ns: int | None
    end: Exit | None

    @classmethod
    def decode(cls, raw: RawFrame) -> Process:
        """Build it from a frame."""
        fields = codec.decode_frame_fields(raw)
        ended = _END & fields.keys()
        first, last = _uint(fields, Field.LOG_FIRST), _uint(fields, Field.LOG_END)
        if ended and ended != _END:
            raise WireViolationError(
                Violation.FIELD_MISSING, f"PROCESS: no {min(_END - ended).name.lower()}"
            )
        if first > last:
            raise WireViolationError(Violation.BAD_VALUE, f"PROCESS: log_first={first} of {last}")
        return cls(
            process=_uint(fields, Field.PROCESS),
            name=_text(fields, Field.PROCESS_NAME),
            argv=tuple(cast("list[bytes]", fields.get(Field.ARGUMENT, []))),
            argv_cut=bool(fields.get(Field.ARGV_CUT, 0)),
            pid=_uint(fields, Field.PID),
            stdin=bool(_uint(fields, Field.STDIN)),
            log_bytes=_uint(fields, Field.LOG_BYTES),
            log_first=first,
            log_end=last,
            started_ns=_uint(fields, Field.STARTED_NS),
            ended_ns=_optional_uint(fields, Field.ENDED_NS),
            end=Exit.of(fields, "PROCESS") if ended else None,
        )
