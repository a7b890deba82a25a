"""What a run of cases has shown, as JSON: which held, when, and on which engine."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cases.mark import case_of
from contract.observer import Observer

VARIABLE = "FUMEHOOD_CASE_REPORT"
"""Names the file to write; without it nothing is written."""


_REPORT = pytest.StashKey["Report"]()


def register(config: pytest.Config, suite: str) -> None:
    """Let a suite's run be reported."""
    config.stash[_REPORT] = report = Report()
    config.pluginmanager.register(report, f"fumehood-{suite}-report")


async def note_engine(config: pytest.Config, observer: Observer) -> None:
    """Put the engine's versions into the report."""
    version = await observer.call("GET", "version")
    config.stash[_REPORT].engine = {
        part["Name"]: part["Version"] for part in version["Components"]
    } | {"API": version["ApiVersion"]}


class Report:
    """A pytest plugin: collects how each case ended, and writes the file at the end of the run."""

    def __init__(self) -> None:
        self._cases: dict[str, tuple[str, str]] = {}
        self._tests: dict[str, dict[str, Any]] = {}
        self.engine: dict[str, str] = {}
        """Filled by whoever has asked the engine."""

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note the ids."""
        for item in session.items:
            found = case_of(item)
            if found is not None:
                self._cases[item.nodeid] = found

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note an outcome; a failing set-up or an invariant that did not hold fails its case."""
        if report.nodeid not in self._cases:
            return
        number, promise = self._cases[report.nodeid]
        entry = self._tests.setdefault(
            report.nodeid, {"case": number, "promise": promise, "held": True, "seconds": 0.0}
        )
        entry["held"] = entry["held"] and report.passed
        if not report.passed and "reason" not in entry:
            entry["reason"] = reason(report)
        entry["seconds"] = round(entry["seconds"] + report.duration, 3)

    def pytest_sessionfinish(self) -> None:
        """Write the file."""
        target = os.environ.get(VARIABLE)
        if target:
            path = Path(target)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(self.document(), indent=2) + "\n", encoding="utf-8")

    def document(self) -> dict[str, Any]:
        """Return what is written."""
        tests = dict(sorted(self._tests.items()))
        return {
            "date": datetime.now(UTC).date().isoformat(),
            "kernel": platform.release(),
            "machine": platform.machine(),
            "engine": self.engine,
            "cases": len({entry["case"] for entry in tests.values()}),
            "tests": len(tests),
            "held": sum(entry["held"] for entry in tests.values()),
            "results": [{"test": name, **entry} for name, entry in tests.items()],
        }


def reason(report: pytest.TestReport) -> str:
    """Return why a test did not pass, in one line: an expected failure says so itself."""
    expected: str | None = getattr(report, "wasxfail", None)
    if expected is not None:
        return expected.removeprefix("reason: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    text = str(crash.message if crash is not None else report.longrepr or report.outcome)
    return text.splitlines()[0] if text else report.outcome
