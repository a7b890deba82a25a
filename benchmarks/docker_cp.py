"""The baseline of trees and gigabytes: ``docker cp``, the command that people use for them."""

from __future__ import annotations

import asyncio
import shutil

from benchmarks.row import NotMeasurableError


async def docker_cp(source: str, target: str) -> None:
    """Copy a file or a tree; one of the two names begins with a container's and a colon.

    Raises:
        NotMeasurableError: There is no Docker command line on this machine.
    """
    program = shutil.which("docker")
    if program is None:
        raise NotMeasurableError("the baseline is `docker cp`, and there is no docker on PATH")
    process = await asyncio.create_subprocess_exec(
        program,
        "cp",
        source,
        target,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"docker cp {source} {target}: {err.decode(errors='replace').strip()}")
