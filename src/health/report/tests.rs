//! Reports of an instance in trouble, against files: `PGCELLAR_WRITE_GOLDEN=1 cargo test` rewrites them, to be read
//! and committed.

use std::path::Path;

use jiff::SignedDuration;

use super::*;
use crate::catalogue::records::drill::DrillOutcome;
use crate::catalogue::records::rehearsal::RehearsalOutcome;
use crate::health::checks;
use crate::health::facts::{BackupFacts, DrillFacts, RehearsalFacts, Removal, ServerState, State, Trouble};
use crate::health::sample::{backup, daily, expected, facts, now, settings, store};

fn drill(result: DrillOutcome, hours: i64) -> DrillFacts {
    let database_bytes = Some(120 << 20).filter(|_| result != DrillOutcome::Failed);
    DrillFacts {
        at: now() - SignedDuration::from_hours(hours),
        result,
        restore_seconds: 754.2,
        seconds: 901.5,
        database_bytes,
    }
}

/// Several databases, a name with special characters, damage, a bucket with missing copies, and a late backup.
fn in_trouble() -> Facts {
    let strange = "a<b>&\"c'|d=e\n";
    let mut shop = daily("shop");
    for (number, backup) in shop.iter_mut().enumerate() {
        backup.bytes += (number as u64) << 18;
        backup.ended = backup.started + SignedDuration::from_secs(90 + 7 * (number as i64 % 3));
    }
    shop[3].state = State::Damaged(vec!["shop_20231228_020000.dump.gz is missing".to_owned()]);
    shop[5].drill = Some(drill(DrillOutcome::Passed, 30));
    shop[2].drill = Some(drill(DrillOutcome::Failed, 20));
    shop[6].verified = Some(now() - SignedDuration::from_hours(1));
    let mut late = backup(strange, 30);
    late.kind = "custom zstd age".to_owned();
    let mut partial = backup("gone", 200);
    partial.state = State::Partial;
    let mut facts = facts();
    facts.stores = vec![
        store("local", [shop.clone(), vec![late, backup("gone", 300), partial]].concat()),
        store("s3", shop[..6].to_vec()),
    ];
    facts.databases = vec![expected(strange), expected("new"), expected("shop")];
    facts.databases[1].first_due = Some("2024-01-01T02:00:00Z".parse().unwrap());
    facts.server = ServerState::Unreachable(Trouble {
        message: "cannot connect to db:5432 as 'me': connection refused".to_owned(),
        hint: "is it running at this host and port, and does pg_hba.conf let this host in?".to_owned(),
    });
    let removal = |hours| {
        let BackupFacts { id, bytes, .. } = backup("shop", hours);
        Removal { store: "local", id, bytes, overdue: false }
    };
    facts.removals = Some(vec![removal(154), removal(130)]);
    facts
}

#[track_caller]
fn is_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("PGCELLAR_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "{} differs", path.display());
}

