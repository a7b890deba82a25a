"""The suites of `make conformance`, and what each must come to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.peers.environments import tools
from benchmarks.peers.images import image_of

from uv_environments import run

Needs = Callable[[], Mapping[str, str]]
"""Makes what is needed of this machine, and returns the variables by which that is found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """A framework's own backend, on which the rules run that fumehood's adapter is timed with."""

    name: str
    passed: int
    xfailed: int = 0
    skipped: int = 0
    needs: Needs = dict


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """One framework's rules, and what they must come to."""

    name: str
    """Its directory, and its argument on the command line."""
    package: str
    """The distribution whose version the table shows."""
    what: str
    passed: int
    skipped: int = 0
    xfailed: int = 0
    why: str = ""
    """The reason for what is skipped or expected to fail, which is always the framework's; or what
    else is to be known."""
    quick: bool = False
    needs: Needs = dict
    own: Own | str
    """The framework's own backend, which --quick leaves out; or why there is none to compare."""
    options: tuple[str, ...] = ()
    """What pytest is told besides."""


AUTO = ("-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function")
"""For suites whose asynchronous tests are pytest-asyncio's, unmarked."""


def _compose() -> dict[str, str]:
    """Find Docker Compose, which Inspect's own sandbox works with."""
    variables = tools()
    run(["docker", "compose", "version"], **variables)
    return variables


def _kernel() -> dict[str, str]:
    """Make an image with what smolagents' rules use, and the server that its own executor needs."""
    return {"FUMEHOOD_KERNEL_IMAGE": image_of("smolagents")}


TABLE = (
    Suite(
        name="pydantic_ai",
        package="pydantic-ai-slim",
        what="`WorkspaceBackendSuite`, 40 rules as root and as another user, and 5 tests of our "
        "own of which sessions a ref may name",
        passed=84,
        skipped=1,
        why="one rule is about permissions, and the suite leaves it out for root",
        quick=True,
        own="it has none for Docker: its `LocalWorkspaceBackend` runs commands on this machine",
    ),
    Suite(
        name="inspect_ai",
        package="inspect-ai",
        what="`self_check`, 44 rules as root and as another user, and 2 tests with whole evals",
        passed=90,
        quick=True,
        own=Own(name="`docker` sandbox", passed=86, xfailed=2, needs=_compose),
        why="the two that its own sandbox may fail are those for root of files without permissions",
    ),
    Suite(
        name="mcp",
        package="mcp",
        what="`@modelcontextprotocol/conformance` 0.1.16, the 6 scenarios that apply to any server",
        passed=6,
        why="the others need the tools, prompts and resources of a server written for them",
        quick=True,
        own="a protocol has no backend",
    ),
    Suite(
        name="deepagents",
        package="deepagents",
        what="`SandboxIntegrationTests` of langchain-tests, 86 rules, and 19 tests of our own",
        passed=98,
        xfailed=7,
        why="7 rules are of deepagents 0.6: since 0.7 `write` overwrites and `glob` returns "
        "absolute paths of files alone, and langchain-tests 1.1.9 does not know it",
        quick=True,
        own="it has none for Docker: `LocalShellBackend` is this machine, `LangSmithSandbox` a "
        "service, and LangChain's `DockerExecutionPolicy` a shell without the calls for files",
        options=AUTO,
    ),
    Suite(
        name="openai_agents",
        package="openai-agents",
        what="one script of 52 steps by fumehood's client and by the framework's own for Docker, "
        "and 38 tests of our own: whole runs with `ScriptedModel` and `ShellTool`, and agents of "
        "the SDK over HTTP, by Responses and by Chat Completions, streamed too",
        passed=39,
        quick=True,
        own=Own(name="`DockerSandboxClient`", passed=1),
    ),
    Suite(
        name="anthropic",
        package="anthropic",
        what="the SDK's types for tools and their results, on every schema that it is given, and "
        "12 tests with whole agents over HTTP, streamed too, its tool runner among them",
        passed=17,
        quick=True,
        own="an SDK for a model's API: its own `bash` tool runs on this machine",
    ),
    Suite(
        name="smolagents",
        package="smolagents",
        what="`CommonDockerExecutorIntegration`, 10 cases, and 28 tests of our own, a whole agent "
        "among them",
        passed=38,
        needs=_kernel,
        own=Own(name="`DockerExecutor`", passed=10),
        why="both have one container for all cases, of one image",
    ),
)
