"""Sessions in memory, to test what uses fumehood where there is no Docker.

The client is the real one: every check, limit, hook and error is what it is on an engine. Only the
far end is an imitation: files lie in memory, and a command does what a script says.
"""

from fumehood.testing.commands import CommandCall, CommandReply, Commands, Handler, Reply
from fumehood.testing.files import MemoryFiles
from fumehood.testing.ports import Connection, Server
from fumehood.testing.sandbox import AsyncMemorySandbox, MemorySandbox

__all__ = [
    "AsyncMemorySandbox",
    "CommandCall",
    "CommandReply",
    "Commands",
    "Connection",
    "Handler",
    "MemoryFiles",
    "MemorySandbox",
    "Reply",
    "Server",
]
