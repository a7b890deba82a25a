"""Deep Agents (LangChain): a backend whose commands and files are a session's.

::

    from deepagents import create_deep_agent
    from fumehood import DockerSandbox
    from fumehood.adapters.deepagents import FumehoodBackend

    with DockerSandbox(image="python:3.13-slim") as sandbox, sandbox.create_session() as session:
        agent = create_deep_agent(model="claude-opus-5-5", backend=FumehoodBackend(session))
        agent.invoke({"messages": [("user", "Which Python is this?")]})

Files are read, written and searched by the session itself: the image needs no Python, and only
``execute`` needs its ``/bin/sh``.
"""

from __future__ import annotations

import errno
import posixpath
from typing import Literal

from deepagents.backends.protocol import (
    FILE_NOT_FOUND,
    INVALID_PATH,
    IS_DIRECTORY,
    PERMISSION_DENIED,
    DeleteResult,
    EditResult,
    ExecuteResponse,
    FileDownloadResponse,
    FileInfo,
    FileUploadResponse,
    GlobResult,
    GrepResult,
    LsResult,
    ReadResult,
    WriteResult,
)
from deepagents.backends.sandbox import BaseSandbox
from deepagents.backends.utils import InvalidGlobPatternError

from fumehood._sync.session import Session
from fumehood.adapters import _deepagents_read, _deepagents_search, _paths
from fumehood.adapters._both_ways import BothWays
from fumehood.adapters._joined import joined
from fumehood.errors import (
    CommandError,
    EditError,
    FileError,
    FileIsDirectoryError,
    FileMissingError,
    FileNotDirectoryError,
    FilePermissionError,
    InvalidPathError,
    InvalidRequestError,
    OperationTimeoutError,
    PathEscapesError,
    ResourceLimitError,
    SandboxError,
)
from fumehood.results import FileEntry
from fumehood.session import AsyncSession

TIMED_OUT, NOT_STARTED = 124, 126
# A file's problem, which the model is told of. That a session is over is none, and is raised.
_REFUSED = (FileError, InvalidRequestError, OperationTimeoutError)


