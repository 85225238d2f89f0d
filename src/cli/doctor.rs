//! Options of `pgcellar doctor`.

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::cli::connection::{ConnectionArgs, DatabaseArgs};
use crate::cli::mail::MailArgs;
use crate::cli::place::PlaceArgs;

/// A part that the doctor checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DoctorPart {
    /// The settings of this environment
    Settings,
    /// The server: name, port, TLS, login, and whether the role may read everything
    Database,
    /// PostgreSQL's programs, and whether they fit the server
    Programs,
    /// The backup directory: whether it can be written, and has room
    Backups,
    /// The bucket: an object is written, read, listed and deleted
    S3,
    /// The mail server, up to the recipients; no mail is sent
    Mail,
    /// The clocks of the server and the bucket compared with that of this host
    Clock,
    /// The next runs of each schedule
    Schedule,
}

impl DoctorPart {
    /// The name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            DoctorPart::Settings => "settings",
            DoctorPart::Database => "database",
            DoctorPart::Programs => "programs",
            DoctorPart::Backups => "backups",
            DoctorPart::S3 => "s3",
            DoctorPart::Mail => "mail",
            DoctorPart::Clock => "clock",
            DoctorPart::Schedule => "schedule",
        }
    }
}

/// `pgcellar doctor`.
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    /// What to check [default: all that is configured]
    #[arg(value_name = "PART", value_enum)]
    pub parts: Vec<DoctorPart>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The databases that backups are made of.
    #[command(flatten)]
    pub databases: DatabaseArgs,
    /// Mail settings.
    #[command(flatten)]
    pub mail: MailArgs,
    /// The server.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// The store.
    #[command(flatten)]
    pub place: PlaceArgs,
}
