//! Bytes in, bytes out: compression, encryption and digests, with bounded memory.

mod block;
pub mod compress;
pub mod decompress;
pub mod digest;
pub mod encrypt;
mod method;
