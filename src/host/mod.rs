//! The host: its journal, its terminal, its service manager, and other runs on it.

pub mod journal;
pub mod lock;
pub mod process;
pub mod progress;
pub mod staging;
pub mod stop;
pub mod thread;
