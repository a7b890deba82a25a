"""Inserting lines into a file, for editors that count them: under the policy of ``edit_file``."""

from __future__ import annotations

from fumehood._edit import is_crlf
from fumehood.errors import EditError
from fumehood.tools.call import Call
from fumehood.tools.file_tools import checked, writable
from fumehood.tools.results import FileChanged, Refused


async def insert_text(call: Call, where: str, line: int, new: str) -> tuple[FileChanged, str]:
    """Insert a text behind a line of a file; 0 is its beginning.

    Lines that are there are left as they are, but that the last one gets an end when it has none.

    Raises:
        Refused: it is no UTF-8, has no such line, the policy is against it, or somebody else has
            written to it meanwhile.
    """
    path, root = call.place(where), call.policy.root
    await writable(call, path)
    raw = await call.session.read_file(path, root=root)
    try:
        old = raw.decode()
    except UnicodeDecodeError:
        raise Refused("failed", f"{path} is not UTF-8 text") from None
    after = _inserted(path, old, line, new, end="\r\n" if is_crlf(raw) else "\n")
    size = len(checked(call, after.encode()))
    await call.approve(f"edit {path}: insert behind line {line}")
    if old:
        try:
            # The whole text is what must still be there: nobody's work in between is undone.
            await call.session.replace(path, old, after, root=root)
        except EditError:
            raise Refused("failed", f"{path} was written to meanwhile: view it again") from None
    else:
        await call.session.write_file(path, after, root=root)
    return FileChanged(path=path, bytes=size), f"edited {path}: inserted behind line {line}"


def _inserted(path: str, text: str, line: int, new: str, *, end: str) -> str:
    r"""Return a text with another behind a line, whose ``\n`` are ``end`` where it has no other."""
    places = [0, *(at for at, character in enumerate(text, 1) if character == "\n")]
    if not text.endswith("\n") and text:
        places.append(len(text))
    if line >= len(places):
        raise Refused("arguments", f"insert_line {line}: {path} has {len(places) - 1} lines")
    before, behind = text[: places[line]], text[places[line] :]
    if "\r" not in new:
        new = new.replace("\n", end)
    if before and not before.endswith("\n"):
        before += end
    if behind and not new.endswith("\n"):
        new += end
    return before + new + behind
