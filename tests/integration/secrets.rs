//! No secret is visible to others, and no file of a backup is readable by others.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::common::cluster::{PASSWORD, SUPERUSER};
use crate::common::programs::Programs;
use crate::common::{Cellar, Cluster, Version, exit, keys, tree};

/// Secrets of other parts, which PostgreSQL's programs do not need.
const OTHERS: [(&str, &str); 5] = [
    ("AWS_SECRET_ACCESS_KEY", "s3cr3t-of-the-bucket"),
    ("SMTP_PASS", "s3cr3t-of-the-mail"),
    ("BACKUP_AGE_IDENTITY", "s3cr3t-of-the-key"),
    ("DB_PASSWORD_OF_SOMETHING", "s3cr3t-of-something"),
    ("PGCELLAR_TOKEN", "s3cr3t-of-a-token"),
];

/// Programs that record their environment and arguments, also for --version.
fn observed(cellar: &Cellar) -> Programs {
    let programs = Programs::of(Version::V15);
    for program in ["pg_dump", "pg_dumpall"] {
        let folder = cellar.scratch().display();
        let record = format!(
            "tr '\\0' '\\n' </proc/$$/environ >'{folder}/{program}.environment'\n\
             tr '\\0' '\\n' </proc/$$/environ >>'{folder}/all.environment'\n\
             tr '\\0' '\\n' </proc/$$/cmdline >>'{folder}/all.arguments'"
        );
        programs.before_all(program, &record);
    }
    programs
}

fn environment(cellar: &Cellar, program: &str) -> BTreeMap<String, String> {
    let text = fs::read_to_string(cellar.scratch().join(format!("{program}.environment"))).unwrap();
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The command lines of all processes on the machine that contain the text.
fn command_lines_with(text: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).into_owned()).filter(|line| line.contains(text)).collect()
}

#[test]
fn no_password_is_visible() {
    let cluster = Cluster::start(Version::V15);
    let database = cluster.create("guarded");
    database.sql("CREATE TABLE wine AS SELECT 1 AS n");
    // Other tests have secrets on command lines of their own.
    let ours = format!("s3cr3t-{}-", std::process::id());
    let password = format!("{ours}of-the-database");
    cluster.sql("postgres", &format!("CREATE ROLE keeper SUPERUSER LOGIN PASSWORD '{password}'"));
    let cellar = Cellar::new(&cluster).with("DB_NAME", database.name()).with("DB_USER", "keeper");
    let cellar = cellar.with("DB_PASSWORD", &password);
    let others = OTHERS.map(|(name, value)| (name, value.replace("s3cr3t-", &ours)));
    let cellar = others.into_iter().fold(cellar, |cellar, (name, value)| cellar.with(name, value));
    for program in ["pg_dump", "pg_dumpall"] {
        let programs = Programs::of(Version::V15);
        let gate = programs.gate(program);
        let mut running = cellar.run(["backup", "-v", "--json"]).env("PG_BINDIR", programs.path()).start();
        running.wait_until("the program waits at the gate", || gate.reached().is_some());
        assert_eq!(command_lines_with(&ours), [""; 0], "on a command line");
        assert!(!tree::holds_text(&cellar.backup_dir(), "s3cr3t-"), "in the lock or an unfinished file");
        gate.open();
        let outcome = running.wait();
        assert_eq!(outcome.code(), Some(0), "{outcome}");
        assert!(!outcome.stderr.contains("s3cr3t-") && !outcome.stdout.contains("s3cr3t-"), "{outcome}");
    }
    assert!(!tree::holds_text(&cellar.backup_dir(), "s3cr3t-"), "in a file of the backup");
    for wrong in ["s3cr3t-wrong", "s3cr3t-wrong\nand more"] {
        let outcome = cellar.run(["backup", "-v"]).env("DB_PASSWORD", wrong).fails(exit::NOPERM);
        assert!(!outcome.stderr.contains("s3cr3t-") && !outcome.stdout.contains("s3cr3t-"), "{outcome}");
    }
}

