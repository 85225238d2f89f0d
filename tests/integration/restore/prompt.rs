//! A restore without an argument, on a terminal.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::{databases, shop};
use crate::bucket::moved_to_another_host;
use crate::common::bucket::Bucket;
use crate::common::compare::assert_same;
use crate::common::process::plain;
use crate::common::{Cellar, Cluster, Version, exit};

/// A run of the program on a terminal of its own.
struct Dialogue {
    child: Child,
    keyboard: Option<ChildStdin>,
    screen: Receiver<Vec<u8>>,
    seen: String,
}

impl Dialogue {
    fn begin(cellar: &Cellar, arguments: &[&str]) -> Dialogue {
        let words = [&[env!("CARGO_BIN_EXE_pgcellar")], arguments].concat();
        let mut script = plain("script");
        script.args(["--quiet", "--return", "--command"]);
        script.arg(format!("exec {}", shlex::try_join(words).unwrap())).arg("/dev/null");
        script.envs(cellar.settings()).env("SHELL", "/bin/sh").env("TERM", "dumb").current_dir("/");
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script of util-linux");
        let (keyboard, mut output) = (child.stdin.take(), child.stdout.take().unwrap());
        let (shows, screen) = channel();
        thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut piece) {
                if shows.send(piece[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Dialogue { child, keyboard, screen, seen: String::new() }
    }

    /// Waits until the screen shows this text, after the text of the previous wait.
    #[track_caller]
    fn shows(&mut self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            match self.screen.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(piece) => self.seen.push_str(&String::from_utf8_lossy(&piece)),
                Err(RecvTimeoutError::Timeout) => panic!("{text:?} was never shown: {}", self.seen),
                Err(RecvTimeoutError::Disconnected) => panic!("it ended before {text:?}: {}", self.seen),
            }
        }
    }

