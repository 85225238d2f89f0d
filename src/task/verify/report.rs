//! The result of a verify, for people and for machines.

use indicatif::HumanBytes;
use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::catalogue::records::verification::Depth;
use crate::error::Error;
use crate::host::event;
use crate::printable::printable;
use crate::store::StoreKind;

/// What a verify of one backup came to.
#[derive(Debug)]
pub struct VerifyReport {
    /// Id of the backup.
    pub id: String,
    /// Its database, as far as its manifest tells.
    pub database: String,
    /// Store that has it.
    pub store: StoreKind,
    /// How far the verify went; none if it did not come to an end.
    pub depth: Option<Depth>,
    /// What is damaged.
    pub damage: Vec<String>,
    /// What is strange and no damage.
    pub notes: Vec<String>,
    /// Why the backup could not be verified.
    pub error: Option<Error>,
    /// Why the result could not be recorded.
    pub unrecorded: Option<Error>,
    /// Tables whose rows the archive has.
    pub tables: Option<u64>,
    /// Stored bytes that were read.
    pub bytes: u64,
    /// Seconds that it took.
    pub seconds: f64,
}

impl VerifyReport {
    /// A report that says nothing yet.
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

    /// What messages call it.
    fn label(&self) -> String {
        match self.store {
            StoreKind::Local => printable(&self.id),
            store => format!("{} in {store}", printable(&self.id)),
        }
    }

    /// Tells people: a line if it is good, a line for each damage.
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

    /// Tells people why the backup could not be verified, where it is not the error of the whole run.
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
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn what_was_not_checked_is_not_called_good() {
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
    fn machines_get_every_part() {
        let mut report = VerifyReport::new("a_20231231_020000", StoreKind::Local);
        report.error = Some(Error::new(Kind::NotPermitted, "no").hint("ask"));
        let expected = serde_json::json!({
            "id": "a_20231231_020000", "store": "local", "result": "unfinished", "depth": null, "damage": [],
            "notes": [], "error": "no (ask)", "bytes_read": 0, "seconds": 0.0,
        });
        assert_eq!(serde_json::to_value(&report).unwrap(), expected);
    }
}
