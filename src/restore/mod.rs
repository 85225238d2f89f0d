//! A restore: a database that is made beside the one it will be, loaded by pg_restore or psql, looked at, and given its
//! name only when it is whole.

pub mod archive;
pub mod bound_extensions;
pub mod compare;
pub mod contents;
pub mod database;
pub mod deferred;
pub mod definitions;
pub mod details;
pub mod directory;
pub mod fill;
pub mod fingerprints;
pub mod foreign;
pub mod globals;
pub mod missing_objects;
pub mod moment;
pub mod object_numbers;
pub mod options;
pub mod parallel;
pub mod parameters;
pub mod pg_restore;
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
pub mod use_list;
pub mod verification;