#[test]
fn each_task_reports_settings_that_others_can_read() {
    let cluster = Cluster::shared(Version::V15);
    let cellar = Cellar::new(cluster);
    let settings = cellar.scratch().join("settings.env");
    fs::write(&settings, format!("DB_PASSWORD={PASSWORD}\nDB_NAME=postgres\n")).unwrap();
    let others = "everybody on this host may read";
    for (mode, printed) in [(0o644, true), (0o600, false)] {
        fs::set_permissions(&settings, fs::Permissions::from_mode(mode)).unwrap();
        for arguments in [["list"].as_slice(), &["backup"], &["doctor", "settings"]] {
            let run = cellar.run(arguments).without("DB_PASSWORD").env("PGCELLAR_ENV_FILE", &settings);
            let outcome = run.finish();
            let words = format!("{others} {}, which has DB_PASSWORD: chmod o= ", settings.display());
            assert_eq!(outcome.stderr.contains(&words), printed, "{arguments:?}: {outcome}");
            assert!(!outcome.stderr.contains(PASSWORD), "{outcome}");
        }
    }
    // Settings from other sources are not reported.
    fs::set_permissions(&settings, fs::Permissions::from_mode(0o644)).unwrap();
    let outcome = cellar.run(["list"]).env("PGCELLAR_ENV_FILE", &settings).succeeds();
    assert!(!outcome.stderr.contains(others), "{outcome}");
}

/// Files that the documents place in the source folder are in no commit and in no image.
#[test]
fn secrets_beside_the_sources_are_ignored() {
    let lines = |file: &str| -> Vec<String> {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    };
    let ignored = lines(".gitignore");
    for secret in ["/.env", "/secrets/", "/key.txt"] {
        assert!(ignored.iter().any(|line| line == secret), "{secret}");
    }
    let image = lines(".dockerignore");
    assert_eq!(image[0], "*");
    for secret in [".env", "secrets", "key.txt"] {
        assert!(!image.iter().any(|line| line.strip_prefix('!').is_some_and(|name| name.contains(secret))), "{secret}");
    }
}

#[test]
fn programs_get_only_the_secrets_they_need() {
    let cluster = Cluster::shared(Version::V15);
    let database = cluster.create("guarded");
    let cellar = Cellar::new(cluster).with("DB_NAME", database.name());
    let cellar = OTHERS.into_iter().fold(cellar, |cellar, (name, value)| cellar.with(name, value));
    let programs = observed(&cellar);
    cellar.run(["backup"]).env("PG_BINDIR", programs.path()).succeeds();
    for program in ["pg_dump", "pg_dumpall"] {
        let environment = environment(&cellar, program);
        assert_eq!(environment.get("PGPASSWORD").map(String::as_str), Some(PASSWORD));
        assert_eq!(environment.get("PGUSER").map(String::as_str), Some(SUPERUSER));
        let ours: Vec<&String> = environment
            .keys()
            .filter(|name| {
                ["DB_", "BACKUP_", "AWS_", "SMTP_", "PGCELLAR_"].iter().any(|prefix| name.starts_with(prefix))
            })
            .collect();
        assert!(ours.is_empty(), "{program} has {ours:?}");
    }
    let all = fs::read_to_string(cellar.scratch().join("all.environment")).unwrap();
    for (name, value) in OTHERS {
        assert!(!all.contains(name) && !all.contains(value), "a program has {name}:\n{all}");
    }
    assert!(!all.contains("DB_PASSWORD"), "{all}");
    let arguments = fs::read_to_string(cellar.scratch().join("all.arguments")).unwrap();
    assert!(arguments.contains("--version") && arguments.contains("--globals-only"), "{arguments}");
    assert!(!arguments.contains(PASSWORD), "{arguments}");
}

#[test]
fn pg_dump_connects_as_pgcellar_does() {
    let cluster = Cluster::start_with_tls(Version::V15);
    let database = cluster.create("guarded");
    let certificates = cluster.certificates();
    let settings = [
        ("DB_SSLROOTCERT", "PGSSLROOTCERT", certificates.certificate("authority")),
        ("DB_SSLCERT", "PGSSLCERT", certificates.certificate("client")),
        ("DB_SSLKEY", "PGSSLKEY", certificates.key("client")),
    ];
    let cellar = Cellar::new(&cluster).with("DB_NAME", database.name()).with("DB_HOST", "localhost");
    let cellar = cellar.with("DB_USER", "certified").with("DB_SSLMODE", "verify-full");
    let cellar = settings.iter().fold(cellar, |cellar, (name, _, value)| cellar.with(*name, value));
    let programs = observed(&cellar);
    cellar.run(["backup"]).env("PG_BINDIR", programs.path()).without("DB_PASSWORD").succeeds();
    for program in ["pg_dump", "pg_dumpall"] {
        let environment = environment(&cellar, program);
        assert_eq!(environment.get("PGSSLMODE").map(String::as_str), Some("verify-full"));
        for (_, name, value) in &settings {
            assert_eq!(environment.get(*name).map(Path::new), Some(value.as_path()), "{program}");
        }
        assert_eq!(environment.get("PGPASSWORD"), None);
    }
}

