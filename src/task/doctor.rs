//! `pgcellar doctor`: tests what backups need by doing it, and prints for each check what is wrong and how to repair
//! it.
//!
//! It takes no lock. It writes a file to the backup directory, and an object and an upload to the bucket, all called
//! `.pgcellar-doctor-…`, and removes them.

use std::sync::Arc;

use crate::cli::{DoctorArgs, DoctorPart};
use crate::error::Result;
use crate::stop::Stop;

mod backups;
mod check;
mod clock;
mod database;
mod grants;
mod mail;
mod programs;
mod rights;
mod s3;
mod schedule;
mod server;
pub mod services;
mod settings;

use check::{Checks, DoctorReport};
use services::Services;

/// Checks the parts that are named, or all that are configured. A failure does not stop the other checks; the exit code
/// is that of the first failure.
pub async fn run(args: &DoctorArgs, stop: &Stop) -> Result<()> {
    let mut report = DoctorReport::new(args.json);
    let services = Arc::new(Services::new(args));
    for part in parts(args) {
        let checks = match part {
            // It removes its object before it stops.
            DoctorPart::S3 => s3::check(&services, stop).await?,
            _ => stop.or(async { Ok(check(part, &services).await) }).await?,
        };
        report.add(checks)?;
    }
    report.end()
}

async fn check(part: DoctorPart, services: &Arc<Services>) -> Checks {
    match part {
        DoctorPart::Settings => settings::check(services).await,
        DoctorPart::Database => database::check(services).await,
        DoctorPart::Programs => programs::check(services).await,
        DoctorPart::Backups => backups::check(services).await,
        DoctorPart::Mail => mail::check(services).await,
        DoctorPart::Clock => clock::check(services).await,
        DoctorPart::Schedule => schedule::check(services).await,
        DoctorPart::S3 => Checks::new(part),
    }
}

/// The parts to check, each once; later ones depend on earlier ones.
fn parts(args: &DoctorArgs) -> Vec<DoctorPart> {
    let all = [
        DoctorPart::Settings,
        DoctorPart::Database,
        DoctorPart::Programs,
        DoctorPart::Backups,
        DoctorPart::S3,
        DoctorPart::Mail,
        DoctorPart::Clock,
        DoctorPart::Schedule,
    ];
    let is_configured = |part: &DoctorPart| match part {
        DoctorPart::S3 => args.place.s3.bucket.is_some(),
        DoctorPart::Mail => args.mail.smtp_host.is_some() || args.mail.notification_email.is_some(),
        _ => true,
    };
    let wanted = |part: &DoctorPart| match args.parts.is_empty() {
        true => is_configured(part),
        false => args.parts.contains(part),
    };
    all.into_iter().filter(wanted).collect()
}
