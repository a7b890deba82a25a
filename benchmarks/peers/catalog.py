"""Who is measured, and with what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["ours", "peer", "variant", "floor"]
Image = Literal["plain", "swe_rex", "smolagents"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One peer."""

    name: str
    """As its authors write it."""
    client: str
    """Its module in `clients/`."""
    environment: str = ""
    """Its file in `requirements/`; empty: the driver's own."""
    kind: Kind = "peer"
    image: Image = "plain"
    how: str
    """What its figures are figures of, for the page."""


CATALOG = (
    Entry(
        name="fumehood",
        client="fumehood_client",
        kind="ours",
        how="`AsyncDockerSandbox()` with its defaults: no network, 1 CPU, 512 MB, 512 processes",
    ),
    Entry(
        name="fumehood, pool",
        client="fumehood_pool",
        kind="variant",
        how="the same with `pool=Pool(min_idle=4)`, full when a session is asked for",
    ),
    Entry(
        name="docker CLI",
        client="docker_cli",
        how="`docker run -d --network none`, `docker exec`, `docker rm -f`; no limits",
    ),
    Entry(
        name="docker-py",
        client="docker_py",
        environment="docker_py",
        how="`containers.run`, `exec_run`, archives; network `none`, no limits",
    ),
    Entry(
        name="aiodocker",
        client="aiodocker_client",
        environment="aiodocker",
        how="the Engine API on asyncio; network `none`, no limits",
    ),
    Entry(
        name="llm-sandbox",
        client="llm_sandbox_client",
        environment="llm_sandbox",
        how="`SandboxSession(skip_environment_setup=True)`, network `none`; its default would make "
        "a virtual environment in each new container",
    ),
    Entry(
        name="SWE-ReX",
        client="swe_rex",
        environment="swe_rex",
        image="swe_rex",
        how="`DockerDeployment` and `execute`, in an image with its server; a published port, so a "
        "bridge network",
    ),
    Entry(
        name="inspect-ai",
        client="inspect_ai_client",
        environment="inspect_ai",
        how="its Docker sandbox: a Compose project for each session, network `none`; called below "
        "its check of the engine's version",
    ),
    Entry(
        name="openai-agents",
        client="openai_agents",
        environment="openai_agents",
        how="`DockerSandboxClient`, `network_mode='none'`",
    ),
    Entry(
        name="smolagents",
        client="smolagents_client",
        environment="smolagents",
        image="smolagents",
        how="`DockerExecutor` in an image with its kernel gateway; a command is a cell of Python, "
        "and the port needs a bridge network",
    ),
    Entry(
        name="autogen-ext",
        client="autogen",
        environment="autogen",
        how="`DockerCommandLineCodeExecutor`; a command is a block of shell; a bridge network, "
        "since it takes no other",
    ),
    Entry(
        name="agentbox-rl",
        client="agentbox_rl",
        environment="agentbox_rl",
        how="`SandboxManager` with its defaults (no network, 1 CPU, 512 MB) and "
        "`ensure_pytest=False`",
    ),
    Entry(
        name="agentbox-rl, pool",
        client="agentbox_pool",
        environment="agentbox_rl",
        kind="variant",
        how="the same with `warm_pool=4`, full when a session is asked for",
    ),
    Entry(
        name="testcontainers",
        client="testcontainers_client",
        environment="testcontainers",
        how="`DockerContainer`, network `none`, without Ryuk, whose image would be pulled",
    ),
    Entry(
        name="bubblewrap",
        client="bubblewrap",
        kind="floor",
        how="one `bwrap --unshare-all` for each command: namespaces and no engine, no limits",
    ),
    Entry(
        name="subprocess",
        client="local",
        kind="floor",
        how="`subprocess.run` in a temporary directory: no isolation at all",
    ),
)
