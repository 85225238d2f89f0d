//! Recognises a dump without a manifest by its beginning.

use std::io::{self, Read};
use std::sync::Arc;

use super::magic::{self, Beginning};
use crate::config::Format;
use crate::error::{Error, Kind, Result, reason};
use crate::host::progress::Counter;
use crate::pipeline::Source;
use crate::pipeline::compress::Method;
use crate::pipeline::decompress::sniff;
use crate::pipeline::encrypt::{Identities, is_age, is_no_matching_key};
use crate::postgres::archive::{ArchiveCompression, Contents, Malformed, TocEntry, read_toc, tar_toc};
use crate::postgres::database_entries::EntryProperties;
use crate::stop::Stop;
use crate::store::{Store, StoreEntry};

/// The name of the table of contents in a folder.
pub(super) const TOC: &str = "toc.dat";

/// Suffix of the names of encrypted files.
const AGE: &str = ".age";

/// A dump without a manifest, as its beginning describes it.
pub struct Dump {
    /// The store that has it.
    pub store: Arc<dyn Store>,
    /// Its name in messages.
    pub name: String,
    /// Key of the file or the folder.
    pub key: String,
    /// Keys of its files: one, or those of a folder.
    pub files: Vec<String>,
    /// Size of its files, in bytes.
    pub bytes: u64,
    /// Format.
    pub format: Format,
    /// Compression of the file as a whole, apart from that of pg_dump itself.
    pub method: Method,
    /// How pg_dump itself compressed the data.
    pub packed: ArchiveCompression,
    /// Private keys, if it is encrypted.
    pub identities: Option<Identities>,
    /// The database that was dumped, if the dump names it.
    pub database: Option<String>,
    /// Version of the server that was dumped; empty if unknown.
    pub server_version: String,
    /// Version of pg_dump; empty if unknown.
    pub pg_dump: String,
    /// The properties of the database in it.
    pub properties: EntryProperties,
    /// Extensions; unknown for a script.
    pub extensions: Vec<String>,
}

impl Dump {
    /// Recognises the file or folder at `key`. `name` is its name in messages; `identities` returns the private keys, and is
    /// called only if the dump is encrypted. Blocks.
    ///
    /// # Errors
    /// `Data` for anything but a dump of one database, and for one that is damaged at its beginning; `Missing` for a key that
    /// does not exist; `NotPermitted` without a matching private key.
    pub fn recognize(
        store: Arc<dyn Store>,
        key: &str,
        name: &str,
        identities: impl FnOnce() -> Result<Option<Identities>>,
    ) -> Result<Self> {
        let mut dump = Dump {
            store,
            name: name.to_owned(),
            key: key.to_owned(),
            files: Vec::new(),
            bytes: 0,
            format: Format::Directory,
            method: Method::None,
            packed: ArchiveCompression::None,
            identities: None,
            database: None,
            server_version: String::new(),
            pg_dump: String::new(),
            properties: EntryProperties::default(),
            extensions: Vec::new(),
        };
        match dump.store.size(key)? {
            Some(bytes) => dump.recognize_file(bytes, identities)?,
            None => dump.recognize_folder(identities)?,
        }
        Ok(dump)
    }

    fn recognize_folder(&mut self, identities: impl FnOnce() -> Result<Option<Identities>>) -> Result<()> {
        let mut entries = self.store.folder(&self.key)?;
        if entries.is_empty() && self.store.path_of(&self.key)?.is_none() {
            return Err(Error::new(
                Kind::Missing,
                format!("there is no object {}, and no folder of this name", self.name),
            ));
        }
        let (plain, encrypted) = (format!("{}/{TOC}", self.key), format!("{}/{TOC}{AGE}", self.key));
        let has = |entries: &[StoreEntry], key: &str| entries.iter().any(|entry| entry.key == key);
        let toc = match (has(&entries, &plain), has(&entries, &encrypted)) {
            (true, _) => plain,
            (false, true) => {
                entries.retain(|entry| entry.key.ends_with(AGE));
                self.identities = Some(self.keys(identities)?);
                encrypted
            }
            (false, false) => {
                return Err(magic::no_dump(&self.name, "it is a folder without a toc.dat")
                    .hint("name a file, or the folder that pg_dump --format=directory made"));
            }
        };
        self.bytes = entries.iter().map(|entry| entry.bytes).sum();
        self.files = entries.into_iter().map(|entry| entry.key).collect();
        let head = self.head(&toc, Method::None)?;
        magic::check_version(&self.name, &head)?;
        let mut properties = EntryProperties::default();
        let contents = read_toc(self.open(&toc, Method::None)?, |entry| properties.add(entry));
        let contents = contents.map_err(|error| self.unreadable(&toc, &error))?;
        self.properties = properties;
        self.set_contents(&contents);
        Ok(())
    }

