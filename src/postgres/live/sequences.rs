//! Values of sequences.

use tokio_postgres::Client;

use crate::error::Result;
use crate::fingerprint::SequenceFingerprint;
use crate::fingerprint::compare::Value;
use crate::postgres::client::failed;
use crate::postgres::columns::{get, in_bytes};
use crate::postgres::live::names::Names;
use crate::postgres::live::session::ROLL_BACK;
use crate::postgres::live::targets;

/// Sequences in one query.
const BATCH: usize = 50;

/// Sequences that our role can read and set.
const SETTABLE: &str = "FROM pg_catalog.pg_sequence s \
     JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relpersistence <> 't' AND pg_catalog.has_sequence_privilege(s.seqrelid, 'SELECT') \
     AND pg_catalog.has_sequence_privilege(s.seqrelid, 'UPDATE')";

/// The value of each sequence; none if there is no such sequence.
pub async fn read(client: &Client, names: &Names, fingerprints: &[SequenceFingerprint]) -> Result<Vec<Option<Value>>> {
    let mut texts = Vec::with_capacity(fingerprints.len());
    for sequence in fingerprints {
        texts.push(names.text(client, &sequence.name).await?);
    }
    // No relation has an empty name.
    let quoted_names: Vec<&str> = texts.iter().map(|text| text.as_deref().unwrap_or_default()).collect();
    let relations = targets::relations(client, &quoted_names).await?;
    let existing: Vec<(usize, &str)> = (quoted_names.into_iter().enumerate())
        .filter(|(at, _)| relations.get(*at).is_some_and(|relation| is_sequence(relation.as_ref())))
        .collect();
    let mut values = vec![None; fingerprints.len()];
    for (at, value) in positions(client, &existing, true).await? {
        if let Some(place) = values.get_mut(at) {
            *place = Some(value);
        }
    }
    Ok(values)
}

/// The values of sequences, each with the number given for it. The names are quoted. In a snapshot the locks of each batch are
/// released.
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
            client.batch_execute(ROLL_BACK).await.map_err(failed("a transaction cannot be continued"))?;
        }
    }
    Ok(values)
}

/// The values of all sequences of a database at one moment, to restore them later.
#[derive(Debug)]
pub struct Positions(Vec<(String, Value)>);

impl Positions {
    /// Reads the values of those that our role may set.
    pub async fn read(client: &Client) -> Result<Self> {
        let query = format!("SELECT {} {SETTABLE}", in_bytes("pg_catalog.format('%I.%I', n.nspname, c.relname)"));
        let rows = client.query(&query, &[]).await.map_err(failed("the sequences cannot be listed"))?;
        // A name that is not valid text cannot be used in a query.
        let name = |row| String::from_utf8(get(row, 0).ok()?).ok();
        let names: Vec<String> = rows.iter().filter_map(name).collect();
        let quoted_names: Vec<(usize, &str)> = names.iter().map(String::as_str).enumerate().collect();
        let values = positions(client, &quoted_names, false).await?;
        Ok(Positions(values.into_iter().filter_map(|(at, value)| Some((names.get(at)?.clone(), value))).collect()))
    }

    /// Sets the sequences that have other values now to the former ones.
    pub async fn restore(&self, client: &Client) -> Result<()> {
        let quoted_names: Vec<(usize, &str)> = self.0.iter().map(|(name, _)| name.as_str()).enumerate().collect();
        for (at, value) in positions(client, &quoted_names, false).await? {
            let Some((name, before)) = self.0.get(at).filter(|(_, before)| *before != value) else { continue };
            let sql = "SELECT pg_catalog.setval($1::text::pg_catalog.regclass, $2::text::pg_catalog.int8, $3)";
            let set = client.query_one(sql, &[name, &before.last_value, &before.is_called]).await;
            set.map_err(failed(&format!("the sequence {name} cannot be reset to its former value")))?;
        }
        Ok(())
    }
}

fn is_sequence(relation: Option<&targets::Relation>) -> bool {
    relation.is_some_and(|relation| relation.kind == "S")
}
