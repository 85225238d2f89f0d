//! The backup or dump to restore: by its id, by the path of a file or folder, or by the address of an object.

use std::sync::Arc;

use crate::blocking;
use crate::catalogue::inventory::{BackupQuery, Inventory};
use crate::catalogue::manifest::Manifest;
use crate::catalogue::ownership::Owner;
use crate::catalogue::select::{NamedPath, Resolved, resolve_or_file};
use crate::catalogue::{Backup, Status, name};
use crate::config::Format;
use crate::config::restore::{LeftOut, RestoreSettings, WITHOUT_FORCE};
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
use crate::store::{Store, Stores};

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
    let query = BackupQuery { id, database: settings.database.as_deref(), verb: "restore" };
    if settings.at.is_some() && !query.is_latest() {
        return Err(Error::new(Kind::Usage, "--at chooses among backups, and one is named")
            .hint("restore latest --at TIME takes the newest one of that time or before"));
    }
    let server = identity::ask_blocking(Some(settings.connection.clone()));
    let inventory = Inventory::read_blocking(stores, &Owner::of(&settings.place), server);
    let inventory = match settings.at {
        Some(at) => inventory.until(at),
        None => inventory,
    };
    let choice = match resolve_or_file(&inventory, query, &settings.place) {
        Ok(Resolved::Backup(choice)) => choice,
        Ok(Resolved::File(named)) => return by_name(named, settings),
        Err(error) => return Err(inventory.or_unread(error)),
    };
    if query.is_latest() {
        inventory.log_doubts();
    }
    if settings.force && query.is_latest() {
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
