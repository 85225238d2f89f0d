//! Announcements: what stands under a manifest's temporary name in a bucket while its backup is being written there.
//!
//! The backup of a stream announces no more than whose it is, because nothing else is known yet; a copy announces its
//! whole manifest, which says that too.

use serde::{Deserialize, Serialize};

use crate::catalogue::manifest::Manifest;
use crate::config::Maker;
use crate::document;
use crate::error::{Error, Kind, Result};
use crate::identity::Identity;
use crate::store::Store;

/// Whose a backup is that is being written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// Id of the backup.
    pub id: String,
    /// Who makes it.
    #[serde(flatten)]
    pub maker: Maker,
    /// The server.
    #[serde(default)]
    pub server: Claimed,
}

/// What is announced of a server, in the place where a manifest has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimed {
    /// What is the same only if the server is the same.
    #[serde(default, skip_serializing_if = "Identity::is_empty")]
    pub identity: Identity,
}

impl Announcement {
    /// The document, as it is stored.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self)
            .map_err(|error| Error::new(Kind::Internal, format!("cannot write an announcement as JSON: {error}")))
    }

    /// Reads what was announced of this backup, if anything was: the bytes, and whose they say it is. Bytes that do not
    /// say that are somebody else's.
    pub fn read(store: &dyn Store, id: &str) -> Result<Option<(Vec<u8>, Option<Announcement>)>> {
        match store.read_partial(&Manifest::key(id)) {
            Ok(bytes) => {
                let claim = document::parse(&bytes).ok().filter(|claim: &Announcement| claim.id == id);
                Ok(Some((bytes, claim)))
            }
            Err(error) if error.kind() == Kind::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether it is of this instance: on this host, or wherever the host had another name, as its marks tell.
    pub fn is_of(&self, maker: &Maker, server: &Identity) -> bool {
        let has_mark = || self.server.identity.marks().any(|mark| server.marks().any(|ours| ours == mark));
        self.maker.instance == maker.instance && (self.maker.host == maker.host || has_mark())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::local::LocalStore;

    const ID: &str = "shop_20231231_020000";

    fn read(bytes: &[u8]) -> Option<Announcement> {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::new(folder.path());
        assert!(Announcement::read(&store, ID).unwrap().is_none());
        store.announce(&Manifest::key(ID), bytes).unwrap();
        let (there, claim) = Announcement::read(&store, ID).unwrap().unwrap();
        assert_eq!(there, bytes);
        claim
    }

    #[test]
    fn a_claim_and_a_manifest_say_whose_they_are() {
        let maker = |instance: &str, host: &str| Maker { instance: instance.to_owned(), host: host.to_owned() };
        let identity =
            |directory: &str| Identity { backup_directory: Some(directory.to_owned()), ..Identity::default() };
        let claim = Announcement {
            id: ID.to_owned(),
            maker: maker("main", "db1"),
            server: Claimed { identity: identity("a") },
        };
        assert_eq!(read(&claim.to_json().unwrap()), Some(claim.clone()));
        assert!(claim.is_of(&maker("main", "db1"), &Identity::default()));
        assert!(claim.is_of(&maker("main", "db2"), &identity("a")));
        assert!(!claim.is_of(&maker("main", "db2"), &Identity::default()));
        assert!(
            !claim.is_of(&maker("main", "db2"), &identity("b")) && !claim.is_of(&maker("other", "db1"), &identity("a"))
        );
        let mut manifest: Manifest = serde_json::from_str(include_str!("../../tests/golden/manifest.json")).unwrap();
        manifest.id = ID.to_owned();
        let claim = read(&manifest.to_json().unwrap()).unwrap();
        assert!(claim.is_of(&maker(&manifest.instance, &manifest.host), &Identity::default()));
        assert_eq!(claim.server.identity, manifest.server.identity);
    }

    #[test]
    fn what_does_not_say_whose_it_is_is_nobodys_that_we_know() {
        let maker = Maker { instance: "a".to_owned(), host: "b".to_owned() };
        let another = Announcement { id: "shop_20231231_020001".to_owned(), maker, server: Claimed::default() };
        for bytes in [b"".as_slice(), b"not JSON", b"{}", &another.to_json().unwrap()] {
            assert_eq!(read(bytes), None);
        }
    }
}
