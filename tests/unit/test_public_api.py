"""The public surface: what can be imported, what an import costs, and that both APIs are one."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import typing
from collections.abc import Callable
from pathlib import Path

import pytest

import fumehood
from fumehood import exec as exec_module
from fumehood import file_streams, process_streams
from fumehood._sync import session as sync_session

ROOT = Path(__file__).resolve().parents[2]
PAIRS = [
    (fumehood.AsyncDockerSandbox, fumehood.DockerSandbox),
    (fumehood.AsyncSession, fumehood.Session),
    (exec_module.ExecStream, sync_session.ExecStream),
    (file_streams.FileReader, sync_session.FileReader),
    (file_streams.FileWriter, sync_session.FileWriter),
    (fumehood.AsyncTerminal, fumehood.Terminal),
    (fumehood.AsyncPortForward, fumehood.PortForward),
    (fumehood.AsyncPortStream, fumehood.PortStream),
    (process_streams.ProcessStream, sync_session.ProcessStream),
    (fumehood.AsyncProcess, fumehood.Process),
]
# Of the asynchronous classes' making alone.
INTERNAL = {"disown", "fork_session", "give_up", "naming", "nonce", "take_files"}
LIFE = {
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "aclose": "close",
}


def test_everything_that_is_imported_is_exported_and_the_other_way_round() -> None:
    tree = ast.parse((ROOT / "src" / "fumehood" / "__init__.py").read_text(encoding="utf-8"))
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == set(fumehood.__all__)
    assert sorted(set(fumehood.__all__)) == sorted(fumehood.__all__)
    for name in fumehood.__all__:
        assert getattr(fumehood, name) is not None


def test_every_public_class_says_what_it_is() -> None:
    for name in fumehood.__all__:
        value = getattr(fumehood, name)
        if inspect.isclass(value):
            assert inspect.getdoc(value), name


def modules_after(statement: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"{statement}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import fumehood",
        "import fumehood; fumehood.DockerSandbox.python(limits=fumehood.Limits(pids=64))",
    ],
)
def test_importing_it_loads_no_client_library_and_no_command_line(statement: str) -> None:
    loaded = modules_after(statement)
    heavy = {"aiodocker", "aiohttp", "typer", "click", "rich", "yarl", "multidict", "fumehood.cli"}
    assert loaded & heavy == set()
    assert "fumehood" in loaded


def public(kind: type) -> dict[str, object]:
    names = {name for name in dir(kind) if not name.startswith("_")} - INTERNAL
    names |= {name for name in (*LIFE, *LIFE.values()) if hasattr(kind, name)}
    return {name: inspect.getattr_static(kind, name) for name in names}


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[1].__name__)
def test_the_blocking_class_has_the_same_methods(pair: tuple[type, type]) -> None:
    asynchronous, blocking = pair
    expected = {LIFE.get(name, name) for name in public(asynchronous)}
    assert set(public(blocking)) == expected


def underlying(member: object) -> Callable[..., object]:
    """The function of a method, a class method or a property."""
    if isinstance(member, property):
        assert member.fget is not None
        return member.fget
    if isinstance(member, (classmethod, staticmethod)):
        return member.__func__
    assert inspect.isfunction(member)
    return member


def plain(annotation: object) -> object:
    """An annotation without what the two APIs differ in on purpose."""
    text = str(annotation).replace("SessionRequest", "AsyncSession")
    text = re.sub(r"\bOpening\[(\w+)\]", r"\1", text)
    return re.sub(r"\bAsync(\w+)", r"\1", text)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[1].__name__)
def test_the_blocking_methods_have_the_same_signatures(pair: tuple[type, type]) -> None:
    asynchronous, blocking = pair
    others = public(blocking)
    for name, value in public(asynchronous).items():
        if name in LIFE:
            continue
        assert type(value) is type(others[name]), name
        function, other = underlying(value), underlying(others[name])
        ours, theirs = inspect.signature(function), inspect.signature(other)
        assert list(ours.parameters) == list(theirs.parameters), name
        for parameter in ours.parameters.values():
            twin = theirs.parameters[parameter.name]
            assert (parameter.kind, parameter.default) == (twin.kind, twin.default), name
            assert parameter.annotation == twin.annotation, name
        assert plain(ours.return_annotation) == plain(theirs.return_annotation), name
        assert not inspect.iscoroutinefunction(other), name
        assert inspect.getdoc(other), name
        assert "await" not in str(inspect.getdoc(other)), name


@pytest.mark.parametrize("pair", PAIRS[:2], ids=lambda pair: pair[1].__name__)
def test_annotations_can_be_read_at_run_time(pair: tuple[type, type]) -> None:
    for kind in pair:
        for name, value in public(kind).items():
            if inspect.isfunction(value):
                assert typing.get_type_hints(value), name


def test_what_is_generated_is_current() -> None:
    for program in ("scripts/generate_sync.py", "protocol/generate.py"):
        done = subprocess.run(
            [sys.executable, str(ROOT / program), "--check"],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
