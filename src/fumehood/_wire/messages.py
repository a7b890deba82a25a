"""Typed messages: what the fields of a frame mean, and nothing of when they may come.

Each outgoing message encodes itself; each incoming one is built from fields that the codec has
checked. What only the meaning of a number can forbid is a violation here, so nothing above sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

from fumehood._wire import codec, table
from fumehood._wire.codec import RawFrame, Value, WireViolationError
from fumehood._wire.table import (
    EndCode,
    ErrorCode,
    ExecCode,
    Field,
    FileCode,
    Frame,
    Operation,
    Root,
    Violation,
)

_MAX_ERRNO = 4095  # the kernel's own bound
_MAX_SIGNAL = 64
_RECORD_HEADER = 4  # the length before a record

Fields = dict[Field, Value]
_Record = TypeVar("_Record")


def _uint(fields: Fields, field: Field) -> int:
    return cast("int", fields[field])


def _optional_uint(fields: Fields, field: Field) -> int | None:
    return cast("int | None", fields.get(field))


def _text(fields: Fields, field: Field) -> str:
    return cast("str", fields.get(field, ""))


# --- client to supervisor ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Which connection a new stream is for, and how many bytes of it have arrived."""

    connection: int
    key: bytes
    received: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """The first frame of a stream."""

    nonce: bytes
    client: str
    capabilities: tuple[str, ...] = ()

    def encode(self, resume: Resume | None = None) -> bytes:
        """Return the frame; with ``resume`` for a stream that is not the connection's first."""
        fields: dict[Field, int | bytes | str | tuple[str, ...]] = {
            Field.VERSION_MIN: table.VERSION_MIN,
            Field.VERSION_MAX: table.VERSION_MAX,
            Field.NONCE: self.nonce,
            Field.CAPABILITY: self.capabilities,
            Field.CLIENT: self.client,
        }
        if resume is not None:
            fields[Field.CONNECTION] = resume.connection
            fields[Field.RESUME_KEY] = resume.key
            fields[Field.RECEIVED] = resume.received
        return codec.encode_frame(Frame.HELLO, 0, codec.encode_fields(fields))


@dataclass(frozen=True, slots=True, kw_only=True)
class Configure:
    """What the session is to be; times in milliseconds, 0 for none."""

    user: str
    workdir: bytes
    env: tuple[bytes, ...]
    ttl_ms: int
    idle_ms: int
    grace_ms: int
    heartbeat_ms: int
    detached: bool
    workload_caps: int
    max_file_bytes: int
    max_processes: int
    chown_workspace: bool
    write_hosts: bool
    disk_floor_bytes: int | None = None
    """``None``: as the supervisor's own default has it; 0: no floor."""
    workspace_quota_bytes: int = 0
    metadata: bytes = b""
    """For later connections, where the container's labels do not have it."""

    def encode(self) -> bytes:
        """Return the frames."""
        floor = self.disk_floor_bytes
        body = codec.encode_fields(
            {
                Field.USER: self.user,
                Field.WORKDIR: self.workdir,
                Field.ENV: self.env,
                Field.TTL_MS: self.ttl_ms,
                Field.IDLE_MS: self.idle_ms,
                Field.GRACE_MS: self.grace_ms,
                Field.HEARTBEAT_MS: self.heartbeat_ms,
                Field.DETACHED: int(self.detached),
                Field.WORKLOAD_CAPS: self.workload_caps,
                Field.MAX_FILE_BYTES: self.max_file_bytes,
                Field.MAX_PROCESSES: self.max_processes,
                Field.CHOWN_WORKSPACE: int(self.chown_workspace),
                Field.WRITE_HOSTS: int(self.write_hosts),
                **({} if floor is None else {Field.DISK_FLOOR_BYTES: floor}),
                Field.WORKSPACE_QUOTA_BYTES: self.workspace_quota_bytes,
                **({Field.METADATA: self.metadata} if self.metadata else {}),
            }
        )
        return codec.encode_body(Frame.CONFIGURE, 0, body)


