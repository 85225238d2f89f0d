//! What the server of a rehearsal refuses, object by object: pg_restore prints the entry and the server's words, and the server's log,
//! in a format for machines, has the SQLSTATE of each error.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use tokio_postgres::error::DbError;

use crate::blocking;
use crate::catalogue::records::rehearsal::RefusedObject;
use crate::error::Result;
use crate::postgres::client::reason;
use crate::restore::archive::Archive;
use crate::restore::pg_restore::skipped_errors::{SkippedError, SkippedErrors};

/// Most bytes of the log that are read. A function that is restored may fill it.
const LOG: u64 = 64 << 20;

/// Most different errors whose SQLSTATE is kept.
const STATES: usize = 10_000;

/// The text before what explains an error.
const NEXT: &str = " | ";

/// The refusals of a rehearsal.
#[derive(Debug)]
pub struct Refusals {
    /// Errors of pg_restore and of scripts.
    pub skipped: SkippedErrors,
    found: Mutex<Vec<RefusedObject>>,
}

impl Default for Refusals {
    fn default() -> Self {
        Refusals { skipped: SkippedErrors::naming_entries(), found: Mutex::default() }
    }
}

/// A line of the server's log (PostgreSQL documentation, "Using JSON-Format Log Output").
#[derive(Deserialize)]
struct LogLine {
    #[serde(default)]
    message: String,
    #[serde(default)]
    state_code: String,
}

/// An entry of the table of contents.
struct Entry {
    object: String,
    depends_on: Vec<u32>,
}

impl Refusals {
    /// Adds the refusal of a statement of our own.
    pub fn add(&self, object: String, error: &tokio_postgres::Error) {
        let sqlstate = error.code().map_or("", |code| code.code()).to_owned();
        let message = error.as_db_error().map_or_else(|| reason(error), |error: &DbError| error.message().to_owned());
        self.push(RefusedObject { object, sqlstate, message, follows: None });
    }

    /// Adds a refusal of which only the words are known.
    pub fn add_words(&self, object: &str, message: &str) {
        let object = object.to_owned();
        self.push(RefusedObject { object, message: message.to_owned(), ..RefusedObject::default() });
    }

    fn push(&self, refused: RefusedObject) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).push(refused);
    }

    /// All refusals, and the number of those that are not listed. `missing` are the objects that are not there after the restore, each
    /// with its entry.
    pub async fn all(
        &self,
        archive: &Arc<Archive>,
        log: &Path,
        mut missing: Vec<(u32, String)>,
    ) -> Result<(Vec<RefusedObject>, u64)> {
        let (errors, all) = self.skipped.errors();
        let more = all - errors.len() as u64;
        let ids: HashSet<u32> =
            errors.iter().filter_map(|error| error.entry).chain(missing.iter().map(|(id, _)| *id)).collect();
        let (ours, log) = (Arc::clone(archive), log.to_owned());
        let (entries, states) = blocking::to_end(move || Ok((entries(&ours, &ids)?, states(&log)))).await?;
        // What follows the first error of an entry, such as the change of its owner, fails for want of the object.
        let mut known: HashSet<u32> = HashSet::new();
        let first = errors.iter().filter(|error| error.entry.is_none_or(|id| known.insert(id)));
        let mut refused: Vec<RefusedObject> = first.map(|error| of_error(error, &entries, &states)).collect();
        let mut found = std::mem::take(&mut *self.found.lock().unwrap_or_else(PoisonError::into_inner));
        let is_named = |object: &String| found.iter().any(|one| one.object == *object);
        missing.retain(|(id, object)| !known.contains(id) && !is_named(object));
        let silent = missing.into_iter().map(|(id, object)| RefusedObject {
            object,
            message: "is not there after the restore".to_owned(),
            follows: follows(Some(id), &entries),
            ..RefusedObject::default()
        });
        refused.extend(silent);
        for one in found.iter_mut().filter(|one| one.sqlstate.is_empty()) {
            one.sqlstate = state_of(&one.message, &states);
        }
        refused.append(&mut found);
        Ok((refused, more))
    }
}

