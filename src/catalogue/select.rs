//! The selection of a backup by what a person typed: an id, the unique beginning of one, `latest`, `latest~N`, the path of a
//! file or folder, or the address of an object.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::blocking;
use crate::catalogue::Backup;
use crate::catalogue::inventory::{BackupQuery, Choice, Inventory};
use crate::catalogue::manifest::{FileRole, Manifest, StoredFile};
use crate::catalogue::name::{self, MANIFEST};
use crate::config::{Place, S3Access};
use crate::error::{Error, Kind, Result};
use crate::identity::Identity;
use crate::printable::printable;
use crate::stop::Stop;
use crate::store::local::LocalStore;
use crate::store::s3::S3Store;
use crate::store::{Store, Stores};

/// What the address of an object begins with.
const ADDRESS: &str = "s3://";

/// The files that begin a directory archive.
const TOCS: [&str; 2] = ["toc.dat", "toc.dat.age"];

/// What a name selects.
pub enum Selected {
    /// A backup.
    Backup(Box<Backup>),
    /// A file, folder or object without a manifest.
    File(NamedPath),
}

/// What a name selects, with an inventory of the backups.
pub enum Resolved<'a> {
    /// A backup with its copies.
    Backup(Choice<'a>),
    /// A file in the current folder or in the folder of the backups.
    File(NamedPath),
}

/// Finds what a name selects, for verbs that read one backup or dump and need no other copy of it: in all stores, or in the named
/// one. Remarks about the choice are logged; a store that cannot be read is only a warning if another has the backup.
///
/// # Errors
/// `Missing` if there is no such backup or file, `Usage` if the name is ambiguous; what keeps the stores from being read.
pub async fn find(
    query: BackupQuery<'_>,
    (place, s3): (&Place, &S3Access),
    store: Option<&str>,
    server: impl FnOnce() -> Option<Identity> + Send + 'static,
    stop: &Stop,
) -> Result<Selected> {
    if let Some(named) = NamedPath::find(query.id, s3, place).await? {
        return of_file(named, query, stop).await;
    }
    let stores = Stores::open(place).await?.selected(store)?;
    let mut inventory = Inventory::read(stores, place, server, stop).await?;
    let backup = match resolve_or_file(&inventory, query, place) {
        Ok(Resolved::Backup(choice)) => {
            choice.remarks.iter().for_each(|remark| log::warn!("{}", printable(remark)));
            choice.copy.clone()
        }
        Ok(Resolved::File(named)) => return of_file(named, query, stop).await,
        Err(error) => return Err(inventory.or_unread(error)),
    };
    for unread in inventory.unread.drain(..) {
        log::warn!("{}: continuing without this store", printable(&unread.error.to_string()));
    }
    Ok(Selected::Backup(Box::new(backup)))
}

/// Finds a backup in the inventory. Only if there is none of this name, it may be the name of a file in the current folder or in
/// the folder of the backups.
///
/// # Errors
/// `Missing` if there is no such backup or file, `Usage` if there are several.
pub fn resolve_or_file<'a>(inventory: &'a Inventory, query: BackupQuery<'_>, place: &Place) -> Result<Resolved<'a>> {
    let error = match inventory.resolve(query) {
        Ok(choice) => return Ok(Resolved::Backup(choice)),
        Err(error) => error,
    };
    let may_be_file = error.kind() == Kind::Missing && !query.is_latest();
    let named = if may_be_file { NamedPath::among(query.id, place)? } else { None };
    named.map(Resolved::File).ok_or(error)
}

async fn of_file(named: NamedPath, query: BackupQuery<'_>, stop: &Stop) -> Result<Selected> {
    if query.database.is_some() {
        return Err(Error::new(Kind::Usage, "--database selects among backups, and one file is named")
            .hint("leave --database out"));
    }
    let read = move || {
        Ok(match named.backup()? {
            Some(backup) => Selected::Backup(Box::new(backup)),
            None => Selected::File(named),
        })
    };
    blocking::run(stop, read).await
}

/// A file, folder or object that the command line names.
pub struct NamedPath {
    /// Store that has it.
    pub store: Arc<dyn Store>,
    /// Key of the file, or of the folder.
    pub key: String,
    /// Its name in messages.
    pub called: String,
}

impl NamedPath {
    /// What an address or a path names; none for an argument that is neither.
    ///
    /// # Errors
    /// `Usage` for a malformed address; settings of the bucket that cannot be used; a path that cannot be read.
    pub async fn find(argument: &str, s3: &S3Access, place: &Place) -> Result<Option<Self>> {
        if let Some(address) = argument.strip_prefix(ADDRESS) {
            let (bucket, prefix, key) = parts(address)?;
            let settings = s3.bucket(bucket, prefix)?;
            let store = Arc::new(S3Store::open(&settings, &place.instance, &place.host).await?);
            return Ok(Some(NamedPath { store, key: key.to_owned(), called: printable(argument) }));
        }
        argument.contains('/').then(|| NamedPath::at(argument, Path::new(argument))).transpose()
    }

    /// The file of this name in the current folder or in the folder of the backups, if there is one.
    ///
    /// # Errors
    /// `Usage` if both have one.
    pub fn among(name: &str, place: &Place) -> Result<Option<Self>> {
        file_named(name, place)?.map(|path| NamedPath::at(name, &path)).transpose()
    }

