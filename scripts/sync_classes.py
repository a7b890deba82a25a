"""Which asynchronous classes have a blocking twin, in which module, and with which imports.

The table that ``generate_sync.py`` works from. To give a class a twin, add it to ``CLASSES`` in the
module where it belongs, above the classes whose methods return it; what the methods return is then
wrapped by their annotations: the class itself, ``list[…]`` of it, a union with it, ``Opening[…]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["session", "sandbox", "handle", "iterator"]


@dataclass(frozen=True)
class Class:
    """One blocking class: where its methods come from, and how it is entered, left and iterated."""

    name: str
    inner: str
    module: str
    """The name by which its module is imported in the generated one."""
    sources: tuple[tuple[str, str], ...]
    """Files and classes that its methods come from; the first has its docstring."""
    kind: Kind = "handle"
    """An iterator is closed at the end of its block; a handle is entered and left as its
    asynchronous twin is, if that can be."""
    yields: str = ""
    """What an iterator yields."""


CLASSES: dict[str, tuple[Class, ...]] = {
    "session.py": (
        Class(
            "ExecStream",
            "ExecStream",
            "_exec",
            (("exec.py", "ExecStream"),),
            kind="iterator",
            yields="ExecEvent",
        ),
        Class(
            "FileReader",
            "FileReader",
            "_file_streams",
            (("file_streams.py", "FileReader"),),
            kind="iterator",
            yields="bytes",
        ),
        Class(
            "Watch",
            "Watch",
            "_watch",
            (("watch.py", "Watch"),),
            kind="iterator",
            yields="WatchEvent",
        ),
        Class("FileWriter", "FileWriter", "_file_streams", (("file_streams.py", "FileWriter"),)),
        Class("PortStream", "AsyncPortStream", "_ports", (("ports.py", "AsyncPortStream"),)),
        Class(
            "PortForward",
            "AsyncPortForward",
            "_forward",
            (("forward.py", "AsyncPortForward"),),
        ),
        Class(
            "Terminal",
            "AsyncTerminal",
            "_terminals",
            (("terminals.py", "AsyncTerminal"),),
            kind="iterator",
            yields="bytes",
        ),
        Class(
            "ProcessStream",
            "ProcessStream",
            "_process_streams",
            (("process_streams.py", "ProcessStream"),),
            kind="iterator",
            yields="ProcessEvent",
        ),
        Class("Process", "AsyncProcess", "_processes", (("processes.py", "AsyncProcess"),)),
        Class(
            "Session",
            "AsyncSession",
            "_session",
            (
                ("session.py", "AsyncSession"),
                ("exec.py", "ExecPart"),
                ("processes.py", "ProcessesPart"),
                ("terminals.py", "TerminalsPart"),
                ("files.py", "FilesPart"),
                ("trees.py", "TreesPart"),
                ("search.py", "SearchPart"),
                ("edits.py", "EditsPart"),
                ("watch.py", "WatchPart"),
                ("ports.py", "PortsPart"),
                ("state.py", "StatePart"),
                ("egress/part.py", "EgressPart"),
            ),
            kind="session",
        ),
    ),
    "sandbox.py": (
        Class(
            "DockerSandbox",
            "AsyncDockerSandbox",
            "_sandbox",
            (
                ("sandbox.py", "AsyncDockerSandbox"),
                ("_pooled.py", "PooledPart"),
                ("_stored.py", "StoredPart"),
                ("_moved.py", "MovedPart"),
            ),
            kind="sandbox",
        ),
    ),
}

NAMES: dict[str, str] = {item.inner: item.name for group in CLASSES.values() for item in group}
"""Asynchronous name -> blocking name, for annotations, docstrings and wrapping what is returned."""

MODULES: dict[str, str] = {item.inner: item.module for group in CLASSES.values() for item in group}

OPENINGS: dict[str, str] = {"SessionRequest": "AsyncSession"}
"""Names of what is awaited or entered to get an object -> the object. ``Opening[…]`` needs none."""

IMPORTS: dict[str, str] = {
    "session.py": """
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from types import EllipsisType, TracebackType
from typing import Literal, Self, overload

from fumehood import exec as _exec
from fumehood import file_streams as _file_streams
from fumehood import forward as _forward
from fumehood import ports as _ports
from fumehood import process_streams as _process_streams
from fumehood import processes as _processes
from fumehood import session as _session
from fumehood import terminals as _terminals
from fumehood import watch as _watch
from fumehood._core import FileRoot
from fumehood._sync.base import Blocking
from fumehood.edits import PatchedFile
from fumehood.exec import Argument, Input
from fumehood.files import DEFAULT_MODE, PAGE_BYTES, PAGE_LINES
from fumehood.forward import MAX_CONNECTIONS
from fumehood.options import Lifecycle, Network, Seconds
from fumehood.process_results import ProcessEvent, ProcessLogs, ProcessStatus
from fumehood.processes import GRACE, LOG_BYTES
from fumehood.results import (
    EffectiveLimits,
    EndReason,
    ExecEvent,
    ExecResult,
    FileEntries,
    FileEntry,
    SessionState,
    Start,
    TextPage,
)
from fumehood.search import EXCLUDE, MAX_FILE_BYTES, MAX_MATCHES, TIMEOUT
from fumehood.search_results import SearchResult
from fumehood.snapshots import Snapshot
from fumehood.state import STOPPED_SECONDS
from fumehood.transfers import Symlinks, TransferProgress, TransferResult
from fumehood.trees import MAX_BYTES
from fumehood.watch import MAX_DIRECTORIES, WatchEvent
""",
    "sandbox.py": """
import os
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self, Unpack

from fumehood import sandbox as _sandbox
from fumehood._sync.base import Blocking
from fumehood._sync.session import Session
from fumehood.engines.base import EngineInfo, PullPolicy, PullProgress, SweepReport
from fumehood.hooks import Hooks
from fumehood.options import Lifecycle, Limits, Manifest, Network, Seconds, Security, Workspace
from fumehood.pool import Pool, PoolStats
from fumehood.results import SessionInfo
from fumehood.sandbox import DEFAULT_IMAGE, DEFAULT_WORKDIR, SandboxOptions
from fumehood.snapshots import Snapshot, SnapshotExport
from fumehood.transfers import TransferProgress
from fumehood.volumes import Volume
""",
}
