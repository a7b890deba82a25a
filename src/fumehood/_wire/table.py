"""Generated from protocol/wire.toml by protocol/generate.py. Do not edit."""

from __future__ import annotations

from enum import IntEnum
from types import MappingProxyType
from typing import Final

VERSION_MIN: Final = 1
VERSION_MAX: Final = 1
CAPABILITY_RESUME: Final = "resume"
CAPABILITY_WAIT: Final = "wait"
HEADER_BYTES: Final = 8
MAX_PAYLOAD: Final = 65536
MAX_BODY: Final = 2359296
MAX_CHANNELS: Final = 256
MAX_CONNECTIONS: Final = 16
CHANNEL_WINDOW: Final = 524288
CONNECTION_WINDOW: Final = 524288
CREDIT_STEP: Final = 131072
NONCE_BYTES: Final = 32
PING_BYTES: Final = 8
RESUME_KEY_BYTES: Final = 32
ACK_BYTES: Final = 8
MAX_TEXT: Final = 1024
MAX_PATH: Final = 4095
MAX_RECORD: Final = 16384
MAX_TERMINAL_SIDE: Final = 65535
MAX_PROCESS_NAME: Final = 64
MIN_LOG_BYTES: Final = 4096
MAX_LOG_BYTES: Final = 16777216
KEPT_PROCESSES: Final = 64
KEPT_LOG_BYTES: Final = 16777216
MAX_INCOMING: Final = 32
CONFIGURE_DEADLINE_MS: Final = 30000
WAIT_SILENCE_MS: Final = 60000
MAX_METADATA: Final = 16384


class Frame(IntEnum):
    """The type byte of a frame."""

    HELLO = 0x01
    WELCOME = 0x02
    CONFIGURE = 0x03
    READY = 0x04
    PING = 0x05
    PONG = 0x06
    DESTROY = 0x07
    END = 0x08
    ACK = 0x09
    LEAVE = 0x0a
    PART = 0x0f
    OPEN = 0x10
    STDIN = 0x11
    EOF = 0x12
    STDOUT = 0x13
    STDERR = 0x14
    CREDIT = 0x15
    CANCEL = 0x16
    EXIT = 0x17
    DONE = 0x18
    FAIL = 0x19
    RESIZE = 0x1c
    POSITION = 0x1a
    PROCESS = 0x1b
    OPENED = 0x1d
    STDOUT_END = 0x1e
    INCOMING = 0x1f


class Field(IntEnum):
    """The tag byte of a field."""

    VERSION_MIN = 0x01
    VERSION_MAX = 0x02
    VERSION = 0x03
    NONCE = 0x04
    CAPABILITY = 0x05
    CLIENT = 0x06
    BUILD = 0x07
    ARCHITECTURE = 0x08
    CONFIGURED = 0x09
    CONNECTION = 0x0a
    RESUME_KEY = 0x0b
    RECEIVED = 0x0c
    USER = 0x10
    WORKDIR = 0x11
    ENV = 0x12
    TTL_MS = 0x13
    IDLE_MS = 0x14
    GRACE_MS = 0x15
    HEARTBEAT_MS = 0x16
    DETACHED = 0x17
    WORKLOAD_CAPS = 0x18
    MAX_FILE_BYTES = 0x19
    MAX_PROCESSES = 0x1a
    CHOWN_WORKSPACE = 0x1b
    WRITE_HOSTS = 0x1c
    DISK_FLOOR_BYTES = 0x1d
    WORKSPACE_QUOTA_BYTES = 0x1e
    METADATA = 0x1f
    UID = 0x20
    GID = 0x21
    HOME = 0x22
    MEMORY_MAX = 0x23
    SWAP_MAX = 0x24
    PIDS_MAX = 0x25
    CPU_QUOTA_US = 0x26
    CPU_PERIOD_US = 0x27
    OPEN_FILES = 0x28
    NO_NEW_PRIVS = 0x29
    SECCOMP = 0x2a
    CAP_BOUNDING = 0x2b
    WORKSPACE_FS = 0x2c
    WORKSPACE_BYTES = 0x2d
    ROOTFS_READONLY = 0x2e
    KERNEL = 0x2f
    CGROUP_VERSION = 0x30
    TMP_BYTES = 0x31
    UPTIME_MS = 0x32
    TTL_LEFT_MS = 0x33
    IDLE_LEFT_MS = 0x34
    CHANNELS = 0x35
    CONNECTIONS = 0x36
    TREES = 0x37
    ROWS = 0x38
    COLUMNS = 0x39
    PORT = 0x3a
    TICKET = 0x3b
    OPERATION = 0x40
    ARGUMENT = 0x41
    CWD = 0x42
    TIMEOUT_MS = 0x43
    STDOUT_LIMIT = 0x44
    STDERR_LIMIT = 0x45
    STDIN = 0x46
    PATH = 0x47
    TARGET = 0x48
    ROOT = 0x49
    OFFSET = 0x4a
    LIMIT = 0x4b
    MODE = 0x4c
    PARENTS = 0x4d
    RECURSIVE = 0x4e
    FOLLOW = 0x4f
    PROCESS = 0x50
    LOG_BYTES = 0x51
    PROCESS_NAME = 0x52
    AT_END = 0x53
    GROUP = 0x54
    CLOSE = 0x55
    PID = 0x56
    STARTED_NS = 0x57
    REASON = 0x58
    EXIT_CODE = 0x59
    SIGNAL = 0x5a
    DURATION_US = 0x5b
    STDOUT_TOTAL = 0x5c
    STDERR_TOTAL = 0x5d
    KILLED = 0x5e
    LEFT_RUNNING = 0x5f
    SIZE = 0x60
    ENTRIES = 0x61
    ENDED_NS = 0x62
    LOG_FIRST = 0x63
    LOG_END = 0x64
    ARGV_CUT = 0x65
    TIED = 0x66
    ENVIRONMENT = 0x67
    ERROR = 0x68
    ERRNO = 0x69
    STEP = 0x6a
    MESSAGE = 0x6b
    TYPE = 0x70
    MODIFIED_NS = 0x71
    NAME = 0x72
    LINK = 0x73
    INCLUDE = 0x74
    EXCLUDE = 0x75
    PROGRAM = 0x76
    LINE = 0x77
    PAUSED_MS = 0x78
    UNREADABLE = 0x79
    BEFORE = 0x7d
    AFTER = 0x7e
    EVENT = 0x7f


