//! The names of a dump, converted to UTF-8.

use std::collections::BTreeMap;

use tokio_postgres::Client;

use crate::error::Result;
use crate::fingerprint::Quoted;
use crate::postgres::client::failed;
use crate::postgres::columns::text;

/// The parameter that names a dump's encoding.
pub const ENCODING: &str = "client_encoding";

/// The encoding of a dump.
#[derive(Clone, Debug)]
pub struct Names {
    /// Its name, as the server calls it.
    pub encoding: String,
}

impl Names {
    /// The encoding in the settings of a dump.
    pub fn new(settings: &BTreeMap<String, String>) -> Self {
        Names { encoding: settings.get(ENCODING).map_or("UTF8", String::as_str).to_owned() }
    }

    /// A name as a text; none if its bytes cannot be converted.
    pub async fn text(&self, client: &Client, name: &Quoted) -> Result<Option<String>> {
        if name.bytes().is_ascii() || matches!(self.encoding.as_str(), "UTF8" | "SQL_ASCII" | "MULE_INTERNAL") {
            return Ok(name.text().map(str::to_owned));
        }
        let query = "SELECT pg_catalog.convert_from($1, $2::text)";
        let row = client.query_one(query, &[&name.bytes(), &self.encoding]).await;
        text(&row.map_err(failed("a name of the dump cannot be converted"))?, 0).map(Some)
    }
}