    /// The file or folder at `path`; `called` is the argument.
    fn at(called: &str, path: &Path) -> Result<Self> {
        let called = printable(called);
        let cannot_read = |error: std::io::Error| Error::read(&called, &error);
        let mut path = std::fs::canonicalize(path).map_err(cannot_read)?;
        let metadata = path.metadata().map_err(cannot_read)?;
        if !metadata.is_file() && !metadata.is_dir() {
            return Err(Error::new(Kind::Usage, format!("{called} is neither a file nor a folder"))
                .hint("a dump is read more than once: write it to a file first"));
        }
        if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| TOCS.contains(&name)) {
            path.pop();
        }
        let (Some(parent), Some(key)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
            return Err(Error::new(Kind::Usage, format!("{called} cannot be the name of a dump")));
        };
        Ok(NamedPath { store: Arc::new(LocalStore::new(parent)), key: key.to_owned(), called })
    }

    /// The backup whose manifest is beside the file and lists it. Blocks.
    ///
    /// # Errors
    /// `Usage` for a file of a backup that is not its archive; a manifest that cannot be read.
    pub fn backup(&self) -> Result<Option<Backup>> {
        let key = self.key.as_str();
        let Some(id) = name::leading_id(key) else { return Ok(None) };
        let Some(backup) = Backup::read(&self.store, id).map_err(|error| self.explain(error))? else {
            return Ok(None);
        };
        let inside = format!("{key}/");
        let is_named = |file: &&StoredFile| file.key == key || file.key.starts_with(&inside);
        match backup.manifest.files.iter().find(is_named) {
            Some(file) if file.role == FileRole::Globals => {
                Err(Error::new(Kind::Usage, format!("{key} has the roles of the backup {id}, and no database"))
                    .hint(format!("name {id}; restore --globals makes the roles that are missing")))
            }
            Some(file) if file.role == FileRole::Fingerprints => {
                Err(Error::new(Kind::Usage, format!("{key} has the fingerprints of the backup {id}, and no database"))
                    .hint(format!("name {id}")))
            }
            Some(file) if file.role == FileRole::Details => {
                Err(Error::new(Kind::Usage, format!("{key} has the details of the backup {id}, and no database"))
                    .hint(format!("name {id}")))
            }
            None if key != Manifest::key(id) => Ok(None),
            _ => Ok(Some(backup)),
        }
    }

    /// The error of the manifest beside the file, with what to do to take the file as it is.
    pub fn explain(&self, error: Error) -> Error {
        match (error.kind(), name::leading_id(&self.key)) {
            (Kind::Data, Some(id)) => {
                error.hint(format!("to take {} as it is, move it away from its manifest {id}{MANIFEST}", self.key))
            }
            _ => error,
        }
    }
}

/// The file of this name in the current folder or in the folder of the backups.
fn file_named(file: &str, place: &Place) -> Result<Option<PathBuf>> {
    let here = std::fs::canonicalize(file).ok();
    let there = place.directory.as_ref().and_then(|directory| std::fs::canonicalize(directory.join(file)).ok());
    let there = there.filter(|path| Some(path) != here.as_ref());
    match (here, there) {
        (Some(_), Some(there)) => {
            let message = format!("'{}' is in the current folder and among the backups", printable(file));
            Err(Error::new(Kind::Usage, message).hint(format!("write ./{} or {}", printable(file), there.display())))
        }
        (here, there) => Ok(here.or(there)),
    }
}

/// Bucket, prefix and key of an address without its `s3://`. A table of contents names its folder.
fn parts(address: &str) -> Result<(&str, &str, &str)> {
    let wrong = |why: &str| {
        Error::new(Kind::Usage, format!("{ADDRESS}{} {why}", printable(address)))
            .hint("write s3://BUCKET/KEY, or s3://BUCKET/FOLDER/ for a directory archive")
    };
    let (bucket, path) = address.split_once('/').ok_or_else(|| wrong("names no object"))?;
    let path = path.strip_suffix('/').unwrap_or(path);
    let of_folder = TOCS.iter().find_map(|toc| path.strip_suffix(toc)?.strip_suffix('/'));
    let path = of_folder.unwrap_or(path);
    if bucket.is_empty() || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(wrong("is not the address of an object"));
    }
    let (prefix, key) = path.rsplit_once('/').unwrap_or(("", path));
    Ok((bucket, prefix, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let known = [
            ("b/x.dump.gz", ("b", "", "x.dump.gz")),
            ("b/p/q/x.dump", ("b", "p/q", "x.dump")),
            ("b/p/folder/", ("b", "p", "folder")),
            ("b/p/folder/toc.dat", ("b", "p", "folder")),
            ("b/folder/toc.dat.age", ("b", "", "folder")),
            ("b/toc.dat", ("b", "", "toc.dat")),
        ];
        for (address, expected) in known {
            assert_eq!(parts(address).unwrap(), expected, "{address}");
        }
        for address in ["", "b", "b/", "/x", "b//x", "b/../x", "b/x//"] {
            assert_eq!(parts(address).unwrap_err().kind(), Kind::Usage, "{address}");
        }
    }
}
