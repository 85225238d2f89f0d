//! Whether a statement reaches beyond one database. pg_dump writes such statements only with `--create`
//! (`dumpDatabase` in `src/bin/pg_dump/pg_dump.c`), pg_dumpall many of them.

use super::contents::ServerWide;

/// The verbs of statements that can reach beyond their database.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Verb {
    #[default]
    None,
    Alter,
    /// CREATE or DROP.
    Make,
    /// COMMENT, GRANT, REVOKE, SECURITY LABEL: their object follows ON.
    About,
    Update,
    Other,
}

/// How far a statement reaches, by its words so far.
#[derive(Clone, Copy, Default)]
pub(super) struct Reach {
    verb: Verb,
    words: u32,
    /// The previous word was ON.
    on: bool,
    /// USER was the second word; with MAPPING it is an object of the database.
    user: bool,
    server_wide: Option<ServerWide>,
}

impl Reach {
    /// An unquoted word, in lower case.
    pub(super) fn word(&mut self, word: &[u8]) {
        self.words = self.words.saturating_add(1);
        let user = std::mem::take(&mut self.user);
        let kind = match (self.words, self.verb, word) {
            (1, ..) => {
                self.verb = verb(word);
                None
            }
            (2, Verb::Alter, b"database") => Some(ServerWide::Database),
            (2, Verb::Alter, b"system") | (2, Verb::Alter | Verb::Make, b"role" | b"group" | b"tablespace") => {
                Some(ServerWide::Server)
            }
            (2, Verb::Alter | Verb::Make, b"user") => {
                self.user = true;
                None
            }
            (3, _, word) if user && word != b"mapping" => Some(ServerWide::Server),
            (_, Verb::About, b"database") if self.on => Some(ServerWide::Database),
            (_, Verb::Update, b"pg_database") => Some(ServerWide::Database),
            _ => None,
        };
        self.on = word == b"on";
        self.server_wide = self.server_wide.or(kind);
    }

    /// The kind of object outside the database that it is about; none if it is about the database's own.
    pub(super) fn server_wide(self) -> Option<ServerWide> {
        self.server_wide.or(self.user.then_some(ServerWide::Server))
    }
}

fn verb(word: &[u8]) -> Verb {
    match word {
        b"alter" => Verb::Alter,
        b"create" | b"drop" => Verb::Make,
        b"comment" | b"grant" | b"revoke" | b"security" => Verb::About,
        b"update" => Verb::Update,
        _ => Verb::Other,
    }
}
