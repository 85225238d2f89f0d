//! The receiver of the sandbox's messages, which are distrusted: the sandbox has run code of the database's users.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::catalogue::records::rehearsal::RefusedObject;
use crate::error::{Cause, Error, Kind, Result};
use crate::fingerprint::compare::{Objects, Observed, ObservedRows, Value};
use crate::fingerprint::{Fingerprints, LargeObjects};
use crate::host::progress::Counter;
use crate::host::surroundings::Surroundings;
use crate::printable::printable;
use crate::task::drill::protocol;
use crate::task::drill::protocol::{Frame, Message};

/// The time a sandbox has to end after its last message.
const ENDING: Duration = Duration::from_secs(15);

/// A sandbox that runs another drill closes the stream at once, and not later than this.
const REFUSAL: Duration = Duration::from_secs(10);

/// The number of messages in the queue.
const QUEUED: usize = 4;

/// Longest text that is kept, in characters.
const TEXT: usize = 1000;

/// Most notes that are kept.
const NOTES: usize = 100;

/// Most refused objects that are accepted.
const REFUSED: usize = 1000;

/// Most kinds of objects that are accepted: PostgreSQL has about sixty.
const KINDS: usize = 1000;

/// A completed restore in the sandbox.
#[derive(Debug)]
pub struct Restored {
    /// What could not be done.
    pub notes: Vec<String>,
    /// Materialized views that could not be refreshed.
    pub not_refreshed: u64,
    /// Size of the database, in bytes; 0 if unknown.
    pub database_bytes: u64,
}

/// The contents of the restored database.
#[derive(Debug)]
pub struct RestoredContents {
    /// Rows, sequences and large objects.
    pub observed: Observed,
    /// Objects by their kind.
    pub objects: BTreeMap<String, u64>,
    /// What the server of a rehearsal refuses, and the number of further objects.
    pub refused: Option<(Vec<RefusedObject>, u64)>,
    /// An error at the end, such as of the database's properties.
    pub failure: Option<String>,
    /// When the last message arrived; removing the cluster takes further time.
    pub at: Instant,
}

/// Receives the messages of a sandbox.
pub struct Receiver {
    /// Whether it is that of a rehearsal.
    is_rehearsal: bool,
    messages: mpsc::Receiver<Result<Message>>,
    has_received: bool,
    begun: Instant,
}

impl Receiver {
    /// Starts a thread that reads the messages and ends with the stream.
    pub fn begin(mut from: UnixStream, is_rehearsal: bool) -> Self {
        let (sender, messages) = mpsc::channel(QUEUED);
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            loop {
                let message = match protocol::read(&mut from, &mut bytes) {
                    Ok(Some(Frame::Message)) => protocol::document::<Message>(&bytes),
                    Ok(None) => return,
                    // A stream that is closed with unread input ends with this error (unix(7)).
                    Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
                    Ok(Some(_)) => Err(Error::new(Kind::Internal, "unexpected message from the sandbox")),
                    Err(error) => {
                        Err(Error::new(Kind::Unavailable, format!("the stream from the sandbox failed: {error}")))
                    }
                };
                let is_last = message.is_err();
                if sender.blocking_send(message).is_err() || is_last {
                    return;
                }
            }
        });
        Receiver { is_rehearsal, messages, has_received: false, begun: Instant::now() }
    }

    /// The next message; messages that end the drill are errors.
    async fn next(&mut self) -> Result<Message> {
        let message = match self.messages.recv().await {
            Some(message) => message?,
            None if self.has_received || self.begun.elapsed() >= REFUSAL => return Err(killed(&Surroundings::here())),
            None => {
                return Err(Error::new(Kind::TryAgain, "the sandbox closed the connection").hint(format!(
                    "it runs one drill at a time: is another one running? See {}",
                    Surroundings::here().sandbox_log()
                )));
            }
        };
        self.has_received = true;
        match message {
            Message::Cannot { reason, hint } => {
                let error = Error::new(Kind::NotHere, text(&reason));
                Err(not_here(match hint {
                    Some(hint) => error.hint(text(&hint)),
                    None => error,
                }))
            }
            Message::Broken { full: true, reason } => Err(Error::new(Kind::CannotWrite, text(&reason))
                .context("the drill was interrupted")
                .hint("free space where the throwaway cluster is, or set DRILL_DIR to a folder with more")),
            Message::Broken { full: false, reason } => {
                Err(Error::new(Kind::Unavailable, text(&reason)).context("the drill was interrupted"))
            }
            Message::Stopped => Err(stopped(&Surroundings::here())),
            other => Ok(other),
        }
    }

    /// Waits until the sandbox has closed the stream, and is ready for the next drill. Further messages are ignored.
    pub async fn end(&mut self) {
        let closed = async { while self.messages.recv().await.is_some() {} };
        if tokio::time::timeout(ENDING, closed).await.is_err() {
            log::debug!("the sandbox has not ended within {} s", ENDING.as_secs());
        }
    }

    /// Waits until the sandbox has a server, and returns its version. If the database cannot be made, the backup has failed.
    pub async fn ready(&mut self) -> Result<String> {
        match self.next().await? {
            Message::Ready { postgres } => Ok(text(&postgres)),
            Message::Failed { reason } => Err(Error::new(Kind::Data, text(&reason))),
            _ => Err(unexpected()),
        }
    }

    /// Waits until the backup is restored. The inner error is why it cannot be.
    pub async fn restored(&mut self) -> Result<std::result::Result<Restored, String>> {
        match self.next().await? {
            Message::Restored { notes, not_refreshed, database_bytes } => {
                let notes = notes.iter().take(NOTES).map(|note| text(note)).collect();
                Ok(Ok(Restored { notes, not_refreshed, database_bytes }))
            }
            Message::Failed { reason } => Ok(Err(text(&reason))),
            _ => Err(unexpected()),
        }
    }

    /// Waits for the contents of all objects in the order.
    pub async fn contents(&mut self, expected: Option<&Fingerprints>, moved: &Counter) -> Result<RestoredContents> {
        let (tables, sequences) = expected.map_or((0, 0), |all| (all.tables.len(), all.sequences.len()));
        let mut found = RestoredContents {
            observed: Observed { large_objects: Objects::All(LargeObjects::default()), ..Observed::default() },
            objects: BTreeMap::new(),
            refused: self.is_rehearsal.then(Default::default),
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
                Message::Tables { found: more } => {
                    found.observed.tables.extend(more.into_iter().map(ObservedRows::from))
                }
                Message::Sequences { found: more } => {
                    found.observed.sequences.extend(more.into_iter().map(|value| value.map(Value::from)));
                }
                Message::LargeObjects { found: objects } => found.observed.large_objects = Objects::All(objects),
                Message::Refused { found: refused, more } if self.is_rehearsal && refused.len() <= REFUSED => {
                    found.refused = Some((refused.into_iter().map(shown).collect(), more));
                }
                Message::Objects { found: objects } if objects.len() <= KINDS => found.objects = objects,
                Message::Failed { reason } => {
                    found.failure = Some(text(&reason));
                    return Ok(found);
                }
                Message::Done
                    if (found.observed.tables.len(), found.observed.sequences.len()) == (tables, sequences) =>
                {
                    return Ok(found);
                }
                _ => return Err(unexpected()),
            }
            if found.observed.tables.len() > tables || found.observed.sequences.len() > sequences {
                return Err(unexpected());
            }
        }
    }
}

