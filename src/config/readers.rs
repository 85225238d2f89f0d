//! Which other users may read a file of settings that contains secrets.

use std::fmt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::config::env_file::EnvFile;
use crate::config::variables::CREDENTIALS;
use crate::printable::printable;

/// The names of groups.
const GROUPS: &str = "/etc/group";

/// The group of the units.
const UNITS: &str = "pgcellar";

/// Users who may read a file besides its owner and the user of the tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readers {
    /// All users of this host.
    Everybody,
    /// The members of this group.
    Group(String),
}

impl Readers {
    /// Those of a file; none if no other user may read it, or if that is unknown.
    pub fn of(path: &Path) -> Option<Self> {
        let file = std::fs::metadata(path).ok()?;
        let mode = file.permissions().mode();
        if mode & 0o004 != 0 {
            return Some(Readers::Everybody);
        }
        let group = file.gid();
        let own = group == 0
            || group == rustix::process::getegid().as_raw()
            || rustix::process::getgroups().is_ok_and(|all| all.iter().any(|one| one.as_raw() == group));
        let name = group_name(&std::fs::read_to_string(GROUPS).unwrap_or_default(), group);
        (mode & 0o040 != 0 && !own && name != UNITS).then_some(Readers::Group(name))
    }

    /// The mode for `chmod` that removes their permission.
    pub fn mode(&self) -> &'static str {
        match self {
            Readers::Everybody => "o=",
            Readers::Group(_) => "g=",
        }
    }
}

impl fmt::Display for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Readers::Everybody => f.write_str("everybody on this host"),
            Readers::Group(name) => write!(f, "the group {}", printable(name)),
        }
    }
}

/// The name of a group in `/etc/group` (`group(5)`), or its number.
fn group_name(groups: &str, number: u32) -> String {
    let named = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(number)).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| number.to_string())
}

/// The warning for a file of settings that others may read; none if it has no secret for which `counts`.
pub fn warning(path: &Path, file: &EnvFile, counts: impl Fn(&str, &str) -> bool) -> Option<String> {
    let readers = Readers::of(path)?;
    let secrets: Vec<&str> = CREDENTIALS
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| file.get(name).is_some_and(|value| !value.is_empty() && counts(name, value)))
        .collect();
    let path = printable(&path.display().to_string());
    (!secrets.is_empty()).then(|| {
        format!("{readers} may read {path}, which has {}: chmod {} {path}", secrets.join(", "), readers.mode())
    })
}

/// The same for the file of an instance, for secrets that this process has from it.
pub fn warning_of_instance(path: &Path) -> Option<String> {
    let file = EnvFile::read(path).ok()?;
    warning(path, &file, |name, value| std::env::var(name).is_ok_and(|own| own == value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_read_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("main.env");
        std::fs::write(&path, "DB_NAME=shop\nDB_PASSWORD=hush\nSMTP_PASS=\n").unwrap();
        let warning_at = |mode: u32| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let file = EnvFile::parse(&std::fs::read_to_string(&path).unwrap());
            warning(&path, &file, |_, _| true)
        };
        assert_eq!((warning_at(0o600), warning_at(0o640)), (None, None), "the file has a group of this process");
        let shown = path.display();
        let expected = format!("everybody on this host may read {shown}, which has DB_PASSWORD: chmod o= {shown}");
        assert_eq!(warning_at(0o644), Some(expected));
        let file = EnvFile::parse("DB_PASSWORD=hush\n");
        assert_eq!(warning(&path, &file, |_, value| value != "hush"), None, "the settings come from elsewhere");
        assert_eq!(warning(&path, &EnvFile::parse("DB_NAME=shop\n"), |_, _| true), None, "there is no secret in it");
        assert_eq!(warning_of_instance(&path), None, "this process has no such variable");
    }

    #[test]
    fn groups_have_names() {
        let groups = "root:x:0:\nstaff:x:50:me,you\nbroken\npgcellar:x:501:\n";
        assert_eq!(group_name(groups, 50), "staff");
        assert_eq!(group_name(groups, 501), "pgcellar");
        assert_eq!(group_name(groups, 7), "7");
    }
}
