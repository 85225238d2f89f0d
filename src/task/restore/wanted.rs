//! What is to be restored: a backup by its id, or a file or folder by its path.

use std::path::{Path, PathBuf};

use crate::catalogue::manifest::{MANIFEST, Manifest, Role};
use crate::catalogue::{Backup, Catalogue, Status, name};
use crate::cli::RestoreArgs;
use crate::config::{Format, Place, identities};
use crate::error::{Error, Kind, Result};
use crate::host::stop::Stop;
use crate::postgres::foreign::Dump;
use crate::postgres::restore::replaced::Replaced;
use crate::postgres::restore::server::Server;
use crate::printable::printable;
use crate::store::local::LocalStore;
use crate::task::restore::archive::Archive;
use crate::task::restore::foreign;

/// What is to be restored.
pub enum Wanted {
    /// A backup, and the store that has it.
    Backup(LocalStore, Box<Manifest>),
    /// A dump without a manifest.
    Dump(Box<Dump>),
}

impl Wanted {
    /// Finds it. An argument with a slash is a path. Any other is an id; only if there is no such backup, it may be the
    /// name of a file in the current folder or among the backups.
    pub fn find(args: &RestoreArgs, place: &Place) -> Result<Self> {
        let id = args.id.as_deref().ok_or_else(|| {
            Error::new(Kind::Usage, "no backup is named")
                .hint("name one by its id, or latest; pgcellar list shows them")
        })?;
        if id.contains('/') {
            return by_path(id, Path::new(id), args);
        }
        let store = LocalStore::new(place.local()?);
        let found = Catalogue::read(&store).and_then(|catalogue| choose(&catalogue, id, args.database.as_deref()));
        match found {
            Ok(manifest) => Ok(Wanted::Backup(store, Box::new(manifest))),
            Err(error) if error.kind() == Kind::Missing && id != "latest" => match file_named(id, place)? {
                Some(path) => by_path(id, &path, args),
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// The manifest, if it is a backup of ours.
    pub fn manifest(&self) -> Option<&Manifest> {
        match self {
            Wanted::Backup(_, manifest) => Some(manifest),
            Wanted::Dump(_) => None,
        }
    }

    /// Format of the archive.
    pub fn format(&self) -> Format {
        match self {
            Wanted::Backup(_, manifest) => manifest.format,
            Wanted::Dump(dump) => dump.format,
        }
    }

    /// The database to make: the one that is asked for, or the one that was dumped.
    pub fn target(&self, args: &RestoreArgs) -> Result<String> {
        let asked = args.target_database.clone();
        match self {
            Wanted::Backup(_, manifest) => Ok(asked.unwrap_or_else(|| manifest.database.clone())),
            Wanted::Dump(dump) => {
                let id = name::leading_id(&dump.key).map(name::database);
                asked.or_else(|| dump.database.clone()).or(id).ok_or_else(|| {
                    Error::new(Kind::Usage, format!("{} does not tell which database it is of", dump.name))
                        .hint("name the database to make with --target-database")
                })
            }
        }
    }

    /// Its archive, ready to be restored.
    pub async fn archive(
        self,
        args: &RestoreArgs,
        server: &Server,
        replaced: Option<&Replaced>,
        stop: &Stop,
    ) -> Result<Archive> {
        match self {
            Wanted::Backup(store, manifest) => Archive::of_backup(store, *manifest, &args.identity),
            Wanted::Dump(dump) => foreign::archive(*dump, server, replaced, stop).await,
        }
    }
}

/// The backup that is wanted. One that is known to be damaged is refused.
fn choose(catalogue: &Catalogue, id: &str, database: Option<&str>) -> Result<Manifest> {
    let Backup { manifest, status, damage, verification, .. } = catalogue.resolve(id, database)?;
    if *status != Status::Damaged {
        return Ok(manifest.clone());
    }
    let found =
        verification.iter().filter(|verification| !verification.passed).flat_map(|verification| &verification.damage);
    let damage: Vec<&str> = damage.iter().chain(found).map(String::as_str).take(5).collect();
    Err(Error::new(Kind::Data, format!("the backup {} is damaged: {}", manifest.id, damage.join("; ")))
        .hint("pgcellar list shows the others; verify it again if it was mended"))
}

/// The file of this name in the current folder or among the backups.
fn file_named(file: &str, place: &Place) -> Result<Option<PathBuf>> {
    let here = std::fs::canonicalize(file).ok();
    let there = std::fs::canonicalize(place.local()?.join(file)).ok().filter(|path| Some(path) != here.as_ref());
    match (here, there) {
        (Some(_), Some(there)) => {
            let message = format!("'{}' is in the current folder and among the backups", printable(file));
            Err(Error::new(Kind::Usage, message).hint(format!("write ./{} or {}", printable(file), there.display())))
        }
        (here, there) => Ok(here.or(there)),
    }
}

/// What the file or folder at `path` is; `called` is what the person wrote.
fn by_path(called: &str, path: &Path, args: &RestoreArgs) -> Result<Wanted> {
    if args.database.is_some() {
        return Err(Error::new(Kind::Usage, "--database selects among backups, and a path is given")
            .hint("the database to make is named with --target-database"));
    }
    let called = printable(called);
    let cannot_read = |error: std::io::Error| Error::read(&called, &error);
    let mut path = std::fs::canonicalize(path).map_err(cannot_read)?;
    let metadata = path.metadata().map_err(cannot_read)?;
    if !metadata.is_file() && !metadata.is_dir() {
        return Err(Error::new(Kind::Usage, format!("{called} is neither a file nor a folder"))
            .hint("a dump is read more than once: put it into a file first"));
    }
    // The table of contents stands for its folder.
    if matches!(path.file_name().and_then(|name| name.to_str()), Some("toc.dat" | "toc.dat.age")) {
        path.pop();
    }
    let (Some(parent), Some(key)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(Error::new(Kind::Usage, format!("{called} cannot be the name of a dump")));
    };
    let store = LocalStore::new(parent);
    if let Some(manifest) = manifest_of(&store, key, args)? {
        return Ok(Wanted::Backup(store, Box::new(manifest)));
    }
    if args.globals {
        return Err(Error::new(Kind::Usage, format!("{called} has no manifest, and so no globals"))
            .hint("run the script of pg_dumpall --globals-only by hand, if there is one"));
    }
    let dump = Dump::look(store, key, &called, || identities(&args.identity))?;
    Ok(Wanted::Dump(Box::new(dump)))
}

/// The manifest that lies beside a file or folder and names it.
fn manifest_of(store: &LocalStore, key: &str, args: &RestoreArgs) -> Result<Option<Manifest>> {
    let Some(id) = name::leading_id(key) else { return Ok(None) };
    if !store.path(&Manifest::key(id))?.is_file() {
        return Ok(None);
    }
    let manifest =
        choose(&Catalogue::read(store)?, id, args.database.as_deref()).map_err(|error| match error.kind() {
            Kind::Data => {
                error.hint(format!("to restore {key} as it is, move it away from its manifest {id}{MANIFEST}"))
            }
            _ => error,
        })?;
    let inside = format!("{key}/");
    let its = |file: &&crate::catalogue::manifest::StoredFile| file.key == key || file.key.starts_with(&inside);
    match manifest.files.iter().find(its) {
        Some(file) if file.role == Role::Globals => {
            Err(Error::new(Kind::Usage, format!("{key} has the roles of the backup {id}, and no database"))
                .hint(format!("restore {id}; --globals makes the roles that are missing")))
        }
        None if key != Manifest::key(id) => Ok(None),
        _ => Ok(Some(manifest)),
    }
}