class Operation(IntEnum):
    """What OPEN asks for."""

    EXEC = 0x01
    READ = 0x02
    WRITE = 0x03
    LIST = 0x04
    STAT = 0x05
    MAKE_DIRECTORY = 0x06
    REMOVE = 0x07
    RENAME = 0x08
    LEASE = 0x09
    STATUS = 0x0a
    WATCH = 0x0b
    SEARCH = 0x0d
    TERMINAL = 0x1e
    PAUSE = 0x32
    UNPAUSE = 0x33
    ENVIRONMENT = 0x34
    START = 0x14
    ATTACH = 0x15
    LOGS = 0x16
    SEND = 0x17
    PROCESSES = 0x18
    SIGNAL = 0x19
    STOP = 0x1a
    CONNECT = 0x28
    WAIT_PORT = 0x29
    LISTEN = 0x2a
    ACCEPT = 0x2b
    PUT_TREE = 0x2c
    GET_TREE = 0x2d
    SCAN_TREE = 0x2e


class ExecCode(IntEnum):
    """Why a command ended."""

    EXITED = 0x01
    SIGNALED = 0x02
    TIMED_OUT = 0x03
    OUT_OF_MEMORY = 0x04
    CANCELLED = 0x05


class EndCode(IntEnum):
    """Why a session ended."""

    DESTROYED = 0x01
    TTL = 0x02
    IDLE = 0x03
    CLIENT_LOST = 0x04
    NOT_CONFIGURED = 0x05
    STOPPED = 0x06
    PROTOCOL = 0x07
    RESOURCES = 0x08
    DISK_FULL = 0x09


class FileCode(IntEnum):
    """What a directory entry is."""

    UNKNOWN = 0x00
    FILE = 0x01
    DIRECTORY = 0x02
    SYMLINK = 0x03
    FIFO = 0x04
    SOCKET = 0x05
    BLOCK = 0x06
    CHARACTER = 0x07


class EventCode(IntEnum):
    """What a record of `watch` or `search` tells."""

    READY = 0x00
    CREATED = 0x01
    MODIFIED = 0x02
    DELETED = 0x03
    MOVED = 0x04
    OVERFLOW = 0x05
    MATCH = 0x10
    CONTEXT = 0x11
    SEARCHED = 0x12
    BINARY = 0x13
    TOO_LARGE = 0x14
    UNREADABLE = 0x15
    LONG_LINES = 0x16
    STOPPED = 0x17


class Root(IntEnum):
    """What a path is relative to."""

    WORKSPACE = 0x00
    FILESYSTEM = 0x01


