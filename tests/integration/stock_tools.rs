//! A backup can be restored without pgcellar: stock programs decrypt, decompress and restore it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::common::compare::assert_same;
use crate::common::process::{must, plain};
use crate::common::{Cellar, Cluster, Database, Version, everything, keys};

/// Each compression, the stock program that decompresses it, and the suffix.
const TOOLS: [(&str, &str, &str); 5] = [
    ("gzip", "gunzip", ".gz"),
    ("bzip2", "bunzip2", ".bz2"),
    ("xz", "unxz", ".xz"),
    ("zstd", "unzstd", ".zst"),
    ("none", "cat", ""),
];

fn archive(cellar: &Cellar, manifest: &Value) -> PathBuf {
    let files = manifest["files"].as_array().unwrap();
    let archive = files.iter().find(|file| file["role"] == "archive").expect("an archive");
    cellar.backup_dir().join(archive["key"].as_str().unwrap())
}

/// Runs a stock program as a filter between two files.
fn filter(program: &str, arguments: &[&str], from: &Path, to: &Path) {
    let mut command = plain(program);
    command.args(arguments).stdin(File::open(from).unwrap()).stdout(File::create(to).unwrap()).stderr(Stdio::inherit());
    assert!(command.status().unwrap().success(), "{program} {arguments:?} < {}", from.display());
}

fn sha256sum(file: &Path) -> String {
    must(plain("sha256sum").arg("-b").arg(file))
        .split(' ')
        .next()
        .unwrap_or_default()
        .trim_start_matches('\\')
        .to_owned()
}

/// `pg_restore` of a file. With several jobs, one section after the other: in one call its workers grant privileges in
/// any order, though one may depend on another, and create triggers of a partitioned table that fire for the rows of
/// partitions loaded later.
fn pg_restore(from: &Path, into: &Database<'_>, jobs: &str) {
    let sections: &[&[&str]] = match jobs {
        "1" => &[&[]],
        _ => &[&["--section=pre-data"], &["--section=data", "--jobs", jobs], &["--section=post-data", "--jobs", jobs]],
    };
    for section in sections {
        let mut command = into.cluster().client("pg_restore", "");
        command.args(["--exit-on-error", "--dbname", &into.connection_string()]).args(*section).arg(from);
        must(&mut command);
    }
}

#[test]
fn custom_archives_by_hand() {
    let original = everything::database(Cluster::shared(Version::V15), "by_hand");
    for (compression, program, ending) in TOOLS {
        for encrypted in [false, true] {
            let mut cellar = Cellar::new(original.cluster()).with("BACKUP_COMPRESSION", compression);
            let key = keys::age(cellar.scratch(), "key");
            if encrypted {
                cellar = cellar.with("BACKUP_AGE_RECIPIENTS", &key.recipient);
            }
            let manifest = cellar.back_up(original.name());
            let mut file = archive(&cellar, &manifest);
            let name =
                format!("{}.dump{ending}{}", manifest["id"].as_str().unwrap(), if encrypted { ".age" } else { "" });
            assert_eq!(file.file_name().unwrap().to_str(), Some(name.as_str()));
            assert_eq!(sha256sum(&file), manifest["files"][0]["stored_sha256"], "{name}");
            if encrypted {
                let decrypted = cellar.scratch().join("decrypted");
                filter("age", &["--decrypt", "--identity", key.identity.to_str().unwrap()], &file, &decrypted);
                file = decrypted;
            }
            let plain_archive = cellar.scratch().join("archive");
            filter(program, &[], &file, &plain_archive);
            assert_eq!(sha256sum(&plain_archive), manifest["files"][0]["plain_sha256"], "{name}");
            let restored = original.cluster().create("by_hand");
            pg_restore(&plain_archive, &restored, "2");
            assert_same(&original, &restored);
        }
    }
}

