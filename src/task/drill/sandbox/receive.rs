//! The order, the roles and the archive, as they come: the archive goes into the spool, and what is there of it is told to those who
//! load it.

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

/// Largest script of roles, in bytes, as a restore takes it.
const LARGEST_GLOBALS: usize = 128 << 20;

/// The order, and the script of the roles, which is empty if the backup has none. Blocks.
pub fn order(stream: &mut UnixStream) -> Result<(DrillOrder, Vec<u8>)> {
    let (mut bytes, mut globals) = (Vec::new(), Vec::new());
    let order = match frame(stream, &mut bytes)? {
        Frame::Order => protocol::document::<DrillOrder>(&bytes)?,
        _ => return Err(unasked()),
    };
    loop {
        match frame(stream, &mut bytes)? {
            Frame::Globals if globals.len() < LARGEST_GLOBALS => globals.extend_from_slice(&bytes),
            Frame::End => return Ok((order, globals)),
            _ => return Err(unasked()),
        }
    }
}

fn frame(stream: &mut UnixStream, bytes: &mut Vec<u8>) -> Result<Frame> {
    let read = protocol::read(stream, bytes).map_err(|error| Error::read("the stream to the drill", &error))?;
    read.ok_or_else(|| Error::new(Kind::TryAgain, "the drill has ended"))
}

fn unasked() -> Error {
    Error::new(Kind::Internal, "the drill sent what nobody asked for")
}

/// A file of which nothing is known yet.
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

/// What comes, and when it is there.
pub struct Incoming {
    /// The names and sizes of the archive's files, once all of them are there and are what was backed up; or what is
    /// wrong with the archive.
    pub whole: oneshot::Receiver<Result<Vec<StoredFile>>>,
    /// What there is to load of a custom archive.
    pub work: Option<Arc<LoadQueue>>,
    /// Where the archive is.
    pub path: PathBuf,
}

impl Incoming {
    /// Begins to receive. When the drill ends, `stop` is set.
    pub fn begin(stream: UnixStream, format: Format, spool: &Path, stop: Stop) -> Result<Self> {
        let path = spool.join(PLAIN);
        let (tell_whole, whole) = oneshot::channel();
        let (to, work) = match format {
            Format::Directory => {
                DirBuilder::new().mode(0o700).create(&path).map_err(|error| Error::write(path.display(), &error))?;
                (To::Folder(path.clone(), None), None)
            }
            Format::Custom => {
                let file = create(&path)?;
                let from = File::open(&path).map_err(|error| Error::read(path.display(), &error))?;
                let work = Arc::new(LoadQueue::new(from, true));
                (To::Followed(Some(Box::new(Follower::new(Some(file), Arc::clone(&work), None)))), Some(work))
            }
            Format::Tar | Format::Plain => (To::File(create(&path)?), None),
        };
        let receiver = Receiver { stream, to, files: Vec::new() };
        std::thread::spawn(move || receiver.run(tell_whole, &stop));
        Ok(Incoming { whole, work, path })
    }
}

fn create(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path).map_err(|error| Error::write(path.display(), &error))
}

/// Where the bytes go.
enum To {
    Followed(Option<Box<Follower>>),
    File(File),
    /// A folder, and the file that comes now.
    Folder(PathBuf, Option<File>),
}

struct Receiver {
    stream: UnixStream,
    to: To,
    files: Vec<StoredFile>,
}

impl Receiver {
    fn run(mut self, tell_whole: oneshot::Sender<Result<Vec<StoredFile>>>, stop: &Stop) {
        let received = self.receive();
        let is_there = received.is_ok();
        // Nobody listens after an error, which is then the one that is told.
        drop(tell_whole.send(received));
        if is_there {
            // Nothing more comes: this waits for the drill's end.
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
                Frame::Order | Frame::Message | Frame::Globals => return Err(unasked()),
            }
        }
    }

    fn begin(&mut self, name: &str) -> Result<()> {
        let mut key = PLAIN.to_owned();
        if let To::Folder(folder, file) = &mut self.to {
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
            To::File(file) | To::Folder(_, Some(file)) => file.write_all(bytes),
            To::Followed(Some(follower)) => match follower.write_all(bytes) {
                Err(error) => match follower.malformed() {
                    Some(malformed) => return Err(damaged(PLAIN, &malformed.to_string())),
                    None => Err(error),
                },
                Ok(()) => Ok(()),
            },
            To::Followed(None) | To::Folder(_, None) => Ok(()),
        };
        written.map_err(|error| Error::write("the spool", &error))
    }

    fn end(&mut self) -> Result<()> {
        match &mut self.to {
            To::Followed(follower) => match follower.take() {
                Some(follower) => follower.finish().map_err(|error| damaged(PLAIN, &error.to_string())),
                None => Ok(()),
            },
            To::Folder(_, file) => {
                *file = None;
                Ok(())
            }
            To::File(_) => Ok(()),
        }
    }
}