class ErrorCode(IntEnum):
    """Why an operation failed."""

    NOT_FOUND = 0x01
    PERMISSION = 0x02
    IS_DIRECTORY = 0x03
    NOT_DIRECTORY = 0x04
    EXISTS = 0x05
    NOT_EMPTY = 0x06
    ESCAPES = 0x07
    NOT_REGULAR = 0x08
    TOO_LARGE = 0x09
    NO_SPACE = 0x0a
    READ_ONLY = 0x0b
    INVALID = 0x0c
    NAME_TOO_LONG = 0x0d
    TOO_MANY_LINKS = 0x0e
    PROGRAM_NOT_FOUND = 0x14
    PROGRAM_NOT_EXECUTABLE = 0x15
    CWD = 0x16
    USER_NOT_FOUND = 0x17
    USER_REFUSED = 0x18
    ARGUMENT_TOO_LONG = 0x19
    PROCESS_LIMIT = 0x1e
    OUT_OF_MEMORY = 0x1f
    TOO_MANY_CHANNELS = 0x20
    TOO_MANY_ENTRIES = 0x21
    HELPER_TIMEOUT = 0x28
    HELPER_DIED = 0x29
    CANCELLED = 0x2a
    UNSUPPORTED = 0x2b
    BUSY = 0x2c
    IO = 0x2d
    WATCH_LIMIT = 0x25
    CHANGED = 0x26
    NO_TERMINAL = 0x37
    TERMINAL_LIMIT = 0x38
    PAUSED = 0x3a
    NO_PROCESS = 0x32
    PROCESS_ENDED = 0x33
    NAME_TAKEN = 0x34
    TOO_MANY_PROCESSES = 0x35
    INPUT_CLOSED = 0x36
    CONNECTION_REFUSED = 0x3c
    CONNECTION_RESET = 0x3d
    TIMED_OUT = 0x3e
    ADDRESS_IN_USE = 0x3f


class Violation(IntEnum):
    """How bytes can break the rules."""

    BAD_FRAME = 0x01
    BAD_DIRECTION = 0x02
    BAD_CHANNEL = 0x03
    TOO_LONG = 0x04
    TOO_SHORT = 0x05
    BAD_FIELD = 0x06
    FIELD_ORDER = 0x07
    FIELD_REPEATED = 0x08
    FIELD_MISSING = 0x09
    FIELD_LENGTH = 0x0a
    BAD_TEXT = 0x0b
    BAD_VALUE = 0x0c
    BAD_CREDIT = 0x0d
    BAD_STATE = 0x0e
    BODY_TOO_LONG = 0x0f


FIELD_KIND: Final[MappingProxyType[Field, str]] = MappingProxyType(
    {
        Field.VERSION_MIN: "uint",
        Field.VERSION_MAX: "uint",
        Field.VERSION: "uint",
        Field.NONCE: "bytes",
        Field.CAPABILITY: "text",
        Field.CLIENT: "text",
        Field.BUILD: "text",
        Field.ARCHITECTURE: "text",
        Field.CONFIGURED: "flag",
        Field.CONNECTION: "uint",
        Field.RESUME_KEY: "bytes",
        Field.RECEIVED: "uint",
        Field.USER: "text",
        Field.WORKDIR: "bytes",
        Field.ENV: "bytes",
        Field.TTL_MS: "uint",
        Field.IDLE_MS: "uint",
        Field.GRACE_MS: "uint",
        Field.HEARTBEAT_MS: "uint",
        Field.DETACHED: "flag",
        Field.WORKLOAD_CAPS: "uint",
        Field.MAX_FILE_BYTES: "uint",
        Field.MAX_PROCESSES: "uint",
        Field.CHOWN_WORKSPACE: "flag",
        Field.WRITE_HOSTS: "flag",
        Field.DISK_FLOOR_BYTES: "uint",
        Field.WORKSPACE_QUOTA_BYTES: "uint",
        Field.METADATA: "bytes",
        Field.UID: "uint",
        Field.GID: "uint",
        Field.HOME: "bytes",
        Field.MEMORY_MAX: "uint",
        Field.SWAP_MAX: "uint",
        Field.PIDS_MAX: "uint",
        Field.CPU_QUOTA_US: "uint",
        Field.CPU_PERIOD_US: "uint",
        Field.OPEN_FILES: "uint",
        Field.NO_NEW_PRIVS: "flag",
        Field.SECCOMP: "uint",
        Field.CAP_BOUNDING: "uint",
        Field.WORKSPACE_FS: "uint",
        Field.WORKSPACE_BYTES: "uint",
        Field.ROOTFS_READONLY: "flag",
        Field.KERNEL: "text",
        Field.CGROUP_VERSION: "uint",
        Field.TMP_BYTES: "uint",
        Field.UPTIME_MS: "uint",
        Field.TTL_LEFT_MS: "uint",
        Field.IDLE_LEFT_MS: "uint",
        Field.CHANNELS: "uint",
        Field.CONNECTIONS: "uint",
        Field.TREES: "uint",
        Field.ROWS: "uint",
        Field.COLUMNS: "uint",
        Field.PORT: "uint",
        Field.TICKET: "uint",
        Field.OPERATION: "uint",
        Field.ARGUMENT: "bytes",
        Field.CWD: "bytes",
        Field.TIMEOUT_MS: "uint",
        Field.STDOUT_LIMIT: "uint",
        Field.STDERR_LIMIT: "uint",
        Field.STDIN: "flag",
        Field.PATH: "bytes",
        Field.TARGET: "bytes",
        Field.ROOT: "uint",
        Field.OFFSET: "uint",
        Field.LIMIT: "uint",
        Field.MODE: "uint",
        Field.PARENTS: "flag",
        Field.RECURSIVE: "flag",
        Field.FOLLOW: "flag",
        Field.PROCESS: "uint",
        Field.LOG_BYTES: "uint",
        Field.PROCESS_NAME: "text",
        Field.AT_END: "flag",
        Field.GROUP: "flag",
        Field.CLOSE: "flag",
        Field.PID: "uint",
        Field.STARTED_NS: "uint",
        Field.REASON: "uint",
        Field.EXIT_CODE: "uint",
        Field.SIGNAL: "uint",
        Field.DURATION_US: "uint",
        Field.STDOUT_TOTAL: "uint",
        Field.STDERR_TOTAL: "uint",
        Field.KILLED: "uint",
        Field.LEFT_RUNNING: "uint",
        Field.SIZE: "uint",
        Field.ENTRIES: "uint",
        Field.ENDED_NS: "uint",
        Field.LOG_FIRST: "uint",
        Field.LOG_END: "uint",
        Field.ARGV_CUT: "flag",
        Field.TIED: "flag",
        Field.ENVIRONMENT: "bytes",
        Field.ERROR: "uint",
        Field.ERRNO: "uint",
        Field.STEP: "text",
        Field.MESSAGE: "text",
        Field.TYPE: "uint",
        Field.MODIFIED_NS: "uint",
        Field.NAME: "bytes",
        Field.LINK: "bytes",
        Field.INCLUDE: "bytes",
        Field.EXCLUDE: "bytes",
        Field.PROGRAM: "bytes",
        Field.LINE: "bytes",
        Field.PAUSED_MS: "uint",
        Field.UNREADABLE: "uint",
        Field.BEFORE: "uint",
        Field.AFTER: "uint",
        Field.EVENT: "uint",
    }
)

