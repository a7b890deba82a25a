"""A session from start to end: create, run, stream, time out, destroy.

Run it with ``make demo``, or by itself::

    FUMEHOOD_IMAGE=python:3.13-slim python examples/quickstart.py
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from fumehood import (
    DockerSandbox,
    Exit,
    Lifecycle,
    Limits,
    Manifest,
    Network,
    SandboxError,
    Stderr,
    Stdout,
    Workspace,
)

IMAGE = os.environ.get("FUMEHOOD_IMAGE", "python:3.13-slim")

COUNTDOWN = """
import time
for left in (3, 2, 1):
    print(left, "…", flush=True)
    time.sleep(0.3)
print("streamed while it ran")
"""


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say what is done and how long it took."""
    start = time.perf_counter()
    yield
    print(f"    [{(time.perf_counter() - start) * 1000:8.1f} ms] {what}", flush=True)


def main() -> int:
    """Run the demo; the exit code says whether everything came out as promised."""
    sandbox = DockerSandbox(
        image=IMAGE,
        workspace=Workspace.ephemeral(),
        lifecycle=Lifecycle(ttl=10 * 60, idle_timeout=60),
        limits=Limits(
            timeout=30, max_output_bytes=64_000, max_file_bytes=5_000_000, memory_mb=512, cpus=1
        ),
        network=Network.none(),
    )
    with sandbox:
        with step(f"created a session of {IMAGE} (the first one also installs the supervisor)"):
            session = sandbox.create_session(
                manifest=Manifest(
                    files={"hello.py": "print('hello sandbox')", "countdown.py": COUNTDOWN}
                )
            )
        with session:
            with step("ran hello.py"):
                result = session.exec(["python3", "hello.py"])
            print(result.stdout, end="")

            with step("ran `true`: this is what a command costs"):
                session.exec(["true"], check=True)

            with step("wrote a file and read it back"):
                session.write_file("notes/today.txt", "remember the milk\n")
                print(session.read_text_file("notes/today.txt"), end="")

            with step("streamed countdown.py"):
                for event in session.exec_stream(["python3", "countdown.py"], timeout=60):
                    if isinstance(event, (Stdout, Stderr)):
                        print(event.text, end="", flush=True)
                    elif isinstance(event, Exit):
                        print("exit code", event.result.exit_code)

            with step("gave a command that never ends half a second"):
                stuck = session.exec(
                    ["sh", "-c", "echo started; sleep 1000 & sleep 1000"], timeout=0.5
                )
            print(f"timed out: {stuck.timed_out}, output kept: {stuck.stdout.strip()!r}, ", end="")
            print(f"processes killed: {stuck.killed}")

            with step("destroyed the session"):
                session.destroy()
            print("ended:", session.end_reason)

        left = [info.id for info in sandbox.list_sessions() if info.id == session.id]
        print("left on the engine:", left or "nothing")
        return 1 if left or not stuck.timed_out or result.stdout != "hello sandbox\n" else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SandboxError as error:
        sys.exit(f"{type(error).__name__}: {error}")
