"""Somebody who sits at a terminal, and notices whether it is given back."""

from __future__ import annotations

import re
import subprocess
from typing import cast

import pexpect

from cli.program import PATIENCE, Fumehood, environment

# The modes before and after as the terminal itself has them, and the exit code between.
AROUND = 'echo "before=$(stty -g)"; "$@"; code=$?; echo "after=$(stty -g) code=$code"'


class Person:
    """Sits at a terminal in which a shell of this machine runs ``fumehood …``."""

    def __init__(self, *words: str, **env: str) -> None:
        command = ["-c", AROUND, "sh", *Fumehood.words(*words)]
        self.terminal = pexpect.spawn(
            "sh",
            command,
            env=environment(TERM="xterm", **env),
            timeout=PATIENCE,
            dimensions=(30, 90),
        )
        self.terminal.delaybeforesend = None
        self.before = self.finds(rb"before=(\S+)\r\n")[1]

    def sees(self, text: str) -> None:
        self.terminal.expect_exact(text)

    def finds(self, pattern: bytes) -> re.Match[bytes]:
        self.terminal.expect(pattern)
        assert isinstance(self.terminal.match, re.Match)
        return cast("re.Match[bytes]", self.terminal.match)

    def types(self, text: str) -> None:
        self.terminal.send(text)

    def pid(self) -> int:
        """The ``fumehood`` that runs there."""
        found = subprocess.run(
            ["pgrep", "-P", str(self.terminal.pid)], capture_output=True, check=True
        )
        return int(found.stdout.split()[0])

    def code(self) -> int:
        """Wait for its end; return the exit code, of a terminal that is as it was."""
        found = self.finds(rb"after=(\S+) code=(\d+)\r\n")
        assert found[1] == self.before
        code = int(found[2])
        self.terminal.expect(pexpect.EOF)
        self.terminal.close()
        return code
