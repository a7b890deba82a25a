"""What no environment can hold for the suite: the framework's tests, packages for the image.

The framework's tests are in its source distribution alone. numpy and Pillow, which they use inside
the sandbox, are for the image's Python. Both come from PyPI, at the pinned versions, once.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tarfile
import types
from importlib.metadata import version
from pathlib import Path

import pytest

from fumehood import Session

BUILD = Path(__file__).resolve().parents[3] / ".build" / "conformance"
PATIENCE = 300


def common_tests() -> type:
    """Return the rules that every executor in a container of the framework's own is held to."""
    path = _sources() / "tests" / "test_remote_executors.py"
    # It belongs to a package, of which the distribution lacks the part that it imports: a marker
    # for tests that the framework itself runs on request.
    for name in ("upstream", "upstream.utils", "upstream.utils.markers"):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = []
    markers = sys.modules["upstream.utils.markers"]
    markers.require_run_all = pytest.mark.skip(reason="the framework's own")  # type: ignore[attr-defined]
    spec = importlib.util.spec_from_file_location("upstream.test_remote_executors", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CommonDockerExecutorIntegration  # type: ignore[no-any-return]


def _sources() -> Path:
    name = f"smolagents-{version('smolagents')}"
    if not (BUILD / name).is_dir():
        _pip(
            "download", "--no-deps", "--no-binary=:all:", "--dest", BUILD,
            f"smolagents=={version('smolagents')}",
        )  # fmt: skip
        with tarfile.open(BUILD / f"{name}.tar.gz") as archive:
            archive.extractall(BUILD, filter="data")
    return BUILD / name


def packages(session: Session) -> Path:
    """Return a directory with numpy and Pillow for the Python of a session."""
    asked = "import platform, sys; print('%d.%d' % sys.version_info[:2], platform.machine())"
    python, machine = session.exec(["python3", "-c", asked], check=True).stdout.split()
    place = BUILD / f"smolagents-packages-{python}-{machine}"
    if not place.is_dir():
        made = place.with_suffix(".new")
        _pip(
            "install", "--target", made, "--only-binary=:all:", "--no-deps", "--upgrade",
            "--python-version", python, "--platform", f"manylinux_2_28_{machine}",
            f"numpy=={version('numpy')}", f"pillow=={version('pillow')}",
        )  # fmt: skip
        made.rename(place)
    return place


def _pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", *map(str, arguments), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
