//! Types whose values have another text since some major version: the same rows then print differently in a newer server than in the
//! dump, and are no damage. Each was seen between servers of both versions; any other difference is one.

/// A change of a type's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextChange {
    /// The type, in `pg_catalog`.
    pub kind: &'static str,
    /// The major version that changed it.
    pub since: u32,
    /// The change.
    pub how: &'static str,
}

/// All changes since PostgreSQL 13.
pub const TEXT_CHANGES: &[TextChange] = &[
    // `charout` of src/backend/utils/adt/char.c.
    TextChange { kind: "char", since: 15, how: "a byte above 127 prints as a backslash and three octal digits" },
    // `pg_lsn_out` of src/backend/utils/adt/pg_lsn.c with the `LSN_FORMAT_ARGS` of src/include/access/xlogdefs.h.
    TextChange { kind: "pg_lsn", since: 19, how: "the number after the slash prints with eight digits" },
];

/// The changes that a value of a dump of one major version meets in a server of another.
pub fn between(dumped: u32, server: u32) -> impl Iterator<Item = &'static TextChange> {
    TEXT_CHANGES.iter().filter(move |change| dumped > 0 && dumped < change.since && change.since <= server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_between_versions() {
        let kinds = |dumped, server| between(dumped, server).map(|change| change.kind).collect::<Vec<_>>();
        assert_eq!(kinds(15, 15), [""; 0]);
        assert_eq!(kinds(14, 18), ["char"]);
        assert_eq!(kinds(13, 19), ["char", "pg_lsn"]);
        assert_eq!(kinds(16, 19), ["pg_lsn"]);
        assert_eq!(kinds(19, 15), [""; 0], "what an older server prints is not looked into");
        assert_eq!(kinds(0, 19), [""; 0], "of an unknown version");
    }
}
