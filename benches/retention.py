"""How long a list and a decision on what stays take over very many backups on a local disk."""

import json
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

from measure import measure
from report import machine, megabytes, seconds, table, version

SAMPLE = Path(__file__).parent.parent / "tests" / "golden" / "manifest.json"

# Every rule has something to do.
POLICY = {
    "BACKUP_RETENTION_DAYS": "30",
    "BACKUP_KEEP_HOURLY": "48",
    "BACKUP_KEEP_DAILY": "60",
    "BACKUP_KEEP_WEEKLY": "52",
    "BACKUP_KEEP_MONTHLY": "24",
    "BACKUP_KEEP_YEARLY": "10",
    "TZ": "Europe/Berlin",
}


def run(bench):
    """One row a command; the median of the rounds."""
    folder = bench.folder / "backups"
    folder.mkdir()
    lay(folder, bench.backups)
    commands = {"`pgcellar list --json`": ["list", "--json"], "`pgcellar retention --dry-run --json`": ["retention", "--dry-run", "--json"]}
    rows = []
    for title, arguments in commands.items():
        command = [bench.pgcellar, *arguments, "--backup-dir", folder]
        runs = sorted((measure(command, **POLICY) for _ in range(bench.rounds)), key=lambda measured: measured.wall)
        median = runs[len(runs) // 2]
        print(f"bench: {title}: {median.summary()}", file=sys.stderr)
        rows.append([title, seconds(median.wall), f"{median.cpu:.2f} s", megabytes(median.largest()[1])])
    print(table([f"over {bench.backups:,} backups", "wall", "CPU", "pgcellar's peak"], rows))
    print()
    print(f"Medians of {bench.rounds} runs, four databases, three files a backup. {machine(bench)}. {version([bench.pgcellar, '--version'])}.")


def lay(folder, number):
    """Backups of four databases, an hour apart each, with a verify record at every tenth."""
    print(f"bench: laying {number} backups", file=sys.stderr)
    sample = json.loads(SAMPLE.read_text())
    begin = datetime(2023, 1, 1, 2, tzinfo=timezone.utc)
    for at in range(number):
        database, started = f"shop{at % 4}", begin + timedelta(hours=at // 4)
        backup = f"{database}_{started:%Y%m%d_%H%M%S}"
        when = f"{started:%Y-%m-%dT%H:%M:%SZ}"
        manifest = sample | {"id": backup, "database": database, "started": when, "ended": when, "partial": False}
        manifest["files"] = [
            file | {"key": f"{backup}{suffix}", "stored_bytes": 3}
            for file, suffix in zip(sample["files"], [".dump.gz", ".globals.sql.gz"])
        ]
        for file in manifest["files"]:
            (folder / file["key"]).write_text("abc")
        (folder / f"{backup}.manifest.json").write_text(json.dumps(manifest, indent=2))
        if at % 10 == 0:
            record = {"id": backup, "at": when, "passed": True, "depth": "full", "damage": []}
            (folder / f"{backup}.verify.json").write_text(json.dumps(record))
