//! What pgcellar knows of PostgreSQL: servers, its own tools and its archive format.

pub mod archive;
pub mod script;
