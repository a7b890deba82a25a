"""Who a command runs as: the image's user, the sandbox's, or the command's own."""

from __future__ import annotations

import pytest

from contract.adapter import BUSYBOX, NONROOT, PYTHON, SCRATCH, Api
from contract.programs import python
from fumehood import AsyncSession, InvalidRequestError, UserNotFoundError

WHO = (
    "import os; print(os.getuid(), os.geteuid(), os.getgid(), os.getegid(),\n"
    "                 sorted(os.getgroups()), os.environ['HOME'])\n"
)


async def who(session: AsyncSession, user: str | int | None = None) -> str:
    return (await session.exec(python(WHO), user=user, check=True)).stdout.strip()


async def test_commands_run_as_the_image_user(session: AsyncSession, nonroot: AsyncSession) -> None:
    assert await who(session) == "0 0 0 0 [0] /root"
    assert await who(nonroot) == "1000 1000 1000 1000 [1000] /home/user"


@pytest.mark.parametrize(
    "user,found",
    [
        ("user", "1000 1000 1000 1000 [1000] /home/user"),
        ("nonroot", "65532 65532 1001 1001 [1001] /home/nonroot"),
        ("1000", "1000 1000 1000 1000 [1000] /home/user"),
        (1000, "1000 1000 1000 1000 [1000] /home/user"),
        (0, "0 0 0 0 [0] /root"),
        ("user:root", "1000 1000 0 0 [0] /home/user"),
        ("user:4242", "1000 1000 4242 4242 [4242] /home/user"),
        ("1000:1000", "1000 1000 1000 1000 [1000] /home/user"),
        ("root:user", "0 0 1000 1000 [1000] /root"),
        (4242, "4242 4242 0 0 [0] /"),
        ("4242:4343", "4242 4242 4343 4343 [4343] /"),
    ],
)
async def test_a_command_runs_as_the_user_it_is_given(
    session: AsyncSession, user: str | int, found: str
) -> None:
    assert await who(session, user) == found


async def test_a_user_has_the_groups_of_the_database(api: Api) -> None:
    async with api.session() as session:
        groups = await session.read_text_file("/etc/group", root="/")
        await session.write_file("/etc/group", f"{groups}extra:x:5555:nobody,user\n", root="/")
        assert await who(session, "user") == "1000 1000 1000 1000 [1000, 5555] /home/user"
        # A group that is named takes the place of all others.
        assert await who(session, "user:1000") == "1000 1000 1000 1000 [1000] /home/user"


async def test_the_sandbox_user_is_the_default_and_root_is_still_possible(api: Api) -> None:
    async with api.session(PYTHON, user="nonroot") as session:
        assert (await who(session)).startswith("65532 ")
        assert (await who(session, "root")).startswith("0 ")
    async with api.session(NONROOT, user="0:0") as session:
        assert (await who(session)).startswith("0 0 0 0 ")


async def test_root_and_numbers_need_no_user_database(
    busybox: AsyncSession, scratch: AsyncSession
) -> None:
    for user, found in (("root", "0 0"), (0, "0 0"), ("0:0", "0 0"), ("77:88", "77 88")):
        result = await busybox.shell("echo $(id -u) $(id -g)", user=user, check=True)
        assert result.stdout.strip() == found
    for name in ("root", "0", "77:88"):
        assert (await scratch.exec(["/hello", "hi"], user=name, check=True)).stdout == "hi\n"


@pytest.mark.parametrize("user", ["nobody-here", "user:no-group", "no-user:0"])
async def test_an_unknown_user_is_an_error_that_names_it(session: AsyncSession, user: str) -> None:
    with pytest.raises(UserNotFoundError, match=user) as caught:
        await session.exec(["true"], user=user)
    assert isinstance(caught.value, LookupError)


@pytest.mark.parametrize("image", [BUSYBOX, SCRATCH])
async def test_a_name_in_an_image_without_a_database_is_an_error(api: Api, image: str) -> None:
    async with api.session(image) as session:
        with pytest.raises(UserNotFoundError, match="somebody"):
            await session.exec(["/hello"], user="somebody")


@pytest.mark.parametrize("user", ["64999", 64999, "0:64999", "64999:0", "user:64999"])
async def test_the_supervisor_user_is_refused(session: AsyncSession, user: str | int) -> None:
    with pytest.raises(InvalidRequestError, match="reserved"):
        await session.exec(["true"], user=user)


@pytest.mark.parametrize(
    "user", ["", " ", ":", "a:", ":a", "a:b:c", "a b", "-1", -1, "a\n", "a\0", True, 1 << 31, 1.0]
)
async def test_a_user_that_is_none_is_refused(session: AsyncSession, user: object) -> None:
    with pytest.raises(InvalidRequestError, match="user"):
        await session.exec(["true"], user=user)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "database,line",
    [("passwd", "trap:x:64999:0::/:/bin/sh"), ("passwd", "trap:x:5:64999::/:/bin/sh")],
)
async def test_a_name_cannot_be_mapped_to_the_supervisor_user(
    api: Api, database: str, line: str
) -> None:
    async with api.session() as session:
        known = await session.read_text_file(f"/etc/{database}", root="/")
        await session.write_file(f"/etc/{database}", f"{known}{line}\n", root="/")
        with pytest.raises(UserNotFoundError, match="refused"):
            await session.exec(["true"], user="trap")


async def test_no_command_becomes_the_supervisor_user_by_itself(api: Api) -> None:
    from fumehood import Security

    async with api.session(
        security=Security(workload_capabilities=("SETUID", "SETGID"))
    ) as session:
        source = (
            "import os\n"
            "for call in (os.setuid, os.seteuid, lambda n: os.setresuid(n, n, n),\n"
            "             lambda n: os.setreuid(n, n)):\n"
            "    try:\n"
            "        call(64999)\n"
            "    except PermissionError:\n"
            "        print('refused')\n"
            "os.setresuid(1234, 1234, 1234)\n"
            "print(os.getuid())\n"
        )
        result = await session.exec(python(source), check=True)
        assert result.stdout.split() == ["refused"] * 4 + ["1234"]


async def test_a_database_full_of_rubbish_does_no_harm(api: Api) -> None:
    async with api.session() as session:
        rubbish = b"\xff\0:::\n" * 1000 + b"x" * 1_000_000 + b"\nlate:x:31:32::/late:/bin/sh\n"
        await session.write_file("/etc/passwd", rubbish, root="/")
        assert (await session.exec(["id", "-u"], user="late", check=True)).stdout == "31\n"
        with pytest.raises(UserNotFoundError):
            await session.exec(["true"], user="user")
        assert (await session.exec(["id", "-u"], user="root", check=True)).stdout == "0\n"


async def test_a_database_that_is_a_fifo_does_not_hang(api: Api) -> None:
    async with api.session() as session:
        await session.shell("rm /etc/passwd; mkfifo /etc/passwd", check=True)
        with pytest.raises(UserNotFoundError):
            await session.exec(["true"], user="user")
        assert (await session.exec(["id", "-u"], user="4242", check=True)).stdout == "4242\n"


async def test_a_sandbox_with_an_unknown_user_makes_no_session(api: Api) -> None:
    async with api.sandbox(user="nobody-here") as sandbox:
        with pytest.raises(UserNotFoundError, match="nobody-here"):
            await sandbox.create_session()
