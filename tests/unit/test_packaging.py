"""What a package of fumehood holds, and how its supervisor is built."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shlex
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import fumehood
from fumehood._version import __version__

ROOT = Path(__file__).resolve().parents[2]
ELF_MACHINES = {"amd64": 62, "arm64": 183}
ELF_POSITION_INDEPENDENT = 3
ELF_INTERPRETER_SEGMENT = 3

# A compiler without a cache needs most of a minute for each architecture.
COMPILES = pytest.mark.timeout(600)


def load(path: Path) -> ModuleType:
    """Import a program of the checkout that is not part of the package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hatch_build: Any = load(ROOT / "hatch_build.py")
check_lock: Any = load(ROOT / "scripts" / "check_lock.py")

LAYOUTS = (hatch_build.Layout.of(ROOT), hatch_build.Layout.of_probe(ROOT))
BINARIES: list[Path] = [layout.binary(arch) for layout in LAYOUTS for arch in ELF_MACHINES]


def package(target: str, directory: Path) -> Path:
    """Build the wheel or the sdist of the checkout, and return it."""
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(directory)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    (made,) = directory.iterdir()
    return made


# --- metadata ---------------------------------------------------------------------------------


def test_the_core_depends_on_aiodocker_and_nothing_else() -> None:
    requirements = importlib.metadata.requires("fumehood") or []
    core = [line for line in requirements if "extra ==" not in line]
    assert core == ["aiodocker<0.28,>=0.27"]


def test_the_command_line_is_an_extra_with_an_entry_point() -> None:
    requirements = importlib.metadata.requires("fumehood") or []
    extra = [line.split(">")[0] for line in requirements if "extra == 'cli'" in line]
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="fumehood")
    assert (sorted(extra), script.value) == (["rich", "typer"], "fumehood.cli:main")


def test_the_installed_version_is_the_one_in_the_source() -> None:
    assert importlib.metadata.version("fumehood") == __version__


def test_the_package_says_that_it_is_typed() -> None:
    assert fumehood.__file__ is not None
    assert (Path(fumehood.__file__).parent / "py.typed").is_file()


# --- wheel and sdist --------------------------------------------------------------------------


@COMPILES
@pytest.mark.slow
def test_one_pure_wheel_carries_every_program_for_both_architectures(tmp_path: Path) -> None:
    wheel = package("wheel", tmp_path)
    assert wheel.name == f"fumehood-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        carried = {name: archive.read(name) for name in archive.namelist() if "/bin/" in name}
    assert carried == {
        binary.relative_to(ROOT / "src").as_posix(): binary.read_bytes() for binary in BINARIES
    }


@COMPILES
@pytest.mark.slow
def test_the_sdist_compiles_to_the_very_same_binaries_without_a_c_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tarfile.open(package("sdist", tmp_path / "dist")) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (root,) = (tmp_path / "unpacked").iterdir()
    layouts = (hatch_build.Layout.of(root), hatch_build.Layout.of_probe(root))
    for layout in layouts:
        assert not layout.binaries.exists(), "binaries do not belong into the sdist"

    (tmp_path / "no-programs").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "no-programs"))
    monkeypatch.delenv(hatch_build.COMPILER_VARIABLE, raising=False)
    assert hatch_build.build(root, development=False) == [binary.name for binary in BINARIES]
    made = [layout.binary(arch) for layout in layouts for arch in ELF_MACHINES]
    assert [path.read_bytes() for path in made] == [path.read_bytes() for path in BINARIES]


@pytest.mark.parametrize("binary", BINARIES, ids=lambda path: path.name)
def test_each_is_a_static_program_for_any_address_of_its_architecture(binary: Path) -> None:
    image = binary.read_bytes()
    assert image[:6] == b"\x7fELF\x02\x01"
    kind, machine = struct.unpack_from("<HH", image, 16)
    (headers_at,) = struct.unpack_from("<Q", image, 32)
    header_size, header_count = struct.unpack_from("<HH", image, 54)
    segments = [
        struct.unpack_from("<I", image, headers_at + header_size * index)[0]
        for index in range(header_count)
    ]
    assert (kind, machine) == (
        ELF_POSITION_INDEPENDENT,
        ELF_MACHINES[binary.name.rpartition("-")[2]],
    )
    assert ELF_INTERPRETER_SEGMENT not in segments, "it asks for a dynamic loader"


# --- the build hook ---------------------------------------------------------------------------


