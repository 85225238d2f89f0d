//! Kills of restores: the target is unchanged or completely restored.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::checker;
use super::fixture::{Fixture, contents};
use super::scenario::Scenario;
use super::shapes::{Place, Shape, Verb};
use super::strike::End;
use super::writers::{only_bucket, upload};
use crate::common::Cellar;
use crate::common::bucket::Bucket;
use crate::common::pgcellar::Run;

/// How long the server may continue the last statement of a session whose client was killed.
const LAST_STATEMENT: Duration = Duration::from_secs(30);

pub struct Restored<'a> {
    fixture: &'a Fixture,
    shape: &'static Shape,
    cellar: Cellar,
    bucket: Option<Bucket>,
    staging: TempDir,
    id: String,
    target: String,
    /// The contents of the database that is replaced.
    old: Option<String>,
}

impl<'a> Restored<'a> {
    pub fn prepare(fixture: &'a Fixture, shape: &'static Shape) -> Restored<'a> {
        let staging = tempfile::tempdir_in("/dev/shm").unwrap();
        let mut cellar = fixture.settings(Cellar::new(fixture.cluster), shape);
        let folder = cellar.backup_dir();
        fixture.lay_backup(&fixture.large, shape, &folder);
        let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let id = names.filter_map(|name| name.strip_suffix(".manifest.json").map(str::to_owned)).next().unwrap();
        let bucket = (shape.place == Place::Bucket).then(Bucket::new);
        if let Some(bucket) = &bucket {
            upload(&folder, bucket);
            cellar = only_bucket(bucket.copies(cellar));
        }
        let target = fixture.cluster.name_for("killed");
        let old = (shape.verb != Verb::Restore).then(|| {
            let old = fixture.cluster.create_named(&target);
            old.sql("CREATE TABLE old AS SELECT n, md5(n::text) AS label FROM generate_series(1, 1000) n");
            contents(&old)
        });
        Restored { fixture, shape, cellar, bucket, staging, id, target, old }
    }

    fn restore(&self, force: bool) -> Run {
        let run = self.cellar.run(["restore", &self.id, "--target-database", &self.target, "--jobs", self.shape.jobs]);
        let run = run.arguments(["--staging-dir".as_ref(), self.staging.path().as_os_str()]);
        let run = if force { run.arguments(["--force"]) } else { run };
        if self.shape.verb == Verb::Drop { run.arguments(["--drop-replaced"]) } else { run }
    }

    /// Databases whose names have this prefix.
    fn databases(&self, start: &str) -> Vec<String> {
        let query = format!("SELECT datname FROM pg_database WHERE starts_with(datname, '{start}') ORDER BY 1");
        self.fixture.cluster.sql("postgres", &query).lines().map(str::to_owned).collect()
    }

    fn unfinished(&self) -> Vec<String> {
        self.databases(&format!("{}_restoring_", self.target))
    }

    fn replaced(&self) -> Vec<String> {
        self.databases(&format!("{}_replaced_", self.target))
    }

    fn target_exists(&self) -> bool {
        self.databases(&self.target).contains(&self.target)
    }

    fn contents_of(&self, name: &str) -> String {
        contents(&self.fixture.cluster.database(name))
    }

    /// Waits until no session uses or creates a database of this target.
    fn wait_for_sessions(&self) {
        let begun = Instant::now();
        let query = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND (starts_with(datname, '{0}') OR \
             state = 'active' AND query LIKE '%{0}%')",
            self.target
        );
        while self.fixture.cluster.sql("postgres", &query) != "0" {
            assert!(begun.elapsed() < LAST_STATEMENT, "sessions stay");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Fails unless the target has its old rows or all new ones, and the old rows are kept if they should be. Returns
    /// whether the target is new.
    #[track_caller]
    fn must_be_old_or_new(&self) -> bool {
        if !self.target_exists() {
            assert!(self.old.is_none(), "the target is gone: {:?}", self.databases(&self.target));
            return false;
        }
        let found = self.contents_of(&self.target);
        let is_new = found == self.fixture.contents;
        assert!(
            is_new || self.old.as_ref() == Some(&found),
            "the target is half: {}",
            differs(&self.fixture.contents, &found)
        );
        if is_new && self.shape.verb == Verb::Replace {
            let kept = self.replaced();
            let has_old = kept.iter().any(|name| Some(self.contents_of(name)) == self.old);
            assert!(has_old, "the old rows are gone: {kept:?}");
        }
        is_new
    }
}

/// The lines in which two texts differ.
fn differs(expected: &str, found: &str) -> String {
    let lacks = |text: &str, line: &&str| !text.lines().any(|other| other == *line);
    let lost = expected.lines().filter(|line| lacks(found, line)).map(|line| format!("- {line}"));
    let strange = found.lines().filter(|line| lacks(expected, line)).map(|line| format!("+ {line}"));
    lost.chain(strange).take(20).collect::<Vec<_>>().join("\n")
}

impl Scenario for Restored<'_> {
    fn run(&self) -> Run {
        self.restore(self.old.is_some())
    }

    fn must_be_sound(&self, end: &End) {
        self.wait_for_sessions();
        let is_new = self.must_be_old_or_new();
        if end.is_kill() {
            return;
        }
        assert_eq!(is_new, end.is_success());
        assert_eq!(self.unfinished(), [""; 0]);
        checker::must_be_empty(self.staging.path());
    }

    fn next(&self) -> Run {
        self.restore(self.target_exists())
    }

    fn must_be_whole(&self) {
        assert!(self.must_be_old_or_new(), "the target is old");
        assert_eq!(self.unfinished(), [""; 0], "left");
        checker::must_be_empty(self.staging.path());
    }
}

impl Drop for Restored<'_> {
    fn drop(&mut self) {
        for name in self.databases(&self.target) {
            let _ = self.fixture.cluster.try_sql("postgres", &format!("DROP DATABASE \"{name}\" WITH (FORCE)"));
        }
        if !thread::panicking() {
            self.bucket.iter().for_each(checker::forget);
        }
    }
}
