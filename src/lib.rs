//! pgcellar keeps PostgreSQL backups on a systemd host.
//!
//! The modules lie on floors, and a module imports only from its own floor and from those below: the programs (`main`, `bin`),
//! `task`, `restore`, {`postgres`, `health`}, `catalogue`, {`store`, `host`}, `config`, `cli`, and the ground, which is
//! everything else. `tests/architecture.rs` checks that, and that no two files import each other.

pub mod blocking;
pub mod calendar;
pub mod catalogue;
pub mod cli;
pub mod config;
pub mod document;
pub mod error;
pub mod fingerprint;
pub mod format;
pub mod health;
pub mod host;
pub mod identity;
pub mod parallel;
pub mod pipeline;
pub mod postgres;
pub mod printable;
pub mod redacted;
pub mod restore;
pub mod stdout;
pub mod stop;
pub mod store;
pub mod table;
pub mod task;
pub mod tls;
