"""Processes as /proc shows them, for the tests that kill some."""
import contextlib
import os
import pathlib
import re
import signal
import time


class Process:
    """One process; another that gets its number later is not taken for it."""

    def __init__(self, pid):
        self.pid = pid
        self.began = self.stat()[19]

    def stat(self):
        """The fields behind the name: state, parent, process group, session, ..."""
        with open(f"/proc/{self.pid}/stat") as file:
            return file.read().rpartition(")")[2].split()

    def is_alive(self):
        with contextlib.suppress(OSError):
            fields = self.stat()
            return fields[19] == self.began and fields[0] not in "ZX"
        return False

    def kill(self):
        if self.is_alive():
            os.kill(self.pid, signal.SIGKILL)

    def __eq__(self, other):
        return (self.pid, self.began) == (other.pid, other.began)

    def __hash__(self):
        return self.pid


def keepers_of(wire):
    """The processes called shunt-keeper that hold a socket with the wire's name: its claim, whatever else its name says."""
    wanted = {f"socket:[{fields[6]}]" for line in pathlib.Path("/proc/net/unix").read_text().splitlines() if wire in line and (fields := line.split())}
    found = set()
    for name in pathlib.Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if name.read_text() == "shunt-keeper\n" and any(os.readlink(fd) in wanted for fd in (name.parent / "fd").iterdir()):
                found.add(Process(int(name.parent.name)))
    return found


def let_rest(pid, seconds=10):
    """Waits until no thread of it has run for 0.2 s: it is outside the stack's lock then, in which a death would reset connections. False: it did not rest."""
    def runs():
        statuses = [task.joinpath("status").read_text() for task in sorted(pathlib.Path(f"/proc/{pid}/task").iterdir())]
        return [re.findall(r"^(?:State|\w+_ctxt_switches):\s+(\w+)", status, re.M) for status in statuses]

    end, before = time.monotonic() + seconds, None
    while time.monotonic() < end:
        now = runs()
        if now == before and all(state == "S" for state, *_ in now):
            return True
        before = now
        time.sleep(0.2)
    return False
