"""A file as Deep Agents reads it: a page of text, or a small binary file in base64."""

from __future__ import annotations

import base64
import codecs
import posixpath

from deepagents.backends.protocol import FileData, ReadResult
from deepagents.backends.utils import normalize_read_bounds

from fumehood.errors import FileIsDirectoryError
from fumehood.session import AsyncSession

MAX_BINARY_BYTES = MAX_PAGE_BYTES = 500 * 1024
PREFIX_BYTES = 8192
"""So much of a file says whether it is text."""
_IMAGES = (".gif", ".heic", ".heif", ".jpeg", ".jpg", ".png", ".webp")
_SOUNDS = (".aac", ".aiff", ".flac", ".mp3", ".ogg", ".wav")
_FILMS = (".3gpp", ".avi", ".flv", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
_DOCUMENTS = (".pdf", ".ppt", ".pptx")
BINARY_SUFFIXES = frozenset((*_IMAGES, *_SOUNDS, *_FILMS, *_DOCUMENTS))
"""What the framework shows a model as such: never as text."""


async def read(session: AsyncSession, path: str, offset: int, limit: int) -> ReadResult:
    r"""Return lines of a text file from ``offset`` (from 0), or the whole of a binary one.

    Lines end with ``\n``, and ``\r\n`` is shown as ``\n``. What is no UTF-8 becomes U+FFFD. A page
    is at most 500 KiB, and so is a binary file.

    Raises:
        SandboxError: of the path or the session.
    """
    entry = await session.stat(path, root="/")
    if entry.type == "directory":
        raise FileIsDirectoryError(f"{path} is a directory", path=path, op="read")
    named_binary = posixpath.splitext(path)[1].lower() in BINARY_SUFFIXES
    if entry.size and (named_binary or not await _is_text(session, path)):
        return await _binary(session, path, entry.size)
    return await _page(session, path, *normalize_read_bounds(offset, limit))


async def _is_text(session: AsyncSession, path: str) -> bool:
    async with session.read_file_stream(path, root="/") as reader:
        async for piece in reader:
            try:
                # Not final: the prefix may end inside a character.
                codecs.getincrementaldecoder("utf-8")().decode(piece[:PREFIX_BYTES])
            except UnicodeDecodeError:
                return False
            break
    return True


async def _binary(session: AsyncSession, path: str, size: int) -> ReadResult:
    if size > MAX_BINARY_BYTES:
        return ReadResult(
            error=f"File '{path}': Binary file exceeds maximum preview size of "
            f"{MAX_BINARY_BYTES} bytes"
        )
    content = await session.read_file(path, root="/")
    encoded = base64.b64encode(content).decode("ascii")
    return ReadResult(file_data=FileData(content=encoded, encoding="base64"))


async def _page(session: AsyncSession, path: str, offset: int, limit: int) -> ReadResult:
    if not limit:
        nothing = FileData(content="", encoding="utf-8")
        return ReadResult(file_data=nothing, no_lines_requested=True)
    page = await session.read_text_file_page(
        path, start_line=offset + 1, max_lines=limit, max_bytes=MAX_PAGE_BYTES, root="/"
    )
    if page.end_line < page.start_line:
        if offset:
            return ReadResult(error=f"File '{path}': it has no line {offset + 1}")
        return ReadResult(file_data=FileData(content="", encoding="utf-8"))
    text = page.text.replace("\r\n", "\n").removesuffix("\n")
    if page.cut:
        text += f"\n\n[the rest of line {page.end_line} is too long to be shown]"
    more = page.next_start_line is not None
    return ReadResult(
        file_data=FileData(content=text, encoding="utf-8"),
        start_line=page.start_line,
        end_line=page.end_line,
        next_offset=page.end_line if more else None,
        total_lines=None if more else page.end_line,
    )
