"""What is known of a session of the OpenAI Agents SDK, as JSON, and how it is opened from that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agents.sandbox.manifest import Manifest
from agents.sandbox.session import SandboxSessionState
from agents.sandbox.session.sandbox_client import BaseSandboxClientOptions

from fumehood.adapters._config import SessionConfig, make_sandbox
from fumehood.errors import InvalidRequestError, SessionEndedError, SessionNotFoundError
from fumehood.sandbox import AsyncDockerSandbox
from fumehood.session import AsyncSession

OWNER = "openai_agents_session"
"""The metadata that says whose a session is: a state that names another one's does not get it."""


class FumehoodSandboxClientOptions(BaseSandboxClientOptions, SessionConfig, frozen=True):
    """What a session is. Everything has the default of fumehood itself.

    With ``detached`` it outlives its run, and this process, until it is resumed.
    """

    type: Literal["fumehood"] = "fumehood"
    exposed_ports: tuple[int, ...] = ()
    """Ports that a run may ask for; forwarded to this machine's loopback, with any network."""


class FumehoodSandboxSessionState(SandboxSessionState):
    """What a session is resumed by."""

    type: Literal["fumehood"] = "fumehood"
    options: FumehoodSandboxClientOptions
    fumehood_session_id: str = ""


@dataclass(slots=True)
class Backend:
    """A session and the sandbox that it was made or joined by, which is its own."""

    sandbox: AsyncDockerSandbox
    session: AsyncSession
    joined: bool
    """Whether it was there already, with its files."""
    detached: bool

    async def leave(self) -> None:
        """Destroy the session; leave it alone when it is meant to be resumed. Idempotent."""
        try:
            if self.detached:
                await self.session.detach()
            else:
                await self.session.destroy()
        finally:
            await self.sandbox.close()

    async def close(self) -> None:
        """Let go of a session that is over."""
        await self.sandbox.close()


async def open_backend(state: FumehoodSandboxSessionState) -> Backend:
    """Join the session that the state names, or make one and note it there.

    Raises:
        SandboxError: neither can be done; nothing is left then.
    """
    manifest = state.manifest
    check_manifest(manifest)
    sandbox = make_sandbox(
        state.options, workdir=manifest.root, env=await manifest.environment.resolve()
    )
    try:
        session = await _join(sandbox, state)
        joined = session is not None
        if session is None:
            session = await sandbox.create_session(metadata={OWNER: state.session_id.hex})
            state.workspace_root_ready = False
        state.fumehood_session_id = session.id
    except BaseException:
        await sandbox.close()
        raise
    return Backend(sandbox, session, joined, state.options.detached)


async def _join(
    sandbox: AsyncDockerSandbox, state: FumehoodSandboxSessionState
) -> AsyncSession | None:
    if not state.fumehood_session_id:
        return None
    try:
        session = await sandbox.connect(state.fumehood_session_id)
    except (SessionNotFoundError, SessionEndedError):
        return None
    # The state may have come back from a user. The uuid is a secret of whoever has it.
    if session.metadata.get(OWNER) == state.session_id.hex:
        return session
    await session.detach()
    return None


def check_manifest(manifest: Manifest) -> None:
    """Refuse what would need a directory of this machine: no session has one, ever.

    Raises:
        InvalidRequestError: it grants one.
    """
    for grant in manifest.extra_path_grants:
        if grant.host_path is not None:
            raise InvalidRequestError(
                f"the manifest grants {grant.path!r} with a host_path; fumehood mounts no "
                "directory of the host: stage it as an entry of the manifest"
            )
