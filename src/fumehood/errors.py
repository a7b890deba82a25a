"""Every error that fumehood raises.

One root, so that ``except SandboxError`` is always enough; every class also inherits the
builtin that a Python programmer would catch without knowing fumehood.

::

    SandboxError
    ├── InvalidRequestError (ValueError)            a caller's value, refused before anything exists
    │   └── InvalidPathError
    ├── EngineError
    │   ├── EngineUnavailableError (ConnectionError)   no engine answers
    │   ├── EngineUnsupportedError                     it answers, but cannot do what was asked
    │   ├── EngineDiskFullError                        it has no room left for what was asked
    │   ├── ImageNotFoundError (LookupError)
    │   ├── ImagePullError
    │   └── ImageRefusedError                          an image that would weaken the session
    ├── SupervisorError                             PID 1 did not come up, or is not ours
    ├── ProtocolError (ConnectionError)             the other side broke the wire's rules
    ├── LocalProtocolError (RuntimeError)           we were about to break them: a bug of ours
    ├── SessionError
    │   ├── SessionNotFoundError (LookupError)
    │   ├── SessionExistsError
    │   ├── SessionPausedError                         no command starts before ``unpause``
    │   ├── WorkspaceBusyError
    │   ├── SnapshotNotFoundError (LookupError)
    │   ├── SnapshotExistsError                        the name is taken
    │   ├── SnapshotFileError (ValueError)             a file holds no snapshot, or a broken one
    │   └── SessionEndedError                          TTL, idle, destroyed, …: see ``reason``
    │       └── SessionLostError (ConnectionError)        the stream broke, the session with it
    ├── CommandError
    │   ├── CommandNotFoundError (FileNotFoundError)
    │   ├── CommandNotExecutableError (PermissionError)
    │   ├── WorkingDirectoryError (FileNotFoundError)
    │   ├── UserNotFoundError (LookupError)
    │   └── CommandFailedError                         ``check=True`` and not ok: has ``result``
    │       ├── CommandTimeoutError (TimeoutError)
    │       └── CommandOutOfMemoryError (MemoryError)
    ├── ProcessError                                about a managed process
    │   ├── ProcessNotFoundError (LookupError)         there is none, or it was forgotten
    │   ├── ProcessExistsError                         one of this name runs
    │   ├── ProcessEndedError                          it has ended, so this cannot be done to it
    │   └── ProcessInputClosedError (BrokenPipeError)  its standard input is closed
    ├── FileError
    │   ├── FileMissingError (FileNotFoundError)
    │   ├── FilePermissionError (PermissionError)
    │   ├── FileIsDirectoryError (IsADirectoryError)
    │   ├── FileNotDirectoryError (NotADirectoryError)
    │   ├── FilePresentError (FileExistsError)
    │   ├── PathEscapesError (PermissionError)         a link that leads out of the workspace
    │   ├── NotRegularFileError
    │   ├── FileTooLargeError
    │   ├── FileChangedError                           somebody has written to it meanwhile
    │   ├── EditError (ValueError)                     what is to be replaced is not there as meant
    │   │   └── PatchError                             a hunk does not fit; has ``hunk``
    │   └── DiskFullError
    ├── LocalFileError (OSError)                    a file of this machine; has ``path``
    ├── PortError                                   a connection to a port inside; has ``port``
    │   ├── PortRefusedError (ConnectionRefusedError)   nobody listens there
    │   └── PortResetError (ConnectionResetError)       it was cut off by its other end
    ├── ResourceLimitError                          a limit of the session: pids, memory, channels
    └── OperationTimeoutError (TimeoutError)        not a command: another operation's deadline

``code`` is one of a closed set (:class:`ErrorCode`); ``retryable`` says whether the same call may
succeed if made again unchanged.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from fumehood.results import ExecResult


class ErrorCode(StrEnum):
    """What went wrong, as one of a closed set: stable across releases, safe to match on."""

    SANDBOX = "sandbox"
    INVALID_REQUEST = "invalid_request"
    INVALID_PATH = "invalid_path"
    ENGINE = "engine"
    ENGINE_UNAVAILABLE = "engine_unavailable"
    ENGINE_UNSUPPORTED = "engine_unsupported"
    ENGINE_DISK_FULL = "engine_disk_full"
    IMAGE_NOT_FOUND = "image_not_found"
    IMAGE_PULL = "image_pull"
    IMAGE_REFUSED = "image_refused"
    SUPERVISOR = "supervisor"
    PROTOCOL = "protocol"
    LOCAL_PROTOCOL = "local_protocol"
    SESSION = "session"
    SESSION_NOT_FOUND = "session_not_found"
    SESSION_EXISTS = "session_exists"
    SESSION_PAUSED = "session_paused"
    WORKSPACE_BUSY = "workspace_busy"
    SNAPSHOT_NOT_FOUND = "snapshot_not_found"
    SNAPSHOT_EXISTS = "snapshot_exists"
    SNAPSHOT_FILE = "snapshot_file"
    SESSION_ENDED = "session_ended"
    SESSION_LOST = "session_lost"
    COMMAND = "command"
    COMMAND_NOT_FOUND = "command_not_found"
    COMMAND_NOT_EXECUTABLE = "command_not_executable"
    WORKING_DIRECTORY = "working_directory"
    USER_NOT_FOUND = "user_not_found"
    COMMAND_FAILED = "command_failed"
    COMMAND_TIMEOUT = "command_timeout"
    COMMAND_OUT_OF_MEMORY = "command_out_of_memory"
    PROCESS = "process"
    PROCESS_NOT_FOUND = "process_not_found"
    PROCESS_EXISTS = "process_exists"
    PROCESS_ENDED = "process_ended"
    PROCESS_INPUT_CLOSED = "process_input_closed"
    FILE = "file"
    FILE_NOT_FOUND = "file_not_found"
    FILE_PERMISSION = "file_permission"
    FILE_IS_DIRECTORY = "file_is_directory"
    FILE_NOT_DIRECTORY = "file_not_directory"
    FILE_EXISTS = "file_exists"
    PATH_ESCAPES = "path_escapes"
    NOT_REGULAR_FILE = "not_regular_file"
    FILE_TOO_LARGE = "file_too_large"
    FILE_CHANGED = "file_changed"
    EDIT = "edit"
    PATCH = "patch"
    DISK_FULL = "disk_full"
    LOCAL_FILE = "local_file"
    PORT = "port"
    PORT_REFUSED = "port_refused"
    PORT_RESET = "port_reset"
    RESOURCE_LIMIT = "resource_limit"
    OPERATION_TIMEOUT = "operation_timeout"


class SandboxError(Exception):
    """The root of all errors of fumehood.

    Args:
        message: what was wrong, with which value, and what to do next.
        op: the public operation that failed (``"exec"``, ``"read_file"``, …).
        session_id: the session it failed in, when there was one.
    """

    code: ClassVar[ErrorCode] = ErrorCode.SANDBOX
    retryable: ClassVar[bool] = False

    def __init__(
        self, message: str, *, op: str | None = None, session_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.op = op
        self.session_id = session_id

    def __str__(self) -> str:
        # Classes that inherit OSError would otherwise print errno tuples.
        return self.message

    def __reduce__(self) -> tuple[object, ...]:
        # Copied and pickled with all that it knows: errors cross process pools. The default would
        # call the class with the message alone, which most of them refuse.
        return _restore, (type(self), self.args, dict(self.__dict__))


def _restore(
    kind: type[SandboxError], args: tuple[object, ...], state: dict[str, object]
) -> SandboxError:
    # Not kind.__new__: with MemoryError among several bases, Python finds the wrong one.
    base = OSError if issubclass(kind, OSError) else Exception
    error = base.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class InvalidRequestError(SandboxError, ValueError):
    """A value from the caller was refused before anything was created."""

    code = ErrorCode.INVALID_REQUEST


class InvalidPathError(InvalidRequestError):
    """A path was refused by its spelling: empty, absolute, with ``..``, NUL or a backslash."""

    code = ErrorCode.INVALID_PATH


class EngineError(SandboxError):
    """The engine refused or failed an operation."""

    code = ErrorCode.ENGINE


class EngineUnavailableError(EngineError, ConnectionError):
    """No engine answers at the address that was resolved."""

    code = ErrorCode.ENGINE_UNAVAILABLE
    retryable = True


class EngineUnsupportedError(EngineError):
    """The engine answers but cannot give what was asked for: version, limits, runtime, platform."""

    code = ErrorCode.ENGINE_UNSUPPORTED


class EngineDiskFullError(EngineError):
    """The engine's own disk is full: nothing can be made on it until there is room again."""

    code = ErrorCode.ENGINE_DISK_FULL
    retryable = True


