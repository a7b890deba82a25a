"""What the supervisor reports, as the errors that a caller catches. The only place that does it."""

from __future__ import annotations

import os

from fumehood._wire.messages import End, Fail
from fumehood._wire.table import ErrorCode as Code
from fumehood.errors import (
    CommandError,
    CommandNotExecutableError,
    CommandNotFoundError,
    DiskFullError,
    FileChangedError,
    FileError,
    FileIsDirectoryError,
    FileMissingError,
    FileNotDirectoryError,
    FilePermissionError,
    FilePresentError,
    FileTooLargeError,
    InvalidRequestError,
    NotRegularFileError,
    OperationTimeoutError,
    PathEscapesError,
    PortError,
    PortRefusedError,
    PortResetError,
    ProcessEndedError,
    ProcessError,
    ProcessExistsError,
    ProcessInputClosedError,
    ProcessNotFoundError,
    ResourceLimitError,
    SandboxError,
    SessionPausedError,
    SupervisorError,
    UserNotFoundError,
    WorkingDirectoryError,
)
from fumehood.text import printable

_FILE_ERRORS: dict[Code, tuple[type[FileError], str]] = {
    Code.NOT_FOUND: (FileMissingError, "there is no such file"),
    Code.PERMISSION: (FilePermissionError, "the session's user may not do this"),
    Code.READ_ONLY: (FilePermissionError, "the file system is read-only"),
    Code.IS_DIRECTORY: (FileIsDirectoryError, "it is a directory"),
    Code.NOT_DIRECTORY: (FileNotDirectoryError, "it, or a part of it, is not a directory"),
    Code.EXISTS: (FilePresentError, "the name is taken"),
    Code.NOT_EMPTY: (
        FilePresentError,
        "the directory is not empty (recursive=True removes a tree)",
    ),
    Code.ESCAPES: (PathEscapesError, "it leads out of the workspace"),
    Code.NOT_REGULAR: (NotRegularFileError, "it is not a regular file"),
    Code.TOO_LARGE: (FileTooLargeError, "it is larger than the limit"),
    Code.NO_SPACE: (DiskFullError, "no space or no inodes are left"),
    Code.NAME_TOO_LONG: (FileError, "a name in it is too long"),
    Code.TOO_MANY_LINKS: (PathEscapesError, "it goes through too many symbolic links"),
    Code.CHANGED: (FileChangedError, "somebody has written to it meanwhile; read it again"),
    Code.TOO_MANY_ENTRIES: (FileError, "there are more entries than the limit"),
    Code.BUSY: (FileError, "it is in use: a mount, a lease, or names that change all the time"),
}

_RESOURCES: dict[Code, str] = {
    Code.PROCESS_LIMIT: "no further process can be started: the session's pids limit is reached "
    "(Limits.pids)",
    Code.OUT_OF_MEMORY: "the session's memory is used up (Limits.memory_mb)",
    Code.TOO_MANY_PROCESSES: "as many processes run as may (Limits.max_processes): stop one first",
    Code.TOO_MANY_CHANNELS: "too many operations are under way at once in this session",
    Code.BUSY: "the supervisor is busy",
    Code.WATCH_LIMIT: "no more directories can be watched: more are there than max_directories, or "
    "the engine's kernel lets this user watch no more (fs.inotify.max_user_watches, "
    "max_user_instances); ignore some of them, or watch fewer",
    Code.TERMINAL_LIMIT: "no terminal is left: the engine's kernel counts them for all containers "
    "(kernel.pty.max)",
}

_USERS: dict[Code, str] = {
    Code.USER_NOT_FOUND: "is not known in the container",
    Code.USER_REFUSED: "is refused: it would be the supervisor's own id",
}

_PROCESSES: dict[Code, tuple[type[ProcessError], str]] = {
    Code.NO_PROCESS: (
        ProcessNotFoundError,
        "the session knows no such process; of those that have ended, the oldest are forgotten",
    ),
    Code.NAME_TAKEN: (ProcessExistsError, "a process of this name runs in the session"),
    Code.PROCESS_ENDED: (ProcessEndedError, "it has ended"),
    Code.INPUT_CLOSED: (
        ProcessInputClosedError,
        "its standard input is closed, or was never open (start_process(…, stdin=True))",
    ),
}

_REFUSALS: dict[Code, str] = {
    Code.INVALID: "the request is not valid",
    Code.ARGUMENT_TOO_LONG: "the arguments and environment are longer than the kernel takes "
    "(128 KiB each, about 2 MiB together)",
    Code.UNSUPPORTED: "the supervisor of this session cannot do it",
    Code.NO_TERMINAL: "no terminal can be made in this container: /dev/pts is not there, or closed",
}


def _cause(fail: Fail) -> str:
    parts = [f"step {fail.step}"] if fail.step else []
    if fail.errno:
        parts.append(os.strerror(fail.errno))
    if fail.message:
        parts.append(fail.message)
    return printable(f" ({', '.join(parts)})") if parts else ""


