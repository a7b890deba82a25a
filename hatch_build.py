"""Build what runs inside of sessions: the supervisor, PID 1 of each, and the self-check's probe.

The wheel is pure Python for every platform, and carries static Linux binaries as data, of each
program one for each architecture: which one is used depends on the *engine's* architecture, not on
the machine that installs the wheel. They are compiled by ``zig cc`` of the ``ziglang`` wheel, so a
build needs no C compiler, no cross toolchain and no libc headers of the machine.

Three ways in, one function (:func:`build`):

- hatchling calls :class:`SupervisorBuildHook` for a wheel;
- ``python hatch_build.py`` (``make supervisor``) builds in a checkout;
- ``FUMEHOOD_SUPERVISOR_CC=gcc python hatch_build.py`` builds this machine's architecture only, with
  a compiler of the machine. That is for development; a wheel is never made from it.

Binaries are made again only when the sources, the flags or the compiler have changed.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

if TYPE_CHECKING:
    from collections.abc import Iterator

    HookBase = BuildHookInterface[Any]
else:
    HookBase = BuildHookInterface

ROOT = Path(__file__).resolve().parent
COMPILER_VARIABLE = "FUMEHOOD_SUPERVISOR_CC"

# Docker's architecture names, which are also in the binaries' names, to zig's.
TARGETS = {"amd64": "x86_64-linux-musl", "arm64": "aarch64-linux-musl"}
MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}

FLAGS = (
    "-std=gnu11",
    # Not -Os: the C library in it would then copy memory in its slowest way.
    "-O2",
    "-s",
    # C needs no tables to unwind the stack: a tenth of the size.
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
    # It reads what hostile programs write: make a memory fault hard to use.
    "-fstack-protector-strong",
    "-Wl,-z,relro",
    "-Wl,-z,now",
    "-Wall",
    "-Wextra",
    "-Wshadow",
    "-Wformat=2",
    "-Wstrict-prototypes",
    "-Wvla",
    # The same bytes from every directory and on every day: the volume is keyed by content hash.
    "-Wl,--build-id=none",
    "-Wdate-time",
)

# zig's spelling of a static program that is loaded at a random address; gcc has another.
ZIG_FLAGS = ("-static", "-pie", "-fPIE")
DEVELOPMENT_FLAGS = ("-static",)


class BuildError(RuntimeError):
    """The supervisor could not be built; the message says what to do."""


# Not a dataclass: hatchling runs this file without registering it as a module, which they need.
class Layout(NamedTuple):
    """Where a program's sources are and where its binaries go."""

    program: str
    sources: Path
    binaries: Path
    flags: tuple[str, ...] = ()
    """What only this program is compiled with."""

    @classmethod
    def of(cls, root: Path) -> Layout:
        """Return the supervisor's, in a checkout or an unpacked sdist."""
        return cls(
            program="supervisor",
            sources=root / "supervisor" / "src",
            binaries=root / "src" / "fumehood" / "_supervisor" / "bin",
        )

    @classmethod
    def of_probe(cls, root: Path) -> Layout:
        """Return that of the attacks which ``fumehood self-check`` makes."""
        return cls(
            program="probe",
            sources=root / "supervisor" / "probe",
            binaries=root / "src" / "fumehood" / "cli" / "bin",
            flags=("-DFUMEHOOD_PROBE",),
        )

    def binary(self, arch: str) -> Path:
        """Return the binary's path for one of Docker's architecture names."""
        return self.binaries / f"{self.program}-linux-{arch}"

    def source_files(self) -> list[Path]:
        """Return every C source and header, in an order that is the same everywhere."""
        found = [*self.sources.rglob("*.c"), *self.sources.rglob("*.h")]
        return sorted(found, key=lambda path: path.relative_to(self.sources).as_posix())


def source_digest(layout: Layout) -> str:
    """Return the SHA-256 of all sources: names and lengths are in it, so nothing can shift."""
    digest = hashlib.sha256()
    for path in layout.source_files():
        body = path.read_bytes()
        name = path.relative_to(layout.sources).as_posix()
        digest.update(f"{name}\0{len(body)}\0".encode())
        digest.update(body)
    return digest.hexdigest()


