"""A whole eval by name: files, set-up, a tool call, a score; and nothing is left of it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from fumehood import AsyncDockerSandbox
from fumehood.adapters.inspect_ai import TASK, FumehoodConfig, FumehoodSandboxEnvironment

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "inspect_eval.py"
IMAGE = os.environ.get("FUMEHOOD_IMAGE", "fumehood/test-python")


def test_the_example_is_an_eval_in_which_every_sample_is_right() -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLE],
        env={**os.environ, "FUMEHOOD_IMAGE": IMAGE},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "includes accuracy: 1.0" in done.stdout
    assert asyncio.run(_of_evals()) == []


def test_the_clean_up_of_the_command_line_ends_the_sessions_of_evals_alone() -> None:
    async def main() -> None:
        config = FumehoodConfig(image=IMAGE)
        environments = await FumehoodSandboxEnvironment.sample_init("left", config, {})
        async with AsyncDockerSandbox(image=IMAGE) as sandbox:
            other = await sandbox.create_session()
            await FumehoodSandboxEnvironment.cli_cleanup(None)
            assert await _of_evals() == []
            assert (await other.exec(["true"])).ok
        await FumehoodSandboxEnvironment.sample_cleanup("left", config, environments, True)

    asyncio.run(main())


async def _of_evals() -> list[str]:
    async with AsyncDockerSandbox(image=IMAGE) as sandbox:
        sessions = await sandbox.list_sessions()
    return [info.id for info in sessions if TASK in info.metadata]
