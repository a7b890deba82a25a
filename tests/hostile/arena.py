"""Where a case takes place: a session of one kind of image, and programs that attack in it."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cases.static import compile_static
from fumehood import AsyncSession, ExecResult

ATTACKS = Path(__file__).parent / "attacks"
SHIPPED = Path(__file__).parents[2] / "supervisor" / "probe"
"""The attacks that ``fumehood self-check`` makes on a user's own host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of image and who runs in it."""

    name: str
    image: str
    user: str | None = None


KINDS = (
    Kind(name="debian-root", image="fumehood/test-python"),
    Kind(name="debian-user", image="fumehood/test-python-nonroot"),
    Kind(name="busybox", image="fumehood/test-busybox"),
    Kind(name="scratch", image="fumehood/test-scratch"),
)


@functools.cache
def compiled(name: str) -> bytes:
    """Return a program of ``attacks/``, static: it needs nothing of an image."""
    (source,) = (path for path in (ATTACKS / f"{name}.c", SHIPPED / f"{name}.c") if path.exists())
    with tempfile.TemporaryDirectory() as directory:
        made = Path(directory) / name
        compile_static(source, made, "-O1", "-Wextra")
        return made.read_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Arena:
    """One session under attack."""

    kind: Kind
    session: AsyncSession

    async def bring(self, name: str) -> str:
        """Put a program of ``attacks/`` into the workspace; return its path for an argv."""
        path = f"{self.session.workdir}/{name}"
        await self.session.write_file(name, compiled(name), mode=0o755)
        return path

    async def attack(
        self,
        name: str,
        *arguments: str,
        timeout: float = 20.0,
        check: bool = False,
    ) -> ExecResult:
        """Run a program of ``attacks/`` to its end.

        Args:
            name: the C file's, without its suffix.
            arguments: its arguments.
            timeout: seconds.
            check: whether another end than exit code 0 is a failure of the test.
        """
        program = await self.bring(name)
        return await self.session.exec(
            [program, *arguments], user=self.kind.user, timeout=timeout, check=check
        )

    async def alive(self) -> bool:
        """Say whether the session still does what it is for."""
        program = await self.bring("hello")
        result = await self.session.exec([program], timeout=5)
        await self.session.ping()
        return result.stdout == "hello\n"
