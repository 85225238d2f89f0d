//! The id of a backup directory, which is recorded in its backups and their copies, whatever the name of the host.

use ring::rand::{SecureRandom, SystemRandom};

use crate::catalogue::read_document;
use crate::error::{Error, Kind, Result};
use crate::store::{ObjectKind, Store};

/// Name of the file. It begins with a dot, unlike those of backups.
const KEY: &str = ".pgcellar.id";

/// The id of this directory, or a new one, which [`keep`] stores once there is a backup.
pub fn of(directory: &dyn Store) -> Result<String> {
    if let Some(id) = read(directory)? {
        return Ok(id);
    }
    let mut random = [0; 16];
    SystemRandom::new().fill(&mut random).map_err(|_| {
        Error::new(Kind::System, "the system provides no random bytes for the id of the backup directory")
    })?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Stores the id of a directory that has none, durably. The caller must exclude other runs.
pub fn keep(directory: &dyn Store, id: &str) -> Result<()> {
    match read(directory)? {
        Some(_) => Ok(()),
        None => directory.replace(KEY, format!("{id}\n").as_bytes(), ObjectKind::Record),
    }
}

fn read(directory: &dyn Store) -> Result<Option<String>> {
    match read_document(directory, KEY) {
        Ok(bytes) if is_id(&bytes) => Ok(Some(String::from_utf8_lossy(&bytes).trim_end().to_owned())),
        Ok(_) => {
            log::warn!("{KEY} in {} is not a valid id: the directory gets a new one", directory.location());
            Ok(None)
        }
        Err(error) if error.kind() == Kind::Missing => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_id(bytes: &[u8]) -> bool {
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    text.len() == 32 && text.iter().all(u8::is_ascii_hexdigit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::local::LocalStore;

    #[test]
    fn an_id_stays() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::new(folder.path());
        let id = of(&store).unwrap();
        assert!(is_id(id.as_bytes()) && read(&store).unwrap().is_none());
        keep(&store, &id).unwrap();
        assert_eq!(of(&store).unwrap(), id);
        keep(&store, &of(&LocalStore::new("/nonexistent")).unwrap()).unwrap();
        assert_eq!(of(&store).unwrap(), id);
        assert!(store.list().unwrap().is_empty());
        std::fs::write(folder.path().join(KEY), "x").unwrap();
        assert_ne!(of(&store).unwrap(), id);
    }
}
