//! pg_restore and psql: how they are called, fed and judged, and which of their errors a restore skips.

pub mod errors;
pub mod feed;
pub mod load;
pub mod passes;
pub mod refused_owners;
pub mod skipped_errors;
