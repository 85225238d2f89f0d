//! Settings of a verify: the options of the command line and of the environment, checked once.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::cli::VerifyArgs;
use crate::config::{Connection, IdentitySource, Place, S3Access, jobs};
use crate::error::Result;

/// The database that a backup is compared with (`--against-live`).
#[derive(Clone, Debug)]
pub struct AgainstLive {
    /// Its name.
    pub name: String,
    /// Its server.
    pub connection: Connection,
    /// Number of tables, or parts of a large one, that are read in parallel.
    pub jobs: NonZeroUsize,
}

/// Settings of a run of verifies.
#[derive(Clone, Debug)]
pub struct VerifySettings {
    /// Id, the unique beginning of one, `latest`, a path or an address, unless it is every backup.
    pub backup: String,
    /// Whether every backup is verified.
    pub all: bool,
    /// Only backups of this database.
    pub database: Option<String>,
    /// Only backups in the store of this name.
    pub store: Option<String>,
    /// The database to compare with instead; none to read the backup's files.
    pub live: Option<AgainstLive>,
    /// Whether the results are printed as JSON.
    pub json: bool,
    /// Where the private keys are.
    pub identities: IdentitySource,
    /// The server, which knows its backups; none if its settings cannot be used. No verify needs one.
    pub connection: Option<Connection>,
    /// The folder of pg_restore; none to look for it.
    pub bindir: Option<PathBuf>,
    /// How a bucket of an address is reached.
    pub s3: S3Access,
    /// Where the backups are.
    pub place: Place,
}

impl VerifySettings {
    /// Checks each option by itself.
    ///
    /// # Errors
    /// `Config`: a value that cannot be used, named with its option.
    pub fn new(args: &VerifyArgs) -> Result<Self> {
        let place = Place::new(&args.place)?;
        let connection = Connection::new(&args.connection);
        let (connection, live) = match &args.against_live {
            None => (connection.ok(), None),
            Some(name) => {
                let connection = connection?;
                let jobs = jobs("--jobs", args.jobs.as_deref())?.unwrap_or(NonZeroUsize::MIN);
                let live = AgainstLive { name: name.clone(), connection: connection.clone(), jobs };
                (Some(connection), Some(live))
            }
        };
        Ok(VerifySettings {
            backup: args.id.clone(),
            all: args.all,
            database: args.database.clone(),
            store: args.store.clone(),
            live,
            json: args.json,
            identities: IdentitySource::from(&args.identity),
            connection,
            bindir: args.connection.pg_bindir.clone(),
            s3: S3Access::from(&args.place.s3),
            place,
        })
    }
}
