//! Where this process runs, for the commands in messages: the reader must be able to run them as they are.

use std::path::Path;

use rustix::process::Pid;

use crate::config::variables::SCHEDULED;
use crate::host::orphans::parent_of;
use crate::printable::path_word;

/// Set by container managers, and by pgcellar's images (<https://systemd.io/CONTAINER_INTERFACE/>). A booted systemd
/// removes it for its services.
const CONTAINER: &str = "container";

/// Kubernetes sets it in every container of a pod.
const KUBERNETES: &str = "KUBERNETES_SERVICE_HOST";

/// The instance that no command has to name.
const DEFAULT_INSTANCE: &str = "main";

/// Where this process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Surroundings {
    /// A host that systemd has booted.
    Systemd,
    /// A container of this host name, which is its name or ID unless set otherwise.
    Container(String),
    /// A pod of this name.
    Pod(String),
    /// A container of any kind that runs this one command and ends.
    Job,
    /// A host with another init.
    #[default]
    Shell,
}

impl Surroundings {
    /// Detects where this process runs.
    pub fn here() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let name = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        match set(CONTAINER) {
            true if is_job() => Surroundings::Job,
            true if set(KUBERNETES) => Surroundings::Pod(name()),
            true => Surroundings::Container(name()),
            // sd_booted(3)
            false if Path::new("/run/systemd/system").is_dir() => Surroundings::Systemd,
            false => Surroundings::Shell,
        }
    }

    /// Whether this is a container of any kind.
    pub fn is_container(&self) -> bool {
        matches!(self, Surroundings::Container(_) | Surroundings::Pod(_) | Surroundings::Job)
    }

    /// A call of pgcellar for an instance, as an administrator types it.
    pub fn call(&self, instance: &str, arguments: &str) -> String {
        let option = if instance == DEFAULT_INSTANCE { String::new() } else { format!("-i {instance} ") };
        match self {
            Surroundings::Systemd => format!("pgcellar -i {instance} {arguments}"),
            Surroundings::Container(name) => format!("docker exec {name} pgcellar {option}{arguments}"),
            Surroundings::Pod(name) => format!("kubectl exec {name} -- pgcellar {option}{arguments}"),
            Surroundings::Job => format!("pgcellar {option}{arguments} in another container like this one"),
            Surroundings::Shell => format!("pgcellar {option}{arguments}"),
        }
    }

    /// The command that shows the log of a unit, or of the container that runs the task instead.
    pub fn log(&self, unit: &str) -> String {
        match self {
            Surroundings::Systemd => format!("journalctl -u {unit}"),
            Surroundings::Container(name) => format!("docker logs {name}"),
            Surroundings::Pod(name) => format!("kubectl logs {name}"),
            Surroundings::Job => "the log of its container".to_owned(),
            Surroundings::Shell => "the log of the program that started it".to_owned(),
        }
    }

    /// The command that shows the log of the drills' sandbox.
    pub fn sandbox_log(&self) -> &'static str {
        match self {
            Surroundings::Systemd => "journalctl -u 'pgcellar-drill-sandbox@*'",
            Surroundings::Container(_) | Surroundings::Pod(_) | Surroundings::Job => {
                "the log of the sandbox's container; in the compose setup, docker compose logs drill"
            }
            Surroundings::Shell => "the log of the sandbox",
        }
    }

    /// How to start the drills' sandbox.
    pub fn start_sandbox(&self) -> &'static str {
        match self {
            Surroundings::Systemd => {
                "systemctl start pgcellar-drill-sandbox.socket, where the server of that PostgreSQL is installed"
            }
            Surroundings::Container(_) | Surroundings::Job => {
                "start the sandbox: in the compose setup, docker compose up --detach drill; elsewhere, a container of the \
                 image pgcellar-drill that shares the socket's folder"
            }
            Surroundings::Pod(_) => {
                "add a container of the image pgcellar-drill to the pod that shares the socket's folder"
            }
            Surroundings::Shell => "start the sandbox: pgcellar drill-sandbox --listen SOCKET, as a user of its own",
        }
    }

    /// The command that gives folders with their contents to this process's user. None is given for a folder where
    /// others may have files.
    pub fn give(&self, folders: &[&Path]) -> String {
        let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        if let Some(folder) = folders.iter().find(|folder| !is_for_backups(folder)) {
            let own = "set BACKUP_DIR to a folder of pgcellar's own, made by install -d";
            return format!(
                "other users may have files in {}: {own} -o {user} -g {group} -m 700 FOLDER",
                folder.display()
            );
        }
        let shown: Vec<String> = folders.iter().map(|folder| path_word(folder)).collect();
        let chown = format!("chown -R {user}:{group} {}", shown.join(" "));
        match self {
            Surroundings::Container(name) => format!("docker exec --privileged --user 0 {name} {chown}"),
            Surroundings::Pod(_) => {
                format!(
                    "set fsGroup: {group} in the pod's securityContext, and Kubernetes gives its volumes to that group"
                )
            }
            Surroundings::Systemd | Surroundings::Job | Surroundings::Shell => format!("as root: {chown}"),
        }
    }

    /// How to make a folder writable that is mounted read-only.
    pub fn mount_writable(&self, folder: &Path) -> String {
        let (word, folder) = (path_word(folder), folder.display());
        match self {
            Surroundings::Container(_) | Surroundings::Job => {
                format!(
                    "create the container again with the volume of {folder} mounted without :ro (read_only in a \
                     compose file)"
                )
            }
            Surroundings::Pod(_) => {
                format!("remove readOnly: true from the pod's volumeMount of {folder}, and from its volume")
            }
            Surroundings::Systemd | Surroundings::Shell => {
                format!("as root: mount -o remount,rw $(findmnt -n -o TARGET --target {word})")
            }
        }
    }

    /// How to install PostgreSQL's client programs of a major version.
    pub fn client_programs(&self, major: u32) -> String {
        match self.is_container() {
            true => format!("build the image with {major} in PG_VERSIONS"),
            false => format!("install postgresql-client-{major}"),
        }
    }

    /// How to install the server of a major version, for drills.
    pub fn server_programs(&self, major: u32) -> String {
        match self.is_container() {
            true => format!("build the sandbox's image with {major} in PG_SERVER"),
            false => format!("install postgresql-{major}; its cluster need not run"),
        }
    }

    /// Where to see whether and when a task runs.
    pub fn schedule(&self, task: &str, variable: &str, instance: &str) -> String {
        match self {
            Surroundings::Systemd => format!("systemctl status pgcellar-{task}@{instance}.timer"),
            _ => format!("{variable} says when it is due"),
        }
    }
}

