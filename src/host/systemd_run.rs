//! Runs a verb as an instance: under its user, with its settings, credentials and confinement, by systemd-run(1).
//!
//! The transient unit is called `pgcellar-VERB-PID@INSTANCE.service`, so the drop-ins of `pgcellar-.service.d` hold for it
//! as for the tasks that timers start (`systemd.unit(5)`, on names that are cut at a dash). What a unit has of its
//! instance, it has from [`unit`].

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::config::env_file::EnvFile;
use crate::config::variables::UNIT_STARTED;
use crate::error::{Error, Kind, Result, reason};
use crate::host::start_report;
use crate::host::start_report::{Awaited, Program};
use crate::host::unit::drop_in::{self, DropIn};
use crate::host::unit::named_files::{self, NamedFiles};
use crate::host::unit::{self, SETTINGS};
use crate::host::{mounts, systemctl, unit_failure};
use crate::printable::printable;
use crate::stop::Stop;

/// Where drills find their sandbox; only its socket starts one.
const SANDBOX: &str = "pgcellar-drill-sandbox.socket";

/// What to run as which instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceCall {
    /// Instance.
    pub instance: String,
    /// Name of the verb.
    pub verb: String,
    /// User other than the instance's own, such as the server's superuser: it may read every backup and nothing else of
    /// others.
    pub user: Option<String>,
    /// The whole command line behind the program's name.
    pub arguments: Vec<OsString>,
    /// Files to read that stand in it, by their absolute paths.
    pub files: Vec<PathBuf>,
    /// The file to write that stands in it.
    pub output: Option<PathBuf>,
}

/// Whether this process can hand a verb to systemd: it is root's, systemd runs, and no unit is the verb's already.
pub fn possible() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    is_root && systemctl::is_booted() && !start_report::is_expected()
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

/// Runs the verb, and ends with its own exit code.
///
/// # Errors
/// Whatever keeps the verb from being run, and a signal that ended it.
pub fn run(call: &InstanceCall) -> Result<ExitCode> {
    call.user.as_deref().map_or(Ok(()), must_exist)?;
    can_be_written(call.output.as_deref())?;
    call.files.iter().try_for_each(|path| named_files::must_be_handed_in(path))?;
    let program = std::env::current_exe()
        .map_err(|error| Error::new(Kind::System, format!("cannot find the path of this program: {error}")))?;
    let path = unit::settings(&call.instance);
    let file = EnvFile::read(&path).map_err(|error| {
        Error::read(path.display(), &error).hint(format!("the instances are the files {SETTINGS}/NAME.env"))
    })?;
    let (folders, faults) = unit::folders(&call.instance, &file);
    faults.iter().for_each(|fault| log::warn!("{}: {fault}", path.display()));
    mounts::mount(&folders);
    let unit = Unit { call, folders };
    let _drop_in = DropIn::write(&unit.name(), &unit.overrides())?;
    let cannot =
        |error: std::io::Error| Error::new(Kind::System, format!("cannot run systemd-run: {}", reason(&error)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot)?;
    runtime.block_on(async {
        let awaited = Awaited::listen(&unit.name())?;
        let code = wait(&unit.words(&program, awaited.path()), &unit.name()).await;
        explained(code?, awaited.program().await, &unit)
    })
}

/// Refuses a file that the unit cannot see.
fn can_be_written(output: Option<&Path>) -> Result<()> {
    use unit::named_files::{HOMES, TEMPORARY};
    let Some(path) = output else { return Ok(()) };
    match HOMES.iter().chain(TEMPORARY).find(|folder| path.starts_with(folder)) {
        Some(folder) => Err(Error::new(
            Kind::Usage,
            format!("{} cannot be written: {folder} is hidden from the unit of the instance", path.display()),
        )
        .hint(format!("leave --output out, and redirect the output with > {}", path.display()))),
        None => Ok(()),
    }
}

/// The exit code of systemd-run, once it has ended; none if a signal has ended it. Being told to stop, it stops the unit.
async fn wait(words: &[OsString], unit: &str) -> Result<Option<u8>> {
    let cannot =
        |error: std::io::Error| Error::new(Kind::System, format!("cannot run systemd-run: {}", reason(&error)));
    let stop = Stop::listen()?;
    let mut child = tokio::process::Command::new("systemd-run").args(words).spawn().map_err(cannot)?;
    let ended = tokio::select! {
        ended = child.wait() => ended,
        () = stop.wait() => {
            let mut call = tokio::process::Command::new("systemctl");
            call.args(["stop", "--quiet", "--", unit]).stdin(Stdio::null()).stderr(Stdio::null());
            drop(call.status().await);
            child.wait().await
        }
    };
    Ok(ended.map_err(cannot)?.code().and_then(|code| u8::try_from(code).ok()))
}

/// The verb's exit code, which the program itself has told: that of systemd-run says nothing of its own.
fn explained(code: Option<u8>, program: Program, unit: &Unit<'_>) -> Result<ExitCode> {
    let name = unit.name();
    let look = format!("journalctl -u '{name}' and systemctl list-units --failed tell more");
    let failed = |what: String, hint: String| Err(Error::new(Kind::System, what).hint(hint));
    let why = code.and_then(|code| unit_failure::of_status(code.into(), &unit.call.instance));
    match (program, code, why) {
        (Program::Ended(status), ..) => Ok(ExitCode::from(status)),
        (Program::BrokenOff, ..) => {
            failed(format!("{name} was ended by a signal or a limit of the unit, perhaps for lack of memory"), look)
        }
        (Program::NotStarted, _, Some(why)) => failed(format!("{name} was not run: {}", why.what), why.hint),
        (Program::NotStarted, Some(0), _) => failed(
            format!("systemd did not start {name}: something that it needs failed, or it was stopped before it began"),
            look,
        ),
        // systemd-run has said why.
        (Program::NotStarted, ..) => failed(
            format!("systemd rejected {name}"),
            "the lines above tell why; a drop-in for the task's unit holds for this call too".to_owned(),
        ),
    }
}

/// The transient unit of a call.
struct Unit<'a> {
    call: &'a InstanceCall,
    /// Folders that it may write.
    folders: Vec<String>,
}

