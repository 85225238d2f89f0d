//! Bytes in, bytes out: compression, encryption and digests, with bounded memory.

pub mod compress;
pub mod decompress;
pub mod digest;
pub mod encrypt;