fn of_error(error: &SkippedError, entries: &HashMap<u32, Entry>, states: &HashMap<String, String>) -> RefusedObject {
    let mut parts = error.text.splitn(2, NEXT);
    let (words, command) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let message = words.split_once(":  ").map_or(words, |(_, message)| message).to_owned();
    let object = match error.entry.and_then(|id| entries.get(&id)) {
        Some(entry) => entry.object.clone(),
        None => command.trim_start_matches("Command was: ").to_owned(),
    };
    let sqlstate = match error.sqlstate.as_str() {
        "" => state_of(&message, states),
        state => state.to_owned(),
    };
    RefusedObject { object, sqlstate, message, follows: follows(error.entry, entries) }
}

/// The refused object that an entry depends on.
fn follows(id: Option<u32>, entries: &HashMap<u32, Entry>) -> Option<String> {
    let entry = entries.get(&id?)?;
    let cause = entry.depends_on.iter().find_map(|on| entries.get(on))?;
    Some(cause.object.clone())
}

/// The SQLSTATE of an error whose text may have been cut.
fn state_of(message: &str, states: &HashMap<String, String>) -> String {
    let cut = message.strip_suffix('…');
    let found = match cut {
        None => states.get(message),
        Some(head) => states.iter().find(|(known, _)| known.starts_with(head)).map(|(_, state)| state),
    };
    found.cloned().unwrap_or_default()
}

/// The entries with these dump ids. Blocks.
fn entries(archive: &Archive, ids: &HashSet<u32>) -> Result<HashMap<u32, Entry>> {
    let mut found = HashMap::new();
    archive.contents(|entry| {
        if ids.contains(&entry.dump_id) {
            let dot = if entry.namespace.bytes.is_empty() { "" } else { "." };
            let object = format!("{} {}{dot}{}", entry.desc.to_string().to_lowercase(), entry.namespace, entry.tag);
            found.insert(entry.dump_id, Entry { object, depends_on: entry.dependencies.to_vec() });
        }
    })?;
    Ok(found)
}

/// The SQLSTATE of each error in the log, by the first line of its message. Blocks.
fn states(log: &Path) -> HashMap<String, String> {
    let mut states = HashMap::new();
    // Servers before version 15 have no such log.
    let Ok(file) = File::open(log) else { return states };
    for line in BufReader::new(file.take(LOG)).lines().map_while(std::result::Result::ok) {
        if let Ok(LogLine { message, state_code }) = serde_json::from_str(&line)
            && states.len() < STATES
        {
            states.insert(message.lines().next().unwrap_or_default().to_owned(), state_code);
        }
    }
    states
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(object: &str, depends_on: &[u32]) -> Entry {
        Entry { object: object.to_owned(), depends_on: depends_on.to_vec() }
    }

    #[test]
    fn errors_get_their_object_and_their_state() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("server.json");
        let lines = [
            r#"{"error_severity":"ERROR","state_code":"42703","message":"column \"a\" does not exist"}"#,
            "no JSON",
            r#"{"error_severity":"ERROR","state_code":"42P01","message":"relation \"public.v\" does not exist\nmore"}"#,
        ];
        std::fs::write(&log, lines.join("\n")).unwrap();
        let states = states(&log);
        let entries = HashMap::from([(7, entry("view public.v", &[3])), (9, entry("view public.w", &[7]))]);
        let error = |entry, text: &str| SkippedError { entry, text: text.to_owned(), ..SkippedError::default() };
        let first =
            of_error(&error(Some(7), "ERROR:  column \"a\" does not exist | Command was: CREATE"), &entries, &states);
        assert_eq!(first.in_words(), "view public.v (42703): column \"a\" does not exist");
        assert_eq!(first.follows, None);
        let second = of_error(&error(Some(9), "ERROR:  relation \"public.v\" does not exist"), &entries, &states);
        assert_eq!((second.sqlstate.as_str(), second.follows.as_deref()), ("42P01", Some("view public.v")));
        let unknown = of_error(&error(None, "ERROR:  x | Command was: SET y = 1;"), &entries, &states);
        assert_eq!(unknown.in_words(), "SET y = 1;: x");
        assert_eq!(state_of("column \"a\" do…", &states), "42703");
    }
}
