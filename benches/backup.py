"""How fast and how small: `pgcellar backup` beside pg_dump with the usual compressors."""

import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree
from statistics import median

import tpch
from measure import measure, tool
from postgres import Cluster
from report import megabytes, seconds, setting, table


@dataclass
class Way:
    """One way to make a backup."""

    name: str  # as the table shows it
    command: list
    folder: Path  # where its files go; gone after each run
    restore: str = ""  # shell words: from the path in $1 to pg_restore's input; empty where nothing is kept
    bindir: Path = Path()
    runs: list = field(default_factory=list)
    bytes: int = 0

    def run(self):
        """Once, from an empty folder."""
        self.folder.mkdir()
        measured = measure(self.command)
        archive = max(self.folder.rglob("*"), key=lambda path: path.stat().st_size, default=None)
        if self.restore:
            self.bytes = archive.stat().st_size
            if not self.runs:
                self.check(archive)
        self.runs.append(measured)
        rmtree(self.folder)
        print(f"bench: {self.name}: {measured.summary()}; {megabytes(self.bytes)}", file=sys.stderr)

    def check(self, archive):
        """A way whose file pg_restore does not know is not worth measuring."""
        listing = f"{self.restore} | {self.bindir}/pg_restore --list"
        listed = subprocess.run(["sh", "-c", listing, "sh", archive], capture_output=True, text=True, check=False)
        tables = listed.stdout.count(" TABLE DATA ")
        if tables != len(tpch.TABLES):
            sys.exit(f"bench: {self.name}: pg_restore finds {tables} tables in {archive}\n{listed.stderr}")

    def wall(self):
        """Median of the runs, in seconds."""
        return median(run.wall for run in self.runs)

    def cpu(self):
        """Median of the runs, in seconds."""
        return median(run.cpu for run in self.runs)

    def memory(self):
        """The largest process at its peak in any run. pgcellar's row shows pgcellar itself, not pg_dump."""
        peaks = [("pgcellar", run.peaks["pgcellar"]) if "pgcellar" in run.peaks else run.largest() for run in self.runs]
        name, peak = max(peaks, key=lambda peak: peak[1])
        return f"{name} {megabytes(peak)}"


class Ways:
    """Makes the ways; all read one database and write to one file system."""

    def __init__(self, bench, cluster):
        self.bench, self.cluster = bench, cluster
        self.out = bench.folder / "out"

    def shell(self, name, options, filter_="", restore="", bindir=None):
        """pg_dump, its output through a filter into a file that is then synced to the disk, as pgcellar's is."""
        bindir = bindir or self.cluster.bindir
        dump = shlex.join([f"{bindir}/pg_dump", *self.cluster.connection(), "-d", "tpch", *options.split()])
        file = shlex.quote(f"{self.out}/tpch.dump")
        keep = f"> {file} && sync {file}" if restore else "> /dev/null"
        script = f"set -o pipefail; {dump} {filter_} {keep}"
        return Way(name, ["bash", "-c", script], self.out, restore, bindir)

    def pgcellar(self, name, restore, *options):
        """pgcellar with these options."""
        command = [self.bench.pgcellar, "backup", "--quiet", *self.cluster.connection(), "-d", "tpch"]
        command += ["--pg-bindir", self.cluster.bindir, "--backup-dir", self.out, *options]
        return Way(name, command, self.out, f'{restore} < "$1"', self.cluster.bindir)

    def scripts(self):
        """What the shell scripts did that pgcellar replaces: the measure of all others."""
        return self.shell("`pg_dump -Fc \\| gzip`, as in the scripts replaced", "-Fc", "| gzip", 'gzip -dc < "$1"')

    def floor(self):
        """What pg_dump and the server take alone."""
        return self.shell("`pg_dump -Fc -Z0 > /dev/null`, the floor", "-Fc -Z0")

    def pg_dump_zstd(self):
        """pg_dump's own zstd, which it has since version 16: with an older server, that of version 17."""
        bindir = self.cluster.bindir
        major = bindir.parent.name
        if int(major) < 16:
            major, bindir = "17", Path(tool("postgres-17"))
        return self.shell(f"`pg_dump -Fc -Z zstd` of {major}", "-Fc -Zzstd", "", 'cat "$1"', bindir)


def run(bench):
    """The table of doc/figures.md."""
    with Cluster(bench.folder) as cluster:
        ways = Ways(bench, cluster)
        compare(
            bench,
            cluster,
            [
                ways.scripts(),
                ways.floor(),
                ways.pgcellar("**`pgcellar backup`** (gzip)", "gzip -dc"),
                ways.pgcellar("**`pgcellar backup -Z zstd`**", "zstd -dc", "-Zzstd"),
                ways.shell("`pg_dump -Fc -Z0 \\| pigz`", "-Fc -Z0", "| pigz", 'gzip -dc < "$1"'),
                ways.shell("`pg_dump -Fc -Z0 \\| zstd -T0 -3`", "-Fc -Z0", "| zstd -q -T0 -3", 'zstd -dc < "$1"'),
                ways.pg_dump_zstd(),
            ],
        )


def compare(bench, cluster, ways):
    """Runs the ways in turn, the first being what the others are compared with and the second the floor."""
    tpch.load(cluster, bench.scale)
    # The first read fills the caches, for every way alike.
    measure(ways[1].command)
    for number in range(bench.rounds):
        print(f"bench: round {number + 1} of {bench.rounds}", file=sys.stderr)
        for way in ways:
            way.run()
    scripts, floor = ways[0], ways[1]
    rows = [
        [
            way.name,
            seconds(way.wall()),
            f"{scripts.wall() / way.wall():.2f}",
            f"{way.wall() / floor.wall():.2f}",
            seconds(way.cpu()),
            way.memory(),
            megabytes(way.bytes) if way.restore else "",
            f"{100 * (way.bytes / scripts.bytes - 1):+.1f} %" if way.restore else "",
        ]
        for way in ways
    ]
    head = ["way", "wall", "times as fast as the scripts", "wall, of the floor", "CPU"]
    head += ["largest process", "file", "against the scripts"]
    print(table(head, rows))
    print()
    print(
        f"TPC-H at scale {bench.scale}, medians of {bench.rounds} runs, interleaved, data in the page cache, every file "
        "synced to the disk. CPU is the command's own, user and system, without the server's; in pgcellar's rows memory is "
        f"pgcellar's own, without pg_dump's. {setting(bench, cluster, ['gzip', 'pigz', 'zstd'])}"
    )
