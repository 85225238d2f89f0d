//! The output of `monitor report`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use crate::common::process::plain;
use crate::common::{Cellar, exit, forged};

fn folder() -> Cellar {
    let cellar = Cellar::unconnected().on_disk().with("MONITOR_MIN_FREE", "0");
    for day in 0..7 {
        forged::add(&cellar.backup_dir(), "shop", 1 + 24 * day);
        forged::add(&cellar.backup_dir(), "wine_cellar", 1 + 24 * day);
    }
    cellar
}

#[test]
fn every_format_lists_the_databases() {
    let cellar = folder();
    for format in ["text", "json", "html", "prometheus"] {
        let outcome = cellar.run(["monitor", "report", "--format", format]).succeeds();
        for name in ["shop", "wine_cellar"] {
            assert!(outcome.stdout.contains(name), "{outcome}");
        }
    }
    // Findings do not make a report fail.
    let outcome = cellar.run(["monitor", "report", "--min-backups", "8"]).succeeds();
    assert!(outcome.stdout.starts_with("WARNING: backups of main on "), "{outcome}");
    assert!(outcome.stdout.contains("MONITOR_MIN_BACKUPS=8"), "{outcome}");
    cellar.run(["monitor", "report", "--format", "pdf"]).fails(exit::USAGE).says("pdf").says("prometheus");
    cellar.run(["monitor", "report", "--min-backups", "many"]).fails(exit::CONFIG).says("MONITOR_MIN_BACKUPS");
}

#[test]
fn times_are_local_for_people_and_utc_for_machines() {
    let cellar = folder();
    let began = |cellar: &Cellar| cellar.list()[0]["started"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let began = began(&cellar);
    for (name, mark) in [("America/Sao_Paulo", "-03"), ("Asia/Kolkata", "IST"), ("UTC", "UTC")] {
        let local = began.to_zoned(jiff::tz::TimeZone::get(name).unwrap());
        let shown = format!("{} {mark}", local.strftime("%Y-%m-%d %H:%M"));
        for format in ["text", "html"] {
            let report = cellar.run(["monitor", "report", "--format", format]).env("TZ", name).succeeds();
            assert!(report.stdout.contains(&shown), "{shown}: {report}");
        }
        let report = cellar.run(["monitor", "report", "--format", "json"]).env("TZ", name).succeeds().json();
        let at: jiff::Timestamp = report["databases"][0]["protected_since"].as_str().unwrap().parse().unwrap();
        assert_eq!(at, began);
        let listed = cellar.run(["list"]).env("TZ", name).succeeds();
        assert!(listed.stdout.lines().next().unwrap().contains(&format!("MADE ({name})")), "{listed}");
        assert!(listed.stdout.contains(&local.strftime("  %Y-%m-%d %H:%M  ").to_string()), "{listed}");
    }
}

#[test]
fn a_report_file_is_replaced_atomically_and_world_readable() {
    let cellar = folder();
    let collector = cellar.scratch().join("collector");
    fs::create_dir(&collector).unwrap();
    let file = collector.join("pgcellar.prom");
    fs::write(&file, "old").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let report = || cellar.run(["monitor", "report", "--format", "prometheus", "--output"]);
    let outcome = report().arguments([&file]).succeeds();
    assert_eq!(outcome.stdout, "");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("# HELP ") && text.ends_with('\n'), "{text}");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(fs::read_dir(&collector).unwrap().count(), 1);
    report().arguments(["/nonexistent/pgcellar.prom"]).fails(exit::CANTCREAT).says("/nonexistent/pgcellar.prom");
}

#[test]
fn promtool_finds_nothing_in_the_metrics() {
    let cellar = folder();
    let file = cellar.scratch().join("pgcellar.prom");
    cellar.run(["monitor", "report", "--format", "prometheus", "--output"]).arguments([&file]).succeeds();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for metrics in [file, root.join("tests/golden/monitor.prom")] {
        let mut promtool = plain(root.join("scripts/tool"));
        promtool.args(["promtool", "check", "metrics"]).envs(std::env::var_os("HOME").map(|home| ("HOME", home)));
        let output = promtool.stdin(Stdio::from(fs::File::open(&metrics).unwrap())).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", metrics.display());
    }
}