FIELD_VALUES: Final[MappingProxyType[Field, frozenset[int]]] = MappingProxyType(
    {
        Field.OPERATION: frozenset({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 20, 21, 22, 23, 24, 25, 26, 30, 40, 41, 42, 43, 44, 45, 46, 50, 51, 52}),
        Field.ROOT: frozenset({0, 1}),
        Field.ERROR: frozenset({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 20, 21, 22, 23, 24, 25, 30, 31, 32, 33, 37, 38, 40, 41, 42, 43, 44, 45, 50, 51, 52, 53, 54, 55, 56, 58, 60, 61, 62, 63}),
        Field.TYPE: frozenset({0, 1, 2, 3, 4, 5, 6, 7}),
        Field.EVENT: frozenset({0, 1, 2, 3, 4, 5, 16, 17, 18, 19, 20, 21, 22, 23}),
    }
)

FRAME_VALUES: Final[MappingProxyType[tuple[Frame, Field], frozenset[int]]] = MappingProxyType(
    {
        (Frame.END, Field.REASON): frozenset({1, 2, 3, 4, 5, 6, 7, 8, 9}),
        (Frame.EXIT, Field.REASON): frozenset({1, 2, 3, 4, 5}),
        (Frame.PROCESS, Field.REASON): frozenset({1, 2, 3, 4, 5}),
    }
)

REPEATED: Final = frozenset({Field.CAPABILITY, Field.ENV, Field.ARGUMENT, Field.INCLUDE, Field.EXCLUDE})

FRAME_FROM: Final[MappingProxyType[Frame, str]] = MappingProxyType(
    {
        Frame.HELLO: "client",
        Frame.WELCOME: "supervisor",
        Frame.CONFIGURE: "client",
        Frame.READY: "supervisor",
        Frame.PING: "both",
        Frame.PONG: "both",
        Frame.DESTROY: "client",
        Frame.END: "supervisor",
        Frame.ACK: "both",
        Frame.LEAVE: "client",
        Frame.PART: "client",
        Frame.OPEN: "client",
        Frame.STDIN: "client",
        Frame.EOF: "client",
        Frame.STDOUT: "supervisor",
        Frame.STDERR: "supervisor",
        Frame.CREDIT: "both",
        Frame.CANCEL: "client",
        Frame.EXIT: "supervisor",
        Frame.DONE: "supervisor",
        Frame.FAIL: "supervisor",
        Frame.RESIZE: "client",
        Frame.POSITION: "supervisor",
        Frame.PROCESS: "supervisor",
        Frame.OPENED: "supervisor",
        Frame.STDOUT_END: "supervisor",
        Frame.INCOMING: "supervisor",
    }
)

