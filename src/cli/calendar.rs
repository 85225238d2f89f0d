//! Options of `pgcellar calendar`.

use clap::Args;

/// `pgcellar calendar`.
#[derive(Debug, Args)]
pub struct CalendarArgs {
    /// Cron line, or calendar expression of systemd.time(7), or several separated by ;
    #[arg(value_name = "SCHEDULE")]
    pub schedule: String,
    /// Number of runs to show
    #[arg(long, value_name = "NUMBER", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub iterations: u16,
}
