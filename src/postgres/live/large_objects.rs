//! Reads large objects in pieces.

use futures_util::{TryStreamExt, pin_mut};
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use crate::error::Result;
use crate::fingerprint::{LargeObjects, LongRow};
use crate::host::progress::Counter;
use crate::postgres::client::failed;
use crate::postgres::columns::get;

/// Objects in one query.
const BATCH: i64 = 1000;

/// Bytes of each that the query reads: most objects are shorter.
const HEAD: i32 = 16 << 10;

/// Size of the pieces in which longer objects are read, in bytes.
const PIECE: i32 = 1 << 20;

const CANNOT_READ: &str = "the large objects cannot be read";

/// The number of large objects.
pub async fn count(client: &Client) -> Result<u64> {
    let row = client.query_one("SELECT pg_catalog.count(*) FROM pg_catalog.pg_largeobject_metadata", &[]).await;
    Ok(u64::try_from(get::<i64>(&row.map_err(failed(CANNOT_READ))?, 0)?).unwrap_or_default())
}

/// Hashes all large objects.
pub async fn read(client: &Client, moved: &Counter) -> Result<LargeObjects> {
    let heads = "SELECT oid, pg_catalog.lo_get(oid, 0, $3) FROM pg_catalog.pg_largeobject_metadata \
         WHERE oid > $1 ORDER BY oid LIMIT $2";
    let heads = client.prepare(heads).await.map_err(failed(CANNOT_READ))?;
    let (mut objects, mut last) = (LargeObjects::default(), 0_u32);
    loop {
        let parameters: [&(dyn ToSql + Sync); 3] = [&last, &BATCH, &HEAD];
        let rows = client.query_raw(&heads, parameters).await.map_err(failed(CANNOT_READ))?;
        pin_mut!(rows);
        let (mut number, mut long) = (0, Vec::new());
        while let Some(row) = rows.try_next().await.map_err(failed(CANNOT_READ))? {
            number += 1;
            last = get(&row, 0)?;
            let head: &[u8] = get(&row, 1)?;
            if head.len() >= usize::try_from(HEAD).unwrap_or_default() {
                long.push(last);
                continue;
            }
            moved.add(head.len() as u64);
            let mut contents = LongRow::default();
            contents.push(head);
            objects.add(last, &contents);
        }
        for oid in long {
            objects.add(oid, &whole(client, oid, moved).await?);
        }
        if number < BATCH {
            return Ok(objects);
        }
    }
}

async fn whole(client: &Client, oid: u32, moved: &Counter) -> Result<LongRow> {
    let mut contents = LongRow::default();
    let mut from = 0_i64;
    loop {
        let row = client.query_one("SELECT pg_catalog.lo_get($1, $2, $3)", &[&oid, &from, &PIECE]).await;
        let row = row.map_err(failed(CANNOT_READ))?;
        let piece: &[u8] = get(&row, 0)?;
        contents.push(piece);
        moved.add(piece.len() as u64);
        from += piece.len() as i64;
        if piece.len() < usize::try_from(PIECE).unwrap_or_default() {
            return Ok(contents);
        }
    }
}
