"""OpenAI Agents SDK: a sandbox client whose sessions are fumehood's.

::

    from agents import RunConfig, Runner
    from agents.sandbox import SandboxAgent, SandboxRunConfig
    from fumehood.adapters.openai_agents import FumehoodSandboxClient, FumehoodSandboxClientOptions

    agent = SandboxAgent(name="coder", model="gpt-6", instructions="Work in the sandbox.")
    sandbox = SandboxRunConfig(
        client=FumehoodSandboxClient(),
        options=FumehoodSandboxClientOptions(image="python:3.13-slim"),
    )
    await Runner.run(agent, "Which Python is this?", run_config=RunConfig(sandbox=sandbox))

Snapshots are the framework's own (``LocalSnapshotSpec`` and others): an archive of the workspace.
Importing this module makes the options and the state known to the framework by ``"fumehood"``.
"""

from __future__ import annotations

import uuid

from agents.sandbox.manifest import Manifest
from agents.sandbox.session import (
    Dependencies,
    Instrumentation,
    SandboxSession,
    SandboxSessionState,
)
from agents.sandbox.session.sandbox_client import BaseSandboxClient
from agents.sandbox.snapshot import SnapshotBase, SnapshotSpec, resolve_snapshot

from fumehood.adapters._openai_session import FumehoodSandboxSession
from fumehood.adapters._openai_state import (
    FumehoodSandboxClientOptions,
    FumehoodSandboxSessionState,
    check_manifest,
    open_backend,
)
from fumehood.sandbox import AsyncDockerSandbox

__all__ = [
    "FumehoodSandboxClient",
    "FumehoodSandboxClientOptions",
    "FumehoodSandboxSession",
    "FumehoodSandboxSessionState",
]


class FumehoodSandboxClient(BaseSandboxClient[FumehoodSandboxClientOptions]):
    """Makes, resumes and deletes sessions.

    A session ends when its run is over. ``options.detached`` lets it live on until its ``ttl``, or
    until it is resumed and deleted; otherwise a resumed run gets a new one with the files of the
    snapshot. A run that is killed leaves nothing.

    Args:
        instrumentation: the framework's events of each operation.
        dependencies: what entries, sinks and snapshots of the framework need.
    """

    backend_id = "fumehood"
    supports_default_options = True

    def __init__(
        self,
        *,
        instrumentation: Instrumentation | None = None,
        dependencies: Dependencies | None = None,
    ) -> None:
        super().__init__()
        self._instrumentation = instrumentation or Instrumentation()
        self._dependencies = dependencies

    async def create(
        self,
        *,
        snapshot: SnapshotSpec | SnapshotBase | None = None,
        manifest: Manifest | None = None,
        options: FumehoodSandboxClientOptions | None = None,
    ) -> SandboxSession:
        """Make a session; on an error or a cancellation nothing is left of it.

        Raises:
            fumehood.SandboxError: as of ``create_session``.
        """
        chosen = options if options is not None else FumehoodSandboxClientOptions()
        layout = manifest if manifest is not None else Manifest()
        self._validate_manifest_for_create(layout)
        check_manifest(layout)
        number = uuid.uuid4()
        state = FumehoodSandboxSessionState(
            session_id=number,
            manifest=layout,
            snapshot=resolve_snapshot(snapshot, str(number)),
            exposed_ports=chosen.exposed_ports,
            options=chosen,
        )
        return await self._opened(state)

    async def resume(self, state: SandboxSessionState) -> SandboxSession:
        """Join the session of a state, or make one that begins with its snapshot."""
        own = _own(state)
        own.assert_path_grants_rebound()
        return await self._opened(own)

    async def delete(self, session: SandboxSession) -> SandboxSession:
        """End a session, also a detached one. Idempotent."""
        inner = session._inner  # noqa: SLF001 - as the framework's own clients do
        if not isinstance(inner, FumehoodSandboxSession):
            raise TypeError(f"not a session of this client: {type(inner).__name__}")
        await inner.shutdown()
        if inner.state.options.detached:
            async with AsyncDockerSandbox() as sandbox:
                await sandbox.destroy_session(inner.state.fumehood_session_id)
        return session

    def deserialize_session_state(self, payload: dict[str, object]) -> SandboxSessionState:
        """Return the state that a payload of ``serialize_session_state`` holds."""
        return self._deserialize_session_state_payload(payload, FumehoodSandboxSessionState)

    async def _opened(self, state: FumehoodSandboxSessionState) -> SandboxSession:
        inner = FumehoodSandboxSession(state, await open_backend(state))
        return self._wrap_session(inner, instrumentation=self._instrumentation)


def _own(state: SandboxSessionState) -> FumehoodSandboxSessionState:
    if not isinstance(state, FumehoodSandboxSessionState):
        raise TypeError(f"not a state of this client: {type(state).__name__}")
    return state
