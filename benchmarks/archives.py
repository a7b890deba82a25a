"""Tar archives of one file, which the Engine API takes and gives."""

from __future__ import annotations

import io
import tarfile


def pack(name: str, content: bytes) -> bytes:
    """Return an archive that holds one file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def content_of(archive: tarfile.TarFile, name: str) -> bytes:
    """Return the content of one file of an archive."""
    member = archive.extractfile(name)
    if member is None:
        raise RuntimeError(f"{name} is no regular file")
    return member.read()
