"""Every value that a caller can get wrong is refused with a typed, short message, at once."""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import json
import math
import pickle
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fumehood import (
    Allow,
    Hooks,
    InvalidPathError,
    InvalidRequestError,
    Lifecycle,
    Limits,
    Manifest,
    Network,
    Security,
    Workspace,
    options,
)
from fumehood._checks import RESERVED_UID, check_env, check_labels, check_name, check_user

NAN, INF, HUGE, ENDLESS = math.nan, math.inf, 10**400, 10**5000
ODD_NUMBERS = [
    -1,
    NAN,
    INF,
    -INF,
    1 << 63,
    HUGE,
    -HUGE,
    ENDLESS,
    "1",
    "1g",
    b"1",
    None,
    [],
    True,
    1j,
]
SHORT = 600


def refused(make: Callable[[], object]) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        make()
    message = str(caught.value)
    assert len(message) < SHORT
    assert message.isprintable()
    return message


# --- numbers ----------------------------------------------------------------------------------

SECONDS = [
    (Lifecycle, "ttl", True),
    (Lifecycle, "idle_timeout", True),
    (Lifecycle, "disconnect_grace", False),
    (Lifecycle, "heartbeat_timeout", False),
    (Limits, "timeout", True),
]
WHOLE = [
    (Limits, "max_output_bytes", False),
    (Limits, "max_file_bytes", False),
    (Limits, "memory_mb", False),
    (Limits, "pids", False),
    (Limits, "max_processes", False),
    (Limits, "workspace_mb", True),
    (Limits, "disk_floor_mb", True),
]


@pytest.mark.parametrize("kind, name, optional", [*SECONDS, *WHOLE, (Limits, "cpus", False)])
@pytest.mark.parametrize("value", ODD_NUMBERS, ids=lambda value: type(value).__name__)
def test_an_odd_number_is_refused_by_its_option(
    kind: type, name: str, optional: bool, value: object
) -> None:
    if value is None and optional:
        assert getattr(kind(**{name: value}), name) is None
    else:
        assert name in refused(lambda: kind(**{name: value}))


@pytest.mark.parametrize(
    "kind, name, value",
    [
        (Lifecycle, "ttl", 0),
        (Lifecycle, "ttl", 1e-9),
        (Lifecycle, "idle_timeout", 0.05),
        (Lifecycle, "heartbeat_timeout", 0.5),
        (Lifecycle, "ttl", timedelta(days=-1)),
        (Lifecycle, "ttl", timedelta.max),
        (Limits, "timeout", 0),
        (Limits, "timeout", 1e-9),
        (Limits, "memory_mb", 0),
        (Limits, "memory_mb", 15),
        (Limits, "memory_mb", 512.0),
        (Limits, "cpus", 0),
        (Limits, "cpus", 0.001),
        (Limits, "cpus", 5000),
        (Limits, "pids", 1),
        (Limits, "max_processes", 129),
        (Limits, "workspace_mb", 0),
        (Limits, "disk_floor_mb", -1),
        (Limits, "disk_floor_mb", (1 << 24) + 1),
        (Limits, "max_output_bytes", 1.5),
    ],
)
def test_a_number_out_of_range_is_refused_by_its_option(
    kind: type, name: str, value: object
) -> None:
    assert name in refused(lambda: kind(**{name: value}))


def test_durations_are_seconds_or_a_timedelta() -> None:
    lifecycle = Lifecycle(ttl=timedelta(minutes=2), idle_timeout=5, disconnect_grace=0)
    assert (lifecycle.ttl, lifecycle.idle_timeout, lifecycle.disconnect_grace) == (120.0, 5.0, 0.0)
    assert isinstance(lifecycle.idle_timeout, float)
    assert Limits(timeout=None).timeout is None


@given(value=st.floats() | st.integers() | st.timedeltas())
def test_any_duration_is_taken_as_it_is_or_refused(value: float | timedelta) -> None:
    try:
        found = options.seconds(value, "x", minimum=0.1)
    except InvalidRequestError:
        return
    exact = value.total_seconds() if isinstance(value, timedelta) else value
    assert found == exact
    assert found >= 0.1


@pytest.mark.parametrize(
    "make",
    [
        lambda value: Lifecycle(detached=value, ttl=5),
        lambda value: Security(readonly_rootfs=value),
        lambda value: Workspace.persistent("w", destroy_with_session=value),
    ],
)
def test_a_flag_is_true_or_false_and_nothing_like_it(make: Callable[[object], object]) -> None:
    odd: list[object] = [0, 1, "no", None, []]
    for value in odd:
        refused(functools.partial(make, value))


