//! `pgcellar schedule` runs the tasks in the foreground, as systemd would.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::common::halted_dump::HaltedDump;
use crate::common::mail_server::{Mail, MailServer, MailServerOptions};
use crate::common::pgcellar::{Run, Running};
use crate::common::process_tree::{Process, are_gone, descendants, wait_until_gone};
use crate::common::{Cellar, Cluster, Version, exit, forged};

/// Docker kills a stopping container after this time.
const PROMPT: Duration = Duration::from_secs(10);

/// A schedule that is never due during a test.
const NEVER: &str = "0 0 29 2 *";

/// A cellar whose tasks are never due unless a test sets a schedule.
fn cellar(cluster: &Cluster, database: &str) -> Cellar {
    let cellar = Cellar::new(cluster).with("DB_NAME", database).with("BACKUP_SCHEDULE", NEVER);
    let log = cellar.scratch().join("log");
    fs::create_dir(&log).unwrap();
    cellar.with("RETENTION_SCHEDULE", NEVER).with("MONITOR_SCHEDULE", NEVER).with("BACKUP_LOG_DIR", log)
}

fn with_mail(cellar: Cellar, mail_server: &MailServer) -> Cellar {
    let cellar = cellar.with("SMTP_HOST", "localhost").with("SMTP_PORT", mail_server.port().to_string());
    cellar.with("SMTP_TLS", "none").with("NOTIFICATION_EMAIL", "ops@example.org")
}

fn schedule(cellar: &Cellar) -> Run {
    cellar.run(["schedule"])
}

fn with_backup(cellar: &Cellar) -> Running {
    schedule(cellar).env("BACKUP_ON_START", "true").start()
}

fn log(cellar: &Cellar, name: &str) -> String {
    fs::read_to_string(cellar.scratch().join("log").join(name)).unwrap()
}

fn state_file(cellar: &Cellar) -> PathBuf {
    cellar.backup_dir().join(".pgcellar.main.schedule.json")
}

fn state(cellar: &Cellar) -> Value {
    serde_json::from_slice(&fs::read(state_file(cellar)).unwrap()).unwrap()
}

/// Stops it by SIGTERM, and checks how it ends.
#[track_caller]
fn stops(running: Running) -> crate::common::pgcellar::Outcome {
    let processes = descendants(running.pid());
    let asked = Instant::now();
    running.signal(Signal::TERM);
    let outcome = running.wait();
    assert!(asked.elapsed() < PROMPT, "{outcome}");
    assert_eq!(outcome.code(), Some(0), "{outcome}");
    are_gone(&processes);
    outcome
}

