//! What is to be restored: a backup by its id, a file or folder by its path, or an object by its address.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::blocking;
use crate::catalogue::inventory::{BackupQuery, Inventory};
use crate::catalogue::manifest::{FileRole, Manifest, StoredFile};
use crate::catalogue::name::MANIFEST;
use crate::catalogue::ownership::Owner;
use crate::catalogue::{Backup, Status, name};
use crate::cli::{RestoreArgs, S3Args};
use crate::config::{Connection, Format, Place, S3Settings, identities, local_zone};
use crate::error::{Error, Kind, Result};
use crate::postgres::foreign::Dump;
use crate::postgres::identity;
use crate::printable::printable;
use crate::restore::archive::Archive;
use crate::restore::database::replaced::Replaced;
use crate::restore::details::{KnownBackup, reveal, reveal_if_whole};
use crate::restore::server::TargetServer;
use crate::restore::{foreign, moment};
use crate::stop::Stop;
use crate::store::local::LocalStore;
use crate::store::s3::S3Store;
use crate::store::{Store, Stores};

/// What the address of an object begins with.
const ADDRESS: &str = "s3://";

/// The files that begin a directory archive.
const TOCS: [&str; 2] = ["toc.dat", "toc.dat.age"];

/// What is to be restored.
pub enum RestoreSource {
    /// A backup with all that can be known of it here, and the store that has it.
    Backup(Arc<dyn Store>, Box<KnownBackup>),
    /// A dump without a manifest.
    Dump(Box<Dump>),
}

impl RestoreSource {
    /// Finds it. An argument that begins with s3:// is an address, and another one with a slash a path. Any other is an
    /// id; only if there is no such backup, it may be the name of a file in the current folder or among the backups.
    pub async fn find(args: &RestoreArgs, place: &Place, stop: &Stop) -> Result<Self> {
        let id = args.id.as_deref().ok_or_else(|| {
            Error::new(Kind::Usage, "no backup is named")
                .hint("name one by its id, or latest; pgcellar list shows them")
        })?;
        let (ours, id) = (args.clone(), id.to_owned());
        if let Some(named) = NamedPath::find(&id, &args.place.s3, place).await? {
            return off_thread(stop, move || by_name(named, &ours)).await;
        }
        let (stores, place) = (Stores::open(place).await?.all(), place.clone());
        off_thread(stop, move || by_id(&id, &stores, &place, &ours)).await
    }

    /// The manifest, if it is a backup of ours.
    pub fn manifest(&self) -> Option<&Manifest> {
        match self {
            RestoreSource::Backup(_, known) => Some(&known.manifest),
            RestoreSource::Dump(_) => None,
        }
    }

    /// Format of the archive.
    pub fn format(&self) -> Format {
        match self {
            RestoreSource::Backup(_, known) => known.manifest.format,
            RestoreSource::Dump(dump) => dump.format,
        }
    }

    /// The database to make: the one that is asked for, or the one that was dumped.
    pub fn target(&self, args: &RestoreArgs) -> Result<String> {
        let asked = args.target_database.clone();
        match self {
            RestoreSource::Backup(_, known) => Ok(asked.unwrap_or_else(|| known.manifest.database.clone())),
            RestoreSource::Dump(dump) => {
                let id = name::leading_id(&dump.key).map(name::database);
                asked.or_else(|| dump.database.clone()).or(id).ok_or_else(|| {
                    Error::new(Kind::Usage, format!("{} does not tell which database it is of", dump.name))
                        .hint("name the database to make with --target-database")
                })
            }
        }
    }

    /// Its archive, ready to be restored.
    pub async fn archive(self, server: &TargetServer, replaced: Option<&Replaced>, stop: &Stop) -> Result<Archive> {
        match self {
            RestoreSource::Backup(store, known) => {
                let KnownBackup { manifest, identities } = *known;
                let is_silent = manifest.adopted.is_some() || manifest.concealed.is_some();
                let mut archive = Archive::of_backup(store, manifest, identities)?;
                if is_silent {
                    archive.properties =
                        foreign::complete(&archive.name, archive.properties, server, replaced, stop).await?;
                }
                Ok(archive)
            }
            RestoreSource::Dump(dump) => foreign::archive(*dump, server, replaced, stop).await,
        }
    }
}

/// A file, folder or object that a person names.
pub struct NamedPath {
    /// Store that has it.
    pub store: Arc<dyn Store>,
    /// Its key, or that of the folder.
    pub key: String,
    /// What messages call it.
    pub called: String,
}

impl NamedPath {
    /// What an address or a path names; none for an argument that is neither.
    pub async fn find(argument: &str, s3: &S3Args, place: &Place) -> Result<Option<Self>> {
        if let Some(address) = argument.strip_prefix(ADDRESS) {
            let (bucket, prefix, key) = parts(address)?;
            let settings = S3Settings::of_address(s3, bucket, prefix)?;
            let store = Arc::new(S3Store::open(&settings, &place.instance, &place.host).await?);
            return Ok(Some(NamedPath { store, key: key.to_owned(), called: printable(argument) }));
        }
        argument.contains('/').then(|| NamedPath::at(argument, Path::new(argument))).transpose()
    }

    /// The file of this name in the current folder or among the backups, if there is one.
    pub fn among(name: &str, place: &Place) -> Result<Option<Self>> {
        file_named(name, place)?.map(|path| NamedPath::at(name, &path)).transpose()
    }

