//! The checks of `pgcellar doctor` and their report.

use serde::Serialize;

use crate::cli::DoctorPart;
use crate::error::{Error, Kind, Result};
use crate::format::count;
use crate::printable::printable;
use crate::stdout;

/// The outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum CheckOutcome {
    /// Nothing to do.
    Ok,
    /// Something needs attention, but does not prevent backups.
    Warning,
    /// Backups, or mails, will fail.
    Failed,
    /// It could not be checked, because an earlier check failed.
    Skipped,
}

impl CheckOutcome {
    fn name(self) -> &'static str {
        match self {
            CheckOutcome::Ok => "OK",
            CheckOutcome::Warning => "WARNING",
            CheckOutcome::Failed => "FAILED",
            CheckOutcome::Skipped => "SKIPPED",
        }
    }
}

/// One check.
#[derive(Debug, Serialize)]
pub struct Check {
    part: DoctorPart,
    check: String,
    result: CheckOutcome,
    /// What was found.
    found: String,
    /// How to repair it.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
    #[serde(skip)]
    kind: Option<Kind>,
}

/// `OK       s3        write: …`.
impl std::fmt::Display for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (result, part) = (self.result.name(), self.part.name());
        write!(f, "{result:<8} {part:<9} {}: {}", printable(&self.check), printable(&self.found))?;
        match &self.mend {
            Some(mend) => write!(f, " ({})", printable(mend)),
            None => Ok(()),
        }
    }
}

/// The checks of one part.
#[derive(Debug)]
pub struct Checks {
    part: DoctorPart,
    list: Vec<Check>,
}

impl Checks {
    /// No checks yet.
    pub fn new(part: DoctorPart) -> Self {
        Checks { part, list: Vec::new() }
    }

    /// Adds a check without a problem.
    pub fn ok(&mut self, check: impl Into<String>, found: impl Into<String>) {
        self.add(check.into(), CheckOutcome::Ok, found.into(), None, None);
    }

    /// Adds a warning.
    pub fn warning(&mut self, check: impl Into<String>, found: impl Into<String>, mend: impl Into<String>) {
        self.add(check.into(), CheckOutcome::Warning, found.into(), Some(mend.into()), None);
    }

    /// Adds a failed check.
    pub fn failed(&mut self, check: impl Into<String>, error: &Error) {
        self.failed_because(check, error.message(), error);
    }

    /// Adds a failed check with another text than the error's.
    pub fn failed_because(&mut self, check: impl Into<String>, why: &str, error: &Error) {
        let mend = error.hint_text().map(str::to_owned);
        self.add(check.into(), CheckOutcome::Failed, why.to_owned(), mend, Some(error.kind()));
    }

    /// Adds a check that could not be done.
    pub fn skipped(&mut self, check: impl Into<String>, because: impl Into<String>) {
        self.add(check.into(), CheckOutcome::Skipped, because.into(), None, None);
    }

    /// Adds the result of a test; returns whether it succeeded.
    pub fn act(&mut self, check: &str, done: Result<String>) -> bool {
        match done {
            Ok(found) => self.ok(check, found),
            Err(error) => {
                self.failed(check, &error);
                return false;
            }
        }
        true
    }

    fn add(&mut self, check: String, result: CheckOutcome, found: String, mend: Option<String>, kind: Option<Kind>) {
        self.list.push(Check { part: self.part, check, result, found, mend, kind });
    }

    /// Adds the failed ones of other checks.
    pub fn failures_of(&mut self, others: Checks) {
        self.list.extend(others.list.into_iter().filter(|check| check.result == CheckOutcome::Failed));
    }
}

/// One line each.
impl std::fmt::Display for Checks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.list.iter().try_for_each(|check| writeln!(f, "{check}"))
    }
}

/// All checks.
#[derive(Debug)]
pub struct DoctorReport {
    json: bool,
    checks: Vec<Check>,
}

#[derive(Serialize)]
struct Printed<'a> {
    result: CheckOutcome,
    exit_code: u8,
    checks: &'a [Check],
}

impl DoctorReport {
    /// An empty report, as JSON or as text.
    pub fn new(json: bool) -> Self {
        DoctorReport { json, checks: Vec::new() }
    }

    /// Adds the checks of a part; as text they are printed at once.
    pub fn add(&mut self, checks: Checks) -> Result<()> {
        if !self.json {
            stdout::print(checks.to_string())?;
        }
        self.checks.extend(checks.list);
        Ok(())
    }

    /// Prints the report as JSON, if requested. The error is of the kind of the first failure.
    pub fn end(self) -> Result<()> {
        let number = |outcome| self.checks.iter().filter(|check| check.result == outcome).count();
        let (failed, warnings) = (number(CheckOutcome::Failed), number(CheckOutcome::Warning));
        let first = self.checks.iter().find_map(|check| check.kind);
        if self.json {
            let result = match (failed, warnings) {
                (0, 0) => CheckOutcome::Ok,
                (0, _) => CheckOutcome::Warning,
                _ => CheckOutcome::Failed,
            };
            let exit_code = first.map_or(0, Kind::exit_status);
            let printed = Printed { result, exit_code, checks: &self.checks };
            let text = serde_json::to_string_pretty(&printed)
                .map_err(|error| Error::new(Kind::Internal, format!("cannot write the checks as JSON: {error}")))?;
            stdout::print(text + "\n")?;
        }
        let all = count(self.checks.len(), "check");
        match first {
            Some(kind) => Err(Error::new(kind, format!("{failed} of {all} failed"))),
            None if warnings > 0 => {
                log::warn!("{all}: nothing failed, {}", count(warnings, "warning"));
                Ok(())
            }
            None => {
                log::info!("{all}: no problems found");
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_always_one_line() {
        let mut checks = Checks::new(DoctorPart::Database);
        checks.ok("login", "as 'a\nb'");
        checks.failed("port", &Error::new(Kind::Unavailable, "no answer").hint("start it"));
        let expected = "OK       database  login: as 'a\\u{a}b'\nFAILED   database  port: no answer (start it)\n";
        assert_eq!(checks.to_string(), expected);
    }

    #[test]
    fn the_first_failure_is_the_exit_code() {
        let mut report = DoctorReport { json: false, checks: Vec::new() };
        for (part, kind) in [(DoctorPart::S3, Kind::NotPermitted), (DoctorPart::Mail, Kind::Unavailable)] {
            let mut checks = Checks::new(part);
            checks.warning("a", "b", "c");
            checks.failed("d", &Error::new(kind, "e"));
            report.checks.extend(checks.list);
        }
        let error = report.end().unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (Kind::NotPermitted, "2 of 4 checks failed"));
    }
}
