//! Tests of the built program against real PostgreSQL servers: one module for each capability, and what they share in
//! [`common`].
//!
//! PostgreSQL 13, 15, 17 and 18 are needed; `make test` brings them. A version that is missing fails its tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what went wrong by panicking")]

mod common;

mod adopt;
mod advice;
mod alert;
mod archive;
mod backup_killed;
mod backup_retry;
mod bad_input;
mod bucket;
mod calendar;
mod compare;
mod completions;
mod compose;
mod concurrent_ddl;
mod confidentiality;
mod config_check;
mod copies;
mod database_settings;
mod databases;
mod disk;
mod doctor;
mod documents;
mod drill;
mod dump_options;
mod encodings;
mod event_triggers;
mod extensions;
mod fingerprints;
mod harness;
mod languages;
mod leftover_databases;
mod list;
mod live;
mod locks;
mod mail;
mod managed;
mod misspelt;
mod monetary;
mod monitor;
mod nix;
mod notify;
mod omissions;
mod ownership;
mod pg_cron;
mod ping;
mod pooler;
mod preload;
mod random_kills;
mod reg_types;
mod restore;
mod retention;
mod round_trip;
mod s3;
mod schedule;
mod script_names;
mod secrets;
mod server_limits;
mod settings;
mod stdout;
mod stock_tools;
mod store;
mod tls;
mod upgrade;
mod verify;
