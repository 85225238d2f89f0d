//! How much memory this host has to give.

use std::path::PathBuf;

/// Bytes that can be had without swapping: `MemAvailable` of proc_meminfo(5), or what the control group leaves where that is
/// less (`memory.max` of cgroups(7), version 2).
pub fn available() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    let host = kibibytes.map_or_else(a_part_of_all, |kibibytes| kibibytes.saturating_mul(1024));
    limit().map_or(host, |limit| limit.min(host))
}

/// A guess where /proc shows processes alone (`ProcSubset=pid`).
fn a_part_of_all() -> u64 {
    let system = rustix::system::sysinfo();
    system.totalram.saturating_mul(u64::from(system.mem_unit)) / 4
}

/// What is left of the control group's limit, if it has one.
fn limit() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let folder = PathBuf::from("/sys/fs/cgroup").join(own.trim_start_matches('/'));
    let number = |name: &str| std::fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    number("memory.max").map(|limit| limit.saturating_sub(number("memory.current").unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn there_is_some() {
        assert!(super::available() > 1 << 20);
    }
}
