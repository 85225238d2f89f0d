//! A directory archive: pg_dump writes the folder with several jobs, then its files are hashed, or encrypted one by one.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::catalogue::manifest::{Role, StoredFile};
use crate::error::{Error, Result};
use crate::host::progress::Counter;
use crate::host::stop::Stop;
use crate::pipeline::Sink;
use crate::pipeline::compress::Method;
use crate::pipeline::digest::DigestWriter;
use crate::pipeline::encrypt::Recipients;
use crate::postgres::archive::read_toc;
use crate::postgres::dump::Dumped;
use crate::store::local::LocalFolder;

/// The table of contents of a directory archive. pg_dump begins it once it holds its locks.
const TOC: &str = "toc.dat";

/// How often a folder that pg_dump fills is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until pg_dump has begun its table of contents, and so holds its locks.
pub async fn begun(folder: &Path) {
    while !has_begun(folder) {
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether there is something of a table of contents.
pub fn has_begun(folder: &Path) -> bool {
    folder.join(TOC).metadata().is_ok_and(|toc| toc.len() > 0)
}

/// Keeps a counter at the size of a folder, for as long as it is awaited.
pub async fn follow(folder: PathBuf, moved: Counter) {
    loop {
        tokio::time::sleep(LOOK * 10).await;
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        moved.set(entries.filter_map(|entry| entry.metadata().ok()).map(|file| file.len()).sum());
    }
}

/// What the archive has, by its table of contents.
pub fn dumped(folder: &Path) -> Result<Dumped> {
    let path = folder.join(TOC);
    let read = || read_toc(io::BufReader::new(File::open(&path)?), |_| {});
    read().map(Dumped::from).map_err(|error| Error::read(path.display(), &error))
}

/// Hashes every file where it is, or encrypts it into the folder if it was staged elsewhere. Blocks,
/// but not for long once the process was told to stop.
pub fn collect(
    id: &str,
    staged: &Path,
    folder: &LocalFolder,
    recipients: Option<&Recipients>,
    moved: &Counter,
    stop: &Stop,
) -> Result<Vec<StoredFile>> {
    let mut names: Vec<String> = Vec::new();
    let entries = std::fs::read_dir(staged).map_err(|error| Error::read(staged.display(), &error))?;
    for entry in entries {
        let entry = entry.map_err(|error| Error::read(staged.display(), &error))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let file = |name: &String| {
        let path = staged.join(name);
        let from = File::open(&path).map_err(|error| Error::read(path.display(), &error))?;
        let from = stop.reader(moved.reader(from));
        match recipients {
            None => hash(&format!("{id}/{name}"), from, &path),
            Some(recipients) => {
                let stored = encrypt(
                    &format!("{id}/{name}.age"),
                    from,
                    &folder.folder().join(format!("{name}.age")),
                    recipients,
                );
                // The plain bytes lie in memory; they go as soon as they can.
                std::fs::remove_file(&path).map_err(|error| Error::write(path.display(), &error))?;
                stored
            }
        }
    };
    names.iter().map(file).collect()
}

fn hash(key: &str, mut from: impl io::Read, path: &Path) -> Result<StoredFile> {
    let mut digest = DigestWriter::new(io::sink());
    io::copy(&mut from, &mut digest).map_err(|error| Error::read(path.display(), &error))?;
    let (_, digest) = digest.finish();
    Ok(StoredFile {
        role: Role::Archive,
        key: key.to_owned(),
        stored_bytes: digest.bytes,
        stored_sha256: digest.hex(),
        plain_bytes: digest.bytes,
        plain_sha256: digest.hex(),
    })
}

fn encrypt(key: &str, mut from: impl io::Read, to: &Path, recipients: &Recipients) -> Result<StoredFile> {
    let mut write = || -> io::Result<_> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
        let mut sink = Sink::new(Method::None, None, NonZeroUsize::MIN, Some(recipients), file)?;
        io::copy(&mut from, &mut sink)?;
        let mut finished = sink.finish()?;
        finished.inner.flush()?;
        Ok(finished)
    };
    let finished = write().map_err(|error| Error::write(to.display(), &error))?;
    Ok(StoredFile {
        role: Role::Archive,
        key: key.to_owned(),
        stored_bytes: finished.stored.bytes,
        stored_sha256: finished.stored.hex(),
        plain_bytes: finished.plain.bytes,
        plain_sha256: finished.plain.hex(),
    })
}
