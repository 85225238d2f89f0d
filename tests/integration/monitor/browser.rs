//! The HTML report in a browser: a thousand backups, on a phone and on a desk, by day and by night.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::common::process::{must, plain};
use crate::common::{Cellar, forged};

/// Measures the page in a frame of this width, and writes the result into its own text.
const PROBE: &str = r#"<!DOCTYPE html><body style="margin:0"><iframe id="page" style="width:WIDTHpx;height:2000px;border:0" srcdoc="PAGE"></iframe>
<pre id="found"></pre><script>
onload = () => {
  const frame = document.getElementById("page"), page = frame.contentDocument, view = frame.contentWindow;
  const boxes = [...page.querySelectorAll("svg")].map(svg => svg.getBoundingClientRect());
  const cut = [...page.querySelectorAll("td span,p,h1,h2,.badge")].filter(e => e.getBoundingClientRect().right > WIDTH + 1);
  const words = [...page.querySelectorAll("th,td:not(.name) span,.badge,.time")];
  const broken = words.filter(e => !e.textContent.includes(" ") && (r => r.selectNodeContents(e) || r.getClientRects().length > 1)(page.createRange()));
  const lines = name => Math.max(...[...page.querySelectorAll(name)].map(e => new Set([...e.getClientRects()].map(r => r.top)).size));
  const rows = name => Math.max(...[...page.querySelectorAll(name)].map(e => Math.round(e.getBoundingClientRect().height / 20)));
  document.getElementById("found").textContent = JSON.stringify({
    short: lines("td .short"), long: rows("td .long"),
    wide: page.documentElement.scrollWidth, high: page.documentElement.scrollHeight, cut: cut.length, broken: broken.length,
    plots: boxes.length, smallest: Math.min(...boxes.map(box => Math.min(box.width, box.height * 2))),
    text: view.getComputedStyle(page.body).color, ground: view.getComputedStyle(page.body).backgroundColor,
    card: view.getComputedStyle(page.querySelector("table")).backgroundColor,
    size: parseFloat(view.getComputedStyle(page.querySelector("td")).fontSize),
    elsewhere: view.performance.getEntriesByType("resource").length,
  });
};
</script>"#;

/// Brightness of `rgb(r, g, b)`, from 0 to 1 (<https://www.w3.org/TR/WCAG22/#dfn-relative-luminance>).
fn luminance(colour: &str) -> f64 {
    let parts: Vec<f64> =
        colour.trim_matches(|c: char| !c.is_ascii_digit()).split(',').map(|n| n.trim().parse().unwrap()).collect();
    let linear = |part: f64| if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) };
    [0.2126, 0.7152, 0.0722].iter().zip(parts).map(|(weight, part)| weight * linear(part / 255.0)).sum()
}

fn contrast(one: &str, other: &str) -> f64 {
    let (one, other) = (luminance(one) + 0.05, luminance(other) + 0.05);
    one.max(other) / one.min(other)
}

fn chromium(home: &Path, dark: bool, arguments: &[String]) -> String {
    let scheme = if dark { 0 } else { 1 };
    let mut command = plain("chromium");
    command.env("HOME", home).args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
    command.args(["--disable-background-networking", "--hide-scrollbars", "--no-first-run"]);
    command.arg(format!("--blink-settings=preferredColorScheme={scheme}"));
    command.arg(format!("--user-data-dir={}", home.join("chromium").display()));
    must(command.args(arguments))
}

/// Adds the record of a drill to a backup.
fn lay_drill(folder: &Path, id: &str, seconds: f64) {
    let manifest: Value =
        serde_json::from_slice(&fs::read(folder.join(format!("{id}.manifest.json"))).unwrap()).unwrap();
    let mut drill: Value = serde_json::from_str(include_str!("../../golden/drill.json")).unwrap();
    drill["id"] = id.into();
    drill["archive_sha256"] = manifest["files"][0]["plain_sha256"].clone();
    drill["at"] = manifest["ended"].clone();
    drill["result"] = "passed".into();
    drill["seconds"] = seconds.into();
    fs::write(folder.join(format!("{id}.drill.json")), drill.to_string()).unwrap();
}

#[test]
fn a_thousand_backups_on_a_phone_and_on_a_desk_by_day_and_by_night() {
    let cellar = Cellar::unconnected().on_disk().with("MONITOR_MIN_FREE", "0");
    for hours in 0..500 {
        let id = forged::add(&cellar.backup_dir(), "shop", hours);
        if hours % 100 == 3 {
            lay_drill(&cellar.backup_dir(), &id, 600.0 + hours as f64);
        }
        forged::add_changed(
            &cellar.backup_dir(),
            "an_rather_long_name_of_a_database_that_has_no_end",
            hours,
            |manifest| {
                manifest["partial"] = (hours % 50 == 7).into();
            },
        );
    }
    let page = cellar.scratch().join("report.html");
    let report = ["monitor", "report", "--format", "html", "--min-backups", "2000", "--output"];
    cellar.run(report).arguments([&page]).succeeds();
    let html = fs::read_to_string(&page).unwrap();
    assert!(html.len() < 100_000, "{} bytes", html.len());
    let escaped = html.replace('&', "&amp;").replace('"', "&quot;");
    assert!(html.contains("120.00 MiB in 10 min"), "{html}");
    for width in [390, 1000, 1600] {
        for dark in [false, true] {
            let probe = cellar.scratch().join("probe.html");
            fs::write(&probe, PROBE.replace("WIDTH", &width.to_string()).replace("PAGE", &escaped)).unwrap();
            let arguments =
                ["--window-size=1600,2000".to_owned(), "--dump-dom".to_owned(), probe.display().to_string()];
            let dom = chromium(cellar.scratch(), dark, &arguments);
            let found =
                dom.rsplit_once("<pre id=\"found\">").and_then(|(_, rest)| rest.split_once("</pre>")).unwrap().0;
            let found: Value = serde_json::from_str(found).unwrap_or_else(|error| panic!("{error}: {found}"));
            let number = |name: &str| found[name].as_f64().unwrap();
            assert!(number("wide") <= f64::from(width), "it scrolls sideways at {width}: {found}");
            assert_eq!((number("cut"), number("broken"), number("elsewhere")), (0.0, 0.0, 0.0), "{found}");
            assert_eq!(number("plots"), 6.0, "{found}");
            if width > 390 {
                assert!(number("short") <= 1.0 && number("long") <= 4.0, "an id breaks into lines: {found}");
            }
            assert!(number("smallest") >= 200.0 && number("size") >= 14.0, "too small to read: {found}");
            assert!(number("high") < 9_000.0, "too long: {found}");
            let colour = |name: &str| found[name].as_str().unwrap();
            assert_eq!(luminance(colour("ground")) < 0.2, dark, "{found}");
            assert!(
                contrast(colour("text"), colour("ground")) > 7.0 && contrast(colour("text"), colour("card")) > 7.0,
                "{found}"
            );
        }
    }
    picture(&cellar, &page);
}

/// Keeps screenshots for review.
fn picture(cellar: &Cellar, page: &Path) {
    for (name, size, dark) in [("phone", "390,3000", true), ("desk", "1100,2400", false)] {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("report-{name}.png"));
        // It may exist from another run.
        let _ = fs::remove_file(&file);
        let shot =
            [format!("--window-size={size}"), format!("--screenshot={}", file.display()), page.display().to_string()];
        chromium(cellar.scratch(), dark, &shot);
        assert!(fs::metadata(&file).unwrap().len() > 20_000, "{} is empty", file.display());
    }
}
