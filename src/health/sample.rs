//! Facts for tests: an instance with one store and nothing wrong.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::catalogue::emptied::Fill;
use crate::catalogue::shrunk::RowsById;
use crate::config::{MaxAge, MinFree, MonitorSettings};
use crate::health::facts::{
    BackupFacts, ExpectedDatabase, Facts, Schedule, ServerState, State, StoreContents, StoreFacts,
};
use crate::host::disk::Disk;

/// 31 December 2023, 12:00 UTC.
pub fn now() -> Timestamp {
    "2023-12-31T12:00:00Z".parse().unwrap()
}

/// Thresholds that find nothing in [`facts`].
pub fn settings() -> MonitorSettings {
    MonitorSettings {
        schedule: "0 2 * * *".to_owned(),
        recent: None,
        min_backups: 1,
        max_bytes: Some(100 << 30),
        max_age: MaxAge::Retention,
        min_free: MinFree::Percent(5.0),
        max_deviation: Some(8.0),
        drill_days: None,
        max_shrink: 0,
        next_server: None,
    }
}

/// A good backup of a database that began so many hours ago.
pub fn backup(database: &str, hours: i64) -> BackupFacts {
    let started = now() - SignedDuration::from_hours(hours);
    BackupFacts {
        id: crate::catalogue::name::id(database, started),
        database: database.to_owned(),
        started,
        ended: started + SignedDuration::from_secs(100),
        bytes: 10 << 20,
        kind: "custom gzip".to_owned(),
        state: State::Good,
        rewritten: Vec::new(),
        rewritten_tables: 0,
        verified: None,
        drill: None,
        rehearsal: None,
        fill: Fill { tables: Some(2), rows: Some(100) },
        acknowledged: false,
    }
}

/// Seven daily backups, the newest ten hours ago.
pub fn daily(database: &str) -> Vec<BackupFacts> {
    (0..7).rev().map(|day| backup(database, 10 + 24 * day)).collect()
}

pub fn store(name: &'static str, backups: Vec<BackupFacts>) -> StoreFacts {
    let location = if name == "local" { "/var/backups/pgcellar/main" } else { "s3://bucket/database-backups" };
    StoreFacts {
        name,
        location: location.to_owned(),
        contents: Ok(StoreContents { backups, ..StoreContents::default() }),
        to_be_made: false,
    }
}

pub fn expected(name: &str) -> ExpectedDatabase {
    ExpectedDatabase { name: name.to_owned(), first_due: None }
}

pub fn facts() -> Facts {
    Facts {
        now: now(),
        rows: RowsById::new(),
        instance: "main".to_owned(),
        host: "db1.example.org".to_owned(),
        stores: vec![store("local", daily("shop"))],
        databases: vec![expected("shop")],
        mixed: Vec::new(),
        server: ServerState::Uncovered(Vec::new()),
        half_dropped: Vec::new(),
        products: Vec::new(),
        zone: jiff::tz::TimeZone::UTC,
        surroundings: crate::host::surroundings::Surroundings::Systemd,
        schedule: Schedule {
            text: "0 2 * * *".to_owned(),
            troubles: Vec::new(),
            recent: Duration::from_secs(26 * 3600),
            because: "the longest gap of the schedule, 24 h, and 2 h".to_owned(),
            next: Some("2024-01-01T02:00:00Z".parse().unwrap()),
            is_off: false,
        },
        disk: Some(Disk { bytes: 100 << 30, free_bytes: 50 << 30, free_files: Some(1 << 20), in_memory: false }),
        closed: Vec::new(),
        not_drilled: Vec::new(),
        units: Vec::new(),
        unusable_keys: Vec::new(),
        removals: None,
    }
}
