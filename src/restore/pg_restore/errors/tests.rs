use super::*;
use std::os::unix::process::ExitStatusExt;

fn judge(lines: &[&str]) -> ErrorWatcher {
    let judge = ErrorWatcher::new(None, true, RefusedOwners::default());
    lines.iter().for_each(|line| judge.read(line));
    judge
}

fn exited(code: i32) -> ExitStatus {
    ExitStatus::from_raw(code << 8)
}

#[test]
fn only_the_known_error_is_accepted() {
    let end = "pg_restore: warning: errors ignored on restore: 1";
    let english = "pg_restore: error: could not execute query: ERROR:  unrecognized configuration parameter \"transaction_timeout\"";
    let german = "pg_restore: error: could not execute query: FEHLER:  unbekannter Konfigurationsparameter »transaction_timeout«";
    let near = "Command was: SET transaction_timeouts = 0;";
    assert!(judge(&[]).accepts(exited(0)));
    for error in [english, german] {
        let lines = ["pg_restore: while INITIALIZING:", error, KNOWN, end];
        assert!(judge(&lines).accepts(exited(1)), "{error}");
        for lines in [
            &[error, KNOWN][..],
            &[end],
            &[],
            &[error, KNOWN, error, near, end],
            &[error, near, end],
            &[error, end],
            &[error, error, KNOWN, end],
            &[error, KNOWN, "pg_restore: error: COPY failed", end],
        ] {
            assert!(!judge(lines).accepts(exited(1)), "{lines:?}");
        }
        assert!(!judge(&[error, KNOWN, end]).accepts(ExitStatus::from_raw(9)), "killed");
        assert!(judge(&[error, near]).stop.is_cancelled() && !judge(&[error, KNOWN, end]).stop.is_cancelled());
        let error = first_error([error, KNOWN, "", "pg_restore: error: FEHLER:  x", near].into_iter()).unwrap();
        assert!(error.starts_with("pg_restore: error: FEHLER:  x"), "{error}");
    }
}

#[test]
fn going_on_after_errors() {
    let error = "pg_restore: error: could not execute query: ERROR:  relation \"x\" does not exist";
    let end = "pg_restore: warning: errors ignored on restore: 2";
    let faults = SkippedErrors::default();
    let judge = ErrorWatcher::new(Some(faults.clone()), true, RefusedOwners::default());
    let command = "Command was: REFRESH MATERIALIZED VIEW nap;";
    for line in [error, "LINE 1: x", command, error, command, error, KNOWN, end] {
        judge.read(line);
    }
    let error = format!("ERROR:  relation \"x\" does not exist | {command}");
    assert_eq!(faults.first_and_count(), (vec![error.clone(), error], 2));
    assert!(judge.accepts(exited(1)) && judge.accepts(exited(0)) && !judge.stop.is_cancelled());
    judge.read("pg_restore: error: could not execute query: ERROR:  could not extend file: No space left on device");
    assert!(judge.stop.is_cancelled() && !judge.accepts(exited(1)));
    assert!(
        !ErrorWatcher::new(Some(faults), true, RefusedOwners::default()).accepts(exited(1)),
        "it did not reach the end"
    );
}

#[test]
fn only_the_end_of_a_session_ends_going_on() {
    let judge = |lines: &[&str]| {
        let judge = ErrorWatcher::new(Some(SkippedErrors::default()), false, RefusedOwners::default());
        lines.iter().for_each(|line| judge.read(line));
        judge
    };
    let end = "pg_restore: warning: errors ignored on restore: 1";
    for line in [
        "ERROR:  permission denied for schema x",
        "FEHLER:  keine Berechtigung für Schema x",
        "ERROR:  must be owner of extension plpgsql",
        "ERROR:  invalid input syntax for type integer: \"No space left on device\"",
        "ERROR:  relation \"server closed the connection unexpectedly\" does not exist",
        "ERROR:  relation \"terminating connection\" does not exist",
    ] {
        let line = format!("pg_restore: error: could not execute query: {line}");
        let command = "Command was: CREATE FUNCTION f() AS $$";
        let judge = judge(&[&line, command, "server closed the connection unexpectedly", end]);
        assert!(judge.accepts(exited(1)) && !judge.stop.is_cancelled(), "{line}");
    }
    for lines in [
        &["pg_restore: error: could not execute query: FATAL:  terminating connection due to administrator command"][..],
        &["pg_restore: error: could not execute query: no connection to the server"],
        &["pg_restore: error: COPY failed for table \"t\": server closed the connection unexpectedly"],
        &["pg_restore: error: could not execute query: FATAL:  Abbruch", "SSL connection has been closed unexpectedly"],
        &["pg_restore: error: could not execute query: ВАЖНО:  x", "server closed the connection unexpectedly"],
    ] {
        assert!(judge(lines).stop.is_cancelled(), "{lines:?}");
    }
}

#[test]
fn refused_statistics_are_no_error() {
    let lines = [
        "pg_restore: error: could not execute query: ERROR:  relation \"public.t\" does not exist",
        "Command was: SELECT * FROM pg_catalog.pg_restore_relation_stats(",
        "\t'version', '180006'::integer,",
        ");",
        "pg_restore: warning: errors ignored on restore: 1",
    ];
    for (going_on, superuser) in [(None, true), (None, false), (Some(SkippedErrors::default()), true)] {
        let judge = ErrorWatcher::new(going_on.clone(), superuser, RefusedOwners::default());
        lines.iter().for_each(|line| judge.read(line));
        assert!(judge.accepts(exited(1)) && !judge.stop.is_cancelled());
        assert!(going_on.is_none_or(|faults| faults.first_and_count().1 == 0));
    }
}

