//! `pgcellar monitor`: whether the backups are as they should be, for machines and for people.

use std::process::ExitCode;

use crate::cli::{MonitorAction, MonitorArgs};
use crate::error::Result;
use crate::stop::Stop;

mod acknowledge;
mod check;
pub mod fallback;
pub mod gather;
mod notify;
mod report;
mod test_mail;

/// Carries the action out. The exit status of `check` is its verdict, which is no failure.
pub async fn run(args: &MonitorArgs, stop: &Stop) -> Result<ExitCode> {
    match &args.action {
        MonitorAction::Check(args) => check::run(args, stop).await,
        MonitorAction::Report(args) => report::run(args, stop).await.map(|()| ExitCode::SUCCESS),
        MonitorAction::Acknowledge(args) => acknowledge::run(args, stop).await.map(|()| ExitCode::SUCCESS),
        MonitorAction::TestMail(args) => test_mail::run(args, stop).await.map(|()| ExitCode::SUCCESS),
    }
}
