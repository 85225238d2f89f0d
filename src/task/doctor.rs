//! `pgcellar doctor`: tries out what backups need, by real acts, and says for each what is wrong and how to mend it.
//!
//! It takes no lock. What it writes are a file in the backup directory, and an object and an upload in the bucket, all called
//! `.pgcellar-doctor-…`, and it removes them.

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

/// Checks the parts that are named, or all that are configured. Nothing that fails keeps the others from being checked; the
/// exit code is the first failure's.
pub async fn run(args: &DoctorArgs, stop: &Stop) -> Result<()> {
    let mut report = DoctorReport::new(args.json);
    let known = Arc::new(Services::new(args));
    for part in parts(args) {
        let checks = match part {
            // It takes its object away before it stops.
            DoctorPart::S3 => s3::check(&known, stop).await?,
            _ => stop.or(async { Ok(check(part, &known).await) }).await?,
        };
        report.add(checks)?;
    }
    report.end()
}

async fn check(part: DoctorPart, known: &Arc<Services>) -> Checks {
    match part {
        DoctorPart::Settings => settings::check(known).await,
        DoctorPart::Database => database::check(known).await,
        DoctorPart::Programs => programs::check(known).await,
        DoctorPart::Backups => backups::check(known).await,
        DoctorPart::Mail => mail::check(known).await,
        DoctorPart::Clock => clock::check(known).await,
        DoctorPart::Schedule => schedule::check(known).await,
        DoctorPart::S3 => Checks::new(part),
    }
}

/// What is to be checked: each part once, in the order in which the later ones build on the earlier ones.
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
