"""bubblewrap: namespaces without an engine, one `bwrap` for each command."""

from __future__ import annotations

import subprocess

from benchmarks.peers.clients.local import Client as Local

_ROOT = (
    *("--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib"),
    *("--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"),
)


class Client(Local):
    """All namespaces are new; the session's directory is mounted."""

    def versions(self) -> dict[str, str]:
        shown = subprocess.run(["bwrap", "--version"], capture_output=True, text=True, check=True)
        return {"bubblewrap": shown.stdout.split()[-1]}

    def argv(self, session: str, command: str) -> list[str]:
        return [
            "bwrap",
            *_ROOT,
            *("--bind", session, "/work", "--chdir", "/work"),
            *("--unshare-all", "--die-with-parent", "--new-session"),
            *("sh", "-c", command),
        ]
