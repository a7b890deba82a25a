"""What a client sends: each message encodes itself, and each operation has its request."""

from __future__ import annotations

from dataclasses import dataclass

from fumehood._wire import codec, table
from fumehood._wire.table import Field, Frame, Operation, Root

FROM_NOW_ON = (1 << 64) - 1
"""The offset in a log that stands for its end, wherever that is."""


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
