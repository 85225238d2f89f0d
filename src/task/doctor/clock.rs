//! Compares this host's clock with those of the server and of the bucket. Backups are named by it, and a bucket rejects
//! requests whose time is off by 15 minutes.

use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::cli::DoctorPart;
use crate::format::span;
use crate::task::doctor::check::Checks;
use crate::task::doctor::services::Services;

/// How far clocks may be apart without a warning: synchronized hosts are within a fraction of a second, and a bucket's
/// reply has only whole seconds.
const APART: SignedDuration = SignedDuration::from_secs(5);

/// Compares the clocks, and shows the time zone.
pub async fn check(services: &Arc<Services>) -> Checks {
    let mut checks = Checks::new(DoctorPart::Clock);
    zone(&mut checks);
    match services.server(&mut checks, DoctorPart::Clock).await {
        Some(server) => compare("server", server.ahead, &mut checks),
        None => checks.skipped("server", "there is no connection to the server"),
    }
    if services.args.place.s3.bucket.is_some() {
        match services.bucket().await.as_ref().ok().and_then(|bucket| bucket.probe.ahead()) {
            Some(ahead) => compare("s3", ahead, &mut checks),
            None => checks.skipped("s3", "the bucket's server sent no time"),
        }
    }
    checks
}

fn compare(whose: &str, ahead: SignedDuration, checks: &mut Checks) {
    let apart = ahead.unsigned_abs();
    let way = if ahead.is_negative() { "behind" } else { "ahead of" };
    match ahead.abs() > APART {
        true => checks.warning(
            whose,
            format!("its clock is {} {way} this host's", span(apart)),
            "synchronize both by NTP (timedatectl set-ntp true, chrony): backups are named by this host's clock",
        ),
        false if apart.as_secs() == 0 => checks.ok(whose, "its clock agrees with this host's"),
        false => checks.ok(whose, format!("its clock is {} {way} this host's", span(apart))),
    }
}

fn zone(checks: &mut Checks) {
    match TimeZone::try_system() {
        Ok(zone) => {
            let now = Timestamp::now().to_zoned(zone.clone());
            let name = zone.iana_name().unwrap_or("the zone of this host");
            checks.ok("zone", format!("it is {} in {name}", now.strftime("%Y-%m-%d %H:%M:%S %Z")));
        }
        Err(error) => checks.warning(
            "zone",
            format!("the time zone of this host cannot be found, and schedules go by UTC: {error}"),
            "set TZ to a name such as Europe/Berlin, and install tzdata",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_are_apart() {
        for (seconds, expected) in [
            (0, "OK       clock     server: its clock agrees with this host's"),
            (5, "OK       clock     server: its clock is 5 s ahead of this host's"),
            (-6, "WARNING  clock     server: its clock is 6 s behind this host's (synchronize both"),
            (7300, "WARNING  clock     server: its clock is 2 h ahead of this host's (synchronize both"),
        ] {
            let mut checks = Checks::new(DoctorPart::Clock);
            compare("server", SignedDuration::from_secs(seconds), &mut checks);
            assert!(checks.to_string().starts_with(expected), "{checks}");
        }
    }
}
