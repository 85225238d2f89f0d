//! Checks of drills: whether the last one of each database failed, and whether it is too long ago.

use jiff::SignedDuration;

use crate::catalogue::records::drill::DrillOutcome;
use crate::config::MonitorSettings;
use crate::format::{quoted, span, time};
use crate::health::coverage::Coverage;
use crate::health::facts::{Facts, NotDrilled};
use crate::health::{Finding, Level};

/// How many times in a row a drill may be impossible.
const TURNS: u32 = 2;

pub fn findings(facts: &Facts, protections: &[Coverage<'_>], settings: &MonitorSettings) -> Vec<Finding> {
    let each = protections.iter().flat_map(|protection| {
        let missing = protection.expected.and_then(|_| missing(facts, protection, settings));
        failed(facts, protection).or(missing)
    });
    each.chain(facts.not_drilled.iter().filter_map(|found| missed(facts, found))).collect()
}

/// A missed drill is made up by the next run of the schedule. After two misses in a row the cause is lasting.
fn missed(facts: &Facts, found: &NotDrilled) -> Option<Finding> {
    let is_expected = facts.databases.iter().any(|expected| expected.name == found.database);
    (is_expected && found.turns >= TURNS).then(|| {
        Finding::new(
            Level::Warning,
            "drill_not_held",
            &found.database,
            format!(
                "no drill of {} could be run the last {} times, since {}: {}",
                quoted(&found.database),
                found.turns,
                time(found.since, &facts.zone),
                found.trouble.message
            ),
            &found.trouble.hint,
        )
    })
}

fn failed(facts: &Facts, protection: &Coverage<'_>) -> Option<Finding> {
    let (backup, drill) = protection.last_drill().filter(|(_, drill)| drill.result == DrillOutcome::Failed)?;
    Some(Finding::new(
        Level::Critical,
        "drill_failed",
        protection.database,
        format!(
            "the last drill of {} failed at {}: {} was not restored as it was backed up",
            quoted(protection.database),
            time(drill.at, &facts.zone),
            backup.id
        ),
        format!(
            "its record {0}.drill.json lists the differences; pgcellar verify {0} checks whether its bytes are \
             damaged; if not, pgcellar restore {0} --keep-going --target-database NAME shows what cannot be restored",
            backup.id
        ),
    ))
}

fn missing(facts: &Facts, protection: &Coverage<'_>, settings: &MonitorSettings) -> Option<Finding> {
    let days = settings.drill_days?;
    let limit = SignedDuration::from_hours(24 * i64::from(days));
    let too_old = |at| facts.now.duration_since(at) > limit;
    let message = match protection.last_drill() {
        Some((_, drill)) if too_old(drill.at) => {
            let age = span(facts.now.duration_since(drill.at).unsigned_abs());
            format!("the last drill of {} was {age} ago", quoted(protection.database))
        }
        Some(_) => return None,
        // While no backup is older than the limit, a drill is not late.
        None if !protection.oldest(facts.now).is_some_and(|oldest| too_old(oldest.started)) => return None,
        None => format!("there was no drill of {} yet", quoted(protection.database)),
    };
    Some(Finding::new(
        Level::Warning,
        "no_drill",
        protection.database,
        format!("{message}; MONITOR_DRILL_DAYS={days}"),
        format!(
            "run {}; {} whether and when it runs by itself",
            facts.surroundings.call(&facts.instance, "drill --each"),
            facts.surroundings.schedule("drill", "DRILL_SCHEDULE", &facts.instance)
        ),
    ))
}