class ImageNotFoundError(EngineError, LookupError):
    """The image is not on the engine and was not to be pulled, or does not exist."""

    code = ErrorCode.IMAGE_NOT_FOUND


class ImagePullError(EngineError):
    """Pulling the image failed: registry, credentials, network or platform."""

    code = ErrorCode.IMAGE_PULL
    retryable = True


class ImageRefusedError(EngineError):
    """The image carries something that would weaken the session (a VOLUME, a foreign platform)."""

    code = ErrorCode.IMAGE_REFUSED


class SupervisorError(SandboxError):
    """The supervisor did not come up, or what answered is not the supervisor that we installed."""

    code = ErrorCode.SUPERVISOR


class ProtocolError(SandboxError, ConnectionError):
    """The bytes from the container break the rules of the wire. The session is not usable."""

    code = ErrorCode.PROTOCOL


class LocalProtocolError(SandboxError, RuntimeError):
    """This side was about to break the rules of the wire: a bug in fumehood or in its caller."""

    code = ErrorCode.LOCAL_PROTOCOL


class SessionError(SandboxError):
    """The session is not there, not free, or over."""

    code = ErrorCode.SESSION


class SessionNotFoundError(SessionError, LookupError):
    """No live session has this id on this engine."""

    code = ErrorCode.SESSION_NOT_FOUND


