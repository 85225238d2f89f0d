//! PostgreSQL's programs: which version to use for a server, and how to start them.

use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

use futures_util::future::join_all;
use tokio::process::Command;

use crate::config::{Connection, Host};
use crate::error::{Error, Kind, Result};
use crate::host::surroundings::Surroundings;
use crate::postgres::child::killed;
use crate::postgres::passfile;

/// Folders of packaged PostgreSQL versions: Debian's and Red Hat's.
const PACKAGED: &[(&str, &str, &str)] = &[("/usr/lib/postgresql", "", "bin"), ("/usr", "pgsql-", "bin")];

/// `setpriv --pdeathsig` (`PR_SET_PDEATHSIG` of `prctl(2)`), on Debian and on NixOS.
const SETPRIV: &[&str] = &["/usr/bin/setpriv", "/run/current-system/sw/bin/setpriv"];

/// The client program whose version stands for that of all in its folder.
const PG_DUMP: &str = "pg_dump";

/// Variables that child processes keep: none of them has a secret.
const KEPT: &[&str] =
    &["PATH", "HOME", "TZ", "TMPDIR", "USER", "LOGNAME", "KRB5CCNAME", "KRB5_CONFIG", "LD_LIBRARY_PATH"];

/// A folder with the programs of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// The folder.
    pub folder: PathBuf,
    /// Version, as the programs print it: `15.18`.
    pub version: String,
    /// Major version.
    pub major: u32,
}

impl Programs {
    /// The programs for a server of this major version; logs a warning if they are newer.
    pub async fn for_server(bindir: Option<&Path>, server: u32) -> Result<Self> {
        let programs = Programs::fitting(bindir, server).await?;
        if let Some(warning) = programs.mismatch(server) {
            log::warn!("{warning}");
        }
        Ok(programs)
    }

    /// The warning for these programs and a server of another major version.
    pub fn mismatch(&self, server: u32) -> Option<String> {
        (self.major != server).then(|| {
            format!(
                "pg_dump {} is used for a server of version {server}: a server of that version may not accept its archive \
                 (postgresql-client-{server} has the matching one)",
                self.version
            )
        })
    }

    /// The programs for a server of this major version: its own if they are installed, else the oldest newer ones. A
    /// pg_dump refuses servers that are newer than itself.
    pub async fn fitting(bindir: Option<&Path>, server: u32) -> Result<Self> {
        let Installed { programs: installed, unanswered } = installed(bindir, PG_DUMP).await;
        if let Some(own) = installed.iter().find(|programs| programs.major == server) {
            return Ok(own.clone());
        }
        let newer = installed.iter().filter(|programs| programs.major > server).min_by_key(|programs| programs.major);
        if let Some(newer) = newer {
            return Ok(newer.clone());
        }
        let hint = format!(
            "{}, or set PG_BINDIR to the folder that has its pg_dump",
            Surroundings::here().client_programs(server)
        );
        match installed.iter().rev().max_by_key(|programs| programs.major) {
            Some(older) => Err(Error::new(
                Kind::System,
                format!(
                    "pg_dump {} in {} is too old for a server of version {server}",
                    older.version,
                    older.folder.display()
                ),
            )
            .hint(hint)),
            None => Err(unanswered.unwrap_or_else(|| {
                Error::new(Kind::System, format!("pg_dump is not installed{}", place(bindir))).hint(hint)
            })),
        }
    }

