"""What the page says beside its figures."""

from __future__ import annotations

HEAD = """
# Benchmarks

fumehood and eleven other ways to a sandbox on Docker, doing the same jobs by turns on one machine.
This page is made by `make bench-peers` and not edited; the figures of one machine say little about
another, their ratios more. This run: {date}, {cpus} CPUs, {memory}, kernel {kernel}, Docker
{engine}, Python {python}, {seconds} s in all, load {load} before it. Figures are medians, with the
quartiles in brackets.
"""

SHORT = """
**This was a short run (`--quick`), on a machine with other work to do:** few rounds, few sessions. It shows
that everything runs; it does not compare.
"""

FLOORS = """
bubblewrap and `subprocess` are in the tables as floors, not as peers: what a process costs here with
namespaces and no engine, and with nothing at all. They are ahead of every container wherever a
container has to be made or a byte has to leave one.
"""

WHY = {
    "gone": "`destroy` of ours returns when nothing in the session can run any more, and the engine's "
    "removal goes on behind it: the container's end is noticed, its workspace's volume removed, the "
    "container with it. A forced removal of a container that has no volume does less.",
    "exec": "A server inside the container, as ours is, needs no new process of the engine's; what is "
    "left is the machine's own speed in starting one, and its noise.",
    "crowd": "A session has one CPU unless `Limits(cpus=…)` says otherwise; peers without limits have "
    "all of them.",
    "write_large": "Ours is written by a process under the session's limits and rights, and put in "
    "place when it is whole; an archive is unpacked by the engine itself, as root, outside of any limit.",
    "read_large": "Ours is read by a process under the session's limits and rights; the engine packs an "
    "archive as root, outside of any limit.",
    "flood": "Every byte of ours passes the supervisor, which counts it and holds it back when the "
    "client does not keep up; an exec's output goes from the pipe to the engine directly.",
    "flood_memory": "Clients that pass on a piece and forget it need none. Ours also keeps what may be "
    "under way: half a megabyte, in the reader's buffers and in the pieces cut from them.",
    "memory_few": "A client that keeps nothing but a container's name needs nothing for one. Ours holds a "
    "connection by which the session lives: it is why nothing is left after `kill -9`.",
    "memory_many": "As above.",
    "create": "Most of it is the engine's own work for a container.",
    "destroy": "What is waited for: the supervisor's word that all is dead.",
}
WHY_UNKNOWN = "We do not know why."

ENDS = """
No times here, but what is left. A command has a timeout of one second: `sleep` alone, and a shell that
has put another `sleep` into a session of its own (`setsid`) and waits for one beside it. Three seconds
after the call has come back, the machine's processes are looked through. For the other half the
client is killed with SIGKILL in the middle of a command, and looked for is what is there {after_kill} s
later. Peers whose call takes no timeout are used as one has to: the caller stops waiting.
"""

ENDS_HEAD = "| | `sleep` | the one beside | the one in a session of its own | the call took | session usable | after `kill -9`: the command | the container | helper processes |"

GROWTH = {
    "growth-create": ("create to first result, nothing destroyed", "sessions alive"),
    "growth-execs": ("one more `true`", "commands run in one session"),
    "growth-files": ("one more file of 1 KB", "files written to one directory"),
    "growth-listing": ("list_files, each entry", "entries"),
    "growth-output": ("each MB of standard output", "MB in one stream"),
}
GROWTH_NOTE = """
From `make bench`: what one more costs. A line that stays level is growth that is linear.
"""

METHOD = """
* **By turns.** Each peer has a process of its own, in an environment of its own, at exact versions
  (`benchmarks/peers/requirements/`). All are up at the same time and get a turn in every round, every
  other round backwards, with 0.1 s between turns: a machine that gets slower does so for all. Whoever is
  not at work sleeps, but for its own heartbeats.
* **The clock** is read in the peer's process, around the peer's calls alone: the coroutines of those that
  have them, the blocking calls of the others.
* **The same job.** A command is a line for `sh -c`, with its output read and its end awaited. One image
  for all, Debian with Python, or that image with the peer's server in it; images are there before. No
  network wherever a peer can be told so, which saves it a third of a start. Nobody has limits but those of
  their own defaults (ours and agentbox-rl's: one CPU, 512 MB).
* **Create** ends with the output of a first `echo`; one life of each comes before and is not counted.
  **Destroy** is timed twice: until the call returns, and until nothing is left. {lives} rounds, fewer (2 at
  least) for those that take longer than {life_budget} s in all. Pools are full when a session is asked
  for.
* **Commands**: {commands} rounds of {commands_each}, after one that is not counted; 8 at a time,
  {crowd_total} in all, {crowds} rounds.
* **Files** of {large_bytes} MB and of 1 KB are compared with what was written. Their text is ASCII, since
  one peer takes no other.
* **Output**: {flood_bytes} MB of lines, in a process that has done nothing else; streamed and forgotten where the
  peer can stream, else whole. Caps of output are off. Not done in {flood_seconds} s is a result too, and
  a note. Its memory is the peak of the process over what it had before, and that of its child processes.
* **Idle sessions**: the growth of the client and its helper processes from one session to {few} and to {many},
  made 8 at a time. Who has not got there after {memory_seconds} s is stopped, and noted.
* Notes under the tables are the peers' own messages.
* What is not measured: isolation. A number here says nothing of what a sandbox keeps in.

A peer that is used below its best is a fault of ours: each has one small module, in
`benchmarks/peers/clients/`, and a change to it is welcome.
"""

CARRIED = """
The origin of this project, @anvia/sandbox, is on no registry that can be reached from here. Its row is carried
over: version 0.6.0, built from its public source, measured on 2026-11-23 on a machine of the same kind,
alone and not by turns, with files of 64 MiB. A raw `docker exec` took 91 ms there and then. It says
nothing of later versions.
"""

AGAIN = """
## Do it again

```
make bench-peers                     # about a quarter of an hour; writes this page
make bench-peers ARGS=--quick        # a few minutes: few rounds, no page
make bench-peers ARGS="--peer fumehood_client --peer docker_py --phase commands"
make bench-peers ARGS=--page         # this page again, from the last figures
```

Linux, with the engine on the same machine. Every single value is in `.build/peers/figures.json`. Our own
rows, each beside the engine's API, are those of `make bench`:
[benchmarks/README.md](../benchmarks/README.md).
"""