impl Unit<'_> {
    fn name(&self) -> String {
        let InstanceCall { instance, verb, user, .. } = self.call;
        let number = std::process::id();
        match user {
            // `pgcellar-as-.service.d` takes the user from the end of the name.
            Some(user) => format!("pgcellar-as-{verb}-{number}-{}@{instance}.service", escape(user)),
            None => format!("pgcellar-{verb}-{number}@{instance}.service"),
        }
    }

    fn properties(&self) -> Vec<String> {
        let InstanceCall { instance, verb, output, .. } = self.call;
        let mut properties = vec![format!("EnvironmentFile={}", unit::settings(instance).display())];
        for name in unit::CREDENTIALS {
            properties.push(format!("LoadCredential={name}:pgcellar.{instance}.{name}"));
            properties.push(format!("LoadCredentialEncrypted={name}.encrypted:pgcellar.{instance}.{name}.encrypted"));
            // As in the units: one that is missing is no line in the journal.
            properties.push(format!("SetCredential={name}:\\n"));
            properties.push(format!("SetCredential={name}.encrypted:\\n"));
        }
        // The private key's files, for messages; those of the others are in a drop-in of all units.
        for (ending, stored) in [("misplaced", ""), ("stored", ".encrypted")] {
            let file = format!("/etc/credstore.encrypted/pgcellar.{instance}.age-identity{stored}");
            properties.push(format!("LoadCredential=age-identity.{ending}:{file}"));
            properties.push(format!("SetCredential=age-identity.{ending}:\\n"));
        }
        properties.extend(
            self.folders.iter().map(|folder| format!("ReadWritePaths={}", unit::quoted(&format!("-{folder}")))),
        );
        // Of a new file the folder is written to.
        if let Some(folder) = output.as_deref().and_then(Path::parent).and_then(Path::to_str) {
            properties.push(format!("ReadWritePaths={}", unit::quoted(&format!("-{folder}"))));
        }
        if verb == "drill" {
            // As in the drill's unit, without which nothing has started it since the boot.
            properties.push(format!("Wants={SANDBOX}"));
            properties.push(format!("After={SANDBOX}"));
        }
        properties
    }

    /// What must count more than the drop-ins of all units of pgcellar.
    fn overrides(&self) -> Vec<String> {
        let InstanceCall { instance, verb, user, files, .. } = self.call;
        let mut overrides = drop_in::assignments(verb, instance);
        overrides.extend(NamedFiles::new(files).assignments(user.is_some()));
        overrides
    }

    fn words(&self, program: &Path, socket: &Path) -> Vec<OsString> {
        let InstanceCall { instance, verb, arguments, .. } = self.call;
        let mut all: Vec<OsString> =
            ["--quiet", "--wait", "--collect", "--pty", "--pipe", "--service-type=exec"].map(OsString::from).into();
        all.push(format!("--unit={}", self.name()).into());
        all.push(format!("--description=pgcellar {verb} ({instance})").into());
        all.push(format!("--setenv={}={}", UNIT_STARTED, socket.display()).into());
        all.extend(self.properties().into_iter().map(|property| format!("--property={property}").into()));
        all.extend(["--".into(), program.as_os_str().to_owned()]);
        all.extend(arguments.iter().cloned());
        all
    }
}

