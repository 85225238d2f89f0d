//! An administrator's drop-ins for a task's unit, as `systemctl edit` and `systemctl set-property` write them: they
//! apply to the same verb of `pgcellar -i`. They are passed in a drop-in too, since those of all units of pgcellar
//! override the properties of a transient unit.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Result};

/// Keys for when and how a unit's program is started, which `pgcellar -i` sets itself.
const EXCLUDED: &[&str] =
    &["Type", "Restart", "RestartSec", "RemainAfterExit", "SuccessExitStatus", "NotifyAccess", "GuessMainPID"];

/// Prefixes of such keys.
const EXCLUDED_BEGIN: &[&str] = &["Exec", "Timeout", "Standard", "Restart", "StartLimit"];

/// The folder for drop-ins that do not survive a boot.
const FOLDER: &str = "/run/systemd/system";

/// A drop-in for one transient unit. Dropping it removes it.
#[derive(Debug)]
pub struct DropIn(PathBuf);

impl DropIn {
    /// Writes it. Call it before the unit is created: systemd reads drop-ins when it loads the unit. It overrides all
    /// others.
    pub fn write(unit: &str, assignments: &[String]) -> Result<Self> {
        let folder = Path::new(FOLDER).join(format!("{unit}.d"));
        let path = folder.join("90-call.conf");
        let text: String = assignments.iter().map(|line| format!("{line}\n")).collect();
        let drop_in = DropIn(folder);
        std::fs::create_dir_all(&drop_in.0)
            .and_then(|()| std::fs::write(&path, format!("[Service]\n{text}")))
            .map_err(|error| Error::write(path.display(), &error))?;
        Ok(drop_in)
    }
}

impl Drop for DropIn {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            log::debug!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// The assignments in the `[Service]` sections of the drop-ins for `pgcellar-VERB@INSTANCE.service` alone, in their
/// order. Those of all units of pgcellar apply to a transient unit by its name.
pub fn assignments(verb: &str, instance: &str) -> Vec<String> {
    let unit = format!("pgcellar-{verb}@{instance}.service");
    let mut show = Command::new("systemctl");
    show.args(["show", "--property=DropInPaths", "--value", "--", &unit]).stdin(Stdio::null()).stderr(Stdio::null());
    let Ok(output) = show.output() else { return Vec::new() };
    let paths = String::from_utf8_lossy(&output.stdout).into_owned();
    let own = [format!("pgcellar-{verb}@.service.d"), format!("{unit}.d")];
    let is_own = |path: &&Path| {
        let folder = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        // `pgcellar -i` sets what the generator writes from the same list.
        folder.is_some_and(|name| own.iter().any(|one| one == name)) && !path.starts_with("/run/systemd/generator")
    };
    // A path with a blank is quoted.
    let paths = shlex::split(&paths).unwrap_or_default();
    let texts = paths.iter().map(Path::new).filter(is_own).filter_map(|path| {
        std::fs::read_to_string(path).inspect_err(|error| log::warn!("cannot read {}: {error}", path.display())).ok()
    });
    texts.flat_map(|text| parse(&text)).collect()
}

/// The assignments of a text's `[Service]` sections (`systemd.syntax(7)`).
fn parse(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_service = false;
    let mut line_so_far = String::new();
    for line in text.lines() {
        let plain = line.trim();
        if plain.starts_with(['#', ';']) || (plain.is_empty() && line_so_far.is_empty()) {
            continue;
        }
        line_so_far.push_str(plain);
        if line_so_far.ends_with('\\') {
            line_so_far.pop();
            line_so_far.push(' ');
            continue;
        }
        let whole = std::mem::take(&mut line_so_far);
        if whole.starts_with('[') {
            is_service = whole == "[Service]";
        } else if let Some((key, value)) = whole.split_once('=').filter(|_| is_service) {
            let key = key.trim();
            let is_excluded = EXCLUDED.contains(&key) || EXCLUDED_BEGIN.iter().any(|begin| key.starts_with(begin));
            if !is_excluded {
                found.push(format!("{key}={}", value.trim()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_administrator_sets_holds() {
        let text = "# why\n[Unit]\nAfter=x.service\n[Service]\nMemoryMax=1G\nExecStartPre=/bin/true\nTimeoutStartSec=5h\n\
                    ReadWritePaths=/srv/%i \\\n  /srv/50%%\nEnvironment=\"A=b c\"\n; no\nType=exec\n[Install]\nAlias=x\n";
        assert_eq!(parse(text), ["MemoryMax=1G", "ReadWritePaths=/srv/%i  /srv/50%%", "Environment=\"A=b c\""]);
        assert_eq!(parse("MemoryMax=1G\n"), [""; 0], "an assignment without a section");
    }
}
