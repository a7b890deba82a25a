"""The tools for processes that go on running, and for the ports that they listen at."""

from __future__ import annotations

import ipaddress
import struct

from fumehood.errors import FileMissingError, OperationTimeoutError
from fumehood.process_results import Gap, ProcessLogs
from fumehood.processes import AsyncProcess
from fumehood.tools.arguments import (
    ListPorts,
    ListProcesses,
    ReadProcessLogs,
    StartProcess,
    StopProcess,
    WaitForPort,
    WriteProcessStdin,
)
from fumehood.tools.call import Call
from fumehood.tools.commands import described
from fumehood.tools.programs import permitted
from fumehood.tools.results import (
    LogPart,
    Port,
    PortList,
    ProcessList,
    ProcessState,
    Refused,
)
from fumehood.tools.shown import whole_characters

_LISTENING = "0A"


async def start_process(call: Call, asked: StartProcess) -> tuple[ProcessState, str]:
    """Start a process."""
    cwd = call.place(asked.cwd)
    argv = await permitted(call, asked.command, asked.argv, cwd)
    await call.approve(described(asked.command, asked.argv))
    process = await call.session.start_process(argv, cwd=cwd, name=asked.name, stdin=asked.stdin)
    value = _state(process)
    return value, f"started {value.id}" + (f" ({value.name})" if value.name else "")


async def list_processes(call: Call, asked: ListProcesses) -> tuple[ProcessList, str]:
    """List the processes."""
    del asked
    found = tuple(_state(process) for process in await call.session.list_processes())
    lines = [_line(item) for item in found]
    return ProcessList(processes=found), "\n".join(lines) or "no processes were started"


async def read_process_logs(call: Call, asked: ReadProcessLogs) -> tuple[LogPart, str]:
    """Read a part of a process's log."""
    process = await call.session.get_process(asked.process)
    logs = await process.logs(since=asked.since or 0)
    rules = call.rules
    runs = _runs(logs)
    if asked.since is None:
        start, data = runs[-1]
        kept = _last(data, rules.max_bytes, rules.max_lines)
        first, end, more = start + len(data) - len(kept), logs.end, False
    else:
        first, data = runs[0]
        kept = _first(data, rules.max_bytes, rules.max_lines)
        more = len(kept) < len(data) or len(runs) > 1
        end = first + len(kept) if more else logs.end
    state = _state(process)
    value = LogPart(
        process=state,
        text=kept.decode("utf-8", "replace"),
        start=first,
        next_offset=end,
        dropped=0 if asked.since is None else max(0, first - asked.since),
        more=more,
    )
    notes = [_line(state)]
    if value.dropped:
        notes.append(f"[{value.dropped} bytes are no longer in the log]")
    notes.append(
        f"--- bytes {first} to {end}"
        + (" (there is more)" if more else "")
        + f", next_offset={end}"
    )
    return value, "\n".join([*notes, value.text.removesuffix("\n") or "(nothing new)"])


def _runs(logs: ProcessLogs) -> list[tuple[int, bytes]]:
    """Return the parts of a log without a gap in them, each with its offset; one at least."""
    runs: list[tuple[int, bytearray]] = []
    for event in logs.events:
        if isinstance(event, Gap) or event.offset is None:
            continue
        if runs and runs[-1][0] + len(runs[-1][1]) == event.offset:
            runs[-1][1].extend(event.data)
        else:
            runs.append((event.offset, bytearray(event.data)))
    return [(start, bytes(data)) for start, data in runs] or [(logs.end, b"")]


def _last(data: bytes, size: int, lines: int) -> bytes:
    data = data[-size:]
    at = len(data) - 1 if data.endswith(b"\n") else len(data)
    for _ in range(lines):
        at = data.rfind(b"\n", 0, at)
        if at < 0:
            return data
    return data[at + 1 :]


def _first(data: bytes, size: int, lines: int) -> bytes:
    kept = whole_characters(data[:size]) if len(data) > size else data
    at = -1
    for _ in range(lines):
        at = kept.find(b"\n", at + 1)
        if at < 0:
            return kept
    return kept[: at + 1]


async def write_process_stdin(call: Call, asked: WriteProcessStdin) -> tuple[ProcessState, str]:
    """Write to a process."""
    process = await call.session.get_process(asked.process)
    await call.approve(f"write {len(asked.text)} characters to {process.id}")
    data = asked.text.encode("utf-8", "surrogatepass")
    if data:
        await process.write(data)
    if asked.close:
        await process.close_stdin()
    closed = ", and closed its input" if asked.close else ""
    return _state(process), f"wrote {len(data)} bytes to {process.id}{closed}"


async def stop_process(call: Call, asked: StopProcess) -> tuple[ProcessState, str]:
    """Stop a process."""
    process = await call.session.get_process(asked.process)
    await call.approve(f"stop {process.id}")
    await process.stop(grace=asked.grace)
    value = _state(process)
    return value, _line(value)


def _state(process: AsyncProcess) -> ProcessState:
    return ProcessState(
        id=process.id,
        name=process.name,
        argv=process.argv,
        status=str(process.status),
        exit_code=process.exit_code,
    )


def _line(state: ProcessState) -> str:
    name = f" {state.name}" if state.name else ""
    code = "" if state.exit_code is None else f" with exit code {state.exit_code}"
    return f"{state.id}{name}: {state.status}{code}: {' '.join(state.argv)[:200]}"


# --- ports ------------------------------------------------------------------------------------


async def list_ports(call: Call, asked: ListPorts) -> tuple[PortList, str]:
    """List who listens, out of the kernel's own tables: no program of the image is needed."""
    del asked
    found: list[Port] = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            text = (await call.session.read_file(table, root="/")).decode("ascii", "replace")
        except FileMissingError:
            continue  # a kernel without IPv6 has no such table
        found += listening(text)
    ports = tuple(sorted(set(found), key=lambda item: (item.port, item.address)))
    lines = [f"{item.port} on {item.address}" for item in ports]
    return PortList(ports=ports), "\n".join(lines) or "nobody listens at a port"


def listening(table: str) -> list[Port]:
    """Return the listening sockets in a table of ``/proc/net``; other lines are passed over."""
    found: list[Port] = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 4 or fields[3] != _LISTENING:
            continue
        address, _, number = fields[1].partition(":")
        try:
            found.append(Port(port=int(number, 16), address=_address(bytes.fromhex(address))))
        except ValueError:
            continue  # not the kernel's: the table is read from inside a container
    return found


def _address(raw: bytes) -> str:
    """Return an address of which the kernel prints each word in this machine's order."""
    if len(raw) not in (4, 16):
        raise ValueError
    words = struct.unpack(f"<{len(raw) // 4}I", raw)
    packed = struct.pack(f">{len(words)}I", *words)
    return str(ipaddress.ip_address(packed))


async def wait_for_port(call: Call, asked: WaitForPort) -> tuple[PortList, str]:
    """Wait for a port."""
    timeout = call.patience(asked.timeout)
    try:
        await call.session.wait_for_port(asked.port, timeout=timeout)
    except OperationTimeoutError:
        raise Refused(
            "failed", f"nobody listens at port {asked.port} after {timeout:g} s"
        ) from None
    value = PortList(ports=(Port(port=asked.port, address="127.0.0.1"),))
    return value, f"somebody listens at port {asked.port}"