#[test]
fn files_are_readable_by_their_owner_only() {
    let cluster = Cluster::shared(Version::V15);
    let database = cluster.create("private");
    database.sql("CREATE TABLE wine AS SELECT n FROM generate_series(1, 10) n");
    let staging = tempfile::tempdir_in("/dev/shm").unwrap();
    for format in ["custom", "directory", "tar", "plain"] {
        for encrypted in [false, true] {
            if encrypted && format == "tar" {
                continue;
            }
            let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format);
            let folder = cellar.scratch().join("made by pgcellar");
            let key = keys::age(cellar.scratch(), "key");
            let run = cellar.run(["backup"]).env("DB_NAME", database.name()).env("BACKUP_DIR", &folder);
            let run = if encrypted { run.env("BACKUP_AGE_RECIPIENTS", key.recipient) } else { run };
            run.env("BACKUP_STAGING_DIR", staging.path()).with_umask("022").succeeds();
            assert!(tree::files(&folder).len() >= 4);
            are_private(&folder);
        }
    }
}

fn are_private(folder: &Path) {
    let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(folder), 0o700, "{}", folder.display());
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => are_private(&path),
            false => assert_eq!(mode(&path), 0o600, "{}", path.display()),
        }
    }
}

/// URLs in settings that take a name.
const HUSH: &str = "s3cr3t-in-a-url";

