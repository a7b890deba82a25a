"""What attacks print, judged: good is nothing, bad is told, and silence is never good."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fumehood._wire import codec
from fumehood._wire.table import Frame
from fumehood.cli.self_check import judges
from fumehood.cli.self_check.checks import FORGED
from fumehood.cli.self_check.ground import NotTriedError, load

Judge = Callable[[str], list[str]]


def attempts(count: int, *more: str) -> str:
    """So many attempts that were refused, and others."""
    return "".join(f"way-{number} 1\n" for number in range(count)) + "".join(
        f"{line}\n" for line in more
    )


STATUS = (
    "Uid:\t{uid}\t{uid}\t{uid}\t{uid}\nCapInh:\t{caps}\nCapPrm:\t0\nCapEff:\t0\nCapBnd:\te0\n"
    "CapAmb:\t0\nNoNewPrivs:\t{nnp}\nSeccomp:\t{seccomp}\n"
)
VSOCK = [f"vsock-{number} 97" for number in range(5)]
FILTER = ["no-new-privs on", "own-filter added", "int80-20 signal 31", "getpid 38", *VSOCK]


def status(uid: str = "0", caps: str = "0", nnp: str = "1", seccomp: str = "2") -> str:
    return STATUS.format(uid=uid, caps=caps, nnp=nnp, seccomp=seccomp)


def forged(text: str) -> list[str]:
    return judges.forged(text, 14)


GOOD: list[tuple[Judge, str]] = [
    (judges.matrix, "872 probes of 2 processes\n"),
    (judges.signals, "64 refused\n"),
    (forged, "14 bytes, many places\n"),
    (judges.binary, "tracing of a program that may be read\ntried everything\n"),
    (judges.descriptors, "0 device\n1 pipe\n2 pipe\n"),
    (judges.identity, status()),
    (judges.privileges, attempts(12, "oom-score ok")),
    (judges.calls, attempts(80)),
    (judges.filter_evaded, attempts(8, *FILTER)),
    (judges.network, attempts(80, "family-1 ok", "device-lo ok")),
    (
        judges.kernel_files,
        "device /dev/null c 1:3\nwritable /proc/pressure/cpu\ntried 5000\n",
    ),
]

BAD: list[tuple[Judge, str, str]] = [
    (judges.matrix, "first: kill 15\n872 probes of 2 processes\n", "first: kill 15"),
    (judges.signals, "63 refused\n", "1 signals were sent"),
    (forged, "/proc/1/fd/1\n14 bytes, many places\n", "/proc/1/fd/1"),
    (judges.binary, "open\ntried everything\n", "open"),
    (judges.descriptors, "0 device\n1 pipe\n2 pipe\n3 other\n", "descriptor 3 other"),
    (judges.identity, status(caps="20"), "CapInh is 20"),
    (judges.identity, status(nnp="0"), "no_new_privs is not set"),
    (judges.identity, status(seccomp="0"), "there is no seccomp filter"),
    (judges.identity, status(uid="64999"), "its uids are 64999 64999 64999 64999"),
    (judges.privileges, attempts(12, "capset ok"), "capset"),
    (judges.calls, attempts(80, "bpf ok"), "bpf"),
    (judges.filter_evaded, attempts(8, *FILTER, "vsock ok"), "vsock"),
    (judges.filter_evaded, attempts(8, *FILTER, "int80-21 survived"), "int80-21"),
    (judges.filter_evaded, attempts(8, *VSOCK, "no-new-privs off"), "no_new_privs was taken off"),
    (judges.network, attempts(80, "device-lo ok", "device-eth0 ok"), "device-eth0"),
    (judges.network, attempts(80, "device-lo ok", "tcp-1.1.1.1 ok"), "tcp-1.1.1.1"),
    (judges.kernel_files, "writable /proc/sys/a\ntried 5000\n", "writable /proc/sys/a"),
    (judges.kernel_files, "device /dev/kvm c 10:232\ntried 5000\n", "device /dev/kvm c 10:232"),
]

CUT: list[tuple[Judge, str]] = [
    (judges.matrix, "first: kill 15\n"),
    (judges.matrix, "872 probes of 1 processes\n"),
    (judges.matrix, "3 probes of 2 processes\n"),
    (forged, "13 bytes, many places\n"),
    (forged, "14 bytes, few places\n"),
    (judges.binary, "tried little\n"),
    (judges.identity, "Uid:\t0\t0\t0\t0\nCapInh:\t0\n"),
    (judges.privileges, attempts(2)),
    (judges.calls, attempts(3)),
    (judges.filter_evaded, attempts(20, "no-new-privs on", "vsock 1")),
    (judges.network, attempts(80)),
    (judges.kernel_files, "tried 10\n"),
]


def name(value: object) -> str | None:
    return getattr(value, "__name__", "") or None


@pytest.mark.parametrize(("judge", "text"), GOOD, ids=name)
def test_what_held_is_nothing(judge: Judge, text: str) -> None:
    assert judge(text) == []


@pytest.mark.parametrize(("judge", "text", "told"), BAD, ids=name)
def test_what_got_through_is_told(judge: Judge, text: str, told: str) -> None:
    assert judge(text) == [told]


@pytest.mark.parametrize(("judge", "text"), CUT, ids=name)
def test_an_attack_that_was_not_made_as_it_should_is_no_proof(judge: Judge, text: str) -> None:
    with pytest.raises(NotTriedError):
        judge(text)


@pytest.mark.parametrize("judge", [judge for judge, _ in GOOD], ids=name)
def test_silence_is_no_proof(judge: Judge) -> None:
    with pytest.raises(NotTriedError):
        judge("")


def test_every_judge_has_a_text_that_it_does_not_let_pass() -> None:
    assert {judge for judge, _ in GOOD} == {judge for judge, _, _ in BAD}


def test_probes_that_find_nothing_anywhere_show_nothing() -> None:
    with pytest.raises(NotTriedError):
        judges.matrix_works("872 probes of 1 processes\n")
    judges.matrix_works("first: kill 0\n" * 60)


def test_a_forged_frame_is_what_the_supervisor_would_write() -> None:
    assert codec.encode_frame(Frame.STDOUT, 1, b"forged") == FORGED


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_all_attacks_are_there_for_every_architecture(architecture: str) -> None:
    assert load(architecture).startswith(b"\x7fELF")
