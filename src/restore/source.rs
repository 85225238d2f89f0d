//! The backup or dump to restore: by its id, by the path of a file or folder, or by the address of an object.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::blocking;
use crate::catalogue::inventory::{BackupQuery, Inventory};
use crate::catalogue::manifest::{FileRole, Manifest, StoredFile};
use crate::catalogue::name::{self, MANIFEST};
use crate::catalogue::ownership::Owner;
use crate::catalogue::{Backup, Status};
use crate::config::restore::{LeftOut, RestoreSettings, WITHOUT_FORCE};
use crate::config::{Format, Place, S3Access};
use crate::error::{Error, Kind, Result};
use crate::postgres::foreign::Dump;
use crate::postgres::identity;
use crate::printable::printable;
use crate::restore::archive::{Archive, must_have_definitions};
use crate::restore::database::replaced::Replaced;
use crate::restore::details::{KnownBackup, reveal, reveal_if_whole};
use crate::restore::foreign;
use crate::restore::server::TargetServer;
use crate::stop::Stop;
use crate::store::local::LocalStore;
use crate::store::s3::S3Store;
use crate::store::{Store, Stores};

/// What the address of an object begins with.
const ADDRESS: &str = "s3://";

/// The files that begin a directory archive.
const TOCS: [&str; 2] = ["toc.dat", "toc.dat.age"];

/// A backup or dump to restore.
pub enum RestoreSource {
    /// A backup, and the store that has it.
    Backup(Arc<dyn Store>, Box<KnownBackup>),
    /// A dump without a manifest.
    Dump(Box<Dump>),
}

impl RestoreSource {
    /// Finds what `settings.backup` names. An argument that begins with s3:// is an address, and another one with a slash a
    /// path. Any other is an id; only if there is no such backup, it may be the name of a file in the current folder or in
    /// the folder of the backups.
    ///
    /// # Errors
    /// `Usage` for options that do not fit; `Missing` if there is no such backup; what keeps it from being read.
    pub async fn find(settings: &RestoreSettings, stop: &Stop) -> Result<Self> {
        let id = settings.backup.clone().ok_or_else(|| {
            Error::new(Kind::Usage, "no backup is named")
                .hint("name one by its id, or latest; pgcellar list shows them")
        })?;
        let settings = settings.clone();
        if let Some(named) = NamedPath::find(&id, &settings.s3, &settings.place).await? {
            return blocking::run(stop, move || by_name(named, &settings)).await;
        }
        let stores = Stores::open(&settings.place).await?.all();
        blocking::run(stop, move || by_id(&id, &stores, &settings)).await
    }

    /// The manifest; none of a dump.
    pub fn manifest(&self) -> Option<&Manifest> {
        match self {
            RestoreSource::Backup(_, known) => Some(&known.manifest),
            RestoreSource::Dump(_) => None,
        }
    }

    /// The archive's format.
    pub fn format(&self) -> Format {
        match self {
            RestoreSource::Backup(_, known) => known.manifest.format,
            RestoreSource::Dump(dump) => dump.format,
        }
    }

    /// The database to make: the requested one, or the one that was dumped.
    ///
    /// # Errors
    /// `Usage` if neither is known.
    pub fn target(&self, requested: Option<&str>) -> Result<String> {
        if let Some(requested) = requested {
            return Ok(requested.to_owned());
        }
        match self {
            RestoreSource::Backup(_, known) => Ok(known.manifest.database.clone()),
            RestoreSource::Dump(dump) => {
                let by_name = name::leading_id(&dump.key).map(name::database);
                dump.database.clone().or(by_name).ok_or_else(|| {
                    Error::new(Kind::Usage, format!("{} does not name its database", dump.name))
                        .hint("name the database to make with --target-database")
                })
            }
        }
    }

    /// Refuses settings that this backup or dump cannot be restored with.
    ///
    /// # Errors
    /// `Usage`.
    pub fn check(&self, settings: &RestoreSettings) -> Result<()> {
        settings.check_replacement()?;
        if let Some(manifest) = self.manifest() {
            must_have_definitions(manifest)?;
            if settings.force {
                must_be_whole(manifest)?;
            }
        }
        self.can_leave_out(settings.left_out)
    }

    /// Refuses to leave owners or privileges out of a script: they are statements among its others.
    ///
    /// # Errors
    /// `Usage`.
    pub fn can_leave_out(&self, left_out: LeftOut) -> Result<()> {
        let option = match (left_out.owners, left_out.privileges) {
            (false, false) => return Ok(()),
            (true, _) => "--no-owner",
            (false, true) => "--no-privileges",
        };
        if self.format() != Format::Plain {
            return Ok(());
        }
        let message = format!(
            "an SQL script cannot be restored with {option}: owners and privileges are statements among its others"
        );
        Err(Error::new(Kind::Usage, message)
            .hint("leave the option out; pg_dump makes scripts without them by the same options"))
    }

