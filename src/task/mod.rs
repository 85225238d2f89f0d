//! The verbs, one file each.

pub mod backup;
pub mod list;
pub mod restore;
pub mod verify;
