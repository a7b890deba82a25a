"""The tools for files: pages, whole files, edits, directories."""

from __future__ import annotations

import posixpath

from fumehood._edit import OVERLAP, Miss, replace_text
from fumehood.errors import EditError
from fumehood.tools.arguments import EditFile, ListFiles, ReadFile, WriteFile
from fumehood.tools.call import Call
from fumehood.tools.real_paths import TooManyLinksError, beneath, real_path
from fumehood.tools.results import FileChanged, FileList, FilePage, Listed, Refused


async def read_file(call: Call, asked: ReadFile) -> tuple[FilePage, str]:
    """Read a page of a file."""
    rules = call.rules
    path = call.place(asked.path)
    most = rules.max_lines if asked.max_lines is None else min(asked.max_lines, rules.max_lines)
    page = await call.session.read_text_file_page(
        path,
        start_line=asked.start_line,
        max_lines=most,
        max_bytes=rules.max_bytes,
        root=call.policy.root,
    )
    value = FilePage(
        path=path,
        text=page.text,
        start_line=page.start_line,
        end_line=page.end_line,
        next_start_line=page.next_start_line,
    )
    if page.end_line < page.start_line:
        what = "is empty" if page.start_line == 1 else f"has no line {page.start_line}"
        return value, f"{path} {what}"
    more = page.next_start_line
    rest = "end of file" if more is None else f"more: start_line={more}"
    cut = "; this line is longer than a page, and cut" if page.cut else ""
    head = f"{path}: lines {page.start_line}-{page.end_line} ({rest}{cut})"
    return value, f"{head}\n{page.text}"


async def write_file(call: Call, asked: WriteFile) -> tuple[FileChanged, str]:
    """Write a whole file."""
    path = call.place(asked.path)
    data = checked(call, asked.content.encode("utf-8", "surrogatepass"))
    await writable(call, path)
    await call.approve(f"write {path}: {len(data)} bytes")
    await call.session.write_file(path, data, root=call.policy.root)
    return FileChanged(path=path, bytes=len(data)), f"wrote {path}: {len(data)} bytes"


async def edit_file(call: Call, asked: EditFile) -> tuple[FileChanged, str]:
    """Replace a text in a file. Line ends and everything else stay as they are."""
    path, root = call.place(asked.path), call.policy.root
    await writable(call, path)
    # What it would come to, before anybody is asked; the session does it, and does not where
    # somebody else has written meanwhile.
    raw = await call.session.read_file(path, root=root)
    old, new = asked.old_text.encode(), asked.new_text.encode()
    outcome = replace_text(raw, old, new, None if asked.replace_all else 1)
    if isinstance(outcome, Miss):
        raise _missed(path, outcome)
    size, count = len(checked(call, outcome[0])), outcome[1]
    await call.approve(f"edit {path}: {count} replacements")
    try:
        await call.session.replace(path, asked.old_text, asked.new_text, count=count, root=root)
    except EditError as exc:
        raise _missed(path, Miss(exc.found, exc.lines, "the file has changed")) from None
    times = "once" if count == 1 else f"{count} times"
    return (
        FileChanged(path=path, bytes=size, replaced=count),
        f"edited {path}: replaced {times}",
    )


def _missed(path: str, miss: Miss) -> Refused:
    """Return what a model is told of a text that is not there just so."""
    where = ", ".join(map(str, miss.lines))
    if miss.found and miss.reason == OVERLAP:
        return Refused(
            "failed", f"{path}: occurrences of old_text overlap, at lines {where}: give more of it"
        )
    if miss.found:
        return Refused(
            "failed",
            f"{path}: old_text is there {miss.found} times, at lines {where}: give more of what "
            "stands around the one that is meant, or set replace_all",
        )
    if where:
        hint = f"; like it but for white space or its end: line {where}"
    else:
        hint = ": read it again, it may have changed"
    return Refused("failed", f"{path}: old_text is not in the file{hint}")


async def list_files(call: Call, asked: ListFiles) -> tuple[FileList, str]:
    """List a directory."""
    rules = call.rules
    path = call.place(asked.path)
    entries = await call.session.list_files(path, recursive=asked.recursive, root=call.policy.root)
    lines: list[str] = []
    kept: list[Listed] = []
    room = rules.max_bytes
    for entry in entries[: rules.max_lines]:
        name = entry.path + {"directory": "/"}.get(entry.type, "")
        line = f"{entry.type:<9} {entry.size:>9}  {name}"
        if entry.target is not None:
            line += f" -> {entry.target}"
        room -= len(line.encode("utf-8", "replace")) + 1
        if room < 0:
            break
        lines.append(line)
        kept.append(Listed(path=entry.path, type=entry.type, size=entry.size))
    left_out = len(entries) - len(kept)
    if left_out:
        lines.append(f"[… {left_out} more entries: list a directory of these …]")
    value = FileList(
        path=path,
        entries=tuple(kept),
        left_out=left_out,
        skipped_unreadable=entries.skipped_unreadable,
    )
    head = f"{path}: {len(entries)} entries"
    if entries.skipped_unreadable:
        head += f", {entries.skipped_unreadable} skipped (not readable)"
    return value, "\n".join([head, *lines])


async def writable(call: Call, path: str) -> None:
    """Refuse a path that the policy does not let be written, wherever its links lead.

    Raises:
        Refused: it is not beneath a writable prefix.
    """
    prefixes = call.policy.writable
    if prefixes is None:
        return
    session = call.session
    base = "/" if call.policy.root == "/" else session.workdir
    try:
        real, _ = await real_path(session, posixpath.join(base, path))
        for prefix in prefixes:
            top, _ = await real_path(session, posixpath.join(base, prefix))
            if beneath(real, top):
                return
    except TooManyLinksError:
        raise Refused("failed", f"{path}: too many links") from None
    raise Refused(
        "policy", f"{path} may not be written; writable: {', '.join(prefixes) or 'nothing'}"
    )


def checked(call: Call, data: bytes) -> bytes:
    """Return what a file is to hold.

    Raises:
        Refused: it is more than the policy lets be written.
    """
    most = call.policy.max_write_bytes
    if len(data) > most:
        raise Refused("policy", f"{len(data)} bytes are more than the {most} that may be written")
    return data
