//! Runs blocking work on threads of its own, because a thread of the async runtime that waits for a disk or computes for long
//! would delay everything else.

use tokio::task::JoinError;

use crate::error::{Error, Kind, Result};
use crate::stop::Stop;

/// Runs `work` on a thread, and waits for it unless the process has to stop first. A thread cannot be ended from outside: long
/// work reads through [`Stop::reader`], or checks `stop` itself.
pub async fn run<T: Send + 'static>(stop: &Stop, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    stop.or(to_end(work)).await
}

/// Runs `work` on a thread, and waits for its end even if the process has to stop: for work that must not be interrupted.
pub async fn to_end<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    joined(tokio::task::spawn_blocking(work).await)
}

/// The result of a joined thread. A panic there is an error inside pgcellar.
///
/// # Errors
/// Those of the work; `Internal` for a panic.
pub fn joined<T>(joined: std::result::Result<Result<T>, JoinError>) -> Result<T> {
    joined.unwrap_or_else(|error| Err(Error::new(Kind::Internal, format!("a thread panicked: {error}"))))
}
