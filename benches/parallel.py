"""How fast several sessions read one database into one archive: `pgcellar backup --jobs` beside pg_dump's own ways.

Ends with what more processors would bring, computed from the processor time of this machine.
"""

import os
import shlex
import sys
from pathlib import Path
from statistics import median

import tpch
from backup import Ways
from measure import TICKS, measure, tool
from postgres import Cluster
from report import megabytes, seconds, setting, table

COMPRESSIONS = ["none", "zstd", "gzip"]
CORES = [4, 8, 16]
# Reads what `-Z METHOD` wrote.
READERS = {"none": "cat", "zstd": "zstd -dc", "gzip": "gzip -dc"}


class Measurement:
    """The runs of one way."""

    def __init__(self, way):
        self.way, self.server = way, []

    def run(self, cluster):
        before = server_cpu(cluster)
        self.way.run()
        self.server.append(server_cpu(cluster) - before)

    def total(self):
        """Processor time of the command and the server, in seconds."""
        return self.way.cpu() + median(self.server)

    def serial(self):
        """Processor time of the busier one of two threads of pgcellar, which no further processor makes shorter: one checks the
        archive, takes its fingerprints and hashes it, the other hashes and writes what is stored."""
        names = ["pgcellar/tokio-rt-worker", "pgcellar/write"]
        return median(max(run.threads.get(name, 0) for name in names) for run in self.way.runs)


def server_cpu(cluster):
    """Processor time of the server's sessions that have ended, in seconds (`cutime` and `cstime` of proc(5))."""
    fields = Path(f"/proc/{cluster.server.pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[13]) + int(fields[14])) / TICKS


def run(bench):
    """The tables of doc/figures.md."""
    jobs = str(len(os.sched_getaffinity(0)))
    with Cluster(bench.folder) as cluster:
        tpch.load(cluster, bench.scale)
        ways = Ways(bench, cluster)
        floor = Measurement(ways.floor())
        alone, parallel, others = {}, {}, []
        for method in COMPRESSIONS:
            name = f"pgcellar backup -Z {method}"
            options = [f"-Z{method}"]
            alone[method] = Measurement(ways.pgcellar(f"`{name}`", READERS[method], *options))
            options += ["--jobs", jobs]
            parallel[method] = Measurement(ways.pgcellar(f"**`{name} --jobs {jobs}`**", READERS[method], *options))
            others.append(Measurement(directory(ways, cluster, method, jobs)))
        all_ways = [floor, *others, *alone.values(), *parallel.values()]
        # The first read fills the caches, for every way alike.
        measure(floor.way.command)
        for number in range(bench.rounds):
            print(f"bench: round {number + 1} of {bench.rounds}", file=sys.stderr)
            for way in all_ways:
                way.run(cluster)
        print(table(*measured(floor, all_ways)))
        print()
        print(
            f"TPC-H at scale {bench.scale}, medians of {bench.rounds} runs, interleaved, data in the page cache. "
            f"CPU of the server is that of its sessions. {setting(bench, cluster, ['gzip', 'zstd'])}"
        )
        print()
        print(table(*computed(floor, parallel)))


def directory(ways, cluster, method, jobs):
    """pg_dump's own parallel dump, into a folder. zstd is that of version 17 where the server is older than 16."""
    bindir, option = cluster.bindir, {"none": "-Z0", "zstd": "-Zzstd", "gzip": "-Z6"}[method]
    if method == "zstd" and int(bindir.parent.name) < 16:
        bindir = Path(tool("postgres-17"))
    options = f"-Fd -j{jobs} {option}"
    way = ways.shell(f"`pg_dump {options}`", options, "", "", bindir)
    dump = [f"{bindir}/pg_dump", *cluster.connection(), "-d", "tpch", *options.split(), "-f", f"{ways.out}/tpch"]
    way.command = ["bash", "-c", f"{shlex.join(dump)} && sync {ways.out}/tpch/*"]
    return way


def measured(floor, all_ways):
    head = ["way", "wall", "wall, of the floor", "CPU", "CPU of the server", "largest process", "file"]
    rows = [
        [
            measurement.way.name,
            seconds(measurement.way.wall()),
            f"{measurement.way.wall() / floor.way.wall():.2f}",
            seconds(measurement.way.cpu()),
            seconds(median(measurement.server)),
            measurement.way.memory(),
            megabytes(measurement.way.bytes) if measurement.way.bytes else "",
        ]
        for measurement in all_ways
    ]
    return head, rows


def computed(floor, parallel):
    """With so many processors and sessions: the processor time divided among them, but no less than that of the threads that
    write the archive. What two processors left idle stays."""
    cores = len(os.sched_getaffinity(0))
    head = ["computed, not measured", *(f"{number} processors" for number in CORES)]
    rows = []
    for method, measurement in parallel.items():
        idle = max(measurement.way.wall() - measurement.total() / cores, 0)
        times = [idle + max(measurement.total() / number, measurement.serial()) for number in CORES]
        rows.append([f"`-Z {method}`", *(f"{seconds(time)} ({time / floor.way.wall():.2f})" for time in times)])
    return head, rows