FRAME_CHANNEL: Final[MappingProxyType[Frame, str]] = MappingProxyType(
    {
        Frame.HELLO: "zero",
        Frame.WELCOME: "zero",
        Frame.CONFIGURE: "zero",
        Frame.READY: "zero",
        Frame.PING: "zero",
        Frame.PONG: "zero",
        Frame.DESTROY: "zero",
        Frame.END: "zero",
        Frame.ACK: "zero",
        Frame.LEAVE: "zero",
        Frame.PART: "any",
        Frame.OPEN: "live",
        Frame.STDIN: "live",
        Frame.EOF: "live",
        Frame.STDOUT: "live",
        Frame.STDERR: "live",
        Frame.CREDIT: "any",
        Frame.CANCEL: "live",
        Frame.EXIT: "live",
        Frame.DONE: "live",
        Frame.FAIL: "live",
        Frame.RESIZE: "live",
        Frame.POSITION: "live",
        Frame.PROCESS: "live",
        Frame.OPENED: "live",
        Frame.STDOUT_END: "live",
        Frame.INCOMING: "live",
    }
)

FRAME_PAYLOAD: Final[MappingProxyType[Frame, str]] = MappingProxyType(
    {
        Frame.HELLO: "fields",
        Frame.WELCOME: "fields",
        Frame.CONFIGURE: "fields",
        Frame.READY: "fields",
        Frame.PING: "bytes",
        Frame.PONG: "bytes",
        Frame.DESTROY: "empty",
        Frame.END: "fields",
        Frame.ACK: "bytes",
        Frame.LEAVE: "empty",
        Frame.PART: "bytes",
        Frame.OPEN: "fields",
        Frame.STDIN: "bytes",
        Frame.EOF: "empty",
        Frame.STDOUT: "bytes",
        Frame.STDERR: "bytes",
        Frame.CREDIT: "credit",
        Frame.CANCEL: "empty",
        Frame.EXIT: "fields",
        Frame.DONE: "fields",
        Frame.FAIL: "fields",
        Frame.RESIZE: "fields",
        Frame.POSITION: "fields",
        Frame.PROCESS: "fields",
        Frame.OPENED: "fields",
        Frame.STDOUT_END: "empty",
        Frame.INCOMING: "fields",
    }
)

FRAME_LENGTH: Final[MappingProxyType[Frame, tuple[int, int]]] = MappingProxyType(
    {
        Frame.HELLO: (0, 65536),
        Frame.WELCOME: (0, 65536),
        Frame.CONFIGURE: (0, 65536),
        Frame.READY: (0, 65536),
        Frame.PING: (8, 8),
        Frame.PONG: (8, 8),
        Frame.DESTROY: (0, 0),
        Frame.END: (0, 65536),
        Frame.ACK: (8, 8),
        Frame.LEAVE: (0, 0),
        Frame.PART: (1, 65536),
        Frame.OPEN: (0, 65536),
        Frame.STDIN: (1, 65536),
        Frame.EOF: (0, 0),
        Frame.STDOUT: (1, 65536),
        Frame.STDERR: (1, 65536),
        Frame.CREDIT: (4, 4),
        Frame.CANCEL: (0, 0),
        Frame.EXIT: (0, 65536),
        Frame.DONE: (0, 65536),
        Frame.FAIL: (0, 65536),
        Frame.RESIZE: (0, 65536),
        Frame.POSITION: (0, 65536),
        Frame.PROCESS: (0, 65536),
        Frame.OPENED: (0, 65536),
        Frame.STDOUT_END: (0, 0),
        Frame.INCOMING: (0, 65536),
    }
)

