"""What changed between two backups: `pgcellar diff --rows orders` beside both tables in a server and EXCEPT both ways."""

import subprocess
import sys
from dataclasses import dataclass, field
from statistics import median

import tpch
from measure import measure
from postgres import Cluster
from report import megabytes, seconds, setting, table

# One order in so many differs.
CHANGED = 1000


@dataclass
class Comparison:
    """One way to find the rows that differ."""

    name: str  # as the table shows it
    command: list
    runs: list = field(default_factory=list)

    def run(self):
        """Once."""
        measured = measure(self.command)
        self.runs.append(measured)
        print(f"bench: {self.name}: {measured.summary()}", file=sys.stderr)

    def wall(self):
        """Median of the runs, in seconds."""
        return median(run.wall for run in self.runs)

    def memory(self):
        """The largest process of all runs."""
        name, peak = max((run.largest() for run in self.runs), key=lambda largest: largest[1])
        return f"{name} {megabytes(peak)}"


def back_up(bench, cluster, folder):
    """The archive of a backup with pgcellar's defaults."""
    folder.mkdir()
    command = [bench.pgcellar, "backup", "--quiet", *cluster.connection(), "-d", "tpch", "--backup-dir", folder]
    measure([*command, "--pg-bindir", cluster.bindir])
    return next(folder.glob("*.dump.gz"))


def change(cluster):
    """Changes one order in a thousand: a third each is updated, deleted and inserted."""
    cluster.sql(
        "tpch",
        f"UPDATE orders SET o_comment = 'changed' WHERE o_orderkey % {3 * CHANGED} = 1; "
        f"DELETE FROM orders WHERE o_orderkey % {3 * CHANGED} = 2; "
        "INSERT INTO orders SELECT o_orderkey + 100000000, o_custkey, o_orderstatus, o_totalprice, o_orderdate, o_orderpriority, "
        f"o_clerk, o_shippriority, o_comment FROM orders WHERE o_orderkey % {3 * CHANGED} = 3",
    )


def in_server(cluster, archives):
    """Loads the table of both archives into a server, both at once, and compares there."""
    columns = tpch.TABLES["orders"][0]
    psql = f"{cluster.bindir}/psql -X -q -h {cluster.folder} -U postgres -v ON_ERROR_STOP=1"
    rows = f"{cluster.bindir}/pg_restore --data-only -t orders -f -"
    both = [
        f"{psql} -d side_a -c 'CREATE TABLE public.{name} ({columns})' && "
        f"gunzip -c {archive} | {rows} | sed 's/^COPY public.orders /COPY public.{name} /' | {psql} -d side_a"
        for name, archive in zip(["old_orders", "orders"], archives)
    ]
    compare = (
        f"{psql} -d side_a -c 'TABLE old_orders EXCEPT TABLE orders' -c 'TABLE orders EXCEPT TABLE old_orders' > /dev/null"
    )
    prepare = f"{psql} -d postgres -c 'DROP DATABASE IF EXISTS side_a' -c 'CREATE DATABASE side_a'"
    return ["sh", "-ec", f"{prepare}; ({both[0]}) & ({both[1]}); wait $!; {compare}"]


def run(bench):
    """The tables of doc/figures.md."""
    with Cluster(bench.folder) as cluster:
        tpch.load(cluster, bench.scale)
        before = back_up(bench, cluster, bench.folder / "before")
        change(cluster)
        after = back_up(bench, cluster, bench.folder / "after")
        pgcellar = [bench.pgcellar, "diff", "--quiet", before, after]
        rows = Comparison("**`pgcellar diff --rows orders`**", [*pgcellar, "--rows", "orders", "--format", "csv"])
        server = Comparison("both loaded into a server at once, `EXCEPT` both ways", in_server(cluster, [before, after]))
        tables = Comparison("`pgcellar diff`, table by table", pgcellar)
        found = subprocess.run(rows.command, stdout=subprocess.PIPE, check=True).stdout.decode().splitlines()
        changes = sum(not line.startswith(("change,", "before,")) for line in found)
        for number in range(bench.rounds):
            print(f"bench: round {number + 1} of {bench.rounds}", file=sys.stderr)
            for comparison in [server, rows, tables]:
                comparison.run()
        lines = [
            [one.name, seconds(one.wall()), f"{server.wall() / one.wall():.2f}", one.memory()]
            for one in [server, rows, tables]
        ]
        print(table(["way", "wall", "times as fast", "largest process"], lines))
        print()
        print(
            f"TPC-H at scale {bench.scale}, {changes} orders inserted, deleted or updated; medians of {bench.rounds} runs, "
            f"interleaved, the archives in the page cache. {setting(bench, cluster, [])}"
        )
