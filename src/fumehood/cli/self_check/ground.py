"""Where attacks are made: a session, the programs that attack in it, and who runs them."""

from __future__ import annotations

import asyncio
import importlib.resources
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fumehood import AsyncSession, ExecResult, Stdout, SupervisorError

PATIENCE = 20.0
"""Seconds that one attack may take; none of them takes more than a few."""
_LOOKS, _PAUSE = 20, 0.1
ROOT, SOMEBODY = "0", "1000"


class NotHeldError(Exception):
    """An attack got through; the text says what it got."""


class NotTriedError(Exception):
    """An attack could not be made as it was meant: nothing is shown by it."""


def load(architecture: str) -> bytes:
    """Return the program that holds all attacks, for an engine of this architecture.

    Raises:
        SupervisorError: it was not built.
    """
    name = f"probe-linux-{architecture}"
    try:
        return importlib.resources.files("fumehood.cli").joinpath("bin", name).read_bytes()
    except FileNotFoundError as exc:
        raise SupervisorError(
            f"{name} is not built: in a checkout, run `make supervisor`; an installed package that "
            "lacks it is broken, install it again"
        ) from exc


@dataclass(slots=True)
class Ground:
    """One session under attack.

    Args:
        session: whose; nobody else uses it.
        program: all attacks, as :func:`load` returns them.
    """

    session: AsyncSession
    program: bytes
    users: tuple[str | None, ...] = (None,)
    """Who attacks: the image's user (None), and others by their uid."""
    _brought: set[str] = field(default_factory=set[str])

    async def bring(self, name: str) -> str:
        """Put an attack into the workspace under its name; return its path for an argv."""
        if name not in self._brought:
            await self.session.write_file(name, self.program, mode=0o755)
            self._brought.add(name)
        return f"{self.session.workdir}/{name}"

    async def attack(
        self,
        name: str,
        *arguments: str,
        user: str | None = None,
        input: bytes | None = None,
        timeout: float = PATIENCE,
        max_output_bytes: int | None = None,
    ) -> ExecResult:
        """Make an attack to its end, whatever that is."""
        return await self.session.exec(
            [await self.bring(name), *arguments],
            user=user,
            input=input,
            timeout=timeout,
            max_output_bytes=max_output_bytes,
        )

    async def told(
        self, name: str, *arguments: str, user: str | None = None, input: bytes | None = None
    ) -> str:
        """Make an attack that comes to an end by itself, and return what it printed.

        Raises:
            NotTriedError: it did not.
        """
        done = await self.attack(name, *arguments, user=user, input=input)
        if not done.ok or done.stdout_truncated:
            raise NotTriedError(f"{name} ended early: {done.reason}, exit code {done.exit_code}")
        return done.stdout

    async def settle_users(self) -> None:
        """Find out whose attacks are to be made: the image's user, root and somebody else."""
        uid = await self.told("privilege", "status")
        own = next((line.split()[1] for line in uid.splitlines() if line.startswith("Uid:")), "")
        self.users = (None, *(user for user in (ROOT, SOMEBODY) if user != own))

    @asynccontextmanager
    async def under_way(self, name: str, *arguments: str) -> AsyncGenerator[None]:
        """Let an attack that never ends be at work until the end of the block, which kills it.

        Raises:
            NotTriedError: it did not come up.
        """
        argv = [await self.bring(name), *arguments]
        async with self.session.exec_stream(argv, timeout=PATIENCE) as stream:
            said = ""
            async for event in stream:
                if not isinstance(event, Stdout):
                    raise NotTriedError(f"{' '.join((name, *arguments))} did not come up")
                said += event.text
                if said == "up\n":
                    break
            yield

    async def nobody_left(self) -> None:
        """Look from inside whether any command's process is there.

        Raises:
            NotHeldError: there is one after two seconds.
        """
        names: list[str] = []
        for _ in range(_LOOKS):
            *names, _ = (await self.told("census")).splitlines()
            if not names:
                return
            # Who is dead may have to be reaped yet.
            await asyncio.sleep(_PAUSE)
        raise NotHeldError(f"still there: {len(names)} processes, such as {names[0]}")

    async def works(self) -> None:
        """See that the session still does what it is for.

        Raises:
            NotHeldError: it does not.
        """
        done = await self.attack("hello")
        if done.stdout != "hello\n":
            raise NotHeldError("the session does not run commands any more")
        await self.session.ping()
