//! Dumps that other tools made: files and folders without a manifest, recognised by their bytes and not by their names.
//!
//! [`Dump::recognize`] reads the beginning, which says what a dump is; [`Dump::read`] reads it to its end and checks that it is
//! complete.

mod dump;
mod magic;
mod whole;

pub use dump::{Dump, damaged};
pub use whole::WholeDump;
