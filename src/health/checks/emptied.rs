//! Databases whose newest backups lack nearly all rows that earlier ones have.

use crate::catalogue::emptied::Emptied;
use crate::format::quoted;
use crate::health::coverage::Coverage;
use crate::health::facts::Facts;
use crate::health::{Finding, Level};

/// One finding for each database, until it is acknowledged or the rows are back.
pub fn findings(facts: &Facts, protections: &[Coverage<'_>]) -> Vec<Finding> {
    let expected = protections.iter().filter(|protection| protection.expected.is_some());
    expected.filter_map(|protection| finding(facts, protection)).collect()
}

fn finding(facts: &Facts, protection: &Coverage<'_>) -> Option<Finding> {
    let Emptied { before, first } = protection.emptied(facts.now)?;
    let newest = protection.newest(facts.now).filter(|newest| newest.id != first.id);
    let newest = newest.map(|newest| format!(", and {} now {}", newest.id, newest.fill.words()));
    let database = quoted(protection.database);
    Some(Finding::new(
        Level::Critical,
        "emptied",
        protection.database,
        format!(
            "{database} was emptied: {} had {}, the last one before it, {}, had {}{}",
            first.id,
            first.fill.words(),
            before.id,
            before.fill.words(),
            newest.unwrap_or_default()
        ),
        format!(
            "pgcellar restore {} --target-database NAME restores it under another name, and --force in its place; if \
             it was emptied on purpose: \
             pgcellar monitor acknowledge {database}; until then retention keeps that backup",
            before.id
        ),
    ))
}
