"""C programs that need nothing of an image."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path


def compile_static(source: Path, made: Path, *options: str) -> None:
    """Compile one file with the machine's compiler, or with the one that builds the wheel."""
    compiler = shutil.which("cc")
    command = [compiler] if compiler else [sys.executable, "-m", "ziglang", "cc"]
    if not compiler:
        command += ["-target", "x86_64-linux-musl"]
    done = subprocess.run(
        [*command, "-static", "-s", "-Wall", "-Werror", *options, "-o", str(made), str(source)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
