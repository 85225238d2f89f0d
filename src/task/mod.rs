//! The verbs, one file each.

use std::process::ExitCode;
use std::time::Duration;

use crate::cli::Verb;
use crate::error::{Error, Kind, Result};
use crate::stop::Stop;

pub mod adopt;
pub mod alert;
pub mod backup;
pub mod calendar;
pub mod config;
pub mod diff;
pub mod doctor;
pub mod drill;
pub mod list;
pub mod monitor;
pub mod pin;
pub mod restore;
pub mod retention;
pub mod rows;
pub mod s3_ls;
pub mod schedule;
pub mod show;
pub mod takeover;
pub mod verify;

/// How long busy threads may delay the end of the process.
const GRACE: Duration = Duration::from_secs(2);

/// Runs a verb on a runtime of its own.
///
/// This is a plain function of the library: an async one would be compiled with all that it calls in each program that calls it.
///
/// # Errors
/// Those of the verb; `System` if no threads can be started or no signals be received.
pub fn run(verb: &Verb) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new(Kind::System, format!("cannot start threads: {error}")))?;
    let done = runtime.block_on(async {
        let stop = Stop::listen()?;
        carry_out(verb, &stop).await
    });
    // A thread that still waits for a server panics when the runtime shuts down. That has no effect any more, and must
    // not be printed.
    std::panic::set_hook(Box::new(|_| {}));
    runtime.shutdown_timeout(GRACE);
    done
}

async fn carry_out(verb: &Verb, stop: &Stop) -> Result<ExitCode> {
    match verb {
        Verb::Backup(args) => backup::run(args, stop).await?,
        Verb::List(args) => list::run(args, stop).await?,
        Verb::Show(args) => show::run(args, stop).await?,
        Verb::Rows(args) => rows::run(args, stop).await?,
        Verb::Verify(args) => verify::run(args, stop).await?,
        Verb::Restore(args) => restore::run(args, stop).await?,
        Verb::Drill(args) => drill::run(args, stop).await?,
        Verb::DrillSandbox(args) => drill::sandbox::run(args, stop).await?,
        Verb::Adopt(args) => adopt::run(args, stop).await?,
        Verb::Retention(args) => retention::run(args, stop).await?,
        Verb::Pin(args) => pin::pin(args, stop).await?,
        Verb::Unpin(args) => pin::unpin(args, stop).await?,
        Verb::Takeover(args) => takeover::run(args, stop).await?,
        Verb::S3Ls(args) => s3_ls::run(args, stop).await?,
        Verb::Alert(args) => alert::run(args, monitor::fallback::notify, stop).await?,
        Verb::Calendar(args) => calendar::run(args).await?,
        Verb::Config(args) => config::run(args).await?,
        Verb::Doctor(args) => doctor::run(args, stop).await?,
        Verb::Schedule(args) => schedule::run(args, stop).await?,
        // With --exit-code its exit status says whether there are differences.
        Verb::Diff(args) => return diff::run(args, stop).await,
        // Its exit status is a verdict.
        Verb::Monitor(args) => return monitor::run(args, stop).await,
    }
    Ok(ExitCode::SUCCESS)
}
