//! Kills of runs that write to a folder or a bucket: backups, copies, verifies, retention, pins and adoptions.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use pgcellar::store::{ObjectKind, Store};
use tempfile::TempDir;

use super::checker::{self, Holding, must_have_all};
use super::fixture::Fixture;
use super::scenario::Scenario;
use super::shapes::{Place, Shape, Verb};
use super::strike::End;
use crate::common::backup_folder::BackupFolder;
use crate::common::bucket::{Bucket, host};
use crate::common::pgcellar::Run;
use crate::common::process::new_folder;
use crate::common::{Cellar, tree};

/// How many backups retention keeps.
const KEPT: usize = 3;

/// Older than anything that a sweep keeps because its run may still be active.
const LONG_AGO: Duration = Duration::from_secs(3 * 24 * 3600);

pub struct Stored<'a> {
    fixture: &'a Fixture,
    shape: &'static Shape,
    cellar: Cellar,
    bucket: Option<Bucket>,
    staging: TempDir,
    before: Stores,
}

/// The contents of the folder and the bucket.
struct Stores {
    folder: Holding,
    bucket: Holding,
    /// The bucket's objects as files.
    downloaded: TempDir,
}

impl<'a> Stored<'a> {
    pub fn prepare(fixture: &'a Fixture, shape: &'static Shape) -> Stored<'a> {
        let staging = tempfile::tempdir_in("/dev/shm").unwrap();
        let database = if shape.verb == Verb::Backup { &fixture.large } else { &fixture.small };
        let cellar = fixture.settings(Cellar::new(fixture.cluster), shape).with("DB_NAME", database.name());
        let cellar = cellar.with("BACKUP_STAGING_DIR", staging.path());
        let folder = cellar.backup_dir();
        let mut cellar = match shape.verb {
            Verb::Retention => lay_days(cellar),
            _ => cellar,
        };
        match shape.verb {
            Verb::Retention => {}
            Verb::Backup | Verb::Pin => fixture.lay_backup(&fixture.small, shape, &folder),
            _ => fixture.lay_backup(&fixture.large, shape, &folder),
        }
        let bucket = (shape.place != Place::Folder).then(Bucket::new);
        if let Some(bucket) = &bucket {
            cellar = bucket.copies(cellar);
            if shape.verb != Verb::Copy {
                upload(&folder, bucket);
            }
            if shape.place == Place::Bucket {
                cellar = only_bucket(cellar);
            }
        }
        let before = read_stores(&folder, bucket.as_ref());
        Stored { fixture, shape, cellar, bucket, staging, before }
    }

    fn stores(&self) -> Stores {
        let mut stores = read_stores(&self.cellar.backup_dir(), self.bucket.as_ref());
        if self.shape.verb == Verb::Adopt {
            // A dump that is not adopted yet belongs to no backup, and must stay.
            let dump = self.fixture.dump();
            let adopted = stores.all().any(|holding| holding.backups.values().any(|files| files.contains_key(&dump)));
            let waits = stores.all().any(|holding| holding.others.contains(&dump));
            assert!(adopted || waits, "the dump is gone");
            stores.folder.others.retain(|name| *name != dump);
            stores.bucket.others.retain(|name| *name != dump);
        }
        stores
    }

    /// Fails if a good backup is lost, or a new one does not match its manifest.
    #[track_caller]
    fn must_hold(&self, now: &Stores) {
        let stay = |before: &Holding| -> BTreeSet<String> {
            let skipped = match self.shape.verb {
                Verb::Retention => before.backups.len().saturating_sub(KEPT),
                _ => 0,
            };
            before.backups.keys().skip(skipped).cloned().collect()
        };
        for (before, now) in self.before.all().zip(now.all()) {
            let stay = stay(before);
            before.must_survive(now, &stay.iter().map(String::as_str).collect());
        }
        let folder = self.cellar.backup_dir();
        for (now, before, path) in [
            (&now.folder, &self.before.folder, folder.as_path()),
            (&now.bucket, &self.before.bucket, now.downloaded.path()),
        ] {
            for id in now.backups.keys().filter(|id| !before.backups.contains_key(*id)) {
                must_have_all(self.fixture, path, id);
            }
        }
    }

    /// Removes leftovers that the next run of this verb does not: retention does after a day.
    fn tidy(&self) {
        let folder = self.cellar.backup_dir();
        for file in tree::files(&folder).iter().filter(|file| file.to_str().unwrap().ends_with(".partial")) {
            let written = SystemTime::now() - LONG_AGO;
            fs::File::options().write(true).open(file).unwrap().set_modified(written).unwrap();
        }
        self.cellar.run(["retention", "--keep-last", "1000"]).env("BACKUP_S3_KEEP_LAST", "1000").succeeds();
        self.sweep_bucket();
    }

    fn sweep_bucket(&self) {
        self.bucket.iter().for_each(|bucket| bucket.sweep("main"));
    }

    /// Fails unless the last run did its work.
    #[track_caller]
    fn must_be_done(&self, now: &Stores) {
        let target = if self.shape.place == Place::Bucket { &now.bucket } else { &now.folder };
        let of = |database: &str| target.backups.keys().filter(|id| id.starts_with(&format!("{database}_"))).count();
        match self.shape.verb {
            Verb::Backup => assert!(of(self.fixture.large.name()) > 0, "{target:?}"),
            Verb::Copy => assert_eq!(now.bucket.ids(), now.folder.ids()),
            Verb::Verify => assert_eq!(target.records.len(), target.backups.len(), "{:?}", target.records),
            Verb::Pin => now.all().for_each(|holding| assert_eq!(holding.records.len(), 1, "{holding:?}")),
            Verb::Adopt => assert_eq!(of(self.fixture.large.name()), 1, "{target:?}"),
            Verb::Retention => {
                assert_eq!(target.backups.len(), KEPT, "{:?}", target.ids());
                assert!(self.bucket.is_none() || now.bucket.ids() == now.folder.ids(), "{:?}", now.bucket.ids());
            }
            Verb::Restore | Verb::Replace | Verb::Drop => unreachable!("nothing is stored"),
        }
    }
}

