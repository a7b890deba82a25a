"""Runs inside a session, on the image's Python: cells of code, one after the other, in one module.

What a cell and its children write goes to standard error, and a mark after it; the answer, a line
of JSON, to standard output, which no cell is given. Nothing but the standard library of Python 3.8
is used, and nothing of fumehood: this very text is what a session's ``python -c`` gets.
"""

from __future__ import annotations

import ast
import contextlib
import json
import linecache
import os
import sys
import traceback
import types


def evaluate(source: str, name: str, module: types.ModuleType) -> object:
    """Run a cell; return what its last line is when that is an expression."""
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    tree = ast.parse(source, name)
    last = None
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        last = ast.Expression(tree.body.pop().value)  # type: ignore[attr-defined]
    # It is what this is for, and the session is what keeps it in.
    exec(compile(tree, name, "exec"), module.__dict__)  # noqa: S102
    return None if last is None else eval(compile(last, name, "eval"), module.__dict__)  # noqa: S307


def described(error: BaseException) -> dict[str, str]:
    """Return an exception as it is told: without the frames above the cell's own."""
    trace = error.__traceback__
    while trace is not None and not trace.tb_frame.f_code.co_filename.startswith("<cell "):
        trace = trace.tb_next
    return {
        "name": type(error).__name__,
        "value": str(error),
        "traceback": "".join(traceback.format_exception(type(error), error, trace)),
    }


def answered(source: str, name: str, module: types.ModuleType) -> dict[str, object]:
    """Run a cell and return its answer, whatever it does."""
    try:
        value = evaluate(source, name, module)
        return {"result": None if value is None else repr(value), "error": None}
    except BaseException as error:  # noqa: BLE001 - the final answer is one, and sys.exit
        return {"result": None, "error": described(error)}


def main() -> None:
    """Answer one cell after the other until there are no more."""
    asked = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    # Held here, so that a cell that changes the modules does not change these.
    write, dumps, loads = os.write, json.dumps, json.loads
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    mark = loads(asked.readline()).encode()
    for number, line in enumerate(asked, 1):
        answer = answered(loads(line), f"<cell {number}>", module)
        for stream in (sys.stdout, sys.stderr):
            # A cell may have closed it, or put anything in its place.
            with contextlib.suppress(Exception):
                stream.flush()
        write(2, mark)
        answers.write(dumps(answer).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    main()
