"""The framework's tests, which are in its source distribution alone: from PyPI, once."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tarfile
import types
from importlib.metadata import version
from pathlib import Path

import pytest

BUILD = Path(__file__).resolve().parents[3] / ".build" / "conformance"
PATIENCE = 300


def common_tests() -> type:
    """Return the rules that every executor in a container of the framework's own is held to."""
    path = _sources() / "tests" / "test_remote_executors.py"
    # It belongs to a package, of which the distribution lacks the part that it imports: a marker
    # for tests that the framework itself runs on request.
    for name in ("its_tests", "its_tests.utils", "its_tests.utils.markers"):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = []
    markers = sys.modules["its_tests.utils.markers"]
    markers.require_run_all = pytest.mark.skip(reason="the framework's own")  # type: ignore[attr-defined]
    spec = importlib.util.spec_from_file_location("its_tests.test_remote_executors", path)
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


def _pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", *map(str, arguments), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
