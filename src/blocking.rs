//! Work that blocks, on threads of its own: a thread of the async runtime that waits for a disk or computes for long would hold up
//! everything else.

use tokio::task::JoinError;

use crate::error::{Error, Kind, Result};
use crate::stop::Stop;

/// Runs `work` on a thread, and waits for it unless the process is told to stop first. A thread cannot be ended from outside: work
/// that takes long reads by [`Stop::reader`], or asks `stop` itself.
///
/// # Errors
/// Those of the work; that of [`Stop::error`].
pub async fn run<T: Send + 'static>(stop: &Stop, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    stop.or(to_end(work)).await
}

/// Runs `work` on a thread, and waits for it whatever comes: what it does must not be left half-done.
///
/// # Errors
/// Those of the work.
pub async fn to_end<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    joined(tokio::task::spawn_blocking(work).await)
}

/// The result of a thread that was waited for. A panic there is an error inside pgcellar.
///
/// # Errors
/// Those of the work; `Internal` for a panic.
pub fn joined<T>(joined: std::result::Result<Result<T>, JoinError>) -> Result<T> {
    joined.unwrap_or_else(|error| Err(Error::new(Kind::Internal, format!("a thread panicked: {error}"))))
}