    /// The programs that restore an archive of pg_dump `archive` (major version) into a server of version `server`: the
    /// server's own where they can read the archive, else the oldest newer ones, else the newest. No pg_restore reads the
    /// archives of a newer pg_dump.
    pub async fn for_archive(bindir: Option<&Path>, server: u32, archive: u32) -> Result<Self> {
        let Installed { programs: installed, unanswered } = installed(bindir, PG_DUMP).await;
        let able = || installed.iter().filter(|programs| programs.major >= archive);
        let newer = able().filter(|programs| programs.major >= server).min_by_key(|programs| programs.major);
        if let Some(fit) = newer.or_else(|| able().rev().max_by_key(|programs| programs.major)) {
            return Ok(fit.clone());
        }
        if let Some(error) = unanswered {
            return Err(error);
        }
        let install = Surroundings::here().client_programs(server.max(archive));
        let hint = format!("{install}, or set PG_BINDIR to the folder that has its pg_restore");
        let message = match installed.iter().rev().max_by_key(|programs| programs.major) {
            Some(older) => {
                let (version, folder) = (&older.version, older.folder.display());
                format!("pg_restore {version} in {folder} cannot read what pg_dump {archive} wrote")
            }
            None => format!("pg_restore is not installed{}", place(bindir)),
        };
        Err(Error::new(Kind::System, message).hint(hint))
    }

    /// The newest programs, for tasks without a server.
    pub async fn newest(bindir: Option<&Path>) -> Result<Self> {
        let Installed { programs, unanswered } = installed(bindir, PG_DUMP).await;
        let newest = programs.into_iter().rev().max_by_key(|programs| programs.major);
        newest.ok_or_else(|| match unanswered {
            Some(error) => error,
            None => Error::new(Kind::System, format!("pg_restore is not installed{}", place(bindir)))
                .hint("install postgresql-client, or set PG_BINDIR"),
        })
    }

    /// A program of this version, with a clean environment and no input. If the system has setpriv(1), the program is
    /// ended when pgcellar dies for any reason, so that it never takes a broken pipe for the end of its input. The signal
    /// is SIGTERM, which pg_dump and pg_restore pass to their parallel jobs and to the server.
    pub fn command(&self, program: &str) -> Command {
        let mut command = bound(&self.folder.join(program), "TERM");
        clean(&mut command);
        command
    }

    /// A server of this version. When pgcellar dies it is ended with SIGQUIT, after which it does not wait for its sessions
    /// (PostgreSQL documentation, "Shutting Down the Server").
    pub fn server(&self, program: &str) -> Command {
        let mut command = bound(&self.folder.join(program), "QUIT");
        clean(&mut command);
        command
    }

    /// A server of exactly this version, with initdb. The client programs beside it, if any, may be of another version.
    pub async fn with_server(bindir: Option<&Path>, major: u32) -> Result<Self> {
        let Installed { programs, unanswered } = installed(bindir, "postgres").await;
        let mut own = programs.into_iter().filter(|programs| programs.major == major);
        own.find(|programs| programs.folder.join("initdb").is_file()).ok_or_else(|| match unanswered {
            Some(error) => error,
            None => {
                Error::new(Kind::System, format!("the server of PostgreSQL {major} is not installed{}", place(bindir)))
                    .hint(Surroundings::here().server_programs(major))
            }
        })
    }

    /// A program that connects to a database. The connection is in its environment (PostgreSQL documentation, "Environment
    /// Variables"), so that no name can be taken for an option or a connection string, and its arguments contain no
    /// password.
    pub fn client(&self, program: &str, connection: &Connection, database: &str) -> Command {
        let mut command = self.command(program);
        let host: OsString = match &connection.host {
            Host::Socket(folder) => folder.into(),
            Host::Name(name) => name.into(),
        };
        command.env("PGHOST", host).env("PGPORT", connection.port.to_string()).env("PGDATABASE", database);
        command.env("PGSSLMODE", connection.tls.mode.name()).env("PGAPPNAME", format!("pgcellar {program}"));
        command.env("PGCONNECT_TIMEOUT", "30");
        let files = [
            ("PGSSLROOTCERT", connection.tls.roots()),
            ("PGSSLCERT", connection.tls.cert.clone()),
            ("PGSSLKEY", connection.tls.key.clone()),
        ];
        for (name, path) in files {
            if let Some(path) = path {
                command.env(name, path);
            }
        }
        if let Some(user) = &connection.user {
            command.env("PGUSER", user);
        }
        match (&connection.password, passfile::path()) {
            (Some(password), _) => command.env("PGPASSWORD", password.expose()),
            (None, Some(path)) => command.env("PGPASSFILE", path),
            (None, None) => &mut command,
        };
        command
    }
}