impl Stores {
    fn all(&self) -> impl Iterator<Item = &Holding> {
        [&self.folder, &self.bucket].into_iter()
    }

    #[track_caller]
    fn must_have_no_others(&self) {
        self.all().for_each(|holding| assert_eq!(holding.others, [""; 0], "left behind"));
    }
}

impl Scenario for Stored<'_> {
    fn run(&self) -> Run {
        let run = |arguments: &[&str]| self.cellar.run(arguments);
        match self.shape.verb {
            Verb::Verify => run(&["verify", "--all"]),
            Verb::Retention => {
                let kept = KEPT.to_string();
                run(&["retention", "--keep-last", &kept]).env("BACKUP_S3_KEEP_LAST", &kept)
            }
            Verb::Pin => run(&["pin", "latest"]),
            Verb::Adopt => match &self.bucket {
                None => run(&["adopt", &self.fixture.dump()]),
                Some(bucket) => {
                    run(&["adopt", &format!("s3://{}/database-backups/{}", bucket.name(), self.fixture.dump())])
                }
            },
            _ => run(&["backup"]),
        }
    }

    fn must_be_sound(&self, end: &End) {
        let now = self.stores();
        self.must_hold(&now);
        if end.is_kill() {
            return;
        }
        if self.shape.verb == Verb::Copy {
            // An unfinished copy stays announced, and the next backup resumes it.
            let strange = now.bucket.others.iter().find(|name| !is_of(name, &now.folder));
            assert_eq!(strange, None, "left behind");
            assert_eq!(now.folder.others, [""; 0], "left behind");
        } else {
            now.must_have_no_others();
        }
        checker::must_be_empty(self.staging.path());
    }

    fn next(&self) -> Run {
        self.run()
    }

    fn must_be_whole(&self) {
        match self.shape.verb {
            Verb::Backup => self.sweep_bucket(),
            Verb::Copy => {
                // An announced backup is left to retention; an unfinished copy is completed.
                let now = self.stores();
                assert_eq!(now.bucket.others.iter().find(|name| is_of(name, &now.folder)), None, "left behind");
                self.sweep_bucket();
            }
            _ => self.tidy(),
        }
        let now = self.stores();
        self.must_hold(&now);
        now.must_have_no_others();
        self.must_be_done(&now);
        checker::must_be_empty(self.staging.path());
    }
}

impl Drop for Stored<'_> {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.bucket.iter().for_each(checker::forget);
        }
    }
}

/// Whether a name belongs to one of these backups, complete or not.
fn is_of(name: &str, holding: &Holding) -> bool {
    holding.backups.keys().any(|id| name.starts_with(id.as_str()))
}

fn read_stores(folder: &Path, bucket: Option<&Bucket>) -> Stores {
    let downloaded = new_folder();
    if let Some(bucket) = bucket {
        checker::download(bucket, downloaded.path());
    }
    Stores { folder: Holding::of(folder), bucket: Holding::of(downloaded.path()), downloaded }
}

/// Twelve backups of other days.
fn lay_days(cellar: Cellar) -> Cellar {
    let shelf = BackupFolder { cellar };
    shelf.add_daily("shop", 1..=12);
    shelf.cellar
}

/// Copies everything in a folder into a bucket, as this instance does, manifests last.
pub fn upload(folder: &Path, bucket: &Bucket) {
    let store = bucket.store_of("main", &host());
    let mut files = tree::files(folder);
    files.retain(|file| !file.file_name().unwrap().to_str().unwrap().starts_with('.'));
    files.sort_by_key(|file| file.to_str().unwrap().ends_with(".manifest.json"));
    for file in files {
        let bytes = fs::read(&file).unwrap();
        let key = file.strip_prefix(folder).unwrap().to_str().unwrap();
        let mut upload = store.create(key, Some(bytes.len() as u64), ObjectKind::Document).unwrap();
        upload.write_all(&bytes).unwrap();
        upload.seal().unwrap();
        upload.commit().unwrap();
    }
}

/// Empties the folder, so that runs find only the bucket.
pub fn only_bucket(cellar: Cellar) -> Cellar {
    fs::remove_dir_all(cellar.backup_dir()).unwrap();
    fs::create_dir(cellar.backup_dir()).unwrap();
    let runtime = cellar.scratch().to_owned();
    cellar.with("BACKUP_DIR", "").with("XDG_RUNTIME_DIR", runtime)
}
