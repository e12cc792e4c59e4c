"""Keeps one server on behalf of a parent, and ends all of its processes when the parent wants it or is gone.

    keeper.py GRACE COMMAND...

A program of its own, run by its path: it must outlive a parent that is killed with SIGKILL, and it
imports nothing but a little of the standard library, so that it is up in some 30 ms and takes 10 MB.

The parent holds the other end of standard input and never writes to it. End of file means that it has
closed the pipe or is dead. The server runs in a session of its own, where Ctrl-C at the terminal does not
reach it. When it ends or is to end, everything that descends from it gets SIGTERM, and SIGKILL after GRACE
seconds: killed with SIGKILL, vLLM 0.32's server leaves an engine and a worker behind that hold the memory
for ever. As their subreaper this process inherits such orphans, so that none of them can be missed. Where
there is no subreaper and no /proc (macOS), the server's process group stands for its descendants.

To standard output goes the server's pid, and once it has ended its exit code (negative: the signal), each on
a line; standard error is the server's log.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LOOK = 1.0
"""Seconds between looks at who our parent is: a process that it forked may hold its end of the pipe open."""


def keep(grace: float, command: list[str]) -> int:
    """Run ``command`` until it ends, the parent is gone, or a signal tells us to stop; its exit code."""
    parent = os.getppid()
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    waker, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    caught: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: caught.append(number))
    signal.signal(signal.SIGCHLD, lambda *_: None)  # only to be woken
    server = _start(command)
    _say(server)
    code = None
    while code is None and not caught and os.getppid() == parent:
        readable, _, _ = select.select([0, waker], [], [], LOOK)
        if waker in readable:
            os.read(waker, 4096)
        code = _reap(server)
        if 0 in readable:
            break
    if code is not None:
        _say(code)  # at once: the parent need not wait for what is left to be ended
    code = _end(server, grace, code)
    return 128 - code if code < 0 else code


def _start(command: list[str]) -> int:
    keeper = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        # Not SIGKILL: should the keeper be killed, the server is the only one left to end its processes.
        _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != keeper:
            os._exit(1)
        signal.set_wakeup_fd(-1)
        os.closerange(3, 256)  # the lock of the port is ours: the parent's next life waits for our end
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and exec would hand that on
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _end(server: int, grace: float, code: int | None) -> int:
    """End all of them, after ``grace`` seconds with SIGKILL; the server's exit code."""
    _signal_all(server, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while True:
        alive = _descendants(server)
        ended = _reap(server)
        code = ended if code is None else code
        if not alive:
            return code or 0
        if time.monotonic() > deadline:
            _signal_all(server, signal.SIGKILL)  # again and again: it may be forking
        time.sleep(0.05)


def _reap(server: int) -> int | None:
    """Take leave of every child that has ended; the server's exit code if it is among them."""
    code = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == server:
                code = os.waitstatus_to_exitcode(status)
            if pid == 0:
                break
    return code


def _signal_all(server: int, number: signal.Signals) -> None:
    for pid in _descendants(server):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _descendants(server: int) -> list[int]:
    """Processes alive that descend from this one; without /proc the server's group, as ``kill`` names it."""
    proc = Path("/proc")
    if not (proc / "self" / "stat").exists():
        try:
            os.killpg(server, 0)
        except (ProcessLookupError, PermissionError):
            return []
        return [-server]
    children: dict[int, list[int]] = {}
    zombies = set()
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # the name, in parentheses, may hold anything
            state, parent = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
        except (OSError, ValueError):
            continue  # it has just ended
        children.setdefault(int(parent), []).append(int(entry.name))
        if state == "Z":
            zombies.add(int(entry.name))
    found, queue = [], [os.getpid()]
    while queue:
        born = children.get(queue.pop(), [])
        queue += born
        found += [pid for pid in born if pid not in zombies]
    return found


def _prctl(option: int, value: int) -> None:
    """Linux only; elsewhere it does nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _say(number: int) -> None:
    with contextlib.suppress(OSError):  # the parent may be gone, and then the loop will see it
        os.write(1, f"{number}\n".encode())


def main() -> NoReturn:
    sys.exit(keep(float(sys.argv[1]), sys.argv[2:]))


if __name__ == "__main__":
    main()
