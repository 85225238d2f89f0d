"""How long a drill takes: `pgcellar drill` beside `createdb` and `pg_restore -j` on the same cluster settings."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import tpch
from measure import measure
from postgres import SERVER_USER, Cluster
from report import seconds, setting, table
from restore import JOBS, TARGET, contents

MEBIBYTE = 1 << 20

# What `src/postgres/cluster.rs` sets.
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "max_wal_size": "2GB",
    "wal_init_zero": "off",
    "checkpoint_timeout": "1h",
    "autovacuum": "off",
    "jit": "off",
    "dynamic_shared_memory_type": "mmap",
    "restart_after_crash": "off",
    "log_min_messages": "error",
}


def memory():
    """shared_buffers and maintenance_work_mem, as a drill with so many jobs chooses them on this machine."""
    with open("/proc/meminfo", encoding="utf-8") as file:
        available = next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:"))
    shared = min(max(available // 4 // MEBIBYTE, 16), 2048)
    sorting = min(max(available // 2 // int(JOBS) // MEBIBYTE, 16), 1024)
    return {"shared_buffers": f"{shared}MB", "maintenance_work_mem": f"{sorting}MB"}


def by_hand(bench, cluster, stored, expected):
    """What it takes to give the archive to `createdb` and `pg_restore`, one after the other; the time of all."""
    wall, plain = 0.0, stored
    if stored.suffix == ".gz":
        plain = bench.folder / "unpacked.dump"
        wall += measure(["sh", "-c", f"gzip -dc '{stored}' > '{plain}'"]).wall
    connection = [str(word) for word in cluster.connection()]
    wall += measure([cluster.bindir / "createdb", *connection, "--template", "template0", TARGET]).wall
    load = [cluster.bindir / "pg_restore", *connection, "--jobs", JOBS, "--exit-on-error", "-d", TARGET, plain]
    wall += measure(load).wall
    found = contents(cluster, TARGET)
    if found != expected:
        sys.exit(f"bench: the restored database has {found} instead of {expected}")
    cluster.sql("postgres", f"DROP DATABASE {TARGET}")
    if plain != stored:
        plain.unlink()
    return wall


def drill(bench, source, folder):
    """A drill, which must pass: until all was compared, and until its cluster was removed."""
    command = [bench.pgcellar, "drill", "--quiet", "--unisolated", "--backup-dir", folder, "--jobs", JOBS]
    command += ["--pg-bindir", source.bindir, "--drill-dir", bench.folder / "drills", "latest"]
    if os.geteuid() == 0:
        user = [f"--reuid={SERVER_USER}", f"--regid={SERVER_USER}", "--clear-groups"]
        command = ["setpriv", *user, "--", *command]
    wall = measure(command).wall
    (record,) = folder.glob("*.drill.json")
    return json.loads(record.read_text(encoding="utf-8"))["seconds"], wall


def back_up(bench, cluster, compression):
    """A backup; its folder, and the archive as it is stored."""
    folder = bench.folder / f"backups-{compression}"
    folder.mkdir()
    command = [bench.pgcellar, "backup", "--quiet", *cluster.connection(), "-d", "tpch", "-Z", compression]
    measure([*command, "--backup-dir", folder, "--pg-bindir", cluster.bindir])
    (stored,) = folder.glob("*.dump*")
    return folder, stored


def hand_over(*paths):
    """A server does not run as root, and so no drill does."""
    if os.geteuid() == 0:
        for path in paths:
            subprocess.run(["chown", "-R", SERVER_USER, path], check=True)


@dataclass
class Subject:
    """A backup, and how long it took by hand, until it was proven, and until its cluster was removed."""

    folder: Path
    stored: Path
    hand: list = field(default_factory=list)
    proven: list = field(default_factory=list)
    gone: list = field(default_factory=list)

    def rows(self):
        """Rows of the table."""
        hand, proven, gone = (median(times) for times in (self.hand, self.proven, self.gone))
        unpack, name = ("`gzip -d`, ", ".dump.gz") if self.stored.suffix == ".gz" else ("", ".dump")
        return [
            [f"{unpack}`createdb` and `pg_restore -j {JOBS}` of the `{name}`", seconds(hand), "1.000"],
            [f"**`pgcellar drill --jobs {JOBS}`** of the `{name}`", seconds(proven), f"{proven / hand:.3f}"],
            ["the same, until its cluster is removed", seconds(gone), f"{gone / hand:.3f}"],
        ]


def run(bench):
    """The table of doc/figures.md."""
    drills, hand = bench.folder / "drills", bench.folder / "hand"
    for made in (drills, hand):
        made.mkdir()
    # The build folder may lie where only its owner may look.
    bench.pgcellar = shutil.copy(bench.pgcellar, bench.folder / "pgcellar")
    with Cluster(bench.folder) as source:
        tpch.load(source, bench.scale)
        expected = contents(source, "tpch")
        subjects = [Subject(*back_up(bench, source, compression)) for compression in ("none", "gzip")]
        hand_over(drills, *(subject.folder for subject in subjects))
        hand.chmod(0o755)
        with Cluster(hand, **SETTINGS, **memory()) as cluster:
            for number in range(bench.rounds):
                for subject in subjects:
                    subject.hand.append(by_hand(bench, cluster, subject.stored, expected))
                    proven, gone = drill(bench, source, subject.folder)
                    subject.proven.append(proven)
                    subject.gone.append(gone)
                    print(
                        f"bench: round {number + 1}: {subject.stored.suffix}: by hand {subject.hand[-1]:.1f} s, "
                        f"drill {proven:.1f} s, all {gone:.1f} s",
                        file=sys.stderr,
                    )
        rows = [row for subject in subjects for row in subject.rows()]
        print(table(["way", "wall", "times pg_restore's"], rows))
        print()
        print(
            f"TPC-H at scale {bench.scale}, medians of {bench.rounds} runs, interleaved, on the same settings. The drill's time "
            "includes initdb, checking and unpacking the archive, and comparing every row. "
            f"{setting(bench, source, [])}"
        )
