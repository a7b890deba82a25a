"""Unified diffs: read, and applied to bytes. Pure; what does not fit exactly is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from fumehood._edit import is_crlf, lines_like, lines_of
from fumehood.errors import InvalidRequestError
from fumehood.text import brief

MAX_PATCH = 64 << 20
"""Bytes of a patch."""
_HUNK = re.compile(rb"@@ -(\d{1,10})(?:,(\d{1,10}))? \+(\d{1,10})(?:,(\d{1,10}))? @@(?: .*)?")
_OCTAL = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)
_ESCAPES = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f"}
_NOTHING = "/dev/null"
_REFUSED = (b"GIT binary patch", b"Binary files ", b"copy from ", b"copy to ")


class MisfitError(Exception):
    """A hunk does not fit.

    Args:
        reason: why.
        hunk: which one, from 1.
        lines: where something like it is.
    """

    def __init__(self, reason: str, hunk: int, lines: tuple[int, ...] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hunk = hunk
        self.lines = lines


@dataclass(slots=True)
class Hunk:
    """Some lines that take the place of others; each with its line end, if it has one."""

    start: int
    """The first of the old lines, from 1; of none: the line behind which the new ones go."""
    old: list[bytes] = field(default_factory=list[bytes])
    new: list[bytes] = field(default_factory=list[bytes])


@dataclass(slots=True)
class FilePatch:
    """What a patch does to one file."""

    source: str | None
    """None: it is created."""
    target: str | None
    """None: it is deleted."""
    hunks: list[Hunk] = field(default_factory=list[Hunk])
    mode: int | None = None
    """That it gets."""

    @property
    def name(self) -> str:
        """The path to call it by."""
        return self.target or self.source or ""


def parse_patch(patch: bytes) -> list[FilePatch]:
    """Read a patch, as ``diff -u`` and ``git diff`` write it.

    Raises:
        InvalidRequestError: it is none, or does something that is not possible here.
    """
    return _Reader(patch).files()


class _Reader:
    def __init__(self, patch: bytes) -> None:
        self._lines = patch.split(b"\n")
        if self._lines[-1] == b"":
            self._lines.pop()
        self._at = 0
        self._git: dict[str, str | int] | None = None
        self._head = b""
        self._files: list[FilePatch] = []

    def _refuse(self, why: str) -> InvalidRequestError:
        return InvalidRequestError(f"patch, line {min(self._at + 1, len(self._lines))}: {why}")

    def files(self) -> list[FilePatch]:
        while self._at < len(self._lines):
            line = self._lines[self._at]
            if line.startswith(b"diff --git "):
                self._end_git()
                self._git, self._head = {}, line.removeprefix(b"diff --git ")
            elif line.startswith(b"--- ") and self._next().startswith(b"+++ "):
                self._file()
                continue
            elif line.startswith(b"@@ -"):
                raise self._refuse("a hunk without the '---' and '+++' lines of its file")
            elif line.startswith(_REFUSED):
                raise self._refuse("copies and binary files are not possible here")
            elif self._git is not None:
                self._extended(line)
            self._at += 1
        self._end_git()
        if not self._files:
            raise self._refuse("no file is named: '--- a/file', '+++ b/file' and hunks are wanted")
        return self._files

    def _next(self) -> bytes:
        return self._lines[self._at + 1] if self._at + 1 < len(self._lines) else b""

    def _extended(self, line: bytes) -> None:
        assert self._git is not None
        for head, key in (
            (b"rename from ", "source"),
            (b"rename to ", "target"),
        ):
            if line.startswith(head):
                self._git[key] = self._path(line[len(head) :], prefixed=False)
        for head in (b"new file mode ", b"new mode "):
            if line.startswith(head):
                self._git["mode"] = self._mode(line[len(head) :])
        for head in (b"new file ", b"deleted file "):
            if line.startswith(head):
                self._git["is"] = head[:-6].decode()

    def _mode(self, text: bytes) -> int:
        if text.strip() not in (b"100644", b"100755"):
            raise self._refuse("only regular files can be patched (mode 100644 or 100755)")
        return int(text.strip()[-3:], 8)

    def _end_git(self) -> None:
        """A rename, an empty file that comes or goes, or a mode may come without hunks."""
        git, self._git = self._git, None
        if not git:
            return
        source, target, mode = git.get("source"), git.get("target"), git.get("mode")
        mode = mode if isinstance(mode, int) else None
        if isinstance(source, str) and isinstance(target, str):
            self._files.append(FilePatch(source, target, mode=mode))
        elif git.get("is") == "new":
            self._files.append(FilePatch(None, self._name_of_both(), mode=mode))
        elif git.get("is") == "deleted":
            self._files.append(FilePatch(self._name_of_both(), None))
        else:
            raise self._refuse("a mode alone cannot be patched")

    def _name_of_both(self) -> str:
        """Return the name that a 'diff --git' line says twice, which nothing else does here."""
        head = self._head.rstrip(b"\r")
        # Blanks are not quoted, so the one between the two is found by its place alone.
        middle = len(head) // 2
        source, target = self._path(head[:middle]), self._path(head[middle + 1 :])
        if source != target or head[middle : middle + 1] != b" ":
            raise self._refuse("two names in the 'diff --git' line of one file")
        return source

    def _file(self) -> None:
        source = self._path(self._lines[self._at][4:])
        target = self._path(self._lines[self._at + 1][4:])
        git, self._git = self._git or {}, None
        if "source" in git:
            source = str(git["source"])
        if "target" in git:
            target = str(git["target"])
        if source == target == _NOTHING:
            raise self._refuse("both names are /dev/null")
        mode = git.get("mode")
        patch = FilePatch(
            None if source == _NOTHING else source,
            None if target == _NOTHING else target,
            mode=mode if isinstance(mode, int) else None,
        )
        if "source" not in git and patch.source and patch.target:
            # Without git's word a second name is a note (file.orig), not a rename.
            patch.source = patch.target
        self._at += 2
        while self._at < len(self._lines) and self._lines[self._at].startswith(b"@@"):
            patch.hunks.append(self._hunk())
        if not patch.hunks:
            raise self._refuse(f"no hunk for {brief(patch.name)}")
        self._files.append(patch)

    def _path(self, raw: bytes, *, prefixed: bool = True) -> str:
        raw = raw.rstrip(b"\r")
        if raw.startswith(b'"'):
            end = raw.rfind(b'"')
            raw = _OCTAL.sub(_unescape, raw[1:end])
        else:
            raw = raw.partition(b"\t")[0]
        text = raw.decode("utf-8", "surrogateescape")
        if text == _NOTHING:
            return text
        if prefixed and text[:2] in ("a/", "b/"):
            text = text[2:]
        if not text:
            raise self._refuse("an empty file name")
        return text

    def _hunk(self) -> Hunk:
        match = _HUNK.fullmatch(self._lines[self._at].rstrip(b"\r"))
        if match is None:
            raise self._refuse("a hunk begins with '@@ -line,count +line,count @@'")
        start, old_left = int(match[1]), int(match[2] or 1)
        new_left = int(match[4] or 1)
        hunk = Hunk(start)
        self._at += 1
        while old_left > 0 or new_left > 0 or self._is_note():
            if self._at == len(self._lines):
                raise self._refuse("the hunk ends before its counts do")
            line = self._lines[self._at]
            kind, rest = line[:1], line[1:] + b"\n"
            if kind == b"\\":
                self._no_line_end(hunk)
            elif kind in (b" ", b"-", b"+", b"") or line == b"\r":
                if kind in (b"", b"\r"):
                    kind, rest = b" ", line + b"\n"  # an editor has taken the blank away
                if kind != b"+":
                    hunk.old.append(rest)
                    old_left -= 1
                if kind != b"-":
                    hunk.new.append(rest)
                    new_left -= 1
            else:
                raise self._refuse("a line of a hunk begins with ' ', '-', '+' or '\\'")
            if old_left < 0 or new_left < 0:
                raise self._refuse("the hunk holds more lines than it says")
            self._last = kind
            self._at += 1
        return hunk

    def _is_note(self) -> bool:
        return self._at < len(self._lines) and self._lines[self._at].startswith(b"\\")

    _last = b""

    def _no_line_end(self, hunk: Hunk) -> None:
        """The line before has no end."""
        if self._last not in (b" ", b"-", b"+"):
            raise self._refuse("a note about a line end, and no line before it")
        if self._last != b"+":
            hunk.old[-1] = hunk.old[-1][:-1]
        if self._last != b"-":
            hunk.new[-1] = hunk.new[-1][:-1]


def _unescape(match: re.Match[bytes]) -> bytes:
    code = match[1]
    if len(code) == 3:
        return bytes([int(code, 8) & 0xFF])
    return _ESCAPES.get(code, code)


def apply_hunks(data: bytes, hunks: list[Hunk]) -> bytes:
    """Return a file's new content.

    A hunk goes where it says, or, when that is not what stands there, to the only other place
    behind the hunk before at which all its old lines stand. In a file whose lines all end with
    CRLF, a patch without them gets them.

    Raises:
        MisfitError: one of them does not fit.
    """
    lines = lines_of(data)
    crlf = is_crlf(data) and not any(
        line.endswith(b"\r\n") for hunk in hunks for line in (*hunk.old, *hunk.new)
    )
    out: list[bytes] = []
    at = shift = 0
    for number, hunk in enumerate(hunks, 1):
        old, new = hunk.old, hunk.new
        if crlf:
            old, new = _with_crlf(old), _with_crlf(new)
        place = _place(lines, old, hunk.start, at, shift, number)
        if old:
            shift = place - (hunk.start - 1)
        out += lines[at:place]
        out += new
        at = place + len(old)
    out += lines[at:]
    if any(not line.endswith(b"\n") for line in out[:-1]):
        raise MisfitError("a line without an end would stand in the middle of the file", len(hunks))
    return b"".join(out)


def _with_crlf(lines: list[bytes]) -> list[bytes]:
    return [line[:-1] + b"\r\n" if line.endswith(b"\n") else line for line in lines]


def _place(
    lines: list[bytes], old: list[bytes], start: int, at: int, shift: int, number: int
) -> int:
    if not old:
        # New lines alone: only the number says where.
        place = start + shift
        if not at <= place <= len(lines):
            raise MisfitError(f"there is no line {start} to put new lines behind", number)
        return place
    wanted = start - 1 + shift
    if wanted >= at and lines[wanted : wanted + len(old)] == old:
        return wanted
    first = old[0]
    places = [
        place
        for place in range(at, len(lines) - len(old) + 1)
        if lines[place] == first and lines[place : place + len(old)] == old
    ]
    if len(places) == 1:
        return places[0]
    if places:
        found = tuple(place + 1 for place in places[:10])
        raise MisfitError(
            f"its old lines are not at line {start} but at {len(places)} others "
            f"({', '.join(map(str, found))}): more context is wanted",
            number,
            found,
        )
    like = lines_like(lines, old)
    hint = (
        f"; lines {', '.join(map(str, like))} differ in white space only or begin alike"
        if like
        else ""
    )
    raise MisfitError(f"its old lines are not in the file{hint}", number, like)
