"""The errors: one root, a drawn tree that is true, builtins that are caught, and safe messages."""

from __future__ import annotations

import copy
import inspect
import pickle
import re

import pytest

import fumehood
from fumehood import ErrorCode, ExecReason, ExecResult, SandboxError, errors
from fumehood._wire.codec import WireViolationError
from fumehood._wire.table import Violation

CLASSES: list[type[SandboxError]] = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, SandboxError)
]
RESULT = ExecResult(
    stdout_bytes=b"out",
    stderr_bytes=b"\x1b]52;c;x\x07\rbad \xe2\x80\xae",
    exit_code=3,
    signal=None,
    duration=1.5,
    reason=ExecReason.EXITED,
)


def make(kind: type[SandboxError]) -> SandboxError:
    """An error of any class, with all that it can hold."""
    known = {
        "op": "exec",
        "session_id": "s1",
        "path": "a/b",
        "port": 80,
        "reason": "ttl",
        "result": RESULT,
    }
    parameters = inspect.signature(kind).parameters
    more = {name: value for name, value in known.items() if name in parameters}
    return kind("what was wrong", **more)  # type: ignore[arg-type]


def drawn() -> dict[str, tuple[str, tuple[str, ...]]]:
    """The tree of the module's docstring: name -> parent, builtins."""
    tree: dict[str, tuple[str, tuple[str, ...]]] = {"SandboxError": ("Exception", ())}
    parents = ["SandboxError"]
    for line in inspect.getdoc(errors).splitlines():  # type: ignore[union-attr]
        match = re.match(r"^    ([│ ├└─]*)(\w+Error)(?: \((\w+)\))?", line)
        if match and match[1]:
            depth = len(match[1]) // 4
            tree[match[2]] = (parents[depth - 1], (match[3],) if match[3] else ())
            parents[depth:] = [match[2]]
    return tree


def test_the_drawn_tree_is_the_tree() -> None:
    actual: dict[str, tuple[str, tuple[str, ...]]] = {}
    for kind in CLASSES:
        ours = [base for base in kind.__bases__ if base in CLASSES]
        others = tuple(base.__name__ for base in kind.__bases__ if base not in CLASSES)
        if kind is SandboxError:
            actual[kind.__name__] = ("Exception", ())
        else:
            (parent,) = ours
            actual[kind.__name__] = (parent.__name__, others)
    assert drawn() == actual


def test_every_class_has_a_code_of_its_own_and_every_code_a_class() -> None:
    codes = [str(vars(kind).get("code")) for kind in CLASSES]
    assert sorted(codes) == sorted(ErrorCode)
    assert all(isinstance(kind.retryable, bool) for kind in CLASSES)


def test_every_error_is_public() -> None:
    assert {kind.__name__ for kind in CLASSES} <= set(fumehood.__all__)


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_says_its_message_and_what_it_knows(kind: type[SandboxError]) -> None:
    error = make(kind)
    assert str(error) == "what was wrong"
    assert (error.op, error.session_id) == ("exec", "s1")
    assert "what was wrong" in repr(error)


@pytest.mark.parametrize("kind", [*CLASSES, WireViolationError])
def test_an_error_is_copied_and_pickled_with_what_it_knows(kind: type[SandboxError]) -> None:
    error = (
        WireViolationError(Violation.BAD_TEXT, "what was wrong")
        if kind is WireViolationError
        else make(kind)
    )
    error.add_note("a note")
    for other in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert type(other) is kind
        assert str(other) == str(error)
        assert vars(other) == vars(error)
        assert other.args == error.args


@pytest.mark.parametrize(
    "reason, kind, words",
    [
        (ExecReason.EXITED, fumehood.CommandFailedError, "exit code 3"),
        (ExecReason.SIGNALED, fumehood.CommandFailedError, "signal 9"),
        (ExecReason.CANCELLED, fumehood.CommandFailedError, "signal 9"),
        (ExecReason.TIMED_OUT, fumehood.CommandTimeoutError, "killed after 1.500 s"),
        (ExecReason.OUT_OF_MEMORY, fumehood.CommandOutOfMemoryError, "memory_mb"),
    ],
)
def test_a_checked_command_shows_its_last_words_and_obeys_none(
    reason: ExecReason, kind: type[fumehood.CommandFailedError], words: str
) -> None:
    signal = None if reason is ExecReason.EXITED else 9
    result = ExecResult(
        stdout_bytes=b"",
        stderr_bytes=b"x" * 5000 + RESULT.stderr_bytes,
        exit_code=3 if signal is None else 137,
        signal=signal,
        duration=1.5,
        reason=reason,
    )
    with pytest.raises(kind, match=words) as caught:
        result.check()
    assert type(caught.value) is kind
    assert caught.value.result is result
    message = str(caught.value)
    assert len(message) < 1000
    assert message.endswith("\\x1b]52;c;x\\x07\\x0dbad \\u202e")


def test_a_result_that_is_ok_checks_to_itself() -> None:
    result = ExecResult(
        stdout_bytes=b"caf\xc3\xa9",
        stderr_bytes=b"",
        exit_code=0,
        signal=None,
        duration=0.0,
        reason=ExecReason.EXITED,
    )
    assert result.check() is result
    assert (result.ok, result.stdout, result.stdout_truncated) == (True, "café", False)
    assert pickle.loads(pickle.dumps(result)) == result


@pytest.mark.parametrize(
    "dropped, data, shown",
    [
        (0, b"ab\xe2\x82", "ab\ufffd"),  # the command's own stray bytes
        (1, b"ab\xe2\x82", "ab"),  # the cap cut a character
        (1, b"ab\xff\xe2\x82", "ab\ufffd"),
        (0, b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),
        (0, b"a\0b\r\n", "a\0b\r\n"),
    ],
)
def test_output_is_text_by_one_rule(dropped: int, data: bytes, shown: str) -> None:
    result = ExecResult(
        stdout_bytes=data,
        stderr_bytes=data,
        exit_code=0,
        signal=None,
        duration=0.0,
        reason=ExecReason.EXITED,
        stdout_dropped=dropped,
        stderr_dropped=dropped,
    )
    assert result.stdout == result.stderr == shown
    assert result.stdout_truncated == bool(dropped)
    assert result.stdout_bytes == data
