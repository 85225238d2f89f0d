//! The program under the names of the scripts that it replaces, and the settings file beside them.

use std::os::unix::fs::symlink;
use std::process::{Command, Output};

use aws_sdk_s3::primitives::ByteStream;

use crate::common::bucket::Bucket;
use crate::common::pgcellar::PROGRAM;
use crate::common::process::plain;
use crate::common::s3_server::{OWNER, READER, wait};
use crate::common::{Cellar, Cluster, Version, compare, exit};

/// One of the scripts, in a folder of the test's own.
fn script(cellar: &Cellar, name: &str, words: &[&str]) -> Command {
    let link = cellar.scratch().join(name);
    if !link.exists() {
        symlink(PROGRAM, &link).unwrap();
    }
    let mut command = plain(link);
    command.args(words).envs(cellar.settings()).current_dir("/");
    command
}

#[track_caller]
fn ends(mut command: Command, code: i32) -> (String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert_eq!(status.code(), Some(code), "{command:?}\n{stdout}\n{stderr}");
    (stdout, stderr)
}

#[test]
fn the_old_script_commands_back_up_list_and_restore() {
    let cluster = Cluster::shared(Version::V15);
    let shop = cluster.create("shop");
    shop.sql("CREATE TABLE wine AS SELECT n, md5(n::text) AS label FROM generate_series(1, 1000) n");
    let cellar = Cellar::new(cluster).with("DB_NAME", shop.name());
    ends(script(&cellar, "backup-database.sh", &[]), 0);
    let (listed, _) = ends(script(&cellar, "restore-database.sh", &["list"]), 0);
    // Except for the age, which grows.
    let lasting = |text: &str| -> String {
        let words = text.split_whitespace().filter(|word| *word != "s" && word.parse::<u32>().is_err());
        words.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(lasting(&listed), lasting(&cellar.run(["list"]).succeeds().stdout));
    let id = cellar.list()[0]["id"].as_str().unwrap().to_owned();
    assert!(listed.contains(&id), "{listed}");

    // The database exists: it is replaced only with FORCE_RESTORE, and the old one is kept.
    let path = cellar.backup_dir().join(format!("{id}.dump.gz"));
    let path = path.to_str().unwrap();
    let (_, stderr) = ends(script(&cellar, "restore-database.sh", &["restore", path]), exit::CANTCREAT);
    assert!(stderr.contains("FORCE_RESTORE=true"), "{stderr}");
    shop.sql("DELETE FROM wine");
    let mut forced = script(&cellar, "restore-database.sh", &["restore", path]);
    forced.env("FORCE_RESTORE", "true");
    ends(forced, 0);
    assert_eq!(cluster.database(shop.name()).sql("SELECT count(*) FROM wine"), "1000");
    let kept = format!("SELECT datname FROM pg_database WHERE datname LIKE '{}\\_replaced\\_%'", shop.name());
    let kept = cluster.sql("postgres", &kept);
    assert_eq!(cluster.database(&kept).sql("SELECT count(*) FROM wine"), "0");

    // A bare name is a file in the backup folder.
    cluster.sql("postgres", &format!("DROP DATABASE \"{kept}\""));
    cluster.sql("postgres", &format!("ALTER DATABASE \"{0}\" RENAME TO \"{0}_old\"", shop.name()));
    ends(script(&cellar, "restore-database.sh", &["restore", &format!("{id}.dump.gz")]), 0);
    let old = cluster.database(&format!("{}_old", shop.name()));
    compare::assert_same(&old, &cluster.database(shop.name()));
}

#[test]
fn the_old_monitor_commands_check_and_report() {
    let cellar =
        Cellar::unconnected().on_disk().with("DB_HOST", "127.0.0.1").with("DB_PORT", "1").with("DB_NAME", "shop");
    let (stdout, _) = ends(script(&cellar, "backup-monitor.sh", &["check"]), 1);
    assert!(stdout.starts_with("PGCELLAR WARNING"), "{stdout}");
    ends(script(&cellar, "backup-monitor.sh", &["report"]), 0);
}

#[test]
fn a_wrong_call_shows_the_usage_and_the_new_command() {
    let cellar = Cellar::unconnected();
    let (stdout, stderr) = ends(script(&cellar, "restore-database.sh", &["recover"]), exit::USAGE);
    assert_eq!(stdout, "");
    assert!(stderr.contains("restore-database.sh restore FILE     is now: pgcellar restore FILE\n"), "{stderr}");
    let (stdout, stderr) = ends(script(&cellar, "backup-monitor.sh", &["--help"]), 0);
    assert!(stdout.contains("is now: pgcellar monitor check") && stderr.is_empty(), "{stdout}{stderr}");
    let (_, stderr) = ends(script(&cellar, "aws", &["s3", "rm", "s3://bucket/a"]), exit::USAGE);
    assert!(stderr.contains("is now: pgcellar doctor s3"), "{stderr}");
    assert!(stderr.contains("pgcellar replaces no other command of aws"), "{stderr}");
    let (_, stderr) = ends(script(&cellar, "restore-database.sh", &["restore"]), exit::USAGE);
    assert!(stderr.contains("there is no terminal to ask at"), "{stderr}");
}

/// A named bucket is used instead of the one in the settings.
#[test]
fn the_aws_command_uses_the_named_bucket() {
    let (configured, named) = (Bucket::new(), Bucket::new());
    let cellar = configured.copies(Cellar::unconnected());
    let server = named.server();
    let client = server.client(OWNER);
    for key in ["a b.txt", "photos/1.jpg", "photos/2.jpg"] {
        let body = ByteStream::from_static(b"12345");
        wait(client.put_object().bucket(named.name()).key(key).body(body).send()).unwrap();
    }
    let aws = |words: &[&str]| script(&cellar, "aws", words);
    let address = |key: &str| format!("s3://{}/{key}", named.name());
    let names = |(stdout, _): (String, String)| -> Vec<String> {
        stdout.lines().map(|line| line.split_at(31.min(line.len())).1.to_owned()).collect()
    };

    let (buckets, _) = ends(aws(&["s3", "ls"]), 0);
    for bucket in [configured.name(), named.name()] {
        let ends = |line: &str| line.len() == 20 + bucket.len() && line.ends_with(&format!(" {bucket}"));
        assert!(buckets.lines().any(ends), "{bucket}: {buckets}");
    }
    assert_eq!(names(ends(aws(&["s3", "ls", &address("")]), 0)), ["photos/", "a b.txt"]);
    assert_eq!(names(ends(aws(&["s3", "ls", &address("photos/")]), 0)), ["1.jpg", "2.jpg"]);
    let all = ["a b.txt", "photos/1.jpg", "photos/2.jpg"];
    assert_eq!(names(ends(aws(&["s3", "ls", &address(""), "--recursive"]), 0)), all);
    let (stdout, _) = ends(aws(&["s3", "ls", &format!("s3://{}", configured.name())]), 0);
    assert_eq!(stdout, "");
    let (_, stderr) = ends(aws(&["s3", "ls", &address("nothing")]), exit::NOINPUT);
    assert!(stderr.contains("begins with nothing"), "{stderr}");

    let (stdout, _) = ends(aws(&["s3", "cp", "test.txt", &address("")]), 0);
    assert!(stdout.contains(&address(".pgcellar-doctor-")) && !stdout.contains(configured.name()), "{stdout}");
    let (stdout, _) = ends(aws(&["s3", "cp", "test.txt", &address("photos/x.txt")]), 0);
    assert!(stdout.contains(&address("photos/.pgcellar-doctor-")), "{stdout}");
    assert_eq!(wait(client.list_objects_v2().bucket(named.name()).send()).unwrap().contents().len(), 3);

    for words in [&["s3", "cp", "test.txt", "s3://no-such-bucket/"][..], &["s3", "ls", "s3://no-such-bucket/"]] {
        let (stdout, stderr) = ends(aws(words), exit::CONFIG);
        assert!((stdout.clone() + &stderr).contains("no bucket no-such-bucket"), "{stdout}{stderr}");
    }
    let mut reader = aws(&["s3", "cp", "test.txt", &address("")]);
    reader.env("AWS_ACCESS_KEY_ID", READER.id).env("AWS_SECRET_ACCESS_KEY", READER.secret);
    let (stdout, _) = ends(reader, exit::NOPERM);
    assert!(stdout.contains("s3:PutObject"), "{stdout}");
    let mut stranger = aws(&["s3", "ls"]);
    stranger.env("AWS_SECRET_ACCESS_KEY", "wrong");
    ends(stranger, exit::NOPERM);
}

#[test]
fn a_settings_file_applies_where_the_environment_is_silent() {
    let cluster = Cluster::shared(Version::V15);
    let (shop, other) = (cluster.create("shop"), cluster.create("other"));
    let file = |cellar: &Cellar| cellar.scratch().join("backup.env");
    let cellar = Cellar::new(cluster);
    let cellar = Cellar::with(cellar, "DB_NAME", "");
    let settings = file(&cellar);
    let text = format!("# Settings\nDB_NAME={}\nBACKUP_COMPRESSION=zstd\nDB_PORT=1\nnonsense\n", shop.name());
    std::fs::write(&settings, text).unwrap();
    let cellar = cellar.with("PGCELLAR_ENV_FILE", settings.as_os_str());
    // DB_NAME is empty in the environment, which counts as not set; DB_PORT is set.
    let (_, stderr) = ends(script(&cellar, "backup-database.sh", &[]), 0);
    assert!(stderr.contains("backup.env:5: "), "{stderr}");
    let listed = cellar.list();
    assert_eq!(listed[0]["database"], shop.name());
    assert!(cellar.backup_dir().join(format!("{}.dump.zst", listed[0]["id"].as_str().unwrap())).exists());
    let mut named = script(&cellar, "backup-database.sh", &[]);
    named.env("DB_NAME", other.name());
    ends(named, 0);
    assert_eq!(cellar.list().len(), 2);

    std::fs::remove_file(&settings).unwrap();
    let _ = cellar.run(["list"]).fails(exit::CONFIG).says("PGCELLAR_ENV_FILE: cannot read ");
}
