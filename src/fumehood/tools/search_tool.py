"""``search_files``: lines that match, by file, as many as the caps let through."""

from __future__ import annotations

from fumehood.errors import InvalidRequestError
from fumehood.search_results import SearchMatch, SearchResult
from fumehood.tools.arguments import SearchFiles
from fumehood.tools.call import Call
from fumehood.tools.results import Hit, Refused, SearchHits

_LONGEST = 400
"""Characters of a line: minified files have lines that would fill the answer."""


async def search_files(call: Call, asked: SearchFiles) -> tuple[SearchHits, str]:
    """Search the files. The time that it may take is the policy's for this tool."""
    rules = call.rules
    try:
        found = await call.session.search(
            asked.pattern,
            call.place(asked.path),
            regex=not asked.literal,
            ignore_case=asked.ignore_case,
            context=asked.context,
            max_matches=min(rules.max_lines, 100_000),
            include=asked.include or (),
            timeout=call.patience(),
            root=call.policy.root,
        )
    except InvalidRequestError as exc:
        raise Refused("arguments", exc.message) from None
    blocks: list[list[str]] = []
    room_bytes, room_lines, path = rules.max_bytes, rules.max_lines, ""
    for match in found.matches:
        block = ([] if match.path == path else [match.path]) + _lines(match, asked.context)
        room_bytes -= sum(len(line.encode("utf-8", "replace")) + 1 for line in block)
        room_lines -= len(block)
        # The first is shown whatever its size: an answer without a match would say nothing.
        if blocks and (room_bytes < 0 or room_lines < 0):
            break
        blocks.append(block)
        path = match.path
    shown = found.matches[: len(blocks)]
    value = SearchHits(
        hits=tuple(
            Hit(path=match.path, line_number=match.line_number, line=match.line) for match in shown
        ),
        more=found.truncated or len(shown) < len(found.matches),
        files_searched=found.files_searched,
        files_skipped=found.skipped_binary + found.skipped_large + found.skipped_unreadable,
    )
    lines = [line for block in blocks for line in block]
    return value, "\n".join([_head(value, found), *lines])


def _lines(match: SearchMatch, context: int) -> list[str]:
    """Return a match with what stands around it: ``12:`` is the match, ``11-`` is not."""
    first = match.line_number - len(match.before)
    lines = [f"{first + at}- {_short(text)}" for at, text in enumerate(match.before)]
    lines.append(f"{match.line_number}: {_around(match)}")
    lines += [f"{match.line_number + at}- {_short(text)}" for at, text in enumerate(match.after, 1)]
    return [*lines, "--"] if context else lines


def _short(line: str) -> str:
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


def _around(match: SearchMatch) -> str:
    """Return the line, or so much of it that the beginning of the match is there."""
    start = 0 if match.start < _LONGEST // 2 else match.start - _LONGEST // 4
    part = match.line[start : start + _LONGEST]
    before = "…" if start else ""
    after = "…" if match.cut or start + _LONGEST < len(match.line) else ""
    return f"{before}{part}{after}"


def _head(value: SearchHits, found: SearchResult) -> str:
    number = len(value.hits)
    text = f"{number} match{'' if number == 1 else 'es'}"
    if not found.truncated:
        files = value.files_searched
        text += f"; {files} file{'' if files == 1 else 's'} searched"
    if value.files_skipped:
        text += f", {value.files_skipped} skipped (binary, too large or not readable)"
    if found.stopped_by == "time":
        text += "; stopped when its time was up: search a smaller directory"
    elif value.more:
        text += "; there are more: narrow the pattern, path or include"
    return text
