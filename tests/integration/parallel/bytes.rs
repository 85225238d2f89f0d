//! The bytes of the archive.

use super::{backed_up, large, path, raw, same, stock};
use crate::common::{Cluster, Database, Version, everything};
use crate::encodings;

/// Compares archives by several numbers of sessions with that of stock pg_dump.
fn are_stock(database: &Database<'_>, options: &[&str]) {
    let cellar = raw(database).with("BACKUP_DUMP_OPTIONS", options.join(" "));
    let theirs = stock(database, options);
    let (one, alone) = backed_up(&cellar, "1");
    same(&alone, &theirs, "one session");
    let fingerprints = std::fs::read(path(&cellar, &one, "fingerprints")).unwrap();
    for jobs in ["2", "3", "8"] {
        let (manifest, ours) = backed_up(&cellar, jobs);
        same(&ours, &theirs, jobs);
        for what in ["tables", "rows", "large_objects"] {
            assert_eq!(manifest["contents"][what], one["contents"][what], "{jobs}");
        }
        assert_eq!(std::fs::read(path(&cellar, &manifest, "fingerprints")).unwrap(), fingerprints, "{jobs}");
    }
}

#[test]
fn large_tables_15() {
    are_stock(&large(Cluster::shared(Version::V15), "large"), &[]);
}

#[test]
fn large_tables_17() {
    are_stock(&large(Cluster::shared(Version::V17), "large"), &[]);
}

#[test]
fn large_tables_18() {
    let database = large(Cluster::shared(Version::V18), "large");
    database.sql("ALTER TABLE dropped ADD g int GENERATED ALWAYS AS (a + 2) VIRTUAL");
    are_stock(&database, &[]);
}

#[test]
fn one_of_everything() {
    for version in [Version::V15, Version::V17, Version::V18] {
        are_stock(&everything::database(Cluster::shared(version), "everything"), &[]);
    }
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
