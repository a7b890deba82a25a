"""A volume is a name and a directory, both checked when it is made."""

from __future__ import annotations

import pytest

from fumehood import AsyncDockerSandbox, InvalidPathError, InvalidRequestError, Volume
from fumehood.volumes import MAX_VOLUMES, check_volumes


@pytest.mark.parametrize(
    "name",
    ["", "a", "/etc", "./data", "../data", "a/b", "-v", "a b", "a\n", "a:b", "grüße", "x" * 256],
)
def test_what_is_no_name_of_a_volume_is_refused_a_directory_of_the_host_first_of_all(
    name: str,
) -> None:
    with pytest.raises(InvalidRequestError, match="volume"):
        Volume(name, "/data")


@pytest.mark.parametrize("name", ["fumehood-ws-user-42", "fumehood-supervisor-0123-amd64"])
def test_our_own_volumes_cannot_be_named(name: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"Workspace\.persistent"):
        Volume(name, "/data")


@pytest.mark.parametrize("target", ["", "data", "/", "/a/../b", "/a\0", "/a\\b", "/data/"])
def test_a_target_is_an_absolute_directory(target: str) -> None:
    with pytest.raises(InvalidPathError):
        Volume("datasets", target)


def test_it_is_read_only_unless_told_otherwise() -> None:
    assert Volume("datasets", "//data/./set").target == "/data/set"
    assert Volume("datasets", "/data").read_only
    assert not Volume("datasets", "/data", read_only=False).read_only
    with pytest.raises(InvalidRequestError, match="read_only"):
        Volume("datasets", "/data", read_only="no")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("volumes", "message"),
    [
        ("datasets", "list of Volume"),
        (["datasets:/data"], "list of Volume"),
        ([Volume("aa", "/data"), Volume("bb", "/data")], "overlap"),
        ([Volume("aa", "/data/x"), Volume("bb", "/data")], "overlap"),
        ([Volume("aa", f"/d{n}") for n in range(MAX_VOLUMES + 1)], "at most"),
    ],
)
def test_volumes_are_a_list_without_overlap(volumes: object, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        AsyncDockerSandbox(volumes=volumes)  # type: ignore[arg-type]


def test_a_name_that_begins_like_another_is_no_overlap() -> None:
    pair = (Volume("aa", "/data"), Volume("aa", "/data-2"))
    assert check_volumes(pair) == pair
