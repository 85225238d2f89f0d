//! The archive that the command line names, for verbs that only read it: a backup, or a dump of another tool.

use std::sync::Arc;

use crate::blocking;
use crate::catalogue::Backup;
use crate::catalogue::inventory::{BackupQuery, Inventory};
use crate::config::{IdentitySource, Place, S3Access};
use crate::error::{Kind, Result};
use crate::postgres::foreign::Dump;
use crate::printable::printable;
use crate::restore::archive::Archive;
use crate::restore::details::reveal_if_whole;
use crate::restore::source::NamedPath;
use crate::stop::Stop;
use crate::store::{Store, Stores};

/// What the command line names, and where to look.
#[derive(Clone, Debug)]
pub struct ArchiveQuery<'a> {
    /// The id, path or address, and the database.
    pub backup: BackupQuery<'a>,
    /// Where the backups are.
    pub place: &'a Place,
    /// How a bucket of an address is reached.
    pub s3: S3Access,
    /// Where the private keys are.
    pub identities: IdentitySource,
}

/// What was found.
pub enum NamedArchive {
    /// A backup, and the store that has it.
    Backup(Arc<dyn Store>, Box<Backup>),
    /// A dump of another tool.
    Dump(Box<Dump>),
}

impl NamedArchive {
    /// Finds a backup by its id, or a file by its path or address. A name that is no id may be a file in the current folder or
    /// in the folder of the backups.
    ///
    /// # Errors
    /// `Missing` if there is none, `Usage` if there are several; what keeps it from being read.
    pub async fn find(query: &ArchiveQuery<'_>, stop: &Stop) -> Result<Self> {
        let id = query.backup.id;
        if let Some(named) = NamedPath::find(id, &query.s3, query.place).await? {
            return by_name(named, query, stop).await;
        }
        let stores = Stores::open(query.place).await?.all();
        let inventory = Inventory::read(stores, query.place, || None, stop).await?;
        let choice = match inventory.resolve(query.backup) {
            Ok(choice) => choice,
            Err(error) => {
                let may_be_file = error.kind() == Kind::Missing && id != "latest";
                return match if may_be_file { NamedPath::among(id, query.place)? } else { None } {
                    Some(named) => by_name(named, query, stop).await,
                    None => Err(inventory.or_unread(error)),
                };
            }
        };
        for remark in &choice.remarks {
            log::warn!("{}", printable(remark));
        }
        Ok(NamedArchive::Backup(Arc::clone(&choice.copy.store), Box::new(choice.copy.clone())))
    }

    /// The archive, ready to be read. Of a dump of another tool only the beginning is checked.
    ///
    /// # Errors
    /// `NotPermitted` for an encrypted one without its private key; what keeps it from being read.
    pub async fn open(self, identities: &IdentitySource, stop: &Stop) -> Result<Archive> {
        match self {
            NamedArchive::Dump(dump) => Ok(Archive::unread(*dump)),
            NamedArchive::Backup(store, backup) => {
                let identities = identities.clone();
                blocking::run(stop, move || {
                    let known = reveal_if_whole(&store, backup.manifest, &identities)?;
                    Archive::of_backup(store, known.manifest, known.identities)
                })
                .await
            }
        }
    }
}

async fn by_name(named: NamedPath, query: &ArchiveQuery<'_>, stop: &Stop) -> Result<NamedArchive> {
    let identities = query.identities.clone();
    blocking::run(stop, move || match named.backup()? {
        Some(backup) => Ok(NamedArchive::Backup(named.store, Box::new(backup))),
        None => {
            let dump = Dump::recognize(named.store, &named.key, &named.called, || identities.read())?;
            Ok(NamedArchive::Dump(Box::new(dump)))
        }
    })
    .await
}
