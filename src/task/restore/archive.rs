//! The archive of a backup: its files opened, and compared with what the manifest says of them.

use std::io::{self, BufRead, Read, Write};

use crate::catalogue::manifest::{Manifest, Role, StoredFile};
use crate::cli::IdentityArgs;
use crate::config::{Format, identities};
use crate::error::{Error, Kind, Result};
use crate::host::progress::{CountedReader, Counter};
use crate::host::stop::Stop;
use crate::pipeline::compress::Method;
use crate::pipeline::encrypt::{Identities, is_no_matching_key};
use crate::pipeline::{Digests, Source};
use crate::postgres::archive::{Contents, Entry, Malformed, read_toc, tar_toc};
use crate::store::Store;
use crate::store::local::LocalStore;

/// Plain bytes of a stored file.
pub type Plain = Source<CountedReader<Box<dyn Read + Send>>>;

/// A backup's archive, and the keys to read it.
pub struct Archive {
    /// Where it is.
    pub store: LocalStore,
    /// What it is.
    pub manifest: Manifest,
    identities: Option<Identities>,
}

impl Archive {
    /// Finds the private keys if the backup is encrypted.
    pub fn new(store: LocalStore, manifest: Manifest, args: &IdentityArgs) -> Result<Self> {
        let identities = match &manifest.encryption {
            None => None,
            Some(encryption) => Some(identities(args)?.ok_or_else(|| {
                Error::new(
                    Kind::NotPermitted,
                    format!(
                        "{} is encrypted to {}, and there is no private key",
                        manifest.id,
                        encryption.recipients.join(", ")
                    ),
                )
                .hint("name the file of one of these keys' owners with --age-identity-file")
            })?),
        };
        Ok(Archive { store, manifest, identities })
    }

    /// The one file of an archive that is no folder.
    pub fn file(&self) -> Result<&StoredFile> {
        let first = self.manifest.files(Role::Archive).next();
        first.ok_or_else(|| Error::new(Kind::Data, format!("the manifest of {} names no archive", self.manifest.id)))
    }

    /// The name of a folder's file before its encryption.
    pub fn plain_name<'a>(&self, file: &'a StoredFile) -> &'a str {
        let name = file.key.rsplit('/').next().unwrap_or(&file.key);
        match &self.manifest.encryption {
            Some(_) => name.strip_suffix(".age").unwrap_or(name),
            None => name,
        }
    }

    /// Begins to read a file's plain bytes; `moved` counts the stored ones.
    pub fn open(&self, file: &StoredFile, moved: &Counter) -> Result<Plain> {
        // pg_dump compresses the files of a folder itself.
        let method = match (self.manifest.format, file.role) {
            (Format::Directory, Role::Archive) => Method::None,
            _ => self.manifest.compression.method,
        };
        let stored = moved.reader(self.store.read(&file.key, 0)?);
        Source::open(method, self.identities.as_ref(), stored).map_err(|error| self.unreadable(&file.key, &error))
    }

    /// The table of contents, entry by entry; a script has none. Blocks.
    pub fn contents(&self, visit: impl FnMut(&Entry<'_>)) -> Result<Option<Contents>> {
        let format = self.manifest.format;
        let file = match format {
            Format::Plain => return Ok(None),
            Format::Custom | Format::Tar => self.file()?,
            Format::Directory => {
                let toc = self.manifest.files(Role::Archive).find(|file| self.plain_name(file) == "toc.dat");
                toc.ok_or_else(|| {
                    Error::new(Kind::Data, format!("the manifest of {} names no toc.dat", self.manifest.id))
                })?
            }
        };
        let plain = self.open(file, &Counter::default())?;
        let contents = match format {
            Format::Tar => tar_toc(plain, visit),
            _ => read_toc(plain, visit),
        };
        contents.map(Some).map_err(|error| self.unreadable(&file.key, &error))
    }

    /// Reads a file to its end, hands its plain bytes on to what is called `name`, and compares it with the manifest.
    /// Blocks.
    pub fn read(&self, file: &StoredFile, to: &mut impl Write, name: &str, moved: &Counter, stop: &Stop) -> Result<()> {
        let mut plain = self.open(file, moved)?;
        loop {
            if stop.requested() {
                return Err(stop.error());
            }
            let piece = plain.fill_buf().map_err(|error| self.unreadable(&file.key, &error))?;
            let length = piece.len();
            if length == 0 {
                break;
            }
            to.write_all(piece).map_err(|error| Error::write(name, &error))?;
            plain.consume(length);
        }
        let digests = plain.finish().map_err(|error| self.unreadable(&file.key, &error))?;
        whole(file, &digests)
    }

    /// The error of a file whose bytes cannot be had.
    pub fn unreadable(&self, key: &str, error: &io::Error) -> Error {
        let recipients = || match &self.manifest.encryption {
            Some(encryption) => encryption.recipients.join(", "),
            None => "nobody".to_owned(),
        };
        if is_no_matching_key(error) {
            return Error::new(Kind::NotPermitted, format!("{key} cannot be decrypted with this private key"))
                .hint(format!("it is encrypted to {}", recipients()));
        }
        if let Some(malformed) = Malformed::in_error(error) {
            return damaged(key, &malformed.to_string());
        }
        match Error::read(key, error) {
            read if read.kind() == Kind::Data => damaged(key, &crate::error::reason(error)),
            read => read,
        }
    }
}

/// Compares the digests of a stream that was read to its end with those in the manifest.
pub fn whole(file: &StoredFile, digests: &Digests) -> Result<()> {
    let sides = [
        ("stored", digests.stored, file.stored_bytes, &file.stored_sha256),
        ("plain", digests.plain, file.plain_bytes, &file.plain_sha256),
    ];
    for (side, found, bytes, sha256) in sides {
        if found.bytes != bytes {
            return Err(damaged(&file.key, &format!("it has {} {side} bytes instead of {bytes}", found.bytes)));
        }
        if found.hex() != *sha256 {
            return Err(damaged(&file.key, &format!("the SHA-256 of its {side} bytes is not that in the manifest")));
        }
    }
    Ok(())
}

/// The error of a file that is not what it was.
pub fn damaged(key: &str, why: &str) -> Error {
    Error::new(Kind::Data, format!("{key} is damaged: {why}"))
        .hint("restore another backup; pgcellar verify --all tells which are whole")
}
