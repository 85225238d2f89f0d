//! `pgcellar monitor`: checks and reports the state of the backups.

use std::process::ExitCode;

use crate::cli::{MonitorAction, MonitorArgs};
use crate::error::Result;
use crate::stop::Stop;

mod acknowledge;
mod check;
pub mod fallback;
mod gather;
mod notify;
mod report;
mod test_mail;

/// Runs the action. The exit status of `check` is its verdict, not an error.
pub async fn run(args: &MonitorArgs, stop: &Stop) -> Result<ExitCode> {
    match &args.action {
        MonitorAction::Check(args) => check::run(args, stop).await,
        MonitorAction::Report(args) => report::run(args, stop).await.map(|()| ExitCode::SUCCESS),
        MonitorAction::Acknowledge(args) => acknowledge::run(args, stop).await.map(|()| ExitCode::SUCCESS),
        MonitorAction::TestMail(args) => test_mail::run(args, stop).await.map(|()| ExitCode::SUCCESS),
    }
}
