"""How fast a restore is: `pgcellar restore --jobs 2` from a compressed archive beside `pg_restore -j 2` from a plain one."""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import tpch
from measure import measure
from postgres import Cluster
from report import megabytes, seconds, setting, table

JOBS = "2"
TARGET = "restored"


@dataclass
class Way:
    """One way to restore."""

    name: str  # as the table shows it
    command: list
    makes_database: bool
    runs: list = field(default_factory=list)

    def run(self, cluster, expected):
        """Once, into a database that is not there before and not afterwards."""
        if not self.makes_database:
            cluster.sql("postgres", f"CREATE DATABASE {TARGET} TEMPLATE template0")
        cluster.sql("postgres", "CHECKPOINT")
        measured = measure(self.command)
        found = contents(cluster, TARGET)
        if found != expected:
            sys.exit(f"bench: {self.name}: the restored database has {found} instead of {expected}")
        cluster.sql("postgres", f"DROP DATABASE {TARGET}")
        self.runs.append(measured)
        print(f"bench: {self.name}: {measured.summary()}", file=sys.stderr)

    def wall(self):
        """Median of the runs, in seconds."""
        return median(run.wall for run in self.runs)

    def cpu(self):
        """Median of the runs, in seconds."""
        return median(run.cpu for run in self.runs)

    def memory(self):
        """pgcellar's own peak, or that of the largest process."""
        peaks = [("pgcellar", run.peaks["pgcellar"]) if "pgcellar" in run.peaks else run.largest() for run in self.runs]
        name, peak = max(peaks, key=lambda peak: peak[1])
        return f"{name} {megabytes(peak)}"


def contents(cluster, database):
    """Rows of the tables, and the number of indexes."""
    counts = ", ".join(f"(SELECT count(*) FROM {name})" for name in tpch.TABLES)
    return cluster.sql(database, f"SELECT {counts}, (SELECT count(*) FROM pg_index WHERE indexrelid >= 16384);")


def back_up(bench, cluster, folder):
    """A backup with pgcellar's defaults; the archive as it is stored, and unpacked."""
    command = [bench.pgcellar, "backup", "--quiet", *cluster.connection(), "-d", "tpch", "--backup-dir", folder]
    folder.mkdir()
    measure([*command, "--pg-bindir", cluster.bindir])
    stored = next(folder.glob("*.dump.gz"))
    plain = bench.folder / "tpch.dump"
    with open(plain, "wb") as out:
        subprocess.run(["gzip", "-dc", stored], check=True, stdout=out)
    return stored, plain


def ways(bench, cluster, folder, plain):
    """Those that are compared."""
    connection = [str(word) for word in cluster.connection()]
    pg_restore = [cluster.bindir / "pg_restore", *connection, "--jobs", JOBS, "--exit-on-error", "-d", TARGET, plain]
    pgcellar = [bench.pgcellar, "restore", "--quiet", *connection, "--pg-bindir", cluster.bindir]
    pgcellar += ["--backup-dir", folder, "--jobs", JOBS, "--target-database", TARGET, "latest"]
    return [
        Way(f"`pg_restore -j {JOBS}` of the plain archive", pg_restore, False),
        Way(f"**`pgcellar restore --jobs {JOBS}`** of the `.dump.gz`", pgcellar, True),
        Way("the same with `--quick`, which counts the rows alone", [*pgcellar, "--quick"], True),
    ]


def run(bench):
    """The table of doc/figures.md."""
    # What servers have unless they are told otherwise: a restore is mostly writing, and at wal_level=minimal pg_restore can
    # do without the WAL of rows.
    durable = {"wal_level": "replica", "max_wal_senders": "10", "fsync": "on", "full_page_writes": "on"}
    with Cluster(bench.folder, **durable) as cluster:
        tpch.load(cluster, bench.scale)
        expected = contents(cluster, "tpch")
        folder = bench.folder / "backups"
        stored, plain = back_up(bench, cluster, folder)
        every = ways(bench, cluster, folder, plain)
        for number in range(bench.rounds):
            print(f"bench: round {number + 1} of {bench.rounds}", file=sys.stderr)
            for way in every:
                way.run(cluster, expected)
        report(bench, cluster, every, (stored, plain))


def report(bench, cluster, every, files):
    """Prints the table."""
    stored, plain = (Path(file).stat().st_size for file in files)
    rows = [
        [way.name, seconds(way.wall()), f"{way.wall() / every[0].wall():.3f}", seconds(way.cpu()), way.memory()]
        for way in every
    ]
    print(table(["way", "wall", "times pg_restore's", "CPU", "largest process"], rows))
    print()
    print(
        f"TPC-H at scale {bench.scale}, medians of {bench.rounds} runs, interleaved, archives in the page cache; "
        f"{megabytes(stored)} stored, {megabytes(plain)} plain. pgcellar's time includes making the database, checking and "
        "unpacking the archive, looking for every object, comparing every row, and ANALYZE; pg_restore's is the load "
        f"alone. CPU is the command's own, without the server's. {setting(bench, cluster, [])}"
    )
