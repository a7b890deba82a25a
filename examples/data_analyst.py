"""A data analyst that draws a plot in a session and downloads it; a script stands for the model.

The code that it writes is untrusted: it sees the data and a workspace, and no network. What comes
back is a file of a bounded size, which is looked at before it is kept.

    python examples/data_analyst.py
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from fumehood import DockerSandbox, Limits, Manifest
from fumehood.tools import create_tools

IMAGE = os.environ.get("FUMEHOOD_IMAGE", "python:3.13-slim")
DATA = Manifest(files={"sales.csv": "month,sold\nJan,4\nFeb,7\nMar,5\nApr,11\n"})

PLOT = """
import csv

rows = list(csv.DictReader(open("sales.csv")))
bars = [
    f'<rect x="{10 + 40 * at}" y="{120 - 10 * int(row["sold"])}" width="30" '
    f'height="{10 * int(row["sold"])}"><title>{row["month"]}</title></rect>'
    for at, row in enumerate(rows)
]
with open("plot.svg", "w") as plot:
    plot.write('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 180 130">')
    plot.write("".join(bars) + "</svg>")
best = max(rows, key=lambda row: int(row["sold"]))
print("best month:", best["month"])
"""


def script(seen: list[str]) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield what a model would ask for next, once it has seen what came of the last call."""
    yield "read_file", {"path": "sales.csv"}
    assert "month,sold" in seen[-1]
    yield "write_file", {"path": "draw.py", "content": PLOT}
    yield "exec_command", {"argv": ["python3", "draw.py"]}


def main() -> None:
    """Let the analyst work, then take its plot out of the session."""
    with (
        DockerSandbox(image=IMAGE, limits=Limits(max_file_bytes=1 << 20)) as sandbox,
        sandbox.create_session(manifest=DATA) as session,
        tempfile.TemporaryDirectory() as here,
    ):
        tools, seen = create_tools(session), list[str]()
        for name, arguments in script(seen):
            seen.append(tools.dispatch(name, arguments).text)
            print(f"> {name}\n{seen[-1]}\n")
        target = Path(here, "plot.svg")
        target.write_bytes(session.read_file("plot.svg"))
        # From inside, so nothing is taken on trust: Python's parser loads no external entity.
        bars = ElementTree.parse(target).findall("{http://www.w3.org/2000/svg}rect")  # noqa: S314
        print(f"downloaded plot.svg: {len(bars)} bars")


if __name__ == "__main__":
    main()
