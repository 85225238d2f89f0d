//! What a server preloads, so that a drill can hold with the extensions that need it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What the server preloads and sets for the libraries of extensions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Preloaded {
    /// `shared_preload_libraries` in its order; none if our role could not read it.
    pub libraries: Option<Vec<String>>,
    /// Parameters that the server's configuration sets for these libraries, as far as they cannot be secrets, and a few of the
    /// server's own that extensions need.
    pub settings: BTreeMap<String, String>,
}

impl Preloaded {
    /// Whether nothing is known.
    pub fn is_unknown(&self) -> bool {
        self.libraries.is_none() && self.settings.is_empty()
    }
}
