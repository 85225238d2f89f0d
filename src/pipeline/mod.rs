//! Bytes in, bytes out: compression, encryption and digests, with bounded memory.
//!
//! [`Sink`] writes: digest of the plain bytes, compression, encryption, digest of the stored bytes. [`Source`] reads in
//! the opposite order. The files are those that `COMMAND | gzip | age` writes: the stock commands read them.

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
pub use source::{Digests, Source, plain_bytes};

#[cfg(test)]
mod tests;
