"""How fast one row is found: `pgcellar rows` beside gunzip, pg_restore and grep, from the same `.dump.gz`."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from statistics import median

import tpch
from measure import measure
from postgres import Cluster
from report import megabytes, seconds, setting, table
from restore import back_up


@dataclass
class Search:
    """One way to find the row."""

    name: str  # as the table shows it
    command: list
    runs: list = field(default_factory=list)

    def run(self, expected):
        """Once. The output is checked by a run of its own, because a measured one discards it."""
        found = subprocess.run(self.command, stdout=subprocess.PIPE, check=True).stdout.decode()
        if expected not in found:
            sys.exit(f"bench: {self.name}: {expected!r} is missing in {found[:1000]!r}")
        measured = measure(self.command)
        self.runs.append(measured)
        print(f"bench: {self.name}: {measured.summary()}", file=sys.stderr)

    def wall(self):
        """Median of the runs, in seconds."""
        return median(run.wall for run in self.runs)

    def cpu(self):
        """Median of the runs, in seconds."""
        return median(run.cpu for run in self.runs)

    def memory(self):
        """The largest process of all runs."""
        name, peak = max((run.largest() for run in self.runs), key=lambda largest: largest[1])
        return f"{name} {megabytes(peak)}"


def searches(bench, cluster, stored, key):
    """Those that are compared."""
    pipe = f"gunzip -c {stored} | {cluster.bindir}/pg_restore --data-only -t orders -f - | grep -P '^{key}\\t'"
    pgcellar = [bench.pgcellar, "rows", "--quiet", "orders", stored, "--format", "csv", "--where"]
    return [
        Search("`gunzip -c \\| pg_restore --data-only -t orders -f - \\| grep`", ["sh", "-c", pipe]),
        Search("**`pgcellar rows orders --where o_orderkey=…`**", [*pgcellar, f"o_orderkey={key}"]),
        Search("the same with `o_orderkey>=…`, for which every row is decoded", [*pgcellar, f"o_orderkey>={key}"]),
    ]


def run(bench):
    """The table of doc/figures.md."""
    with Cluster(bench.folder) as cluster:
        tpch.load(cluster, bench.scale)
        stored, plain = back_up(bench, cluster, bench.folder / "backups")
        # The last row that was loaded: everything before it is read, too.
        key = cluster.sql("tpch", "SELECT o_orderkey FROM orders ORDER BY ctid DESC LIMIT 1").strip()
        text = cluster.sql("tpch", f"SELECT o_comment FROM orders WHERE o_orderkey = {key}").strip()
        every = searches(bench, cluster, stored, key)
        for number in range(bench.rounds):
            print(f"bench: round {number + 1} of {bench.rounds}", file=sys.stderr)
            for search in every:
                search.run(text)
        report(bench, cluster, every, (os.stat(stored).st_size, os.stat(plain).st_size))


def report(bench, cluster, every, sizes):
    """Prints the table."""
    rows = [
        [one.name, seconds(one.wall()), f"{every[0].wall() / one.wall():.2f}", seconds(one.cpu()), one.memory()]
        for one in every
    ]
    print(table(["way", "wall", "times as fast", "CPU", "largest process"], rows))
    print()
    stored, plain = (megabytes(size) for size in sizes)
    print(
        f"TPC-H at scale {bench.scale}, medians of {bench.rounds} runs, interleaved, the archive in the page cache; "
        f"{stored} stored, {plain} plain. {setting(bench, cluster, [])}"
    )
