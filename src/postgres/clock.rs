//! The server's clock.

use jiff::{SignedDuration, Timestamp};
use tokio_postgres::Client;

use crate::error::Result;
use crate::postgres::client::failed;
use crate::postgres::snapshot::get;

/// How far the server's clock is ahead of ours.
pub async fn ahead(client: &Client) -> Result<SignedDuration> {
    let asked = Timestamp::now();
    let row = client.query_one("SELECT extract(epoch FROM clock_timestamp())::float8", &[]).await;
    let row = row.map_err(failed("the server cannot be asked for the time"))?;
    let answered = Timestamp::now();
    // The server looked at its clock somewhere between the two.
    let ours = (asked.as_microsecond() + answered.as_microsecond()) / 2;
    let theirs = (get::<f64>(&row, 0)? * 1e6) as i64;
    Ok(SignedDuration::from_micros(theirs - ours))
}
