//! Whether the kernel has killed something of ours because there was no memory left.

use std::fs;
use std::path::Path;

/// How many processes of our control group the kernel has killed so far for want of memory: `oom_kill` in
/// `memory.events` (Linux, `Documentation/admin-guide/cgroup-v2.rst`). None where there are no such groups.
pub fn killed() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let events = Path::new("/sys/fs/cgroup").join(group(&groups)?).join("memory.events");
    number(&fs::read_to_string(events).ok()?)
}

/// The group of version 2 in `/proc/PID/cgroup` (`cgroups(7)`): its hierarchy is 0.
fn group(groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| line.strip_prefix("0::/"))
}

fn number(events: &str) -> Option<u64> {
    events.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_read() {
        assert_eq!(group("12:pids:/x\n0::/system.slice/docker-1.scope\n"), Some("system.slice/docker-1.scope"));
        assert_eq!(group("0::/\n"), Some(""));
        assert_eq!(group("1:name=systemd:/\n"), None);
        assert_eq!(number("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n"), Some(2));
        assert_eq!(number(""), None);
    }
}
