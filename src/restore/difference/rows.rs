//! The rows of a table that were inserted, deleted or updated between two archives.

pub mod key;
pub mod matcher;
pub mod pairs;
pub mod print;
pub mod run;
pub mod sql;
pub mod table;
