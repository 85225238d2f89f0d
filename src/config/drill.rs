//! Settings of drills and of rehearsals, which restore into a sandbox.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::DrillArgs;
use crate::config::{IdentitySource, Place, jobs, server_major};
use crate::error::Result;

/// The sandbox that runs the restored code.
#[derive(Clone, Debug)]
pub enum SandboxPlace {
    /// An isolated one at a socket.
    Socket(PathBuf),
    /// A child process with our rights (`--unisolated`).
    Unisolated {
        /// Folder for the temporary cluster; none for the default.
        directory: Option<PathBuf>,
        /// Folder of the server's programs; none to look for them.
        bindir: Option<PathBuf>,
    },
}

/// Settings of a run of drills.
#[derive(Clone, Debug)]
pub struct DrillSettings {
    /// Id, the unique beginning of one, or `latest`, unless it is the newest of each database.
    pub backup: String,
    /// Whether the newest good backup of each database is drilled.
    pub each: bool,
    /// Only backups of this database.
    pub database: Option<String>,
    /// Only backups in the store of this name.
    pub store: Option<String>,
    /// The major version whose server rehearses the upgrade instead of a drill.
    pub rehearsal: Option<u32>,
    /// The major version whose server rehearses the upgrade after the drills of `each`.
    pub next: Option<u32>,
    /// Number of parallel jobs; none for one for each processor.
    pub jobs: Option<NonZeroUsize>,
    /// The libraries to preload, as they were given; none for those of the backup.
    pub preload: Option<String>,
    /// The server's parameters, as they were given; none for those of the backup.
    pub parameters: Option<String>,
    /// The sandbox.
    pub sandbox: SandboxPlace,
    /// How long to wait for a sandbox that runs another drill.
    pub patience: Duration,
    /// Whether the results are printed as JSON.
    pub json: bool,
    /// Where the private keys are.
    pub identities: IdentitySource,
    /// Where the backups are.
    pub place: Place,
}

impl DrillSettings {
    /// Checks each option by itself.
    ///
    /// # Errors
    /// `Config`: a value that cannot be used, named with its option.
    pub fn new(args: &DrillArgs) -> Result<Self> {
        let sandbox = match args.unisolated {
            true => SandboxPlace::Unisolated { directory: args.drill_dir.clone(), bindir: args.pg_bindir.clone() },
            false => SandboxPlace::Socket(args.socket.clone()),
        };
        Ok(DrillSettings {
            backup: args.id.clone(),
            each: args.each,
            database: args.database.clone(),
            store: args.store.clone(),
            rehearsal: server_major("--server", args.server.as_deref())?,
            next: server_major("DRILL_SERVER_NEXT (--server-next)", args.server_next.as_deref())?,
            jobs: jobs("DRILL_JOBS (--jobs)", args.jobs.as_deref())?,
            preload: args.preload.clone(),
            parameters: args.settings.clone(),
            sandbox,
            patience: Duration::from_secs(args.patience.wait.into()),
            json: args.json,
            identities: IdentitySource::from(&args.identity),
            place: Place::new(&args.place)?,
        })
    }

    /// Whether the restored code has none of our rights.
    pub fn is_isolated(&self) -> bool {
        matches!(self.sandbox, SandboxPlace::Socket(_))
    }
}