def _compilers() -> dict[str, tuple[list[str], str]]:
    """Return, for each architecture to build, the command and a name that changes with it."""
    chosen = os.environ.get(COMPILER_VARIABLE)
    if chosen:
        arch = MACHINES.get(platform.machine())
        if arch is None:
            raise BuildError(
                f"{COMPILER_VARIABLE}={chosen!r}: no supervisor for machine {platform.machine()!r}"
            )
        return {arch: ([*shlex.split(chosen), *DEVELOPMENT_FLAGS], chosen)}
    try:
        version = importlib.metadata.version("ziglang")
    except importlib.metadata.PackageNotFoundError as exc:
        raise BuildError(
            f"the supervisor is compiled by the 'ziglang' package, which {sys.executable} lacks: "
            f"run `make supervisor` or `pip install ziglang`; for development, "
            f"{COMPILER_VARIABLE}=gcc uses a compiler of this machine"
        ) from exc
    return {
        arch: (
            [sys.executable, "-m", "ziglang", "cc", "-target", target, *ZIG_FLAGS],
            f"zig {version} {shlex.join(ZIG_FLAGS)}",
        )
        for arch, target in TARGETS.items()
    }


@contextmanager
def _one_build_at_a_time(directory: Path) -> Iterator[None]:
    """Hold a lock file: two installs of one checkout may run at the same time."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _compile(layout: Layout, command: list[str], arch: str, build_id: str) -> None:
    # Relative names and a fixed working directory: no path of this machine reaches the binary.
    sources = [
        path.relative_to(layout.sources).as_posix()
        for path in layout.source_files()
        if path.suffix == ".c"
    ]
    target = layout.binary(arch)
    fresh = target.with_name(f".{target.name}.new")
    argv = [
        *command,
        *FLAGS,
        *layout.flags,
        f'-DFUMEHOOD_BUILD_ID="{build_id}"',
        f"-ffile-prefix-map={layout.sources}=.",
        "-I.",
        "-o",
        str(fresh),
        *sources,
    ]
    done = subprocess.run(argv, cwd=layout.sources, capture_output=True, text=True, check=False)
    if done.stderr:
        sys.stderr.write(done.stderr)
    if done.returncode != 0:
        fresh.unlink(missing_ok=True)
        raise BuildError(f"compiling the {layout.program} for {arch} failed: {shlex.join(argv)}")
    fresh.chmod(0o755)
    # Readers see the old binary or the new one, never a half of it.
    fresh.replace(target)


def build(root: Path = ROOT, *, development: bool = True) -> list[str]:
    """Build what is out of date, and return the names of the binaries that were compiled.

    Args:
        root: A checkout or an unpacked sdist.
        development: Accept a compiler of the machine (``FUMEHOOD_SUPERVISOR_CC``), which builds one
            architecture only.

    Raises:
        BuildError: There are no sources, no compiler, or the compiler failed.
    """
    layouts = (Layout.of(root), Layout.of_probe(root))
    for layout in layouts:
        if not any(path.suffix == ".c" for path in layout.source_files()):
            raise BuildError(f"no {layout.program} sources in {layout.sources}")
    if not development and os.environ.get(COMPILER_VARIABLE):
        raise BuildError(
            f"{COMPILER_VARIABLE} builds one architecture, for development: "
            f"unset it to make a wheel"
        )
    return [name for layout in layouts for name in _build_program(layout)]


def _build_program(layout: Layout) -> list[str]:
    compiled: list[str] = []
    with _one_build_at_a_time(layout.binaries):
        digest = source_digest(layout)
        for arch, (command, compiler) in _compilers().items():
            binary = layout.binary(arch)
            stamp = binary.with_name(f".{binary.name}.stamp")
            flags = shlex.join((*FLAGS, *layout.flags))
            # The binary's own hash is in the stamp: a file that was changed by hand is made again.
            recipe = f"sources {digest}\ncompiler {compiler}\nflags {flags}\n"
            if _is_current(binary, stamp, recipe):
                continue
            started = time.monotonic()
            _compile(layout, command, arch, digest[:16])
            stamp.write_text(f"{recipe}binary {_sha256(binary)}\n")
            compiled.append(binary.name)
            took = time.monotonic() - started
            print(
                f"{layout.program}: linux/{arch} {binary.stat().st_size:,} bytes "
                f"in {took:.1f} s ({compiler})",
                file=sys.stderr,
            )
    return compiled


def _is_current(binary: Path, stamp: Path, recipe: str) -> bool:
    if not (binary.is_file() and stamp.is_file()):
        return False
    return stamp.read_text() == f"{recipe}binary {_sha256(binary)}\n"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class SupervisorBuildHook(HookBase):
    """Compile before a wheel is put together.

    An sdist carries the sources. An editable install compiles nothing: a C file that does not
    compile must not take a developer's environment away, and ``make supervisor`` follows at once.
    """

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build all of them; `build_data` stays as it is: the wheel is pure."""
        del build_data
        if self.target_name == "wheel" and version != "editable":
            build(Path(self.root), development=False)


if __name__ == "__main__":
    try:
        done = build()
    except BuildError as error:
        sys.exit(f"hatch_build.py: {error}")
    print(f"binaries: {'built ' + ', '.join(done) if done else 'up to date'}", file=sys.stderr)
