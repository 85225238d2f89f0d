//! A restore: a database that is made beside the one it will be, loaded by pg_restore or psql, looked at, and given its
//! name only when it is whole.

pub mod check;
pub mod complaints;
pub mod database;
pub mod deferred;
pub mod faults;
pub mod feed;
pub mod globals;
pub mod load;
pub mod replaced;
pub mod roles;
pub mod server;
pub mod statements;
pub mod survey;
