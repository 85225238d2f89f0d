//! Work that blocks, on threads of its own.

use tokio::task::JoinError;

use crate::error::{Error, Kind, Result};

/// What a thread's work came to. A thread that broke down is an error inside pgcellar.
pub fn joined<T>(joined: std::result::Result<Result<T>, JoinError>) -> Result<T> {
    joined.unwrap_or_else(|error| Err(Error::new(Kind::Internal, format!("a thread broke down: {error}"))))
}
