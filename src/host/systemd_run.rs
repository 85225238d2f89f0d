//! Runs a verb as an instance: under its user, with its settings, credentials and confinement, by systemd-run(1).
//!
//! The transient unit is called `pgcellar-VERB-PID@INSTANCE.service`, so the drop-ins of `pgcellar-.service.d` hold for it
//! as for the tasks that timers start (`systemd.unit(5)`, on names that are cut at a dash).

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::config::env_file::EnvFile;
use crate::error::{Error, Kind, Result};
use crate::printable::printable;

/// Where the instances' settings are.
pub const SETTINGS: &str = "/etc/pgcellar";

/// Credentials that a verb may need.
pub const CREDENTIALS: &[&str] = &[
    "db-password",
    "aws-access-key-id",
    "aws-secret-access-key",
    "aws-session-token",
    "smtp-password",
    "ping-url",
    "age-identity",
];

/// Where drills find their sandbox; only its socket starts one.
const SANDBOX: &str = "pgcellar-drill-sandbox.socket";

/// What to run as which instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Instance.
    pub instance: String,
    /// Name of the verb.
    pub verb: String,
    /// User other than the instance's own, such as the server's superuser: it may read every backup and nothing else of
    /// others.
    pub user: Option<String>,
    /// The whole command line behind the program's name.
    pub arguments: Vec<OsString>,
}

/// Path of an instance's settings.
pub fn settings(instance: &str) -> PathBuf {
    Path::new(SETTINGS).join(format!("{instance}.env"))
}

/// Whether this process can hand a verb to systemd: it is root's, and systemd is this machine's first process
/// (`sd_booted(3)`).
pub fn possible() -> bool {
    rustix::process::geteuid().is_root() && Path::new("/run/systemd/system").is_dir()
}

fn program() -> Result<PathBuf> {
    std::env::current_exe()
        .map_err(|error| Error::new(Kind::System, format!("cannot find the path of this program: {error}")))
}

/// Whether the system knows this user; systemd alone would only say 217.
fn must_exist(user: &str) -> Result<()> {
    let known = Command::new("getent").args(["passwd", "--", user]).stdin(Stdio::null()).output();
    match known {
        Ok(output) if !output.status.success() => {
            Err(Error::new(Kind::Usage, format!("there is no user '{}' on this host", printable(user))))
        }
        // Without getent, systemd tells.
        _ => Ok(()),
    }
}

/// Becomes the systemd-run that runs the verb and ends with the verb's own exit code. Returns only if that cannot be.
pub fn become_it(call: &Call) -> Error {
    let prepared = call.user.as_deref().map_or(Ok(()), must_exist).and_then(|()| program()).and_then(|program| {
        let path = settings(&call.instance);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Error::read(path.display(), &error).hint(format!("the instances are the files {SETTINGS}/NAME.env"))
        })?;
        Ok((program, EnvFile::parse(&text)))
    });
    match prepared {
        Err(error) => error,
        Ok((program, file)) => {
            let error = Command::new("systemd-run").args(arguments(call, &program, &file)).exec();
            Error::new(Kind::System, format!("cannot run systemd-run: {}", crate::error::reason(&error)))
        }
    }
}

fn arguments(call: &Call, program: &Path, file: &EnvFile) -> Vec<OsString> {
    let mut all: Vec<OsString> =
        ["--quiet", "--wait", "--collect", "--pty", "--pipe", "--service-type=exec"].map(OsString::from).into();
    let mut add = |text: String| all.push(text.into());
    let instance = &call.instance;
    let number = std::process::id();
    let unit = match &call.user {
        // `pgcellar-as-.service.d` takes the user from the end of the name.
        Some(user) => format!("pgcellar-as-{}-{number}-{}", call.verb, escape(user)),
        None => format!("pgcellar-{}-{number}", call.verb),
    };
    add(format!("--unit={unit}@{instance}.service"));
    add(format!("--description=pgcellar {} ({instance})", call.verb));
    add(format!("--property=EnvironmentFile={}", settings(instance).display()));
    for name in CREDENTIALS {
        add(format!("--property=LoadCredential={name}:pgcellar.{instance}.{name}"));
        add(format!("--property=LoadCredentialEncrypted={name}.encrypted:pgcellar.{instance}.{name}.encrypted"));
        // As in the units: one that is missing is no line in the journal.
        add(format!("--property=SetCredential={name}:\\n"));
        add(format!("--property=SetCredential={name}.encrypted:\\n"));
    }
    for folder in ["BACKUP_DIR", "RESTORE_STAGING_DIR"].iter().filter_map(|name| file.get(name)) {
        if folder.starts_with('/') {
            add(format!("--property=RequiresMountsFor={folder}"));
            add(format!("--property=ReadWritePaths=-{folder}"));
        }
    }
    if call.verb == "drill" {
        // As in the drill's unit, without which nothing has started it since the boot.
        add(format!("--property=Wants={SANDBOX}"));
        add(format!("--property=After={SANDBOX}"));
    }
    all.extend(["--".into(), program.as_os_str().to_owned()]);
    all.extend(call.arguments.iter().cloned());
    all
}

/// A text as a part of a unit's name (`systemd-escape(1)`).
fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("\\x{byte:02x}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(user: Option<&str>, env: &str) -> Vec<String> {
        words_of("restore", user, env)
    }

    fn words_of(verb: &str, user: Option<&str>, env: &str) -> Vec<String> {
        let call = Call {
            instance: "shop".to_owned(),
            verb: verb.to_owned(),
            user: user.map(str::to_owned),
            arguments: ["-i", "shop", verb, "latest"].map(OsString::from).into(),
        };
        let arguments = arguments(&call, Path::new("/usr/bin/pgcellar"), &EnvFile::parse(env));
        arguments.into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn the_unit_has_the_settings_and_the_credentials_and_may_write_the_backups() {
        let words = words(None, "BACKUP_DIR=/srv/backups\nDB_PASSWORD=hunter2\n");
        let has = |word: &str| words.iter().any(|one| one == word);
        assert!(has(&format!("--unit=pgcellar-restore-{}@shop.service", std::process::id())), "{words:?}");
        assert!(has("--property=EnvironmentFile=/etc/pgcellar/shop.env"));
        assert!(has("--property=LoadCredential=age-identity:pgcellar.shop.age-identity"));
        assert!(has("--property=ReadWritePaths=-/srv/backups"));
        assert!(words.ends_with(&["--", "/usr/bin/pgcellar", "-i", "shop", "restore", "latest"].map(str::to_owned)));
        assert!(!words.iter().any(|word| word.contains("hunter2")), "{words:?}");
    }

    #[test]
    fn a_drill_finds_its_sandbox() {
        let sandbox = |verb| words_of(verb, None, "").iter().filter(|word| word.contains("sandbox.socket")).count();
        assert_eq!((sandbox("drill"), sandbox("verify")), (2, 0));
    }

    #[test]
    fn another_user_stands_in_the_name_of_the_unit() {
        let unit = |user| words(Some(user), "").into_iter().find(|word| word.starts_with("--unit=")).unwrap();
        let begin = format!("--unit=pgcellar-as-restore-{}-", std::process::id());
        assert_eq!(unit("postgres"), format!("{begin}postgres@shop.service"));
        assert_eq!(unit("db-admin.x"), format!("{begin}db\\x2dadmin\\x2ex@shop.service"));
    }
}
