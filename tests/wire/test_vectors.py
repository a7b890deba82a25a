"""Both readers make of the golden bytes what the vectors say, however they arrive."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from fumehood._wire.table import HEADER_BYTES, Frame, Operation, Violation
from wire.conftest import Dump
from wire.dump import dump
from wire.vectors import Case, load

CASES = load()
each_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])

# A body of two megabytes, byte by byte, says no more than the other cases do.
BYTE_BY_BYTE = 200_000


def cut(data: bytes, most: int, seed: str) -> Iterator[bytes]:
    chance = random.Random(seed)
    at = 0
    while at < len(data):
        step = chance.randint(1, most)
        yield data[at : at + step]
        at += step


@each_case
def test_the_python_reader_says_what_the_vector_says(case: Case) -> None:
    assert dump(case.sender, [case.data]) == case.expected


@each_case
def test_how_the_bytes_are_cut_changes_nothing(case: Case) -> None:
    if len(case.data) <= BYTE_BY_BYTE:
        assert dump(case.sender, cut(case.data, 1, case.name)) == case.expected
    for most in (3, 9, 100, 70_000):
        if len(case.data) // most <= BYTE_BY_BYTE:
            assert dump(case.sender, cut(case.data, most, case.name)) == case.expected


@each_case
def test_more_bytes_behind_a_case_change_nothing(case: Case) -> None:
    if case.violation:
        assert dump(case.sender, [case.data + b"\xff" * 100]) == case.expected
    elif case.sender != "record" and not ends_inside(case):
        assert dump(case.sender, [case.data + b"\xff" * (HEADER_BYTES - 1)]) == case.expected


def ends_inside(case: Case) -> bool:
    """Whether a legal case stops within a frame."""
    at = 0
    while at < len(case.data):
        if len(case.data) - at < HEADER_BYTES:
            return True
        at += HEADER_BYTES + int.from_bytes(case.data[at + 1 : at + 4], "big")
    return at > len(case.data)


@each_case
def test_the_c_reader_says_what_the_vector_says(case: Case, wire_dump: Dump) -> None:
    assert wire_dump(case.sender, case.data) == case.expected


def test_the_vectors_hold_every_frame_operation_and_violation() -> None:
    lines = [line for case in CASES for line in case.lines]
    frames = {line.split()[0] for line in lines} - {"entry"}
    # The parts of a body are one frame to whoever reads them.
    assert frames == {frame.name for frame in Frame} - {Frame.PART.name}
    operations = {
        int(word.removeprefix("operation="))
        for line in lines
        for word in line.split()
        if word.startswith("operation=")
    }
    assert operations == {int(operation) for operation in Operation}
    assert {case.violation for case in CASES if case.violation} == {
        violation.name.lower() for violation in Violation
    }
