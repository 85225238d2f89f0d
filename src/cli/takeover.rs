//! Options of `pgcellar takeover`.

use clap::Args;

use crate::cli::{ConnectionArgs, PlaceArgs};

/// `pgcellar takeover`.
#[derive(Debug, Args)]
pub struct TakeoverArgs {
    /// Host and instance that made the backups, as pgcellar list --all-instances shows them [default: list them]
    #[arg(value_name = "HOST/INSTANCE")]
    pub maker: Option<String>,
    /// The store.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// The server, which is asked who it is.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}