    fn types(&mut self, keys: &str) {
        self.keyboard.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for the end; returns the exit code and the rest of the screen.
    fn ends(mut self) -> (Option<i32>, String) {
        while let Ok(piece) = self.screen.recv_timeout(Duration::from_secs(60)) {
            self.seen.push_str(&String::from_utf8_lossy(&piece));
        }
        drop(self.keyboard.take());
        let status: ExitStatus = self.child.wait().unwrap();
        (status.code(), std::mem::take(&mut self.seen))
    }
}

#[test]
fn without_a_terminal_nothing_is_asked() {
    let cellar = Cellar::unconnected();
    for verb in [&["restore"][..], &["restore", "--list"], &["restore", "--recipe"], &["restore", "--dry-run"]] {
        let _ = cellar.run(verb).fails(exit::USAGE).says("no terminal").says("pgcellar list");
    }
}

#[test]
fn the_newest_backup_is_restored_into_the_named_database() {
    let cluster = Cluster::shared(Version::V15);
    let original = shop(cluster);
    let cellar = Cellar::new(cluster);
    let first = cellar.back_up(original.name());
    original.sql("DELETE FROM bottle WHERE id > 10");
    let second = cellar.back_up(original.name());
    let target = cluster.name_for("asked");

    let mut dialogue = Dialogue::begin(&cellar, &["restore"]);
    dialogue.shows(first["id"].as_str().unwrap());
    dialogue.shows(second["id"].as_str().unwrap());
    dialogue.shows("[2]: ");
    dialogue.types("3\n");
    dialogue.shows("The numbers are 1 to 2.");
    dialogue.shows("[2]: ");
    dialogue.types("nonsense\n");
    dialogue.shows("there is no backup 'nonsense'");
    dialogue.shows("[2]: ");
    dialogue.types("\n");
    dialogue.shows(&format!("[\"{}\"]: ", original.name()));
    // A typing error creates no database.
    for answer in ["n", "Y", "yes", "no"] {
        dialogue.types(&format!("{answer}\n"));
        dialogue.shows("is not accepted as a database's name here.");
        dialogue.shows(&format!("[\"{}\"]: ", original.name()));
    }
    for answer in ["no", "", "yes"] {
        dialogue.types(&format!("{target}\n"));
        dialogue.shows("yet. Make it? yes, or another name: ");
        dialogue.types(&format!("{answer}\n"));
        if answer != "yes" {
            dialogue.shows(&format!("[\"{}\"]: ", original.name()));
        }
    }
    let (code, screen) = dialogue.ends();
    assert_eq!(code, Some(0), "{screen}");
    assert!(!databases(cluster).iter().any(|name| ["n", "Y", "yes", "no"].contains(&name.as_str())));
    assert_same(&original, &cluster.database(&target));

    // By number and by id, with a given target.
    for (answer, rows) in [("1", "1000"), (second["id"].as_str().unwrap(), "10")] {
        let target = cluster.name_for("asked");
        let mut dialogue = Dialogue::begin(&cellar, &["restore", "--target-database", &target]);
        dialogue.shows("[2]: ");
        dialogue.types(&format!("{answer}\n"));
        let (code, screen) = dialogue.ends();
        assert_eq!(code, Some(0), "{screen}");
        assert_eq!(cluster.database(&target).sql("SELECT count(*) FROM bottle"), rows);
    }
}

#[test]
fn nothing_is_replaced_without_confirmation() {
    let cluster = Cluster::shared(Version::V15);
    let original = shop(cluster);
    // FORCE_RESTORE alone does not answer a question.
    let cellar = Cellar::new(cluster).with("FORCE_RESTORE", "true");
    cellar.back_up(original.name());
    original.sql("CREATE TABLE newer AS SELECT 1 AS n");
    let target = cluster.name_for("asked");

    let mut dialogue = Dialogue::begin(&cellar, &["restore"]);
    dialogue.shows("[1]: ");
    dialogue.types("\n");
    for answer in ["no", ""] {
        dialogue.shows(&format!("[\"{}\"]: ", original.name()));
        dialogue.types("\n");
        dialogue.shows("exists already (");
        dialogue.shows("or another name: ");
        dialogue.types(&format!("{answer}\n"));
    }
    dialogue.shows(&format!("[\"{}\"]: ", original.name()));
    dialogue.types("postgres\n");
    dialogue.shows("\"postgres\" exists already (");
    dialogue.shows("or another name: ");
    dialogue.types(&format!("{target}\n"));
    dialogue.shows("Make it? yes, or another name: ");
    dialogue.types("yes\n");
    let (code, screen) = dialogue.ends();
    assert_eq!(code, Some(0), "{screen}");
    assert_eq!(original.sql("SELECT n FROM newer"), "1");
    assert_eq!(cluster.database(&target).sql("SELECT count(*) FROM bottle"), "1000");

    let mut dialogue = Dialogue::begin(&cellar, &["restore"]);
    dialogue.shows("[1]: ");
    dialogue.types("\n");
    dialogue.shows("]: ");
    dialogue.types("\n");
    dialogue.shows("or another name: ");
    dialogue.types("yes\n");
    let (code, screen) = dialogue.ends();
    assert_eq!(code, Some(0), "{screen}");
    assert_eq!(original.sql("SELECT to_regclass('newer') IS NULL"), "t");
    let kept = format!("{}_replaced_", original.name());
    assert!(databases(cluster).iter().any(|name| name.starts_with(&kept)), "the old one is kept");
}

#[test]
fn a_selection_never_replaces_a_database() {
    let cluster = Cluster::shared(Version::V15);
    let original = shop(cluster);
    let cellar = Cellar::new(cluster).with("BACKUP_DUMP_OPTIONS", "--exclude-table-data=log");
    cellar.back_up(original.name());
    let mut dialogue = Dialogue::begin(&cellar, &["restore"]);
    dialogue.shows("[1]: ");
    dialogue.types("1\n");
    dialogue.shows("]: ");
    dialogue.types("\n");
    dialogue.shows("Parts of a backup do not replace a database. Another name: ");
    dialogue.types("yes\n");
    dialogue.shows("is not accepted as a database's name here.");
    dialogue.shows("]: ");
    let target = cluster.name_for("part");
    dialogue.types(&format!("{target}\n"));
    dialogue.shows("Make it? yes, or another name: ");
    dialogue.types("yes\n");
    let (code, screen) = dialogue.ends();
    assert_eq!(code, Some(0), "{screen}");
    assert_eq!(cluster.database(&target).sql("SELECT count(*) FROM bottle"), "1000");
    assert_eq!(original.sql("SELECT count(*) FROM bottle"), "1000");
}

#[test]
fn the_dialogue_can_be_left_at_any_question() {
    const LIMIT: Duration = Duration::from_secs(2);
    let cluster = &Cluster::start(Version::V15);
    let original = shop(cluster);
    let cellar = Cellar::new(cluster);
    cellar.back_up(original.name());
    let before = databases(cluster);
    for (key, said) in [("\u{3}", "interrupted"), ("\u{4}", "nothing was restored")] {
        for answers in [&[][..], &["\n"], &["\n", "\n"]] {
            let mut dialogue = Dialogue::begin(&cellar, &["restore"]);
            for (question, answer) in ["[1]: ", "Into which database? ", "or another name: "].into_iter().zip(answers) {
                dialogue.shows(question);
                dialogue.types(answer);
            }
            let last = ["[1]: ", "]: ", "or another name: "][answers.len()];
            dialogue.shows(last);
            let left = Instant::now();
            dialogue.types(key);
            let (code, screen) = dialogue.ends();
            assert_eq!(code, Some(exit::TEMPFAIL), "{screen}");
            assert!(left.elapsed() < LIMIT, "it took {:?}", left.elapsed());
            assert!(screen.contains(said), "{screen}");
        }
    }
    assert_eq!(databases(cluster), before);
}

#[test]
fn a_listed_backup_can_be_chosen() {
    let cellar = Cellar::new(Cluster::shared(Version::V15));
    let original = shop(Cluster::shared(Version::V15));
    let manifest = cellar.back_up(original.name());
    let cellar = cellar.with("DB_PORT", "1");
    for (flag, shown) in [("--list", "TABLES"), ("--recipe", "sha256sum")] {
        let mut dialogue = Dialogue::begin(&cellar, &["restore", flag]);
        dialogue.shows("[1]: ");
        dialogue.types("\n");
        let (code, screen) = dialogue.ends();
        assert_eq!(code, Some(0), "{screen}");
        assert!(screen.contains(shown) && screen.contains(manifest["id"].as_str().unwrap()), "{screen}");
    }
}

/// After a disaster: a new host with an empty directory, and a bucket with backups of another host.
#[test]
fn a_bucket_is_offered_to_a_new_host() {
    let cluster = Cluster::shared(Version::V15);
    let original = shop(cluster);
    let bucket = Bucket::new();
    let old = Cellar::new(cluster);
    let id = old.back_up(original.name())["id"].as_str().unwrap().to_owned();
    moved_to_another_host(&old, &bucket, "main", "lost");
    let (cellar, target) = (bucket.copies(Cellar::new(cluster)), cluster.name_for("asked"));
    let mut dialogue = Dialogue::begin(&cellar, &["restore", "--target-database", &target]);
    dialogue.shows("HOST");
    dialogue.shows(&id);
    dialogue.shows("s3");
    dialogue.shows("lost");
    dialogue.shows("[1]: ");
    dialogue.types("\n");
    let (code, screen) = dialogue.ends();
    assert_eq!(code, Some(0), "{screen}");
    assert_same(&original, &cluster.database(&target));
}
