//! How much memory this host has to give.

use std::path::Path;

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

/// What is left of the limits of the control group and of those above it, such as `pgcellar.slice`.
fn limit() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    least(Path::new("/sys/fs/cgroup"), Path::new(own.trim_start_matches('/')))
}

/// The least that a group or one above it leaves, below the folder where the groups are.
fn least(root: &Path, own: &Path) -> Option<u64> {
    let left = own.ancestors().filter_map(|group| {
        let folder = root.join(group);
        let number = |name: &str| std::fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
        let limit = number("memory.max").into_iter().chain(number("memory.high")).min()?;
        Some(limit.saturating_sub(number("memory.current").unwrap_or_default()))
    });
    left.min()
}

#[cfg(test)]
mod tests {
    #[test]
    fn there_is_some() {
        assert!(super::available() > 1 << 20);
    }

    #[test]
    fn the_least_of_all_groups_counts() {
        let root = tempfile::tempdir().unwrap();
        let own = std::path::Path::new("pgcellar.slice/x.service");
        let write = |group: &str, name: &str, text: &str| {
            let folder = root.path().join(group);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(name), text).unwrap();
        };
        write("pgcellar.slice/x.service", "memory.max", "max\n");
        assert_eq!(super::least(root.path(), own), None);
        write("pgcellar.slice", "memory.max", "64000\n");
        write("pgcellar.slice", "memory.current", "14000\n");
        assert_eq!(super::least(root.path(), own), Some(50000));
        write("pgcellar.slice/x.service", "memory.high", "30000\n");
        assert_eq!(super::least(root.path(), own), Some(30000));
    }
}
