//! Notifications by mail: a pure function from the findings, the earlier notifications and the time to the next notification. A
//! finding counts as reported once its mail was sent.

use std::collections::BTreeMap;

use jiff::civil::Time;
use jiff::{Span, Timestamp, ToSpan, Zoned};
use serde::{Deserialize, Serialize};

use crate::config::{KnownMail, ReportPeriod};
use crate::health::{Finding, Level};
use crate::host::mail::Letter;

/// The check of a unit's last run; its subject is the unit.
pub const UNIT_FAILED: &str = "unit_failed";

/// Checks of the server, which cannot find anything while it is unreachable.
const OF_SERVER: [&str; 4] = ["not_covered", "half_dropped", "leftover", "no_backup"];

/// The interval of reminders of a lasting finding, in seconds.
const REMINDER: i64 = 24 * 60 * 60;

/// The time after which a letter that cannot be sent is given up, in seconds.
const STALE: i64 = 7 * 24 * 60 * 60;

/// Most letters in the queue; the oldest is dropped for a new one.
const WAITING: usize = 20;

/// The time of day at which a status report is due.
const REPORT_TIME: Time = Time::constant(6, 0, 0, 0);

/// The state that is kept between runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Notified {
    /// Findings that were reported.
    #[serde(rename = "told")]
    pub findings: Vec<NotifiedFinding>,
    /// Letters that could not be sent yet, the oldest first.
    pub waiting: Vec<Letter>,
    /// When the last status report was sent.
    pub reported: Option<Timestamp>,
    /// The run of each unit that its last alert was about, by systemd's id.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub runs: BTreeMap<String, String>,
    /// The mail settings that last worked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mail: Option<KnownMail>,
}

/// A finding that was reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotifiedFinding {
    /// Its check.
    pub check: String,
    /// Its subject.
    pub subject: String,
    /// Its level at the last check.
    pub level: Level,
    /// Its message.
    pub message: String,
    /// When it was first reported.
    pub since: Timestamp,
    /// When it was last reported.
    pub mailed: Timestamp,
    /// Set if an alert reported it, which is complete and sent once; whether a check finds the same may not be known yet.
    #[serde(default)]
    pub alert: Option<Confirmation>,
}

/// Whether a check has found what an alert reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confirmation {
    /// Not yet.
    No,
    /// It has.
    Yes,
}

/// The next notification.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct News {
    /// Findings that are new or worse.
    pub new: Vec<Finding>,
    /// Lasting findings, with the time of their first report.
    pub lasting: Vec<(Finding, Timestamp)>,
    /// Findings that are over.
    pub over: Vec<NotifiedFinding>,
    /// The reported findings once this was sent.
    pub findings: Vec<NotifiedFinding>,
}

impl News {
    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.new.is_empty() && self.lasting.is_empty() && self.over.is_empty()
    }
}

impl NotifiedFinding {
    fn is(&self, check: &str, subject: &str) -> bool {
        self.check == check && self.subject == subject
    }

    /// Whether it was last reported at least a day ago. A time in the future, after the clock went back, counts as long ago.
    fn is_long_ago(&self, now: Timestamp) -> bool {
        !(0..REMINDER).contains(&seconds(self.mailed, now))
    }
}

fn seconds(from: Timestamp, to: Timestamp) -> i64 {
    to.as_second() - from.as_second()
}

impl Notified {
    /// Name of the state's file.
    pub const NAME: &str = "notified";

    /// Compares the findings with those reported.
    ///
    /// A finding is reported when it is new or worse, again after a day, and once when it is over. A finding that may only be hidden,
    /// because something could not be checked, is not over.
    pub fn compare(&self, findings: &[Finding], now: Timestamp) -> News {
        let mut news = News::default();
        for finding in worst_of_each(findings) {
            match self.findings.iter().find(|reported| reported.is(finding.check, &finding.subject)) {
                Some(reported) => again(reported, finding, now, &mut news),
                None => {
                    news.findings.push(notified(finding, now));
                    news.new.push(finding.clone());
                }
            }
        }
        for reported in &self.findings {
            let there = news.findings.iter().any(|now| now.is(&reported.check, &reported.subject));
            match reported.alert {
                _ if there => {}
                _ if findings.iter().any(|finding| hides(finding, reported)) => news.findings.push(reported.clone()),
                // Units are not checked here, or the next run has already succeeded: the alert announced no further mail.
                Some(Confirmation::No) => {}
                _ => news.over.push(reported.clone()),
            }
        }
        news
    }

