"""How much memory pgcellar needs where rows are very long and where tables are very many."""

import json
import sys
from shutil import rmtree

from measure import measure
from postgres import Cluster
from report import megabytes, seconds, setting, table

# Six values of 100 MB, stored as they are; the bytea ones are twice as long in a dump.
LONG_ROWS = """
CREATE TABLE long_rows (id int PRIMARY KEY, b bytea, t text);
ALTER TABLE long_rows ALTER b SET STORAGE EXTERNAL, ALTER t SET STORAGE EXTERNAL;
INSERT INTO long_rows (id, b)
    SELECT n, string_agg(sha512((n || ' ' || i)::bytea), '') FROM generate_series(1, 3) n, generate_series(1, 1562500) i
    GROUP BY n;
INSERT INTO long_rows (id, t)
    SELECT n + 10, string_agg(encode(sha512((n || ' ' || i)::bytea), 'hex'), '')
    FROM generate_series(1, 3) n, generate_series(1, 781250) i GROUP BY n;
CHECKPOINT;
"""

# One row in each page, so that each session reads one of them.
ROWS_APART = """
CREATE TABLE rows_apart (id int, apart text, t text);
ALTER TABLE rows_apart ALTER apart SET STORAGE PLAIN, ALTER t SET STORAGE EXTERNAL;
INSERT INTO rows_apart
    SELECT n, repeat('x', 6000), string_agg(encode(sha512((n || ' ' || i)::bytea), 'hex'), '')
    FROM generate_series(1, 8) n, generate_series(1, 781250) i GROUP BY n;
CHECKPOINT;
"""

MANY_TABLES = """
CREATE PROCEDURE many(tables int) LANGUAGE plpgsql AS $$
BEGIN
    FOR n IN 1..tables LOOP
        EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, name text NOT NULL)', n);
        EXECUTE format('INSERT INTO t%s VALUES (1, ''one'')', n);
        IF n % 500 = 0 THEN COMMIT; END IF;
    END LOOP;
END $$;
"""


def run(bench):
    """One row a database."""
    # pg_dump locks every table in one transaction; the lock table is for max_connections times as many.
    locks = {"max_connections": "20", "max_locks_per_transaction": str(max(64, bench.tables // 8))}
    with Cluster(bench.folder, **locks) as cluster:
        fill(cluster, "long_rows", LONG_ROWS)
        fill(cluster, "rows_apart", ROWS_APART)
        fill(cluster, "many_tables", f"{MANY_TABLES} CALL many({bench.tables}); ANALYZE; CHECKPOINT;")
        rows = [
            back_up(bench, cluster, "long_rows", "rows of 100 MB (3 of bytea, 3 of text)"),
            back_up(bench, cluster, "rows_apart", "8 rows of 100 MB, `--jobs 8`", "--jobs", "8"),
            back_up(bench, cluster, "many_tables", f"{bench.tables:,} tables with a row each"),
        ]
        print(table(["database", "dump", "file", "wall", "**pgcellar's peak**", "pg_dump's peak"], rows))
        print()
        print(f"`pgcellar backup` with its default settings otherwise. {setting(bench, cluster, [])}")


def fill(cluster, database, script):
    """Makes a database by a script."""
    print(f"bench: filling {database}", file=sys.stderr)
    cluster.sql("postgres", f"CREATE DATABASE {database}")
    cluster.sql(database, script)


def back_up(bench, cluster, database, title, *options):
    """A row of the table."""
    folder = bench.folder / "out"
    command = [bench.pgcellar, "backup", "--quiet", *cluster.connection(), "-d", database, "--backup-dir", folder, *options]
    measured = measure(command)
    print(f"bench: {database}: {measured.summary()}", file=sys.stderr)
    manifest = json.loads(next(folder.glob("*.manifest.json")).read_text())
    archive = next(file for file in manifest["files"] if file["role"] == "archive")
    rmtree(folder)
    return [
        title,
        megabytes(archive["plain_bytes"]),
        megabytes(archive["stored_bytes"]),
        seconds(measured.wall),
        megabytes(measured.peaks["pgcellar"]),
        megabytes(measured.peaks["pg_dump"]),
    ]
