//! Metrics for node_exporter's textfile collector, in Prometheus's text format
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>). Timestamps are values, so that ages grow when the file
//! is not written any more.

use std::fmt::Write;

use jiff::Timestamp;

use crate::catalogue::records::drill::DrillOutcome;
use crate::health::Level;
use crate::health::coverage::Coverage;
use crate::health::facts::BackupFacts;
use crate::health::report::Overview;

/// A metric with its samples: labels and values.
struct Metric {
    name: &'static str,
    help: &'static str,
    samples: Vec<(Vec<(&'static str, String)>, f64)>,
}

/// The metrics, each with the instance's name in the label `cellar`: `instance` is Prometheus's own.
pub fn render(overview: &Overview<'_>) -> String {
    let mut text = String::new();
    let metrics =
        verdicts(overview).into_iter().chain(databases(overview)).chain(counts(overview)).chain(stores(overview));
    for metric in metrics.filter(|metric| !metric.samples.is_empty()) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP {} {}\n# TYPE {0} gauge", metric.name, metric.help);
        for (labels, value) in &metric.samples {
            let cellar = std::iter::once(("cellar", overview.facts.instance.clone()));
            let labels = cellar.chain(labels.clone()).map(|(name, value)| format!("{name}=\"{}\"", escaped(&value)));
            let _ = writeln!(text, "{}{{{}}} {value}", metric.name, labels.collect::<Vec<_>>().join(","));
        }
    }
    text
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

fn seconds(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64().trunc()
}

fn verdicts(overview: &Overview<'_>) -> Vec<Metric> {
    let facts = overview.facts;
    let levels = [Level::Warning, Level::Critical, Level::Unknown];
    let of = |level| overview.findings.iter().filter(|finding| finding.level == level).count();
    let one = |name, help, value: f64| Metric { name, help, samples: vec![(Vec::new(), value)] };
    let mut metrics = vec![
        one("pgcellar_check_timestamp_seconds", "When these metrics were written.", seconds(facts.now)),
        one(
            "pgcellar_status",
            "The worst finding: 0 is OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.",
            f64::from(overview.level.exit_status()),
        ),
        Metric {
            name: "pgcellar_findings",
            help: "Number of findings of each level.",
            samples: levels.map(|level| (vec![("level", level.name().to_lowercase())], of(level) as f64)).to_vec(),
        },
        one(
            "pgcellar_backup_longest_age_seconds",
            "Maximum age of the newest good backup; twice that is critical.",
            facts.schedule.recent.as_secs_f64(),
        ),
    ];
    metrics.extend(facts.schedule.next.map(|next| {
        one("pgcellar_next_backup_timestamp_seconds", "When the next backup is due by the schedule.", seconds(next))
    }));
    metrics
}

/// Metrics of the good backups of each configured database.
fn databases(overview: &Overview<'_>) -> Vec<Metric> {
    let now = overview.facts.now;
    let each = |name, help, value: &dyn Fn(&Coverage<'_>) -> Option<f64>| {
        let expected = overview.protections.iter().filter(|protection| protection.expected.is_some());
        let sample = |protection: &Coverage<'_>| {
            value(protection).map(|value| (vec![("database", protection.database.to_owned())], value))
        };
        Metric { name, help, samples: expected.filter_map(sample).collect() }
    };
    let newest = |value: fn(&BackupFacts) -> f64| move |protection: &Coverage<'_>| protection.newest(now).map(value);
    vec![
        each(
            "pgcellar_newest_backup_timestamp_seconds",
            "When the newest good backup began; 0 if there is none.",
            &|protection| Some(protection.newest(now).map_or(0.0, |backup| seconds(backup.started))),
        ),
        each("pgcellar_oldest_backup_timestamp_seconds", "When the oldest good backup began.", &|protection| {
            protection.oldest(now).map(|backup| seconds(backup.started))
        }),
        each(
            "pgcellar_newest_backup_size_bytes",
            "Stored size of the newest good backup.",
            &newest(|backup| backup.bytes as f64),
        ),
        each(
            "pgcellar_newest_backup_duration_seconds",
            "How long the newest good backup took.",
            &newest(|backup| backup.duration().as_secs_f64()),
        ),
        each("pgcellar_drill_timestamp_seconds", "When the last drill ended.", &|protection| {
            protection.last_drill().map(|(_, drill)| seconds(drill.at))
        }),
        each("pgcellar_drill_failed", "Whether the last drill failed.", &|protection| {
            protection.last_drill().map(|(_, drill)| f64::from(u8::from(drill.result == DrillOutcome::Failed)))
        }),
        each(
            "pgcellar_proven_backup_timestamp_seconds",
            "When the newest backup that a drill has proven began; 0 if there is none.",
            &|protection| Some(protection.proven().map_or(0.0, |(backup, _)| seconds(backup.started))),
        ),
        each(
            "pgcellar_recovery_duration_seconds",
            "How long the restore of the newest proven backup took in its drill.",
            &|protection| protection.proven().map(|(_, drill)| drill.restore_seconds),
        ),
    ]
}

/// Backups by database, store and status.
fn counts(overview: &Overview<'_>) -> Vec<Metric> {
    let mut samples = Vec::new();
    for store in overview.facts.stores.iter().filter(|store| store.contents.is_ok()) {
        for protection in &overview.protections {
            let of_database = |backup: &&BackupFacts| backup.database == protection.database;
            let backups: Vec<&BackupFacts> = store.backups().iter().filter(of_database).collect();
            for status in ["good", "verified", "partial", "damaged"] {
                let number = backups.iter().filter(|backup| backup.status() == status).count();
                let labels = vec![
                    ("database", protection.database.to_owned()),
                    ("store", store.name.to_owned()),
                    ("status", status.to_owned()),
                ];
                samples.push((labels, number as f64));
            }
        }
    }
    vec![Metric { name: "pgcellar_backups", help: "Number of backups; verified ones are good too.", samples }]
}

fn stores(overview: &Overview<'_>) -> Vec<Metric> {
    let facts = overview.facts;
    let label = |name: &str| vec![("store", name.to_owned())];
    let readable = facts.stores.iter().map(|store| (label(store.name), f64::from(u8::from(store.contents.is_ok()))));
    let sizes = facts.stores.iter().filter(|store| store.contents.is_ok());
    let disk = |value: fn(&crate::host::disk::Disk) -> u64| {
        facts.disk.iter().map(|disk| (label("local"), value(disk) as f64)).collect()
    };
    vec![
        Metric {
            name: "pgcellar_store_readable",
            help: "Whether the store could be read.",
            samples: readable.collect(),
        },
        Metric {
            name: "pgcellar_store_size_bytes",
            help: "Size of this instance's backups in the store.",
            samples: sizes.map(|store| (label(store.name), store.bytes() as f64)).collect(),
        },
        Metric {
            name: "pgcellar_store_capacity_bytes",
            help: "Size of the store's disk.",
            samples: disk(|disk| disk.bytes),
        },
        Metric {
            name: "pgcellar_store_free_bytes",
            help: "Free space of the store's disk.",
            samples: disk(|disk| disk.free_bytes),
        },
    ]
}
