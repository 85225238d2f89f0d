//! The events that can be filtered in the journal: each has an ID, which log lines carry as MESSAGE_ID
//! (`sd_journal_print(3)`, `systemd.journal-fields(7)`). `systemd/pgcellar.catalog` explains each event and what to do.
//! Every line has the instance; an event adds the fields that its explanation names.

/// A backup was made.
pub const BACKUP_MADE: &str = "ecb6d96de59d4587b53e4f019dce5c7e";
/// A backup run failed.
pub const BACKUP_FAILED: &str = "7d5369b8443f40a5a5e5be617db6a963";
/// A backup was copied to the bucket.
pub const BACKUP_COPIED: &str = "b2fba8b1e9754f6082e1a2e2d3bb025e";
/// A backup was removed, because no retention rule keeps it.
pub const BACKUP_REMOVED: &str = "c8d4b1fa79774f91b6b52c1995939582";
/// A run of retention failed.
pub const RETENTION_FAILED: &str = "85bf673e9d19409ba47eceed86550eea";
/// A backup was read back and is complete.
pub const BACKUP_VERIFIED: &str = "4cd58b8d7e564a7abaaab4f2acea9caa";
/// A backup is damaged.
pub const BACKUP_DAMAGED: &str = "33a4c219f7ec48838a18835111c969f2";
/// A backup was restored.
pub const BACKUP_RESTORED: &str = "8526185068cd44e8a828ff1a614ca7b8";
/// A restore failed.
pub const RESTORE_FAILED: &str = "9ac9b38e4c3d4b72bb9fd37b267d838f";
/// A drill proved a backup, or restored one that has no fingerprints.
pub const BACKUP_DRILLED: &str = "e8404a9bd46547159d9deda6f3462e84";
/// A drill showed that a restored backup differs from the original.
pub const DRILL_FAILED: &str = "fd4b5be459bf45508551cedebbb3ff9b";
/// A drill could not be run, or was interrupted.
pub const DRILL_NOT_HELD: &str = "151d977bb28a413096b978e4386ba2ac";
/// The monitor found something.
pub const FINDING: &str = "003bc8fc5a9646b0bc2197ab1d11b240";
/// A mail could not be sent.
pub const MAIL_FAILED: &str = "28cb2a68f2d645fb90fc5909bf917f21";
/// Another verb failed.
pub const VERB_FAILED: &str = "e214ed9f69f94cd2ab031839f7503bf2";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_has_every_event_and_no_other() {
        let catalogue = include_str!("../../systemd/pgcellar.catalog");
        let mut listed: Vec<&str> = catalogue.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
        let mut events = [
            BACKUP_MADE,
            BACKUP_FAILED,
            BACKUP_COPIED,
            BACKUP_REMOVED,
            RETENTION_FAILED,
            BACKUP_VERIFIED,
            BACKUP_DAMAGED,
            BACKUP_RESTORED,
            RESTORE_FAILED,
            BACKUP_DRILLED,
            DRILL_FAILED,
            DRILL_NOT_HELD,
            FINDING,
            MAIL_FAILED,
            VERB_FAILED,
        ];
        listed.sort_unstable();
        events.sort_unstable();
        assert_eq!(listed, events);
    }
}
