//! System V shared memory, semaphores and message queues, which outlive their creators. If restored code used up the kernel's limits, no
//! later server could start (`sysvipc(7)`).

use std::collections::HashSet;
use std::fs;
use std::process::{Command, Stdio};

/// The kinds: the table in `/proc/sysvipc`, the column with the number there, and the option of `ipcrm(1)` that removes one.
const KINDS: &[(&str, &str, &str)] =
    &[("shm", "shmid", "--shmem-id"), ("sem", "semid", "--semaphore-id"), ("msg", "msqid", "--queue-id")];

/// Objects that one call of `ipcrm` removes.
const AT_ONCE: usize = 500;

/// The objects that existed when the sandbox began, which stay.
#[derive(Debug)]
pub struct InitialIpc(Vec<HashSet<String>>);

impl InitialIpc {
    /// Lists the existing objects.
    pub fn take() -> Self {
        InitialIpc(KINDS.iter().map(|(table, column, _)| own_ids(table, column).into_iter().collect()).collect())
    }

    /// Removes the objects that this user has made since then and no process is attached to. If that fails, the next server reports it.
    /// Blocks.
    pub fn restore(&self) {
        for ((table, column, option), kept) in KINDS.iter().zip(&self.0) {
            let new: Vec<String> = own_ids(table, column).into_iter().filter(|id| !kept.contains(id)).collect();
            for some in new.chunks(AT_ONCE) {
                remove(option, some);
            }
        }
    }
}

fn remove(option: &str, ids: &[String]) {
    let mut command = Command::new("ipcrm");
    for id in ids {
        command.args([option, id]);
    }
    match command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(status) if status.success() => log::info!("removed {} System V objects that a drill had left", ids.len()),
        Ok(status) => log::warn!("System V objects of a drill cannot be removed: ipcrm: {status}"),
        Err(error) => log::warn!("System V objects of a drill cannot be removed: ipcrm: {error}"),
    }
}

/// The numbers of the objects that this user has made.
fn own_ids(table: &str, column: &str) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/sysvipc/{table}")).unwrap_or_default();
    of(&text, column, rustix::process::geteuid().as_raw())
}

/// An owner can give an object away, but cannot change its creator. The first line names the columns.
fn of(table: &str, column: &str, user: u32) -> Vec<String> {
    let mut lines = table.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split_ascii_whitespace().collect();
    let at = |name: &str| header.iter().position(|column| *column == name);
    let (Some(id), Some(maker)) = (at(column), at("cuid")) else { return Vec::new() };
    let attached = at("nattch");
    let one = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let is_free = attached.is_none_or(|at| fields.get(at) == Some(&"0"));
        let is_ours = fields.get(maker).and_then(|maker| maker.parse().ok()) == Some(user);
        fields.get(id).filter(|_| is_free && is_ours).map(|id| (*id).to_owned())
    };
    lines.filter_map(one).collect()
}

/// Whether no more segments of shared memory can be made (`shmmni` of `proc_sys_kernel(5)`).
pub fn is_used_up() -> bool {
    let limit = fs::read_to_string("/proc/sys/kernel/shmmni").ok().and_then(|limit| limit.trim().parse::<usize>().ok());
    let used = fs::read_to_string("/proc/sysvipc/shm").map(|table| table.lines().skip(1).count());
    matches!((limit, used), (Some(limit), Ok(used)) if used >= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_this_user_are_selected_by_the_columns_names() {
        let shm = "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime\n\
                   \x20        0          3   600                  4096    12    12      0     0     0 10002 10002          0\n\
                   \x20        0          4   600                  4096    12    12      1 10002 10002 10002 10002          0\n\
                   \x20        0          5   600                  4096    12    12      0 10002 10002     0     0          0\n";
        assert_eq!(of(shm, "shmid", 10002), ["3"]);
        let sem = "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n\
                   \x20        7         32   600          1 10002 10002 10002 10002          0          0\n";
        assert_eq!(of(sem, "semid", 10002), ["32"]);
        assert!(of("", "msqid", 10002).is_empty());
    }

    #[test]
    fn later_objects_are_removed() {
        let make = |kind: &str, value: &str| {
            let made = Command::new("ipcmk").args([kind, value]).output().unwrap();
            let text = String::from_utf8(made.stdout).unwrap();
            text.rsplit_once(": ").unwrap().1.trim().to_owned()
        };
        let there = || -> Vec<Vec<String>> { KINDS.iter().map(|(table, column, _)| own_ids(table, column)).collect() };
        let (old, new, semaphore) = (make("--shmem", "4096"), make("--shmem", "4096"), make("--semaphore", "1"));
        // Other processes on this machine may make objects meanwhile.
        let mut stock = InitialIpc(there().into_iter().map(HashSet::from_iter).collect());
        assert!(stock.0[0].remove(&new) && stock.0[1].remove(&semaphore));
        stock.restore();
        let left = there();
        assert!(left[0].contains(&old) && !left[0].contains(&new) && !left[1].contains(&semaphore));
        remove(KINDS[0].2, &[old]);
    }
}
