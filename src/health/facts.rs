//! The facts of an instance: plain data, which the monitor gathers and the checks evaluate.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::catalogue::emptied::Fill;
use crate::catalogue::product::Product;
use crate::catalogue::records::drill::DrillOutcome;
use crate::catalogue::records::rehearsal::RehearsalOutcome;
use crate::catalogue::shrunk::RowsById;
use crate::host::disk::Disk;
use crate::host::surroundings::Surroundings;
use crate::host::task_units::Unit;

/// The input of the checks and the reports.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// When the facts were gathered.
    pub now: Timestamp,
    /// Name of the configuration.
    pub instance: String,
    /// Name of this host.
    pub host: String,
    /// The stores, the local one first.
    pub stores: Vec<StoreFacts>,
    /// Other servers under the instance's name.
    pub mixed: Vec<Mixed>,
    /// Databases that should have backups, in the order of their names.
    pub databases: Vec<ExpectedDatabase>,
    /// The server.
    pub server: ServerState,
    /// Databases whose DROP DATABASE was interrupted.
    pub half_dropped: Vec<String>,
    /// Databases that restores have made beside others.
    pub products: Vec<Product>,
    /// The numbers of rows in the backups that were counted.
    #[serde(skip)]
    pub rows: RowsById,
    /// The time zone of reports.
    #[serde(skip)]
    pub zone: TimeZone,
    /// The environment that commands in hints are typed in.
    #[serde(skip)]
    pub surroundings: Surroundings,
    /// When backups are due.
    pub schedule: Schedule,
    /// The disk of the backup directory, if known.
    pub disk: Option<Disk>,
    /// Timers and services of this instance.
    pub units: Vec<Unit>,
    /// Folders that the monitor's user cannot use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub closed: Vec<ClosedFolder>,
    /// Databases whose drills could not be run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_drilled: Vec<NotDrilled>,
    /// Keys and credentials that cannot be used.
    pub unusable_keys: Vec<UnusableKey>,
    /// What retention will remove when it runs next, the oldest first; none if unknown.
    pub removals: Option<Vec<Removal>>,
}

/// Backups of other servers that have the instance's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mixed {
    /// How they are mixed: `servers`, `turns`, `copies` or `host`.
    pub what: &'static str,
    /// The message.
    pub message: String,
    /// What to do.
    pub hint: String,
    /// Whether this server's own cannot be distinguished from them.
    pub unclear: bool,
}

/// A store.
#[derive(Clone, Debug, Serialize)]
pub struct StoreFacts {
    /// `local` or `s3`.
    pub name: &'static str,
    /// Where it is.
    pub location: String,
    /// Its contents, or why it cannot be read.
    pub contents: Result<StoreContents, Trouble>,
    /// Whether it is a missing folder that the first backup can create.
    pub to_be_made: bool,
}

/// Why something could not be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// What failed, on what, and why.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// The contents of a store.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StoreContents {
    /// Backups of this instance, the oldest first.
    pub backups: Vec<BackupFacts>,
    /// Manifests that cannot be used: their keys, and why.
    pub unusable: Vec<(String, String)>,
    /// Backups whose last verify left a result that cannot be read: their ids, and why.
    pub unread_results: Vec<(String, String)>,
    /// Unfinished files: the key, the size in bytes, and the time of the last write.
    pub debris: Vec<(String, u64, Timestamp)>,
}

/// A backup.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BackupFacts {
    /// Id.
    pub id: String,
    /// Database.
    pub database: String,
    /// When it began.
    pub started: Timestamp,
    /// When it was complete.
    pub ended: Timestamp,
    /// Size of its files in the store, in bytes.
    pub bytes: u64,
    /// Format, compression and encryption. Only backups of the same kind have comparable sizes.
    pub kind: String,
    /// Its state.
    pub state: State,
    /// Tables whose rows it lacks because they were rewritten when its dump began.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rewritten: Vec<String>,
    /// Their number, also if an encrypted backup does not name them.
    #[serde(skip_serializing_if = "is_zero")]
    pub rewritten_tables: usize,
    /// The time of its last verify, if that was full and found no damage.
    pub verified: Option<Timestamp>,
    /// Its last drill, if there was one.
    pub drill: Option<DrillFacts>,
    /// Its last rehearsal of an upgrade, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rehearsal: Option<RehearsalFacts>,
    /// Its rows and bytes.
    #[serde(skip)]
    pub fill: Fill,
    /// Whether the loss of rows against the one before was acknowledged.
    #[serde(skip)]
    pub acknowledged: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// A completed drill.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DrillFacts {
    /// When it ended.
    pub at: Timestamp,
    /// Its result.
    pub result: DrillOutcome,
    /// How long the restore took, in seconds: the measured recovery time.
    pub restore_seconds: f64,
    /// The duration of the whole drill in seconds.
    pub seconds: f64,
    /// Size of the restored database, in bytes; none if not recorded.
    pub database_bytes: Option<u64>,
}