@dataclass(frozen=True, slots=True)
class Request:
    """The OPEN of one operation: its code and the fields that the table lists for it."""

    operation: Operation
    fields: dict[Field, int | bytes | str | tuple[bytes, ...]]

    def encode(self, channel: int) -> bytes:
        """Return the frames."""
        body = codec.encode_fields({**self.fields, Field.OPERATION: int(self.operation)})
        return codec.encode_body(Frame.OPEN, channel, body)


def exec_request(
    argv: tuple[bytes, ...],
    *,
    cwd: bytes,
    env: tuple[bytes, ...],
    user: str | None,
    timeout_ms: int,
    stdout_limit: int,
    stderr_limit: int,
    stdin: bool,
) -> Request:
    """Return the request to run a program."""
    fields: dict[Field, int | bytes | str | tuple[bytes, ...]] = {
        Field.ARGUMENT: argv,
        Field.CWD: cwd,
        Field.TIMEOUT_MS: timeout_ms,
        Field.STDOUT_LIMIT: stdout_limit,
        Field.STDERR_LIMIT: stderr_limit,
        Field.STDIN: int(stdin),
    }
    if env:
        fields[Field.ENV] = env
    if user is not None:
        fields[Field.USER] = user
    return Request(Operation.EXEC, fields)


def terminal_request(
    argv: tuple[bytes, ...],
    *,
    cwd: bytes,
    env: tuple[bytes, ...],
    user: str | None,
    rows: int,
    columns: int,
) -> Request:
    """Return the request to run a program, or without one a shell, at a terminal."""
    fields: dict[Field, int | bytes | str | tuple[bytes, ...]] = {
        Field.CWD: cwd,
        Field.ROWS: rows,
        Field.COLUMNS: columns,
    }
    if argv:
        fields[Field.ARGUMENT] = argv
    if env:
        fields[Field.ENV] = env
    if user is not None:
        fields[Field.USER] = user
    return Request(Operation.TERMINAL, fields)


def resize_frame(channel: int, rows: int, columns: int) -> bytes:
    """Return the frame that gives a terminal another size."""
    body = codec.encode_fields({Field.ROWS: rows, Field.COLUMNS: columns})
    return codec.encode_frame(Frame.RESIZE, channel, body)


def start_request(
    argv: tuple[bytes, ...],
    *,
    cwd: bytes,
    env: tuple[bytes, ...],
    user: str | None,
    stdin: bool,
    name: str | None,
    log_bytes: int,
) -> Request:
    """Return the request to start a managed process."""
    fields: dict[Field, int | bytes | str | tuple[bytes, ...]] = {
        Field.ARGUMENT: argv,
        Field.CWD: cwd,
        Field.STDIN: int(stdin),
        Field.LOG_BYTES: log_bytes,
    }
    if env:
        fields[Field.ENV] = env
    if user is not None:
        fields[Field.USER] = user
    if name is not None:
        fields[Field.PROCESS_NAME] = name
    return Request(Operation.START, fields)


def process_request(operation: Operation, process: int, **more: int) -> Request:
    """Return a request about one managed process; ``more`` are fields by their table names."""
    fields: dict[Field, int | bytes | str | tuple[bytes, ...]] = {Field.PROCESS: process}
    fields.update({Field[name.upper()]: value for name, value in more.items()})
    return Request(operation, fields)


def file_request(
    operation: Operation, path: bytes, root: Root, **more: int | bytes | tuple[bytes, ...]
) -> Request:
    """Return the request of a file operation; ``more`` are fields by their table names."""
    fields: dict[Field, int | bytes | str | tuple[bytes, ...]] = {
        Field.PATH: path,
        Field.ROOT: int(root),
    }
    fields.update({Field[name.upper()]: value for name, value in more.items()})
    return Request(operation, fields)


def connect_request(port: int) -> Request:
    """Return the request for a connection to a port inside."""
    return Request(Operation.CONNECT, {Field.PORT: port})


