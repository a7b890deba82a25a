"""The real supervisor as PID 1 of namespaces of its own: what a container is to it, without an engine."""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO, Self, TypeVar

from fumehood._wire.requests import Configure
from fumehood._wire.table import EndCode, Frame
from supervisor.peer import PATH, PATIENCE, Peer

RESERVED = 64999
OWN_CAPABILITIES = "+setuid,+setgid,+kill,+chown"
_CGROUPS = Path("/sys/fs/cgroup")

# As the engines' runtimes mount them.
_TERMINALS = (
    "mount -t devpts -o nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5 devpts /dev/pts"
)

T = TypeVar("T")


def eventually(look: Callable[[], T], what: str) -> T:
    """Look again and again until there is something true to see; return it."""
    deadline = time.monotonic() + PATIENCE
    while True:
        seen = look()
        if seen:
            return seen
        assert time.monotonic() < deadline, f"never seen: {what}"
        time.sleep(0.005)


def configuration(workspace: Path | str, **changes: object) -> Configure:
    """A configuration without any limit of the lease."""
    base = Configure(
        user="",
        workdir=os.fsencode(workspace),
        env=(PATH, b"SESSION=yes"),
        ttl_ms=0,
        idle_ms=0,
        grace_ms=0,
        heartbeat_ms=0,
        detached=False,
        workload_caps=0,
        max_file_bytes=1 << 40,
        max_processes=16,
        chown_workspace=True,
        write_hosts=False,
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


class Container:
    """One supervisor. Leaving the ``with`` block kills what is left and removes the workspace."""

    def __init__(
        self,
        binary: Path,
        *,
        capabilities: str = OWN_CAPABILITIES,
        no_new_privileges: bool = True,
        pids: int | None = None,
        memory: int | None = None,
        measured: bool = False,
        terminals: bool = True,
        groups: Path | None = None,
        prefix: tuple[str, ...] = (),
        make_peer: Callable[[socket.socket], Peer] = Peer,
    ) -> None:
        self.binary = binary
        # Everybody may pass: commands run as other users than root.
        self.base = Path(tempfile.mkdtemp(prefix="fumehood-test-", dir="/tmp"))
        self.base.chmod(0o755)
        self.workspace = self.base / "workspace"
        self.workspace.mkdir()
        self.groups: dict[str, Path] = {}
        if pids:
            (self._group("pids") / "pids.max").write_text(str(pids))
        if memory or measured:
            (self._group("memory") / "memory.limit_in_bytes").write_text(str(memory or -1))
        if measured:
            self._group("cpuacct")
        ours, theirs = socket.socketpair()
        self.errors: IO[bytes] = (self.base / "stderr").open("w+b")
        command = ["unshare", "--pid", "--fork", "--mount", "--mount-proc", "--net", "--kill-child"]
        # As in a container, which has a loopback interface and terminals of its own, and whose own
        # group is all that it sees.
        setup = ["ip link set lo up"]
        setup.append(_TERMINALS if terminals else "umount --lazy /dev/pts")
        if groups:
            setup.append(f"mount --bind {groups} {_CGROUPS}")
        setup += [
            f"mount --bind {group} {_CGROUPS}/{controller}"
            for controller, group in self.groups.items()
            if controller in ("memory", "cpuacct")
        ]
        command += ["sh", "-c", f'{" && ".join(setup)} && exec "$@"', "sh"]
        command += ["setpriv", "--bounding-set", f"-all,{capabilities}"]
        command += ["--no-new-privs"] if no_new_privileges else []
        self.process = subprocess.Popen(
            [*command, "--", *prefix, str(binary)],
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=self.errors,
            preexec_fn=self._join if self.groups else None,
        )
        theirs.close()
        self.peer = make_peer(ours)
        self._guests: list[tuple[socket.socket, subprocess.Popen[bytes]]] = []
        self._pid = 0

    def _group(self, controller: str) -> Path:
        group = _CGROUPS / controller / f"fumehood-test-{uuid.uuid4().hex}"
        group.mkdir()
        self.groups[controller] = group
        return group

    def _join(self) -> None:
        for group in self.groups.values():
            (group / "cgroup.procs").write_text("0")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.peer.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream, process in self._guests:
            stream.close()
            # nsenter stops itself when it sees its child stopped, as all are in a pause.
            process.send_signal(signal.SIGCONT)
            process.wait(timeout=PATIENCE)
        self.errors.close()
        for group in self.groups.values():
            # Its last processes may still be on their way out.
            eventually(functools.partial(_is_empty, group), "an empty group")
            group.rmdir()
        shutil.rmtree(self.base)

    # --- the session --------------------------------------------------------------------------

    def begin(self, **changes: object) -> Container:
        """Greet and configure."""
        self.peer.hello()
        self.peer.configure(configuration(self.workspace, **changes))
        return self

    def wait_exit(self) -> EndCode:
        """Wait for the supervisor's exit and return the reason that its code tells."""
        code = self.process.wait(timeout=PATIENCE)
        assert code > 64, (code, self.diagnostics())
        return EndCode(code - 64)

    def destroy(self) -> None:
        """End the session as a client does, and see that it has ended so."""
        self.peer.send(Frame.DESTROY)
        assert self.peer.wait_end().reason is EndCode.DESTROYED
        assert self.wait_exit() is EndCode.DESTROYED

    def diagnostics(self) -> str:
        """What it wrote to stderr."""
        return (self.base / "stderr").read_text(errors="replace")

    # --- seen from outside ----------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """PID 1's id outside."""
        if not self._pid:
            parent = self.process.pid
            children = Path(f"/proc/{parent}/task/{parent}/children")
            self._pid = int(eventually(lambda: children.read_text().split(), "PID 1")[0])
        return self._pid

    def processes(self) -> dict[int, str]:
        """What runs inside besides PID 1 and the process pair it keeps ready: id inside to command line."""
        namespace = os.readlink(f"/proc/{self.pid}/ns/pid")
        found: dict[int, str] = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if os.readlink(entry / "ns/pid") != namespace:
                    continue
                line = (
                    (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
                status = (entry / "status").read_text()
            except OSError:
                continue
            fields = dict(row.split(":\t", 1) for row in status.splitlines() if ":\t" in row)
            # One without memory and threads is on its way out: all that is left is to be waited for.
            over = "VmSize" not in fields and fields["Threads"] == "1"
            if over or line.startswith(str(self.binary)):
                continue
            found[int(fields["NSpid"].split()[-1])] = line.strip()
        return found

    def pids(self) -> int:
        """How many processes and threads count against the limit, PID 1's own and the harness's too."""
        return int((self.groups["pids"] / "pids.current").read_text())

    def zombies(self) -> int:
        """How many dead processes nobody has waited for."""
        namespace = os.readlink(f"/proc/{self.pid}/ns/pid")
        count = 0
        for entry in Path("/proc").iterdir():
            try:
                same = entry.name.isdigit() and os.readlink(entry / "ns/pid") == namespace
                count += same and "\nState:\tZ" in (entry / "status").read_text()
            except OSError:
                continue
        return count

    def descriptors(self) -> list[str]:
        """What PID 1 has open."""
        links: list[str] = []
        for link in sorted(Path(f"/proc/{self.pid}/fd").iterdir(), key=lambda path: int(path.name)):
            try:
                links.append(os.readlink(link))
            except OSError:
                continue
        return links

    def inheritable(self) -> list[int]:
        """Of what PID 1 has open but for its three streams: what a program of its would inherit."""
        found: list[int] = []
        for entry in Path(f"/proc/{self.pid}/fdinfo").iterdir():
            [flags] = [line for line in entry.read_text().splitlines() if line.startswith("flags:")]
            if int(entry.name) > 2 and not int(flags.split()[1], 8) & os.O_CLOEXEC:
                found.append(int(entry.name))
        return found

    def supervisors(self) -> dict[int, int]:
        """The supervisor's other processes: id inside to id outside."""
        namespace = os.readlink(f"/proc/{self.pid}/ns/pid")
        found: dict[int, int] = {}
        for entry in Path("/proc").iterdir():
            try:
                if not entry.name.isdigit() or os.readlink(entry / "ns/pid") != namespace:
                    continue
                status = (entry / "status").read_text()
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            inside = int(status.split("\nNSpid:")[1].splitlines()[0].split()[-1])
            if line.startswith(os.fsencode(self.binary)) and inside != 1:
                found[inside] = int(entry.name)
        return found

    def signal(self, number: signal.Signals) -> None:
        """Signal PID 1 from outside, as an engine does."""
        os.kill(self.pid, number)

    def enter(self, *argv: str, uid: int = RESERVED, **popen: object) -> subprocess.Popen[bytes]:
        """Start a program inside from outside, as an engine's exec does."""
        command = ["nsenter", "-t", str(self.pid), "-p", "-m", "-n", "--"]
        command += ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
        command += ["--bounding-set", "-all", "--no-new-privs", "--", *argv]
        return subprocess.Popen(command, **popen)  # type: ignore[call-overload,no-any-return]

    def relay(self, uid: int = RESERVED) -> tuple[Peer, subprocess.Popen[bytes]]:
        """Come in as a second client does."""
        peer = Peer(self.stream(uid))
        return peer, self._guests[-1][1]

    def stream(self, uid: int = RESERVED, *, narrow: bool = False) -> socket.socket:
        """Return one more stream to the supervisor, by a relay; ``narrow``: it holds little."""
        ours, theirs = socket.socketpair()
        if narrow:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        process = self.enter(str(self.binary), "relay", uid=uid, stdin=theirs, stdout=theirs)
        theirs.close()
        self._guests.append((ours, process))
        return ours


def _is_empty(group: Path) -> bool:
    return not (group / "cgroup.procs").read_text()
