"""What a model may say to each tool: the one source of schemas, descriptions and checks.

A class's docstring is what the model reads of the tool, a field's description what it reads of the
argument. Every optional argument has a default that the tool itself means.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

Path = Annotated[str, Field(description="Relative to the workspace.")]
Port = Annotated[int, Field(ge=1, le=65535, description="A TCP port inside the sandbox.")]
ProcessId = Annotated[str, Field(description="The process's id (p1) or its name.")]
Command = Annotated[
    str | None,
    Field(description="A line for /bin/sh. Give this or argv, not both."),
]
Argv = Annotated[
    list[str] | None,
    Field(description="A program and its arguments, run without a shell."),
]
Directory = Annotated[str, Field(description="Working directory, relative to the workspace.")]


class Arguments(BaseModel):
    """The arguments of a tool."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)


class ExecCommand(Arguments):
    """Run a command in the sandbox, wait for its end, and return its exit code and output.

    Every call is a new process: `cd` and variables do not last. For servers and other things that
    go on running, use start_process. Of long output the beginning and the end are shown.
    """

    command: Command = None
    argv: Argv = None
    cwd: Directory = "."
    stdin: Annotated[str | None, Field(description="Standard input; empty by default.")] = None
    timeout: Annotated[
        float | None,
        Field(gt=0, description="Seconds after which it is killed with all it has started."),
    ] = None


class ReadFile(Arguments):
    """Read a text file, a page of lines at a time; the result says where the next page starts."""

    path: Path
    start_line: Annotated[int, Field(ge=1, description="The first line, from 1.")] = 1
    max_lines: Annotated[
        int | None, Field(ge=1, description="The most lines; fewer come when they are long.")
    ] = None


class WriteFile(Arguments):
    """Write a whole text file. Missing directories are made, an existing file is replaced."""

    path: Path
    content: Annotated[str, Field(description="All that the file will hold.")]


class EditFile(Arguments):
    """Replace a text in a file. It must be in the file exactly once, unless replace_all is set."""

    path: Path
    old_text: Annotated[
        str, Field(min_length=1, description="Exactly as in the file, with its white space.")
    ]
    new_text: Annotated[str, Field(description="What stands there afterwards.")]
    replace_all: Annotated[bool, Field(description="Replace every occurrence.")] = False


class ListFiles(Arguments):
    """List a directory: type, size and path of each entry."""

    path: Path = "."
    recursive: Annotated[bool, Field(description="Also what is in its directories.")] = False


class SearchFiles(Arguments):
    """Search text files for a regular expression (Python's syntax, without look-around)."""

    pattern: Annotated[str, Field(min_length=1, description="Matched on each line.")]
    path: Annotated[str, Field(description="A directory or one file.")] = "."
    literal: Annotated[bool, Field(description="Search for the pattern as it stands.")] = False
    ignore_case: Annotated[bool, Field(description="ASCII letters of either case match.")] = False
    include: Annotated[
        list[str] | None, Field(description="Only files of these globs, such as *.py.")
    ] = None
    context: Annotated[int, Field(ge=0, le=20, description="Lines around each match.")] = 0


class StartProcess(Arguments):
    """Start a program that goes on running, such as a server; return its id at once."""

    command: Command = None
    argv: Argv = None
    cwd: Directory = "."
    name: Annotated[
        str | None,
        Field(description="A name to find it by: a letter, then letters, digits, '_', '.', '-'."),
    ] = None
    stdin: Annotated[bool, Field(description="Keep its standard input open.")] = False


class ListProcesses(Arguments):
    """List the processes that were started with start_process."""


class ReadProcessLogs(Arguments):
    """Read what a process has written, from an offset; the result says where to go on."""

    process: ProcessId
    since: Annotated[
        int | None, Field(ge=0, description="next_offset of an earlier call; default: the end.")
    ] = None


class WriteProcessStdin(Arguments):
    """Write to the standard input of a process that was started with stdin."""

    process: ProcessId
    text: Annotated[str, Field(description="Written as it is: end a line with a newline.")]
    close: Annotated[bool, Field(description="Close the input after it.")] = False


class StopProcess(Arguments):
    """End a process with everything that it has started."""

    process: ProcessId
    grace: Annotated[
        float, Field(ge=0, le=60, description="Seconds to end by itself before it is killed.")
    ] = 5.0


class ListPorts(Arguments):
    """List the TCP ports that somebody listens at in the sandbox."""


class WaitForPort(Arguments):
    """Wait until somebody listens at a port in the sandbox."""

    port: Port
    timeout: Annotated[float | None, Field(gt=0, description="Seconds to wait.")] = None
