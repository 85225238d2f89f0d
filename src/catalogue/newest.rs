//! One definition of the newest good backup, for everything that says latest.

use jiff::{SignedDuration, Timestamp};

/// How far a clock may be ahead before a backup counts as one from the future.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);

/// Whether a backup began after now: then a clock was wrong, this one or that, and how old the backup is cannot be told. It is
/// never the newest one of a database that has others.
pub fn is_from_future(started: Timestamp, now: Timestamp) -> bool {
    started.duration_since(now) > AHEAD
}
