"""What people run: pip, git, curl and apt work unchanged in a session that has no network.

In one flavour alone: what is tried here is on the other side of the API.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from contract.outside import PASSWORD, make_index, make_mirror, make_repository, serving
from fumehood import Allow, AsyncDockerSandbox, AsyncSession, Network, Security
from fumehood.egress import dial

HOSTS = ("index.test", "git.test", "deb.test", "private.test")
# The package's maker is in the image: this machine need not have one.
MAKE_DEB = """
mkdir -p made/DEBIAN made/usr/share/hello
echo 'hello from apt' > made/usr/share/hello/text
printf 'Package: hello\\nVersion: 1.0\\nArchitecture: all\\nMaintainer: t\\nDescription: t\\n' \\
    > made/DEBIAN/control
dpkg-deb --build --root-owner-group made hello.deb
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is served."""
    root = tmp_path_factory.mktemp("outside")
    make_index(root / "simple", "hello", "hello from pip")
    (root / "git").mkdir()
    make_repository(root / "git" / "hello.git", "hello from git")
    (root / "private").mkdir()
    (root / "private" / "page").write_text("hello from behind a password")
    return root


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def inside(root: Path, prefix: str) -> AsyncIterator[tuple[AsyncSession, int]]:
    """A session that reaches a few names, which are this machine's loopback; and their port."""

    def lookup(name: str, port: int) -> list[dial.Place]:
        if name not in HOSTS:
            raise OSError("no such name")
        return real("127.0.0.1", port)

    real = dial.lookup
    with serving(root) as port, pytest.MonkeyPatch.context() as patch:
        patch.setattr(dial, "lookup", lookup)
        private = Allow("private.test", headers={"Authorization": PASSWORD})
        network = Network.allow("127.0.0.1", private, *HOSTS[:-1], ports=(port,))
        async with (
            AsyncDockerSandbox(
                image="fumehood/test-python",
                pull="never",
                network=network,
                # As `apt-get install` needs it: files of others, and a user of its own.
                security=Security.root_tools(),
            ) as sandbox,
            sandbox.create_session(id=f"{prefix}-clients") as session,
        ):
            yield session, port


async def run(session: AsyncSession, script: str) -> str:
    result = await session.shell(script, timeout=100)
    assert result.ok, result
    return result.stdout


async def test_pip_installs_from_an_index(inside: tuple[AsyncSession, int]) -> None:
    session, port = inside
    pip = "python3 $(ls /usr/share/python-wheels/pip-*.whl)/pip"
    index = f"--index-url http://index.test:{port}/simple --trusted-host index.test"
    await run(session, f"{pip} install --quiet --target=packages {index} hello")
    said = await run(session, "PYTHONPATH=packages python3 -c 'import hello; print(hello.SAYS)'")
    assert said == "hello from pip\n"


async def test_git_clones_and_pushes(inside: tuple[AsyncSession, int]) -> None:
    session, port = inside
    url = f"http://git.test:{port}/git/hello.git"
    who = "-c user.name=t -c user.email=t@t.test"
    # More than git's buffer of 1 MiB: it is sent in chunks, of a length that is not known before.
    script = f"""
        set -e
        git clone -q {url} hello && cd hello
        git log --format=%s
        head -c 3000000 /dev/urandom > large && git add large
        git {who} commit -q -m 'from inside'
        git push -q origin main
        git clone -q {url} ../again && git -C ../again log --format=%s
    """
    said = await run(session, script)
    assert said == "hello from git\nfrom inside\nhello from git\n"


async def test_curl_gets_what_is_allowed_and_is_told_what_is_not(
    inside: tuple[AsyncSession, int],
) -> None:
    session, port = inside
    page = await run(session, f"curl -sS http://index.test:{port}/simple/hello/")
    assert page.startswith('<a href="hello-1.0-py3-none-any.whl#sha256=')
    # A tunnel to the same server, as for TLS.
    tunnel = f"curl -sS -p http://index.test:{port}/private/page -o /dev/null -w '%{{http_code}}'"
    assert await run(session, tunnel) == "401"
    # The password is added outside, and is nowhere in here.
    page = await run(session, f"curl -sS http://private.test:{port}/private/page")
    assert page == "hello from behind a password"
    refused = await run(session, "curl -sS http://169.254.169.254/latest/meta-data/")
    assert refused.startswith("fumehood: 169.254.169.254 is an address that is not public")
    secure = await session.shell("curl -sS https://elsewhere.test/")
    assert "403" in secure.stderr


async def test_apt_installs_from_a_mirror(inside: tuple[AsyncSession, int], root: Path) -> None:
    session, port = inside
    await run(session, MAKE_DEB)
    make_mirror(root / "debian", "hello", await session.read_file("hello.deb"))
    try:
        source = f"deb [trusted=yes] http://deb.test:{port}/debian ./"
        script = f"""
            set -e
            rm -rf /etc/apt/sources.list.d/*
            echo '{source}' > /etc/apt/sources.list
            apt-get update -qq && apt-get install -qq -y hello >/dev/null
            cat /usr/share/hello/text
        """
        assert await run(session, script) == "hello from apt\n"
    finally:
        shutil.rmtree(root / "debian")
