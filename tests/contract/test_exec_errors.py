"""Commands that cannot be started: each a typed error that says why; nothing is left running."""

from __future__ import annotations

import pytest

from fumehood import (
    AsyncSession,
    CommandNotExecutableError,
    CommandNotFoundError,
    InvalidRequestError,
    WorkingDirectoryError,
)


@pytest.mark.engines("docker", "memory")
@pytest.mark.parametrize("program", ["no-such-program", "/no/such/program", "./none", "a/b/c"])
async def test_a_missing_program_is_an_error_that_names_it(
    session: AsyncSession, program: str
) -> None:
    with pytest.raises(CommandNotFoundError, match=program) as caught:
        await session.exec([program, "argument"])
    assert isinstance(caught.value, FileNotFoundError)
    assert (caught.value.op, caught.value.session_id) == ("exec", session.id)


@pytest.mark.engines("docker", "memory")
async def test_exit_code_127_of_a_shell_is_a_result(session: AsyncSession) -> None:
    result = await session.exec(["sh", "-c", "no-such-program"])
    assert result.exit_code == 127
    assert "not found" in result.stderr


@pytest.mark.engines("docker", "memory")
async def test_a_missing_program_in_a_stream_is_an_error_of_its_first_step(
    session: AsyncSession,
) -> None:
    stream = session.exec_stream(["no-such-program"])
    with pytest.raises(CommandNotFoundError):
        await anext(stream)


@pytest.mark.parametrize(
    "name,content,mode",
    [
        ("no-x", "#!/bin/sh\n", 0o644),
        ("no-format", "echo no interpreter line\n", 0o755),
        ("no-interpreter", "#!/no/such/interpreter\n", 0o755),
        ("empty", "", 0o755),
        (
            "wrong-machine",
            b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xff\xff" + bytes(44),
            0o755,
        ),
        ("a-link-in-a-circle", None, 0),
    ],
)
async def test_a_file_that_cannot_be_executed_is_not_a_missing_program(
    session: AsyncSession, name: str, content: str | bytes | None, mode: int
) -> None:
    if content is None:
        await session.exec(["ln", "-sfn", name, name], check=True)
    else:
        await session.write_file(name, content, mode=mode)
    with pytest.raises(CommandNotExecutableError, match=name) as caught:
        await session.exec([f"./{name}"])
    assert isinstance(caught.value, PermissionError)


@pytest.mark.parametrize("program", ["/usr", "/", ".", "/etc/"])
async def test_a_directory_cannot_be_executed(session: AsyncSession, program: str) -> None:
    with pytest.raises(CommandNotExecutableError):
        await session.exec([program])


async def test_a_program_of_another_user_cannot_be_executed(nonroot: AsyncSession) -> None:
    with pytest.raises(CommandNotExecutableError):
        await nonroot.exec(["/root/anything"])


@pytest.mark.engines("docker", "memory")
@pytest.mark.parametrize(
    "cwd", ["missing", "/no/such/directory", "file", "file/below", "/etc/passwd"]
)
async def test_a_working_directory_that_cannot_be_entered_is_an_error_that_names_it(
    session: AsyncSession, cwd: str
) -> None:
    await session.write_file("file", "")
    with pytest.raises(WorkingDirectoryError, match=cwd) as caught:
        await session.exec(["true"], cwd=cwd)
    assert isinstance(caught.value, FileNotFoundError)


async def test_a_working_directory_without_permission_is_an_error(nonroot: AsyncSession) -> None:
    with pytest.raises(WorkingDirectoryError):
        await nonroot.exec(["true"], cwd="/root")


@pytest.mark.engines("docker", "memory")
@pytest.mark.parametrize("cwd", ["", "a\0b", "x" * 5000])
async def test_a_working_directory_that_makes_no_sense_is_refused(
    session: AsyncSession, cwd: str
) -> None:
    with pytest.raises(InvalidRequestError):
        await session.exec(["true"], cwd=cwd)