class Checkout:
    """A tree with one C file and a compiler that only writes down how it was called."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layout = hatch_build.Layout.of(root)
        self.probe = hatch_build.Layout.of_probe(root)
        self.calls = root / "calls"
        self.compiler = root / "compiler.py"
        self.source = root / "supervisor" / "src" / "main.c"
        for path in (self.source, self.probe.sources / "main.c"):
            path.parent.mkdir(parents=True)
            path.write_text("int main(void) { return 0; }\n")
        self.set_compiler(fails=False)

    def set_compiler(self, *, fails: bool) -> None:
        self.compiler.write_text(
            "import pathlib, sys\n"
            f"with open({str(self.calls)!r}, 'a') as calls: print(*sys.argv[1:], file=calls)\n"
            f"if {fails}: sys.exit('no such instruction')\n"
            "out = pathlib.Path(sys.argv[sys.argv.index('-o') + 1])\n"
            "out.write_text(' '.join(a for a in sys.argv if a.startswith('-DFUMEHOOD')))\n"
        )

    @property
    def binary(self) -> Path:
        path: Path = self.layout.binary(hatch_build.MACHINES[os.uname().machine])
        return path

    def build(self) -> list[str]:
        made: list[str] = hatch_build.build(self.root)
        return made


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    made = Checkout(tmp_path)
    monkeypatch.setenv(
        hatch_build.COMPILER_VARIABLE, shlex.join([sys.executable, str(made.compiler)])
    )
    return made


def test_the_build_id_is_the_hash_of_the_sources(checkout: Checkout) -> None:
    checkout.build()
    digest = hatch_build.source_digest(checkout.layout)
    assert checkout.binary.read_text() == f'-DFUMEHOOD_BUILD_ID="{digest[:16]}"'


def test_no_path_of_the_machine_is_among_the_sources_that_are_compiled(checkout: Checkout) -> None:
    checkout.build()
    assert checkout.calls.read_text().split()[-1] == "main.c"


def test_unchanged_sources_are_not_compiled_again(checkout: Checkout) -> None:
    assert [name.partition("-")[0] for name in checkout.build()] == ["supervisor", "probe"]
    assert checkout.build() == []


def test_changed_sources_are_compiled_again(checkout: Checkout) -> None:
    checkout.build()
    for layout in (checkout.layout, checkout.probe):
        (layout.sources / "added.h").write_text("#define ADDED\n")
        (made,) = checkout.build()
        assert made.startswith(layout.program)


def test_a_binary_that_was_changed_by_hand_is_made_again(checkout: Checkout) -> None:
    checkout.build()
    made = checkout.binary.read_bytes()
    checkout.binary.write_bytes(b"other")
    checkout.build()
    assert checkout.binary.read_bytes() == made


def test_a_compiler_that_fails_leaves_the_last_good_binary(checkout: Checkout) -> None:
    checkout.build()
    made = checkout.binary.read_bytes()
    checkout.source.write_text("broken")
    checkout.set_compiler(fails=True)
    with pytest.raises(hatch_build.BuildError, match=r"compiling the supervisor for \w+ failed"):
        checkout.build()
    assert checkout.binary.read_bytes() == made


def test_a_wheel_is_never_made_with_a_compiler_of_the_machine(checkout: Checkout) -> None:
    with pytest.raises(hatch_build.BuildError, match="unset it to make a wheel"):
        hatch_build.build(checkout.root, development=False)
    assert not checkout.calls.exists()


def test_a_tree_without_sources_is_an_error_that_names_the_directory(checkout: Checkout) -> None:
    checkout.source.unlink()
    with pytest.raises(hatch_build.BuildError, match=r"no supervisor sources in .*supervisor/src"):
        checkout.build()


# --- the lock ---------------------------------------------------------------------------------


def lock_of(**package: object) -> dict[str, Any]:
    """Return a lock with one package from PyPI, changed as told."""
    return {
        "package": [
            {
                "name": "somepackage",
                "source": {"registry": "https://pypi.org/simple"},
                "wheels": [{"url": "https://files.pythonhosted.org/packages/some.whl"}],
                **package,
            }
        ]
    }


def test_a_lock_from_pypi_is_accepted() -> None:
    assert list(check_lock.strangers(lock_of())) == []


@pytest.mark.parametrize(
    "change",
    [
        {"source": {"registry": "https://mirror.example/simple"}},
        {"source": {"registry": "/srv/wheels"}},
        {"source": {"git": "https://example.org/some.git"}},
        {"wheels": [{"path": "some.whl"}]},
        {"sdist": {"url": "https://mirror.example/some.tar.gz"}},
    ],
)
def test_a_lock_that_names_another_place_is_refused(change: dict[str, Any]) -> None:
    (line,) = check_lock.strangers(lock_of(**change))
    assert line.startswith("somepackage: ")
