//! The `pgcellar` command.

use std::borrow::Cow;
use std::io::Write;
use std::process::ExitCode;

use pgcellar::cli::{Cli, NamedInstance, Verb, seed_names};
use pgcellar::config::instance_name;
use pgcellar::config::readers::warning_of_instance;
use pgcellar::config::variables;
use pgcellar::config::variables::Meant;
use pgcellar::error::{Error, Kind, Result};
use pgcellar::host::surroundings::Surroundings;
use pgcellar::host::{
    event, inaccessible, journal, progress, rotated_file, settings_file, start_report, systemd_run, unit,
};
use pgcellar::redacted::redacted;
use pgcellar::{stdout, task};

fn main() -> ExitCode {
    start_report::report_exit(run_verb())
}

fn run_verb() -> ExitCode {
    if let Some(error) = settings_file::exec_with_env_file() {
        log::error!("{error}");
        return error.exit_code();
    }
    settings_file::exec_with_alert_settings();
    let line = match seed_names::translate(std::env::args_os().collect()) {
        Ok(line) => line,
        Err(usage) => return usage.print(),
    };
    let mut cli = match Cli::read(line) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    journal::start(cli.voice.quiet, cli.voice.verbose, cli.verb.instance());
    start_report::report_start();
    copy_log_of_manual_run(&cli.verb);
    if let Some(ended) = run_as_instance(&cli) {
        return ended.unwrap_or_else(|error| {
            log::error!("{error}");
            error.exit_code()
        });
    }
    progress::start(cli.voice.quiet);
    keep_to_ourselves();
    if !matches!(cli.verb, Verb::Config(_)) {
        let meant = if unit::is_of_instance() { Meant::ForOurUnit } else { Meant::ForOthersToo };
        variables::warn(&Cli::variables(), meant);
    }
    // Config check and doctor report it themselves.
    if !matches!(cli.verb, Verb::Config(_) | Verb::Doctor(_))
        && let Some(warning) = cli.verb.instance().map(unit::settings).and_then(|path| warning_of_instance(&path))
    {
        log::warn!("{warning}");
    }
    let code = match task::run(&cli.verb) {
        Ok(code) => {
            journal::copy("done");
            code
        }
        Err(error) => {
            report(&cli.verb, &error);
            error.exit_code()
        }
    };
    log::logger().flush();
    code
}

/// Logs the failure of a verb. The journal also gets its cause, for the alert's mail.
fn report(verb: &Verb, error: &Error) {
    let id = failure(verb, error);
    match error.cause() {
        Some(cause) => log::error!(MESSAGE_ID = id, PGCELLAR_CAUSE = cause.name(); "{error}"),
        None => log::error!(MESSAGE_ID = id; "{error}"),
    }
}

/// In a container, a run that is started by hand is also logged to the scheduler's file.
fn copy_log_of_manual_run(verb: &Verb) {
    let task = match verb {
        Verb::Backup(_) => "backup",
        Verb::Restore(_) => "restore",
        Verb::Retention(_) => "retention",
        Verb::Drill(_) => "drill",
        _ => return,
    };
    let place = Surroundings::here();
    if std::env::var_os(variables::SCHEDULED).is_none() && place.is_container() {
        // Where a scheduler runs, it rotates the file itself.
        let limit = (place == Surroundings::Job).then_some(rotated_file::LIMIT);
        journal::copy_to(&inaccessible::logs().join("cron.log"), task, limit);
        journal::copy("begins, by hand");
    }
}

/// The journal's event for the failure of a verb.
fn failure(verb: &Verb, error: &Error) -> &'static str {
    match verb {
        Verb::Drill(_) if error.kind() == Kind::Data => event::DRILL_FAILED,
        Verb::Drill(_) => event::DRILL_NOT_HELD,
        Verb::Backup(_) => event::BACKUP_FAILED,
        Verb::Retention(_) => event::RETENTION_FAILED,
        Verb::Restore(_) => event::RESTORE_FAILED,
        Verb::Alert(_) => event::MAIL_FAILED,
        _ => event::VERB_FAILED,
    }
}

/// If root names an instance, runs the verb as that instance by systemd. Returns none if this process must run it
/// itself.
fn run_as_instance(cli: &Cli) -> Option<Result<ExitCode>> {
    let named = cli.named.as_ref()?;
    // Root checks settings itself.
    if matches!(cli.verb, Verb::Config(_)) || !systemd_run::possible() {
        return None;
    }
    Some(call(cli, named).and_then(|call| systemd_run::run(&call)))
}

/// The call for systemd.
fn call(cli: &Cli, named: &NamedInstance) -> Result<systemd_run::InstanceCall> {
    instance_name(&named.instance)?;
    let folder = std::env::current_dir()
        .map_err(|error| Error::new(Kind::System, format!("cannot find the current folder: {error}")))?;
    let (mut arguments, files) = named.with_absolute_files(std::env::args_os().skip(1).collect(), &folder);
    let user = cli.verb.user().map(str::to_owned);
    if let (Some(user), false) = (&user, named.username) {
        // The settings name the backup's own role, not that of this user. After -- nothing is a flag.
        let end = arguments.iter().position(|word| word == "--").unwrap_or(arguments.len());
        arguments.insert(end, format!("--username={user}").into());
    }
    let output = named.output.as_ref().map(|path| folder.join(path));
    let NamedInstance { instance, verb, .. } = named.clone();
    Ok(systemd_run::InstanceCall { instance, verb, user, arguments, files, output })
}

/// Makes new files private to this user, also those of PostgreSQL's programs, and disables core dumps: memory contains
/// passwords and rows.
fn keep_to_ourselves() {
    use rustix::process::{Resource, Rlimit, setrlimit, umask};
    umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        log::debug!("core dumps cannot be switched off: {error}");
    }
}

/// Prints help, the version or a usage error. Help and version are no errors, unless they cannot be printed.
fn refuse(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let printed = error.print().and_then(|()| std::io::stdout().flush());
        // A closed pager is no error.
        let failed = printed.err().filter(|error| error.kind() != std::io::ErrorKind::BrokenPipe);
        let Some(error) = failed.map(|error| stdout::failed(&error)) else { return ExitCode::SUCCESS };
        // Standard error may be closed, too.
        drop(writeln!(std::io::stderr(), "error: {error}"));
        return error.exit_code();
    }
    let text = error.render().to_string();
    match redacted(&text) {
        Cow::Borrowed(_) => drop(error.print()),
        Cow::Owned(text) => drop(std::io::stderr().write_all(text.as_bytes())),
    }
    ExitCode::from(Kind::Usage.exit_status())
}
