//! What a drill needs on this host: PostgreSQL's programs, a folder with room, and the throwaway cluster.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use crate::cli::SandboxArgs;
use crate::config::processors;
use crate::error::{Error, Kind, Result};
use crate::host::memory;
use crate::host::staging::Staging;
use crate::postgres::cluster::{Cluster, Plan};
use crate::postgres::programs::Programs;
use crate::restore::archive::major;
use crate::stop::Stop;
use crate::task::drill::protocol;
use crate::task::drill::protocol::DrillOrder;
use crate::task::drill::sandbox::outbox::Outbox;
use crate::task::drill::sandbox::refusals::Refusals;
use crate::task::drill::sandbox::room;

/// A drill in its throwaway cluster.
pub struct SandboxRun<'a> {
    /// The order.
    pub order: &'a DrillOrder,
    /// Programs, folders and sessions.
    pub ground: &'a Ground,
    /// The throwaway cluster.
    pub cluster: &'a Cluster,
    /// Libraries of the server that was backed up that this host lacks.
    pub absent: &'a [String],
    /// Messages to the drill.
    pub outbox: &'a Outbox,
    /// What the server refuses, in a rehearsal.
    pub refusals: Option<&'a Refusals>,
    /// Ends the restore: the process is stopped, or the drill ends.
    pub stop: &'a Stop,
}

/// What a drill needs on this host.
pub struct Ground {
    /// The server's programs.
    server: Programs,
    /// The client programs, which read the archives of the backup's pg_dump. No pg_restore reads those of a newer pg_dump.
    pub clients: Programs,
    _staging: Staging,
    /// Parallel sessions.
    pub jobs: NonZeroUsize,
    cluster: PathBuf,
    /// The folder of the archive.
    pub spool: PathBuf,
}

impl Ground {
    /// The plan of the throwaway cluster.
    pub fn plan<'a>(&'a self, order: &'a DrillOrder, preload: &'a [String]) -> Plan<'a> {
        let superuser = if order.bootstrap_role.is_empty() { "postgres" } else { order.bootstrap_role.as_str() };
        let Ground { server, jobs, cluster, .. } = self;
        Plan {
            programs: server,
            folder: cluster,
            superuser,
            jobs: *jobs,
            memory: memory::available(),
            logs: order.rehearsal.is_some(),
            preload,
            settings: &order.settings,
        }
    }

    /// Checks whether the drill can be run here, and makes the folders.
    ///
    /// # Errors
    /// Any error says why it cannot.
    pub async fn prepare(args: &SandboxArgs, order: &DrillOrder, stop: &Stop) -> Result<Self> {
        if order.version != protocol::VERSION {
            return Err(Error::new(Kind::System, "the sandbox is of another version of pgcellar")
                .hint("restart pgcellar-drill-sandbox.socket, or the sandbox's container"));
        }
        if rustix::process::geteuid().is_root() {
            return Err(Error::new(Kind::System, "PostgreSQL does not run as root")
                .hint("run the drill as another user; the packaged sandbox has its own"));
        }
        let (server, clients) = stop.or(programs(args.pg_bindir.as_deref(), order)).await?;
        let parent = parent(args);
        let staging = Staging::anywhere(&parent)?;
        if !staging.path().as_os_str().is_ascii() {
            // Statements name pipes in this folder, in the encoding of the restored database.
            let message = format!("the path {} is not ASCII", staging.path().display());
            return Err(Error::new(Kind::System, message).hint("set DRILL_DIR to a folder whose path is"));
        }
        room::check(&parent, order)?;
        let jobs = order.jobs.and_then(NonZeroUsize::new).unwrap_or_else(processors);
        let (cluster, spool) = (staging.path().join("cluster"), staging.path().join("spool"));
        for folder in [&cluster, &spool] {
            std::fs::create_dir(folder).map_err(|error| Error::write(folder.display(), &error))?;
        }
        Ok(Ground { server, clients, _staging: staging, jobs, cluster, spool })
    }
}

/// The programs of the throwaway server, and the client programs. `PG_BINDIR` has those of one version, and a rehearsal may need
/// another.
async fn programs(bindir: Option<&Path>, order: &DrillOrder) -> Result<(Programs, Programs)> {
    let lacks_it = order.rehearsal.is_some() && Programs::with_server(bindir, order.server()).await.is_err();
    let bindir = bindir.filter(|_| !lacks_it);
    let server = Programs::with_server(bindir, order.server()).await?;
    let clients = Programs::for_archive(bindir, order.server(), major(&order.pg_dump)).await?;
    Ok((server, clients))
}

/// The parent folder of throwaway clusters.
pub fn parent(args: &SandboxArgs) -> PathBuf {
    let default = || PathBuf::from("/var/tmp");
    args.directory.clone().unwrap_or_else(|| std::env::var_os("TMPDIR").map_or_else(default, PathBuf::from))
}
