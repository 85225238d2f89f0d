//! The result of a verify, in the log and as JSON.

use indicatif::HumanBytes;
use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::catalogue::records::Depth;
use crate::error::{Error, Kind, Result};
use crate::host::event;
use crate::printable::printable;
use crate::store::StoreKind;

/// The result of the verify of one copy.
#[derive(Debug)]
pub struct VerifyReport {
    /// Id of the backup.
    pub id: String,
    /// Its database; empty if its manifest cannot be used.
    pub database: String,
    /// Store that has it.
    pub store: StoreKind,
    /// How far the files were checked; none if the verify did not complete.
    pub depth: Option<Depth>,
    /// What is damaged.
    pub damage: Vec<String>,
    /// What is unusual and no damage.
    pub notes: Vec<String>,
    /// Why the backup could not be verified.
    pub error: Option<Error>,
    /// Why the result could not be recorded.
    pub unrecorded: Option<Error>,
    /// Tables whose rows are in the archive.
    pub tables: Option<u64>,
    /// Stored bytes that were read.
    pub bytes: u64,
    /// The duration in seconds.
    pub seconds: f64,
}

impl VerifyReport {
    /// An empty report.
    pub fn new(id: &str, store: StoreKind) -> Self {
        VerifyReport {
            id: id.to_owned(),
            database: String::new(),
            store,
            depth: None,
            damage: Vec::new(),
            notes: Vec::new(),
            error: None,
            unrecorded: None,
            tables: None,
            bytes: 0,
            seconds: 0.0,
        }
    }

    /// `good`, `damaged`, or `unfinished`.
    pub fn result(&self) -> &'static str {
        match (self.depth, self.damage.is_empty()) {
            (_, false) => "damaged",
            (Some(_), true) => "good",
            (None, true) => "unfinished",
        }
    }

    /// The name of the copy in messages.
    fn label(&self) -> String {
        match self.store {
            StoreKind::Local => printable(&self.id),
            store => format!("{} in {store}", printable(&self.id)),
        }
    }

    /// Logs the result: one line if it is good, one line for each damage.
    pub fn log(&self) {
        let id = self.label();
        for damage in &self.damage {
            log::error!(
                MESSAGE_ID = event::BACKUP_DAMAGED,
                PGCELLAR_DATABASE = self.database, PGCELLAR_BACKUP = self.id, PGCELLAR_STORE = self.store.name();
                "{id}: damaged: {}", printable(damage)
            );
        }
        for note in &self.notes {
            log::warn!(PGCELLAR_BACKUP = self.id; "{id}: {}", printable(note));
        }
        if let Some(error) = &self.unrecorded {
            let result = self.result();
            log::warn!(PGCELLAR_BACKUP = self.id; "{id}: {result}, not recorded: {}", printable(&error.to_string()));
        }
        if let Some(good) = self.good() {
            log::info!(
                MESSAGE_ID = event::BACKUP_VERIFIED,
                PGCELLAR_DATABASE = self.database, PGCELLAR_BACKUP = self.id, PGCELLAR_STORE = self.store.name(),
                PGCELLAR_BYTES = self.bytes;
                "{id}: {good}"
            );
        }
    }

    /// Logs why the copy could not be verified, if that is not the error of the whole run.
    pub fn log_error(&self) {
        if let Some(error) = &self.error {
            let id = self.label();
            log::error!(PGCELLAR_BACKUP = self.id; "{id}: not verified: {}", printable(&error.to_string()));
        }
    }

    fn good(&self) -> Option<String> {
        let read = format!("{} read in {:.1} s", HumanBytes(self.bytes), self.seconds);
        let tables = self.tables.unwrap_or_default();
        match (self.result(), self.depth) {
            ("good", Some(Depth::Full)) => {
                let plural = if tables == 1 { "" } else { "s" };
                Some(format!("good, {tables} table{plural}, {read}"))
            }
            ("good", _) => {
                Some(format!("stored bytes only are good, {read}: without the age identity no more can be checked"))
            }
            _ => None,
        }
    }
}

