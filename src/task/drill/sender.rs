//! The sender of a drill: the order and the roles, and then the plain archive.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinHandle;

use crate::blocking::joined;
use crate::catalogue::manifest::{FileRole, Manifest, StoredFile};
use crate::config::Format;
use crate::config::dump_options::DumpOptions;
use crate::error::Result;
use crate::fingerprint::{Fingerprints, LargeObjects, Sum};
use crate::host::progress::Counter;
use crate::restore::archive::{Archive, major};
use crate::stop::Stop;
use crate::task::drill::libraries::NamedLibraries;
use crate::task::drill::protocol;
use crate::task::drill::protocol::{DrillOrder, Frame, Head, PIECE};

/// The order to the sandbox. It has the names of the objects to examine, and none of their sums.
pub fn order(
    archive: &Archive,
    manifest: &Manifest,
    expected: Option<&Fingerprints>,
    (jobs, rehearsal, libraries): (Option<usize>, Option<u32>, &NamedLibraries),
) -> Result<DrillOrder> {
    let (libraries, settings) = libraries.of(manifest);
    Ok(DrillOrder {
        version: protocol::VERSION,
        id: manifest.id.clone(),
        database: manifest.database.clone(),
        format: manifest.format,
        pg_dump: manifest.pg_dump.clone(),
        major: server_of(manifest),
        rehearsal,
        bootstrap_role: manifest.server.bootstrap_role.clone(),
        properties: manifest.properties.clone(),
        extensions: archive.expected.extensions.clone(),
        timescaledb: archive.expected.timescaledb.clone(),
        libraries,
        settings,
        plain_bytes: archive.files.iter().map(|file| file.plain_bytes).sum(),
        database_bytes: manifest.contents.database_bytes,
        tables: archive.expected.tables,
        large_objects: archive.expected.large_objects,
        partial: manifest.partial,
        // Only options that pgcellar accepts become arguments.
        dump_options: DumpOptions::of_words(&manifest.dump_options)?.arguments,
        jobs,
        look_at: expected.map(names_of),
    })
}

/// The major version of the server that was backed up.
pub fn server_of(manifest: &Manifest) -> u32 {
    match manifest.server.version_num / 10_000 {
        0 => major(&manifest.pg_dump),
        major => major,
    }
}

/// The fingerprints without everything that only the rows can tell.
fn names_of(expected: &Fingerprints) -> Fingerprints {
    let mut names = expected.clone();
    names.tables.iter_mut().for_each(|table| table.sum = Sum::default());
    for sequence in &mut names.sequences {
        sequence.last_value.clear();
        sequence.is_called = false;
    }
    names.large_objects = LargeObjects::default();
    names.objects.clear();
    names
}

/// How sending ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    /// Everything was sent, and matches the manifest.
    Whole,
    /// The sandbox has closed the stream; its message says why.
    Refused,
}

/// The time in which the archive was sent.
#[derive(Debug, Default)]
struct Span {
    began: OnceLock<Instant>,
    ended: OnceLock<Instant>,
}

/// The order, roles and archive being sent.
pub struct Sending {
    thread: JoinHandle<Result<Sent>>,
    span: Arc<Span>,
    sent: Option<Sent>,
}

impl Sending {
    /// Begins to send the order, the roles and the archive. It ends with the stream.
    pub fn begin(to: UnixStream, order: DrillOrder, archive: &Arc<Archive>, moved: &Counter, stop: &Stop) -> Self {
        let (archive, moved, stop) = (Arc::clone(archive), moved.clone(), stop.clone());
        let span = Arc::new(Span::default());
        let noted = Arc::clone(&span);
        let send = move || match send_order(&to, &order, &archive, &stop)? {
            Sent::Whole => {
                noted.began.get_or_init(Instant::now);
                let sent = send_archive(&to, &archive, &moved, &stop);
                noted.ended.get_or_init(Instant::now);
                sent
            }
            Sent::Refused => Ok(Sent::Refused),
        };
        Sending { thread: tokio::task::spawn_blocking(send), span, sent: None }
    }

    /// How long the archive had been sent at this moment.
    pub fn sent_before(&self, moment: Instant) -> Duration {
        let Some(began) = self.span.began.get() else { return Duration::ZERO };
        let until = self.span.ended.get().map_or(moment, |ended| moment.min(*ended));
        until.saturating_duration_since(*began)
    }

    /// Waits for the sandbox while sending; an error in the archive ends the wait.
    pub async fn beside<T>(&mut self, stop: &Stop, receiving: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::pin!(receiving);
        loop {
            tokio::select! {
                biased;
                () = stop.wait() => return Err(stop.error()),
                ended = &mut self.thread, if self.sent.is_none() => self.sent = Some(joined(ended)?),
                received = &mut receiving => return received,
            }
        }
    }

    /// Waits for the end: whether everything was sent, and matches the manifest.
    pub async fn is_whole(&mut self) -> Result<bool> {
        let sent = match self.sent {
            Some(sent) => sent,
            None => joined((&mut self.thread).await)?,
        };
        Ok(sent == Sent::Whole)
    }
}

/// Sends the order and the roles. Blocks.
fn send_order(to: &UnixStream, order: &DrillOrder, archive: &Archive, stop: &Stop) -> Result<Sent> {
    let mut frames = Frames { to, frame: Frame::Globals, refused: false };
    frames.json(Frame::Order, order);
    let globals = archive.manifest.iter().find_map(|manifest| manifest.files(FileRole::Globals).next());
    if let Some(file) = globals {
        frames.file(archive, file, &Counter::default(), stop)?;
    }
    frames.end(Frame::End);
    Ok(frames.sent())
}

/// Sends the archive, which is compared with the manifest meanwhile. Blocks.
fn send_archive(to: &UnixStream, archive: &Archive, moved: &Counter, stop: &Stop) -> Result<Sent> {
    let mut frames = Frames { to, frame: Frame::Data, refused: false };
    for file in &archive.files {
        let name = match archive.format {
            Format::Directory => archive.plain_name(file).to_owned(),
            Format::Custom | Format::Tar | Format::Plain => String::new(),
        };
        frames.json(Frame::File, &Head { name });
        frames.file(archive, file, moved, stop)?;
        frames.end(Frame::End);
    }
    frames.end(Frame::Whole);
    Ok(frames.sent())
}

/// Writes files as frames, until the sandbox closes the stream.
struct Frames<'a> {
    to: &'a UnixStream,
    /// The kind of the frames.
    frame: Frame,
    refused: bool,
}

impl Frames<'_> {
    fn json(&mut self, frame: Frame, document: &impl Serialize) {
        self.refused = self.refused || protocol::write_json(&mut self.to, frame, document).is_err();
    }

    fn end(&mut self, frame: Frame) {
        self.refused = self.refused || protocol::write(&mut self.to, frame, &[]).is_err();
    }

    fn file(&mut self, archive: &Archive, file: &StoredFile, moved: &Counter, stop: &Stop) -> Result<()> {
        match self.refused {
            true => Ok(()),
            false => match archive.read(file, self, "the sandbox", moved, stop) {
                Err(_) if self.refused => Ok(()),
                read => read,
            },
        }
    }

    fn sent(self) -> Sent {
        if self.refused { Sent::Refused } else { Sent::Whole }
    }
}

impl Write for Frames<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = bytes.get(..PIECE).unwrap_or(bytes);
        protocol::write(&mut self.to, self.frame, piece).inspect_err(|_| self.refused = true)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
