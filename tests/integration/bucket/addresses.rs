//! `restore s3://BUCKET/KEY`: any object, ours or not.

use std::fs;
use std::path::Path;
use std::process::Command;

use pgcellar::store::{ObjectKind, Store};

use super::*;
use crate::common::compare::assert_same;
use crate::common::keys;
use crate::common::process::{must, plain};

fn pg_dump(database: &Database<'_>, arguments: &[&str]) -> Command {
    let mut command = database.cluster().client("pg_dump", database.name());
    command.args(arguments);
    command
}

/// Puts a file into the bucket, below the prefix of the backups.
fn put(bucket: &Bucket, key: &str, file: &Path) {
    bucket.store().replace(key, &fs::read(file).unwrap(), ObjectKind::Document).unwrap();
}

fn address(bucket: &Bucket, key: &str) -> String {
    format!("s3://{}/database-backups/{key}", bucket.name())
}

fn comes_back(cellar: &Cellar, original: &Database<'_>, address: &str, arguments: &[&str]) -> Outcome {
    let target = original.cluster().name_for("by_address");
    let run = cellar.run(["restore", address, "--target-database", &target]).arguments(arguments);
    let outcome = run.succeeds();
    let query = "SELECT count(*), sum(n), max(lo_get(oid)::text) FROM wine, pg_largeobject_metadata";
    assert_eq!(original.cluster().database(&target).sql(query), original.sql(query), "{address}");
    outcome
}

#[test]
fn a_backup_by_the_address_of_each_file() {
    let cluster = Cluster::shared(Version::V15);
    let database = small(cluster);
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::new(cluster));
    for format in ["custom", "directory"] {
        let manifest = cellar.run(["backup", "--json"]).env("DB_NAME", database.name()).env("BACKUP_FORMAT", format);
        let manifest = manifest.succeeds().json()[0].clone();
        let id = id_of(&manifest);
        let names = match format {
            "custom" => vec![archive_of(&manifest), format!("{id}.manifest.json")],
            _ => vec![format!("{id}/"), id.clone(), format!("{id}/toc.dat")],
        };
        for name in names {
            // Neither the directory nor the bucket's settings are needed.
            let run = cellar.run(["restore", &address(&bucket, &name)]).without("AWS_S3_BUCKET").without("BACKUP_DIR");
            let target = cluster.name_for("ours");
            run.arguments(["--target-database", &target]).succeeds();
            assert_same(&database, &cluster.database(&target));
        }
        let globals = manifest["files"].as_array().unwrap().iter().find(|file| file["role"] == "globals").unwrap();
        let globals = address(&bucket, globals["key"].as_str().unwrap());
        cellar.run(["restore", &globals]).fails(exit::USAGE).says("has the roles of the backup");
    }
}

#[test]
fn dumps_of_other_tools() {
    let cluster = Cluster::shared(Version::V15);
    let database = small(cluster);
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::new(cluster));
    let key = keys::age(cellar.scratch(), "key");
    let cellar = cellar.with("BACKUP_AGE_IDENTITY_FILE", &key.identity);
    let cases: [(&[&str], String, &str, &[&str]); 4] = [
        (&["-Fc", "-Z0"], "gzip".to_owned(), "backup_file.dump.gz", &[]),
        (&["-Fc", "-Z0"], "gzip".to_owned(), "theirs.dump.gz", &["--jobs", "2"]),
        (&["-Fp"], "gzip".to_owned(), "backup_file.sql.gz", &[]),
        (&["-Ft"], format!("age -r {}", key.recipient), "odd name+50%.tar.age", &[]),
    ];
    for (arguments, filter, name, more) in cases {
        let file = cellar.scratch().join("dump");
        let command = pg_dump(&database, arguments);
        let mut shell = plain("bash");
        shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("OUT", &file);
        shell.args(["-c", &format!("set -o pipefail; \"$0\" \"$@\" | {filter} > \"$OUT\"")]);
        must(shell.arg(command.get_program()).args(command.get_args()));
        put(&bucket, name, &file);
        comes_back(&cellar, &database, &address(&bucket, name), more);
        assert!(cellar.run(["restore", &address(&bucket, name), "--list"]).succeeds().stdout.contains("wine"));
    }
    let folder = cellar.scratch().join("folder");
    must(pg_dump(&database, &["-Fd", "-f"]).arg(&folder));
    for path in tree::files(&folder) {
        put(&bucket, &format!("folder/{}", path.file_name().unwrap().to_str().unwrap()), &path);
    }
    for name in ["folder/", "folder", "folder/toc.dat"] {
        comes_back(&cellar, &database, &address(&bucket, name), &[]);
    }

    // A file of it is missing.
    let rows = tree::files(&folder).into_iter().find(|path| path.extension().is_some_and(|end| end == "gz")).unwrap();
    bucket.store().delete(&format!("folder/{}", rows.file_name().unwrap().to_str().unwrap())).unwrap();
    let target = cluster.name_for("never");
    let never = |name: &str, code: i32| {
        let outcome = cellar.run(["restore", &address(&bucket, name), "--target-database", &target]).fails(code);
        let left = format!("SELECT count(*) FROM pg_database WHERE starts_with(datname, '{target}')");
        assert_eq!(cluster.sql("postgres", &left), "0", "{outcome}");
        outcome
    };
    let _ = never("folder/", exit::DATAERR).says("does not have");
    bucket.store().replace("notes.txt", b"\x01\x02\x03", ObjectKind::Document).unwrap();
    let _ = never("notes.txt", exit::DATAERR).says("not a PostgreSQL dump");
    let _ = never("no_such.dump.gz", exit::NOINPUT).says("no_such.dump.gz");
    let _ = never("no_such/", exit::NOINPUT).says("no_such");
    // A truncated one is detected before a database is created.
    let bytes = bucket.objects().remove("backup_file.dump.gz").unwrap();
    bucket.store().replace("backup_file.dump.gz", &bytes[..bytes.len() / 2], ObjectKind::Document).unwrap();
    let _ = never("backup_file.dump.gz", exit::DATAERR).says("is damaged");
    for wrong in ["s3://", "s3://bucket", "s3://bucket/", "s3:///x", "s3://bucket/a//b"] {
        cellar.run(["restore", wrong]).fails(exit::USAGE);
    }
    cellar.run(["restore", "s3://no-such-bucket/x.dump"]).fails(exit::CONFIG).says("no-such-bucket");
}