/// A completed rehearsal of an upgrade.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RehearsalFacts {
    /// When it ended.
    pub at: Timestamp,
    /// Major version of the server.
    #[serde(skip)]
    pub server: u32,
    /// Its result.
    pub result: RehearsalOutcome,
    /// `yes`, or `no, because …`.
    #[serde(skip)]
    pub verdict: String,
    /// How long the restore took, in seconds.
    pub restore_seconds: f64,
}

/// A folder that the user we run as cannot use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClosedFolder {
    /// Its path.
    pub folder: String,
    /// Whether no backup can be made because of it.
    pub no_backups: bool,
    /// Which, why, and the command that fixes it.
    pub trouble: Trouble,
}

/// A database whose drill could not be run when it was due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotDrilled {
    /// Database.
    pub database: String,
    /// How many times in a row.
    pub turns: u32,
    /// The first time.
    pub since: Timestamp,
    /// Why it could not be run the last time.
    pub trouble: Trouble,
}

/// The state of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Whole, and with the right sizes.
    Good,
    /// Data are missing: options left them out, or tables were rewritten when the dump began.
    Partial,
    /// The problems of its files.
    Damaged(Vec<String>),
}

/// A database that should have backups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExpectedDatabase {
    /// Name.
    pub name: String,
    /// When its first backup is due; none if it is unknown since when the database has been configured.
    pub first_due: Option<Timestamp>,
}

/// The state of the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerState {
    /// No database is configured, so the server was not queried.
    NotAsked,
    /// Databases with contents that the configuration neither includes nor excludes.
    Uncovered(Vec<String>),
    /// It could not be queried.
    Unreachable(Trouble),
}

/// When backups are due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Schedule {
    /// The configured schedule, or that of the timer if it differs.
    pub text: String,
    /// Errors in the schedules of the tasks: the variable of each, and why.
    pub troubles: Vec<(&'static str, Trouble)>,
    /// Longest age that the newest good backup of a database may have.
    pub recent: Duration,
    /// Where `recent` comes from, in words.
    pub because: String,
    /// The next run, if known.
    pub next: Option<Timestamp>,
    /// Whether the settings switch it off.
    #[serde(skip)]
    pub is_off: bool,
}

/// A key or credential that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnusableKey {
    /// The name of its setting.
    pub setting: &'static str,
    /// Whether the next backup needs it.
    pub for_backups: bool,
    /// Why.
    pub trouble: Trouble,
}

/// A backup that retention will remove.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Removal {
    /// Store.
    pub store: &'static str,
    /// Id.
    pub id: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Whether it should have been removed two days ago.
    pub overdue: bool,
}

/// The time a backup may take after it was due.
const RUNNING: SignedDuration = SignedDuration::from_hours(2);

impl Facts {
    /// Turns a missing folder into an empty store before the first backup was due.
    pub fn before_the_first_backup(mut self) -> Self {
        let is_new = !self.databases.is_empty() && self.databases.iter().all(|expected| expected.has_time(self.now));
        for store in self.stores.iter_mut().filter(|store| is_new && store.to_be_made) {
            store.contents = Ok(StoreContents::default());
        }
        self
    }
}

impl ExpectedDatabase {
    /// Whether its first backup is not overdue yet.
    pub fn has_time(&self, now: Timestamp) -> bool {
        self.first_due.is_some_and(|due| now.duration_since(due) < RUNNING)
    }
}

impl BackupFacts {
    /// Whether it is complete and has no known damage.
    pub fn is_good(&self) -> bool {
        self.state == State::Good
    }

    /// Its status in one word.
    pub fn status(&self) -> &'static str {
        match (&self.state, self.verified) {
            (State::Good, Some(_)) => "verified",
            (State::Good, None) => "good",
            (State::Partial, _) => "partial",
            (State::Damaged(_), _) => "damaged",
        }
    }

    /// The duration of the backup.
    pub fn duration(&self) -> Duration {
        Duration::try_from(self.ended.duration_since(self.started)).unwrap_or_default()
    }
}

impl StoreFacts {
    /// Its backups; empty if it cannot be read.
    pub fn backups(&self) -> &[BackupFacts] {
        self.contents.as_ref().map_or(&[], |contents| &contents.backups)
    }

    /// Size of its backups in bytes.
    pub fn bytes(&self) -> u64 {
        self.backups().iter().fold(0, |sum, backup| sum.saturating_add(backup.bytes))
    }
}

impl From<&crate::error::Error> for Trouble {
    fn from(error: &crate::error::Error) -> Self {
        Trouble { message: error.message().to_owned(), hint: error.hint_text().unwrap_or_default().to_owned() }
    }
}
