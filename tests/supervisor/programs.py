"""Hostile and awkward programs, as arguments for `python3 -S -c`."""

from __future__ import annotations

# Fifty processes in sessions of their own, each of which changes its pid every few milliseconds.
CHANGES_PIDS = """
import os, time
for _ in range(50):
    if os.fork() == 0:
        os.setsid()
        while True:
            if os.fork():
                os._exit(0)
            try:
                os.setsid()
            except OSError:
                pass
            time.sleep(0.005)
print("started", flush=True)
time.sleep(1000)
"""

# Most of its time goes into forks, each of which takes a while: of so many pages, though there is hardly any memory behind
# them. Until the file appears.
FORKS_UNTIL_ENOUGH = """
import mmap, os
pages = mmap.mmap(-1, 1 << 29, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
pages.madvise(mmap.MADV_NOHUGEPAGE)
pages[0] = 1
sum(pages[::4096])
print("ready", flush=True)
while not os.path.exists("enough"):
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
"""

FORK_BOMB = """
import os
print("started", flush=True)
while True:
    try:
        os.fork()
    except OSError:
        pass
"""

# What a service does to be rid of everybody: a new session, twice forked, nothing open.
DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    os.closerange(0, 100)
    time.sleep(1000)
    os._exit(0)
os.wait()
"""

# A thread goes on after the first thread has ended: /proc shows a zombie.
HEADLESS = """
import ctypes, os, threading, time
threading.Thread(target=time.sleep, args=(1000,)).start()
print("started", flush=True)
ctypes.CDLL(None).syscall(60 if os.uname().machine == "x86_64" else 93, 0)
"""

# Its children become its own parent's: they are the reaper's then.
CLONE_PARENT = """
import ctypes, os, time
SYS_clone = 56 if os.uname().machine == "x86_64" else 220
CLONE_PARENT, SIGCHLD = 0x8000, 17
libc = ctypes.CDLL(None, use_errno=True)
for _ in range(5):
    if libc.syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0) == 0:
        time.sleep(1000)
        os._exit(0)
print("started", flush=True)
time.sleep(1000)
"""

# A reaper of its own, so that its orphans do not come to ours.
SUBREAPER = """
import ctypes, os, time
libc = ctypes.CDLL(None)
if os.fork() == 0:
    libc.prctl(36, 1, 0, 0, 0)
    for _ in range(5):
        if os.fork() == 0:
            if os.fork():
                os._exit(0)
            os.setsid()
            time.sleep(1000)
    print("started", flush=True)
    time.sleep(1000)
time.sleep(1000)
"""

# Somebody always continues whoever is stopped.
CONTINUES = """
import os, signal, time
for _ in range(20):
    if os.fork() == 0:
        os.setsid()
        while True:
            try:
                os.kill(-1, signal.SIGCONT)
            except OSError:
                pass
            if os.fork():
                os._exit(0)
print("started", flush=True)
time.sleep(1000)
"""

# A child that stops itself when it is told to, and what has become of it a second later.
CHILD_STOPS_ITSELF = """
import os, signal, sys, time
print("ready", flush=True)
os.read(0, 1)
child = os.fork()
if child == 0:
    os.kill(os.getpid(), signal.SIGSTOP)
    os._exit(0)
os.waitpid(child, os.WUNTRACED)
time.sleep(1)
found, _ = os.waitpid(child, os.WNOHANG | os.WCONTINUED)
print("went on" if found else "still stopped", flush=True)
os.kill(child, signal.SIGKILL)
"""
