"""How results of asynchronous methods become those of the blocking ones, by their annotations."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The program as a module, with one class of its own: AsyncThing, whose twin is Thing."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    spec = importlib.util.spec_from_file_location("generate_sync", SCRIPTS / "generate_sync.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.delitem(sys.modules, "sync_classes")
    monkeypatch.setitem(module.NAMES, "AsyncThing", "Thing")
    monkeypatch.setitem(module.MODULES, "AsyncThing", "_things")
    return module


def delegate(generator: Any, source: str) -> str:
    (node,) = ast.parse(source).body
    return str(generator.delegate(node))


def last_lines(text: str, count: int) -> list[str]:
    return [line.strip() for line in text.rstrip().splitlines()[-count:]]


def test_a_returned_object_gets_its_blocking_face(generator: Any) -> None:
    text = delegate(generator, 'async def make(self) -> AsyncThing:\n    """Make."""')
    assert "def make(self) -> Thing:" in text
    assert last_lines(text, 1) == ["return Thing(self._call(lambda: self._async.make()))"]


def test_the_objects_in_a_list_get_theirs(generator: Any) -> None:
    text = delegate(generator, 'async def all(self) -> list[AsyncThing]:\n    """List."""')
    assert "def all(self) -> list[Thing]:" in text
    assert last_lines(text, 2) == [
        "made = self._call(lambda: self._async.all())",
        "return [Thing(item) for item in made]",
    ]


def test_of_a_union_only_the_objects_get_one(generator: Any) -> None:
    text = delegate(generator, 'async def find(self) -> str | AsyncThing | None:\n    """Find."""')
    assert "def find(self) -> str | Thing | None:" in text
    assert last_lines(text, 1) == [
        "return Thing(made) if isinstance(made, _things.AsyncThing) else made"
    ]


def test_what_is_awaited_or_entered_is_made_at_once(generator: Any) -> None:
    text = delegate(generator, 'def open(self, n: int) -> Opening[AsyncThing]:\n    """Open."""')
    assert "def open(self, n: int) -> Thing:" in text
    assert last_lines(text, 2) == [
        "opening = self._async.open(n)",
        "return Thing(self._call(lambda: self._await(opening)))",
    ]


def test_overloads_are_kept(generator: Any) -> None:
    source = "@overload\nasync def run(self, *, wait: Literal[False]) -> AsyncThing: ..."
    text = delegate(generator, source)
    assert last_lines(text, 2) == [
        "@overload",
        "def run(self, *, wait: Literal[False]) -> Thing: ...",
    ]


def test_an_object_inside_a_type_that_cannot_be_unpacked_is_an_error(generator: Any) -> None:
    with pytest.raises(SystemExit, match="nothing here can wrap that"):
        delegate(generator, 'async def map(self) -> dict[str, AsyncThing]:\n    """Map."""')
