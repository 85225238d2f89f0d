//! The verbs, one file each.

pub mod adopt;
pub mod alert;
pub mod backup;
pub mod calendar;
pub mod config;
pub mod doctor;
pub mod drill;
pub mod list;
pub mod monitor;
pub mod pin;
pub mod restore;
pub mod retention;
pub mod s3_ls;
pub mod schedule;
pub mod show;
pub mod takeover;
pub mod verify;
