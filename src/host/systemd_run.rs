//! Runs a verb as an instance: under its user, with its settings, credentials and confinement, by systemd-run(1).
//!
//! The transient unit is called `pgcellar-VERB-PID@INSTANCE.service`, so the drop-ins of `pgcellar-.service.d` apply to
//! it as to the tasks that timers start (`systemd.unit(5)`, on names truncated at a dash). What a unit gets from its
//! instance is defined in [`unit`].

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::config::env_file::EnvFile;
use crate::config::variables::UNIT_STARTED;
use crate::error::{Error, Kind, Result, reason};
use crate::host::start_report;
use crate::host::start_report::{ProgramOutcome, ReportSocket};
use crate::host::unit::confinement;
use crate::host::unit::confinement::NamedFiles;
use crate::host::unit::drop_in::{self, DropIn};
use crate::host::unit::{self, SETTINGS};
use crate::host::{mounts, systemctl, unit_failure};
use crate::printable::printable;
use crate::stop::Stop;

/// Where drills find their sandbox; only its socket starts one.
const SANDBOX: &str = "pgcellar-drill-sandbox.socket";

/// A command line to run as an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceCall {
    /// Instance.
    pub instance: String,
    /// Name of the verb.
    pub verb: String,
    /// User other than the instance's own, such as the server's superuser: it may read every backup, and no other files
    /// of other users.
    pub user: Option<String>,
    /// The whole command line behind the program's name.
    pub arguments: Vec<OsString>,
    /// Files that it reads, by their absolute paths.
    pub files: Vec<PathBuf>,
    /// The file that it writes.
    pub output: Option<PathBuf>,
}

/// Whether this process can run a verb by systemd: it is root's, systemd is booted, and the process is not in such a
/// unit already.
pub fn possible() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    is_root && systemctl::is_booted() && !start_report::is_expected()
}

/// Refuses a user that does not exist; systemd alone would only return 217.
fn must_exist(user: &str) -> Result<()> {
    let known = Command::new("getent").args(["passwd", "--", user]).stdin(Stdio::null()).output();
    match known {
        Ok(output) if !output.status.success() => {
            Err(Error::new(Kind::Usage, format!("there is no user '{}' on this host", printable(user))))
        }
        // Without getent, systemd reports it.
        _ => Ok(()),
    }
}