    /// What the file or folder at `path` is; `called` is what the person wrote.
    fn at(called: &str, path: &Path) -> Result<Self> {
        let called = printable(called);
        let cannot_read = |error: std::io::Error| Error::read(&called, &error);
        let mut path = std::fs::canonicalize(path).map_err(cannot_read)?;
        let metadata = path.metadata().map_err(cannot_read)?;
        if !metadata.is_file() && !metadata.is_dir() {
            return Err(Error::new(Kind::Usage, format!("{called} is neither a file nor a folder"))
                .hint("a dump is read more than once: put it into a file first"));
        }
        if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| TOCS.contains(&name)) {
            path.pop();
        }
        let (Some(parent), Some(key)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
            return Err(Error::new(Kind::Usage, format!("{called} cannot be the name of a dump")));
        };
        Ok(NamedPath { store: Arc::new(LocalStore::new(parent)), key: key.to_owned(), called })
    }

    /// The backup whose manifest lies beside it and names it. Blocks.
    pub fn backup(&self) -> Result<Option<Backup>> {
        let key = self.key.as_str();
        let Some(id) = name::leading_id(key) else { return Ok(None) };
        let Some(backup) = Backup::read(&self.store, id).map_err(|error| self.explain(error))? else {
            return Ok(None);
        };
        let inside = format!("{key}/");
        let its = |file: &&StoredFile| file.key == key || file.key.starts_with(&inside);
        match backup.manifest.files.iter().find(its) {
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

    fn explain(&self, error: Error) -> Error {
        match (error.kind(), name::leading_id(&self.key)) {
            (Kind::Data, Some(id)) => {
                error.hint(format!("to take {} as it is, move it away from its manifest {id}{MANIFEST}", self.key))
            }
            _ => error,
        }
    }
}

async fn off_thread<T: Send + 'static>(stop: &Stop, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    blocking::run(stop, work).await
}

/// The backup in whatever store has it whole. A store that cannot be read is in nobody's way as long as another has it.
fn by_id(id: &str, stores: &[Arc<dyn Store>], place: &Place, args: &RestoreArgs) -> Result<RestoreSource> {
    let at = args.at.as_deref().map(|text| moment::of(text, &local_zone(), Timestamp::now())).transpose()?;
    if at.is_some() && id != "latest" {
        return Err(Error::new(Kind::Usage, "--at chooses among backups, and one is named")
            .hint("restore latest --at TIME takes the newest one of that time or before"));
    }
    let merged = Inventory::read_blocking(
        stores,
        &Owner::of(place),
        identity::ask_blocking(Connection::new(&args.connection).ok()),
    );
    let merged = match at {
        Some(at) => merged.until(at),
        None => merged,
    };
    let asked = BackupQuery { id, database: args.database.as_deref(), verb: "restore" };
    let choice = match merged.resolve(asked) {
        Ok(choice) => choice,
        Err(error) => {
            let sought = error.kind() == Kind::Missing && id != "latest";
            let named = if sought { NamedPath::among(id, place)? } else { None };
            return named.map_or_else(|| Err(merged.or_unread(error)), |named| by_name(named, args));
        }
    };
    if id == "latest" {
        merged.log_doubts();
    }
    if args.force && id == "latest" {
        choice.may_replace()?;
    }
    let manifest = whole(choice.copy)?;
    for unread in &merged.unread {
        log::warn!("{}: going on without what is there", printable(&unread.error.to_string()));
    }
    for remark in &choice.remarks {
        log::warn!("{}", printable(remark));
    }
    let store = &choice.copy.store;
    Ok(RestoreSource::Backup(Arc::clone(store), Box::new(known(store, manifest, args)?)))
}

/// What can be known of the backup. Damaged details do not stop a person who looks, nor a restore that goes on after
/// errors.
pub fn known(store: &Arc<dyn Store>, manifest: Manifest, args: &RestoreArgs) -> Result<KnownBackup> {
    match args.list || args.recipe || args.keep_going {
        true => reveal_if_whole(store, manifest, &args.identity),
        false => reveal(store, manifest, &args.identity),
    }
}

/// The manifest of a backup that is not known to be damaged.
fn whole(backup: &Backup) -> Result<Manifest> {
    let manifest = &backup.manifest;
    if backup.status != Status::Damaged {
        return Ok(manifest.clone());
    }
    let message = format!("the backup {} is damaged: {}", manifest.id, backup.faults().join("; "));
    Err(Error::new(Kind::Data, message).hint("pgcellar list shows the others; verify it again if it was mended"))
}

/// The file of this name in the current folder or among the backups.
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

/// Bucket, prefix and key of an address without its `s3://`. The table of contents stands for its folder.
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

/// What is there: a backup that its manifest names, or a dump.
fn by_name(named: NamedPath, args: &RestoreArgs) -> Result<RestoreSource> {
    if args.at.is_some() {
        return Err(Error::new(Kind::Usage, "--at chooses among backups, and one file is named"));
    }
    if args.database.is_some() {
        return Err(Error::new(Kind::Usage, "--database selects among backups, and one file is named")
            .hint("the database to make is named with --target-database"));
    }
    if let Some(backup) = named.backup()? {
        let manifest = whole(&backup).map_err(|error| named.explain(error))?;
        let known = known(&named.store, manifest, args)?;
        return Ok(RestoreSource::Backup(named.store, Box::new(known)));
    }
    if args.globals {
        return Err(Error::new(Kind::Usage, format!("{} has no manifest, and so no globals", named.called))
            .hint("run the script of pg_dumpall --globals-only by hand, if there is one"));
    }
    let dump = Dump::recognize(named.store, &named.key, &named.called, || identities(&args.identity))?;
    Ok(RestoreSource::Dump(Box::new(dump)))
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
