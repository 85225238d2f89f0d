//! Checks of the backup directory: whether it can be written, survives a reboot, and has space for the next backups.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rustix::fs::statfs;

use crate::blocking;
use crate::catalogue::ownership::{Owner, Ownership};
use crate::catalogue::{Catalogue, Status};
use crate::cli::{DoctorPart, PlaceArgs};
use crate::config::{Databases, Place};
use crate::error::{Error, Kind, Result, reason};
use crate::format::{bytes, some};
use crate::host::disk;
use crate::host::staging::IN_MEMORY;
use crate::host::surroundings::Surroundings;
use crate::store::Store;
use crate::store::local::{LocalStore, usable};
use crate::task::doctor::check::Checks;
use crate::task::doctor::services::Services;

/// `f_type` of overlayfs (`statfs(2)`).
const OVERLAY: i64 = 0x794c_7630;

/// How many databases a message names.
const NAMED: usize = 5;

/// Prefix of the test file's name.
const BEGIN: &str = ".pgcellar-doctor-";

/// Checks the directory. There is none if backups go straight to the bucket.
pub async fn check(services: &Arc<Services>) -> Checks {
    let mut checks = Checks::new(DoctorPart::Backups);
    let place = match place(&services.args.place) {
        Ok(place) => place,
        Err(error) => {
            checks.failed("settings", &error);
            return checks;
        }
    };
    let Some(directory) = place.directory.clone() else {
        checks.ok("directory", "BACKUP_DIR is empty: backups go straight to the bucket");
        return checks;
    };
    let written = blocking::to_end(move || try_out(&directory)).await;
    let usable = match written {
        Ok(found) => {
            checks.ok("write", found.words);
            Some(found.folder)
        }
        Err(error) => {
            checks.failed("write", &error);
            None
        }
    };
    match usable {
        Some(folder) => {
            lasts(&folder, services.args.place.s3.bucket.is_none(), &mut checks);
            room(services, &place, &folder, &mut checks).await;
        }
        None => checks.skipped("space", "the directory cannot be written"),
    }
    checks
}

/// The place without the bucket, whose settings another part checks.
fn place(args: &PlaceArgs) -> Result<Place> {
    let mut args = args.clone();
    let is_empty = args.backup_dir.as_ref().is_some_and(|path| path.as_os_str().is_empty());
    if args.s3.bucket.is_some() && is_empty {
        return Place::new(&args);
    }
    args.s3.bucket = None;
    Place::new(&args)
}

struct Written {
    folder: PathBuf,
    words: String,
}

/// Writes a file, flushes it to the disk and removes it: in the directory, or in its parent if the first backup must
/// create the directory.
fn try_out(directory: &Path) -> Result<Written> {
    usable::check(directory)?;
    let user = whoami::username().unwrap_or_else(|_| "this user".to_owned());
    let shown = directory.display();
    let (folder, words) = match directory.metadata() {
        Ok(found) if !found.is_dir() => {
            return Err(Error::new(Kind::CannotWrite, format!("{shown} is not a directory")).hint("correct BACKUP_DIR"));
        }
        Ok(_) => (directory, format!("a file was written to {shown}, flushed to the disk and removed, as '{user}'")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let parent = directory.parent().filter(|parent| parent.is_dir()).ok_or_else(|| {
                Error::new(Kind::CannotWrite, format!("{shown} does not exist, and neither does the folder above it"))
                    .hint(format!("is its disk mounted? if it is, {}", usable::how_to_make(directory)))
            })?;
            write(parent).map_err(|error| {
                let why = format!("{shown} does not exist, and '{user}' cannot create it: {}", reason(&error));
                Error::new(Kind::CannotWrite, why).hint(usable::how_to_make(directory))
            })?;
            (parent, format!("{shown} does not exist yet, and the first backup can create it, as '{user}'"))
        }
        Err(error) => return Err(refused(directory, &user, &error)),
    };
    if folder == directory {
        write(folder).map_err(|error| refused(folder, &user, &error))?;
    }
    Ok(Written { folder: folder.to_owned(), words })
}

