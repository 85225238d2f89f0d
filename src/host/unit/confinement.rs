//! Files on the command line of `pgcellar -i` that the unit's confinement hides: they are bound into the unit, each
//! under its own path.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};

/// What `ProtectHome=` hides (`systemd.exec(5)`).
pub const HOMES: &[&str] = &["/home", "/root", "/run/user"];

/// What `PrivateTmp=` replaces by an empty folder.
pub const TEMPORARY: &[&str] = &["/tmp", "/var/tmp"];

/// Refuses a path that cannot be bound into a unit.
pub fn must_be_handed_in(path: &Path) -> Result<()> {
    let shown = path.display();
    let found = path.metadata().map_err(|error| Error::read(shown.to_string(), &error))?;
    if !found.is_file() && !found.is_dir() {
        return Err(Error::new(
            Kind::Usage,
            format!("{shown} is a pipe or a device, which cannot be passed to the unit of the instance"),
        )
        .hint("write it to a file first"));
    }
    let is_hidden = HOMES.iter().chain(TEMPORARY).any(|folder| path.starts_with(folder));
    if is_hidden && shown.to_string().contains(['"', '\\']) {
        return Err(Error::new(Kind::Usage, format!("systemd does not accept the name {shown} in a unit"))
            .hint("rename the file, or make a link with another name in a folder such as /srv"));
    }
    Ok(())
}

/// The files, and what of the confinement must be lifted for them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct NamedFiles {
    /// Files in hidden folders.
    hidden: Vec<PathBuf>,
    /// Whether one of them is below a home folder.
    in_home: bool,
    /// Whether some of them are not world-readable.
    closed: bool,
}

impl NamedFiles {
    /// Examines files and folders by their absolute paths.
    pub fn new(paths: &[PathBuf]) -> Self {
        let below = |path: &Path, folders: &[&str]| folders.iter().any(|folder| path.starts_with(folder));
        let mut found = NamedFiles::default();
        // The verb reports missing files.
        for path in paths.iter().filter(|path| path.exists()) {
            let (home, temporary) = (below(path, HOMES), below(path, TEMPORARY));
            // A bound file is mounted in folders that everyone may enter.
            let beyond_folders = home || temporary;
            found.closed |= !everybody_reads(path, !beyond_folders);
            found.in_home |= home;
            if beyond_folders {
                found.hidden.push(path.clone());
            }
        }
        found
    }

    /// Assignments for a unit that can read them; `may_read_all` if its user can already.
    pub fn assignments(&self, may_read_all: bool) -> Vec<String> {
        let mut all = Vec::new();
        if self.in_home {
            // An inaccessible folder takes no mount.
            all.push("ProtectHome=tmpfs".to_owned());
        }
        for path in &self.hidden {
            // An unescaped colon would separate the path inside. systemd's parser of these paths receives backslashes
            // unchanged.
            let path = super::without_specifiers(&path.display().to_string().replace(':', "\\:"));
            all.push(format!("BindReadOnlyPaths=\"{path}\""));
        }
        if self.closed && !may_read_all {
            let right = "CAP_DAC_READ_SEARCH";
            all.push("PrivateUsers=no".to_owned());
            all.push(format!("CapabilityBoundingSet={right}"));
            all.push(format!("AmbientCapabilities={right}"));
        }
        all
    }
}

/// Whether a file, or a folder with its files, is world-readable; with `with_way` the folders above it, too.
fn everybody_reads(path: &Path, with_way: bool) -> bool {
    let mode = |path: &Path| path.metadata().map(|found| found.permissions().mode()).unwrap_or_default();
    let way = || path.ancestors().skip(1).all(|folder| mode(folder) & 0o001 != 0);
    let itself = match path.metadata() {
        Ok(found) if found.is_dir() => {
            let files = std::fs::read_dir(path).into_iter().flatten().flatten();
            found.mode() & 0o005 == 0o005 && files.into_iter().all(|entry| mode(&entry.path()) & 0o004 != 0)
        }
        Ok(found) => found.mode() & 0o004 != 0,
        Err(_) => true,
    };
    itself && (!with_way || way())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assignments(paths: &[&str], may_read_all: bool) -> Vec<String> {
        NamedFiles::new(&paths.iter().map(PathBuf::from).collect::<Vec<_>>()).assignments(may_read_all)
    }

    #[test]
    fn what_the_confinement_hides_is_handed_in() {
        assert_eq!(assignments(&["/etc/passwd"], false), [""; 0]);
        let files = NamedFiles { hidden: vec!["/root/a b:c.dump".into()], in_home: true, closed: true };
        let expected = ["ProtectHome=tmpfs", "BindReadOnlyPaths=\"/root/a b\\:c.dump\""];
        assert_eq!(files.assignments(true), expected);
    }

    #[test]
    fn a_file_that_is_closed_to_others_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.dump");
        std::fs::write(&path, "x").unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(everybody_reads(&path, false), "the folder does not count");
        assert!(!everybody_reads(&path, true), "the folder is ours alone");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(!everybody_reads(&path, false));
        let rights = |may| assignments(&[path.to_str().unwrap()], may).iter().any(|one| one.contains("CAP_DAC"));
        assert!(rights(false) && !rights(true));
    }
}
