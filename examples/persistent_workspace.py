"""A workspace that outlives its session, until somebody says otherwise."""

from __future__ import annotations

import os

from fumehood import DockerSandbox, Workspace, WorkspaceBusyError

IMAGE = os.environ.get("FUMEHOOD_IMAGE", "python:3.13-slim")
WORKSPACE = f"example-{os.getpid()}"


def main() -> None:
    """Write in one session, read in the next, then delete."""
    with DockerSandbox(image=IMAGE, workspace=Workspace.persistent(WORKSPACE)) as sandbox:
        with sandbox.create_session() as first:
            first.write_file("diary.txt", "day one\n")
            try:
                sandbox.create_session()
            except WorkspaceBusyError:
                print("busy: one session at a time writes to a workspace")

        with sandbox.create_session() as second:
            print("still there:", second.read_text_file("diary.txt").strip())

        sandbox.remove_workspace(WORKSPACE)
        print("kept:", WORKSPACE in sandbox.list_workspaces())


if __name__ == "__main__":
    main()
