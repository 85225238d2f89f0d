//! The readers of archives and scripts, compiled without the rest of pgcellar, whose dependencies take minutes to build.
//! Every module has the path that it has there.
#![allow(dead_code, reason = "the rest of pgcellar uses it")]

#[path = "../../src/document/mod.rs"]
pub mod document;
#[path = "../../src/error.rs"]
pub mod error;
#[path = "../../src/fingerprint/mod.rs"]
pub mod fingerprint;
#[path = "../../src/redacted.rs"]
pub mod redacted;

#[path = "../../src/pipeline"]
pub mod pipeline {
    pub mod compress {
        pub use super::method::Method;
    }
    mod method;
}

#[path = "../../src/postgres"]
pub mod postgres {
    pub mod archive;
    pub mod copy_text;
    pub mod script;
}
