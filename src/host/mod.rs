//! The host: its journal, its terminal, its service manager, and other runs on it.

pub mod closed;
pub mod event;
pub mod journal;
pub mod lock;
pub mod logged;
pub mod mail;
pub mod memory;
pub mod memory_events;
pub mod notify_socket;
pub mod orphans;
pub mod ping;
pub mod process;
pub mod progress;
pub mod replace_file;
pub mod rotated_file;
pub mod runtime_folder;
pub mod settings_file;
pub mod staging;
pub mod state;
pub mod stop;
pub mod surroundings;
pub mod systemd_run;
pub mod thread;
