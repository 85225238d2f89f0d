//! One backup, copied from the directory into the bucket: announced, then its files, then its manifest.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::catalogue::announcement::Announcement;
use crate::catalogue::manifest::{FileRole, Manifest, StoredFile};
use crate::catalogue::publish::publish;
use crate::catalogue::read_document;
use crate::catalogue::records::drill::DrillRecord;
use crate::catalogue::records::pin::Pin;
use crate::config::Maker;
use crate::error::{Cause, Error, Kind, Result};
use crate::host::progress::Counter;
use crate::identity::Identity;
use crate::parallel;
use crate::pipeline::digest::DigestReader;
use crate::stop::Stop;
use crate::store::{ObjectKind, Store};
use crate::task::backup::commit::forget_announcement;

/// What is read at once.
const PIECE: usize = 256 << 10;

/// Largest file that is copied beside others, in bytes: so that little memory is taken by all of them.
const SMALL: u64 = 1 << 20;

/// Copies backups of one instance on one host.
#[derive(Clone)]
pub struct Copier {
    /// The directory.
    pub from: Arc<dyn Store>,
    /// The bucket.
    pub to: Arc<dyn Store>,
    /// The instance on its host.
    pub maker: Maker,
    /// What ties it to what it announced where the host had another name.
    pub server: Identity,
    /// Stored bytes that were copied.
    pub moved: Counter,
    /// When to stop.
    pub stop: Stop,
}

impl Copier {
    /// Copies a backup. Whatever fails, it is not listed in the bucket, and what is there of it already stays announced as
    /// ours: the next copy takes it over.
    ///
    /// # Errors
    /// `Kind::Data` if a file is not what the manifest says: then nothing of the backup stays there.
    pub fn copy(&self, manifest: &Manifest) -> Result<()> {
        match self.steps(manifest) {
            Err(_) if self.stop.requested() => Err(interrupted(&self.stop)),
            Err(error) if error.kind() == Kind::Data => {
                if let Err(error) = self.take_back(manifest) {
                    log::warn!("what was copied of {} stays in the bucket for now: {error}", manifest.id);
                }
                Err(error)
            }
            copied => copied,
        }
    }

    fn steps(&self, manifest: &Manifest) -> Result<()> {
        let key = Manifest::key(&manifest.id);
        let document = read_document(self.from.as_ref(), &key)?;
        for file in &manifest.files {
            self.has_its_size(file)?;
        }
        self.names_are_free(manifest)?;
        let left = self.announce(manifest, &document)?;
        self.files(manifest, left)?;
        self.records(&manifest.id)?;
        publish(self.to.as_ref(), &key, &document)?;
        forget_announcement(self.to.as_ref(), &key);
        Ok(())
    }

    /// Copies the files: small ones, of which a directory archive may have thousands, several at once.
    fn files(&self, manifest: &Manifest, left: Left) -> Result<()> {
        let (small, large): (Vec<&StoredFile>, Vec<&StoredFile>) =
            manifest.files.iter().partition(|file| file.stored_bytes <= SMALL);
        let failed = AtomicBool::new(false);
        let copied = parallel::map(&small, |file| match failed.load(Ordering::Relaxed) {
            true => Ok(()),
            false => self.file(file, left).inspect_err(|_| failed.store(true, Ordering::Relaxed)),
        });
        copied.into_iter().collect::<Result<()>>()?;
        large.into_iter().try_for_each(|file| self.file(file, left))
    }

