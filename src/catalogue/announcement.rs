//! Announcements: objects under a manifest's temporary name in a bucket while its backup is being written there.
//!
//! A streamed backup announces only whose it is, because nothing else is known yet; a copy announces its complete manifest, which
//! contains that too.

use serde::{Deserialize, Serialize};

use crate::catalogue::manifest::Manifest;
use crate::config::Maker;
use crate::document;
use crate::error::{Error, Kind, Result};
use crate::identity::Identity;
use crate::store::Store;

/// Whose backup is being written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// Id of the backup.
    pub id: String,
    /// Who makes it.
    #[serde(flatten)]
    pub maker: Maker,
    /// The server.
    #[serde(default)]
    pub server: AnnouncedServer,
}

/// The announced identity of a server, at the place where a manifest has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnouncedServer {
    /// Identity of the server.
    #[serde(default, skip_serializing_if = "Identity::is_empty")]
    pub identity: Identity,
}

impl Announcement {
    /// The document, as it is stored.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self)
            .map_err(|error| Error::new(Kind::Internal, format!("cannot write an announcement as JSON: {error}")))
    }

    /// Reads the announcement of a backup, if there is one: its bytes and its content. Bytes that cannot be parsed belong to
    /// another program.
    pub fn read(store: &dyn Store, id: &str) -> Result<Option<(Vec<u8>, Option<Announcement>)>> {
        match store.read_partial(&Manifest::key(id)) {
            Ok(bytes) => {
                let announcement = document::parse(&bytes).ok().filter(|one: &Announcement| one.id == id);
                Ok(Some((bytes, announcement)))
            }
            Err(error) if error.kind() == Kind::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether it is of this instance: of this host, or of a host of another name whose server has a mark of this one.
    pub fn is_of(&self, maker: &Maker, server: &Identity) -> bool {
        let has_mark = || self.server.identity.marks().any(|mark| server.marks().any(|own| own == mark));
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
        let (stored, announcement) = Announcement::read(&store, ID).unwrap().unwrap();
        assert_eq!(stored, bytes);
        announcement
    }

    #[test]
    fn announcements_and_manifests_name_their_maker() {
        let maker = |instance: &str, host: &str| Maker { instance: instance.to_owned(), host: host.to_owned() };
        let identity =
            |directory: &str| Identity { backup_directory: Some(directory.to_owned()), ..Identity::default() };
        let announcement = Announcement {
            id: ID.to_owned(),
            maker: maker("main", "db1"),
            server: AnnouncedServer { identity: identity("a") },
        };
        assert_eq!(read(&announcement.to_json().unwrap()), Some(announcement.clone()));
        assert!(announcement.is_of(&maker("main", "db1"), &Identity::default()));
        assert!(announcement.is_of(&maker("main", "db2"), &identity("a")));
        assert!(!announcement.is_of(&maker("main", "db2"), &Identity::default()));
        assert!(
            !announcement.is_of(&maker("main", "db2"), &identity("b"))
                && !announcement.is_of(&maker("other", "db1"), &identity("a"))
        );
        let mut manifest: Manifest = serde_json::from_str(include_str!("../../tests/golden/manifest.json")).unwrap();
        manifest.id = ID.to_owned();
        let announcement = read(&manifest.to_json().unwrap()).unwrap();
        assert!(announcement.is_of(&maker(&manifest.instance, &manifest.host), &Identity::default()));
        assert_eq!(announcement.server.identity, manifest.server.identity);
    }

    #[test]
    fn bytes_without_a_maker_are_no_announcement() {
        let maker = Maker { instance: "a".to_owned(), host: "b".to_owned() };
        let another = Announcement { id: "shop_20231231_020001".to_owned(), maker, server: AnnouncedServer::default() };
        for bytes in [b"".as_slice(), b"not JSON", b"{}", &another.to_json().unwrap()] {
            assert_eq!(read(bytes), None);
        }
    }
}
