//! The bytes of the archive.

use serde_json::Value;

use super::{SPLIT, large};
use crate::common::programs::Programs;
use crate::common::stock_archive::{are_stock, backed_up, made, raw, same, stock};
use crate::common::{Cluster, Version, everything};
use crate::dump_options::{self, REFUSED, RESTORED};
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
fn what_one_session_reads() {
    let old = Cluster::shared(Version::V13).create("old");
    old.sql("CREATE TABLE wine AS SELECT 1 AS n");
    let cluster = Cluster::shared(Version::V15);
    let create = "CREATE TABLE wine AS SELECT 1 AS n";
    let unknown = encodings::create(cluster, "SQL_ASCII", create.as_bytes());
    let mule = encodings::create(cluster, "MULE_INTERNAL", create.as_bytes());
    let empty = cluster.create("empty");
    empty.sql("CREATE TABLE nothing ()");
    // Rows that are removed before a session imports the snapshot would be missing.
    let forgetful = Cluster::start_configured(Version::V15, &["old_snapshot_threshold=1h"]);
    let forgetful = forgetful.create("forgetful");
    forgetful.sql("CREATE TABLE wine AS SELECT 1 AS n");
    for (database, why) in [
        (old, "PostgreSQL 13 cannot read a range of pages alone"),
        (unknown, "the encoding of the database cannot be converted"),
        (mule, "the encoding of the database cannot be converted"),
        (forgetful, "no table of BACKUP_SPLIT_SIZE or more can be read in parts"),
        (empty, "no table of BACKUP_SPLIT_SIZE or more can be read in parts"),
    ] {
        let cellar = raw(&database);
        let outcome = cellar.run(["backup", "--json", "--jobs", "2"]).succeeds().says("in one session").says(why);
        let (manifest, ours) = made(&cellar, &outcome);
        assert_eq!(manifest["jobs"], Value::Null, "{outcome}");
        same(&ours, &stock(&database, &[]), why);
    }
}

/// All options that a backup may have, in the database whose backups with them are restored.
#[test]
fn options_of_pg_dump() {
    // Dumps have the planner's statistics, which must not change between two of them.
    let cluster = Cluster::start_configured(Version::V18, &["autovacuum=off"]);
    let database = dump_options::original(&cluster);
    // More than a pipe holds, whatever an option leaves out: a first pg_dump that ends is the one that is written.
    database.sql(
        "INSERT INTO side.note SELECT repeat('x', 1000) FROM generate_series(1, 300); INSERT INTO cask SELECT generate_series(1, 60000); \
         INSERT INTO wine (label) SELECT repeat(md5(n::text), 30) FROM generate_series(1, 300) n; ANALYZE",
    );
    for options in RESTORED.iter().chain(REFUSED) {
        let cellar = raw(&database).with("BACKUP_DUMP_OPTIONS", options.join(" "));
        let outcome = cellar.run(["backup", "--json", "--jobs", "2"]).succeeds();
        let (manifest, ours) = made(&cellar, &outcome);
        assert_eq!(manifest["jobs"].is_u64(), manifest["contents"]["tables"] != 0, "{outcome}");
        same(&ours, &stock(&database, options), &options.join(" "));
    }
}
