"""What a name in a tree may be, and where a link in it may lead: rules, without any file."""

from __future__ import annotations

import re
from collections.abc import Sequence

MAX_DEPTH = 64
"""Names in a path: nothing but an attack is deeper, and each is a descriptor while it is open."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def name_fault(parts: Sequence[str]) -> str | None:
    """Say why a path of a tree is not copied, or None."""
    name = parts[-1]
    if len(parts) > MAX_DEPTH:
        return f"more than {MAX_DEPTH} directories deep"
    if "\\" in name or _CONTROL.search(name):
        # A backslash is another system's separator; a terminal obeys the others.
        return "a name with a backslash or a control character"
    return None


def link_target(parts: Sequence[str], text: str) -> tuple[str, ...] | None:
    """Return where a link leads, from the tree's top, or None where that may be outside.

    ``..`` is good at the front alone, as often as there are directories above the link. Behind a
    name it would be looked up from wherever that name leads, which need not be where it stands:
    two links that each look harmless could lead out together.

    Args:
        parts: the link's own path.
        text: what it says.
    """
    if not text or text.startswith("/") or "\0" in text:
        return None
    names = [name for name in text.split("/") if name not in ("", ".")]
    above = list(parts[:-1])
    while names and names[0] == "..":
        if not above:
            return None
        above.pop()
        names.pop(0)
    if ".." in names:
        return None
    return (*above, *names)


def folded(path: str) -> str:
    """Return the same text for all names that a file system may take for one."""
    import unicodedata

    return unicodedata.normalize("NFC", path).casefold()
