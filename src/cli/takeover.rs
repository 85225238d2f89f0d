//! Options of `pgcellar takeover`.

use clap::Args;

use crate::cli::connection::ConnectionArgs;
use crate::cli::place::PlaceArgs;

/// `pgcellar takeover`.
#[derive(Debug, Args)]
pub struct TakeoverArgs {
    /// Host and instance that made the backups, as pgcellar list --all-instances shows them [default: list them]
    #[arg(value_name = "HOST/INSTANCE")]
    pub maker: Option<String>,
    /// The store.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// The server, whose identity is queried.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}