FRAME_REQUIRED: Final[MappingProxyType[Frame, frozenset[Field]]] = MappingProxyType(
    {
        Frame.HELLO: frozenset({Field.VERSION_MIN, Field.VERSION_MAX, Field.NONCE}),
        Frame.WELCOME: frozenset({Field.VERSION, Field.BUILD, Field.ARCHITECTURE, Field.CONFIGURED, Field.CONNECTION}),
        Frame.CONFIGURE: frozenset({Field.WORKDIR, Field.TTL_MS, Field.IDLE_MS, Field.GRACE_MS, Field.HEARTBEAT_MS, Field.DETACHED, Field.WORKLOAD_CAPS, Field.MAX_FILE_BYTES, Field.MAX_PROCESSES, Field.CHOWN_WORKSPACE, Field.WRITE_HOSTS}),
        Frame.READY: frozenset({Field.UID, Field.GID, Field.MEMORY_MAX, Field.SWAP_MAX, Field.PIDS_MAX, Field.CPU_QUOTA_US, Field.CPU_PERIOD_US, Field.OPEN_FILES, Field.NO_NEW_PRIVS, Field.SECCOMP, Field.CAP_BOUNDING, Field.WORKSPACE_FS, Field.WORKSPACE_BYTES, Field.ROOTFS_READONLY, Field.KERNEL, Field.CGROUP_VERSION, Field.TMP_BYTES}),
        Frame.END: frozenset({Field.REASON}),
        Frame.OPEN: frozenset({Field.OPERATION}),
        Frame.EXIT: frozenset({Field.REASON, Field.EXIT_CODE, Field.SIGNAL, Field.DURATION_US, Field.STDOUT_TOTAL, Field.STDERR_TOTAL, Field.KILLED, Field.LEFT_RUNNING}),
        Frame.DONE: frozenset(),
        Frame.FAIL: frozenset({Field.ERROR, Field.ERRNO, Field.STEP}),
        Frame.RESIZE: frozenset({Field.ROWS, Field.COLUMNS}),
        Frame.POSITION: frozenset({Field.OFFSET}),
        Frame.PROCESS: frozenset({Field.PROCESS, Field.LOG_BYTES, Field.STDIN, Field.PID, Field.STARTED_NS, Field.LOG_FIRST, Field.LOG_END}),
        Frame.OPENED: frozenset(),
        Frame.INCOMING: frozenset({Field.TICKET}),
    }
)

FRAME_OPTIONAL: Final[MappingProxyType[Frame, frozenset[Field]]] = MappingProxyType(
    {
        Frame.HELLO: frozenset({Field.CAPABILITY, Field.CLIENT, Field.CONNECTION, Field.RESUME_KEY, Field.RECEIVED}),
        Frame.WELCOME: frozenset({Field.CAPABILITY, Field.RESUME_KEY, Field.RECEIVED, Field.UPTIME_MS}),
        Frame.CONFIGURE: frozenset({Field.USER, Field.ENV, Field.DISK_FLOOR_BYTES, Field.WORKSPACE_QUOTA_BYTES, Field.METADATA}),
        Frame.READY: frozenset({Field.HOME, Field.GRACE_MS, Field.HEARTBEAT_MS, Field.DETACHED, Field.WORKLOAD_CAPS, Field.MAX_FILE_BYTES, Field.MAX_PROCESSES, Field.DISK_FLOOR_BYTES, Field.WORKSPACE_QUOTA_BYTES, Field.METADATA}),
        Frame.END: frozenset({Field.ERROR, Field.MESSAGE}),
        Frame.OPEN: frozenset(),
        Frame.EXIT: frozenset({Field.OFFSET}),
        Frame.DONE: frozenset({Field.SIZE, Field.ENTRIES, Field.UPTIME_MS, Field.TTL_LEFT_MS, Field.IDLE_LEFT_MS, Field.CHANNELS, Field.CONNECTIONS, Field.TREES, Field.PAUSED_MS, Field.OFFSET, Field.PROCESS, Field.PID, Field.STARTED_NS, Field.ENVIRONMENT, Field.UNREADABLE}),
        Frame.FAIL: frozenset({Field.MESSAGE, Field.SIZE}),
        Frame.RESIZE: frozenset(),
        Frame.POSITION: frozenset(),
        Frame.PROCESS: frozenset({Field.ARGUMENT, Field.ARGV_CUT, Field.PROCESS_NAME, Field.REASON, Field.EXIT_CODE, Field.SIGNAL, Field.DURATION_US, Field.STDOUT_TOTAL, Field.STDERR_TOTAL, Field.KILLED, Field.LEFT_RUNNING, Field.ENDED_NS}),
        Frame.OPENED: frozenset({Field.PORT}),
        Frame.INCOMING: frozenset(),
    }
)

