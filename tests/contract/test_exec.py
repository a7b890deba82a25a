"""Commands: what they are given, and how their end is told."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import PurePosixPath

import pytest

from contract.adapter import Api
from contract.programs import python, write_bytes
from fumehood import (
    AsyncSession,
    CommandFailedError,
    CommandTimeoutError,
    ExecReason,
    Limits,
    Manifest,
)

SHOW_ARGV = "import os, sys; print([os.fsencode(item).hex() for item in sys.argv[1:]])"
SHOW_ENV = "import json, os; print(json.dumps(dict(os.environ)))"


async def test_arguments_arrive_byte_for_byte(session: AsyncSession) -> None:
    arguments: list[str | bytes] = [
        "",
        " ",
        "a b",
        "line\nbreak",
        "tab\t",
        "$(id)",
        "`id`",
        "*",
        "'\"\\",
        "-c",
        "--",
        "héé €😀",
        b"\xff\xfe\x80",
        b"\x01\x7f",
        "",
    ]
    result = await session.exec([*python(SHOW_ARGV), *arguments], check=True)
    sent = [item.encode() if isinstance(item, str) else item for item in arguments]
    assert [bytes.fromhex(item) for item in eval(result.stdout)] == sent


@pytest.mark.parametrize("count,length", [(16, 65_535), (20_000, 50), (8, 131_071)])
async def test_a_mebibyte_of_arguments_arrives(
    session: AsyncSession, count: int, length: int
) -> None:
    arguments = [f"{number:05}".ljust(length, "x") for number in range(count)]
    source = (
        "import hashlib, sys\n"
        "print(len(sys.argv) - 1, hashlib.sha256('\\0'.join(sys.argv[1:]).encode()).hexdigest())"
    )
    result = await session.exec(python(source, *arguments), check=True)
    digest = hashlib.sha256("\0".join(arguments).encode()).hexdigest()
    assert result.stdout.split() == [str(count), digest]


@pytest.mark.engines("docker", "memory")
async def test_a_path_object_is_an_argument(session: AsyncSession) -> None:
    result = await session.exec([PurePosixPath("/bin/echo"), PurePosixPath("a/b")], check=True)
    assert result.stdout == "a/b\n"


async def test_a_program_may_be_named_in_bytes(session: AsyncSession) -> None:
    await session.write_file(
        b"pro\xffgram".decode("utf-8", "surrogateescape"), "#!/bin/echo\n", mode=0o755
    )
    result = await session.exec([b"./pro\xffgram"], check=True)
    assert result.stdout_bytes == b"./pro\xffgram\n"


# --- environment ------------------------------------------------------------------------------


async def test_the_environment_of_a_command_wins_over_the_others(api: Api) -> None:
    async with api.session(
        env={"A": "sandbox", "B": "sandbox", "C": "sandbox"},
        manifest=Manifest(env={"B": "manifest", "C": "manifest"}),
    ) as session:
        result = await session.exec(python(SHOW_ENV), env={"C": "command"}, check=True)
        found = json.loads(result.stdout)
        assert (found["A"], found["B"], found["C"]) == ("sandbox", "manifest", "command")


async def test_values_of_the_environment_arrive_exactly(session: AsyncSession) -> None:
    values = {"EMPTY": "", "EQUALS": "a=b=c", "LINES": "a\nb", "TEXT": "é€😀", "_": "x", "a": "b"}
    result = await session.exec(python(SHOW_ENV), env=values, check=True)
    found = json.loads(result.stdout)
    assert {key: found.get(key) for key in values} == values


async def test_a_command_gets_the_image_environment_and_nothing_of_the_container(
    session: AsyncSession,
) -> None:
    result = await session.exec(["/usr/bin/env"], check=True)
    found = dict(line.split("=", 1) for line in result.stdout.splitlines())
    assert found == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "HOME": "/root",
    }


async def test_a_program_is_found_by_the_path_of_its_own_environment(session: AsyncSession) -> None:
    await session.write_file("tools/mine", "#!/bin/sh\necho mine", mode=0o755)
    result = await session.exec(["mine"], env={"PATH": "/nowhere:/workspace/tools"}, check=True)
    assert result.stdout == "mine\n"


@pytest.mark.engines("docker", "memory")
async def test_a_variable_of_one_command_is_not_seen_by_the_next(session: AsyncSession) -> None:
    await session.exec(["true"], env={"ONCE": "1"}, check=True)
    result = await session.exec(["/usr/bin/env"], check=True)
    assert "ONCE" not in result.stdout


# --- working directory ------------------------------------------------------------------------


@pytest.mark.engines("docker", "memory")
async def test_a_command_starts_in_the_workspace(session: AsyncSession) -> None:
    assert (await session.exec(["pwd"], check=True)).stdout == f"{session.workdir}\n"


@pytest.mark.engines("docker", "memory")
@pytest.mark.parametrize(
    "cwd,found",
    [
        (".", "/workspace"),
        ("sub/dir ü", "/workspace/sub/dir ü"),
        ("./sub/../sub/", "/workspace/sub"),
        ("..", "/"),
        ("/usr/bin", "/usr/bin"),
        ("/", "/"),
    ],
)
async def test_a_command_starts_where_it_is_told(
    session: AsyncSession, cwd: str, found: str
) -> None:
    await session.make_directory("sub/dir ü")
    result = await session.exec(["/bin/pwd", "-P"], cwd=cwd, check=True)
    assert result.stdout == f"{found}\n"


async def test_a_program_with_a_slash_is_found_from_its_working_directory(
    session: AsyncSession,
) -> None:
    await session.write_file("here/run.sh", "#!/bin/sh\necho ran", mode=0o755)
    assert (await session.exec(["./run.sh"], cwd="here", check=True)).stdout == "ran\n"


# --- the end ----------------------------------------------------------------------------------


async def test_every_exit_code_is_told(scratch: AsyncSession) -> None:
    gate = asyncio.Semaphore(16)

    async def run(code: int) -> int:
        async with gate:
            result = await scratch.exec(["/hello", "exit", str(code)])
        assert (result.signal, result.reason) == (None, ExecReason.EXITED)
        assert result.ok == (code == 0)
        return result.exit_code

    assert await asyncio.gather(*map(run, range(256))) == list(range(256))


@pytest.mark.parametrize("signal", [1, 2, 3, 6, 8, 9, 11, 13, 14, 15, 24, 31, 34, 64])
async def test_a_command_that_dies_of_a_signal_says_which(
    session: AsyncSession, signal: int
) -> None:
    result = await session.exec(["sh", "-c", f"kill -{signal} $$; exec sleep 60"])
    assert (result.reason, result.signal) == (ExecReason.SIGNALED, signal)
    assert result.exit_code == 128 + signal
    assert not result.ok
    assert not result.timed_out


@pytest.mark.parametrize("code", [124, 137, 143])
async def test_an_exit_code_is_never_taken_for_a_timeout_or_a_signal(
    session: AsyncSession, code: int
) -> None:
    result = await session.exec(["sh", "-c", f"exit {code}"])
    assert (result.exit_code, result.reason, result.signal) == (code, ExecReason.EXITED, None)
    assert not result.timed_out


async def test_a_command_that_runs_out_of_time_is_a_result(session: AsyncSession) -> None:
    result = await session.exec(
        ["sh", "-c", "echo early; echo bad >&2; exec sleep 60"], timeout=0.5
    )
    assert result.timed_out
    assert result.reason is ExecReason.TIMED_OUT
    assert (result.stdout, result.stderr) == ("early\n", "bad\n")
    assert result.killed == 1
    assert result.duration >= 0.5
    assert not result.ok


@pytest.mark.engines("docker", "memory")
async def test_the_default_timeout_is_the_one_of_the_limits(api: Api) -> None:
    async with api.session(limits=Limits(timeout=0.3)) as session:
        assert (await session.exec(["sleep", "60"])).timed_out
        assert (await session.exec(["sleep", "0.6"], timeout=None)).ok
        assert (await session.exec(["sleep", "0.6"], timeout=30)).ok


@pytest.mark.engines("docker", "memory")
async def test_a_checked_command_raises_with_its_result(session: AsyncSession) -> None:
    with pytest.raises(CommandFailedError, match="exit code 3: because") as caught:
        await session.exec(["sh", "-c", "echo out; echo because >&2; exit 3"], check=True)
    assert caught.value.result.stdout == "out\n"
    assert caught.value.result.exit_code == 3
    assert (caught.value.op, caught.value.session_id) == ("exec", session.id)


async def test_a_checked_command_that_dies_of_a_signal_names_it(session: AsyncSession) -> None:
    with pytest.raises(CommandFailedError, match="signal 9"):
        await session.exec(["sh", "-c", "kill -9 $$"], check=True)


async def test_a_checked_timeout_is_a_timeout_error_with_the_partial_output(
    session: AsyncSession,
) -> None:
    with pytest.raises(TimeoutError) as caught:
        await session.exec(["sh", "-c", "echo early; exec sleep 60"], timeout=0.4, check=True)
    assert isinstance(caught.value, CommandTimeoutError)
    assert caught.value.result.stdout == "early\n"


async def test_a_command_starts_with_no_signal_blocked_or_ignored(session: AsyncSession) -> None:
    result = await session.exec(["cat", "/proc/self/status"], check=True)
    found = dict(line.split(":\t", 1) for line in result.stdout.splitlines())
    assert int(found["SigBlk"], 16) == 0
    assert int(found["SigIgn"], 16) == 0


async def test_the_two_streams_stay_apart(session: AsyncSession) -> None:
    result = await session.exec(["sh", "-c", "echo out; echo err >&2; echo out2"], check=True)
    assert (result.stdout, result.stderr) == ("out\nout2\n", "err\n")


async def test_a_shell_line_runs_in_the_image_shell(session: AsyncSession) -> None:
    result = await session.shell(
        'echo "$NAME" | tr a-z A-Z; cat; exit 7', env={"NAME": "some $text"}, input="in"
    )
    assert (result.stdout, result.exit_code) == ("SOME $TEXT\nin", 7)


# --- the cap ----------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", [0, 1, 100_000])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_output_beyond_the_cap_is_counted_and_dropped(
    session: AsyncSession, stream: str, extra: int
) -> None:
    cap = 10_000
    source = (
        "import sys\n"
        "data = b''.join(b'%07d\\n' % n for n in range(20_000))\n"
        "getattr(sys, sys.argv[1]).buffer.write(data[:int(sys.argv[2])])\n"
    )
    result = await session.exec(
        python(source, stream, str(cap + extra)), check=True, max_output_bytes=cap
    )
    expected = b"".join(b"%07d\n" % number for number in range(20_000))[:cap]
    assert getattr(result, f"{stream}_bytes") == expected
    assert getattr(result, f"{stream}_dropped") == extra
    assert getattr(result, f"{stream}_truncated") == (extra > 0)
    other = "stderr" if stream == "stdout" else "stdout"
    assert getattr(result, f"{other}_bytes") == b""
    assert not getattr(result, f"{other}_truncated")


async def test_each_stream_has_a_cap_of_its_own(session: AsyncSession) -> None:
    source = "import os; os.write(1, b'o' * 150); os.write(2, b'e' * 90)"
    result = await session.exec(python(source), check=True, max_output_bytes=100)
    assert (result.stdout_bytes, result.stdout_dropped) == (b"o" * 100, 50)
    assert (result.stderr_bytes, result.stderr_dropped) == (b"e" * 90, 0)


async def test_a_cap_of_zero_keeps_nothing_and_counts_everything(session: AsyncSession) -> None:
    result = await session.exec(write_bytes(1_000_000), check=True, max_output_bytes=0)
    assert (result.stdout_bytes, result.stdout_dropped) == (b"", 1_000_000)


async def test_the_default_cap_is_the_one_of_the_limits(api: Api) -> None:
    async with api.session(limits=Limits(max_output_bytes=1000)) as session:
        result = await session.exec(write_bytes(1234), check=True)
        assert (len(result.stdout_bytes), result.stdout_dropped) == (1000, 234)


async def test_a_flood_is_counted_to_the_byte(session: AsyncSession) -> None:
    result = await session.exec(write_bytes(1 << 30), check=True, max_output_bytes=1)
    assert result.stdout_dropped == (1 << 30) - 1


async def test_many_small_writes_are_all_there(session: AsyncSession) -> None:
    source = "import os\nfor n in range(100_000): os.write(1, b'%d\\n' % (n % 10))"
    result = await session.exec(python(source), check=True)
    assert result.stdout_bytes == b"".join(b"%d\n" % (n % 10) for n in range(100_000))


@pytest.mark.parametrize("cap", range(1, 9))
async def test_text_at_the_cap_is_never_cut_inside_a_character(
    session: AsyncSession, cap: int
) -> None:
    result = await session.exec(["printf", "é€😀é"], check=True, max_output_bytes=cap)
    assert "\ufffd" not in result.stdout
    assert "é€😀é".startswith(result.stdout)
    assert result.stdout_bytes == "é€😀é".encode()[:cap]


async def test_bytes_that_are_not_text_are_shown_as_such_and_kept_exactly(
    session: AsyncSession,
) -> None:
    result = await session.exec(["printf", r"a\377\000b\303"], check=True)
    assert result.stdout_bytes == b"a\xff\x00b\xc3"
    assert result.stdout == "a\ufffd\0b\ufffd"


# --- many -------------------------------------------------------------------------------------


async def test_a_thousand_commands_leave_no_process_and_no_descriptor_behind(
    session: AsyncSession,
) -> None:
    gate = asyncio.Semaphore(16)

    async def run() -> None:
        async with gate:
            assert (await session.exec(["true"])).ok

    await asyncio.gather(*(run() for _ in range(1000)))
    source = (
        "import os, pathlib\n"
        "states = []\n"
        "for p in filter(str.isdigit, os.listdir('/proc')):\n"
        "    try:\n"
        "        stat = pathlib.Path('/proc', p, 'stat').read_text()\n"
        "    except OSError:\n"  # gone meanwhile
        "        continue\n"
        "    states.append(stat.rpartition(')')[2].split()[0])\n"
        "print(states.count('Z'), sorted(os.listdir('/proc/self/fd')))\n"
    )
    async with asyncio.timeout(10):
        # The fourth descriptor is the listing's own. Who waited for the last command is reaped a
        # moment after its result.
        while (await session.exec(python(source), check=True)).stdout != (
            "0 ['0', '1', '2', '3']\n"
        ):
            pass
    assert session.statistics()["live"] == 0
