//! The units that a task's unit requires and that are not active, such as the mount of the backups' disk: systemd does
//! not start the task without them.

use std::collections::BTreeSet;

use crate::host::systemctl;
use crate::host::systemctl::UnitProperties;
use crate::printable::printable;

/// The properties read of each unit.
const PROPERTIES: &str = "Id,ActiveState,Result,InvocationID,Where,What,Requires,BindsTo,Requisite";

/// How many steps of dependencies are followed from a task: enough for its mount and the disk's device.
const DEPTH: usize = 4;

/// A required unit that is not active.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MissingUnit {
    /// Its name.
    pub unit: String,
    /// systemd's result of its last run; `success` if it was never started.
    pub result: String,
    /// Its last run.
    pub invocation: String,
    /// The mount point and the device of a mount.
    pub mount: Option<(String, String)>,
}

impl MissingUnit {
    /// Whether it was started and failed, so that the journal has its log.
    pub fn has_failed(&self) -> bool {
        !matches!(self.result.as_str(), "" | "success")
    }
}

/// The units that `unit` requires and that are not active, the nearest first.
pub async fn of(unit: &str) -> Vec<MissingUnit> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::from([unit.to_owned()]);
    let mut asked = vec![unit.to_owned()];
    for _ in 0..DEPTH {
        let needed: Vec<String> = systemctl::show(asked, PROPERTIES).await.iter().flat_map(needs).collect();
        let needed: Vec<String> = needed.into_iter().filter(|name| seen.insert(name.clone())).collect();
        if needed.is_empty() {
            break;
        }
        let lacking: Vec<MissingUnit> = systemctl::show(needed, PROPERTIES).await.iter().filter_map(lacking).collect();
        asked = lacking.iter().map(|one| one.unit.clone()).collect();
        found.extend(lacking);
        if asked.is_empty() {
            break;
        }
    }
    found
}

fn needs(unit: &UnitProperties) -> Vec<String> {
    let names =
        ["Requires", "BindsTo", "Requisite"].into_iter().flat_map(|kind| unit.get(kind).split_ascii_whitespace());
    // systemd starts a slice with its units.
    names.filter(|name| !name.ends_with(".slice")).map(str::to_owned).collect()
}

/// The unit if it is missing. An inactive service does not count: it may have done its work.
fn lacking(unit: &UnitProperties) -> Option<MissingUnit> {
    let name = unit.get("Id");
    let is_lacking = match unit.get("ActiveState") {
        "failed" => true,
        "inactive" => !name.ends_with(".service"),
        _ => false,
    };
    let mount = name.ends_with(".mount").then(|| (unit.get("Where").to_owned(), unit.get("What").to_owned()));
    is_lacking.then(|| MissingUnit {
        unit: name.to_owned(),
        result: unit.get("Result").to_owned(),
        invocation: unit.get("InvocationID").to_owned(),
        mount,
    })
}

/// What is missing, and what to do before starting `task` again.
pub fn in_words(units: &[MissingUnit], task: &str) -> (String, String) {
    let (retry, task) = (|unit: &str| format!("systemctl start {}", printable(unit)), printable(task));
    let Some(first) = units.first() else {
        return (
            "systemd did not start it, because a unit that it needs did not start; that unit is active by now"
                .to_owned(),
            format!("{} runs it now", retry(&task)),
        );
    };
    let device = units.iter().find(|one| one.unit.ends_with(".device"));
    let (what, hint) = match (units.iter().find_map(|one| one.mount.as_ref().map(|mount| (one, mount))), device) {
        (Some((mount, (place, disk))), Some(_)) => (
            format!(
                "{} is not mounted, because its disk {} is missing ({})",
                printable(place),
                printable(disk),
                mount.unit
            ),
            format!("attach it, or correct its line in /etc/fstab; {} shows whether that helps", retry(&mount.unit)),
        ),
        (Some((mount, (place, disk))), None) => (
            format!("{}, where {} belongs, is not mounted ({})", printable(place), printable(disk), mount.unit),
            format!(
                "is the disk attached, and correct in /etc/fstab? {} mounts it, or shows why not",
                retry(&mount.unit)
            ),
        ),
        (None, _) => (
            format!("{} did not start", printable(&first.unit)),
            format!("systemctl status {} shows why", printable(&first.unit)),
        ),
    };
    (format!("systemd did not start it: {what}"), format!("{hint}; then {}", retry(&task)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<MissingUnit> {
        systemctl::parse(text).iter().filter_map(lacking).collect()
    }

    const MOUNT: &str = "Where=/mnt/bk\nWhat=/dev/gone\nResult=success\nInvocationID=\nRequires=-.mount system.slice\n\
                         BindsTo=dev-gone.device\nId=mnt-bk.mount\nActiveState=inactive\n";

    #[test]
    fn a_disk_that_is_not_there() {
        let device = "Id=dev-gone.device\nActiveState=inactive\n";
        let active = "Id=-.mount\nActiveState=active\n\nId=done.service\nActiveState=inactive\n";
        let all = found(&format!("{MOUNT}\n{device}\n{active}"));
        assert_eq!(all.iter().map(|one| one.unit.as_str()).collect::<Vec<_>>(), ["mnt-bk.mount", "dev-gone.device"]);
        let (what, hint) = in_words(&all, "pgcellar-backup@main.service");
        assert_eq!(
            what,
            "systemd did not start it: /mnt/bk is not mounted, because its disk /dev/gone is missing (mnt-bk.mount)"
        );
        assert!(hint.ends_with("then systemctl start pgcellar-backup@main.service"), "{hint}");
        let parsed = systemctl::parse(MOUNT);
        assert_eq!(needs(&parsed[0]), ["-.mount", "dev-gone.device"]);
    }

    #[test]
    fn others() {
        let mount = MOUNT.replace("success", "exit-code").replace("inactive", "failed");
        let all = found(&mount);
        assert!(all[0].has_failed());
        assert!(in_words(&all, "x").0.contains("/mnt/bk, where /dev/gone belongs, is not mounted"));
        let all = found("Id=other.service\nActiveState=failed\nResult=exit-code\n");
        assert!(in_words(&all, "x").0.contains("other.service did not start"));
        assert!(in_words(&[], "x").0.contains("is active by now"));
    }
}