/// A setpriv that works here. The system call filter of a unit may refuse capset(2), which setpriv calls; there systemd itself
/// ends the children of a killed pgcellar (`systemd.kill(5)`, KillMode=control-group).
fn setpriv() -> Option<&'static str> {
    static FOUND: OnceLock<Option<&'static str>> = OnceLock::new();
    let works = |setpriv: &&&str| {
        let mut call = std::process::Command::new(setpriv);
        call.args(["--pdeathsig", "TERM", "--", setpriv, "--version"]).stdin(Stdio::null());
        call.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    *FOUND.get_or_init(|| SETPRIV.iter().find(works).copied())
}

/// A program that does not outlive pgcellar.
fn bound(program: &Path, signal: &str) -> Command {
    match setpriv() {
        Some(setpriv) => {
            let mut bound = Command::new(setpriv);
            bound.args(["--pdeathsig", signal, "--"]).arg(program);
            bound
        }
        None => Command::new(program),
    }
}

/// Gives a program a clean environment and no standard input.
fn clean(command: &mut Command) -> &mut Command {
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    for name in KEPT {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.env("LC_ALL", "C.UTF-8")
}

fn place(bindir: Option<&Path>) -> String {
    bindir.map(|folder| format!(" in PG_BINDIR={}", folder.display())).unwrap_or_default()
}

/// The versions that are installed.
#[derive(Default)]
struct Installed {
    programs: Vec<Programs>,
    /// The error of a program that was killed before it printed its version: it may be the one that is needed.
    unanswered: Option<Error>,
}

/// Every version of a program that is installed; that in `PG_BINDIR` alone where it is set.
async fn installed(bindir: Option<&Path>, program: &str) -> Installed {
    let folders = match bindir {
        Some(folder) => vec![folder.to_owned()],
        None => folders(program),
    };
    let mut found = Installed::default();
    let versions = join_all(folders.iter().map(|folder| version(folder, program))).await;
    for (folder, version) in folders.into_iter().zip(versions) {
        let version = match version {
            Ok(version) => version,
            Err(error) => {
                found.unanswered = Some(error);
                continue;
            }
        };
        let major = version.split(['.', ' ']).next().unwrap_or_default();
        let major: String = major.chars().take_while(char::is_ascii_digit).collect();
        if let Ok(major) = major.parse() {
            found.programs.push(Programs { folder, version, major });
        }
    }
    found
}

/// The folders of packages and those of `PATH` that have a program.
fn folders(program: &str) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for (parent, prefix, leaf) in PACKAGED {
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        let versions = entries.filter(|entry| {
            let name = entry.file_name();
            let version = name.to_str().and_then(|name| name.strip_prefix(prefix));
            version.is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()))
        });
        folders.extend(versions.map(|entry| entry.path().join(leaf)));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    folders.extend(std::env::split_paths(&path).filter(|folder| folder.is_absolute()));
    folders.retain(|folder| folder.join(program).is_file());
    // Such as /bin, which is /usr/bin on most systems.
    let mut seen = HashSet::new();
    folders.retain(|folder| folder.canonicalize().map_or(true, |folder| seen.insert(folder)));
    folders
}

/// The version that the program in a folder prints, such as `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`; empty if
/// there is none.
///
/// # Errors
/// `System` if it was killed.
async fn version(folder: &Path, program: &str) -> Result<String> {
    let path = folder.join(program);
    let output = clean(&mut bound(&path, "TERM")).arg("--version").output().await;
    let Ok(output) = output else { return Ok(String::new()) };
    if let Some(signal) = output.status.signal() {
        return Err(killed(&path.display().to_string(), signal));
    }
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success()).unwrap_or_default();
    let version = text.trim().strip_prefix(program).and_then(|rest| rest.strip_prefix(" (PostgreSQL) "));
    Ok(version.and_then(|version| version.split_whitespace().next()).unwrap_or_default().to_owned())
}
