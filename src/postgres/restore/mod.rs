//! A restore: a database that is made beside the one it will be, loaded by pg_restore or psql, looked at, and given its
//! name only when it is whole.

pub mod bound;
pub mod check;
pub mod complaints;
pub mod database;
pub mod empty;
pub mod faults;
pub mod feed;
pub mod globals;
pub mod load;
pub mod parameters;
pub mod refresh;
pub mod refused_owners;
pub mod replaced;
pub mod roles;
pub mod server;
pub mod statements;
pub mod survey;
