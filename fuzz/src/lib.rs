//! The readers of archives and scripts, compiled without the rest of pgcellar, whose dependencies take minutes to build.
//! Every module has the path that it has there.
#![allow(dead_code, reason = "the rest of pgcellar uses it")]

#[path = "../../src/catalogue"]
pub mod catalogue {
    mod document;
    pub mod fingerprint;
    mod json;
}

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
    pub mod script;
}
