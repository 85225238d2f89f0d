//! The files, folders and objects to adopt, which are in the stores already.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::blocking;
use crate::catalogue::manifest::Manifest;
use crate::catalogue::{self, name};
use crate::cli::AdoptArgs;
use crate::config::Place;
use crate::error::{Error, Kind, Result};
use crate::printable::printable;
use crate::store::{Store, StoreKind, Stores};

/// The beginning of an address.
const ADDRESS: &str = "s3://";

/// The tables of contents of directory archives, which name their folder.
const TOCS: [&str; 2] = ["toc.dat", "toc.dat.age"];

/// A file, folder or object that may become a backup.
pub struct Candidate {
    /// Store that has it.
    pub store: Arc<dyn Store>,
    /// Key of the file or object, or of the folder.
    pub key: String,
    /// The argument that names it.
    pub called: String,
    /// The other stores that can be read, which may have a backup with the same id.
    pub others: Vec<Arc<dyn Store>>,
    folder: bool,
}

impl Candidate {
    /// The id in its name.
    pub fn id(&self) -> Result<&str> {
        let id = name::leading_id(&self.key);
        let why = match (id, self.folder) {
            (None, _) => "its name does not contain its database and its time",
            (Some(id), true) if id != self.key => "a folder has nothing after the time in its name",
            (Some(id), false) if id == self.key => "a file has an ending after the time in its name",
            (Some(id), _) => return Ok(id),
        };
        let message = format!("{} cannot be adopted: {why}", printable(&self.called));
        Err(Error::new(Kind::Usage, message)
            .hint("rename it to DATABASE_YYYYMMDD_HHMMSS, or leave it: restore takes it by its path"))
    }

    /// Reads the manifest of its id, if there is one. The returned function blocks.
    pub fn manifest(&self) -> impl FnOnce() -> Result<Option<Manifest>> + Send + use<> {
        let (store, id) = (Arc::clone(&self.store), self.id().map(str::to_owned));
        move || catalogue::manifest(store.as_ref(), &id?)
    }
}

/// The keys in the stores.
pub struct StoreListings {
    place: Place,
    listings: Vec<StoreKeys>,
    /// Why a store could not be read.
    pub unread: Vec<Error>,
}

/// The keys in a store.
struct StoreKeys {
    store: Arc<dyn Store>,
    keys: BTreeSet<String>,
}

impl StoreListings {
    /// Lists the stores. A store that cannot be read is only a warning if every argument names something in another one.
    pub async fn read(args: &AdoptArgs, place: &Place, stores: &Stores) -> Result<Self> {
        let addresses = args.files.iter().filter(|file| address(file).is_some()).count();
        let paths = args.files.iter().filter(|file| address(file).is_none() && is_path(file)).count();
        let (mut listings, mut unread) = (Vec::new(), Vec::new());
        for store in stores.all() {
            let listed = Arc::clone(&store);
            let elsewhere = if store.kind() == StoreKind::Local { addresses } else { paths };
            match blocking::to_end(move || listed.list()).await {
                Ok(entries) => {
                    listings.push(StoreKeys { store, keys: entries.into_iter().map(|entry| entry.key).collect() })
                }
                Err(error) if elsewhere == args.files.len() => {
                    log::warn!("{error}: it is not known whether it has other backups with their ids");
                }
                Err(error) => unread.push(error),
            }
        }
        Ok(StoreListings { place: place.clone(), listings, unread })
    }

