//! Why systemd could not run a unit, and what to do about it. If systemd fails between the fork and the program, it
//! uses exit statuses of its own, from 200 on (`systemd.exec(5)`, "Process Exit Codes"), and the program has logged
//! nothing.

/// Why a unit's program did not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitFailure {
    /// What systemd could not do, in one sentence without a full stop.
    pub what: String,
    /// What to do next.
    pub hint: String,
}

/// The first of systemd's own exit statuses, and the last.
const FIRST: u16 = 200;
const LAST: u16 = 245;

/// Steps of setting a unit up: exit status, systemd's name of it, and what could not be done.
#[rustfmt::skip]
const STEPS: &[(u16, &str, &str)] = &[
    (200, "CHDIR", "change to its working directory"),
    (201, "NICE", "set its priority"),
    (202, "FDS", "pass its file descriptors on"),
    (203, "EXEC", "execute its program"),
    (204, "MEMORY", "set it up, for lack of memory"),
    (205, "LIMITS", "set its resource limits"),
    (206, "OOM_ADJUST", "set its OOM score"),
    (207, "SIGNAL_MASK", "set its signal mask"),
    (208, "STDIN", "connect its standard input"),
    (209, "STDOUT", "connect its standard output"),
    (210, "CHROOT", "change its root directory"),
    (211, "IOPRIO", "set its I/O priority"),
    (212, "TIMERSLACK", "set its timer slack"),
    (213, "SECUREBITS", "set its secure bits"),
    (214, "SETSCHEDULER", "set its CPU scheduling"),
    (215, "CPUAFFINITY", "set its CPU affinity"),
    (216, "GROUP", "change to its groups"),
    (217, "USER", "change to its user"),
    (218, "CAPABILITIES", "drop capabilities"),
    (219, "CGROUP", "move it to its control group"),
    (220, "SETSID", "create its session"),
    (221, "CONFIRM", "start it: somebody at the console declined"),
    (222, "STDERR", "connect its standard error"),
    (224, "PAM", "open its PAM session"),
    (225, "NETWORK", "set up its network namespace"),
    (226, "NAMESPACE", "set up its view of the file system"),
    (227, "NO_NEW_PRIVILEGES", "keep it from new privileges"),
    (228, "SECCOMP", "install its system call filter"),
    (229, "SELINUX_CONTEXT", "set its SELinux context"),
    (230, "PERSONALITY", "set its execution domain"),
    (231, "APPARMOR_PROFILE", "change to its AppArmor profile"),
    (232, "ADDRESS_FAMILIES", "restrict its address families"),
    (233, "RUNTIME_DIRECTORY", "set up its folder below /run/pgcellar"),
    (235, "CHOWN", "change the owner of a socket"),
    (236, "SMACK_PROCESS_LABEL", "set its SMACK label"),
    (237, "KEYRING", "set up its keyring"),
    (238, "STATE_DIRECTORY", "set up its folder below /var/lib/pgcellar"),
    (239, "CACHE_DIRECTORY", "set up its cache directory"),
    (240, "LOGS_DIRECTORY", "set up its log directory"),
    (241, "CONFIGURATION_DIRECTORY", "set up its configuration directory"),
    (242, "NUMA_POLICY", "set its NUMA policy"),
    (243, "CREDENTIALS", "load its credentials"),
    (245, "BPF", "attach its BPF programs"),
];

/// The failure for an exit status of systemd's own; none if it is the program's. `instance` is the unit's instance.
pub fn of_status(status: u16, instance: &str) -> Option<UnitFailure> {
    if !(FIRST..=LAST).contains(&status) {
        return None;
    }
    let step = STEPS.iter().find(|(number, ..)| *number == status);
    let what = match step {
        Some((_, name, what)) => format!("systemd could not {what} (exit status {status}, {name})"),
        None => format!("systemd could not set it up (exit status {status})"),
    };
    Some(UnitFailure { what, hint: hint(status, instance) })
}

fn hint(status: u16, instance: &str) -> String {
    match status {
        203 => format!(
            "is a variable in /etc/pgcellar/{instance}.env larger than 128 KiB, which no program can be started with? pgcellar config \
             check -i {instance} names it. If not, the package is incomplete: reinstall it"
        ),
        204 => "free memory, or give the unit more (MemoryMax=)".to_owned(),
        216 | 217 => "systemd-sysusers makes the user and the group that the package needs".to_owned(),
        226 => format!(
            "a folder that the unit names (ReadWritePaths= and the like) is missing, or this host or container permits no \
             namespaces: systemctl cat 'pgcellar-*@{instance}.service' shows its settings"
        ),
        233 | 238 => "is that file system full or read-only, or is something else at that path?".to_owned(),
        243 => credentials_hint(instance),
        _ => format!("journalctl -u 'pgcellar-*@{instance}.service' has systemd's reason"),
    }
}

/// What to do about credentials that systemd could not load.
pub fn credentials_hint(instance: &str) -> String {
    format!("as root, pgcellar config check -i {instance} names the file, its error and the command that repairs it")
}

/// What systemd's result of a unit (`Result=` in `org.freedesktop.systemd1(5)`, `$SERVICE_RESULT` in `systemd.exec(5)`)
/// says where no program of the unit has run; none if it says something else.
pub fn of_result(result: &str, instance: &str) -> Option<UnitFailure> {
    let (what, hint) = match result {
        "resources" => (
            "systemd could not start it (resources)".to_owned(),
            format!(
                "does /etc/pgcellar/{instance}.env exist, and is it UTF-8? pgcellar config check -i {instance} shows \
                 its errors"
            ),
        ),
        "start-limit-hit" => (
            "systemd did not start it, because it was started too often (start-limit-hit)".to_owned(),
            "systemctl reset-failed, once the cause of the earlier failures is removed".to_owned(),
        ),
        "exec-condition" | "protocol" => (
            format!("systemd could not run it ({result})"),
            "a drop-in has changed the unit: systemctl cat shows it".to_owned(),
        ),
        _ => return None,
    };
    Some(UnitFailure { what, hint })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_of_systemd_and_of_the_program() {
        for (status, word) in
            [(243, "credentials"), (217, "user"), (226, "NAMESPACE"), (238, "/var/lib/pgcellar"), (223, "223")]
        {
            let failure = of_status(status, "main").unwrap();
            assert!(failure.what.contains(word) && !failure.hint.is_empty(), "{failure:?}");
        }
        for status in [0, 1, 75, 78, 199, 246, 255] {
            assert_eq!(of_status(status, "main"), None);
        }
        assert!(of_status(203, "shop").unwrap().hint.contains("/etc/pgcellar/shop.env larger than 128 KiB"));
        assert!(of_status(243, "shop").unwrap().hint.contains("config check -i shop"));
    }

    #[test]
    fn results_without_a_run() {
        assert!(of_result("resources", "shop").unwrap().hint.contains("/etc/pgcellar/shop.env"));
        assert!(of_result("start-limit-hit", "shop").is_some());
        assert_eq!(of_result("exit-code", "shop"), None);
        assert_eq!(of_result("success", "shop"), None);
    }
}