class SessionExistsError(SessionError):
    """A session with this id is already there."""

    code = ErrorCode.SESSION_EXISTS


class SessionPausedError(SessionError):
    """The session's commands stand still: none can be started before ``unpause()``."""

    code = ErrorCode.SESSION_PAUSED
    retryable = True


class WorkspaceBusyError(SessionError):
    """Another session holds this persistent workspace; only one may write to it at a time."""

    code = ErrorCode.WORKSPACE_BUSY
    retryable = True


class SnapshotNotFoundError(SessionError, LookupError):
    """There is no snapshot of this name on the engine."""

    code = ErrorCode.SNAPSHOT_NOT_FOUND


class SnapshotExistsError(SessionError):
    """A snapshot of this name is on the engine: delete it, or choose another name."""

    code = ErrorCode.SNAPSHOT_EXISTS


class SnapshotFileError(SessionError, ValueError):
    """A file holds no snapshot: it is damaged, cut short, or what it holds is refused."""

    code = ErrorCode.SNAPSHOT_FILE


class SessionEndedError(SessionError):
    """The session is over; ``reason`` says why (``"ttl"``, ``"idle"``, ``"destroyed"``, …)."""

    code = ErrorCode.SESSION_ENDED

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        op: str | None = None,
        session_id: str | None = None,
    ) -> None:
        super().__init__(message, op=op, session_id=session_id)
        self.reason = reason


class SessionLostError(SessionEndedError, ConnectionError):
    """The stream to the session broke. What was running is being ended by the supervisor."""

    code = ErrorCode.SESSION_LOST


class CommandError(SandboxError):
    """A command could not be started, or ended in a way that ``check`` does not accept."""

    code = ErrorCode.COMMAND


class CommandNotFoundError(CommandError, FileNotFoundError):
    """There is no such program in the container (never confused with exit code 127)."""

    code = ErrorCode.COMMAND_NOT_FOUND


class CommandNotExecutableError(CommandError, PermissionError):
    """The program exists but cannot be executed: mode, directory, format or interpreter."""

    code = ErrorCode.COMMAND_NOT_EXECUTABLE


class WorkingDirectoryError(CommandError, FileNotFoundError):
    """The ``cwd`` of a command does not exist or may not be entered."""

    code = ErrorCode.WORKING_DIRECTORY


class UserNotFoundError(CommandError, LookupError):
    """The ``user`` of a command is not known in the container, or is not allowed."""

    code = ErrorCode.USER_NOT_FOUND


class CommandFailedError(CommandError):
    """A checked command did not succeed; ``result`` holds everything that is known of it."""

    code = ErrorCode.COMMAND_FAILED

    def __init__(
        self,
        message: str,
        *,
        result: ExecResult,
        op: str | None = None,
        session_id: str | None = None,
    ) -> None:
        super().__init__(message, op=op, session_id=session_id)
        self.result = result


class CommandTimeoutError(CommandFailedError, TimeoutError):
    """A checked command ran out of time and was killed with everything it had started."""

    code = ErrorCode.COMMAND_TIMEOUT


class CommandOutOfMemoryError(CommandFailedError, MemoryError):
    """A checked command was killed because the session's memory was used up."""

    code = ErrorCode.COMMAND_OUT_OF_MEMORY


class ProcessError(SandboxError):
    """Something cannot be done to a managed process."""

    code = ErrorCode.PROCESS


class ProcessNotFoundError(ProcessError, LookupError):
    """The session knows no such process: the oldest of those that have ended are forgotten."""

    code = ErrorCode.PROCESS_NOT_FOUND


class ProcessExistsError(ProcessError):
    """A process of this name runs in the session."""

    code = ErrorCode.PROCESS_EXISTS


class ProcessEndedError(ProcessError):
    """The process has ended."""

    code = ErrorCode.PROCESS_ENDED


class ProcessInputClosedError(ProcessError, BrokenPipeError):
    """The process was started without standard input, or one side has closed it."""

    code = ErrorCode.PROCESS_INPUT_CLOSED


