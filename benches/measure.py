"""Runs a command to its end and measures it, with all the processes that it starts."""

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

# Looks at /proc are this many milliseconds apart. A process's peak is kept by the kernel, so only what it grows by
# between the last look and its end is missed.
INTERVAL = 50

# What commands see of the environment, so that nothing of the caller's changes a figure.
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/nonexistent", "LANG": "C.UTF-8"}

TICKS = os.sysconf("SC_CLK_TCK")


def tool(name):
    """Path of a program that scripts/tool fetches."""
    return subprocess.run(["scripts/tool", name], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@dataclass
class Measured:
    """One run."""

    wall: float  # seconds
    cpu: float  # seconds, user and system, of the command and of everything it waited for
    peaks: dict  # bytes of resident memory at its highest, by the process's name
    threads: dict  # CPU seconds by "process/thread", as last seen

    def largest(self):
        """Name and peak of the process that was largest."""
        return max(self.peaks.items(), key=lambda item: item[1], default=("", 0))

    def summary(self):
        """One line for people who tune."""
        busiest = sorted(self.threads.items(), key=lambda item: -item[1])[:6]
        cpu = ", ".join(f"{name} {seconds:.1f}" for name, seconds in busiest)
        memory = ", ".join(f"{name} {peak / 1e6:.0f}" for name, peak in sorted(self.peaks.items()))
        return f"{self.wall:.1f} s; CPU {self.cpu:.1f} s ({cpu}); MB: {memory}"


def measure(command, **environment):
    """Runs a command whose output goes nowhere; ends the bench if it fails."""
    os.sync()
    with tempfile.TemporaryFile() as complaints:
        begin = time.monotonic()
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
            env=ENVIRONMENT | environment,
            start_new_session=True,
        )
        looks = Looks(child.pid)
        end = os.pidfd_open(child.pid)
        try:
            ended = select.poll()
            ended.register(end)
            while not ended.poll(INTERVAL):
                looks.look()
            wall = time.monotonic() - begin
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise
        finally:
            os.close(end)
        if child.returncode != 0:
            complaints.seek(0)
            sys.exit(f"bench: {command} ended with {child.returncode}\n{complaints.read().decode(errors='replace')}")
    return Measured(wall, usage.ru_utime + usage.ru_stime, looks.peaks(), looks.threads())


class Looks:
    """What /proc tells of a process and its descendants."""

    def __init__(self, pid):
        self.pid = pid
        self.peak = defaultdict(int)  # (pid, name) -> bytes: a new program in the same process begins anew
        self.ticks = {}  # (pid, tid) -> (name of process, name of thread, ticks)

    def look(self):
        pids = [self.pid]
        for pid in pids:
            # A process may end at any moment.
            try:
                pids += self.look_at(pid)
            except (FileNotFoundError, ProcessLookupError):
                pass

    def look_at(self, pid):
        process = Path(f"/proc/{pid}")
        name = (process / "comm").read_text().strip()
        for line in (process / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                self.peak[pid, name] = max(self.peak[pid, name], int(line.split()[1]) * 1024)
        children = []
        for task in (process / "task").iterdir():
            thread, _, rest = (task / "stat").read_text().partition("(")[2].rpartition(") ")
            fields = rest.split()
            # proc(5): utime and stime are the fields 14 and 15, and here the third comes first.
            self.ticks[pid, task.name] = (name, thread, int(fields[11]) + int(fields[12]))
            children += [int(child) for child in (task / "children").read_text().split()]
        return children

    def peaks(self):
        peaks = defaultdict(int)
        for (_, name), peak in self.peak.items():
            peaks[name] = max(peaks[name], peak)
        return dict(peaks)

    def threads(self):
        threads = defaultdict(float)
        for name, thread, ticks in self.ticks.values():
            threads[name if name == thread else f"{name}/{thread}"] += ticks / TICKS
        return dict(threads)