#[test]
fn a_url_in_place_of_a_name_is_refused_and_not_shown() {
    let mail = [("SMTP_HOST", "mail.invalid"), ("NOTIFICATION_EMAIL", "a@example.org")];
    let bucket = [("AWS_S3_BUCKET", "b"), ("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", HUSH)];
    let with = |settings: &[(&str, &str)], cellar: Cellar| {
        settings.iter().fold(cellar, |cellar, (name, value)| cellar.with(*name, *value))
    };
    // Each with the settings that its hint must name.
    let url = |scheme: &str| format!("{scheme}://someone:{HUSH}@db.invalid/shop");
    let cases = [
        ("DB_HOST", url("postgres"), "DB_PASSWORD"),
        ("DB_HOST", format!("someone:{HUSH}@db.invalid"), "DB_PASSWORD"),
        ("DB_HOST", format!("{HUSH}@db.invalid"), "DB_PASSWORD"),
        ("DB_HOST", format!("host=db.invalid password={HUSH}"), "DB_PASSWORD"),
        ("DB_NAME", url("postgresql"), "DB_HOST"),
        ("DB_NAME", format!("dbname=shop password = '{HUSH}'"), "DB_HOST"),
        ("DB_USER", url("postgres"), "DB_PASSWORD"),
        ("DB_PORT", url("postgres"), "a number"),
        ("DB_SSLMODE", url("postgres"), "verify-full"),
        ("DB_SSLROOTCERT", url("https"), "DB_SSLROOTCERT"),
        ("DB_SSLKEY", format!("-----BEGIN PRIVATE KEY-----\n{HUSH}"), "DB_SSL"),
        ("DB_PASSWORD_FILE", HUSH.to_owned(), "the file must exist"),
        ("BACKUP_DIR", format!("s3://key:{HUSH}@bucket/backups"), "an absolute path"),
        ("BACKUP_DUMP_OPTIONS", format!("--dbname=postgres://someone:{HUSH}@db.invalid"), "BACKUP_DUMP_OPTIONS"),
        ("BACKUP_AGE_RECIPIENTS_FILE", HUSH.to_owned(), "BACKUP_AGE_RECIPIENTS_FILE"),
        ("AWS_S3_BUCKET", format!("s3://key:{HUSH}@bucket"), "AWS_SECRET_ACCESS_KEY"),
        ("AWS_S3_PREFIX", url("s3"), "AWS_SECRET_ACCESS_KEY"),
        ("AWS_ENDPOINT_URL", url("https"), "AWS_SECRET_ACCESS_KEY"),
        ("AWS_ENDPOINT_URL", format!("https://s3.invalid/?X-Amz-Signature={HUSH}"), "AWS_SECRET_ACCESS_KEY"),
        ("AWS_REGION", url("https"), "AWS_SECRET_ACCESS_KEY"),
        ("AWS_SECRET_ACCESS_KEY_FILE", HUSH.to_owned(), "the file must exist"),
        ("PGCELLAR_INSTANCE", url("postgres"), "letters"),
        ("MONITOR_PING_URL", format!("https://someone:{HUSH}@ping.invalid"), "is not a valid URL"),
    ];
    let cellar = || with(&mail, Cellar::unconnected().with("DB_NAME", "shop").with("DB_HOST", "/nowhere"));
    let (bucket, cellar) = (with(&bucket, cellar()), cellar());
    for (name, value, hint) in cases {
        let cellar = if name.starts_with("AWS_") { &bucket } else { &cellar };
        // A failing ping does not fail the backup.
        let code = if name == "MONITOR_PING_URL" { exit::UNAVAILABLE } else { exit::CONFIG };
        let outcome = cellar.run(["backup"]).env(name, &value).fails(code);
        assert!(outcome.stderr.contains(name) && outcome.stderr.contains(hint), "{name}: {outcome}");
        assert!(!format!("{}{}", outcome.stdout, outcome.stderr).contains(HUSH), "{name}: {outcome}");
        for other in [&["config", "check"][..], &["doctor"], &["monitor", "check"], &["monitor", "test-mail"]] {
            let outcome = cellar.run(other).env(name, &value).finish();
            assert!(!format!("{}{}", outcome.stdout, outcome.stderr).contains(HUSH), "{name}: {outcome}");
        }
    }
    for (name, value) in
        [("SMTP_HOST", url("smtps")), ("SMTP_HOST", format!("{HUSH}@mail.invalid")), ("SMTP_USER", url("smtp"))]
    {
        let outcome = cellar.run(["monitor", "test-mail"]).env(name, &value).env("SMTP_PASS", HUSH).fails(exit::CONFIG);
        assert!(outcome.stderr.contains(name) && outcome.stderr.contains("SMTP_PASS"), "{name}: {outcome}");
        assert!(!outcome.stderr.contains(HUSH), "{name}: {outcome}");
    }
    for line in [
        vec!["backup".to_owned(), "-h".to_owned(), url("postgres")],
        vec!["backup".to_owned(), url("postgres")],
        vec!["restore".to_owned(), format!("s3://key:{HUSH}@bucket/x/")],
        vec!["restore".to_owned(), url("postgres")],
        vec!["calendar".to_owned(), url("postgres")],
    ] {
        let outcome = cellar.run(&line).finish();
        assert_ne!(outcome.code(), Some(0), "{outcome}");
        assert!(!outcome.stderr.contains(HUSH), "{line:?}: {}", outcome.stderr);
    }
}

#[test]
fn a_proxy_keeps_its_password() {
    let cellar = Cellar::unconnected().with("AWS_S3_BUCKET", "b").with("AWS_ACCESS_KEY_ID", "k");
    let cellar = cellar.with("AWS_SECRET_ACCESS_KEY", "k").with("AWS_ENDPOINT_URL", "https://s3.invalid");
    let cellar = cellar.with("MONITOR_PING_URL", "https://ping.invalid/uuid");
    // Port 1 is closed.
    let cellar = cellar.with("HTTPS_PROXY", format!("http://someone:{HUSH}@127.0.0.1:1"));
    for verb in [&["doctor", "s3"][..], &["list"], &["-v", "monitor", "check"], &["-v", "backup"]] {
        let outcome = cellar.run(verb).finish();
        assert_ne!(outcome.code(), Some(0), "{outcome}");
        assert!(!format!("{}{}", outcome.stdout, outcome.stderr).contains(HUSH), "{outcome}");
    }
}
