//! The findings of one source of settings.

use std::collections::BTreeMap;
use std::fmt;

use crate::printable::printable;

/// The findings in a file or in the environment.
#[derive(Debug, Default)]
pub struct SettingFindings {
    label: String,
    /// Line of the assignment of each variable that counts.
    lines: BTreeMap<String, usize>,
    found: Vec<Finding>,
    /// What retention keeps, in words.
    pub rules: Option<String>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    line: usize,
    warning: bool,
    text: String,
}

impl SettingFindings {
    /// No findings yet; `lines` are the line of each variable's assignment.
    pub fn new(label: String, lines: BTreeMap<String, usize>) -> Self {
        SettingFindings { label, lines, ..SettingFindings::default() }
    }

    /// The name of the source.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Adds an error in a line; 0 is the source as a whole.
    pub fn error_in(&mut self, line: usize, text: impl Into<String>) {
        self.add(line, false, text.into());
    }

    /// Adds a warning for a line.
    pub fn warning_in(&mut self, line: usize, text: impl Into<String>) {
        self.add(line, true, text.into());
    }

    /// Adds an error of a variable.
    pub fn error(&mut self, variable: &str, text: impl fmt::Display) {
        self.add(self.line(variable), false, format!("{variable}: {text}"));
    }

    /// Adds a warning for a variable.
    pub fn warning(&mut self, variable: &str, text: impl fmt::Display) {
        self.add(self.line(variable), true, format!("{variable}: {text}"));
    }

    fn line(&self, variable: &str) -> usize {
        self.lines.get(variable).copied().unwrap_or_default()
    }

    fn add(&mut self, line: usize, warning: bool, text: String) {
        let finding = Finding { line, warning, text };
        if !self.found.contains(&finding) {
            self.found.push(finding);
        }
    }

    /// How many findings are errors.
    pub fn errors(&self) -> usize {
        self.found.iter().filter(|finding| !finding.warning).count()
    }

    /// The texts of the findings, each with whether it is a warning, in the order of the lines.
    pub fn into_texts(mut self) -> Vec<(bool, String)> {
        self.found.sort();
        self.found.into_iter().map(|finding| (finding.warning, finding.text)).collect()
    }
}

/// One line each, in the order of the lines.
impl fmt::Display for SettingFindings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut found: Vec<&Finding> = self.found.iter().collect();
        found.sort();
        for Finding { line, warning, text } in found {
            let line = if *line == 0 { String::new() } else { format!("{line}:") };
            let warning = if *warning { "warning: " } else { "" };
            writeln!(f, "{}:{line} {warning}{}", printable(&self.label), printable(text))?;
        }
        Ok(())
    }
}
