"""Editing a session's files: exactly what was meant, whole files at a time, or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fumehood import paths
from fumehood._checks import whole
from fumehood._core import FileRoot, SessionCore, SessionPart, locate
from fumehood._edit import Miss, replace_text
from fumehood._patch import MAX_PATCH, FilePatch, MisfitError, apply_hunks, parse_patch
from fumehood._transfer import records, send_file, transact
from fumehood._wire.records import Entry
from fumehood._wire.requests import file_request
from fumehood._wire.table import Operation, Root
from fumehood.errors import (
    EditError,
    FileChangedError,
    FileMissingError,
    FileNotDirectoryError,
    InvalidRequestError,
    PatchError,
    SandboxError,
)
from fumehood.text import brief, encode

_ABSENT_NS = (1 << 64) - 1  # protocol/wire.toml, write: it must not be there
_NEW_MODE = 0o644
Action = Literal["created", "modified", "deleted", "renamed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchedFile:
    """What a patch has done to one file."""

    path: str
    action: Action
    hunks: int
    """How many were applied."""
    old_path: str | None = None
    """Of a file that was renamed."""


@dataclass(slots=True)
class _Staged:
    """A file as it is, and as it is to be."""

    name: str
    raw: bytes
    where: Root
    seen: Entry | None
    """None: there was none."""
    before: bytes
    after: bytes | None
    """None: it is to go."""
    mode: int


class EditsPart(SessionPart):
    """Editing the files of a session."""

    async def replace(
        self,
        path: str,
        old: str,
        new: str,
        *,
        count: int | Literal["all"] = 1,
        root: FileRoot = None,
    ) -> int:
        r"""Replace a text in a file where it stands exactly as given; return how often it did.

        The file is read, changed and put in its place whole, with its mode: readers see the old one
        or the new. When somebody writes to it meanwhile, nothing is changed. In a file whose lines
        all end with ``\r\n``, ``\n`` in ``old`` and ``new`` stands for that. Cancelled, the old
        file is in place or the new one.

        Args:
            path: a regular file of at most ``Limits.max_file_bytes``.
            old: the text; not empty. Its bytes are compared as UTF-8, nothing is normalised.
            new: what takes its place.
            count: how often ``old`` must be there; ``"all"``: once or more often.
            root: ``"/"`` for a path on the container's whole file system.

        Raises:
            EditError: ``old`` is not there so often; ``found`` says how often, ``lines`` where, or
                where something is that differs in white space only.
            FileChangedError: somebody else has written to the file meanwhile.
            FileMissingError, FilePermissionError, …: as of :meth:`FilesPart.read_file`.
        """
        if not isinstance(old, str) or not isinstance(new, str) or not old:
            raise InvalidRequestError("old and new must be strings, and old not empty")
        wanted = None
        if count != "all":
            wanted = whole(count, "count", minimum=1, maximum=1 << 31)
        raw_old, raw_new = encode(old, "old"), encode(new, "new")
        staged = await _read(self._core, path, root, "replace")
        outcome = replace_text(staged.before, raw_old, raw_new, wanted)
        if isinstance(outcome, Miss):
            raise _edit_error(self._core, staged.name, old, outcome)
        staged.after, found = outcome
        await _write(self._core, staged, "replace")
        return found

    async def apply_patch(
        self, patch: str | bytes, *, path: str = ".", root: FileRoot = None
    ) -> tuple[PatchedFile, ...]:
        """Apply a unified diff of any number of files, as ``diff -u`` and ``git diff`` write it.

        All of it is checked first: where one hunk does not fit, nothing is written. Then each file
        is put in its place whole, with its mode and line ends, unless somebody has written to it
        since it was read. All lines of a hunk must stand in the file exactly, where the hunk says
        or at one other place only. New files must not be there; one that is deleted must hold
        what the patch takes away, and nothing else. Cancelled, each file is as before or patched.

        Args:
            patch: the text of the diff, at most 64 MiB. Names lose a leading ``a/`` or ``b/``.
            path: the directory that its names are relative to.
            root: ``"/"`` for a path on the container's whole file system.

        Raises:
            InvalidRequestError: it is no patch, or one of copies, binary files or modes alone.
            PatchError: it does not fit: ``path`` and ``hunk`` say where. Also when writing failed
                in the middle: ``written`` says which files have changed.
            FileMissingError, …: as of :meth:`FilesPart.read_file`, before anything is written.
        """
        if not isinstance(patch, (str, bytes)):
            raise InvalidRequestError(f"patch must be str or bytes, not {type(patch).__name__}")
        data = encode(patch, "patch") if isinstance(patch, str) else patch
        if len(data) > MAX_PATCH:
            raise InvalidRequestError(f"a patch of {len(data)} bytes; at most {MAX_PATCH}")
        locate(path, root, allow_root=True)
        base = "" if path == "." else path.rstrip("/") + "/"
        staged: dict[str, _Staged] = {}
        files = parse_patch(data)
        for file in files:
            for name in (file.source, file.target):
                if name is not None:
                    paths.relative(name)
        done = [await _stage(self._core, file, base, root, staged) for file in files]
        await _write_all(self._core, list(staged.values()))
        return tuple(done)


def _edit_error(core: SessionCore, name: str, old: str, miss: Miss) -> EditError:
    where = ", ".join(map(str, miss.lines))
    if miss.found:
        hint = f" (lines {where}): give more of the text around it, or count="
    elif miss.lines:
        hint = f"; see lines {where}, which differ in white space only or begin alike"
    else:
        hint = ""
    return EditError(
        f"replace {name!r}: {brief(old)}: {miss.reason}{hint}",
        path=name,
        found=miss.found,
        lines=miss.lines,
        op="replace",
        session_id=core.id,
    )


# --- one file -------------------------------------------------------------------------------------


async def _look(core: SessionCore, name: str, raw: bytes, where: Root, op: str) -> Entry | None:
    request = file_request(Operation.STAT, raw, where, follow=1)
    try:
        entries = await records(core, request, op, name, most=1)
    except (FileMissingError, FileNotDirectoryError):
        return None
    return entries[0] if entries else None


async def _read(core: SessionCore, path: str, root: FileRoot, op: str) -> _Staged:
    """Look at a file, then read it: what changes in between is found out at the end."""
    name, raw, where = locate(path, root)
    seen = await _look(core, name, raw, where, op)
    request = file_request(Operation.READ, raw, where, offset=0, limit=core.limits.max_file_bytes)
    before = await transact(core, request, op, name)
    mode = _NEW_MODE if seen is None else seen.mode & 0o777
    return _Staged(name, raw, where, seen, before, before, mode)


async def _write(core: SessionCore, staged: _Staged, op: str) -> None:
    assert staged.after is not None
    seen = staged.seen
    request = file_request(
        Operation.WRITE,
        staged.raw,
        staged.where,
        limit=core.limits.max_file_bytes,
        mode=staged.mode,
        parents=1,
        size=0 if seen is None else seen.size,
        modified_ns=_ABSENT_NS if seen is None else seen.modified_ns,
    )
    await send_file(core, request, staged.after, op, staged.name)


async def _remove(core: SessionCore, staged: _Staged) -> None:
    now = await _look(core, staged.name, staged.raw, staged.where, "apply_patch")
    seen = staged.seen
    if now is None or seen is None or (now.size, now.modified_ns) != (seen.size, seen.modified_ns):
        raise FileChangedError(
            f"apply_patch {staged.name!r}: somebody has changed it meanwhile",
            path=staged.name,
            op="apply_patch",
            session_id=core.id,
        )
    request = file_request(Operation.REMOVE, staged.raw, staged.where, recursive=0)
    await transact(core, request, "apply_patch", staged.name)


# --- a patch --------------------------------------------------------------------------------------


async def _stage(
    core: SessionCore, file: FilePatch, base: str, root: FileRoot, staged: dict[str, _Staged]
) -> PatchedFile:
    """Work out what becomes of one file, without writing anything."""
    source = await _source(core, file, base, root, staged)
    try:
        after = apply_hunks(source.after or b"", file.hunks)
    except MisfitError as misfit:
        raise _patch_error(
            core, source.name, misfit.reason, hunk=misfit.hunk, lines=misfit.lines
        ) from None
    if file.mode is not None:
        if file.source == file.target and file.mode != source.mode:
            raise _patch_error(
                core, source.name, "the mode of a file that stays is not changed here"
            )
        source.mode = file.mode
    old_path = None
    action: Action = "modified"
    target = source
    if file.target is None:
        action = "deleted"
        if after:
            raise _patch_error(core, source.name, "it would not be empty, so it is not deleted")
        source.after = None
    elif file.source is None:
        action = "created"
        source.after = after
    elif file.source != file.target:
        action, old_path = "renamed", source.name
        target = await _absent(core, base + file.target, root, staged)
        target.after, target.mode = after, source.mode
        source.after = None
    else:
        source.after = after
    return PatchedFile(path=target.name, action=action, hunks=len(file.hunks), old_path=old_path)


async def _source(
    core: SessionCore, file: FilePatch, base: str, root: FileRoot, staged: dict[str, _Staged]
) -> _Staged:
    if file.source is None:
        assert file.target is not None
        return await _absent(core, base + file.target, root, staged)
    name, _, _ = locate(base + file.source, root)
    known = staged.get(name)
    if known is None:
        known = staged[name] = await _read(core, base + file.source, root, "apply_patch")
    if known.after is None:
        raise _patch_error(core, name, "the patch has taken it away before")
    return known


async def _absent(
    core: SessionCore, path: str, root: FileRoot, staged: dict[str, _Staged]
) -> _Staged:
    name, raw, where = locate(path, root)
    known = staged.get(name)
    if known is not None and known.after is None:
        known.after = b""
        return known
    if known is not None or await _look(core, name, raw, where, "apply_patch") is not None:
        raise _patch_error(core, name, "it is to be created, and it is there")
    staged[name] = _Staged(name, raw, where, None, b"", b"", _NEW_MODE)
    return staged[name]


async def _write_all(core: SessionCore, files: list[_Staged]) -> None:
    """Write what was worked out: what is new first, so that nothing is lost when it ends early."""
    written: list[str] = []
    for file in sorted(files, key=lambda item: item.after is None):
        try:
            if file.after is not None:
                await _write(core, file, "apply_patch")
            elif file.seen is not None:
                await _remove(core, file)
        except SandboxError as exc:
            if isinstance(exc, FileChangedError) and not written:
                raise
            raise _patch_error(
                core,
                file.name,
                f"{exc.message}; changed before: {', '.join(written) or 'nothing'}",
                written=tuple(written),
            ) from exc
        written.append(file.name)


def _patch_error(
    core: SessionCore,
    name: str,
    reason: str,
    *,
    hunk: int | None = None,
    lines: tuple[int, ...] = (),
    written: tuple[str, ...] = (),
) -> PatchError:
    which = f", hunk {hunk}" if hunk is not None else ""
    return PatchError(
        f"apply_patch {name!r}{which}: {reason}",
        path=name,
        hunk=hunk,
        lines=lines,
        written=written,
        op="apply_patch",
        session_id=core.id,
    )