OPERATION_REQUIRED: Final[MappingProxyType[Operation, frozenset[Field]]] = MappingProxyType(
    {
        Operation.EXEC: frozenset({Field.ARGUMENT, Field.CWD, Field.TIMEOUT_MS, Field.STDOUT_LIMIT, Field.STDERR_LIMIT, Field.STDIN}),
        Operation.READ: frozenset({Field.PATH, Field.ROOT, Field.OFFSET, Field.LIMIT}),
        Operation.WRITE: frozenset({Field.PATH, Field.ROOT, Field.LIMIT, Field.MODE, Field.PARENTS}),
        Operation.LIST: frozenset({Field.PATH, Field.ROOT, Field.LIMIT, Field.RECURSIVE}),
        Operation.STAT: frozenset({Field.PATH, Field.ROOT, Field.FOLLOW}),
        Operation.MAKE_DIRECTORY: frozenset({Field.PATH, Field.ROOT, Field.MODE, Field.PARENTS}),
        Operation.REMOVE: frozenset({Field.PATH, Field.ROOT, Field.RECURSIVE}),
        Operation.RENAME: frozenset({Field.PATH, Field.TARGET, Field.ROOT, Field.PARENTS}),
        Operation.LEASE: frozenset({Field.TTL_MS}),
        Operation.STATUS: frozenset(),
        Operation.WATCH: frozenset({Field.PATH, Field.ROOT, Field.LIMIT, Field.RECURSIVE}),
        Operation.SEARCH: frozenset({Field.PATH, Field.ROOT, Field.LIMIT, Field.MAX_FILE_BYTES, Field.TIMEOUT_MS, Field.PROGRAM, Field.BEFORE, Field.AFTER}),
        Operation.TERMINAL: frozenset({Field.CWD, Field.ROWS, Field.COLUMNS}),
        Operation.PAUSE: frozenset(),
        Operation.UNPAUSE: frozenset(),
        Operation.ENVIRONMENT: frozenset({Field.OFFSET}),
        Operation.START: frozenset({Field.ARGUMENT, Field.CWD, Field.STDIN, Field.LOG_BYTES}),
        Operation.ATTACH: frozenset({Field.PROCESS, Field.OFFSET, Field.AT_END}),
        Operation.LOGS: frozenset({Field.PROCESS, Field.OFFSET}),
        Operation.SEND: frozenset({Field.PROCESS, Field.CLOSE}),
        Operation.PROCESSES: frozenset(),
        Operation.SIGNAL: frozenset({Field.PROCESS, Field.SIGNAL, Field.GROUP}),
        Operation.STOP: frozenset({Field.PROCESS, Field.GRACE_MS}),
        Operation.CONNECT: frozenset({Field.PORT}),
        Operation.WAIT_PORT: frozenset({Field.PORT, Field.TIMEOUT_MS}),
        Operation.LISTEN: frozenset({Field.PORT}),
        Operation.ACCEPT: frozenset({Field.TICKET}),
        Operation.PUT_TREE: frozenset({Field.PATH, Field.ROOT, Field.LIMIT}),
        Operation.GET_TREE: frozenset({Field.PATH, Field.ROOT, Field.FOLLOW}),
        Operation.SCAN_TREE: frozenset({Field.PATH, Field.ROOT, Field.LIMIT}),
    }
)

OPERATION_OPTIONAL: Final[MappingProxyType[Operation, frozenset[Field]]] = MappingProxyType(
    {
        Operation.EXEC: frozenset({Field.ENV, Field.USER}),
        Operation.READ: frozenset(),
        Operation.WRITE: frozenset({Field.SIZE, Field.MODIFIED_NS}),
        Operation.LIST: frozenset({Field.INCLUDE, Field.EXCLUDE}),
        Operation.STAT: frozenset(),
        Operation.MAKE_DIRECTORY: frozenset(),
        Operation.REMOVE: frozenset(),
        Operation.RENAME: frozenset(),
        Operation.LEASE: frozenset(),
        Operation.STATUS: frozenset(),
        Operation.WATCH: frozenset({Field.EXCLUDE}),
        Operation.SEARCH: frozenset({Field.INCLUDE, Field.EXCLUDE}),
        Operation.TERMINAL: frozenset({Field.ARGUMENT, Field.ENV, Field.USER}),
        Operation.PAUSE: frozenset({Field.TIED}),
        Operation.UNPAUSE: frozenset({Field.TIED}),
        Operation.ENVIRONMENT: frozenset(),
        Operation.START: frozenset({Field.ENV, Field.USER, Field.PROCESS_NAME}),
        Operation.ATTACH: frozenset(),
        Operation.LOGS: frozenset(),
        Operation.SEND: frozenset(),
        Operation.PROCESSES: frozenset({Field.PROCESS}),
        Operation.SIGNAL: frozenset(),
        Operation.STOP: frozenset(),
        Operation.CONNECT: frozenset(),
        Operation.WAIT_PORT: frozenset(),
        Operation.LISTEN: frozenset(),
        Operation.ACCEPT: frozenset(),
        Operation.PUT_TREE: frozenset(),
        Operation.GET_TREE: frozenset(),
        Operation.SCAN_TREE: frozenset(),
    }
)

