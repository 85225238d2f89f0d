"""How long a drill takes: `pgcellar drill` beside `createdb` and `pg_restore -j` on the same cluster settings."""

import os
import shutil
import subprocess
import sys
from statistics import median

import tpch
from measure import measure
from postgres import SERVER_USER, Cluster
from report import seconds, setting, table
from restore import JOBS, TARGET, back_up, contents

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


def by_hand(cluster, plain, expected):
    """`createdb` and `pg_restore`, one after the other; the time of both."""
    connection = [str(word) for word in cluster.connection()]
    createdb = measure([cluster.bindir / "createdb", *connection, "--template", "template0", TARGET])
    load = [cluster.bindir / "pg_restore", *connection, "--jobs", JOBS, "--exit-on-error", "-d", TARGET, plain]
    loaded = measure(load)
    found = contents(cluster, TARGET)
    if found != expected:
        sys.exit(f"bench: the restored database has {found} instead of {expected}")
    cluster.sql("postgres", f"DROP DATABASE {TARGET}")
    return createdb.wall + loaded.wall


def drill(bench, source, folder):
    """A drill, which must pass."""
    command = [bench.pgcellar, "drill", "--quiet", "--unisolated", "--backup-dir", folder, "--jobs", JOBS]
    command += ["--pg-bindir", source.bindir, "--drill-dir", bench.folder / "drills", "latest"]
    if os.geteuid() == 0:
        user = [f"--reuid={SERVER_USER}", f"--regid={SERVER_USER}", "--clear-groups"]
        command = ["setpriv", *user, "--", *command]
    return measure(command).wall


def hand_over(*paths):
    """A server does not run as root, and so no drill does."""
    if os.geteuid() == 0:
        for path in paths:
            subprocess.run(["chown", "-R", SERVER_USER, path], check=True)


def run(bench):
    """The table of the README."""
    folder, drills, hand = bench.folder / "backups", bench.folder / "drills", bench.folder / "hand"
    for made in (drills, hand):
        made.mkdir()
    # The build folder may lie where only its owner may look.
    bench.pgcellar = shutil.copy(bench.pgcellar, bench.folder / "pgcellar")
    with Cluster(bench.folder) as source:
        tpch.load(source, bench.scale)
        expected = contents(source, "tpch")
        _, plain = back_up(bench, source, folder)
        hand_over(folder, drills)
        hand.chmod(0o755)
        times = {"hand": [], "drill": []}
        with Cluster(hand, **SETTINGS, **memory()) as cluster:
            for number in range(bench.rounds):
                times["hand"].append(by_hand(cluster, plain, expected))
                times["drill"].append(drill(bench, source, folder))
                print(f"bench: round {number + 1}: {times['hand'][-1]:.1f} s, {times['drill'][-1]:.1f} s", file=sys.stderr)
        floor, ours = median(times["hand"]), median(times["drill"])
        rows = [
            [f"`createdb` and `pg_restore -j {JOBS}` of the plain archive", seconds(floor), "1.000"],
            [f"**`pgcellar drill --jobs {JOBS}`** of the `.dump.gz`", seconds(ours), f"{ours / floor:.3f}"],
        ]
        print(table(["way", "wall", "times pg_restore's"], rows))
        print()
        print(
            f"TPC-H at scale {bench.scale}, medians of {bench.rounds} runs, interleaved, on the same settings. The drill's time "
            "includes initdb, unpacking and checking the archive, comparing every row, and removing the cluster. "
            f"{setting(bench, source, [])}"
        )