    fn recognize_file(&mut self, bytes: u64, identities: impl FnOnce() -> Result<Option<Identities>>) -> Result<()> {
        let key = self.key.clone();
        self.files = vec![key.clone()];
        self.bytes = bytes;
        if bytes == 0 {
            return Err(magic::no_dump(&self.name, "it is empty")
                .hint("the program that wrote it has failed: is there an older one?"));
        }
        let stored = self.head(&key, Method::None)?;
        if is_age(&stored) {
            self.identities = Some(self.keys(identities)?);
        }
        let packed = self.head(&key, Method::None)?;
        self.method = sniff(&packed).unwrap_or(Method::None);
        let head = self.head(&key, self.method)?;
        let mut properties = EntryProperties::default();
        let mut visit = |entry: &TocEntry<'_>| properties.add(entry);
        let contents = match magic::recognize(&self.name, &head)? {
            Beginning::Custom => {
                self.format = Format::Custom;
                read_toc(self.open(&key, self.method)?, &mut visit)
            }
            Beginning::Tar => {
                self.format = Format::Tar;
                tar_toc(self.open(&key, self.method)?, &mut visit)
            }
            Beginning::Script { server_version, pg_dump } => {
                self.format = Format::Plain;
                self.server_version = server_version;
                self.pg_dump = pg_dump;
                return Ok(());
            }
        };
        let contents = contents.map_err(|error| self.unreadable(&key, &error))?;
        self.properties = properties;
        self.set_contents(&contents);
        Ok(())
    }

    fn set_contents(&mut self, contents: &Contents) {
        let known = !contents.dbname.is_empty() && !contents.dbname.contains(char::REPLACEMENT_CHARACTER);
        self.database = known.then(|| contents.dbname.clone());
        self.server_version.clone_from(&contents.server_version);
        self.pg_dump.clone_from(&contents.dump_version);
        self.packed = contents.compression;
        self.extensions = contents.extensions.iter().cloned().collect();
    }

    fn keys(&self, identities: impl FnOnce() -> Result<Option<Identities>>) -> Result<Identities> {
        identities()?.ok_or_else(|| {
            Error::new(Kind::NotPermitted, format!("{} is encrypted with age, and there is no private key", self.name))
                .hint("name the file of the private key with --age-identity-file")
        })
    }

    fn open(&self, key: &str, method: Method) -> Result<Plain> {
        self.open_watched(key, method, &Counter::default(), &Stop::default())
    }

    pub(super) fn open_watched(&self, key: &str, method: Method, moved: &Counter, stop: &Stop) -> Result<Plain> {
        let stored = Watched { inner: self.store.read(key, 0)?, moved: moved.clone(), stop: stop.clone() };
        Source::open(method, self.identities.as_ref(), stored).map_err(|error| self.unreadable(key, &error))
    }

    /// The first plain bytes of a file.
    fn head(&self, key: &str, method: Method) -> Result<Vec<u8>> {
        let mut head = Vec::new();
        let plain = self.open(key, method)?;
        plain.take(magic::HEAD).read_to_end(&mut head).map_err(|error| self.unreadable(key, &error))?;
        Ok(head)
    }

    /// The error of a file that cannot be read, decrypted or decompressed.
    pub(super) fn unreadable(&self, key: &str, error: &io::Error) -> Error {
        let name = self.called(key);
        if is_no_matching_key(error) {
            return Error::new(Kind::NotPermitted, format!("{name} cannot be decrypted with this private key"))
                .hint("it is encrypted to other keys: name one of them with --age-identity-file");
        }
        if let Some(malformed) = Malformed::in_error(error) {
            return damaged(&name, &malformed.to_string());
        }
        match Error::read(&name, error) {
            read if read.kind() == Kind::Data => damaged(&name, &reason(error)),
            read => read,
        }
    }

    /// The name of a file of the dump in messages.
    pub(super) fn called(&self, key: &str) -> String {
        match key.strip_prefix(&self.key) {
            Some(rest) => format!("{}{rest}", self.name.trim_end_matches('/')),
            None => key.to_owned(),
        }
    }
}

/// The error of an incomplete or damaged dump.
pub fn damaged(name: &str, why: &str) -> Error {
    Error::new(Kind::Data, format!("{name} is damaged: {why}")).hint("is there another copy, or an older dump?")
}

/// Plain bytes of a file.
pub(super) type Plain = Source<Watched>;

/// Stored bytes, counted, with an error once the task is stopped.
pub(super) struct Watched {
    inner: Box<dyn Read + Send>,
    moved: Counter,
    stop: Stop,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.requested() {
            return Err(io::Error::other("interrupted"));
        }
        let read = self.inner.read(buffer)?;
        self.moved.add(read as u64);
        Ok(read)
    }
}
