//! The copy of one backup from the directory to the bucket: its announcement, then its files, then its manifest.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::catalogue::announcement::Announcement;
use crate::catalogue::manifest::{FileRole, Manifest, StoredFile};
use crate::catalogue::publish::publish_announced;
use crate::catalogue::read_document;
use crate::catalogue::records::Pin;
use crate::catalogue::records::drill::DrillRecord;
use crate::catalogue::records::rehearsal::RehearsalRecord;
use crate::config::Maker;
use crate::error::{Cause, Error, Kind, Result};
use crate::host::progress::Counter;
use crate::identity::Identity;
use crate::parallel;
use crate::pipeline::digest::DigestReader;
use crate::stop::Stop;
use crate::store::{ObjectKind, Store};

/// Bytes per read.
const PIECE: usize = 256 << 10;

/// Largest file that is copied in parallel with others, in bytes: this bounds the memory.
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
    /// Identifies its announcements if the host had another name.
    pub server: Identity,
    /// Counts the stored bytes that are copied.
    pub moved: Counter,
    /// When to stop.
    pub stop: Stop,
}

impl Copier {
    /// Copies a backup. On failure it is not listed in the bucket, and the files already there stay announced as this instance's:
    /// the next copy continues with them.
    ///
    /// # Errors
    /// `Kind::Data` if a file does not match the manifest: the files in the bucket are then deleted.
    pub fn copy(&self, manifest: &Manifest) -> Result<()> {
        match self.copy_all(manifest) {
            Err(_) if self.stop.requested() => Err(interrupted(&self.stop)),
            Err(error) if error.kind() == Kind::Data => {
                if let Err(error) = self.withdraw(manifest) {
                    log::warn!("what was copied of {} stays in the bucket for now: {error}", manifest.id);
                }
                Err(error)
            }
            copied => copied,
        }
    }

    fn copy_all(&self, manifest: &Manifest) -> Result<()> {
        let key = Manifest::key(&manifest.id);
        let document = read_document(self.from.as_ref(), &key)?;
        for file in &manifest.files {
            self.has_its_size(file)?;
        }
        self.names_are_free(manifest)?;
        let remains = self.announce(manifest, &document)?;
        self.copy_files(manifest, remains)?;
        self.copy_records(&manifest.id)?;
        publish_announced(self.to.as_ref(), &key, &document)
    }

    /// Copies the files; small ones, of which a directory archive may have thousands, in parallel.
    fn copy_files(&self, manifest: &Manifest, remains: Remains) -> Result<()> {
        let (small, large): (Vec<&StoredFile>, Vec<&StoredFile>) =
            manifest.files.iter().partition(|file| file.stored_bytes <= SMALL);
        let failed = AtomicBool::new(false);
        let copied = parallel::map(&small, |file| match failed.load(Ordering::Relaxed) {
            true => Ok(()),
            false => self.copy_file(file, remains).inspect_err(|_| failed.store(true, Ordering::Relaxed)),
        });
        copied.into_iter().collect::<Result<()>>()?;
        large.into_iter().try_for_each(|file| self.copy_file(file, remains))
    }

