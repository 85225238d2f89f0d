//! Values of sequences.

use tokio_postgres::Client;

use crate::error::Result;
use crate::fingerprint::SequenceFingerprint;
use crate::fingerprint::compare::Value;
use crate::postgres::client::failed;
use crate::postgres::live::names::Names;
use crate::postgres::live::session::BACK;
use crate::postgres::live::targets;
use crate::postgres::names::in_bytes;
use crate::postgres::snapshot::get;

/// How many are asked for at once.
const BATCH: usize = 50;

/// Sequences that our role can read and set.
const SETTABLE: &str = "FROM pg_catalog.pg_sequence s \
     JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relpersistence <> 't' AND pg_catalog.has_sequence_privilege(s.seqrelid, 'SELECT') \
     AND pg_catalog.has_sequence_privilege(s.seqrelid, 'UPDATE')";

/// The value of each sequence; none where there is no such sequence.
pub async fn read(client: &Client, names: &Names, wanted: &[SequenceFingerprint]) -> Result<Vec<Option<Value>>> {
    let mut texts = Vec::with_capacity(wanted.len());
    for sequence in wanted {
        texts.push(names.text(client, &sequence.name).await?);
    }
    // An empty name is nobody's.
    let asked: Vec<&str> = texts.iter().map(|text| text.as_deref().unwrap_or_default()).collect();
    let relations = targets::relations(client, &asked).await?;
    let there: Vec<(usize, &str)> = (asked.into_iter().enumerate())
        .filter(|(at, _)| relations.get(*at).is_some_and(|relation| is_sequence(relation.as_ref())))
        .collect();
    let mut values = vec![None; wanted.len()];
    for (at, value) in positions(client, &there, true).await? {
        if let Some(place) = values.get_mut(at) {
            *place = Some(value);
        }
    }
    Ok(values)
}

/// The values of sequences, each with the number that it came with. The names are quoted. In a snapshot the locks of each
/// batch are given back.
async fn positions(client: &Client, names: &[(usize, &str)], in_snapshot: bool) -> Result<Vec<(usize, Value)>> {
    let mut values = Vec::with_capacity(names.len());
    for batch in names.chunks(BATCH) {
        let select = |(at, name): &(usize, &str)| format!("SELECT {at}, last_value::text, is_called FROM {name}");
        let query: Vec<String> = batch.iter().map(select).collect();
        let rows = client.query(&query.join(" UNION ALL "), &[]).await;
        for row in rows.map_err(failed("the sequences cannot be read"))? {
            let at = usize::try_from(get::<i32>(&row, 0)?).unwrap_or_default();
            values.push((at, Value { last_value: get(&row, 1)?, is_called: get(&row, 2)? }));
        }
        if in_snapshot {
            client.batch_execute(BACK).await.map_err(failed("a transaction cannot go on"))?;
        }
    }
    Ok(values)
}

/// The values that all sequences of a database have at a moment, to be given back to them later.
#[derive(Debug)]
pub struct Positions(Vec<(String, Value)>);

impl Positions {
    /// Reads those that our role may set.
    pub async fn remember(client: &Client) -> Result<Self> {
        let query = format!("SELECT {} {SETTABLE}", in_bytes("pg_catalog.format('%I.%I', n.nspname, c.relname)"));
        let rows = client.query(&query, &[]).await.map_err(failed("the sequences cannot be listed"))?;
        // A name that is no text cannot be asked for.
        let name = |row| String::from_utf8(get(row, 0).ok()?).ok();
        let names: Vec<String> = rows.iter().filter_map(name).collect();
        let asked: Vec<(usize, &str)> = names.iter().map(String::as_str).enumerate().collect();
        let values = positions(client, &asked, false).await?;
        Ok(Positions(values.into_iter().filter_map(|(at, value)| Some((names.get(at)?.clone(), value))).collect()))
    }

    /// Gives those that have another value now the one that they had.
    pub async fn put_back(&self, client: &Client) -> Result<()> {
        let asked: Vec<(usize, &str)> = self.0.iter().map(|(name, _)| name.as_str()).enumerate().collect();
        for (at, value) in positions(client, &asked, false).await? {
            let Some((name, before)) = self.0.get(at).filter(|(_, before)| *before != value) else { continue };
            let sql = "SELECT pg_catalog.setval($1::text::pg_catalog.regclass, $2::text::pg_catalog.int8, $3)";
            let set = client.query_one(sql, &[name, &before.last_value, &before.is_called]).await;
            set.map_err(failed(&format!("the sequence {name} cannot be set back")))?;
        }
        Ok(())
    }
}

fn is_sequence(relation: Option<&targets::Relation>) -> bool {
    relation.is_some_and(|relation| relation.kind == "S")
}
