"""Markdown tables, and what they were measured on."""

import os
import re
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path


def table(head, rows):
    """A Markdown table; all columns but the first are numbers."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def megabytes(number):
    """Bytes, for people."""
    return f"{number / 1e6:.1f} MB" if number < 100e6 else f"{number / 1e6:.0f} MB"


def seconds(number):
    """Seconds, for people."""
    return f"{number:.2f} s" if number < 10 else f"{number:.1f} s"


def machine(bench):
    """The day, and what the bench ran on."""
    release = read_keys("/etc/os-release", "=").get("PRETTY_NAME", "").strip('"')
    model = read_keys("/proc/cpuinfo", ":").get("model name", os.uname().machine)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30)
    cores = len(os.sched_getaffinity(0))
    return (
        f"{datetime.now(timezone.utc):%Y-%m-%d}, {release}, {model}, {cores} cores, {memory:.0f} GiB of memory, "
        f"backups on {file_system(bench.folder)}"
    )


def setting(bench, cluster, programs):
    """A paragraph on the machine, the server and the versions of what took part."""
    settings = ", ".join(f"`{name}={value}`" for name, value in cluster.settings.items() if value)
    programs = [bench.pgcellar, cluster.bindir / "pg_dump", *programs]
    versions = ", ".join(version([program, "--version"]) for program in programs)
    return (
        f"{machine(bench)}; PostgreSQL {cluster.version()} on the same machine and file system, reached by its socket, "
        f"with {settings}. {versions}."
    )


def version(command):
    """Name and version of a program, by what it says itself."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    number = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    return f"{Path(command[0]).name} {number.group() if number else 'of unknown version'}"


def file_system(path):
    """The type of the file system that a path is on."""
    command = ["findmnt", "--noheadings", "--output", "FSTYPE", "--target", path]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def read_keys(path, separator):
    """The first value of each key of a file of `key separator value` lines."""
    keys = {}
    for line in Path(path).read_text().splitlines():
        key, found, value = line.partition(separator)
        if found:
            keys.setdefault(key.strip(), value.strip())
    return keys


def warn_if_busy():
    """Figures of a busy machine are not worth much."""
    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"bench: other programs keep this machine busy (load {load:.1f}): figures will be off", file=sys.stderr)