    /// What an argument names: an object by its address, a file by its path, and both by a name alone.
    ///
    /// # Errors
    /// `Missing` if there is no such file or object; `Usage` for one that is not in a store.
    pub fn find(&self, argument: &Path) -> Result<Vec<Candidate>> {
        let called = argument.to_string_lossy().into_owned();
        let (key, only) = match address(argument) {
            Some(address) => (self.key_of_address(address)?, Some(StoreKind::S3)),
            None if is_path(argument) => (self.key_of_path(argument)?, Some(StoreKind::Local)),
            None => (called.clone(), None),
        };
        let is_named = |listing: &&StoreKeys| only.is_none_or(|kind| kind == listing.store.kind());
        let found = self.listings.iter().filter(is_named).filter_map(|listing| self.candidate(listing, &key, &called));
        match found.collect::<Vec<_>>() {
            nothing if nothing.is_empty() => {
                let stores: Vec<String> =
                    self.listings.iter().filter(is_named).map(|listing| listing.store.location()).collect();
                let message = format!("there is no file {} in {}", printable(&called), stores.join(" or "));
                Err(Error::new(Kind::Missing, message).hint("only what is in BACKUP_DIR or in the bucket is adopted"))
            }
            found => Ok(found),
        }
    }

    fn candidate(&self, listing: &StoreKeys, key: &str, called: &str) -> Option<Candidate> {
        let folder = match (listing.keys.contains(key), listing.has_folder(key)) {
            (false, false) => return None,
            (file, _) => !file,
        };
        let others =
            self.listings.iter().map(|other| &other.store).filter(|other| other.kind() != listing.store.kind());
        Some(Candidate {
            store: Arc::clone(&listing.store),
            key: key.to_owned(),
            called: called.to_owned(),
            others: others.cloned().collect(),
            folder,
        })
    }

    fn key_of_address(&self, address: &str) -> Result<String> {
        let in_bucket = self.place.s3.as_ref().and_then(|s3| {
            let key = address.strip_prefix(&s3.bucket)?.strip_prefix('/')?;
            let key = if s3.prefix.is_empty() { key } else { key.strip_prefix(&s3.prefix)?.strip_prefix('/')? };
            Some(key.trim_end_matches('/'))
        });
        let key =
            in_bucket.map(|key| key.rsplit_once('/').filter(|(_, name)| TOCS.contains(name)).map_or(key, |(at, _)| at));
        key.filter(|key| !key.is_empty()).map(str::to_owned).ok_or_else(|| {
            let message = format!("{ADDRESS}{} is not in the bucket that is configured", printable(address));
            Error::new(Kind::Usage, message)
                .hint("AWS_S3_BUCKET and AWS_S3_PREFIX name the bucket and the prefix of the backups")
        })
    }

    fn key_of_path(&self, path: &Path) -> Result<String> {
        let called = printable(&path.to_string_lossy());
        let mut path = path.to_owned();
        if path.file_name().is_some_and(|name| TOCS.iter().any(|toc| name == *toc)) {
            path.pop();
        }
        let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        path.pop();
        let parent = if path.as_os_str().is_empty() { PathBuf::from(".") } else { path };
        let parent = parent.canonicalize().map_err(|error| Error::read(&called, &error))?;
        let directory = self.place.directory.as_deref();
        let is_inside =
            directory.and_then(|directory| directory.canonicalize().ok()).is_some_and(|directory| directory == parent);
        match (name, is_inside) {
            (Some(name), true) => Ok(name),
            (None, _) => Err(Error::new(Kind::Usage, format!("{called} is not the name of a dump"))),
            (Some(_), false) => {
                let place =
                    directory.map_or("BACKUP_DIR, which is empty".to_owned(), |path| path.display().to_string());
                Err(Error::new(Kind::Usage, format!("{called} cannot be adopted: it is not directly in {place}"))
                    .hint("move it there first (BACKUP_DIR)"))
            }
        }
    }
}

impl StoreKeys {
    fn has_folder(&self, key: &str) -> bool {
        let inside = format!("{key}/");
        self.keys.range(inside.clone()..).next().is_some_and(|first| first.starts_with(&inside))
    }
}

fn address(argument: &Path) -> Option<&str> {
    argument.to_str()?.strip_prefix(ADDRESS)
}

fn is_path(argument: &Path) -> bool {
    argument.as_os_str().as_encoded_bytes().contains(&b'/')
}