/// Runs the verb, and returns its exit code.
///
/// # Errors
/// If the verb cannot be run, or a signal ended it.
pub fn run(call: &InstanceCall) -> Result<ExitCode> {
    call.user.as_deref().map_or(Ok(()), must_exist)?;
    can_be_written(call.output.as_deref())?;
    call.files.iter().try_for_each(|path| confinement::must_be_handed_in(path))?;
    let program = std::env::current_exe()
        .map_err(|error| Error::new(Kind::System, format!("cannot find the path of this program: {error}")))?;
    let path = unit::settings(&call.instance);
    let file = EnvFile::read(&path).map_err(|error| {
        Error::read(path.display(), &error).hint(format!("the instances are the files {SETTINGS}/NAME.env"))
    })?;
    let (folders, faults) = unit::folders(&call.instance, &file);
    faults.iter().for_each(|fault| log::warn!("{}: {fault}", path.display()));
    mounts::mount(&folders);
    let unit = TransientUnit { call, folders };
    let _drop_in = DropIn::write(&unit.name(), &unit.overrides())?;
    let cannot =
        |error: std::io::Error| Error::new(Kind::System, format!("cannot run systemd-run: {}", reason(&error)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot)?;
    runtime.block_on(async {
        let report = ReportSocket::listen(&unit.name())?;
        let code = wait(&unit.words(&program, report.path()), &unit.name()).await;
        explained(code?, report.program().await, &unit)
    })
}

/// Refuses a file that the unit cannot see.
fn can_be_written(output: Option<&Path>) -> Result<()> {
    use confinement::{HOMES, TEMPORARY};
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

/// The exit code of systemd-run, once it has ended; none if a signal ended it. On a signal to this process it stops the
/// unit.
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

/// The verb's exit code as the program itself has sent it: that of systemd-run is ambiguous.
fn explained(code: Option<u8>, program: ProgramOutcome, unit: &TransientUnit<'_>) -> Result<ExitCode> {
    let name = unit.name();
    let hint = format!("journalctl -u '{name}' and systemctl list-units --failed have details");
    let failed = |what: String, hint: String| Err(Error::new(Kind::System, what).hint(hint));
    let why = code.and_then(|code| unit_failure::of_status(code.into(), &unit.call.instance));
    match (program, code, why) {
        (ProgramOutcome::Ended(status), ..) => Ok(ExitCode::from(status)),
        (ProgramOutcome::Interrupted, ..) => {
            failed(format!("{name} was ended by a signal or a limit of the unit, perhaps for lack of memory"), hint)
        }
        (ProgramOutcome::NotStarted, _, Some(why)) => failed(format!("{name} was not run: {}", why.what), why.hint),
        (ProgramOutcome::NotStarted, Some(0), _) => failed(
            format!("systemd did not start {name}: something that it needs failed, or it was stopped before it began"),
            hint,
        ),
        // systemd-run has printed the reason.
        (ProgramOutcome::NotStarted, ..) => failed(
            format!("systemd rejected {name}"),
            "the lines above say why; a drop-in for the task's unit applies to this call too".to_owned(),
        ),
    }
}

/// The transient unit of a call.
struct TransientUnit<'a> {
    call: &'a InstanceCall,
    /// Folders that it may write.
    folders: Vec<String>,
}

impl TransientUnit<'_> {
    fn name(&self) -> String {
        let InstanceCall { instance, verb, user, .. } = self.call;
        let number = std::process::id();
        match user {
            // `pgcellar-as-.service.d` takes the user from the end of the name.
            Some(user) => format!("pgcellar-as-{verb}-{number}-{}@{instance}.service", unit::escaped(user, b":_")),
            None => format!("pgcellar-{verb}-{number}@{instance}.service"),
        }
    }

    fn properties(&self) -> Vec<String> {
        let InstanceCall { instance, verb, output, .. } = self.call;
        let mut properties = vec![format!("EnvironmentFile={}", unit::settings(instance).display())];
        for name in unit::CREDENTIALS {
            properties.push(format!("LoadCredential={name}:pgcellar.{instance}.{name}"));
            properties.push(format!("LoadCredentialEncrypted={name}.encrypted:pgcellar.{instance}.{name}.encrypted"));
            // As in the units: without it, a missing one is logged to the journal.
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
        // A new file needs a writable folder.
        if let Some(folder) = output.as_deref().and_then(Path::parent).and_then(Path::to_str) {
            properties.push(format!("ReadWritePaths={}", unit::quoted(&format!("-{folder}"))));
        }
        if verb == "drill" {
            // As in the drill's unit: nothing else may have started it since the boot.
            properties.push(format!("Wants={SANDBOX}"));
            properties.push(format!("After={SANDBOX}"));
        }
        properties
    }

    /// What must override the drop-ins of all units of pgcellar.
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
        let unit = TransientUnit { call: &call, folders };
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
    fn another_user_is_part_of_the_name_of_the_unit() {
        let unit = |user| words(Some(user), "").into_iter().find(|word| word.starts_with("--unit=")).unwrap();
        let begin = format!("--unit=pgcellar-as-restore-{}-", std::process::id());
        assert_eq!(unit("postgres"), format!("{begin}postgres@shop.service"));
        assert_eq!(unit("db-admin.x"), format!("{begin}db\\x2dadmin\\x2ex@shop.service"));
    }

    #[test]
    fn only_the_verb_itself_can_end_well() {
        let call = call("list", None);
        let unit = TransientUnit { call: &call, folders: Vec::new() };
        let end = |code, program| explained(code, program, &unit).map_err(|error| error.to_string());
        assert_eq!(end(Some(0), ProgramOutcome::Ended(66)).unwrap(), ExitCode::from(66));
        assert_eq!(end(Some(1), ProgramOutcome::Ended(0)).unwrap(), ExitCode::SUCCESS);
        for (code, program, part) in [
            (Some(0), ProgramOutcome::NotStarted, "something that it needs"),
            (Some(243), ProgramOutcome::NotStarted, "243"),
            (Some(1), ProgramOutcome::NotStarted, "lines above"),
            (Some(0), ProgramOutcome::Interrupted, "signal"),
            (None, ProgramOutcome::Interrupted, "signal"),
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
