//! The server's clock.

use jiff::{SignedDuration, Timestamp};
use tokio_postgres::Client;

use crate::error::Result;
use crate::postgres::client::failed;
use crate::postgres::columns::get;

/// How far the server's clock is ahead of ours.
pub async fn ahead(client: &Client) -> Result<SignedDuration> {
    let sent = Timestamp::now();
    let row = client.query_one("SELECT extract(epoch FROM clock_timestamp())::float8", &[]).await;
    let row = row.map_err(failed("the server's clock cannot be read"))?;
    let received = Timestamp::now();
    // The server read its clock at some moment between the two.
    let local = (sent.as_microsecond() + received.as_microsecond()) / 2;
    let remote = (get::<f64>(&row, 0)? * 1e6) as i64;
    Ok(SignedDuration::from_micros(remote - local))
}
