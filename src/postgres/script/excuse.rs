//! Statements of a dump that a restore treats specially: those that an empty database may refuse without harm, because the
//! result is the same, and those that create event triggers or make them fire.

/// Why a statement may be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excuse {
    /// It removes an object that may not exist (`pg_dump --clean`; not every statement has its IF EXISTS with `--if-exists`
    /// either).
    Missing,
    /// It creates the schema `public`, which every new database has (`pg_dump --schema=public`).
    Present,
    /// It is a comment on an extension, which may belong to another role.
    Comment,
    /// It sets the planner's statistics, which ANALYZE gathers, too (`pg_dump --statistics`).
    Statistics,
}

/// When a statement is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenRun {
    /// In its place.
    #[default]
    InPlace,
    /// In its place; it refreshes a materialized view.
    Refresh,
    /// In its place; it begins a transaction.
    Transaction,
    /// After all others: it creates or changes an event trigger.
    Last,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Verb {
    #[default]
    None,
    Alter,
    Create,
    CreateSchema,
    CommentOn,
    Select,
    Label,
    Other,
}

/// The excuse and turn of a statement, by its words so far.
#[derive(Clone, Copy, Default)]
pub(super) struct Excused {
    verb: Verb,
    words: u32,
    excuse: Option<Excuse>,
    replaces_view: bool,
    turn: WhenRun,
}

impl Excused {
    /// An unquoted word outside of parentheses, in lower case.
    pub(super) fn word(&mut self, word: &[u8]) {
        self.words = self.words.saturating_add(1);
        match (self.words, self.verb, word) {
            (1, _, b"drop") => self.excuse = Some(Excuse::Missing),
            (1, _, b"alter") => self.verb = Verb::Alter,
            (1, _, b"create") => self.verb = Verb::Create,
            (1, _, b"comment") => self.verb = Verb::CommentOn,
            (1, _, b"select") => self.verb = Verb::Select,
            (1, _, b"security") => self.verb = Verb::Label,
            (1, _, b"refresh") => self.turn = WhenRun::Refresh,
            (1, _, b"begin" | b"start") => self.turn = WhenRun::Transaction,
            (2, Verb::Create | Verb::Alter, b"event")
            | (3, Verb::CommentOn, b"event")
            | (5 | 6, Verb::Label, b"event") => {
                self.turn = WhenRun::Last;
            }
            (_, Verb::Alter, b"drop" | b"detach") => self.excuse = Some(Excuse::Missing),
            (4, Verb::Create, b"view") => self.replaces_view = true,
            (2, Verb::Create, b"schema") => self.verb = Verb::CreateSchema,
            (3, Verb::CreateSchema, b"public") => self.excuse = Some(Excuse::Present),
            (4, Verb::CreateSchema, _) => self.excuse = None,
            (3, Verb::CommentOn, b"extension") => self.excuse = Some(Excuse::Comment),
            (
                4,
                Verb::Select,
                b"pg_restore_relation_stats" | b"pg_restore_attribute_stats" | b"pg_restore_extended_stats",
            ) => self.excuse = Some(Excuse::Statistics),
            (2 | 3, Verb::Select, b"lo_unlink") => self.excuse = Some(Excuse::Missing),
            (1, ..) => self.verb = Verb::Other,
            _ => {}
        }
    }

    /// Its excuse. Before it creates anything, `pg_dump --clean` also replaces a view's query, by CREATE OR REPLACE VIEW
    /// (`RestoreArchive` in `src/bin/pg_dump/pg_backup_archiver.c`).
    pub(super) fn excuse(self, nothing_made: bool) -> Option<Excuse> {
        match self.replaces_view {
            true => nothing_made.then_some(Excuse::Missing),
            false => self.excuse,
        }
    }

    /// When to run it.
    pub(super) fn turn(self) -> WhenRun {
        self.turn
    }

    /// Whether it creates an object, rather than replacing a view's query.
    pub(super) fn makes(self) -> bool {
        matches!(self.verb, Verb::Create | Verb::CreateSchema) && !self.replaces_view
    }
}