    /// Copies the pin and the records of a drill and a rehearsal before the manifest, so that the copy is never listed without them.
    fn copy_records(&self, id: &str) -> Result<()> {
        for key in [Pin::key(id), DrillRecord::key(id), RehearsalRecord::key(id)] {
            match read_document(self.from.as_ref(), &key) {
                Ok(record) => self.to.replace(&key, &record, ObjectKind::Record)?,
                Err(error) if error.kind() == Kind::Missing => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Refuses to overwrite objects of an adopted dump that were uploaded by other means. This comes before the announcement, because
    /// retention may remove announced objects.
    fn names_are_free(&self, manifest: &Manifest) -> Result<()> {
        let files = if manifest.adopted.is_some() { manifest.files.as_slice() } else { &[] };
        for StoredFile { key, .. } in files {
            if self.to.size(key)?.is_some() && !self.to.is_labelled(key)? {
                let place = self.to.location();
                let message = format!("{} is not copied: {place} has an object {key} without a manifest", manifest.id);
                return Err(Error::new(Kind::CannotWrite, message).hint(format!(
                    "pgcellar adopt {}/{key} records it as the copy, if it is one",
                    place.trim_end_matches('/')
                )));
            }
        }
        Ok(())
    }

    /// Announces the backup, or takes over the remains of a killed run of this instance.
    fn announce(&self, manifest: &Manifest, document: &[u8]) -> Result<Remains> {
        let (id, key) = (&manifest.id, Manifest::key(&manifest.id));
        let remains = match Announcement::read(self.to.as_ref(), id)? {
            None => Remains::Nothing,
            Some((announced, _)) if announced == document => Remains::Files,
            Some((_, Some(claim))) if claim.is_of(&self.maker, &self.server) => Remains::Other,
            Some((_, claim)) => return Err(self.taken(id, claim)),
        };
        match remains {
            Remains::Nothing => self.to.announce(&key, document)?,
            Remains::Other => self.to.announce_anew(&key, document)?,
            Remains::Files => {}
        }
        if remains != Remains::Nothing {
            let begun = self.to.partials()?;
            for file in manifest.files.iter().filter(|file| begun.iter().any(|begun| begun.key == file.key)) {
                self.to.discard(&file.key)?;
            }
        }
        Ok(remains)
    }

    fn taken(&self, id: &str, claim: Option<Announcement>) -> Error {
        let whose = match claim {
            Some(claim) => format!("the instance '{}' on {}", claim.maker.instance, claim.maker.host),
            None => "another program".to_owned(),
        };
        Error::new(Kind::TryAgain, format!("{id} is being written to {} by {whose}", self.to.location()))
            .hint("give each instance and host an AWS_S3_PREFIX of its own")
            .caused_by(Cause::AnotherRun)
    }

    /// Whether a killed run that announced this very manifest has already copied this file. Other remains under its name are deleted.
    fn is_copied(&self, file: &StoredFile, remains: Remains) -> Result<bool> {
        if remains == Remains::Nothing {
            return Ok(false);
        }
        match self.to.size(&file.key)? {
            None => Ok(false),
            Some(_) if !self.to.is_labelled(&file.key)? => Err(Error::new(
                Kind::CannotWrite,
                format!("{} has an object {} of another program", self.to.location(), file.key),
            )),
            Some(bytes) if remains == Remains::Files && bytes == file.stored_bytes => Ok(true),
            Some(_) => self.to.delete(&file.key).map(|()| false),
        }
    }

    /// Deletes the copied files of a backup that cannot be completed.
    fn withdraw(&self, manifest: &Manifest) -> Result<()> {
        let is_own = |claim: &Announcement| claim.is_of(&self.maker, &self.server);
        if !matches!(Announcement::read(self.to.as_ref(), &manifest.id)?, Some((_, Some(claim))) if is_own(&claim)) {
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

    /// Copies a file, and compares its size and hash with the manifest.
    fn copy_file(&self, file: &StoredFile, remains: Remains) -> Result<()> {
        if self.is_copied(file, remains)? {
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
        let mut buffer = vec![0; PIECE];
        loop {
            let bytes = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::read(format!("{} in {}", file.key, self.from.location()), &error)),
            };
            let written = upload.write_all(buffer.get(..bytes).unwrap_or_default());
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

/// The error of a copy that is stopped: the copied files stay, and stay announced.
pub fn interrupted(stop: &Stop) -> Error {
    stop.error().hint("the next backup continues it")
}

/// The remains of a killed run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Remains {
    /// None: there is no announcement.
    Nothing,
    /// Possibly files of this very manifest.
    Files,
    /// Possibly files of another manifest of this instance.
    Other,
}

fn damaged(file: &StoredFile, what: &str) -> Error {
    Error::new(Kind::Data, format!("{} {what}", file.key)).hint("pgcellar verify shows its damage; it is not copied")
}
