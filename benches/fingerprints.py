"""What fingerprints cost: CPU seconds of a backup by this pgcellar, and by one that takes none, in turns.

There is no option that switches them off, so the other one is a build of a commit before them: BASE names its program.
"""

import sys
from os import environ
from pathlib import Path
from shutil import rmtree
from statistics import median

import tpch
from measure import measure
from postgres import Cluster
from report import seconds, setting, table


def run(bench):
    """A row for each program, and the share that fingerprints add."""
    base = Path(environ.get("BASE") or sys.exit("bench: BASE must name a pgcellar without fingerprints")).resolve()
    programs = {"without fingerprints": base, "with fingerprints": bench.pgcellar}
    runs = {name: [] for name in programs}
    with Cluster(bench.folder) as cluster:
        tpch.load(cluster, bench.scale)
        for program in programs.values():
            back_up(bench, cluster, program)
        for turn in range(bench.rounds):
            # In turns, and in the other order every second time, so that neither has the warmer machine.
            for name in list(programs)[:: 1 if turn % 2 == 0 else -1]:
                measured = back_up(bench, cluster, programs[name])
                print(f"bench: {name}: {measured.summary()}", file=sys.stderr)
                runs[name].append(measured)
        without, with_them = (median(run.cpu for run in runs[name]) for name in programs)
        rows = [
            [name, seconds(median(run.wall for run in of_one)), seconds(median(run.cpu for run in of_one))]
            for name, of_one in runs.items()
        ]
        print(table(["pgcellar backup", "wall", "**CPU**"], rows))
        print()
        print(f"Fingerprints add {100 * (with_them / without - 1):.1f} % of the CPU of pgcellar and its pg_dump;")
        print(f"medians of {bench.rounds} pairs. The server's own CPU is not counted. {setting(bench, cluster, [])}")


def back_up(bench, cluster, program):
    """One backup, removed again."""
    folder = bench.folder / "out"
    command = [program, "backup", "--quiet", *cluster.connection(), "-d", "tpch", "--backup-dir", folder]
    measured = measure(command)
    rmtree(folder)
    return measured