/// The pgcellar process that the scheduler has started.
fn task(running: &Running) -> Process {
    let mut all = descendants(running.pid());
    all.retain(|process| process.name == "pgcellar");
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

/// Kills all processes at once, as the end of a container does.
fn container_is_killed(running: Running) {
    let processes = descendants(running.pid());
    running.signal(Signal::KILL);
    for process in &processes {
        // Some end with the others.
        let _ = kill_process(process.pid, Signal::KILL);
    }
    assert_eq!(running.wait().signal(), Some(9));
    wait_until_gone(&processes);
}

#[track_caller]
fn wait_for_mail(mail_server: &MailServer) -> Mail {
    let deadline = Instant::now() + Duration::from_secs(60);
    while mail_server.mails().is_empty() {
        assert!(Instant::now() < deadline, "no mail came");
        thread::sleep(Duration::from_millis(20));
    }
    mail_server.only_mail()
}

#[test]
fn a_backup_at_the_start_then_a_clean_stop() {
    let cluster = Cluster::shared(Version::V15);
    let database = cluster.create("shop");
    let cellar = cellar(cluster, database.name());
    let running = with_backup(&cellar);
    running.wait_for_stderr("backup: begins: BACKUP_ON_START is set");
    running.wait_for_stderr("backup: done in");
    let outcome = stops(running).says("stopping: nothing runs");
    assert!(!outcome.stderr.contains("no server yet"), "{outcome}");
    assert_eq!(cellar.list().len(), 1);
    // The files have the lines of the container's own log, with times.
    let (cron, monitor) = (log(&cellar, "cron.log"), log(&cellar, "monitor.log"));
    for text in [" backup: scheduled by '0 0 29 2 *', next ", " backup: backed up ", " backup: done in "] {
        assert!(cron.contains(text), "no {text:?} in\n{cron}");
    }
    assert!(monitor.contains(" monitor: scheduled by ") && !monitor.contains("backup:"), "{monitor}");
    assert_eq!(state(&cellar)["tasks"]["backup"]["run"], Value::Null);
    // Without the variable, no task begins at the start.
    let running = schedule(&cellar).start();
    running.wait_for_stderr("monitor: scheduled by");
    thread::sleep(Duration::from_secs(2));
    let outcome = stops(running);
    assert!(!outcome.stderr.contains("begins"), "{outcome}");
}

#[test]
fn a_server_that_is_started_later_is_waited_for() {
    let cluster = Cluster::start(Version::V15);
    let database = cluster.create("shop").name().to_owned();
    let cellar = cellar(&cluster, &database);
    cluster.kill_postmaster();
    let running = with_backup(&cellar);
    running.wait_for_stderr("backup: no server yet: cannot connect to 127.0.0.1");
    thread::sleep(Duration::from_secs(3));
    cluster.start_again();
    running.wait_for_stderr("answers after");
    running.wait_for_stderr("backup: done in");
    let outcome = stops(running);
    assert_eq!(outcome.stderr.matches("no server yet").count(), 1, "{outcome}");
    assert_eq!(cellar.list().len(), 1);
}

#[test]
fn a_stop_ends_the_backup_and_the_next_start_repeats_it() {
    let cluster = Cluster::shared(Version::V15);
    let halted = HaltedDump::new(cluster);
    let cellar = cellar(cluster, halted.database().name());
    let mut running = with_backup(&cellar);
    halted.wait_for_halt(&mut running, Some(&cellar.backup_dir()));
    let outcome = stops(running).says("stopping: ending the active runs").says("it runs again at the next start");
    assert!(outcome.stderr.contains("backup: error: interrupted"), "{outcome}");
    halted.wait_until_given_up();
    assert!(cellar.list().is_empty());
    let _database = halted.release();
    let running = schedule(&cellar).start();
    running.wait_for_stderr("begins again: a scheduler restart interrupted the run of");
    running.wait_for_stderr("backup: done in");
    stops(running);
    assert_eq!(cellar.list().len(), 1);
    assert_eq!(state(&cellar)["tasks"]["backup"]["run"], Value::Null);
}

#[test]
fn a_killed_container_repeats_its_backup_once_and_then_reports_it() {
    let cluster = Cluster::shared(Version::V15);
    let halted = HaltedDump::new(cluster);
    let mail_server = MailServer::start(MailServerOptions::plain());
    let cellar = with_mail(cellar(cluster, halted.database().name()), &mail_server);
    let mut running = with_backup(&cellar);
    halted.wait_for_halt(&mut running, Some(&cellar.backup_dir()));
    container_is_killed(running);
    halted.forget();
    assert_eq!(state(&cellar)["tasks"]["backup"]["run"]["again"], false);

    let mut running = schedule(&cellar).start();
    running.wait_for_stderr("begins again: a scheduler restart interrupted the run of");
    halted.wait_for_halt(&mut running, Some(&cellar.backup_dir()));
    container_is_killed(running);
    halted.forget();
    assert_eq!(mail_server.mails().len(), 0);

    let running = schedule(&cellar).start();
    running.wait_for_stderr("was interrupted by a scheduler restart twice; not retrying");
    let mail = wait_for_mail(&mail_server);
    assert!(mail.text().contains("killed (SIGKILL)"), "{}", mail.text());
    running.wait_for_stderr("mailed that backup failed");
    let outcome = stops(running);
    assert!(!outcome.stderr.contains("backup: begins"), "{outcome}");
    // The next backup removes the files of the killed runs.
    let database = halted.release();
    cellar.run(["backup"]).succeeds();
    assert_eq!(cellar.list().len(), 1, "{}", database.name());
}

#[test]
fn a_failure_is_mailed_with_its_messages() {
    let cluster = Cluster::shared(Version::V15);
    let database = cluster.create("shop");
    let mail_server = MailServer::start(MailServerOptions::plain());
    let cellar = with_mail(cellar(cluster, database.name()), &mail_server).with("DB_PASSWORD", "wrong-and-secret");
    let running = with_backup(&cellar);
    let mail = wait_for_mail(&mail_server);
    assert!(mail.subject().contains(&format!("backup of {} failed on ", database.name())), "{}", mail.subject());
    for words in ["password authentication failed", "exit status 77", "DB_PASSWORD"] {
        assert!(mail.text().contains(words), "no {words:?} in {}", mail.text());
    }
    running.wait_for_stderr("mailed that backup failed");
    let outcome = stops(running);
    let said =
        outcome.stderr.contains("error: backup: ended after") && outcome.stderr.contains("with exit status 77, next ");
    assert!(said, "{outcome}");
    for text in [&outcome.stderr, &log(&cellar, "cron.log"), mail.text()] {
        assert!(!text.contains("wrong-and-secret"), "{text}");
    }
}

#[test]
fn a_killed_task_is_reported_and_the_scheduler_continues() {
    let cluster = Cluster::shared(Version::V15);
    let halted = HaltedDump::new(cluster);
    let mail_server = MailServer::start(MailServerOptions::plain());
    let cellar = with_mail(cellar(cluster, halted.database().name()), &mail_server);
    let mut running = with_backup(&cellar);
    halted.wait_for_halt(&mut running, Some(&cellar.backup_dir()));
    kill_process(task(&running).pid, Signal::KILL).unwrap();
    running.wait_for_stderr("killed by SIGKILL");
    assert!(wait_for_mail(&mail_server).text().contains("killed (SIGKILL)"));
    halted.forget();
    running.wait_for_stderr("mailed that backup failed");
    stops(running);
    assert_eq!(state(&cellar)["tasks"]["backup"]["run"], Value::Null);
}

#[test]
fn a_run_that_lasts_longer_than_a_minute_is_not_overlapped() {
    let cluster = Cluster::shared(Version::V15);
    let halted = HaltedDump::new(cluster);
    let cellar = cellar(cluster, halted.database().name()).with("BACKUP_SCHEDULE", "* * * * *");
    let cellar = cellar.with("MONITOR_SCHEDULE", "* * * * *");
    let mut running = with_backup(&cellar);
    halted.wait_for_halt(&mut running, Some(&cellar.backup_dir()));
    running.wait_for_stderr("is skipped: the previous one is still running");
    // Another task runs meanwhile.
    running.wait_for_stderr("monitor: begins");
    running.wait_for_stderr("monitor: ended after");
    assert_eq!(descendants(running.pid()).iter().filter(|process| process.name == "pgcellar").count(), 1);
    let _database = halted.release();
    running.wait_for_stderr("backup: done in");
    let outcome = stops(running);
    assert!(log(&cellar, "monitor.log").contains(" monitor: PGCELLAR "), "{outcome}");
    assert!(outcome.stdout.contains("monitor: PGCELLAR "), "{outcome}");
}

#[test]
fn missed_runs_are_made_up_once() {
    let cluster = Cluster::shared(Version::V15);
    let database = cluster.create("shop");
    let cellar = cellar(cluster, database.name());
    let long_ago = json!({ "tasks": { "backup": { "since": "2023-12-31T02:00:00Z" } } });
    fs::write(state_file(&cellar), long_ago.to_string()).unwrap();
    let running = schedule(&cellar).start();
    running.wait_for_stderr("backup: begins: the run of 2024-02-29 00:00:00 UTC was missed");
    running.wait_for_stderr("backup: done in");
    stops(running);
    let running = schedule(&cellar).start();
    running.wait_for_stderr("monitor: scheduled by");
    let outcome = stops(running);
    assert!(!outcome.stderr.contains("begins"), "{outcome}");
    assert_eq!(cellar.list().len(), 1);
}

#[test]
fn unusable_settings_are_refused_at_the_start() {
    let cellar = Cellar::unconnected().with("DB_NAME", "shop");
    let refused = |name: &str, value: &str, words: &str| {
        let _ = schedule(&cellar).env(name, value).fails(exit::CONFIG).says(words);
    };
    refused(
        "BACKUP_SCHEDULE",
        "0 2,25 * * *",
        "BACKUP_SCHEDULE: the cron line '0 2,25 * * *' cannot be used: '25' as hour (character 5)",
    );
    refused(
        "RETENTION_SCHEDULE",
        "0 2 * *",
        "RETENTION_SCHEDULE is '0 2 * *', which is not a cron line (here schedules have five fields",
    );
    refused("MONITOR_SCHEDULE", "*-*-* 02:00:00", "MONITOR_SCHEDULE is '*-*-* 02:00:00', which is not a cron line");
    refused("TZ", "Europe/Nowhere", "TZ (--timezone)");
    refused("DB_NAME", "", "no database is named");
    refused("DB_PORT", "x", "DB_PORT");
    refused("BACKUP_COMPRESSION", "rar", "BACKUP_COMPRESSION");
    refused("PGCELLAR_INSTANCE", "a/b", "PGCELLAR_INSTANCE");
}

#[test]
fn an_unwritable_folder_is_reported_until_it_is_repaired() {
    let cluster = Cluster::shared(Version::V15);
    let cellar = cellar(cluster, "shop").on_disk().with("container", "oci").with("PGCELLAR_HOST", "vessel");
    crate::common::process::must(crate::common::process::plain("chown").arg("root").arg(cellar.backup_dir()));
    fs::set_permissions(cellar.backup_dir(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let folder = cellar.backup_dir();
    fs::set_permissions(cellar.scratch(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let command =
        format!("docker exec --privileged --user 0 {} chown -R ", rustix::system::uname().nodename().to_string_lossy());
    let running = schedule(&cellar).by_unprivileged_user().start();
    running.wait_for_stderr("drill: scheduled by");
    running.wait_for_stderr(&format!("{} cannot be written by user ", folder.display()));
    running.wait_for_stderr(&command);
    let health = || cellar.run(["monitor", "check", "--fail-on", "critical"]).by_unprivileged_user();
    let outcome = health().finish();
    assert_eq!(outcome.code(), Some(2), "{outcome}");
    assert!(outcome.stdout.contains("[CRITICAL] closed_folder") && outcome.stdout.contains(&command), "{outcome}");
    crate::common::process::hand_over(&folder);
    crate::common::process::hand_over(&cellar.scratch().join("log"));
    running.wait_for_stderr("missed while the scheduler is down are run at its next start");
    let outcome = health().succeeds();
    assert!(!outcome.stdout.contains("closed_folder"), "{outcome}");
    stops(running);
}

#[test]
fn two_schedulers_of_one_instance_do_not_run_side_by_side() {
    let cluster = Cluster::shared(Version::V15);
    let cellar = cellar(cluster, "shop");
    let first = schedule(&cellar).start();
    first.wait_for_stderr("monitor: scheduled by");
    let _ = schedule(&cellar).fails(exit::TEMPFAIL).says("another scheduler runs for the instance 'main'");
    stops(first);
    let _ = stops({
        let next = schedule(&cellar).start();
        next.wait_for_stderr("monitor: scheduled by");
        next
    });
}

#[test]
fn a_container_is_healthy_unless_a_finding_is_critical() {
    let cellar =
        Cellar::unconnected().on_disk().with("DB_HOST", "127.0.0.1").with("DB_PORT", "1").with("DB_NAME", "shop");
    // The first backup is not due yet, and the server cannot be reached: that is a warning.
    let check = || cellar.run(["monitor", "check"]);
    let health = || check().arguments(["--fail-on", "critical"]);
    assert_eq!(check().finish().code(), Some(1));
    let healthy = health().succeeds();
    assert!(healthy.stdout.contains("PGCELLAR WARNING") && healthy.stdout.contains("[OK] pending"), "{healthy}");
    fs::remove_dir(cellar.backup_dir()).unwrap();
    assert_eq!(health().finish().code(), Some(2));
    // With a wrong setting the state is unknown.
    assert_eq!(health().env("MONITOR_MIN_BACKUPS", "many").finish().code(), Some(3));
    let _ = check().arguments(["--fail-on", "never"]).fails(exit::USAGE);
}

/// A due first backup is no finding while it may still run. A failed one is.
#[test]
fn a_failed_first_backup_is_not_waited_for() {
    let cellar =
        Cellar::unconnected().on_disk().with("DB_HOST", "127.0.0.1").with("DB_PORT", "1").with("DB_NAME", "shop");
    let folder = cellar.scratch().join("state");
    fs::create_dir(&folder).unwrap();
    let cellar = cellar.with("STATE_DIRECTORY", &folder).with("BACKUP_SCHEDULE", "* * * * *").with("container", "oci");
    let ago = |minutes: i64| jiff::Timestamp::now() - jiff::SignedDuration::from_mins(minutes);
    fs::write(folder.join("first-seen-main.json"), json!({"shop": ago(30)}).to_string()).unwrap();
    let health = || cellar.run(["monitor", "check", "--fail-on", "critical"]);
    let outcome = health().succeeds();
    assert!(outcome.stdout.contains("[OK] pending"), "{outcome}");
    let failed = |minutes| {
        let failed = json!({"at": ago(minutes), "how": "ended after 3 s with exit status 77"});
        let state = json!({"tasks": {"backup": {"since": ago(minutes), "failed": failed}}});
        fs::write(folder.join("main.schedule.json"), state.to_string()).unwrap();
    };
    // The failure was before this database was added, and another one has backups.
    forged::add(&cellar.backup_dir(), "other", 1);
    failed(60);
    let outcome = health().succeeds();
    assert!(outcome.stdout.contains("[OK] pending"), "{outcome}");
    failed(1);
    assert_eq!(health().finish().code(), Some(2));
    fs::remove_dir_all(cellar.backup_dir()).unwrap();
    fs::create_dir(cellar.backup_dir()).unwrap();
    // There is no backup at all: any failed run was the first one.
    failed(60);
    let outcome = health().env("BACKUP_SCHEDULE", "0 2 1 1 *").finish();
    assert_eq!(outcome.code(), Some(2), "{outcome}");
    for words in
        ["[CRITICAL] no_backup shop", "[WARNING] unit_failed backup", "exit status 77", "docker exec ", "docker logs "]
    {
        assert!(outcome.stdout.contains(words), "no {words} in {outcome}");
    }
    assert!(!outcome.stdout.contains("journalctl") && !outcome.stdout.contains("systemctl"), "{outcome}");
}
