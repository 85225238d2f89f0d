//! What the sandbox tells, heard with care: it has run code of the database's users.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::error::{Cause, Error, Kind, Result};
use crate::fingerprint::compare::{Objects, Observed, ObservedRows, Value};
use crate::fingerprint::{Fingerprints, LargeObjects};
use crate::host::progress::Counter;
use crate::host::surroundings::Surroundings;
use crate::printable::printable;
use crate::task::drill::not_here;
use crate::task::drill::protocol;
use crate::task::drill::protocol::{Frame, Message};

/// How long a sandbox that has told everything has to end.
const ENDING: Duration = Duration::from_secs(15);

/// A sandbox that holds another drill hangs up at once, and not later than this.
const REFUSAL: Duration = Duration::from_secs(10);

/// How many messages wait to be heard.
const WAITING: usize = 4;

/// How much of a text is kept, in characters.
const TEXT: usize = 1000;

/// How many notes are kept.
const NOTES: usize = 100;

/// How many kinds of objects there can be: PostgreSQL knows about sixty.
const KINDS: usize = 1000;

/// A restore that the sandbox has made.
#[derive(Debug)]
pub struct Restored {
    /// What could not be done.
    pub notes: Vec<String>,
    /// Materialized views that could not be refreshed.
    pub not_refreshed: u64,
    /// Size of the database, in bytes; 0 if it was not told.
    pub database_bytes: u64,
}

/// What is in the restored database.
#[derive(Debug)]
pub struct RestoredContents {
    /// Rows, sequences and large objects.
    pub held: Observed,
    /// Objects by their kind.
    pub objects: BTreeMap<String, u64>,
    /// What failed at last: the database's properties, for one.
    pub failure: Option<String>,
    /// When the last of it was told. To remove the cluster takes its time after that.
    pub at: Instant,
}

/// Who listens to a sandbox.
pub struct Receiver {
    messages: mpsc::Receiver<Result<Message>>,
    heard_any: bool,
    begun: Instant,
}

impl Receiver {
    /// Begins to listen, on a thread that ends with the stream.
    pub fn begin(mut from: UnixStream) -> Self {
        let (tell, messages) = mpsc::channel(WAITING);
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            loop {
                let message = match protocol::read(&mut from, &mut bytes) {
                    Ok(Some(Frame::Message)) => protocol::document::<Message>(&bytes),
                    Ok(None) => return,
                    Ok(Some(_)) => Err(Error::new(Kind::Internal, "the sandbox sent what nobody asked for")),
                    Err(error) => Err(Error::new(Kind::Unavailable, format!("the sandbox broke off: {error}"))),
                };
                let is_last = message.is_err();
                if tell.blocking_send(message).is_err() || is_last {
                    return;
                }
            }
        });
        Receiver { messages, heard_any: false, begun: Instant::now() }
    }

    /// The next message; what ends every drill alike is an error.
    async fn next(&mut self) -> Result<Message> {
        let message = match self.messages.recv().await {
            Some(message) => message?,
            None if self.heard_any || self.begun.elapsed() >= REFUSAL => return Err(killed(&Surroundings::here())),
            None => {
                return Err(Error::new(Kind::TryAgain, "the sandbox hung up").hint(format!(
                    "it holds one drill at a time: is there another one? Look at {}",
                    Surroundings::here().sandbox_log()
                )));
            }
        };
        self.heard_any = true;
        match message {
            Message::Cannot { reason, hint } => {
                let error = Error::new(Kind::NotHere, text(&reason));
                Err(not_here(match hint {
                    Some(hint) => error.hint(text(&hint)),
                    None => error,
                }))
            }
            Message::Broken { full: true, reason } => Err(Error::new(Kind::CannotWrite, text(&reason))
                .context("the drill was broken off")
                .hint("free space where the throwaway cluster is, or set DRILL_DIR to a folder with more")),
            Message::Broken { full: false, reason } => {
                Err(Error::new(Kind::Unavailable, text(&reason)).context("the drill was broken off"))
            }
            Message::Stopped => Err(stopped(&Surroundings::here())),
            other => Ok(other),
        }
    }

    /// Waits until the sandbox has closed the stream: it is ready for the next drill then. Anything that it still sends
    /// is ignored.
    pub async fn end(&mut self) {
        let closed = async { while self.messages.recv().await.is_some() {} };
        if tokio::time::timeout(ENDING, closed).await.is_err() {
            log::debug!("the sandbox has not ended within {} s", ENDING.as_secs());
        }
    }

    /// Waits until the sandbox has a server: its version. A backup whose database cannot even be made has failed.
    pub async fn ready(&mut self) -> Result<String> {
        match self.next().await? {
            Message::Ready { postgres } => Ok(text(&postgres)),
            Message::Failed { reason } => Err(Error::new(Kind::Data, text(&reason))),
            _ => Err(out_of_turn()),
        }
    }

    /// Waits until the backup is restored, or why it cannot be.
    pub async fn restored(&mut self) -> Result<std::result::Result<Restored, String>> {
        match self.next().await? {
            Message::Restored { notes, not_refreshed, database_bytes } => {
                let notes = notes.iter().take(NOTES).map(|note| text(note)).collect();
                Ok(Ok(Restored { notes, not_refreshed, database_bytes }))
            }
            Message::Failed { reason } => Ok(Err(text(&reason))),
            _ => Err(out_of_turn()),
        }
    }

    /// Waits for what was found of everything that is expected.
    pub async fn found(&mut self, expected: Option<&Fingerprints>, moved: &Counter) -> Result<RestoredContents> {
        let (tables, sequences) = expected.map_or((0, 0), |all| (all.tables.len(), all.sequences.len()));
        let mut found = RestoredContents {
            held: Observed { large_objects: Objects::All(LargeObjects::default()), ..Observed::default() },
            objects: BTreeMap::new(),
            failure: None,
            at: Instant::now(),
        };
        loop {
            let message = self.next().await?;
            if !matches!(message, Message::Done) {
                found.at = Instant::now();
            }
            match message {
                Message::Looked { bytes } => moved.set(bytes),
                Message::Tables { found: more } => found.held.tables.extend(more.into_iter().map(ObservedRows::from)),
                Message::Sequences { found: more } => {
                    found.held.sequences.extend(more.into_iter().map(|value| value.map(Value::from)));
                }
                Message::LargeObjects { found: objects } => found.held.large_objects = Objects::All(objects),
                Message::Objects { found: objects } if objects.len() <= KINDS => found.objects = objects,
                Message::Failed { reason } => {
                    found.failure = Some(text(&reason));
                    return Ok(found);
                }
                Message::Done if (found.held.tables.len(), found.held.sequences.len()) == (tables, sequences) => {
                    return Ok(found);
                }
                _ => return Err(out_of_turn()),
            }
            if found.held.tables.len() > tables || found.held.sequences.len() > sequences {
                return Err(out_of_turn());
            }
        }
    }
}

