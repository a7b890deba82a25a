"""The archives within a snapshot's file, written anew: none of them comes to an engine as it is.

Whoever made the file chose every byte of it, and an engine unpacks with root's rights. So each
member is read, judged and described again, by headers of our own: plain files, directories, links
and FIFOs with an owner, a mode and a time, under names that stay where they belong. Nothing is
compressed and no file is sparse, so that what is unpacked is never larger than the file was.
"""

from __future__ import annotations

import math
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from fumehood._moving.forward import Forward, Pieces, content, members
from fumehood.errors import SnapshotFileError
from fumehood.text import brief

_BLOCK = 512
_TOGETHER = 1 << 18
"""Small members are handed on together."""
_WHITEOUT = ".wh."
_MAX_NAME = 4096
_MAX_PART = 255
_MAX_ID = (1 << 31) - 1
_MAX_TIME = 1 << 34

_KINDS = {
    tarfile.REGTYPE: tarfile.REGTYPE,
    tarfile.AREGTYPE: tarfile.REGTYPE,
    tarfile.CONTTYPE: tarfile.REGTYPE,
    tarfile.DIRTYPE: tarfile.DIRTYPE,
    tarfile.SYMTYPE: tarfile.SYMTYPE,
    tarfile.LNKTYPE: tarfile.LNKTYPE,
    tarfile.FIFOTYPE: tarfile.FIFOTYPE,
}
_DEVICES = (tarfile.CHRTYPE, tarfile.BLKTYPE)


@dataclass(slots=True, kw_only=True)
class Vetting:
    """One archive on its way to an engine.

    Args:
        what: for messages.
        prefix: the directory under which its names go, relative to the root.
        image: whether it becomes an image's file system. Those have devices, which are left out
            here and refused otherwise; and names that engines do not take for names.
    """

    what: str
    prefix: str = ""
    image: bool = False
    size: int = 0
    """Of files' contents, until now."""
    entries: int = 0

    def again(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the archive written anew; all of ``pieces`` is read, also what follows its end.

        Raises:
            SnapshotFileError: something in it is refused.
        """
        source = Forward(Pieces(pieces))
        out = bytearray()
        for member in members(source):
            made = self._judged(member)
            if made is not None:
                self.entries += 1
                out += _header(made)
            for piece in content(source, member.size if member.isreg() else 0):
                out += piece
                if len(out) >= _TOGETHER:
                    yield bytes(out)
                    out.clear()
            if made is not None:
                self.size += made.size
                out += bytes(-made.size % _BLOCK)
            if len(out) >= _TOGETHER:
                yield bytes(out)
                out.clear()
        out += bytes(2 * _BLOCK)
        yield bytes(out)
        for _ in pieces:
            pass

    def _judged(self, member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if member.type in _DEVICES and self.image:
            return None
        kind = _KINDS.get(member.type)
        if kind is None or member.issparse():
            raise self._refused(member, "a device, or a kind of file that none has")
        made = tarfile.TarInfo(self._placed(member, member.name))
        made.type = kind
        if made.name == (self.prefix or ".") and kind != tarfile.DIRTYPE:
            raise self._refused(member, "a root that is no directory")
        made.mode = member.mode & 0o7777
        made.mtime = self._time(member)
        for owner in (member.uid, member.gid):
            if not 0 <= owner <= _MAX_ID:
                raise self._refused(member, f"an owner of {owner}")
        made.uid, made.gid = member.uid, member.gid
        if kind == tarfile.REGTYPE:
            if member.size < 0:
                raise self._refused(member, f"a size of {member.size}")
            made.size = member.size
        elif kind == tarfile.LNKTYPE:
            made.linkname = self._placed(member, member.linkname)
        elif kind == tarfile.SYMTYPE:
            # Wherever it points to: it is text, and is followed inside a session alone.
            if not 0 < len(member.linkname) <= _MAX_NAME:
                raise self._refused(member, "a link to nowhere")
            made.linkname = member.linkname
        return made

    def _placed(self, member: tarfile.TarInfo, name: str) -> str:
        """Return where a name belongs, or refuse one that leads elsewhere."""
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if (
            name.startswith("/")
            or ".." in parts
            or len(name) > _MAX_NAME
            or any(len(part.encode("utf-8", "surrogateescape")) > _MAX_PART for part in parts)
        ):
            raise self._refused(member, "a name that leads elsewhere")
        if self.image and any(part.startswith(_WHITEOUT) for part in parts):
            raise self._refused(member, "a name that takes another file away")
        placed = "/".join([self.prefix, *parts] if self.prefix else parts)
        return placed or "."

    def _time(self, member: tarfile.TarInfo) -> int:
        if not math.isfinite(member.mtime) or abs(member.mtime) > _MAX_TIME:
            raise self._refused(member, "a time that is none")
        return max(0, int(member.mtime))

    def _refused(self, member: tarfile.TarInfo, why: str) -> SnapshotFileError:
        return SnapshotFileError(f"{self.what}: {brief(member.name)}: {why}")


def _header(member: tarfile.TarInfo) -> bytes:
    return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