# --- names ------------------------------------------------------------------------------------

BAD_NAMES = [
    "",
    "A",
    "a b",
    "a\n",
    "\na",
    "a/b",
    "../a",
    ".a",
    "a.",
    "-a",
    "a-",
    "_a",
    "$(reboot)",
    "a\0",
    "x" * 64,
    "x" * 1_000_000,
    "ä",
    "\u212a",  # KELVIN SIGN, whose lower case is k
    "\u0131",
    "\u0660",
    "\ud800",
    5,
    None,
    b"a",
]


@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: repr(name)[:20])
def test_a_bad_name_is_refused_wherever_it_names_something(name: object) -> None:
    assert "id" in refused(lambda: check_name(name, "session id"))  # type: ignore[arg-type]
    refused(lambda: Workspace.persistent(name))  # type: ignore[arg-type]


@given(st.text(max_size=70))
def test_what_is_a_name_stays_itself_in_any_case_and_any_form(name: str) -> None:
    """Two ids never map to one engine name: nothing is folded, replaced or cut."""
    import unicodedata

    try:
        assert check_name(name, "id") == name
    except InvalidRequestError:
        return
    assert name.isascii()
    assert name == name.lower() == name.casefold()
    for form in ("NFC", "NFKC"):
        assert unicodedata.normalize(form, name) == name
    assert len(name) <= 63


def test_different_names_are_different_objects_on_the_engine() -> None:
    from fumehood.engines.container_spec import container_name, workspace_volume

    ids = ["a", "a.b", "a-b", "a_b", "ws-a", "supervisor-a", "0", "a" * 63]
    assert len({container_name(name) for name in ids}) == len(ids)
    assert len({workspace_volume(name) for name in ids}) == len(ids)


# --- environment, user, labels ----------------------------------------------------------------


@pytest.mark.parametrize(
    "env",
    [
        {"": "x"},
        {"A=B": "x"},
        {"A B": "x"},
        {"1A": "x"},
        {"Ä": "x"},
        {"A\n": "x"},
        {"A\0": "x"},
        {"A" * 1_000_000 + "-": "x"},
        {5: "x"},
        {"A": 5},
        {"A": None},
        {"A": b"x"},
        {"A": "a\0b"},
        {"A": "\ud800"},
        {"A": "x" * (1 << 20)},
        {f"A{n}": "" for n in range(100_000)},
        [("A", "x")],
        "A=x",
        5,
    ],
    ids=lambda env: repr(env)[:20],
)
def test_a_bad_environment_is_refused(env: object) -> None:
    refused(lambda: check_env(env))  # type: ignore[arg-type]
    refused(lambda: Manifest(env=env))  # type: ignore[arg-type]


def test_a_good_environment_is_copied() -> None:
    env = {"PATH": "/bin:/usr/bin", "_": "a=b\n", "U": "é\udcff"}
    found = check_env(env)
    env["LATER"] = "x"
    assert found == {"PATH": "/bin:/usr/bin", "_": "a=b\n", "U": "é\udcff"}
    assert check_env(None) == {}


@pytest.mark.parametrize(
    "user",
    [
        "",
        " ",
        "a b",
        "a\n",
        "a:b:c",
        ":a",
        "a:",
        "-1",
        -1,
        "$(id)",
        "ä",
        "٣",
        RESERVED_UID,
        str(RESERVED_UID),
        f"0{RESERVED_UID}",
        f"a:{RESERVED_UID}",
        f"{RESERVED_UID}:0",
        1 << 31,
        str(1 << 31),
        "9" * 60,
        ENDLESS,
        "x" * 1_000_000,
        True,
        1.0,
        b"root",
        [],
    ],
    ids=lambda user: "number" if isinstance(user, int) else repr(user)[:20],
)
def test_a_bad_user_is_refused(user: object) -> None:
    refused(lambda: check_user(user))  # type: ignore[arg-type]


def test_a_good_user_is_a_name_or_a_number_with_or_without_a_group() -> None:
    assert check_user(None) is None
    assert [check_user(user) for user in (0, 1000, "node", "1000:100", "a.b-c:d_e")] == [
        "0",
        "1000",
        "node",
        "1000:100",
        "a.b-c:d_e",
    ]


