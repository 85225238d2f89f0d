//! pgcellar keeps PostgreSQL backups on a systemd host.
//!
//! The library is the house that the `pgcellar` binary lives in; its rooms are described in each module. Imports go
//! one way: `cli -> task -> {postgres, pipeline, store, catalogue, host} -> {config, secret, error}`.

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
pub mod shell_word;
pub mod stdout;
pub mod stop;
pub mod store;
pub mod table;
pub mod task;
pub mod tls;