/// The error of a drill that cannot be run on this host.
pub fn not_here(error: Error) -> Error {
    let message = format!("it cannot be drilled here: {}", error.message());
    let hint = error.hint_text().map(str::to_owned);
    let error = Error::new(Kind::NotHere, message);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// The error of a sandbox that has closed the stream without a message.
fn killed(place: &Surroundings) -> Error {
    let memory = match place {
        Surroundings::Systemd => " (MemoryMax= of pgcellar-drill-sandbox@.service)",
        _ => "",
    };
    Error::new(Kind::Unavailable, "the sandbox ended in the middle of the drill")
        .hint(format!("it was killed or has crashed, perhaps for lack of memory{memory}: see {}", place.sandbox_log()))
}

/// The error of a sandbox that was stopped.
fn stopped(place: &Surroundings) -> Error {
    let why = match place {
        Surroundings::Systemd => {
            "RuntimeMaxSec= of pgcellar-drill-sandbox@.service ends a drill that takes longer, and "
        }
        _ => "",
    };
    Error::new(Kind::TryAgain, "the sandbox was stopped in the middle of the drill")
        .hint(format!("{why}it may have been stopped by hand: see {}", place.sandbox_log()))
        .caused_by(Cause::SandboxStopped)
}

fn unexpected() -> Error {
    Error::new(Kind::Unavailable, "unexpected message from the sandbox").hint(format!(
        "restored code may control it: check the functions in the backup before you restore it elsewhere, and see {}",
        Surroundings::here().sandbox_log()
    ))
}

/// A refused object with the texts of the sandbox shortened and escaped.
fn shown(refused: RefusedObject) -> RefusedObject {
    let RefusedObject { object, sqlstate, message, follows } = refused;
    let follows = follows.as_deref().map(text);
    RefusedObject { object: text(&object), sqlstate: text(&sqlstate), message: text(&message), follows }
}

/// A text of the sandbox, shortened and escaped for logs and records.
fn text(text: &str) -> String {
    let kept: String = text.chars().take(TEXT).collect();
    printable(&kept)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    async fn connection_lost(message: Option<&Message>, begun: Duration) -> Error {
        let (drill_end, mut sandbox_end) = UnixStream::pair().unwrap();
        if let Some(message) = message {
            protocol::write_json(&mut sandbox_end, Frame::Message, message).unwrap();
        }
        drop(sandbox_end);
        let mut receiver = Receiver::begin(drill_end, false);
        receiver.begun = Instant::now().checked_sub(begun).unwrap();
        receiver.ready().await.unwrap_err()
    }

    #[tokio::test]
    async fn a_stream_closed_with_unread_input_is_a_closed_one() {
        let (drill_end, sandbox_end) = UnixStream::pair().unwrap();
        (&drill_end).write_all(b"order").unwrap();
        drop(sandbox_end);
        let error = Receiver::begin(drill_end, false).ready().await.unwrap_err();
        assert_eq!(error.kind(), Kind::TryAgain, "{error}");
    }

    #[tokio::test]
    async fn a_closed_stream_is_explained() {
        let busy = connection_lost(None, Duration::ZERO).await;
        assert_eq!((busy.kind(), busy.cause()), (Kind::TryAgain, None));
        let killed = connection_lost(None, REFUSAL).await;
        assert_eq!(killed.kind(), Kind::Unavailable);
        assert!(killed.hint_text().unwrap().contains("lack of memory"), "{killed}");
        let stopped = connection_lost(Some(&Message::Stopped), Duration::ZERO).await;
        assert_eq!((stopped.kind(), stopped.cause()), (Kind::TryAgain, Some(Cause::SandboxStopped)));
    }
}
