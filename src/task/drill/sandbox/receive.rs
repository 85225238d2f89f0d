//! Receives the order, the roles and the archive. The archive is written to the spool, and is loaded while it arrives.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::catalogue::manifest::{FileRole, StoredFile};
use crate::config::Format;
use crate::error::{Error, Kind, Result};
use crate::restore::archive::{PLAIN, damaged};
use crate::restore::parallel::queue::LoadQueue;
use crate::restore::parallel::unpack::Follower;
use crate::stop::Stop;
use crate::task::drill::protocol;
use crate::task::drill::protocol::{DrillOrder, Frame, Head};
use crate::task::drill::sandbox::failure::{DrillFailure, of_backup};

/// Largest script of roles in bytes, as in a restore.
const LARGEST_GLOBALS: usize = 128 << 20;

/// Reads the order, and the script of the roles, which is empty if the backup has none. Blocks.
pub fn order(stream: &mut UnixStream) -> Result<(DrillOrder, Vec<u8>)> {
    let (mut bytes, mut globals) = (Vec::new(), Vec::new());
    let order = match frame(stream, &mut bytes)? {
        Frame::Order => protocol::document::<DrillOrder>(&bytes)?,
        _ => return Err(unexpected()),
    };
    loop {
        match frame(stream, &mut bytes)? {
            Frame::Globals if globals.len() < LARGEST_GLOBALS => globals.extend_from_slice(&bytes),
            Frame::End => return Ok((order, globals)),
            _ => return Err(unexpected()),
        }
    }
}

fn frame(stream: &mut UnixStream, bytes: &mut Vec<u8>) -> Result<Frame> {
    let read = protocol::read(stream, bytes).map_err(|error| Error::read("the stream to the drill", &error))?;
    read.ok_or_else(|| Error::new(Kind::TryAgain, "the drill has ended"))
}

fn unexpected() -> Error {
    Error::new(Kind::Internal, "unexpected message from the drill")
}

/// A file of unknown size and hash.
pub fn plain_file(key: String) -> StoredFile {
    StoredFile {
        role: FileRole::Archive,
        key,
        stored_bytes: 0,
        stored_sha256: String::new(),
        plain_bytes: 0,
        plain_sha256: String::new(),
    }
}

/// The archive as it arrives.
pub struct Incoming {
    /// The names and sizes of the archive's files, once all have arrived and match the manifest; or the error of the archive.
    pub whole: oneshot::Receiver<Result<Vec<StoredFile>>>,
    /// The parts of a custom archive to load.
    pub work: Option<Arc<LoadQueue>>,
    /// The path of the archive.
    pub path: PathBuf,
}

impl Incoming {
    /// Starts a thread that receives. When the drill ends, `stop` is set.
    pub fn begin(stream: UnixStream, order: &DrillOrder, spool: &Path, stop: Stop) -> Result<Self> {
        let path = spool.join(PLAIN);
        let (sender, whole) = oneshot::channel();
        // A table of which the server refuses rows is loaded whole or not at all.
        let sharing = order.rehearsal.is_none();
        let (to, work) = match order.format {
            Format::Directory => {
                DirBuilder::new().mode(0o700).create(&path).map_err(|error| Error::write(path.display(), &error))?;
                (Destination::Folder(path.clone(), None), None)
            }
            Format::Custom => {
                let file = create(&path)?;
                let from = File::open(&path).map_err(|error| Error::read(path.display(), &error))?;
                let work = Arc::new(LoadQueue::new(from, sharing));
                (Destination::Followed(Some(Box::new(Follower::new(Some(file), Arc::clone(&work), None)))), Some(work))
            }
            Format::Tar | Format::Plain => (Destination::File(create(&path)?), None),
        };
        let receiver = Receiver { stream, to, files: Vec::new() };
        std::thread::spawn(move || receiver.run(sender, &stop));
        Ok(Incoming { whole, work, path })
    }
}

/// Waits until all of the archive has arrived, and has the hashes of the manifest.
pub async fn received(
    whole: &mut oneshot::Receiver<Result<Vec<StoredFile>>>,
    stop: &Stop,
) -> std::result::Result<Vec<StoredFile>, DrillFailure> {
    let received = async { whole.await.unwrap_or_else(|_| Err(Error::new(Kind::Internal, "a thread panicked"))) };
    stop.or(received).await.map_err(of_backup)
}

fn create(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path).map_err(|error| Error::write(path.display(), &error))
}

/// The destination of the bytes.
enum Destination {
    Followed(Option<Box<Follower>>),
    File(File),
    /// A folder, and the file that is being received.
    Folder(PathBuf, Option<File>),
}

struct Receiver {
    stream: UnixStream,
    to: Destination,
    files: Vec<StoredFile>,
}

impl Receiver {
    fn run(mut self, sender: oneshot::Sender<Result<Vec<StoredFile>>>, stop: &Stop) {
        let received = self.receive();
        let is_there = received.is_ok();
        // The receiver is gone after an earlier error, which is then reported.
        drop(sender.send(received));
        if is_there {
            // No more frames follow: this waits for the end of the drill.
            drop(protocol::read(&mut self.stream, &mut Vec::new()));
            stop.now();
        }
    }

    fn receive(&mut self) -> Result<Vec<StoredFile>> {
        let mut bytes = Vec::new();
        loop {
            match frame(&mut self.stream, &mut bytes)? {
                Frame::File => self.begin(&protocol::document::<Head>(&bytes)?.name)?,
                Frame::Data => self.take(&bytes)?,
                Frame::End => self.end()?,
                Frame::Whole => return Ok(std::mem::take(&mut self.files)),
                Frame::Order | Frame::Message | Frame::Globals => return Err(unexpected()),
            }
        }
    }

    fn begin(&mut self, name: &str) -> Result<()> {
        let mut key = PLAIN.to_owned();
        if let Destination::Folder(folder, file) = &mut self.to {
            if name.is_empty() || name.contains(['/', '\0']) || name.starts_with('.') {
                return Err(Error::new(Kind::Internal, "the drill sent a file without a proper name"));
            }
            *file = Some(create(&folder.join(name))?);
            key = format!("{PLAIN}/{name}");
        }
        self.files.push(plain_file(key));
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(file) = self.files.last_mut() {
            file.stored_bytes += bytes.len() as u64;
            file.plain_bytes += bytes.len() as u64;
        }
        let written = match &mut self.to {
            Destination::File(file) | Destination::Folder(_, Some(file)) => file.write_all(bytes),
            Destination::Followed(Some(follower)) => match follower.write_all(bytes) {
                Err(error) => match follower.malformed() {
                    Some(malformed) => return Err(damaged(PLAIN, &malformed.to_string())),
                    None => Err(error),
                },
                Ok(()) => Ok(()),
            },
            Destination::Followed(None) | Destination::Folder(_, None) => Ok(()),
        };
        written.map_err(|error| Error::write("the spool", &error))
    }

    fn end(&mut self) -> Result<()> {
        match &mut self.to {
            Destination::Followed(follower) => match follower.take() {
                Some(follower) => follower.finish().map_err(|error| damaged(PLAIN, &error.to_string())),
                None => Ok(()),
            },
            Destination::Folder(_, file) => {
                *file = None;
                Ok(())
            }
            Destination::File(_) => Ok(()),
        }
    }
}
