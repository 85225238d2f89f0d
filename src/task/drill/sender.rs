//! What a drill gives its sandbox: the order and the roles, and then the plain archive.

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
use crate::task::drill::protocol;
use crate::task::drill::protocol::{DrillOrder, Frame, Head, PIECE};

/// What is wanted of the sandbox. It is told names, and no sum that it is to find.
pub fn order(
    archive: &Archive,
    manifest: &Manifest,
    expected: Option<&Fingerprints>,
    jobs: Option<usize>,
) -> Result<DrillOrder> {
    Ok(DrillOrder {
        version: protocol::VERSION,
        id: manifest.id.clone(),
        database: manifest.database.clone(),
        format: manifest.format,
        pg_dump: manifest.pg_dump.clone(),
        major: match manifest.server.version_num / 10_000 {
            0 => major(&manifest.pg_dump),
            major => major,
        },
        bootstrap_role: manifest.server.bootstrap_role.clone(),
        properties: manifest.properties.clone(),
        extensions: archive.expected.extensions.clone(),
        plain_bytes: archive.files.iter().map(|file| file.plain_bytes).sum(),
        database_bytes: manifest.contents.database_bytes,
        tables: archive.expected.tables,
        large_objects: archive.expected.large_objects,
        partial: manifest.partial,
        // Nothing but what pgcellar itself takes becomes an argument.
        dump_options: DumpOptions::of_words(&manifest.dump_options)?.arguments,
        jobs,
        look_at: expected.map(names_of),
    })
}

/// The same without what only the rows can tell.
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

/// How far sending came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    /// All of it was sent, and is what the manifest says.
    Whole,
    /// The sandbox does not listen any more; it tells why.
    Unheard,
}

/// When the archive was sent.
#[derive(Debug, Default)]
struct Span {
    began: OnceLock<Instant>,
    ended: OnceLock<Instant>,
}

/// What is being sent.
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
        let send = move || match ask(&to, &order, &archive, &stop)? {
            Sent::Whole => {
                noted.began.get_or_init(Instant::now);
                let sent = send(&to, &archive, &moved, &stop);
                noted.ended.get_or_init(Instant::now);
                sent
            }
            Sent::Unheard => Ok(Sent::Unheard),
        };
        Sending { thread: tokio::task::spawn_blocking(send), span, sent: None }
    }

    /// For how long the archive had been sent at this moment.
    pub fn sent_before(&self, moment: Instant) -> Duration {
        let Some(began) = self.span.began.get() else { return Duration::ZERO };
        let until = self.span.ended.get().map_or(moment, |ended| moment.min(*ended));
        until.saturating_duration_since(*began)
    }

    /// Listens meanwhile; what is wrong with the archive ends that.
    pub async fn beside<T>(&mut self, stop: &Stop, listening: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::pin!(listening);
        loop {
            tokio::select! {
                biased;
                () = stop.wait() => return Err(stop.error()),
                ended = &mut self.thread, if self.sent.is_none() => self.sent = Some(joined(ended)?),
                heard = &mut listening => return heard,
            }
        }
    }

    /// Waits for the end: whether all of it was sent, and is what was backed up.
    pub async fn is_whole(&mut self) -> Result<bool> {
        let sent = match self.sent {
            Some(sent) => sent,
            None => joined((&mut self.thread).await)?,
        };
        Ok(sent == Sent::Whole)
    }
}

/// Sends the order and the roles. Blocks.
fn ask(to: &UnixStream, order: &DrillOrder, archive: &Archive, stop: &Stop) -> Result<Sent> {
    let mut frames = Frames { to, frame: Frame::Globals, unheard: false };
    frames.json(Frame::Order, order);
    let globals = archive.manifest.iter().find_map(|manifest| manifest.files(FileRole::Globals).next());
    if let Some(file) = globals {
        frames.file(archive, file, &Counter::default(), stop)?;
    }
    frames.end(Frame::End);
    Ok(frames.sent())
}

/// Sends the archive, compared with the manifest while it passes. Blocks.
fn send(to: &UnixStream, archive: &Archive, moved: &Counter, stop: &Stop) -> Result<Sent> {
    let mut frames = Frames { to, frame: Frame::Data, unheard: false };
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

/// Files as frames, until nobody hears them.
struct Frames<'a> {
    to: &'a UnixStream,
    /// What the pieces of a file are.
    frame: Frame,
    unheard: bool,
}

impl Frames<'_> {
    fn json(&mut self, frame: Frame, document: &impl Serialize) {
        self.unheard = self.unheard || protocol::write_json(&mut self.to, frame, document).is_err();
    }

    fn end(&mut self, frame: Frame) {
        self.unheard = self.unheard || protocol::write(&mut self.to, frame, &[]).is_err();
    }

    fn file(&mut self, archive: &Archive, file: &StoredFile, moved: &Counter, stop: &Stop) -> Result<()> {
        match self.unheard {
            true => Ok(()),
            false => match archive.read(file, self, "the sandbox", moved, stop) {
                Err(_) if self.unheard => Ok(()),
                read => read,
            },
        }
    }

    fn sent(self) -> Sent {
        if self.unheard { Sent::Unheard } else { Sent::Whole }
    }
}

impl Write for Frames<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = bytes.get(..PIECE).unwrap_or(bytes);
        protocol::write(&mut self.to, self.frame, piece).inspect_err(|_| self.unheard = true)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