impl Serialize for VerifyReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut report = serializer.serialize_struct("Report", 9)?;
        report.serialize_field("id", &self.id)?;
        report.serialize_field("store", &self.store)?;
        report.serialize_field("result", self.result())?;
        report.serialize_field("depth", &self.depth)?;
        report.serialize_field("damage", &self.damage)?;
        report.serialize_field("notes", &self.notes)?;
        report.serialize_field("error", &self.error.as_ref().or(self.unrecorded.as_ref()).map(ToString::to_string))?;
        report.serialize_field("bytes_read", &self.bytes)?;
        report.serialize_field("seconds", &self.seconds)?;
        report.end()
    }
}

/// The result of the whole run: the damage, or else the first backup that could not be verified, or a store that could not be read.
///
/// # Errors
/// `Data` if a copy is damaged; `Missing` if there is no backup.
pub fn outcome(mut reports: Vec<VerifyReport>, all: bool, several: bool, unread: Option<Error>) -> Result<()> {
    let damaged: Vec<&VerifyReport> = reports.iter().filter(|report| !report.damage.is_empty()).collect();
    let (total, what) = (reports.len(), if several { "copies" } else { "backups" });
    let failed = reports.iter().position(|report| report.error.is_some());
    if let Some(error) = unread {
        if damaged.is_empty() && failed.is_none() {
            return Err(error);
        }
        log::error!("{}", printable(&error.to_string()));
    }
    if let [first, ..] = damaged.as_slice() {
        let which = match all {
            true => format!("{} of {total} {what} are", damaged.len()),
            false if several => {
                let stores: Vec<&str> = damaged.iter().map(|report| report.store.name()).collect();
                format!("{} in {} is", first.id, stores.join(" and "))
            }
            false => format!("{} is", first.id),
        };
        return Err(Error::new(Kind::Data, format!("{which} damaged"))
            .hint("make a new backup, and keep the damaged one until it is there"));
    }
    match failed {
        Some(first) => {
            let failed = reports.iter().filter(|report| report.error.is_some()).count();
            let error = reports.swap_remove(first).error;
            let error = error.unwrap_or_else(|| Error::new(Kind::Internal, "an error was lost"));
            match all {
                false => Err(error),
                true => Err(Error::new(error.kind(), format!("{failed} of {total} {what} could not be verified"))),
            }
        }
        None if total == 0 => {
            Err(Error::new(Kind::Missing, "there is no backup to verify").hint("pgcellar list shows the backups"))
        }
        None => {
            if all {
                match total {
                    1 => log::info!("the one {} is good", what.trim_end_matches('s').replace("copie", "copy")),
                    _ => log::info!("all {total} {what} are good"),
                }
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_completed_verify_is_good() {
        let mut report = VerifyReport::new("a_20231231_020000", StoreKind::Local);
        assert_eq!((report.result(), report.good()), ("unfinished", None));
        report.depth = Some(Depth::Stored);
        report.bytes = 1024;
        assert!(report.good().is_some_and(|good| good.starts_with("stored bytes only")));
        report.depth = Some(Depth::Full);
        report.tables = Some(12);
        assert_eq!(report.good().as_deref(), Some("good, 12 tables, 1.00 KiB read in 0.0 s"));
        report.damage.push("x: is missing".to_owned());
        assert_eq!((report.result(), report.good()), ("damaged", None));
    }

    #[test]
    fn json_has_every_field() {
        let mut report = VerifyReport::new("a_20231231_020000", StoreKind::Local);
        report.error = Some(Error::new(Kind::NotPermitted, "no").hint("ask"));
        let expected = serde_json::json!({
            "id": "a_20231231_020000", "store": "local", "result": "unfinished", "depth": null, "damage": [],
            "notes": [], "error": "no (ask)", "bytes_read": 0, "seconds": 0.0,
        });
        assert_eq!(serde_json::to_value(&report).unwrap(), expected);
    }
}
