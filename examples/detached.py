"""A session that outlives the program that made it, and another program that finds it.

A detached session needs a time limit: nothing else would ever end it.
"""

from __future__ import annotations

import os
import subprocess
import sys

from fumehood import DockerSandbox, Lifecycle

IMAGE = os.environ.get("FUMEHOOD_IMAGE", "python:3.13-slim")


def make() -> None:
    """The first program: make a session, leave a file and go."""
    sandbox = DockerSandbox(image=IMAGE, lifecycle=Lifecycle(ttl=300, detached=True))
    session = sandbox.create_session(metadata={"purpose": "example"})
    session.write_file("greeting.txt", "written by a program that is gone\n")
    session.detach()
    print(session.id)


def main() -> None:
    """The second program: find the session, use it, end it."""
    done = subprocess.run(
        [sys.executable, __file__, "make"], capture_output=True, text=True, check=True
    )
    session_id = done.stdout.strip()
    with DockerSandbox(image=IMAGE) as sandbox:
        found = next(info for info in sandbox.list_sessions() if info.id == session_id)
        print("found a session for:", found.metadata["purpose"])
        with sandbox.connect(session_id) as session:
            print(session.read_text_file("greeting.txt").strip())
            session.destroy()
            print("ended:", session.end_reason)


if __name__ == "__main__":
    make() if sys.argv[1:] == ["make"] else main()
