//! PostgreSQL: connections to servers, its programs, and the formats of its dumps.

pub mod acl;
pub mod archive;
pub mod child;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod columns;
pub mod connection_limit;
pub mod database_entries;
pub mod databases;
pub mod dump;
pub mod facts;
pub mod foreign;
pub mod identity;
pub mod interruptions;
pub mod live;
pub mod omitted;
mod own_encoding;
pub mod packages;
pub mod passfile;
pub mod programs;
pub mod properties;
mod quoting;
pub mod restore_mark;
pub mod script;
pub mod snapshot;
pub mod tls;
