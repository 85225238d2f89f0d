//! What pgcellar knows of PostgreSQL: servers, its own tools and its archive format.

pub mod archive;
pub mod child;
pub mod client;
pub mod dump;
pub mod dump_options;
pub mod facts;
pub mod omitted;
pub mod passfile;
pub mod programs;
pub mod script;
pub mod snapshot;
pub mod tls;