def _common(fail: Fail, what: str, op: str, session_id: str) -> SandboxError:
    if fail.error in _RESOURCES:
        return ResourceLimitError(f"{what}: {_RESOURCES[fail.error]}", op=op, session_id=session_id)
    if fail.error is Code.PAUSED:
        return SessionPausedError(
            f"{what}: session {session_id} is paused; session.unpause() lets its commands go on",
            op=op,
            session_id=session_id,
        )
    if fail.error is Code.HELPER_TIMEOUT:
        return OperationTimeoutError(
            f"{what}: no progress for too long, so it was ended", op=op, session_id=session_id
        )
    if fail.error in _REFUSALS:
        reason = _REFUSALS[fail.error]
        return InvalidRequestError(f"{what}: {reason}{_cause(fail)}", op=op, session_id=session_id)
    return SandboxError(f"{what} failed{_cause(fail)}", op=op, session_id=session_id)


def request_failure(fail: Fail, *, op: str, session_id: str) -> SandboxError:
    """Return the error for an operation on the session itself."""
    return _common(fail, op, op, session_id)


def setup_failure(error: SupervisorError, end: End | None, *, user: str) -> SandboxError:
    """Return the error for a session that did not come up: by what its supervisor said last."""
    if end is None or end.error is None or end.error not in _USERS:
        return error
    return UserNotFoundError(
        f"user {user!r} {_USERS[end.error]}", op="create_session", session_id=error.session_id
    )


def file_failure(fail: Fail, *, op: str, path: str, session_id: str) -> SandboxError:
    """Return the error for a failed operation on a file."""
    if fail.error not in _FILE_ERRORS:
        if fail.error in (Code.IO, Code.HELPER_DIED, Code.CANCELLED):
            return FileError(
                f"{op} {path!r} failed: {fail.error.name.lower()}{_cause(fail)}",
                path=path,
                op=op,
                session_id=session_id,
            )
        return _common(fail, f"{op} {path!r}", op, session_id)
    kind, text = _FILE_ERRORS[fail.error]
    if fail.error is Code.TOO_LARGE and fail.size is not None:
        text += f": {fail.size} bytes (Limits.max_file_bytes; read_file_stream has no limit)"
    return kind(f"{op} {path!r}: {text}", path=path, op=op, session_id=session_id)


def port_failure(fail: Fail, *, op: str, port: int, session_id: str) -> SandboxError:
    """Return the error for a connection to a port inside that failed or broke."""
    if fail.error is Code.CONNECTION_REFUSED:
        return PortRefusedError(
            f"nobody listens at port {port} in session {session_id} "
            "(session.wait_for_port waits for a server)",
            port=port,
            op=op,
            session_id=session_id,
        )
    if fail.error is Code.CONNECTION_RESET:
        return PortResetError(
            f"the connection to port {port} was cut off by its other end",
            port=port,
            op=op,
            session_id=session_id,
        )
    if fail.error is Code.TIMED_OUT:
        return OperationTimeoutError(
            f"no server answered at port {port} in time", op=op, session_id=session_id
        )
    if fail.error in (Code.IO, Code.CANCELLED):
        return PortError(
            f"port {port}: {fail.error.name.lower()}{_cause(fail)}",
            port=port,
            op=op,
            session_id=session_id,
        )
    return _common(fail, f"{op} {port}", op, session_id)


def process_failure(
    fail: Fail, *, op: str, process: str, session_id: str, since: int | None = None
) -> SandboxError:
    """Return the error for a failed operation on a managed process."""
    what = f"{op} of process {process}"
    if fail.error is Code.INVALID and fail.step == "offset":
        return InvalidRequestError(
            f"{what}: since={since} is beyond what it has written so far; "
            "what was read last says where it ended",
            op=op,
            session_id=session_id,
        )
    if fail.error in _PROCESSES:
        kind, text = _PROCESSES[fail.error]
        return kind(f"{what}: {text}", op=op, session_id=session_id)
    return _common(fail, what, op, session_id)


def exec_failure(
    fail: Fail,
    *,
    argv: tuple[str, ...],
    cwd: str,
    user: str | None,
    session_id: str,
    op: str = "exec",
) -> SandboxError:
    """Return the error for a command that could not be started."""
    program = argv[0] if argv else "/bin/sh"
    if fail.error is Code.PROGRAM_NOT_FOUND:
        hint = "; this image has no shell: name a program" if program == "/bin/sh" else ""
        return CommandNotFoundError(
            f"there is no program {program!r} in the container{hint}",
            op=op,
            session_id=session_id,
        )
    if fail.error is Code.PROGRAM_NOT_EXECUTABLE:
        return CommandNotExecutableError(
            f"{program!r} cannot be executed{_cause(fail)}", op=op, session_id=session_id
        )
    if fail.error is Code.CWD:
        return WorkingDirectoryError(
            f"cwd {cwd!r} cannot be entered{_cause(fail)}", op=op, session_id=session_id
        )
    if fail.error in _USERS:
        return UserNotFoundError(
            f"user {user!r} {_USERS[fail.error]}", op=op, session_id=session_id
        )
    error = _common(fail, f"{op} {program!r}", op, session_id)
    if type(error) is SandboxError:
        return CommandError(error.message, op=op, session_id=session_id)
    return error
