//! The archive that the command line names, for verbs that only read it: a backup, or a dump of another tool.

use std::sync::Arc;

use crate::blocking;
use crate::catalogue::Backup;
use crate::catalogue::inventory::BackupQuery;
use crate::catalogue::select::{self, Selected};
use crate::config::{IdentitySource, Place, S3Access};
use crate::error::Result;
use crate::postgres::foreign::Dump;
use crate::restore::archive::Archive;
use crate::restore::details::reveal_if_whole;
use crate::stop::Stop;
use crate::store::Store;

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
        match select::find(query.backup, (query.place, &query.s3), None, || None, stop).await? {
            Selected::Backup(backup) => Ok(NamedArchive::Backup(Arc::clone(&backup.store), backup)),
            Selected::File(named) => {
                let identities = query.identities.clone();
                let recognize = move || Dump::recognize(named.store, &named.key, &named.called, || identities.read());
                Ok(NamedArchive::Dump(Box::new(blocking::run(stop, recognize).await?)))
            }
        }
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
