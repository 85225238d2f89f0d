//! How long a run waits for another one.

use clap::Args;

/// How long a run waits for another one of the same instance.
#[derive(Clone, Debug, Args)]
pub struct WaitArgs {
    /// Wait this many seconds for another run to end, as units do; by default, another run is an error
    #[arg(long, value_name = "SECONDS", default_value_t = 0, hide_default_value = true)]
    pub wait: u32,
}