def wait_port_request(port: int, timeout_ms: int) -> Request:
    """Return the request to be told when somebody listens at a port inside."""
    return Request(Operation.WAIT_PORT, {Field.PORT: port, Field.TIMEOUT_MS: timeout_ms})


def listen_request(port: int) -> Request:
    """Return the request to be told of whoever connects to a port inside."""
    return Request(Operation.LISTEN, {Field.PORT: port})


def accept_request(ticket: int) -> Request:
    """Return the request for a connection that somebody inside has made."""
    return Request(Operation.ACCEPT, {Field.TICKET: ticket})


# --- supervisor to client ---------------------------------------------------------------------


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
        exit_code, signal = _uint(fields, Field.EXIT_CODE), _uint(fields, Field.SIGNAL)
        if exit_code > 255 or signal > _MAX_SIGNAL or (signal and exit_code != 128 + signal):
            raise WireViolationError(
                Violation.BAD_VALUE, f"{what}: exit_code={exit_code}, signal={signal}"
            )
        return cls(
            reason=ExecCode(_uint(fields, Field.REASON)),
            exit_code=exit_code,
            signal=signal,
            duration_us=_uint(fields, Field.DURATION_US),
            stdout_total=_uint(fields, Field.STDOUT_TOTAL),
            stderr_total=_uint(fields, Field.STDERR_TOTAL),
            killed=_uint(fields, Field.KILLED),
            left_running=_uint(fields, Field.LEFT_RUNNING),
            offset=_optional_uint(fields, Field.OFFSET),
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One record in the output of ``list`` and ``stat``."""

    type: FileCode
    size: int
    mode: int
    modified_ns: int
    uid: int
    gid: int
    name: bytes
    link: bytes | None


class RecordReader(Generic[_Record]):
    """Cut output into records; nothing longer than one is kept.

    Args:
        decode: builds one from its fields' bytes.
    """

    __slots__ = ("_decode", "_needed", "_pending")

    def __init__(self, decode: Callable[[bytes], _Record]) -> None:
        self._decode = decode
        self._pending = bytearray()
        self._needed = _RECORD_HEADER

    def feed(self, data: bytes) -> Iterator[_Record]:
        """Yield the records that are complete with ``data``.

        Raises:
            WireViolationError: a record that may not be.
        """
        if self._pending:
            self._pending += data
            if len(self._pending) < self._needed:
                return
            data = bytes(self._pending)
            self._pending.clear()
        at, end = 0, len(data)
        self._needed = _RECORD_HEADER
        while end - at >= _RECORD_HEADER:
            length = int.from_bytes(data[at : at + _RECORD_HEADER], "big")
            if length > table.MAX_RECORD:
                raise WireViolationError(Violation.TOO_LONG, f"a record of {length} bytes")
            stop = at + _RECORD_HEADER + length
            if stop > end:
                self._needed = _RECORD_HEADER + length
                break
            yield self._decode(data[at + _RECORD_HEADER : stop])
            at = stop
        self._pending += data[at:]

    def finish(self) -> None:
        """Note the end of the output.

        Raises:
            WireViolationError: it ended inside a record.
        """
        if self._pending:
            raise WireViolationError(Violation.TOO_SHORT, "the output ends inside a record")


class EntryReader(RecordReader[Entry]):
    """Cut the output of ``list`` and ``stat`` into records."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(_entry)


def _entry(record: bytes) -> Entry:
    fields = codec.decode_fields(record, table.ENTRY_REQUIRED, table.ENTRY_OPTIONAL, "record")
    return Entry(
        type=FileCode(_uint(fields, Field.TYPE)),
        size=_uint(fields, Field.SIZE),
        mode=_uint(fields, Field.MODE),
        modified_ns=_uint(fields, Field.MODIFIED_NS),
        uid=_uint(fields, Field.UID),
        gid=_uint(fields, Field.GID),
        name=cast("bytes", fields[Field.NAME]),
        link=cast("bytes | None", fields.get(Field.LINK)),
    )
