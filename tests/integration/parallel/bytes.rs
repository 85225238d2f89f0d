//! The bytes of the archive.

use super::{SPLIT, large};
use crate::common::programs::Programs;
use crate::common::stock_archive::{are_stock, backed_up, raw, same, stock};
use crate::common::{Cluster, Version, everything};
use crate::encodings;

fn as_stock(version: Version) {
    if !version.is_covered() {
        return;
    }
    // Dumps have the planner's statistics since version 18.
    let cluster = Cluster::start_configured(version, &["autovacuum=off"]);
    let database = large(&cluster, "large");
    if version >= Version::V18 {
        database.sql("ALTER TABLE dropped ADD g int GENERATED ALWAYS AS (a + 2) VIRTUAL");
    }
    assert_eq!(are_stock(&database, &[]), SPLIT);
    are_stock(&everything::database(&cluster, "everything"), &[]);
}

#[test]
fn as_stock_14() {
    as_stock(Version::V14);
}

#[test]
fn as_stock_15() {
    as_stock(Version::V15);
}

#[test]
fn as_stock_16() {
    as_stock(Version::V16);
}

#[test]
fn as_stock_17() {
    as_stock(Version::V17);
}

#[test]
fn as_stock_18() {
    as_stock(Version::V18);
}

#[test]
fn as_stock_19() {
    as_stock(Version::V19);
}

/// Rows that come, change and go since the snapshot, before and after the sizes of the tables are read.
#[test]
fn tables_that_change_during_the_dump() {
    let version = Version::V15;
    let database = large(Cluster::shared(version), "changing");
    let theirs = stock(&database, &[]);
    let programs = Programs::of(version);
    let change = "INSERT INTO rows SELECT n, 'late' FROM generate_series(1, 100000) n; INSERT INTO toasted SELECT * FROM toasted LIMIT 2; \
         UPDATE bloated SET n = n + 1; DELETE FROM dropped WHERE a % 2 = 0; INSERT INTO empty VALUES (1); VACUUM";
    let psql = format!("'{}' -X -q -d {}", programs.real().join("psql").display(), database.name());
    let change: String = change.split("; ").map(|sql| format!(" -c \"{sql}\"")).collect();
    programs.before("pg_dump", &format!("(unset PGOPTIONS; {psql}{change}) >&2 || exit"));
    let cellar = raw(&database).with("PG_BINDIR", programs.path());
    same(&backed_up(&cellar, "4").1, &theirs, "changing");
    assert_eq!(database.sql("SELECT count(*) FROM rows"), "450000");
}

#[test]
fn other_encodings() {
    let cluster = Cluster::shared(Version::V15);
    for (encoding, names) in [("LATIN1", [&b"t\xe9\"\"l"[..], b"c\xf6 l"]), ("EUC_JP", [b"\xc9\xbd", b"\xce\xf3"])] {
        let [table, column] = names;
        let create = [b"CREATE TABLE \"", table, b"\" AS SELECT n AS \"", column, b"\", '"].concat();
        let rows = [table, b"'::text AS \"select\" FROM generate_series(1, 150000) n"].concat();
        are_stock(&encodings::create(cluster, encoding, &[create, rows].concat()), &[]);
    }
}

#[test]
fn options_of_pg_dump() {
    let database = large(Cluster::shared(Version::V15), "options");
    for options in [
        &["--quote-all-identifiers", "--extra-float-digits=1"][..],
        &["--load-via-partition-root", "--no-owner", "--no-privileges"],
        &["--data-only", "--exclude-table-data=public.rows"],
        &["--table=public.r*", "--section=data"],
        &["--no-blobs", "--no-unlogged-table-data", "--disable-dollar-quoting", "--exclude-schema=information_schema"],
    ] {
        are_stock(&database, options);
    }
}
