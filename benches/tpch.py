"""The TPC-H database: eight tables of an imagined wholesale trade, 1 GB at scale 1."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import tool

# Columns and primary keys as the TPC-H specification has them (clauses 1.4.1 and 1.4.2).
TABLES = {
    "region": ("r_regionkey int, r_name char(25), r_comment varchar(152)", "r_regionkey"),
    "nation": ("n_nationkey int, n_name char(25), n_regionkey int, n_comment varchar(152)", "n_nationkey"),
    "supplier": (
        "s_suppkey int, s_name char(25), s_address varchar(40), s_nationkey int, s_phone char(15), "
        "s_acctbal numeric(15,2), s_comment varchar(101)",
        "s_suppkey",
    ),
    "part": (
        "p_partkey int, p_name varchar(55), p_mfgr char(25), p_brand char(10), p_type varchar(25), p_size int, "
        "p_container char(10), p_retailprice numeric(15,2), p_comment varchar(23)",
        "p_partkey",
    ),
    "partsupp": (
        "ps_partkey int, ps_suppkey int, ps_availqty int, ps_supplycost numeric(15,2), ps_comment varchar(199)",
        "ps_partkey, ps_suppkey",
    ),
    "customer": (
        "c_custkey int, c_name varchar(25), c_address varchar(40), c_nationkey int, c_phone char(15), "
        "c_acctbal numeric(15,2), c_mktsegment char(10), c_comment varchar(117)",
        "c_custkey",
    ),
    "orders": (
        "o_orderkey bigint, o_custkey int, o_orderstatus char(1), o_totalprice numeric(15,2), o_orderdate date, "
        "o_orderpriority char(15), o_clerk char(15), o_shippriority int, o_comment varchar(79)",
        "o_orderkey",
    ),
    "lineitem": (
        "l_orderkey bigint, l_partkey int, l_suppkey int, l_linenumber int, l_quantity numeric(15,2), "
        "l_extendedprice numeric(15,2), l_discount numeric(15,2), l_tax numeric(15,2), l_returnflag char(1), "
        "l_linestatus char(1), l_shipdate date, l_commitdate date, l_receiptdate date, l_shipinstruct char(25), "
        "l_shipmode char(10), l_comment varchar(44)",
        "l_orderkey, l_linenumber",
    ),
}


def cache():
    """The folder that keeps generated data for the next bench, which is the one of scripts/tool."""
    if "PGCELLAR_TEST_CACHE" in os.environ:
        folder = Path(os.environ["PGCELLAR_TEST_CACHE"])
    elif os.geteuid() == 0:
        folder = Path("/var/cache/pgcellar-test")
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pgcellar-test"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def data(scale):
    """The folder with the tables' rows at this scale, made if it is not there."""
    folder = cache() / f"tpch-{scale}"
    if folder.is_dir():
        return folder
    print(f"bench: generating TPC-H at scale {scale} into {folder}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix=".tpch.", dir=cache()) as scratch:
        rows = Path(scratch) / "rows"
        subprocess.run([tool("tpchgen-cli"), "tbl", "-s", scale, "--output-dir", rows], check=True, stdout=sys.stderr)
        # Every line ends in a delimiter, which COPY takes for one more column.
        subprocess.run(["sed", "-i", "s/|$//", *(rows / f"{table}.tbl" for table in TABLES)], check=True)
        rows.rename(folder)
    return folder


def script(scale):
    """What psql runs to fill a database, ready to be read: frozen, analyzed, on disk."""
    rows = data(scale)
    lines = ["BEGIN;"]
    for table, (columns, _) in TABLES.items():
        not_null = ", ".join(f"{column} NOT NULL" for column in columns.split(", "))
        lines.append(f"CREATE TABLE {table} ({not_null});")
        lines.append(f"\\copy {table} FROM '{rows}/{table}.tbl' WITH (DELIMITER '|', FREEZE)")
    lines.append("COMMIT;")
    lines += [f"ALTER TABLE {table} ADD PRIMARY KEY ({key});" for table, (_, key) in TABLES.items()]
    lines.append("VACUUM ANALYZE; CHECKPOINT;")
    return "\n".join(lines)


def load(cluster, scale):
    """Makes the database `tpch`."""
    fill = script(scale)
    print(f"bench: loading TPC-H at scale {scale}", file=sys.stderr)
    cluster.sql("postgres", "CREATE DATABASE tpch")
    cluster.sql("tpch", fill)


if __name__ == "__main__":
    print(script(sys.argv[1]))
