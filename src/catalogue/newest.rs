//! Backups that appear to be from the future, which are never the newest one.

use jiff::{SignedDuration, Timestamp};

/// How far a clock may be ahead before a backup counts as from the future.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);

/// Whether a backup began in the future: then one of the clocks was wrong, and the age of the backup is unknown. It is never
/// the newest one of a database that has others.
pub fn is_from_future(started: Timestamp, now: Timestamp) -> bool {
    started.duration_since(now) > AHEAD
}