    /// Records that an alert has reported, or will report by a queued letter, that a run of `unit` failed.
    pub fn record_run(&mut self, unit: &str, message: &str, now: Timestamp) {
        self.findings.retain(|reported| !reported.is(UNIT_FAILED, unit));
        self.findings.push(NotifiedFinding {
            check: UNIT_FAILED.to_owned(),
            subject: unit.to_owned(),
            level: Level::Warning,
            message: message.to_owned(),
            since: now,
            mailed: now,
            alert: Some(Confirmation::No),
        });
    }

    /// Queues a letter that could not be sent.
    pub fn keep(&mut self, letter: Letter) {
        self.waiting.push(letter);
        let surplus = self.waiting.len().saturating_sub(WAITING);
        self.waiting.drain(..surplus);
    }

    /// Removes the letters that have waited too long, and returns them.
    pub fn give_up(&mut self, now: Timestamp) -> Vec<Letter> {
        let (stale, fresh) = self.waiting.drain(..).partition(|letter| seconds(letter.written, now) > STALE);
        self.waiting = fresh;
        stale
    }

    /// Whether a status report is due: the first one at once, then one each day or each Monday, in the morning.
    pub fn is_report_due(&self, period: ReportPeriod, now: &Zoned) -> bool {
        let Some(last) = self.reported else { return true };
        // A clock that went back must not silence the reports.
        last > now.timestamp() || latest_date(period, now).is_none_or(|due| last < due)
    }
}

/// The last time that a report was due.
fn latest_date(period: ReportPeriod, now: &Zoned) -> Option<Timestamp> {
    let days = match period {
        ReportPeriod::Daily => 0,
        ReportPeriod::Weekly => now.date().weekday().to_monday_zero_offset(),
    };
    let back =
        |days: Span| now.date().checked_sub(days).ok()?.to_datetime(REPORT_TIME).to_zoned(now.time_zone().clone()).ok();
    let due = back(i64::from(days).days())?;
    let step = match period {
        ReportPeriod::Daily => 1,
        ReportPeriod::Weekly => 7,
    };
    match due > *now {
        true => back((i64::from(days) + step).days()).map(|due| due.timestamp()),
        false => Some(due.timestamp()),
    }
}

/// Whether a reported finding may persist although the check cannot find it.
fn hides(finding: &Finding, reported: &NotifiedFinding) -> bool {
    match finding.check {
        _ if finding.level == Level::Unknown => true,
        "store_unreadable" => true,
        "server_unreachable" => OF_SERVER.contains(&reported.check.as_str()),
        _ => false,
    }
}

fn notified(finding: &Finding, now: Timestamp) -> NotifiedFinding {
    NotifiedFinding {
        check: finding.check.to_owned(),
        subject: finding.subject.clone(),
        level: finding.level,
        message: finding.message.clone(),
        since: now,
        mailed: now,
        alert: None,
    }
}

fn again(reported: &NotifiedFinding, finding: &Finding, now: Timestamp, news: &mut News) {
    let mut after = NotifiedFinding { level: finding.level, message: finding.message.clone(), ..reported.clone() };
    if reported.alert.is_some() {
        after.alert = Some(Confirmation::Yes);
    } else if finding.level > reported.level {
        after.mailed = now;
        news.new.push(finding.clone());
    } else if reported.is_long_ago(now) {
        after.mailed = now;
        news.lasting.push((finding.clone(), reported.since));
    }
    news.findings.push(after);
}

/// One finding for each check and subject, in their order.
fn worst_of_each(findings: &[Finding]) -> Vec<&Finding> {
    let mut found: Vec<&Finding> = Vec::new();
    for finding in findings.iter().filter(|finding| finding.level != Level::Ok) {
        let same = |other: &&mut &Finding| other.check == finding.check && other.subject == finding.subject;
        match found.iter_mut().find(same) {
            Some(other) if other.level < finding.level => *other = finding,
            Some(_) => {}
            None => found.push(finding),
        }
    }
    found
}

#[cfg(test)]
mod tests;