@pytest.mark.engines("docker", "memory")
async def test_a_missing_working_directory_is_told_before_a_missing_program(
    session: AsyncSession,
) -> None:
    with pytest.raises(WorkingDirectoryError):
        await session.exec(["no-such-program"], cwd="missing")


async def test_one_argument_that_is_longer_than_the_kernel_takes_is_refused(
    session: AsyncSession,
) -> None:
    with pytest.raises(InvalidRequestError, match="128 KiB"):
        await session.exec(["true", "x" * (128 << 10)])


@pytest.mark.engines("docker", "memory")
async def test_arguments_and_environment_that_are_too_long_together_are_refused(
    session: AsyncSession,
) -> None:
    with pytest.raises(InvalidRequestError):
        await session.exec(["true", *["x" * 100_000] * 21])
    arguments = ["x" * 100_000] * 17
    environment = {f"V{number}": "x" * 100_000 for number in range(9)}
    with pytest.raises(InvalidRequestError):
        await session.exec(["true", *arguments], env=environment)


@pytest.mark.engines("docker", "memory")
@pytest.mark.parametrize("argv", ["ls -l", b"ls", "", [], [""], ["a\0b"], [1], [None], [b"\0"]])
async def test_an_argv_that_is_not_a_list_of_arguments_is_refused(
    session: AsyncSession, argv: object
) -> None:
    with pytest.raises(InvalidRequestError, match="argv"):
        await session.exec(argv)  # type: ignore[call-overload]
    with pytest.raises(InvalidRequestError, match="argv"):
        session.exec_stream(argv)  # type: ignore[arg-type]


@pytest.mark.engines("docker", "memory")
async def test_a_string_as_argv_names_the_method_to_use(session: AsyncSession) -> None:
    with pytest.raises(InvalidRequestError, match=r"session\.shell"):
        await session.exec("echo hello")


@pytest.mark.engines("docker", "memory")
@pytest.mark.parametrize("command", [["echo", "hello"], b"echo", None])
async def test_a_shell_line_that_is_not_a_string_is_refused(
    session: AsyncSession, command: object
) -> None:
    with pytest.raises(InvalidRequestError):
        await session.shell(command)  # type: ignore[arg-type]


@pytest.mark.engines("docker", "memory")
@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), True, "1"])
async def test_a_timeout_that_is_no_time_is_refused(session: AsyncSession, timeout: object) -> None:
    with pytest.raises(InvalidRequestError, match="timeout"):
        await session.exec(["true"], timeout=timeout)  # type: ignore[call-overload]


@pytest.mark.engines("docker", "memory")
@pytest.mark.parametrize("cap", [-1, 1.5, True, "10", 1 << 63])
async def test_a_cap_that_is_no_size_is_refused(session: AsyncSession, cap: object) -> None:
    with pytest.raises(InvalidRequestError, match="max_output_bytes"):
        await session.exec(["true"], max_output_bytes=cap)  # type: ignore[call-overload]


@pytest.mark.engines("docker", "memory")
@pytest.mark.parametrize(
    "env",
    [{"": "x"}, {"A=B": "x"}, {"A\0": "x"}, {"1A": "x"}, {"A B": "x"}, {"A": "x\0"}, {"A": 1}],
)
async def test_a_variable_that_no_program_can_be_given_is_refused(
    session: AsyncSession, env: dict[str, str]
) -> None:
    with pytest.raises(InvalidRequestError, match="env"):
        await session.exec(["true"], env=env)


@pytest.mark.engines("docker", "memory")
@pytest.mark.parametrize("value", [1, 1.5, ["text"], object()])
async def test_an_input_that_is_not_text_or_bytes_is_refused(
    session: AsyncSession, value: object
) -> None:
    with pytest.raises(InvalidRequestError, match="input"):
        await session.exec(["cat"], input=value)  # type: ignore[call-overload]