@pytest.mark.parametrize(
    "labels",
    [
        {"": "x"},
        {"A": "x"},
        {"a b": "x"},
        {"-a": "x"},
        {"a" * 129: "x"},
        {"a" * 1_000_000: "x"},
        {"fumehood": "x"},
        {"fumehood.session": "x"},
        {5: "x"},
        {"a": 5},
        {"a": "\n"},
        {"a": "\x1b]52;c;x\x07"},
        {"a": "\x9b"},
        {"a": "\x7f"},
        {"a": "\ud800"},
        {"a": "x" * 4097},
        {"a": "x" * 1_000_000},
        {f"a{n}": "x" for n in range(65)},
        ["a"],
        "a",
    ],
    ids=lambda labels: repr(labels)[:20],
)
def test_a_bad_label_is_refused(labels: object) -> None:
    refused(lambda: check_labels(labels, "labels"))  # type: ignore[arg-type]


def test_a_good_label_is_taken() -> None:
    labels = {"team": "é 😀", "com.example/x_y-z": "", "fumehoods": "not ours"}
    assert check_labels(labels, "labels") == labels


# --- groups of options ------------------------------------------------------------------------


def test_an_ephemeral_workspace_has_no_name_and_always_goes() -> None:
    refused(lambda: Workspace(id="w"))
    refused(lambda: Workspace(destroy_with_session=False))
    refused(lambda: Workspace(mode="persistent"))
    refused(lambda: Workspace(mode="both"))  # type: ignore[arg-type]
    refused(lambda: Workspace(mode=[]))  # type: ignore[arg-type]
    assert Workspace.ephemeral() == Workspace()
    assert not Workspace.persistent("w").destroy_with_session


def test_a_detached_session_needs_an_end() -> None:
    assert "ttl" in refused(lambda: Lifecycle(detached=True))
    assert Lifecycle(detached=True, idle_timeout=1).detached


@pytest.mark.parametrize(
    "make",
    [
        lambda: Network(mode="host"),  # type: ignore[arg-type]
        lambda: Network(mode="named"),
        lambda: Network(name="x"),
        lambda: Network.named("host"),
        lambda: Network.named("none"),
        lambda: Network.named("bridge"),
        lambda: Network.named("default"),
        lambda: Network.named("container:abc"),
        lambda: Network.named("a b"),
        lambda: Network.named("-x"),
        lambda: Network.named("x" * 1_000_000),
        lambda: Network.named(5),  # type: ignore[arg-type]
        Network.allow,
        lambda: Network.allow("a b"),
        lambda: Network.allow("example.org", ports=()),
        lambda: Network.allow("example.org", ports=(0,)),
        lambda: Network.allow("example.org", ports=443),  # type: ignore[arg-type]
        lambda: Network.allow(*(f"a{n}.example.org" for n in range(1001))),
        lambda: Network(mode="allow", domains=Allow("a.b")),  # type: ignore[arg-type]
        lambda: Network.allow("http://example.org"),
        lambda: Network.allow("*"),
        lambda: Network.allow("a" * 1_000_000),
        lambda: Network.allow(5),  # type: ignore[arg-type]
        lambda: Network(mode="allow", domains="example.org"),  # type: ignore[arg-type]
        lambda: Network(mode="allow", domains=5),  # type: ignore[arg-type]
        lambda: Network(mode="bridge", domains=("example.org",)),
    ],
)
def test_a_bad_network_is_refused(make: Callable[[], object]) -> None:
    refused(make)


def test_a_network_holds_what_cannot_change() -> None:
    domains = ["example.org", "*.example.org"]
    network = Network(mode="allow", domains=domains)  # type: ignore[arg-type]
    domains.append("late.example")
    assert network == Network.allow("example.org", "*.example.org")