    /// Its archive, with the properties of the database that it makes.
    ///
    /// # Errors
    /// A dump that is damaged or cannot be restored; what keeps it or the server's defaults from being read.
    pub async fn archive(self, server: &TargetServer, replaced: Option<&Replaced>, stop: &Stop) -> Result<Archive> {
        match self {
            RestoreSource::Backup(store, known) => {
                let KnownBackup { manifest, identities } = *known;
                let lacks_properties = manifest.adopted.is_some() || manifest.concealed.is_some();
                let mut archive = Archive::of_backup(store, manifest, identities)?;
                if lacks_properties {
                    archive.properties =
                        foreign::complete(&archive.name, archive.properties, server, replaced, stop).await?;
                }
                Ok(archive)
            }
            RestoreSource::Dump(dump) => foreign::archive(*dump, server, replaced, stop).await,
        }
    }
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

    fn explain(&self, error: Error) -> Error {
        match (error.kind(), name::leading_id(&self.key)) {
            (Kind::Data, Some(id)) => {
                error.hint(format!("to take {} as it is, move it away from its manifest {id}{MANIFEST}", self.key))
            }
            _ => error,
        }
    }
}

/// Refuses a partial backup: it would replace a whole database.
fn must_be_whole(manifest: &Manifest) -> Result<()> {
    let Some(lacking) = manifest.lacking() else { return Ok(()) };
    let options = match manifest.dump_options.as_slice() {
        [] => String::new(),
        options => format!(" ({})", options.join(" ")),
    };
    let message = format!(
        "the backup {} is partial, {lacking}{options}, and cannot be restored with --force (FORCE_RESTORE): it would \
         replace a whole database",
        manifest.id
    );
    Err(Error::new(Kind::Usage, message).hint(WITHOUT_FORCE))
}

/// The backup in any store that has it undamaged. A store that cannot be read is only a warning if another has the backup.
fn by_id(id: &str, stores: &[Arc<dyn Store>], settings: &RestoreSettings) -> Result<RestoreSource> {
    if settings.at.is_some() && id != "latest" {
        return Err(Error::new(Kind::Usage, "--at chooses among backups, and one is named")
            .hint("restore latest --at TIME takes the newest one of that time or before"));
    }
    let server = identity::ask_blocking(Some(settings.connection.clone()));
    let inventory = Inventory::read_blocking(stores, &Owner::of(&settings.place), server);
    let inventory = match settings.at {
        Some(at) => inventory.until(at),
        None => inventory,
    };
    let query = BackupQuery { id, database: settings.database.as_deref(), verb: "restore" };
    let choice = match inventory.resolve(query) {
        Ok(choice) => choice,
        Err(error) => {
            let may_be_file = error.kind() == Kind::Missing && id != "latest";
            let named = if may_be_file { NamedPath::among(id, &settings.place)? } else { None };
            return named.map_or_else(|| Err(inventory.or_unread(error)), |named| by_name(named, settings));
        }
    };
    if id == "latest" {
        inventory.log_doubts();
    }
    if settings.force && id == "latest" {
        choice.may_replace()?;
    }
    let manifest = whole(choice.copy)?;
    for unread in &inventory.unread {
        log::warn!("{}: continuing without its backups", printable(&unread.error.to_string()));
    }
    for remark in &choice.remarks {
        log::warn!("{}", printable(remark));
    }
    let store = &choice.copy.store;
    Ok(RestoreSource::Backup(Arc::clone(store), Box::new(known(store, manifest, settings)?)))
}

/// The backup with its details, as far as the settings require them. Blocks.
pub fn known(store: &Arc<dyn Store>, manifest: Manifest, settings: &RestoreSettings) -> Result<KnownBackup> {
    match settings.tolerates_damaged_details() {
        true => reveal_if_whole(store, manifest, &settings.identities),
        false => reveal(store, manifest, &settings.identities),
    }
}

/// The manifest of a backup that is not known to be damaged.
fn whole(backup: &Backup) -> Result<Manifest> {
    let manifest = &backup.manifest;
    if backup.status != Status::Damaged {
        return Ok(manifest.clone());
    }
    let message = format!("the backup {} is damaged: {}", manifest.id, backup.faults().join("; "));
    Err(Error::new(Kind::Data, message).hint("pgcellar list shows the others; verify it again if it was repaired"))
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

/// The backup whose manifest lists the file, or a dump.
fn by_name(named: NamedPath, settings: &RestoreSettings) -> Result<RestoreSource> {
    if settings.at.is_some() {
        return Err(Error::new(Kind::Usage, "--at chooses among backups, and one file is named"));
    }
    if settings.database.is_some() {
        return Err(Error::new(Kind::Usage, "--database selects among backups, and one file is named")
            .hint("the database to make is named with --target-database"));
    }
    if let Some(backup) = named.backup()? {
        let manifest = whole(&backup).map_err(|error| named.explain(error))?;
        let known = known(&named.store, manifest, settings)?;
        return Ok(RestoreSource::Backup(named.store, Box::new(known)));
    }
    if settings.globals {
        return Err(Error::new(Kind::Usage, format!("{} has no manifest, and so no globals", named.called))
            .hint("run the script of pg_dumpall --globals-only by hand, if there is one"));
    }
    let dump = Dump::recognize(named.store, &named.key, &named.called, || settings.identities.read())?;
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
