//! `pgcellar monitor report`: the state of an instance as text, HTML, JSON or Prometheus metrics.

use std::path::Path;

use crate::cli::ReportArgs;
use crate::config::ReportFormat;
use crate::error::{Error, Result};
use crate::health::report::{Overview, html, json, prometheus, text};
use crate::host::replace_file;
use crate::stdout;
use crate::stop::Stop;
use crate::task::monitor::gather::gather;

/// Other programs read a report: a metrics collector, a web server.
const MODE: u32 = 0o644;

/// Writes the report.
pub async fn run(args: &ReportArgs, stop: &Stop) -> Result<()> {
    let format = ReportFormat::new(&args.format)?;
    let gathered = gather(&args.health, stop).await?;
    let overview = Overview::new(&gathered.facts, &gathered.settings, &gathered.findings);
    let report = match format {
        ReportFormat::Text => text::render(&overview),
        ReportFormat::Json => json::render(&overview)?,
        ReportFormat::Html => html::render(&overview),
        ReportFormat::Prometheus => prometheus::render(&overview),
    };
    write(&report, args.output.as_deref())
}

fn write(report: &str, output: Option<&Path>) -> Result<()> {
    match output {
        Some(path) => {
            replace_file::replace(path, report.as_bytes(), MODE).map_err(|error| Error::write(path.display(), &error))
        }
        None => stdout::print(report),
    }
}