class FumehoodBackend(BaseSandbox):
    """A sandbox backend: one session, with its own ways to read, write and search files.

    Paths are the container's own; a relative one begins in the workspace. The framework never ends
    the session. What is wrong with a path or a command is told in the result, for the model;
    :class:`SessionEndedError` is raised.

    Args:
        session: a ``Session`` serves ``invoke`` and ``ainvoke``, from any thread and event loop. An
            ``AsyncSession`` serves ``ainvoke``, on the loop that it was made on. Cancelling an
            awaited command kills it with everything it has started.
    """

    def __init__(self, session: Session | AsyncSession) -> None:
        self._ways = BothWays(session)
        self._session = self._ways.session

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    @property
    def id(self) -> str:
        """The session's id."""
        return self._session.id

    # --- commands -----------------------------------------------------------------------------

    def execute(self, command: str, *, timeout: int | None = None) -> ExecuteResponse:
        """Run a line of shell; see :meth:`aexecute`."""
        return self._ways.wait(lambda: self._execute(command, timeout))

    async def aexecute(self, command: str, *, timeout: int | None = None) -> ExecuteResponse:
        """Run a line of shell, both of its streams as one.

        Args:
            command: for the image's ``/bin/sh``.
            timeout: seconds; None is ``Limits.timeout``, and 0 no limit. A command that runs out of
                time is killed with everything it has started and has the exit code 124; what it
                wrote until then is there.
        """
        return await self._ways.run(lambda: self._execute(command, timeout))

    async def _execute(self, command: str, timeout: int | None) -> ExecuteResponse:
        # The streams are joined before the command starts, so that they are in order.
        argv = joined(command)
        limit = ... if timeout is None else timeout or None
        try:
            result = await self._session.exec(argv, timeout=limit)
        except (CommandError, InvalidRequestError, ResourceLimitError) as exc:
            return ExecuteResponse(
                output=f"the command was not started: {exc}\n", exit_code=NOT_STARTED
            )
        output = result.stdout + result.stderr
        if result.timed_out:
            said = f"the command was killed after {result.duration:.1f} s\n"
            return ExecuteResponse(
                output=f"{output}\n{said}" if output else said,
                exit_code=TIMED_OUT,
                truncated=result.stdout_truncated,
            )
        return ExecuteResponse(
            output=output, exit_code=result.exit_code, truncated=result.stdout_truncated
        )

    # --- reading ------------------------------------------------------------------------------

    def ls(self, path: str) -> LsResult:
        """List a directory, sorted by name; links are shown and not followed."""
        return self._ways.wait(lambda: self._ls(path))

    async def als(self, path: str) -> LsResult:
        """As :meth:`ls`."""
        return await self._ways.run(lambda: self._ls(path))

    async def _ls(self, path: str) -> LsResult:
        try:
            entries = await self._session.list_files(self._path(path), root="/")
        except _REFUSED as exc:
            return LsResult(error=_of(path, exc))
        return LsResult(
            entries=[_info(posixpath.join(path, entry.name), entry) for entry in entries]
        )

    def read(self, file_path: str, offset: int = 0, limit: int = 2000) -> ReadResult:
        """Return some lines of a text file of any size, at most 500 KiB, or a small binary file.

        A file is binary by its suffix, where the framework shows it as an image or the like, or
        when it does not begin with UTF-8.
        """
        return self._ways.wait(lambda: self._read(file_path, offset, limit))

    async def aread(self, file_path: str, offset: int = 0, limit: int = 2000) -> ReadResult:
        """As :meth:`read`."""
        return await self._ways.run(lambda: self._read(file_path, offset, limit))

    async def _read(self, file_path: str, offset: int, limit: int) -> ReadResult:
        try:
            return await _deepagents_read.read(self._session, self._path(file_path), offset, limit)
        except _REFUSED as exc:
            return ReadResult(error=f"File '{file_path}': {_code(exc)}")

    def download_files(self, paths: list[str]) -> list[FileDownloadResponse]:
        """Return whole files of at most ``Limits.max_file_bytes`` each."""
        return self._ways.wait(lambda: self._download(paths))

    async def adownload_files(self, paths: list[str]) -> list[FileDownloadResponse]:
        """As :meth:`download_files`."""
        return await self._ways.run(lambda: self._download(paths))

    async def _download(self, paths: list[str]) -> list[FileDownloadResponse]:
        answers: list[FileDownloadResponse] = []
        for path in paths:
            try:
                content = await self._session.read_file(_absolute(path), root="/")
            except _REFUSED as exc:
                answers.append(FileDownloadResponse(path=path, error=_code(exc)))
            else:
                answers.append(FileDownloadResponse(path=path, content=content))
        return answers

    # --- searching ----------------------------------------------------------------------------

    def grep(
        self,
        pattern: str,
        path: str | None = None,
        glob: str | None = None,
        *,
        max_count: int | None = None,
    ) -> GrepResult:
        """Search text files for a string, without their ``grep_exclude_dirs``; see ``search``.

        Of a line longer than 4096 bytes there is so much around the match.
        """
        return self._ways.wait(lambda: self._grep(pattern, path, glob, max_count))

    async def agrep(
        self,
        pattern: str,
        path: str | None = None,
        glob: str | None = None,
        *,
        max_count: int | None = None,
    ) -> GrepResult:
        """As :meth:`grep`."""
        return await self._ways.run(lambda: self._grep(pattern, path, glob, max_count))

    async def _grep(
        self, pattern: str, path: str | None, glob: str | None, max_count: int | None
    ) -> GrepResult:
        try:
            return await _deepagents_search.grep(
                self._session,
                pattern,
                self._path(path or "."),
                glob,
                max_count=max_count,
                exclude=self.grep_exclude_dirs,
            )
        except (*_REFUSED, InvalidGlobPatternError) as exc:
            return GrepResult(error=_of(path or ".", exc))

    def glob(self, pattern: str, path: str | None = None) -> GlobResult:
        """Return the regular files whose path matches, and links to such, with absolute paths.

        Directories that may not be read are passed over, and the result says so.
        """
        return self._ways.wait(lambda: self._glob(pattern, path))

    async def aglob(self, pattern: str, path: str | None = None) -> GlobResult:
        """As :meth:`glob`."""
        return await self._ways.run(lambda: self._glob(pattern, path))

    async def _glob(self, pattern: str, path: str | None) -> GlobResult:
        try:
            found, whole = await _deepagents_search.glob(
                self._session, pattern, self._path(path or "/")
            )
        except (*_REFUSED, InvalidGlobPatternError) as exc:
            return GlobResult(error=_of(path or "/", exc))
        return GlobResult(
            matches=[_info(entry.path, entry) for entry in found],
            truncated=not whole,
            truncation_reason=None if whole else "unreadable",
        )

    # --- writing ------------------------------------------------------------------------------

    def write(self, file_path: str, content: str) -> WriteResult:
        """Write a file whole, making its parents; a link is written through."""
        return self._ways.wait(lambda: self._write(file_path, content))

    async def awrite(self, file_path: str, content: str) -> WriteResult:
        """As :meth:`write`."""
        return await self._ways.run(lambda: self._write(file_path, content))

    async def _write(self, file_path: str, content: str) -> WriteResult:
        try:
            await self._put(self._path(file_path), content)
        except _REFUSED as exc:
            return WriteResult(error=f"Failed to write file '{file_path}': {_code(exc)}")
        return WriteResult(path=file_path)

    async def _put(self, path: str, content: str | bytes) -> None:
        await self._session.write_file(await self._through(path), content, root="/")

    def upload_files(self, files: list[tuple[str, bytes]]) -> list[FileUploadResponse]:
        """Write whole files, making their parents; what fails does not keep back the others."""
        return self._ways.wait(lambda: self._upload(files))

    async def aupload_files(self, files: list[tuple[str, bytes]]) -> list[FileUploadResponse]:
        """As :meth:`upload_files`."""
        return await self._ways.run(lambda: self._upload(files))

    async def _upload(self, files: list[tuple[str, bytes]]) -> list[FileUploadResponse]:
        answers: list[FileUploadResponse] = []
        for path, content in files:
            try:
                await self._put(_absolute(path), content)
            except _REFUSED as exc:
                answers.append(FileUploadResponse(path=path, error=_code(exc)))
            else:
                answers.append(FileUploadResponse(path=path))
        return answers

    def edit(
        self, file_path: str, old_string: str, new_string: str, replace_all: bool = False
    ) -> EditResult:
        r"""Replace a text that stands in a file exactly once, or with ``replace_all`` as often.

        Where it is not found as it stands, ``\r\n`` and ``\n`` may stand for each other.
        """
        return self._ways.wait(lambda: self._edit(file_path, old_string, new_string, replace_all))

    async def aedit(
        self, file_path: str, old_string: str, new_string: str, replace_all: bool = False
    ) -> EditResult:
        """As :meth:`edit`."""
        return await self._ways.run(
            lambda: self._edit(file_path, old_string, new_string, replace_all)
        )

    async def _edit(self, file_path: str, old: str, new: str, replace_all: bool) -> EditResult:
        try:
            path = await self._through(self._path(file_path))
            return EditResult(
                path=file_path, occurrences=await self._replace(path, old, new, replace_all)
            )
        except EditError as exc:
            if exc.found > 1:
                return EditResult(
                    error=f"Error: the string is there multiple times ({exc.found}) in "
                    f"'{file_path}': give more of the text around it, or replace_all=True"
                )
            return EditResult(error=f"Error: string not found in '{file_path}': {exc}")
        except FileMissingError:
            return EditResult(error=f"Error: File '{file_path}' not found")
        except _REFUSED as exc:
            return EditResult(error=f"Error editing file '{file_path}': {_code(exc)}")

    async def _replace(self, path: str, old: str, new: str, replace_all: bool) -> int:
        count: int | Literal["all"] = "all" if replace_all else 1
        try:
            return await self._session.replace(path, old, new, count=count, root="/")
        except EditError as exc:
            # What `read` has shown may have had other line ends in the file.
            plain = old.replace("\r\n", "\n")
            other = plain if plain != old else old.replace("\n", "\r\n")
            if exc.found or other == old:
                raise
            ends = "\n" if other == plain else "\r\n"
            replacement = new.replace("\r\n", "\n").replace("\n", ends)
            return await self._session.replace(path, other, replacement, count=count, root="/")

    def delete(self, file_path: str) -> DeleteResult:
        """Remove a file, a link itself, or a directory with all that is in it."""
        return self._ways.wait(lambda: self._delete(file_path))

    async def adelete(self, file_path: str) -> DeleteResult:
        """As :meth:`delete`."""
        return await self._ways.run(lambda: self._delete(file_path))

    async def _delete(self, file_path: str) -> DeleteResult:
        try:
            await self._session.remove(self._path(file_path), recursive=True, root="/")
        except (FileMissingError, FileNotDirectoryError):
            return DeleteResult(error=f"Error: '{file_path}' not found")
        except _REFUSED as exc:
            return DeleteResult(error=f"Error deleting file '{file_path}': {_code(exc)}")
        return DeleteResult(path=file_path)

    # --- paths --------------------------------------------------------------------------------

    def _path(self, path: str) -> str:
        return _paths.on_root(self._session.workdir, path)

    async def _through(self, path: str) -> str:
        """Return what is written when a path is written to: links lead on."""
        try:
            return await _paths.realpath(self._session, path)
        except OSError as exc:
            if exc.errno != errno.ELOOP:
                raise
            raise InvalidPathError(f"{path}: {exc.strerror}") from exc


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise InvalidPathError(f"{path!r} is not absolute")
    return _paths.on_root("/", path)


def _code(error: Exception) -> str:
    """Return the framework's word for what is wrong with a file, or ours where it has none."""
    codes: dict[type[SandboxError], str] = {
        FileMissingError: FILE_NOT_FOUND,
        FilePermissionError: PERMISSION_DENIED,
        PathEscapesError: PERMISSION_DENIED,
        FileIsDirectoryError: IS_DIRECTORY,
        FileNotDirectoryError: INVALID_PATH,
        InvalidPathError: INVALID_PATH,
    }
    return next((code for kind, code in codes.items() if isinstance(error, kind)), str(error))


def _of(path: str, error: Exception) -> str:
    return f"Path '{path}': {_code(error)}"


def _info(path: str, entry: FileEntry) -> FileInfo:
    return FileInfo(
        path=path,
        is_dir=entry.type == "directory",
        size=entry.size,
        modified_at=entry.modified.isoformat(),
    )