    /// A backup that is pinned is never in the bucket without its pin, nor one that is proven without its proof.
    fn records(&self, id: &str) -> Result<()> {
        for key in [Pin::key(id), DrillRecord::key(id)] {
            match read_document(self.from.as_ref(), &key) {
                Ok(record) => self.to.replace(&key, &record, ObjectKind::Record)?,
                Err(error) if error.kind() == Kind::Missing => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whoever made an adopted dump may have uploaded it too. What is announced may be swept, so that is asked before.
    fn names_are_free(&self, manifest: &Manifest) -> Result<()> {
        let files = if manifest.adopted.is_some() { manifest.files.as_slice() } else { &[] };
        for StoredFile { key, .. } in files {
            if self.to.size(key)?.is_some() && !self.to.is_labelled(key)? {
                let place = self.to.location();
                let message = format!("{} is not copied: {place} has an object {key} without a manifest", manifest.id);
                return Err(Error::new(Kind::CannotWrite, message)
                    .hint(format!("pgcellar adopt {}/{key} makes it the copy if it is", place.trim_end_matches('/'))));
            }
        }
        Ok(())
    }

    /// Announces the backup, or takes over what a killed run of ours has left of it.
    fn announce(&self, manifest: &Manifest, document: &[u8]) -> Result<Left> {
        let (id, key) = (&manifest.id, Manifest::key(&manifest.id));
        let left = match Announcement::read(self.to.as_ref(), id)? {
            None => Left::Nothing,
            Some((announced, _)) if announced == document => Left::Files,
            Some((_, Some(claim))) if claim.is_of(&self.maker, &self.server) => Left::Remains,
            Some((_, claim)) => return Err(self.taken(id, claim)),
        };
        match left {
            Left::Nothing => self.to.announce(&key, document)?,
            Left::Remains => self.to.announce_anew(&key, document)?,
            Left::Files => {}
        }
        if left != Left::Nothing {
            let begun = self.to.partials()?;
            for file in manifest.files.iter().filter(|file| begun.iter().any(|begun| begun.key == file.key)) {
                self.to.discard(&file.key)?;
            }
        }
        Ok(left)
    }

    fn taken(&self, id: &str, claim: Option<Announcement>) -> Error {
        let whose = match claim {
            Some(claim) => format!("the instance '{}' on {}", claim.maker.instance, claim.maker.host),
            None => "somebody else".to_owned(),
        };
        Error::new(Kind::TryAgain, format!("{id} is being written to {} by {whose}", self.to.location()))
            .hint("give each instance and host an AWS_S3_PREFIX of its own")
            .caused_by(Cause::AnotherRun)
    }

    /// Whether a run that announced this very manifest has left this file whole. What else of ours has its name goes.
    fn is_left(&self, file: &StoredFile, left: Left) -> Result<bool> {
        if left == Left::Nothing {
            return Ok(false);
        }
        match self.to.size(&file.key)? {
            None => Ok(false),
            Some(_) if !self.to.is_labelled(&file.key)? => Err(Error::new(
                Kind::CannotWrite,
                format!("{} has an object {} that is somebody else's", self.to.location(), file.key),
            )),
            Some(bytes) if left == Left::Files && bytes == file.stored_bytes => Ok(true),
            Some(_) => self.to.delete(&file.key).map(|()| false),
        }
    }

    /// Takes away what is there of a backup that can never be whole.
    fn take_back(&self, manifest: &Manifest) -> Result<()> {
        let ours = |claim: &Announcement| claim.is_of(&self.maker, &self.server);
        if !matches!(Announcement::read(self.to.as_ref(), &manifest.id)?, Some((_, Some(claim))) if ours(&claim)) {
            return Ok(());
        }
        for file in &manifest.files {
            if self.to.size(&file.key)?.is_some() && self.to.is_labelled(&file.key)? {
                self.to.delete(&file.key)?;
            }
        }
        self.to.discard(&Manifest::key(&manifest.id))
    }

    fn has_its_size(&self, file: &StoredFile) -> Result<()> {
        match self.from.size(&file.key)? {
            Some(bytes) if bytes == file.stored_bytes => Ok(()),
            Some(bytes) => Err(damaged(file, &format!("has {bytes} bytes instead of {}", file.stored_bytes))),
            None => Err(damaged(file, "is missing")),
        }
    }

    /// Copies a file while its bytes are compared with what the manifest says of them.
    fn file(&self, file: &StoredFile, left: Left) -> Result<()> {
        if self.is_left(file, left)? {
            self.moved.add(file.stored_bytes);
            return Ok(());
        }
        let from = self.from.read(&file.key, 0)?;
        let mut from = DigestReader::new(self.stop.reader(self.moved.reader(from)));
        let size = Some(file.stored_bytes);
        let mut upload = match file.role {
            FileRole::Archive => self.to.create(&file.key, size, ObjectKind::Archive)?,
            _ => self.to.create(&file.key, size, ObjectKind::Document)?,
        };
        let mut piece = vec![0; PIECE];
        loop {
            let bytes = match from.read(&mut piece) {
                Ok(0) => break,
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::read(format!("{} in {}", file.key, self.from.location()), &error)),
            };
            let written = upload.write_all(piece.get(..bytes).unwrap_or_default());
            written.map_err(|error| Error::write(format!("{} to {}", file.key, self.to.location()), &error))?;
        }
        let digest = from.digest();
        if digest.bytes != file.stored_bytes {
            return Err(damaged(file, &format!("has {} bytes instead of {}", digest.bytes, file.stored_bytes)));
        }
        if digest.hex() != file.stored_sha256 {
            return Err(damaged(
                file,
                &format!("the SHA-256 of its bytes is {digest} instead of {}", file.stored_sha256),
            ));
        }
        upload.seal()?;
        upload.commit()
    }
}

/// The error of a copy that was told to stop: what is there of it stays, and stays announced.
pub fn interrupted(stop: &Stop) -> Error {
    stop.error().hint("the next backup goes on with it")
}

/// What a killed run has left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Nothing: no announcement.
    Nothing,
    /// Files of this very manifest, perhaps.
    Files,
    /// An announcement of ours that says nothing of the files.
    Remains,
}

fn damaged(file: &StoredFile, what: &str) -> Error {
    Error::new(Kind::Data, format!("{} {what}", file.key)).hint("pgcellar verify tells more; it is not copied")
}