/// Whether this process is the command that the container was started for, and not its scheduler. What `docker exec`
/// runs has no parent in the container.
fn is_job() -> bool {
    let stays = std::env::args_os().any(|argument| argument == "schedule" || argument == "drill-sandbox");
    !stays && std::env::var_os(SCHEDULED).is_none() && is_of_init()
}

/// Whether the container's first process started this one, directly or by processes that only pass the command on:
/// Docker's own init comes before that of the image.
fn is_of_init() -> bool {
    let arguments: Vec<Vec<u8>> = std::env::args_os().skip(1).map(|argument| argument.into_encoded_bytes()).collect();
    let mut process = rustix::process::getpid();
    loop {
        if process.is_init() {
            return true;
        }
        match parent_of(process) {
            Some(parent) if parent.is_init() || passes_on(parent, &arguments) => process = parent,
            _ => return false,
        }
    }
}

/// Whether the command line of a process ends with these arguments.
fn passes_on(process: Pid, arguments: &[Vec<u8>]) -> bool {
    let line = std::fs::read(format!("/proc/{}/cmdline", process.as_raw_nonzero())).unwrap_or_default();
    ends_with(&line, arguments)
}

/// Each argument in the file is followed by a zero byte (`proc_pid_cmdline(5)`).
fn ends_with(line: &[u8], arguments: &[Vec<u8>]) -> bool {
    let line = line.strip_suffix(&[0]).unwrap_or(line);
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    !arguments.is_empty()
        && words.len() > arguments.len()
        && words.iter().rev().zip(arguments.iter().rev()).all(|(word, own)| word == own)
}

/// Whether a folder belongs to pgcellar: one of its usual folders, or one that contains only files named as its own or as dumps.
fn is_for_backups(folder: &Path) -> bool {
    let usual = ["/backups", "/var/log/backup", "/var/backups/pgcellar"];
    let is_dump = |name: &str| [".dump", ".sql", ".manifest.json", ".pgcellar"].iter().any(|part| name.contains(part));
    let has_dumps_alone = || {
        let entries = std::fs::read_dir(folder).ok()?;
        let mut names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        Some(names.all(|name| is_dump(&name) || name == "lost+found"))
    };
    usual.iter().any(|usual| folder.starts_with(usual)) || has_dumps_alone().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_init_hands_the_command_on_and_a_shell_does_not() {
        let own = [b"list".to_vec(), b"--json".to_vec()];
        assert!(ends_with(b"tini\0--\0entrypoint\0list\0--json\0", &own));
        assert!(ends_with(b"/sbin/docker-init\0--\0tini\0--\0entrypoint\0list\0--json\0", &own));
        for other in [b"bash\0".as_slice(), b"sh\0-c\0pgcellar list --json\0", b"list\0--json\0", b""] {
            assert!(!ends_with(other, &own), "{other:?}");
        }
        // No arguments are at the end of every command line.
        assert!(!ends_with(b"bash\0", &[]));
    }

    #[test]
    fn commands_are_those_of_the_place() {
        let container = Surroundings::Container("shop_backup".to_owned());
        for (place, call, log) in [
            (Surroundings::Systemd, "pgcellar -i main list", "journalctl -u pgcellar-backup@main"),
            (container, "docker exec shop_backup pgcellar list", "docker logs shop_backup"),
            (Surroundings::Pod("p-1".to_owned()), "kubectl exec p-1 -- pgcellar list", "kubectl logs p-1"),
            (Surroundings::Shell, "pgcellar list", "the log of the program that started it"),
        ] {
            assert_eq!((place.call("main", "list"), place.log("pgcellar-backup@main")), (call.into(), log.into()));
            assert!(place.call("shop", "list").contains("-i shop list"));
        }
    }
}
