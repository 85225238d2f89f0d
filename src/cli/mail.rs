//! Options of notifications: mail, the dead man's switch, and `pgcellar alert`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::connection::DatabaseArgs;
use crate::cli::encryption::RecipientArgs;
use crate::cli::place::PlaceArgs;

/// The mail server, the sender and the recipients.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Mail")]
pub struct MailArgs {
    /// Mail server [default: no mail is sent]
    #[arg(long, env = "SMTP_HOST", hide_env_values = true, value_name = "HOST")]
    pub smtp_host: Option<String>,
    /// Mail server's port
    #[arg(long, env = "SMTP_PORT", hide_env_values = true, value_name = "PORT", default_value = "587")]
    pub smtp_port: String,
    /// User name for the mail server [default: no login]
    #[arg(long, env = "SMTP_USER", hide_env_values = true, value_name = "NAME")]
    pub smtp_user: Option<String>,
    /// File with the password of the mail server (or the systemd credential smtp-password)
    #[arg(long, env = "SMTP_PASS_FILE", hide_env_values = true, value_name = "FILE")]
    pub smtp_pass_file: Option<PathBuf>,
    /// starttls, tls (from the first byte on), none, or insecure, which is none with a password [default: tls on port
    /// 465, else starttls]
    #[arg(long, env = "SMTP_TLS", hide_env_values = true, value_name = "MODE")]
    pub smtp_tls: Option<String>,
    /// Certificates of the authorities that may sign the mail server's certificate (PEM) [default: the system's]
    #[arg(long, env = "SMTP_CA_FILE", hide_env_values = true, value_name = "FILE")]
    pub smtp_ca_file: Option<PathBuf>,
    /// Sender [default: SMTP_USER if it is an address, else pgcellar@HOST]
    #[arg(long, env = "SMTP_FROM", hide_env_values = true, value_name = "ADDRESS")]
    pub smtp_from: Option<String>,
    /// Recipients of mail: addresses separated by commas
    #[arg(long, env = "NOTIFICATION_EMAIL", hide_env_values = true, value_name = "ADDRESSES")]
    pub notification_email: Option<String>,
}

/// The dead man's switch.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Dead man's switch")]
pub struct PingArgs {
    /// File with the URL to ping (or MONITOR_PING_URL, or the systemd credential ping-url) [default: no ping]
    #[arg(long, env = "MONITOR_PING_URL_FILE", hide_env_values = true, value_name = "FILE")]
    pub ping_url_file: Option<PathBuf>,
}

/// The mails of `pgcellar monitor check`.
#[derive(Clone, Debug, Args)]
pub struct NotifyArgs {
    /// Mail new, continuing and resolved problems, and the status report, as the timer's runs do
    #[arg(long)]
    pub notify: bool,
    /// How often the status report is mailed if there is no problem: daily, weekly or never
    #[arg(
        long,
        env = "MONITOR_REPORT",
        hide_env_values = true,
        value_name = "PERIOD",
        default_value = "never",
        help_heading = "Mail"
    )]
    pub report: String,
    /// Mail settings.
    #[command(flatten)]
    pub mail: MailArgs,
}

/// `pgcellar monitor test-mail`.
#[derive(Debug, Args)]
pub struct TestMailArgs {
    /// Mail settings.
    #[command(flatten)]
    pub mail: MailArgs,
    /// The instance.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// `pgcellar alert`. systemd sets the variables of a unit that the failure of another one has started (`systemd.exec(5)`,
/// "Environment Variables Set on Triggered Units").
#[derive(Debug, Args)]
pub struct AlertArgs {
    /// Task that failed, such as backup [default: the one in the unit's name]
    #[arg(long, value_name = "TASK")]
    pub task: Option<String>,
    /// Unit that failed
    #[arg(long, env = "MONITOR_UNIT", hide_env_values = true, value_name = "UNIT")]
    pub unit: Option<String>,
    /// How it failed: exit-code, signal, core-dump, timeout, watchdog, oom-kill …
    #[arg(long, env = "MONITOR_SERVICE_RESULT", hide_env_values = true, value_name = "RESULT")]
    pub result: Option<String>,
    /// How its process ended: exited, killed or dumped
    #[arg(long, env = "MONITOR_EXIT_CODE", hide_env_values = true, value_name = "CODE")]
    pub exit_code: Option<String>,
    /// Its exit status, or the name of the signal
    #[arg(long, env = "MONITOR_EXIT_STATUS", hide_env_values = true, value_name = "STATUS")]
    pub exit_status: Option<String>,
    /// Invocation ID of the run in the journal
    #[arg(long, env = "MONITOR_INVOCATION_ID", hide_env_values = true, value_name = "ID")]
    pub invocation: Option<String>,
    /// File with the output of the task, or - for standard input [default: the journal]
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// The databases.
    #[command(flatten)]
    pub databases: DatabaseArgs,
    /// Who can decrypt: with encryption, the log of the run is not mailed.
    #[command(flatten)]
    pub recipients: RecipientArgs,
    /// Mail settings.
    #[command(flatten)]
    pub mail: MailArgs,
    /// The dead man's switch.
    #[command(flatten)]
    pub ping: PingArgs,
    /// The store.
    #[command(flatten)]
    pub place: PlaceArgs,
}