#[test]
fn the_error_that_ended_it_is_reported() {
    let judge = ErrorWatcher::new(Some(SkippedErrors::default()), false, RefusedOwners::default());
    let lines = [
        "pg_restore: error: could not execute query: ERROR:  permission denied for schema x",
        "Command was: CREATE TABLE x.t ();",
        "pg_restore: error: could not execute query: no connection to the server",
        "Command was: CREATE TABLE x.u ();",
    ];
    lines.iter().for_each(|line| judge.read(line));
    let error = failure("pg_restore", "15.1", "failed", &judge.decisive(&Messages::of(&lines)));
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
}

#[test]
fn comments_on_extensions_of_others_are_left() {
    let lines = [
        "pg_restore: error: could not execute query: ERROR:  must be owner of extension hstore",
        "Command was: COMMENT ON EXTENSION hstore IS 'x';",
    ];
    let end = "pg_restore: warning: errors ignored on restore: 1";
    for (superuser, more, accepted) in [
        (false, &[end][..], true),
        (true, &[end], false),
        (false, &["pg_restore: error: could not execute query: ERROR:  no", "DETAIL:  x", lines[1], end], true),
        (false, &["pg_restore: error: could not execute query: ERROR:  no", "Command was: x", lines[1], end], false),
        (false, &["pg_restore: error: could not execute query: ERROR:  no"], false),
    ] {
        let judge = ErrorWatcher::new(None, superuser, RefusedOwners::default());
        lines.iter().chain(more).for_each(|line| judge.read(line));
        assert_eq!(judge.accepts(exited(1)), accepted, "{more:?}");
    }
}

#[test]
fn meanings() {
    let cases = [
        (
            "pg_restore: error: could not execute query: FATAL:  Verbindung wird abgebrochen | CONTEXT:  x",
            Kind::Unavailable,
        ),
        ("psql:<stdin>:5: error: invalid command \\restrict", Kind::System),
        ("pg_restore: error: could not execute query: ERROR:  permission denied for schema x", Kind::NotPermitted),
        ("ERROR:  could not extend file \"base/1/2\": No space left on device", Kind::CannotWrite),
        (
            "pg_restore: error: COPY failed for table \"t\": server closed the connection unexpectedly",
            Kind::Unavailable,
        ),
        ("pg_restore: error: unsupported version (1.16) in file header", Kind::System),
        ("pg_restore: error: a worker process died unexpectedly", Kind::System),
        ("pg_restore: error: could not execute query: ERROR:  deadlock detected", Kind::Conflict),
        (
            "pg_restore: error: COPY failed for table \"t\": ERROR:  x | CONTEXT:  COPY t: \"deadlock detected\"",
            Kind::Data,
        ),
        ("pg_restore: error: could not execute query: ERROR:  relation \"x\" does not exist", Kind::Data),
    ];
    for (why, kind) in cases {
        assert_eq!(meaning("psql", "15.1", why).0, kind, "{why}");
    }
}

#[test]
fn libraries_that_must_be_preloaded() {
    for said in [
        "pg_restore: error: could not execute query: ERROR:  pg_cron can only be loaded via shared_preload_libraries",
        "ERROR:  pg_stat_statements must be loaded via \"shared_preload_libraries\"",
        "ERROR:  pg_stat_statements must be loaded via shared_preload_libraries",
        "ERROR:  pg_net is not in shared_preload_libraries",
        "FATAL:  extension \"timescaledb\" must be preloaded",
        "ERROR:  security label provider \"anon\" is not loaded",
        "ERROR:  no security label providers have been loaded",
    ] {
        assert!(is_not_preloaded(said), "{said}");
        assert_eq!(meaning("pg_restore", "15.1", said).0, Kind::Missing, "{said}");
    }
    for said in [
        "ERROR:  permission denied | Command was: ALTER SYSTEM SET shared_preload_libraries = ",
        "ERROR:  could not create unique index | DETAIL:  Key (query)=(SHOW shared_preload_libraries) is duplicated.",
        "ERROR:  security label provider is unknown",
        "ERROR:  column x is not loaded",
    ] {
        assert!(!is_not_preloaded(said), "{said}");
    }
}

#[test]
fn hints_of_the_server_are_reported() {
    let lines = [
        "pg_restore: while PROCESSING TOC:",
        "pg_restore: error: could not execute query: ERROR:  pg_cron can only be loaded via shared_preload_libraries",
        "HINT:  Add pg_cron to the shared_preload_libraries configuration variable in postgresql.conf.",
        "Command was: CREATE EXTENSION IF NOT EXISTS pg_cron WITH SCHEMA pg_catalog;",
        "",
    ];
    let error = first_error(lines.into_iter()).unwrap();
    assert!(
        error.ends_with(" | Command was: CREATE EXTENSION IF NOT EXISTS pg_cron WITH SCHEMA pg_catalog;"),
        "{error}"
    );
}

#[test]
fn long_lines_are_cut() {
    let line = "ö".repeat(400);
    assert_eq!(shorten(&line).chars().count(), 301);
    assert_eq!(shorten("ERROR:  it's short"), "ERROR:  it's short");
    assert_eq!(
        shorten("Command was: CREATE SUBSCRIPTION s CONNECTION 'password=x' y"),
        "Command was: CREATE SUBSCRIPTION s CONNECTION …"
    );
}
