//! What a dump's statements say of tables: columns with their types, keys, partitions (`dumpTableSchema`, `dumpConstraint` and
//! `dumpTableAttach` of `src/bin/pg_dump/pg_dump.c`).
//!
//! The statements are those of pg_dump. Of another program's they may say nothing, and never something that is not in them.

use crate::postgres::script::identifier;

/// Schema and name of a relation, without quotes, in the encoding of the dump.
pub type RelationName = (Vec<u8>, Vec<u8>);

/// Words that follow the type of a column.
const AFTER_TYPE: [&[u8]; 13] = [
    b"CHECK",
    b"COLLATE",
    b"COMPRESSION",
    b"CONSTRAINT",
    b"DEFAULT",
    b"GENERATED",
    b"NOT",
    b"NULL",
    b"OPTIONS",
    b"PRIMARY",
    b"REFERENCES",
    b"STORAGE",
    b"UNIQUE",
];

/// Words that begin an item of a table that is no column; as the name of a column they are quoted.
const NO_COLUMN: [&[u8]; 7] = [b"CONSTRAINT", b"CHECK", b"PRIMARY", b"UNIQUE", b"EXCLUDE", b"FOREIGN", b"LIKE"];

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnDefinition {
    /// Name, without quotes.
    pub name: Vec<u8>,
    /// The type as pg_dump writes it, such as `numeric(15,2)`.
    pub type_name: Vec<u8>,
    /// Whether it is computed from other columns. COPY does not have it.
    pub generated: bool,
}

/// A table as its CREATE TABLE statement has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableDefinition {
    /// Its own columns, without those that it inherits.
    pub columns: Vec<ColumnDefinition>,
    /// The tables that it inherits from.
    pub parents: Vec<RelationName>,
    /// The composite type that gives it its columns (`OF`).
    pub of_type: Option<RelationName>,
}

/// The table that a statement makes, and its name; none for another statement.
pub fn table(statement: &[u8]) -> Option<(RelationName, TableDefinition)> {
    let rest = after_words(statement, &[b"CREATE"])?;
    let rest = [&b"UNLOGGED"[..], b"FOREIGN"].iter().find_map(|word| after_words(rest, &[word])).unwrap_or(rest);
    let (name, rest) = relation(after_words(rest, &[b"TABLE"])?)?;
    let mut definition = TableDefinition::default();
    let mut rest = rest.trim_ascii_start();
    if let Some(of) = after_words(rest, &[b"OF"]) {
        let (of_type, after) = relation(of)?;
        definition.of_type = Some(of_type);
        rest = after.trim_ascii_start();
    }
    if let Some((items, after)) = parenthesized(rest) {
        definition.columns = items.into_iter().filter_map(column).collect();
        rest = after.trim_ascii_start();
    }
    if let Some((parents, _)) = after_words(rest, &[b"INHERITS"]).and_then(parenthesized) {
        definition.parents = parents.into_iter().filter_map(|parent| Some(relation(parent)?.0)).collect();
    }
    Some((name, definition))
}

/// The composite type that a statement makes, as a table with its columns (`dumpCompositeType`).
pub fn composite_type(statement: &[u8]) -> Option<(RelationName, TableDefinition)> {
    let (name, rest) = relation(after_words(statement, &[b"CREATE", b"TYPE"])?)?;
    let (items, _) = parenthesized(after_words(rest, &[b"AS"])?)?;
    let columns = items.into_iter().filter_map(column).collect();
    Some((name, TableDefinition { columns, ..TableDefinition::default() }))
}

/// The domain that a statement makes, and its type (`dumpDomain`).
pub fn domain(statement: &[u8]) -> Option<(RelationName, Vec<u8>)> {
    let (name, rest) = relation(after_words(statement, &[b"CREATE", b"DOMAIN"])?)?;
    let rest = after_words(rest, &[b"AS"])?;
    let rest = rest.strip_suffix(b";\n").or_else(|| rest.strip_suffix(b";")).unwrap_or(rest);
    Some((name, type_of(rest)))
}

