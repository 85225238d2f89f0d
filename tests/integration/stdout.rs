//! A verb that cannot print its output fails, whatever its result.

use std::fs::OpenOptions;
use std::process::Stdio;

use crate::common::pgcellar::PROGRAM;
use crate::common::process::plain;
use crate::common::{Cellar, Cluster, Version, exit};

/// Runs the program with standard output to a full disk.
fn onto_a_full_disk(cellar: &Cellar, arguments: &[&str]) -> (Option<i32>, String) {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = plain(PROGRAM);
    command.args(arguments).envs(cellar.settings()).stdin(Stdio::null()).stdout(full).stderr(Stdio::piped());
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_verb_that_cannot_print_fails() {
    let cluster = Cluster::shared(Version::V15);
    let shop = cluster.create("stdout");
    shop.sql("CREATE TABLE wine AS SELECT n FROM generate_series(1, 100) n");
    let cellar = Cellar::new(cluster).with("DB_NAME", shop.name()).with("BACKUP_RETENTION_DAYS", "7");
    cellar.back_up(shop.name());
    let verbs: [&[&str]; 22] = [
        &["--help"],
        &["--version"],
        &["help", "restore"],
        &["list"],
        &["list", "--json"],
        &["list", "--help"],
        &["show"],
        &["show", "--json"],
        &["verify", "--json"],
        &["verify", "--all", "--json"],
        &["verify", "--against-live", shop.name(), "--json"],
        &["restore", "latest", "--list"],
        &["restore", "latest", "--recipe"],
        &["restore", "latest", "--dry-run", "--target-database", "stdout_new"],
        &["retention", "--dry-run"],
        &["retention", "--json"],
        &["monitor", "check"],
        &["monitor", "report"],
        &["monitor", "report", "--format", "html"],
        &["doctor", "programs", "backups"],
        &["calendar", "0 2 * * *"],
        &["backup", "--json"],
    ];
    for arguments in verbs {
        let (code, stderr) = onto_a_full_disk(&cellar, arguments);
        assert_eq!(code, Some(exit::CANTCREAT), "{arguments:?}: {stderr}");
        assert!(stderr.contains("cannot write standard output: no space left on device"), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("BACKUP_DIR"), "{arguments:?}: {stderr}");
    }
    let (code, _) = onto_a_full_disk(&cellar, &["config", "check", "/nonexistent.env"]);
    assert_eq!(code, Some(exit::CANTCREAT));
}
