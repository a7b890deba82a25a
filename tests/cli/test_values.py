from __future__ import annotations

from pathlib import Path

import pytest
import typer

from fumehood import Allow, InvalidRequestError, Volume
from fumehood.cli import values
from fumehood.cli.values import Place, Staged


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30.0), ("1.5", 1.5), ("90s", 90.0), ("10m", 600.0), ("2h", 7200.0), ("1d", 86400.0)],
)
def test_a_duration_has_a_unit_or_is_in_seconds(text: str, seconds: float) -> None:
    assert values.duration(text, "--timeout") == seconds


@pytest.mark.parametrize("text", ["0", "0s", "0.0"])
def test_no_duration_is_no_limit(text: str) -> None:
    assert values.duration(text, "--timeout") is None


@pytest.mark.parametrize("text", ["", "-1", "1w", "nan", "inf", "1e9", "10 m m", "٣"])
def test_what_is_no_duration_is_refused_by_name(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="not a duration"):
        values.duration(text, "--timeout")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512", 512 << 20),
        ("512m", 512 << 20),
        ("64k", 64 << 10),
        ("2g", 2 << 30),
        ("1.5G", 3 << 29),
        ("1GiB", 1 << 30),
        ("1tb", 1 << 40),
    ],
)
def test_a_size_has_a_unit_or_is_in_mebibytes(text: str, size: int) -> None:
    assert values.size(text, "--max-file") == size


@pytest.mark.parametrize("text", ["", "-1", "1x", "m", "1 g g"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="not a size"):
        values.size(text, "--max-file")


def test_memory_is_in_whole_mebibytes() -> None:
    assert values.megabytes("2g", "--memory") == 2048
    with pytest.raises(typer.BadParameter, match="whole number of MiB"):
        values.megabytes("100k", "--memory")


def test_the_later_variable_wins_and_a_name_alone_is_looked_up_outside(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("# a comment\n\nA=file\nB=has=equals\n  # another\nHOME_TOWN\n")
    found = values.environment(["A=option", "C=", "D"], [file], {"HOME_TOWN": "Ulm", "D": "d"})
    assert found == {"A": "option", "B": "has=equals", "HOME_TOWN": "Ulm", "C": "", "D": "d"}


@pytest.mark.parametrize("item", ["=x", "", "NOT_SET_ANYWHERE"])
def test_a_variable_without_name_or_value_is_refused(item: str) -> None:
    with pytest.raises(typer.BadParameter):
        values.environment([item], [], {})


def test_an_environment_file_that_is_not_there_or_huge_is_refused(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match="cannot be read"):
        values.environment([], [tmp_path / "nothing"], {})
    huge = tmp_path / "huge"
    huge.write_bytes(b"A=" + bytes(2 << 20))
    with pytest.raises(typer.BadParameter, match="larger than"):
        values.environment([], [huge], {})


@pytest.mark.parametrize(
    ("text", "local", "remote"),
    [
        ("main.py", "main.py", "main.py"),
        ("src/main.py", "src/main.py", "main.py"),
        ("src/main.py:app/run.py", "src/main.py", "app/run.py"),
        ("src/main.py:app/", "src/main.py", "app/main.py"),
        ("odd:name.txt:plain.txt", "odd:name.txt", "plain.txt"),
    ],
)
def test_a_file_keeps_its_name_unless_told_otherwise(text: str, local: str, remote: str) -> None:
    assert values.staged_file(text) == Staged(Path(local), remote)


@pytest.mark.parametrize(
    ("text", "local", "remote"),
    [
        ("src", "src", "src"),
        ("a/src/", "a/src", "src"),
        (".", ".", "."),
        ("src:.", "src", "."),
        ("src:lib/", "src", "lib"),
    ],
)
def test_a_directory_keeps_its_name_and_a_dot_is_what_it_holds(
    text: str, local: str, remote: str
) -> None:
    assert values.staged_directory(text) == Staged(Path(local), remote)


@pytest.mark.parametrize(
    ("text", "volume"),
    [
        ("datasets:/data", Volume("datasets", "/data")),
        ("datasets:/data:ro", Volume("datasets", "/data")),
        ("cache:/var/cache/app:rw", Volume("cache", "/var/cache/app", read_only=False)),
    ],
)
def test_a_volume_is_read_only_unless_rw_is_said(text: str, volume: Volume) -> None:
    assert values.volume(text) == volume


@pytest.mark.parametrize("text", ["datasets", "datasets:", "datasets:/data:", "d:/data:rx"])
def test_what_is_no_volume_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="NAME:DIR"):
        values.volume(text)


@pytest.mark.parametrize("text", ["", ":x"])
def test_a_place_without_a_local_path_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        values.staged_file(text)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("abc:x/y", Place("abc", "x/y")),
        ("abc:", Place("abc", ".")),
        ("abc:/etc/hosts", Place("abc", "/etc/hosts")),
        ("a.b-c_1:x:y", Place("a.b-c_1", "x:y")),
        ("x/y", Place(None, "x/y")),
        ("./abc:x", Place(None, "./abc:x")),
        ("/abc:x", Place(None, "/abc:x")),
        ("ABC:x", Place(None, "ABC:x")),
        (".", Place(None, ".")),
    ],
)
def test_what_has_an_id_before_a_colon_is_in_a_session(text: str, place: Place) -> None:
    assert values.place(text) == place


def test_the_dashes_before_a_command_are_not_part_of_it() -> None:
    assert values.command_line(["--", "ls", "--", "-l"]) == ["ls", "--", "-l"]
    assert values.command_line(["ls", "-l"]) == ["ls", "-l"]
    assert values.command_line(None) == []
    with pytest.raises(typer.BadParameter, match="options go before"):
        values.command_line(["--raw", "--", "ls"])


@pytest.mark.parametrize(
    ("text", "host", "ports"),
    [
        ("pypi.org", "pypi.org", None),
        ("*.example.org:8443", "*.example.org", (8443,)),
        ("10.0.0.0/8", "10.0.0.0/8", None),
        ("127.0.0.1:80", "127.0.0.1", (80,)),
        ("fd00::/8", "fd00::/8", None),
        ("::1", "::1", None),
        ("[::1]", "::1", None),
        ("[::1]:80", "::1", (80,)),
    ],
)
def test_a_host_may_have_a_port(text: str, host: str, ports: tuple[int, ...] | None) -> None:
    assert values.allowed_host(text) == Allow(host, ports=ports)


@pytest.mark.parametrize(
    "text", ["", ":80", "a.org:", "a.org:x", "a.org:0", "a.org:65536", "http://a.org", "[a.org]:1"]
)
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        values.allowed_host(text)