/// The table and the columns of a primary key that a statement adds.
pub fn primary_key(statement: &[u8]) -> Option<(RelationName, Vec<Vec<u8>>)> {
    let (name, rest) = altered(statement)?;
    let (_, rest) = identifier(after_words(rest, &[b"ADD", b"CONSTRAINT"])?)?;
    let (items, _) = parenthesized(after_words(rest, &[b"PRIMARY", b"KEY"])?)?;
    Some((name, items.into_iter().filter_map(|item| Some(identifier(item)?.0)).collect()))
}

/// The partition and its table in each ATTACH PARTITION of these statements. pg_dump 13.1 and older have it behind the
/// partition's CREATE TABLE.
pub fn attached(statements: &[u8]) -> Option<(RelationName, RelationName)> {
    const ATTACH: &[u8] = b" ATTACH PARTITION ";
    let at = memchr::memmem::find(statements, ATTACH)?;
    let before = statements.get(..at)?;
    let start = memchr::memmem::rfind(before, b"ALTER TABLE ")?;
    let (root, rest) = altered(statements.get(start..)?)?;
    let (partition, _) = relation(rest.trim_ascii_start().strip_prefix(ATTACH.trim_ascii_start())?)?;
    Some((partition, root))
}

/// The table and the column that a statement makes GENERATED ALWAYS AS IDENTITY.
pub fn identity_column(statement: &[u8]) -> Option<(RelationName, Vec<u8>)> {
    let (name, rest) = altered(statement)?;
    let (column, rest) = identifier(after_words(rest, &[b"ALTER", b"COLUMN"])?)?;
    after_words(rest, &[b"ADD", b"GENERATED", b"ALWAYS", b"AS", b"IDENTITY"])?;
    Some((name, column))
}

/// The table whose rows follow a COPY statement, and its list of columns with parentheses, which is empty for a table without
/// columns.
pub fn copied(statement: &[u8]) -> Option<(RelationName, &[u8])> {
    let (name, rest) = relation(after_words(statement, &[b"COPY"])?)?;
    let rest = rest.trim_ascii_start();
    if rest.first() != Some(&b'(') {
        return Some((name, &[]));
    }
    let (_, after) = parenthesized(rest)?;
    Some((name, rest.get(..rest.len() - after.len())?))
}

/// The table that a statement alters, and what follows.
fn altered(statement: &[u8]) -> Option<(RelationName, &[u8])> {
    let rest = after_words(statement, &[b"ALTER"])?;
    let rest = after_words(rest, &[b"FOREIGN"]).unwrap_or(rest);
    let rest = after_words(rest, &[b"TABLE"])?;
    relation(after_words(rest, &[b"ONLY"]).unwrap_or(rest))
}

/// What follows these words, without blanks.
fn after_words<'a>(text: &'a [u8], words: &[&[u8]]) -> Option<&'a [u8]> {
    let mut rest = text.trim_ascii_start();
    for word in words {
        let (found, after) = rest.split_at_checked(word.len())?;
        let ends = after.first().is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
        if !found.eq_ignore_ascii_case(word) || !ends {
            return None;
        }
        rest = after.trim_ascii_start();
    }
    Some(rest)
}

/// A name with its schema, which is empty if there is none, and what follows.
fn relation(text: &[u8]) -> Option<(RelationName, &[u8])> {
    let (first, rest) = identifier(text.trim_ascii_start())?;
    match rest.strip_prefix(b".") {
        Some(rest) => identifier(rest).map(|(name, rest)| ((first, name), rest)),
        None => Some(((Vec::new(), first), rest)),
    }
}

/// The items in the parentheses that the text begins with, and what follows these.
fn parenthesized(text: &[u8]) -> Option<(Vec<&[u8]>, &[u8])> {
    let text = text.trim_ascii_start();
    let (mut items, mut start, mut depth) = (Vec::new(), 1, 0_u32);
    for (at, byte) in outside_quotes(text) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    items.push(text.get(start..at)?.trim_ascii());
                    items.retain(|item| !item.is_empty());
                    return Some((items, text.get(at + 1..)?));
                }
            }
            b',' if depth == 1 => {
                items.push(text.get(start..at)?.trim_ascii());
                start = at + 1;
            }
            _ if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// The bytes outside of strings and quoted names, with their positions. A doubled quote ends a string and begins the next.