fn write(folder: &Path) -> std::io::Result<()> {
    let path = folder.join(format!("{BEGIN}{}-{}", std::process::id(), Timestamp::now().as_nanosecond()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    let written = file.write_all(b"pgcellar doctor wrote this, and removes it\n").and_then(|()| file.sync_all());
    let removed = std::fs::remove_file(&path);
    written.and(removed)?;
    File::open(folder)?.sync_all()
}

fn refused(folder: &Path, user: &str, error: &std::io::Error) -> Error {
    let plain = Error::write(format!("the backup directory {}, as '{user}'", folder.display()), error);
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => plain.hint(Surroundings::here().give(&[folder])),
        _ => plain,
    }
}

/// Checks whether the directory survives a reboot.
fn lasts(folder: &Path, alone: bool, checks: &mut Checks) {
    let Ok(found) = statfs(folder) else { return };
    if IN_MEMORY.contains(&found.f_type) {
        let found = format!("{} is in memory: its contents are lost at the next reboot", folder.display());
        match usable::must_last(folder).is_err() && alone {
            true => checks.failed("disk", &Error::new(Kind::Config, found).hint(usable::elsewhere())),
            false => checks.warning("disk", found, "set BACKUP_DIR to a folder on a disk"),
        }
    } else if found.f_type == OVERLAY {
        checks.warning(
            "disk",
            format!(
                "{} is in an overlay, such as a container's layer, and may be lost with the container",
                folder.display()
            ),
            "mount a volume there",
        );
    }
}

/// Compares the free space with the size of each database's last backup, or with that of the database if there is none.
async fn room(services: &Arc<Services>, place: &Place, folder: &Path, checks: &mut Checks) {
    let Some(disk) = disk::of(folder) else {
        return checks.skipped("space", "the file system does not report its free space");
    };
    let sizes: HashMap<String, Option<u64>> = match services.server(checks, DoctorPart::Backups).await {
        Some(server) => server.databases.iter().cloned().collect(),
        None => HashMap::new(),
    };
    let last = match blocking::to_end({
        let place = place.clone();
        move || Ok(last_backups(&place))
    })
    .await
    {
        Ok(last) => last,
        Err(error) => return checks.failed("space", &error),
    };
    let wanted = match Databases::new(&services.args.databases) {
        Ok(Databases::Named(names)) => names,
        Ok(Databases::AllBut(excluded)) => sizes.keys().filter(|name| !excluded.contains(name)).cloned().collect(),
        Err(_) => last.keys().cloned().collect(),
    };
    let free = disk.free_bytes;
    let of_backups: u64 = wanted.iter().filter_map(|name| last.get(name)).sum();
    let news: Vec<&String> = wanted.iter().filter(|name| !last.contains_key(*name)).collect();
    let of_databases: u64 = news.iter().filter_map(|name| sizes.get(*name).copied().flatten()).sum();
    let mut found = format!("{} are free", bytes(free));
    if of_backups > 0 {
        found += &format!("; the last backups took {}", bytes(of_backups));
    }
    if of_databases > 0 {
        found += &format!("; {} without a backup {}", some(&news, NAMED), have(&news, of_databases));
    }
    let mend = "free space there, keep fewer backups (BACKUP_RETENTION_DAYS), or set BACKUP_DIR to a larger disk";
    if free < of_backups {
        checks.failed("space", &Error::new(Kind::CannotWrite, found).hint(mend));
    } else if free < of_backups.saturating_add(of_databases) {
        checks.warning("space", found + ", which will be less when compressed", mend);
    } else if disk.free_files == Some(0) {
        let found = "the file system has no free inodes";
        checks.failed("space", &Error::new(Kind::CannotWrite, found).hint("remove files there"));
    } else {
        checks.ok("space", found);
    }
}

fn have(databases: &[&String], size: u64) -> String {
    format!("{} {} on the server", if databases.len() == 1 { "takes" } else { "take" }, bytes(size))
}

/// Size of the newest good backup of each database.
fn last_backups(place: &Place) -> HashMap<String, u64> {
    let Some(directory) = &place.directory else { return HashMap::new() };
    let store: Arc<dyn Store> = Arc::new(LocalStore::new(directory));
    let Ok(catalogue) = Catalogue::read(&store) else { return HashMap::new() };
    let ownership = Ownership::new(&Owner::of(place), std::iter::once(&catalogue));
    let good = catalogue
        .backups
        .into_iter()
        .filter(|backup| ownership.owns(backup) && matches!(backup.status, Status::Good | Status::Verified));
    good.map(|backup| (backup.manifest.database.clone(), backup.manifest.stored_bytes())).collect()
}
