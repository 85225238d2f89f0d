//! Tests of the built program against real PostgreSQL servers: one module for each capability, and what they share in
//! [`common`].
//!
//! PostgreSQL 13, 15, 17 and 18 are needed; `make test` brings them. A version that is missing fails its tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what went wrong by panicking")]

#[allow(dead_code, reason = "the ground offers whole tools, and a capability takes what it needs")]
mod common;

mod adopt;
mod advice;
mod alert;
mod archive;
mod bad_input;
mod bound_names;
mod bucket;
mod calendar;
mod compared;
mod completions;
mod compose;
mod concealed;
mod config_check;
mod copies;
mod databases;
mod disk;
mod doctor;
mod drill;
mod dump_options;
mod encodings;
mod event_triggers;
mod fingerprints;
mod ground;
mod interrupted;
mod killed;
mod kills;
mod languages;
mod limits;
mod list;
mod living;
mod locks;
mod mail;
mod managed;
mod misspelt;
mod money;
mod monitor;
mod nix;
mod notify;
mod numbers;
mod omissions;
mod ownership;
mod ping;
mod pooler;
mod preload;
mod products;
mod readme;
mod restore;
mod restore_all;
mod restore_foreign;
mod restore_jobs;
mod restore_people;
mod restore_scripts;
mod restore_swap;
mod retention;
mod rewritten;
mod round_trip;
mod s3;
mod schedule;
mod secrets;
mod seed_names;
mod settings;
mod settings_of_databases;
mod stdout;
mod store;
mod tls;
mod tools;
mod upgrade;
mod verify;
