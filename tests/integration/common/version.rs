//! The PostgreSQL versions of this run.

use std::env;
use std::path::{Path, PathBuf};

/// A major version of PostgreSQL that the tests run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(pub u32);

impl Version {
    /// The oldest version that is backed up.
    pub const V13: Version = Version(13);
    /// One whose client programs are those of the next version.
    pub const V14: Version = Version(14);
    /// The version of Debian 12, which most tests use.
    pub const V15: Version = Version(15);
    /// Another one whose client programs are those of the next version.
    pub const V16: Version = Version(16);
    /// The version of Debian 13.
    pub const V17: Version = Version(17);
    /// The version of Debian's next release.
    pub const V18: Version = Version(18);
    /// The newest version.
    pub const V19: Version = Version(19);
    /// Every version that is backed up.
    pub const ALL: [Version; 7] =
        [Version::V13, Version::V14, Version::V15, Version::V16, Version::V17, Version::V18, Version::V19];
    /// The version of Debian 13, with all packages of extensions.
    pub const V17_EXTENSIONS: Version = Version(1700);

    /// Whether this run covers the version: `PGCELLAR_TEST_PG`, a list of `MAJOR=FOLDER`, narrows a run to the versions
    /// that it names. Without it, every version is covered.
    pub fn is_covered(self) -> bool {
        named_folders().is_none_or(|folders| folders.iter().any(|(version, _)| *version == self))
    }

    /// The folder with this version's programs, as `PG_BINDIR` takes it. Fails the test when there is none: a version
    /// that was asked for is never skipped.
    pub fn bin_dir(self) -> PathBuf {
        let folder = match named_folders() {
            Some(folders) => folders.into_iter().find(|(version, _)| *version == self).map(|(_, folder)| folder),
            None => self.usual_folders().into_iter().find(|folder| folder.join("postgres").exists()),
        };
        match folder {
            Some(folder) if folder.join("postgres").exists() => folder,
            Some(folder) => panic!("no PostgreSQL server in {} (PGCELLAR_TEST_PG names it)", folder.display()),
            None => panic!("PostgreSQL is not here (scripts/tool postgres-{} fetches it)", self.label()),
        }
    }

    /// Its name in `PGCELLAR_TEST_PG`, and that of the tool that fetches it.
    fn label(self) -> String {
        if self == Version::V17_EXTENSIONS { "17-extensions".to_owned() } else { self.0.to_string() }
    }

    fn usual_folders(self) -> [PathBuf; 3] {
        let wrappers = format!("pgcellar-test/postgres-{}@1/bin", self.label());
        let cache = env::var_os("XDG_CACHE_HOME")
            .map_or_else(|| Path::new(&env::var_os("HOME").unwrap_or_default()).join(".cache"), PathBuf::from);
        [
            PathBuf::from(format!("/usr/lib/postgresql/{}/bin", self.label())),
            Path::new("/var/cache").join(&wrappers),
            cache.join(wrappers),
        ]
    }
}

fn named_folders() -> Option<Vec<(Version, PathBuf)>> {
    let list = env::var("PGCELLAR_TEST_PG").ok().filter(|list| !list.trim().is_empty())?;
    let folders = list.split_whitespace().map(|entry| {
        let (major, folder) = entry.split_once('=').expect("PGCELLAR_TEST_PG is a list of MAJOR=FOLDER");
        let version = match major {
            "17-extensions" => Version::V17_EXTENSIONS,
            major => Version(major.parse().expect("a major version in PGCELLAR_TEST_PG")),
        };
        (version, PathBuf::from(folder))
    });
    Some(folders.collect())
}
