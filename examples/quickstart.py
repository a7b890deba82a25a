"""The first five minutes: a session, a command, a stream, a timeout, and nothing left behind.

Run it with ``make demo``, or with any image that has Python:

    FUMEHOOD_IMAGE=python:3.13-slim python examples/quickstart.py

Each step says what it does and how long that took.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Generator
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

TESTS = """
import time
for number in range(1, 4):
    print(f"test {number} ... ok", flush=True)
    time.sleep(0.2)
"""


@contextmanager
def step(what: str) -> Generator[None]:
    """Say what is done and how long it took."""
    print(f"\n- {what}")
    start = time.perf_counter()
    yield
    print(f"  [{(time.perf_counter() - start) * 1000:.1f} ms]", flush=True)


def main() -> int:
    """Run the demo; the exit code says whether everything came out as promised."""
    # What every session of this sandbox is like. Nothing is created yet.
    sandbox = DockerSandbox(
        image=IMAGE,
        workspace=Workspace.ephemeral(),
        lifecycle=Lifecycle(ttl=600, idle_timeout=60),
        limits=Limits(
            timeout=30, max_output_bytes=64_000, max_file_bytes=5_000_000, memory_mb=512, cpus=1
        ),
        network=Network.none(),
    )
    with sandbox:
        with step(f"create a session in {IMAGE}, with two files in its workspace"):
            session = sandbox.create_session(
                manifest=Manifest(
                    files={"main.py": "print('hello sandbox')", "run_tests.py": TESTS}
                )
            )
            print(f"  session {session.id}")

        # Leaving the block destroys the session, whatever happens in it.
        with session:
            with step("run a command"):
                hello = session.exec(["python3", "main.py"])
                print(f"  {hello.stdout.strip()!r}, exit code {hello.exit_code}")

            with step("run 100 more, one after the other"):
                for _ in range(100):
                    session.exec(["true"], check=True)

            with step("stream output while a command runs"):
                for event in session.exec_stream(["python3", "run_tests.py"], timeout=60):
                    match event:
                        case Stdout(text=text) | Stderr(text=text):
                            print("  " + text.rstrip().replace("\n", "\n  "))
                        case Exit(result=result):
                            print(f"  exit code {result.exit_code}")

            with step("write a file and read it"):
                session.write_file("notes/today.txt", "kept as long as the session\n")
                print(f"  {session.read_text_file('notes/today.txt').strip()!r}")
                print(f"  {[entry.path for entry in session.list_files(recursive=True)]}")

            with step("run out of time: the whole tree is killed, its output so far is kept"):
                stuck = session.shell(
                    "echo started; setsid sleep 1000 & sleep 1000 & wait", timeout=0.5
                )
                print(f"  timed out: {stuck.timed_out}, output: {stuck.stdout.strip()!r}")
                print(f"  {stuck.killed} processes killed")

            with step("look for a network: there is none"):
                probe = "import socket; print([name for _, name in socket.if_nameindex()])"
                print(f"  interfaces: {session.exec(['python3', '-c', probe]).stdout.strip()}")

        with step("look what is left on the engine"):
            left = [info.id for info in sandbox.list_sessions() if info.id == session.id]
            print(f"  sessions of ours: {len(left)}, ended because: {session.end_reason}")
    return 1 if left or not stuck.timed_out or hello.stdout != "hello sandbox\n" else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SandboxError as error:
        sys.exit(f"{type(error).__name__}: {error}")