OPERATION_INPUT: Final[MappingProxyType[Operation, bool]] = MappingProxyType(
    {
        Operation.EXEC: True,
        Operation.READ: False,
        Operation.WRITE: True,
        Operation.LIST: False,
        Operation.STAT: False,
        Operation.MAKE_DIRECTORY: False,
        Operation.REMOVE: False,
        Operation.RENAME: False,
        Operation.LEASE: False,
        Operation.STATUS: False,
        Operation.WATCH: False,
        Operation.SEARCH: False,
        Operation.TERMINAL: True,
        Operation.PAUSE: False,
        Operation.UNPAUSE: False,
        Operation.ENVIRONMENT: False,
        Operation.START: False,
        Operation.ATTACH: False,
        Operation.LOGS: False,
        Operation.SEND: True,
        Operation.PROCESSES: False,
        Operation.SIGNAL: False,
        Operation.STOP: False,
        Operation.CONNECT: True,
        Operation.WAIT_PORT: False,
        Operation.LISTEN: False,
        Operation.ACCEPT: True,
        Operation.PUT_TREE: True,
        Operation.GET_TREE: True,
        Operation.SCAN_TREE: False,
    }
)

OPERATION_OUTPUT: Final[MappingProxyType[Operation, str]] = MappingProxyType(
    {
        Operation.EXEC: "both",
        Operation.READ: "stdout",
        Operation.WRITE: "none",
        Operation.LIST: "stdout",
        Operation.STAT: "stdout",
        Operation.MAKE_DIRECTORY: "none",
        Operation.REMOVE: "none",
        Operation.RENAME: "none",
        Operation.LEASE: "none",
        Operation.STATUS: "none",
        Operation.WATCH: "stdout",
        Operation.SEARCH: "stdout",
        Operation.TERMINAL: "stdout",
        Operation.PAUSE: "none",
        Operation.UNPAUSE: "none",
        Operation.ENVIRONMENT: "none",
        Operation.START: "none",
        Operation.ATTACH: "both",
        Operation.LOGS: "both",
        Operation.SEND: "none",
        Operation.PROCESSES: "none",
        Operation.SIGNAL: "none",
        Operation.STOP: "none",
        Operation.CONNECT: "stdout",
        Operation.WAIT_PORT: "none",
        Operation.LISTEN: "none",
        Operation.ACCEPT: "stdout",
        Operation.PUT_TREE: "stdout",
        Operation.GET_TREE: "stdout",
        Operation.SCAN_TREE: "stdout",
    }
)

OPERATION_ANSWER: Final[MappingProxyType[Operation, Frame]] = MappingProxyType(
    {
        Operation.EXEC: Frame.EXIT,
        Operation.READ: Frame.DONE,
        Operation.WRITE: Frame.DONE,
        Operation.LIST: Frame.DONE,
        Operation.STAT: Frame.DONE,
        Operation.MAKE_DIRECTORY: Frame.DONE,
        Operation.REMOVE: Frame.DONE,
        Operation.RENAME: Frame.DONE,
        Operation.LEASE: Frame.DONE,
        Operation.STATUS: Frame.DONE,
        Operation.WATCH: Frame.DONE,
        Operation.SEARCH: Frame.DONE,
        Operation.TERMINAL: Frame.EXIT,
        Operation.PAUSE: Frame.DONE,
        Operation.UNPAUSE: Frame.DONE,
        Operation.ENVIRONMENT: Frame.DONE,
        Operation.START: Frame.DONE,
        Operation.ATTACH: Frame.EXIT,
        Operation.LOGS: Frame.DONE,
        Operation.SEND: Frame.DONE,
        Operation.PROCESSES: Frame.DONE,
        Operation.SIGNAL: Frame.DONE,
        Operation.STOP: Frame.EXIT,
        Operation.CONNECT: Frame.DONE,
        Operation.WAIT_PORT: Frame.DONE,
        Operation.LISTEN: Frame.DONE,
        Operation.ACCEPT: Frame.DONE,
        Operation.PUT_TREE: Frame.DONE,
        Operation.GET_TREE: Frame.DONE,
        Operation.SCAN_TREE: Frame.DONE,
    }
)

OPERATION_ALSO: Final[MappingProxyType[Operation, Frame]] = MappingProxyType(
    {
        Operation.ATTACH: Frame.POSITION,
        Operation.LOGS: Frame.POSITION,
        Operation.PROCESSES: Frame.PROCESS,
        Operation.LISTEN: Frame.INCOMING,
    }
)

OPERATION_SOCKET: Final = frozenset({Operation.CONNECT, Operation.LISTEN, Operation.ACCEPT})

ENTRY_REQUIRED: Final = frozenset({Field.TYPE, Field.SIZE, Field.MODE, Field.MODIFIED_NS, Field.UID, Field.GID, Field.NAME})
ENTRY_OPTIONAL: Final = frozenset({Field.LINK})

EVENT_REQUIRED: Final = frozenset({Field.EVENT})
EVENT_OPTIONAL: Final = frozenset({Field.NAME, Field.TARGET, Field.TYPE, Field.ENTRIES, Field.LINE, Field.SIZE, Field.OFFSET, Field.LIMIT})