fn outside_quotes(text: &[u8]) -> impl Iterator<Item = (usize, u8)> + '_ {
    let mut quote = None;
    text.iter().copied().enumerate().filter(move |(_, byte)| match quote {
        Some(open) => {
            if open == *byte {
                quote = None;
            }
            false
        }
        None if matches!(byte, b'\'' | b'"') => {
            quote = Some(*byte);
            false
        }
        None => true,
    })
}

fn column(item: &[u8]) -> Option<ColumnDefinition> {
    if NO_COLUMN.iter().any(|word| after_words(item, &[word]).is_some()) {
        return None;
    }
    let (name, rest) = identifier(item)?;
    // A column of a typed table, whose type the composite type says.
    if after_words(rest, &[b"WITH", b"OPTIONS"]).is_some() {
        return None;
    }
    let type_name = type_of(rest);
    let behind = rest.trim_ascii_start().get(type_name.len()..).unwrap_or_default();
    let generated = after_words(behind, &[b"GENERATED", b"ALWAYS", b"AS"])
        .is_some_and(|expression| expression.first() == Some(&b'('));
    Some(ColumnDefinition { name, type_name, generated })
}

/// The type at the beginning of a text: all words up to one that cannot be part of it.
fn type_of(text: &[u8]) -> Vec<u8> {
    let text = text.trim_ascii();
    let (mut depth, mut word) = (0_u32, None);
    let ends_type = |from: usize, to: usize| {
        text.get(from..to).is_some_and(|word| AFTER_TYPE.iter().any(|after| word.eq_ignore_ascii_case(after)))
    };
    let mut last = 0;
    for (at, byte) in outside_quotes(text) {
        let is_letter = byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
        match (byte, word) {
            // A quoted name between two letters ends a word.
            (_, Some(from)) if at > last + 1 || !is_letter => {
                if depth == 0 && ends_type(from, last + 1) {
                    return text.get(..from).unwrap_or_default().trim_ascii().to_vec();
                }
                word = (is_letter && depth == 0).then_some(at);
            }
            (_, None) if is_letter && depth == 0 => word = Some(at),
            _ => {}
        }
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        last = at;
    }
    match word.filter(|from| ends_type(*from, text.len())) {
        Some(from) => text.get(..from).unwrap_or_default().trim_ascii().to_vec(),
        None => text.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_statement_is_survived(
            before in prop::sample::select(vec!["CREATE TABLE s.t (", "ALTER TABLE ONLY s.t ADD CONSTRAINT c PRIMARY KEY (", "COPY s.t (", ""]),
            text in "[a-z\"'(),. \\\\ä]{0,40}",
            bytes in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            for statement in [[before.as_bytes(), text.as_bytes()].concat(), [before.as_bytes(), &bytes].concat()] {
                let _ = (table(&statement), primary_key(&statement), attached(&statement), copied(&statement));
                let _ = (composite_type(&statement), domain(&statement), identity_column(&statement));
            }
        }
    }

    fn name(schema: &str, name: &str) -> RelationName {
        (schema.as_bytes().to_vec(), name.as_bytes().to_vec())
    }

    #[test]
    fn columns_and_their_types() {
        let statement = "CREATE TABLE shop.\"My Table\" (\n    id bigint NOT NULL,\n    \
             label character varying(20) DEFAULT 'a, (b)'::character varying NOT NULL COLLATE pg_catalog.\"C\",\n    \
             \"Odd, \"\"name\"\" (x\" numeric(15,2)[],\n    at timestamp(3) without time zone DEFAULT now(),\n    \
             own shop.\"NOT a type\" DEFAULT 'x''y)'::shop.\"NOT a type\",\n    constraint_id integer,\n    \
             twice integer GENERATED ALWAYS AS ((id * 2)) STORED,\n    fields interval day to second(2),\n    \
             d double precision CONSTRAINT d_nn NOT NULL,\n    CONSTRAINT c CHECK ((id > 0))\n)\n\
             INHERITS (shop.parent, other.\"P\");\n";
        let (found, definition) = table(statement.as_bytes()).unwrap();
        assert_eq!(found, name("shop", "My Table"));
        let columns: Vec<(String, String, bool)> = definition
            .columns
            .iter()
            .map(|one| {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                (text(&one.name), text(&one.type_name), one.generated)
            })
            .collect();
        let expected = [
            ("id", "bigint", false),
            ("label", "character varying(20)", false),
            ("Odd, \"name\" (x", "numeric(15,2)[]", false),
            ("at", "timestamp(3) without time zone", false),
            ("own", "shop.\"NOT a type\"", false),
            ("constraint_id", "integer", false),
            ("twice", "integer", true),
            ("fields", "interval day to second(2)", false),
            ("d", "double precision", false),
        ];
        let expected: Vec<(String, String, bool)> = expected
            .iter()
            .map(|(name, type_name, generated)| ((*name).into(), (*type_name).into(), *generated))
            .collect();
        assert_eq!(columns, expected);
        assert_eq!(definition.parents, [name("shop", "parent"), name("other", "P")]);
    }

    #[test]
    fn other_tables() {
        let (found, definition) = table(b"CREATE UNLOGGED TABLE s.t (\n)\nPARTITION BY LIST (a);\n").unwrap();
        assert_eq!((found, definition), (name("s", "t"), TableDefinition::default()));
        let (_, definition) =
            table(b"CREATE FOREIGN TABLE s.t (\n    a integer OPTIONS (x 'y')\n)\nSERVER s;\n").unwrap();
        assert_eq!(definition.columns[0].type_name, b"integer");
        let (_, definition) = table(b"CREATE TABLE s.t OF s.person (\n    id WITH OPTIONS DEFAULT 1\n);\n").unwrap();
        assert_eq!((definition.columns.len(), definition.of_type), (0, Some(name("s", "person"))));
        let (_, person) =
            composite_type(b"CREATE TYPE s.person AS (\n\tid integer,\n\tname text COLLATE x\n);\n").unwrap();
        assert_eq!(
            person.columns.iter().map(|one| one.type_name.as_slice()).collect::<Vec<_>>(),
            [&b"integer"[..], b"text"]
        );
        assert_eq!(table(b"CREATE VIEW s.v AS SELECT 1;"), None);
        assert_eq!(domain(b"CREATE DOMAIN s.d AS numeric(3,1) DEFAULT 1;\n").unwrap().1, b"numeric(3,1)");
    }

    #[test]
    fn keys_partitions_and_identities() {
        let key = b"ALTER TABLE ONLY s.t\n    ADD CONSTRAINT \"a PRIMARY KEY\" PRIMARY KEY (id, \"B c\");\n";
        assert_eq!(primary_key(key), Some((name("s", "t"), vec![b"id".to_vec(), b"B c".to_vec()])));
        assert_eq!(primary_key(b"ALTER TABLE ONLY s.t\n    ADD CONSTRAINT u UNIQUE (id);\n"), None);
        let attach = b"ALTER TABLE ONLY s.root ATTACH PARTITION s.\"p 1\" FOR VALUES IN (1);\n";
        assert_eq!(attached(attach), Some((name("s", "p 1"), name("s", "root"))));
        let old = [&b"CREATE TABLE s.\"p 1\" (\n    a integer\n);\n"[..], attach].concat();
        assert_eq!(attached(&old), attached(attach));
        let identity =
            b"ALTER TABLE s.t ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (\n    SEQUENCE NAME s.q\n);\n";
        assert_eq!(identity_column(identity), Some((name("s", "t"), b"id".to_vec())));
        assert_eq!(copied(b"COPY s.t (a, \"b)\") FROM stdin;\n"), Some((name("s", "t"), &b"(a, \"b)\")"[..])));
        assert_eq!(copied(b"COPY s.t  FROM stdin;\n"), Some((name("s", "t"), &b""[..])));
    }
}