#[test]
fn plain_archives_by_hand() {
    let original = everything::database(Cluster::shared(Version::V15), "by_hand");
    for (compression, program, ending) in TOOLS {
        let cellar =
            Cellar::new(original.cluster()).with("BACKUP_COMPRESSION", compression).with("BACKUP_FORMAT", "plain");
        let manifest = cellar.back_up(original.name());
        let file = archive(&cellar, &manifest);
        assert!(file.to_str().unwrap().ends_with(&format!(".sql{ending}")), "{}", file.display());
        let script = cellar.scratch().join("script");
        filter(program, &[], &file, &script);
        let restored = original.cluster().create("by_hand");
        let mut psql = original.cluster().client("psql", restored.name());
        must(psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"]).arg(&script));
        assert_same(&original, &restored);
    }
}

#[test]
fn tar_archives_by_hand() {
    let original = everything::database(Cluster::shared(Version::V15), "by_hand");
    let cellar = Cellar::new(original.cluster()).with("BACKUP_FORMAT", "tar");
    let manifest = cellar.back_up(original.name());
    let file = archive(&cellar, &manifest);
    assert!(file.to_str().unwrap().ends_with(".tar.gz"), "{}", file.display());
    let tar = cellar.scratch().join("archive.tar");
    filter("gunzip", &[], &file, &tar);
    let restored = original.cluster().create("by_hand");
    pg_restore(&tar, &restored, "1");
    assert_same(&original, &restored);
}

#[test]
fn directory_archives_by_hand() {
    let original = everything::database(Cluster::shared(Version::V15), "by_hand");
    let cellar = Cellar::new(original.cluster()).with("BACKUP_FORMAT", "directory");
    let manifest = cellar.back_up(original.name());
    let file = archive(&cellar, &manifest);
    let folder =
        file.ancestors().find(|path| path.parent() == Some(&cellar.backup_dir())).expect("a folder of its own");
    let restored = original.cluster().create("by_hand");
    pg_restore(folder, &restored, "3");
    assert_same(&original, &restored);
}

/// The stock programs of each version read the rechunked and compressed archive of that version.
#[test]
fn newer_versions_by_hand() {
    for version in [Version::V17, Version::V19].into_iter().filter(|version| version.is_covered()) {
        let original = everything::database(Cluster::shared(version), "by_hand");
        let cellar = Cellar::new(original.cluster());
        let manifest = cellar.back_up(original.name());
        let dump = cellar.scratch().join("archive");
        filter("gunzip", &[], &archive(&cellar, &manifest), &dump);
        for jobs in ["1", "3"] {
            let restored = original.cluster().create("by_hand");
            pg_restore(&dump, &restored, jobs);
            assert_same(&original, &restored);
        }
    }
}

#[test]
fn globals_create_the_roles_of_another_cluster() {
    let original = everything::database(Cluster::shared(Version::V15), "globals");
    let cellar = Cellar::new(original.cluster());
    let manifest = cellar.back_up(original.name());
    let globals = manifest["files"].as_array().unwrap().iter().find(|file| file["role"] == "globals").unwrap().clone();
    let script = cellar.scratch().join("globals.sql");
    filter("gunzip", &[], &cellar.backup_dir().join(globals["key"].as_str().unwrap()), &script);
    let elsewhere = Cluster::start(Version::V15);
    // Two roles exist already: the superuser, and `certified` of each test cluster.
    must(elsewhere.client("psql", "postgres").args(["-X", "-q", "-f"]).arg(&script));
    let roles =
        "SELECT rolname, rolconnlimit, rolvaliduntil, rolpassword FROM pg_authid WHERE rolname ~* 'cellar' ORDER BY 1";
    assert_eq!(elsewhere.sql("postgres", roles), original.sql(roles));
    assert!(elsewhere.sql("postgres", roles).lines().count() >= 4);
    let restored = elsewhere.create("restored");
    let dump = cellar.scratch().join("archive");
    filter("gunzip", &[], &archive(&cellar, &manifest), &dump);
    pg_restore(&dump, &restored, "1");
    assert_same(&original, &restored);
}
