//! An archive: opens its files, and compares them with the manifest, or with what they were when they were read first.

use std::io::{self, BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::catalogue::manifest::{DatabaseProperties, FileRole, Manifest, ObjectCounts, StoredFile};
use crate::config::Format;
use crate::config::dump_options::without_definitions;
use crate::error::{Error, Kind, Result};
use crate::host::progress::{CountedReader, Counter};
use crate::pipeline::compress::Method;
use crate::pipeline::decompress::Decoder;
use crate::pipeline::digest::Digest;
use crate::pipeline::encrypt::{Identities, is_no_matching_key};
use crate::pipeline::{Digests, Source, plain_bytes};
use crate::postgres::archive;
use crate::postgres::archive::data_file::{self, Packing};
use crate::postgres::archive::{Malformed, TocEntry, read_toc, tar_toc};
use crate::postgres::foreign::{Dump, WholeDump};
use crate::postgres::script::Script;
use crate::printable::printable;
use crate::stop::Stop;
use crate::store::Store;
use crate::store::local::LocalStore;

/// Plain bytes of a stored file.
pub type PlainReader = Source<CountedReader<Box<dyn Read + Send>>>;

/// An archive, with or without a manifest, and the keys to read it.
pub struct Archive {
    /// Where it is.
    pub store: Arc<dyn Store>,
    /// The backup's id, or what the person called the file.
    pub name: String,
    /// Format.
    pub format: Format,
    /// Its files. Those of an archive without a manifest were read once, so their digests are known too.
    pub files: Vec<StoredFile>,
    /// Version of the pg_dump that made it; empty if unknown.
    pub pg_dump: String,
    /// Major version of the server that was dumped; 0 if unknown.
    pub made_by: u32,
    /// What belongs to the database and is in no archive.
    pub properties: DatabaseProperties,
    /// What the restored database must have.
    pub expected: ExpectedCounts,
    /// Whether options left data out.
    pub partial: bool,
    /// Whether this run has read every byte of it already, and found it fit to be restored.
    pub checked: bool,
    /// What was found in the script of another tool.
    pub script: Option<Script>,
    /// All that pgcellar noted when it made the backup; none for the archive of another tool.
    pub manifest: Option<Manifest>,
    /// Name of the folder, if it is one.
    folder: String,
    method: Method,
    identities: Option<Identities>,
    recipients: Vec<String>,
}

/// What an archive has.
#[derive(Clone, Debug, Default)]
pub struct ExpectedCounts {
    /// Tables whose rows it has.
    pub tables: u64,
    /// Large objects.
    pub large_objects: u64,
    /// Extensions, as far as they are known without its table of contents.
    pub extensions: Vec<String>,
}

/// What a caller knows of an archive in a folder.
#[derive(Debug)]
pub struct DirectoryContents {
    /// The backup's id.
    pub name: String,
    /// Version of the pg_dump that made it.
    pub pg_dump: String,
    /// Major version of the server that was dumped.
    pub made_by: u32,
    /// What belongs to the database.
    pub properties: DatabaseProperties,
    /// What the restored database must have.
    pub expected: ExpectedCounts,
    /// Whether options left data out.
    pub partial: bool,
}

/// Name of a plain archive in a folder.
pub const PLAIN: &str = "archive";

impl Archive {
    /// The archive of a backup, to be read with these private keys if it is encrypted.
    pub fn of_backup(store: Arc<dyn Store>, manifest: Manifest, identities: Option<Identities>) -> Result<Self> {
        let recipients = manifest.encryption.as_ref().map(|encryption| encryption.recipients.clone());
        let identities = match &manifest.encryption {
            None => None,
            Some(encryption) => Some(identities.ok_or_else(|| {
                Error::new(
                    Kind::NotPermitted,
                    format!("{} is encrypted to {}, and there is no private key", manifest.id, encryption.whom()),
                )
                .hint("give the file with a private key of one of them: --age-identity-file FILE")
            })?),
        };
        let ObjectCounts { tables, large_objects, .. } = manifest.contents;
        let extensions = manifest.contents.extensions.iter().map(|extension| extension.name.clone()).collect();
        Ok(Archive {
            store,
            name: manifest.id.clone(),
            format: manifest.format,
            files: manifest.files(FileRole::Archive).cloned().collect(),
            pg_dump: manifest.pg_dump.clone(),
            made_by: manifest.server.version_num / 10_000,
            properties: manifest.properties.clone(),
            expected: ExpectedCounts { tables, large_objects, extensions },
            partial: manifest.partial,
            checked: false,
            script: None,
            folder: manifest.id.clone(),
            method: manifest.compression.method,
            identities,
            recipients: recipients.unwrap_or_default(),
            manifest: Some(manifest),
        })
    }

    /// The archive of another tool, which has been read whole.
    pub fn of_dump(dump: Dump, whole: WholeDump, properties: DatabaseProperties) -> Self {
        let WholeDump { files, tables, large_objects, extensions, schema_only, data_only, script } = whole;
        Archive {
            store: dump.store,
            name: dump.name,
            format: dump.format,
            files,
            pg_dump: dump.pg_dump,
            made_by: major(&dump.server_version),
            properties,
            expected: ExpectedCounts { tables, large_objects, extensions },
            partial: schema_only || data_only,
            checked: true,
            script,
            folder: dump.key,
            method: dump.method,
            identities: dump.identities,
            recipients: Vec::new(),
            manifest: None,
        }
    }

    /// The archive of another tool, of which only the beginning has been read: the digests of its files are not known.
    pub fn unread(dump: Dump) -> Self {
        let unread = Digest { bytes: 0, sha256: [0; 32] };
        let file = |key: String| StoredFile::new(FileRole::Archive, key, &unread, &unread);
        let files = dump.files.iter().cloned().map(file).collect();
        let extensions = dump.extensions.clone();
        let whole = WholeDump {
            files,
            tables: 0,
            large_objects: 0,
            schema_only: false,
            data_only: false,
            extensions,
            script: None,
        };
        Archive { checked: false, ..Archive::of_dump(dump, whole, DatabaseProperties::unknown()) }
    }

    /// An archive without a manifest and without encryption in a folder: a file `archive`, or a folder of that name.
    pub fn in_folder(folder: &Path, format: Format, files: Vec<StoredFile>, contents: DirectoryContents) -> Self {
        Archive {
            store: Arc::new(LocalStore::new(folder)),
            name: contents.name,
            format,
            files,
            pg_dump: contents.pg_dump,
            made_by: contents.made_by,
            properties: contents.properties,
            expected: contents.expected,
            partial: contents.partial,
            checked: true,
            script: None,
            folder: PLAIN.to_owned(),
            method: Method::None,
            identities: None,
            recipients: Vec::new(),
            manifest: None,
        }
    }

    /// The file of an archive that is not in the directory format.
    pub fn file(&self) -> Result<&StoredFile> {
        self.files
            .first()
            .ok_or_else(|| Error::new(Kind::Data, format!("the manifest of {} names no archive", self.name)))
    }

    /// The path at which pg_restore can read the archive as it is stored: none if it is encrypted, compressed as a whole, or
    /// not in a folder.
    pub fn in_place(&self) -> Result<Option<PathBuf>> {
        match self.format {
            Format::Directory if !self.is_encrypted() => self.store.path_of(&self.folder),
            Format::Custom | Format::Tar | Format::Plain if !self.is_encrypted() && self.method == Method::None => {
                self.store.path_of(&self.file()?.key)
            }
            _ => Ok(None),
        }
    }

    /// Whether it is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.identities.is_some()
    }

    /// The name of a file of a directory archive, without the ending of its encryption.
    pub fn plain_name<'a>(&self, file: &'a StoredFile) -> &'a str {
        let name = file.key.rsplit('/').next().unwrap_or(&file.key);
        match self.is_encrypted() {
            true => name.strip_suffix(".age").unwrap_or(name),
            false => name,
        }
    }

    /// Begins to read a file's plain bytes; `moved` counts the stored ones.
    pub fn open(&self, file: &StoredFile, moved: &Counter) -> Result<PlainReader> {
        // pg_dump compresses the files of a folder itself.
        let method = match (self.format, file.role) {
            (Format::Directory, FileRole::Archive) => Method::None,
            _ => self.method,
        };
        let stored = moved.reader(self.store.read(&file.key, 0)?);
        Source::open(method, self.identities.as_ref(), stored).map_err(|error| self.unreadable(&file.key, &error))
    }

    /// Begins to read a file's plain bytes, of which only some are needed: they are not digested. A file of a directory archive
    /// is decompressed, too. `moved` counts stored bytes.
    ///
    /// # Errors
    /// `Data` for a file that pg_dump compressed with LZ4; what keeps it from being read.
    pub fn open_partly(&self, file: &StoredFile, moved: &Counter, stop: &Stop) -> Result<Decoder> {
        let method = match (self.format, data_file::split(&file.key).1) {
            (Format::Directory, Packing::Plain) => Method::None,
            (Format::Directory, Packing::By(method)) => method,
            (Format::Directory, Packing::Lz4) => {
                let message = format!("{} is compressed with LZ4, which only pg_restore decompresses", file.key);
                return Err(Error::new(Kind::Data, message).hint("pgcellar restore --table restores the table"));
            }
            _ => self.method,
        };
        let stored = stop.reader(moved.reader(self.store.read(&file.key, 0)?));
        plain_bytes(method, self.identities.as_ref(), stored).map_err(|error| self.unreadable(&file.key, &error))
    }

    /// The table of contents, entry by entry; a script has none. Blocks.
    pub fn contents(&self, visit: impl FnMut(&TocEntry<'_>)) -> Result<Option<archive::Contents>> {
        let format = self.format;
        let file = match format {
            Format::Plain => return Ok(None),
            Format::Custom | Format::Tar => self.file()?,
            Format::Directory => {
                let toc = self.files.iter().find(|file| self.plain_name(file) == "toc.dat");
                toc.ok_or_else(|| Error::new(Kind::Data, format!("the manifest of {} names no toc.dat", self.name)))?
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

    /// The error of a file whose bytes cannot be read, decrypted or decompressed.
    pub fn unreadable(&self, key: &str, error: &io::Error) -> Error {
        if is_no_matching_key(error) {
            return Error::new(Kind::NotPermitted, format!("{key} cannot be decrypted with this private key")).hint(
                match self.recipients.as_slice() {
                    [] => "it is encrypted to other keys".to_owned(),
                    recipients => format!("it is encrypted to {}", recipients.join(", ")),
                },
            );
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

/// Refuses a backup that has rows of tables and not their definitions: a new database has no tables.
///
/// # Errors
/// `Usage`.
pub fn must_have_definitions(manifest: &Manifest) -> Result<()> {
    match without_definitions(&manifest.dump_options) {
        None => Ok(()),
        Some(option) => Err(no_definitions(&printable(&manifest.id), option)),
    }
}

/// The error of an archive without definitions.
pub fn no_definitions(name: &str, option: &str) -> Error {
    let message =
        format!("{name} makes no tables, since pg_dump's {option} left them out, and a new database has none to fill");
    Error::new(Kind::Usage, message).hint(
        "decrypt and decompress it, and load it by pg_restore (a script: by psql) into a database that has its tables",
    )
}

/// The encoding that the entry ENCODING names: `SET client_encoding = 'UTF8';`.
pub fn encoding_of(entry: &TocEntry<'_>) -> Option<String> {
    let definition = (entry.desc.bytes == b"ENCODING").then(|| String::from_utf8_lossy(entry.defn.bytes))?;
    definition.split('\'').nth(1).map(str::to_owned)
}

/// The major version in `15.18` or `18beta1`; 0 if there is none.
pub fn major(version: &str) -> u32 {
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_default()
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
            return Err(damaged(&file.key, &format!("the SHA-256 of its {side} bytes is not the recorded one")));
        }
    }
    Ok(())
}

/// The error of a file that has changed.
pub fn damaged(key: &str, why: &str) -> Error {
    Error::new(Kind::Data, format!("{key} is damaged: {why}"))
        .hint("restore another backup; pgcellar verify --all tells which are whole")
}

#[cfg(test)]
mod tests {
    use super::major;

    #[test]
    fn major_versions() {
        for (version, number) in [("15.18", 15), ("18beta1", 18), ("17.2 (Debian 17.2-1)", 17), ("", 0)] {
            assert_eq!(major(version), number);
        }
    }
}