fn reports(facts: &Facts) -> [(&'static str, String); 5] {
    let settings = settings();
    let findings = checks::findings(facts, &settings);
    let overview = Overview::new(facts, &settings, &findings);
    [
        ("monitor.plugin", plugin::render(&overview)),
        ("monitor.txt", text::render(&overview)),
        ("monitor.json", json::render(&overview).unwrap()),
        ("monitor.html", html::render(&overview)),
        ("monitor.prom", prometheus::render(&overview)),
    ]
}

#[test]
fn reports_are_as_in_the_files() {
    for (name, text) in reports(&in_trouble()) {
        is_golden(name, &text);
    }
}

#[test]
fn an_instance_without_findings_is_one_line() {
    let facts = facts();
    let [(_, plugin), (_, text), ..] = reports(&facts);
    let (line, data) = plugin.split_once(" | ").unwrap();
    assert_eq!(line, "PGCELLAR OK: 1 database, backed up 10 h ago or later");
    assert_eq!(plugin.lines().count(), 1);
    for datum in [
        "'shop age'=36000s;93600;187200;0",
        "'shop size'=10485760B;107374182400;;0",
        "'shop duration'=100s;;;0",
        "'shop backups'=7;1:;;0",
        "'free'=53687091200B;;5368709120:;0;107374182400",
    ] {
        assert!(
            data.split(" '").any(|part| part.trim_start_matches('\'') == datum.trim_start_matches('\''))
                || data.contains(datum),
            "{datum}: {data}"
        );
    }
    assert!(text.starts_with("OK: backups of main on db1.example.org, 2023-12-31 12:00 UTC\n"), "{text}");
    assert!(!text.contains("Findings"), "{text}");
}

#[test]
fn special_characters_break_no_report() {
    let [(_, plugin), (_, text), (_, json), (_, html), (_, metrics)] = reports(&in_trouble());
    assert!(plugin.lines().next().unwrap().matches('|').count() == 1, "{plugin}");
    assert!(plugin.lines().skip(1).all(|line| line.starts_with('[') && !line.contains('|')), "{plugin}");
    assert!(plugin.contains("'a<b>&\"c''\u{a6}d_e\\u{a} age'="), "{plugin}");
    assert!(text.contains(r#"a<b>&"c'|d=e\u{a}"#), "{text}");
    assert!(html.contains("a&lt;b&gt;&amp;&quot;c&#39;|d=e\\u{a}") && !html.contains("<b>"), "{html}");
    assert!(metrics.contains(r#"database="a<b>&\"c'|d=e\n""#), "{metrics}");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["databases"][0]["database"], "a<b>&\"c'|d=e\n");
}

#[test]
fn a_page_is_self_contained() {
    let [.., (_, html), _] = reports(&in_trouble());
    for foreign in ["<script", "<link", "<img", "http:", "https:", "url(", "@import", "@font-face", "src="] {
        assert!(!html.contains(foreign), "{foreign}");
    }
}

/// Whether all elements are closed in order, and no text stands outside of one.
#[track_caller]
fn is_sound(html: &str) {
    let mut open = Vec::new();
    for tag in html.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').expect("a tag ends");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        match name {
            "!DOCTYPE" | "meta" | "br" | "wbr" => {}
            _ if tag.starts_with('/') => assert_eq!(open.pop(), Some(name), "{tag}"),
            _ if tag.ends_with('/') => {}
            _ => open.push(name),
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
    }
    assert_eq!(open, [""; 0]);
}

/// The page of an instance with these backups.
fn page(backups: Vec<BackupFacts>) -> String {
    let mut facts = facts();
    facts.databases = vec![expected(backups.first().map_or("shop", |backup| &backup.database))];
    facts.stores = vec![store("local", backups)];
    let [.., (_, html), _] = reports(&facts);
    is_sound(&html);
    html
}

#[test]
fn a_page_is_sound_with_few_backups_and_many_and_any_name() {
    is_sound(&reports(&in_trouble())[3].1);
    let none = page(Vec::new());
    assert!(!none.contains("<svg") && !none.contains("<details"), "{none}");
    let mut one = backup("shop", 30);
    assert_eq!(page(vec![one.clone()]).matches("<svg").count(), 2);
    one.drill = Some(drill(DrillOutcome::Passed, 20));
    let html = page(vec![one.clone()]);
    assert!(html.contains("<title>Size restored by drills of shop: 120.00 MiB on 2023-12-30</title>"), "{html}");
    assert!(html.contains("<title>Duration of the drills of shop: 15 min on 2023-12-30</title>"), "{html}");
    assert!(html.contains("120.00 MiB in 15 min"), "{html}");
    one.drill = Some(DrillFacts { database_bytes: None, ..drill(DrillOutcome::Restored, 20) });
    assert_eq!(page(vec![one]).matches("<svg").count(), 3);
    for name in ["\u{1f418}".repeat(15), "é".repeat(31), "</title><script>alert(1)</script>&\"'".to_owned()] {
        let html = page(daily(&name));
        assert!(html.contains("class=\"long\"") && !html.contains("<script"), "{html}");
    }
}

/// Only an id too long for one line may break.
#[test]
fn short_names_stay_on_one_line() {
    let html = page(daily("shop"));
    assert!(html.contains("<span class=\"short\">shop_20231231_020000</span>"), "{html}");
    assert!(html.contains(".short,.time{white-space:nowrap}"), "{html}");
}

#[test]
fn a_thousand_backups_are_one_readable_page() {
    let mut facts = facts();
    let drilled = |hour| BackupFacts { drill: Some(drill(DrillOutcome::Passed, hour)), ..backup("shop", hour) };
    facts.stores = vec![store("local", (0..1000).rev().map(drilled).collect())];
    let [(_, plugin), (_, text), _, (_, html), _] = reports(&facts);
    assert!(html.len() < 60_000, "{} bytes", html.len());
    assert!(html.contains("975 older ones") && html.matches("<svg").count() == 4);
    is_sound(&html);
    assert!(text.lines().count() < 40 && plugin.len() < 1000, "{text}");
}

/// The form of <https://prometheus.io/docs/instrumenting/exposition_formats/>: help and type before the samples, each
/// metric once, each series once.
#[test]
fn metrics_have_the_form_of_prometheus() {
    for facts in [facts(), in_trouble()] {
        let [.., (_, metrics)] = reports(&facts);
        let (mut known, mut series) = (std::collections::HashSet::new(), std::collections::HashSet::new());
        let mut current = String::new();
        let mut lines = metrics.lines();
        while let Some(line) = lines.next() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                current = help.split(' ').next().unwrap().to_owned();
                assert!(known.insert(current.clone()), "{current} comes twice");
                assert_eq!(lines.next(), Some(format!("# TYPE {current} gauge").as_str()));
                assert!(current.starts_with("pgcellar_"), "{line}");
                continue;
            }
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(name.starts_with(&format!("{current}{{cellar=\"main\"")) && name.ends_with('}'), "{line}");
            assert!(series.insert(name.to_owned()), "{line} comes twice");
        }
    }
}

#[test]
fn readiness_for_the_next_major_version() {
    let mut facts = facts();
    let mut shop = daily("shop");
    let rehearsal = |server, hours, verdict: &str| RehearsalFacts {
        at: now() - SignedDuration::from_hours(hours),
        server,
        result: RehearsalOutcome::Unready,
        verdict: verdict.to_owned(),
        restore_seconds: 61.5,
    };
    shop[4].rehearsal = Some(rehearsal(18, 50, "yes"));
    shop[6].rehearsal = Some(rehearsal(19, 2, "no, because view public.<v> (42703): column \"a\" does not exist"));
    facts.stores = vec![store("local", shop)];
    facts.databases = vec![expected("new"), expected("shop")];
    let of = |next_server| {
        let settings = MonitorSettings { next_server, ..settings() };
        let overview = Overview::new(&facts, &settings, &[]);
        let json: serde_json::Value = serde_json::from_str(&json::render(&overview).unwrap()).unwrap();
        (text::render(&overview), html::render(&overview), json["databases"].clone())
    };
    let (text, html, json) = of(None);
    let words = "ready for 19: no, because view public.<v> (42703): column \"a\" does not exist (rehearsed";
    assert!(text.contains(words) && !text.contains("new  ready"), "{text}");
    assert!(html.contains("ready for 19: no, because view public.&lt;v&gt; (42703)"), "{html}");
    assert_eq!((&json[1]["upgrade"]["server"], &json[1]["upgrade"]["result"]), (&19.into(), &"unready".into()));
    assert_eq!(json[0]["upgrade"], serde_json::Value::Null);
    let (text, _, json) = of(Some(18));
    assert!(text.contains("shop  ready for 18: yes (rehearsed"), "{text}");
    assert!(text.contains("new  ready for 18: not rehearsed yet\n"), "{text}");
    assert_eq!(json[0]["upgrade"]["ready"], "not rehearsed yet");
}