/// The sandbox has hung up without a word.
fn killed(place: &Surroundings) -> Error {
    let memory = match place {
        Surroundings::Systemd => " (MemoryMax= of pgcellar-drill-sandbox@.service)",
        _ => "",
    };
    Error::new(Kind::Unavailable, "the sandbox ended in the middle of the drill").hint(format!(
        "it was killed or has crashed, perhaps for want of memory{memory}: look at {}",
        place.sandbox_log()
    ))
}

/// The sandbox has said that it was told to stop.
fn stopped(place: &Surroundings) -> Error {
    let why = match place {
        Surroundings::Systemd => {
            "RuntimeMaxSec= of pgcellar-drill-sandbox@.service ends a drill that takes longer, and "
        }
        _ => "",
    };
    Error::new(Kind::TryAgain, "the sandbox was stopped in the middle of the drill")
        .hint(format!("{why}somebody may have stopped it: look at {}", place.sandbox_log()))
        .caused_by(Cause::SandboxStopped)
}

fn out_of_turn() -> Error {
    Error::new(Kind::Unavailable, "the sandbox told something out of its turn").hint(format!(
        "what it restored may have got hold of it: look at the functions in the backup before you restore it elsewhere, and \
         at {}",
        Surroundings::here().sandbox_log()
    ))
}

/// A text from there, fit for a log and a record.
fn text(text: &str) -> String {
    let kept: String = text.chars().take(TEXT).collect();
    printable(&kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn connection_lost(told: Option<&Message>, begun: Duration) -> Error {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        if let Some(message) = told {
            protocol::write_json(&mut theirs, Frame::Message, message).unwrap();
        }
        drop(theirs);
        let mut hearing = Receiver::begin(ours);
        hearing.begun = Instant::now().checked_sub(begun).unwrap();
        hearing.ready().await.unwrap_err()
    }

    #[tokio::test]
    async fn why_a_sandbox_has_hung_up() {
        let busy = connection_lost(None, Duration::ZERO).await;
        assert_eq!((busy.kind(), busy.cause()), (Kind::TryAgain, None));
        let killed = connection_lost(None, REFUSAL).await;
        assert_eq!(killed.kind(), Kind::Unavailable);
        assert!(killed.hint_text().unwrap().contains("want of memory"), "{killed}");
        let stopped = connection_lost(Some(&Message::Stopped), Duration::ZERO).await;
        assert_eq!((stopped.kind(), stopped.cause()), (Kind::TryAgain, Some(Cause::SandboxStopped)));
    }
}