/// A text as a part of a unit's name (`systemd-escape(1)`).
fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("\\x{byte:02x}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(verb: &str, user: Option<&str>) -> InstanceCall {
        InstanceCall {
            instance: "shop".to_owned(),
            verb: verb.to_owned(),
            user: user.map(str::to_owned),
            arguments: ["-i", "shop", verb, "latest"].map(OsString::from).into(),
            files: Vec::new(),
            output: None,
        }
    }

    fn words(user: Option<&str>, env: &str) -> Vec<String> {
        words_of("restore", user, env)
    }

    fn words_of(verb: &str, user: Option<&str>, env: &str) -> Vec<String> {
        let call = call(verb, user);
        let (folders, _) = unit::folders("shop", &EnvFile::parse(env));
        let unit = Unit { call: &call, folders };
        let words = unit.words(Path::new("/usr/bin/pgcellar"), Path::new("/run/call"));
        words.into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn the_unit_has_the_settings_and_the_credentials_and_may_write_the_backups() {
        let words = words(None, "BACKUP_DIR='/srv/my backups'\nRESTORE_STAGING_DIR=/mnt/50%\nDB_PASSWORD=hunter2\n");
        let has = |word: &str| words.iter().any(|one| one == word);
        assert!(has(&format!("--unit=pgcellar-restore-{}@shop.service", std::process::id())), "{words:?}");
        assert!(has("--property=EnvironmentFile=/etc/pgcellar/shop.env"));
        assert!(has("--property=LoadCredential=age-identity:pgcellar.shop.age-identity"));
        assert!(has("--property=ReadWritePaths=\"-/srv/my backups\""));
        assert!(has("--property=ReadWritePaths=-/mnt/50%"));
        assert!(has("--setenv=PGCELLAR_UNIT_STARTED=/run/call"));
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

    #[test]
    fn only_the_verb_itself_can_end_well() {
        let call = call("list", None);
        let unit = Unit { call: &call, folders: Vec::new() };
        let end = |code, program| explained(code, program, &unit).map_err(|error| error.to_string());
        assert_eq!(end(Some(0), Program::Ended(66)).unwrap(), ExitCode::from(66));
        assert_eq!(end(Some(1), Program::Ended(0)).unwrap(), ExitCode::SUCCESS);
        for (code, program, part) in [
            (Some(0), Program::NotStarted, "something that it needs"),
            (Some(243), Program::NotStarted, "243"),
            (Some(1), Program::NotStarted, "lines above"),
            (Some(0), Program::BrokenOff, "signal"),
            (None, Program::BrokenOff, "signal"),
        ] {
            assert!(end(code, program).unwrap_err().contains(part), "{code:?} {program:?}");
        }
    }

    #[test]
    fn a_file_to_write_must_be_seen_by_the_unit() {
        let refused = |path: &str| can_be_written(Some(Path::new(path))).is_err();
        assert!(refused("/root/report.html") && refused("/tmp/report.html") && !refused("/srv/www/report.html"));
    }
}
