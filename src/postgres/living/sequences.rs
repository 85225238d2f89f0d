//! Values of sequences.

use tokio_postgres::Client;

use crate::catalogue::comparison::Value;
use crate::catalogue::fingerprint::SequenceFingerprint;
use crate::error::Result;
use crate::postgres::client::failed;
use crate::postgres::living::names::Names;
use crate::postgres::living::targets;
use crate::postgres::snapshot::get;

/// How many are asked for at once.
const BATCH: usize = 200;

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
    for batch in there.chunks(BATCH) {
        let select = |(at, name): &(usize, &str)| format!("SELECT {at}, last_value::text, is_called FROM {name}");
        let query: Vec<String> = batch.iter().map(select).collect();
        let rows = client.query(&query.join(" UNION ALL "), &[]).await;
        for row in rows.map_err(failed("the sequences cannot be read"))? {
            let at = usize::try_from(get::<i32>(&row, 0)?).unwrap_or_default();
            if let Some(value) = values.get_mut(at) {
                *value = Some(Value { last_value: get(&row, 1)?, is_called: get(&row, 2)? });
            }
        }
    }
    Ok(values)
}

fn is_sequence(relation: Option<&targets::Relation>) -> bool {
    relation.is_some_and(|relation| relation.kind == "S")
}