@pytest.mark.parametrize(
    "options",
    [
        {"workload_capabilities": "CHOWN"},
        {"workload_capabilities": 5},
        {"workload_capabilities": None},
        {"workload_capabilities": ("SYS_ADMIN",)},
        {"workload_capabilities": ("x" * 1_000_000,)},
        {"workload_capabilities": (5,)},
        {"seccomp": "unconfined"},
        {"seccomp": ""},
        {"seccomp": "{"},
        {"seccomp": "[]"},
        {"seccomp": "{}"},
        {"seccomp": "[" * 100_000},
        {"seccomp": json.dumps({"defaultAction": "SCMP_ACT_ALLOW"})},
        {"seccomp": json.dumps({"defaultAction": "SCMP_ACT_LOG"})},
        {"seccomp": json.dumps({"defaultAction": "SCMP_ACT_TRACE"})},
        {"seccomp": json.dumps({"defaultAction": ["SCMP_ACT_ERRNO"]})},
        {"seccomp": '{"defaultAction": "SCMP_ACT_ERRNO", "DefaultAction": "SCMP_ACT_ALLOW"}'},
        {"seccomp": 5},
        {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO"}},
        {"runtime": ""},
        {"runtime": "-x"},
        {"runtime": "a b"},
        {"runtime": "x" * 1_000_000},
        {"runtime": 5},
    ],
    ids=lambda options: repr(options)[:40],
)
def test_bad_security_is_refused(options: dict[str, object]) -> None:
    refused(lambda: Security(**options))  # type: ignore[arg-type]


def test_capabilities_are_named_in_any_way_and_once() -> None:
    security = Security(workload_capabilities=("cap_chown", "SETUID", "CHOWN"))
    assert security.workload_capabilities == ("CHOWN", "SETUID")


@pytest.mark.parametrize(
    "options",
    [
        {"files": ["a"]},
        {"files": "a"},
        {"files": {"a": 5}},
        {"files": {"a": None}},
        {"files": {"a": "\ud800"}},
        {"files": {5: "x"}},
        {"files": {"/etc/passwd": "x"}},
        {"files": {"../x": "x"}},
        {"files": {"": "x"}},
        {"files": {"x" * 1_000_000: "x"}},
        {"files": {"a": "1", "./a": "2"}},
        {"directories": "a"},
        {"directories": 5},
        {"directories": ("/a",)},
        {"directories": (5,)},
    ],
    ids=lambda options: repr(options)[:40],
)
def test_a_bad_manifest_is_refused(options: dict[str, object]) -> None:
    refused(lambda: Manifest(**options))  # type: ignore[arg-type]


def test_a_manifest_is_normalised_and_frozen() -> None:
    files: dict[str, str | bytes] = {"a//b/./c": "x"}
    manifest = Manifest(files=files, directories=["d/./e"])  # type: ignore[arg-type]
    files["late"] = "x"
    assert dict(manifest.files) == {"a/b/c": "x"}
    assert manifest.directories == ("d/e",)
    with pytest.raises(TypeError):
        manifest.files["b"] = "y"  # type: ignore[index]
    assert dict(Manifest(files={"a": bytearray(b"x")}).files) == {"a": b"x"}  # type: ignore[dict-item]
    with pytest.raises(InvalidPathError):
        Manifest(files={"a\\b": ""})


def test_files_may_lie_in_directories_that_are_named_too() -> None:
    manifest = Manifest(files={"a/b": "1", "a/c/d": "2", "ab": "3"}, directories=("a", "a/c", "e"))
    assert manifest.directories == ("a", "a/c", "e")


# --- hooks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Hooks)])
def test_a_hook_that_cannot_be_called_is_refused(name: str) -> None:
    assert name in refused(lambda: Hooks(**{name: 5}))  # type: ignore[arg-type]
    assert getattr(Hooks(**{name: print}), name) is print


ALL = [
    Workspace.persistent("w"),
    Lifecycle(ttl=5),
    Limits(),
    Network.allow("example.org", Allow("b.org", headers={"Authorization": "secret"}), ports=(80,)),
    Security(workload_capabilities=("CHOWN",)),
    Manifest(files={"a": "x"}, env={"A": "1"}),
]


@pytest.mark.parametrize("value", ALL, ids=lambda value: type(value).__name__)
def test_options_are_values(value: object) -> None:
    assert dataclasses.is_dataclass(value)
    assert not isinstance(value, type)
    names = [field.name for field in dataclasses.fields(value)]
    for name in names:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, name, None)
    assert copy.deepcopy(value) == value
    assert dataclasses.replace(value) == value
    assert type(value).__name__ in repr(value)


def test_a_secret_of_a_rule_is_in_no_text() -> None:
    network = Network.allow(Allow("a.org", headers={"Authorization": "hunter2"}))
    for text in (repr(network), str(network), json.dumps(options.to_dict(network))):
        assert "hunter2" not in text
    assert "hunter2" not in repr(network.rules)
    assert pickle.loads(pickle.dumps(network)) == network
    assert hash(network) == hash(copy.deepcopy(network))


def test_options_as_plain_data_can_be_written_as_json() -> None:
    for value in itertools.islice(ALL, 5):
        assert json.loads(json.dumps(options.to_dict(value)))  # type: ignore[arg-type]
