"""Output while the command runs, input in pieces, and leaving early."""

from __future__ import annotations

import os

from fumehood import DockerSandbox, Exit, Stdout

IMAGE = os.environ.get("FUMEHOOD_IMAGE", "python:3.13-slim")


def main() -> None:
    """Show three streams."""
    with DockerSandbox(image=IMAGE) as sandbox, sandbox.create_session() as session:
        # Events come as the command writes; the last one is the result.
        for event in session.exec_stream(["sh", "-c", "echo out; echo err >&2; exit 3"]):
            if isinstance(event, Exit):
                print("exit code", event.result.exit_code)
            else:
                print(type(event).__name__, event.text.strip())

        # Input goes in as fast as the command reads it.
        pieces = (f"line {number}\n".encode() for number in range(20_000))
        result = session.exec(["wc", "-l"], input=pieces)
        print("lines counted:", result.stdout.strip())

        # Leaving the loop kills the command with everything it has started.
        for event in session.exec_stream(["yes"]):
            if isinstance(event, Stdout):
                print("first bytes of an endless stream:", event.data[:4])
                break


if __name__ == "__main__":
    main()