class FileError(SandboxError):
    """An operation on a file in the container failed; ``path`` names it."""

    code = ErrorCode.FILE

    def __init__(
        self,
        message: str,
        *,
        path: str,
        op: str | None = None,
        session_id: str | None = None,
    ) -> None:
        super().__init__(message, op=op, session_id=session_id)
        self.path = path


class FileMissingError(FileError, FileNotFoundError):
    """There is no file of this name."""

    code = ErrorCode.FILE_NOT_FOUND


class FilePermissionError(FileError, PermissionError):
    """The session's user may not do this to the file."""

    code = ErrorCode.FILE_PERMISSION


class FileIsDirectoryError(FileError, IsADirectoryError):
    """A file was expected and a directory found."""

    code = ErrorCode.FILE_IS_DIRECTORY


class FileNotDirectoryError(FileError, NotADirectoryError):
    """A directory was expected and something else found."""

    code = ErrorCode.FILE_NOT_DIRECTORY


class FilePresentError(FileError, FileExistsError):
    """The name is taken, or a directory to remove is not empty."""

    code = ErrorCode.FILE_EXISTS


class PathEscapesError(FileError, PermissionError):
    """The path leads out of the workspace through a symbolic link or ``..``."""

    code = ErrorCode.PATH_ESCAPES


class NotRegularFileError(FileError):
    """A device, FIFO or socket: only regular files are read and written."""

    code = ErrorCode.NOT_REGULAR_FILE


class FileTooLargeError(FileError):
    """The file is larger than ``Limits.max_file_bytes``."""

    code = ErrorCode.FILE_TOO_LARGE


class FileChangedError(FileError):
    """Somebody has written to the file since it was read: nothing was written. Read it again."""

    code = ErrorCode.FILE_CHANGED
    retryable = True


class EditError(FileError, ValueError):
    """What is to be replaced is not in the file as often as it must be: nothing was written.

    Args:
        message: as ever.
        path: the file.
        found: how often it is there.
        lines: the lines (from 1) at which it is, or at which something like it is.
        op: as ever, like ``session_id``.
        session_id: the session.
    """

    code = ErrorCode.EDIT

    def __init__(
        self,
        message: str,
        *,
        path: str,
        found: int = 0,
        lines: tuple[int, ...] = (),
        op: str | None = None,
        session_id: str | None = None,
    ) -> None:
        super().__init__(message, path=path, op=op, session_id=session_id)
        self.found = found
        self.lines = lines


class PatchError(EditError):
    """A patch does not fit, or could not be carried out.

    Args:
        message: as ever.
        path: the file.
        hunk: which hunk of that file's, from 1; None when it is no single one.
        lines: the lines at which something like it is.
        written: the files that were changed before; empty unless writing itself failed.
        op: as ever, like ``session_id``.
        session_id: the session.
    """

    code = ErrorCode.PATCH

    def __init__(
        self,
        message: str,
        *,
        path: str,
        hunk: int | None = None,
        lines: tuple[int, ...] = (),
        written: tuple[str, ...] = (),
        op: str | None = None,
        session_id: str | None = None,
    ) -> None:
        super().__init__(message, path=path, lines=lines, op=op, session_id=session_id)
        self.hunk = hunk
        self.written = written


class DiskFullError(FileError):
    """No space or no inodes are left where the file should go."""

    code = ErrorCode.DISK_FULL


class LocalFileError(SandboxError, OSError):
    """A file of this machine could not be read or written; ``path`` names it."""

    code = ErrorCode.LOCAL_FILE

    def __init__(
        self,
        message: str,
        *,
        path: str,
        op: str | None = None,
        session_id: str | None = None,
    ) -> None:
        super().__init__(message, op=op, session_id=session_id)
        self.path = path


class PortError(SandboxError):
    """A port could not be reached, or not be listened on; ``port`` is its number."""

    code = ErrorCode.PORT

    def __init__(
        self,
        message: str,
        *,
        port: int,
        op: str | None = None,
        session_id: str | None = None,
    ) -> None:
        super().__init__(message, op=op, session_id=session_id)
        self.port = port


class PortRefusedError(PortError, ConnectionRefusedError):
    """Nobody listens at this port inside the session."""

    code = ErrorCode.PORT_REFUSED


class PortResetError(PortError, ConnectionResetError):
    """The connection was cut off by the server inside, or with it."""

    code = ErrorCode.PORT_RESET


class ResourceLimitError(SandboxError):
    """A limit of the session does not allow one more (processes, memory, concurrent operations)."""

    code = ErrorCode.RESOURCE_LIMIT
    retryable = True


class OperationTimeoutError(SandboxError, TimeoutError):
    """An operation other than a command did not end within its deadline."""

    code = ErrorCode.OPERATION_TIMEOUT
    retryable = True
