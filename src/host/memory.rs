//! The memory of this host and of its control group.

use std::fs;
use std::path::Path;

/// Where the control groups of version 2 are mounted.
const GROUPS: &str = "/sys/fs/cgroup";

/// Bytes available without swapping: `MemAvailable` of proc_meminfo(5), or what the control group leaves where that is
/// less (`memory.max` of cgroups(7), version 2).
pub fn available() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    let host = kibibytes.map_or_else(a_part_of_all, |kibibytes| kibibytes.saturating_mul(1024));
    limit().map_or(host, |limit| limit.min(host))
}

/// A guess where /proc shows only processes (`ProcSubset=pid`).
fn a_part_of_all() -> u64 {
    let system = rustix::system::sysinfo();
    system.totalram.saturating_mul(u64::from(system.mem_unit)) / 4
}

/// What the limits of the control group and of its ancestors, such as `pgcellar.slice`, leave.
fn limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    least(Path::new(GROUPS), Path::new(group(&groups)?))
}

/// The least that a group or one of its ancestors leaves; `root` is where the groups are mounted.
fn least(root: &Path, own: &Path) -> Option<u64> {
    let left = own.ancestors().filter_map(|group| {
        let folder = root.join(group);
        let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
        let limit = number("memory.max").into_iter().chain(number("memory.high")).min()?;
        Some(limit.saturating_sub(number("memory.current").unwrap_or_default()))
    });
    left.min()
}

/// How many processes of this control group the kernel has killed so far for lack of memory: `oom_kill` in
/// `memory.events` (Linux, `Documentation/admin-guide/cgroup-v2.rst`). None without control groups of version 2.
pub fn oom_kills() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let events = Path::new(GROUPS).join(group(&groups)?).join("memory.events");
    oom_kill(&fs::read_to_string(events).ok()?)
}

/// The group of version 2 in `/proc/PID/cgroup` (`cgroups(7)`): its hierarchy is 0.
fn group(groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| line.strip_prefix("0::/"))
}

fn oom_kill(events: &str) -> Option<u64> {
    events.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_read() {
        assert_eq!(group("12:pids:/x\n0::/system.slice/docker-1.scope\n"), Some("system.slice/docker-1.scope"));
        assert_eq!(group("0::/\n"), Some(""));
        assert_eq!(group("1:name=systemd:/\n"), None);
        assert_eq!(oom_kill("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n"), Some(2));
        assert_eq!(oom_kill(""), None);
    }

    #[test]
    fn some_is_available() {
        assert!(available() > 1 << 20);
    }

    #[test]
    fn the_least_of_all_groups_counts() {
        let root = tempfile::tempdir().unwrap();
        let own = Path::new("pgcellar.slice/x.service");
        let write = |group: &str, name: &str, text: &str| {
            let folder = root.path().join(group);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(name), text).unwrap();
        };
        write("pgcellar.slice/x.service", "memory.max", "max\n");
        assert_eq!(least(root.path(), own), None);
        write("pgcellar.slice", "memory.max", "64000\n");
        write("pgcellar.slice", "memory.current", "14000\n");
        assert_eq!(least(root.path(), own), Some(50000));
        write("pgcellar.slice/x.service", "memory.high", "30000\n");
        assert_eq!(least(root.path(), own), Some(30000));
    }
}
