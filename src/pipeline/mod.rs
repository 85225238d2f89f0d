//! Bytes in, bytes out: compression, encryption and digests, with bounded memory.
//!
//! [`Sink`] stores: digest of the plain bytes, compression, encryption, digest of the stored bytes. [`Source`] reads
//! back in the opposite order. The files are what `COMMAND | gzip | age` would write: the stock commands read them.

mod age_file;
mod block;
pub mod compress;
pub mod decompress;
mod decrypt;
pub mod digest;
pub mod encrypt;
mod method;
mod sink;
mod source;

pub use sink::{Finished, Sink};
pub use source::{Digests, Source};

#[cfg(test)]
mod tests;
