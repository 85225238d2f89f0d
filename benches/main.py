"""Runs one bench: main.py PGCELLAR [NAME]. scripts/bench prepares what it needs and calls it.

A bench is one file with a function `run(bench)`, which prints its tables to standard output.
"""

import signal
import sys
import tempfile
from dataclasses import dataclass
from os import environ
from pathlib import Path

import backup
import diff
import drill
import fingerprints
import levels
import memory
import parallel
import restore
import retention
import rows
import s3
from report import warn_if_busy

BENCHES = {
    "backup": backup.run,
    "diff": diff.run,
    "drill": drill.run,
    "fingerprints": fingerprints.run,
    "levels": levels.run,
    "memory": memory.run,
    "parallel": parallel.run,
    "restore": restore.run,
    "retention": retention.run,
    "rows": rows.run,
    "s3": s3.run,
}


@dataclass
class Bench:
    """What every bench gets."""

    pgcellar: Path
    folder: Path  # gone when the bench ends
    scale: str
    rounds: int
    tables: int
    backups: int


def main():
    pgcellar, name = Path(sys.argv[1]).resolve(), (sys.argv[2:] or ["backup"])[0]
    if name not in BENCHES or len(sys.argv) > 3:
        sys.exit(f"usage: scripts/bench [{'|'.join(BENCHES)}]")
    # So that the folder and the server go on a polite request to end, as they do on Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    warn_if_busy()
    with tempfile.TemporaryDirectory(prefix="pgcellar-bench.", dir=environ.get("BENCH_DIR", "/var/tmp")) as folder:
        # The server's user has to reach its own folder in it.
        Path(folder).chmod(0o711)
        BENCHES[name](
            Bench(
                pgcellar=pgcellar,
                folder=Path(folder),
                scale=environ.get("SCALE", "1"),
                rounds=int(environ.get("ROUNDS", "3")),
                tables=int(environ.get("TABLES", "100000")),
                backups=int(environ.get("BACKUPS", "10000")),
            )
        )


if __name__ == "__main__":
    main()
