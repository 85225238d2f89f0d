//! The restore engine: makes a database under a name of its own, loads it with pg_restore or psql, checks it, and gives it
//! the target's name only when it is complete.

pub mod analyze;
pub mod archive;
pub mod attempts;
pub mod bound_extensions;
pub mod compare;
pub mod completeness;
pub mod contents;
pub mod database;
pub mod deferred;
pub mod details;
pub mod directory;
pub mod early_rows;
pub mod engine;
pub mod fill;
pub mod foreign;
pub mod globals;
pub mod missing_objects;
pub mod object_numbers;
pub mod parallel;
pub mod parameters;
pub mod pg_restore;
pub mod prepare;
pub mod psql;
pub mod public_schema;
pub mod read_back;
pub mod refresh;
pub mod requirements;
pub mod roles;
pub mod run;
pub mod script;
pub mod selection;
pub mod server;
pub mod source;
pub mod staging;
pub mod verification;
