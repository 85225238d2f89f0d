//! The types of a new table's columns: those of the archive, as far as the server has them and they run no code.

use tokio_postgres::Client;

use crate::error::Result;
use crate::postgres::client::failed;
use crate::postgres::columns::get;
use crate::printable::printable;
use crate::restore::rows::table::ArchivedColumn;

/// A column of a new table.
#[derive(Clone, Debug)]
pub struct NewColumn {
    /// Name.
    pub name: String,
    /// Type, as the server accepted it.
    pub type_name: String,
    /// The archive's type, where the column is a text in its place, to cast to.
    pub cast: Option<String>,
}

/// The types that a type is made of: elements of arrays, attributes of composites, subtypes of ranges, base types of domains. The
/// constraints of a domain among them would be checked, and may call any function.
const HAS_DOMAIN: &str = "WITH RECURSIVE part(oid) AS (SELECT $1::oid UNION SELECT next.oid FROM part \
     JOIN pg_type t ON t.oid = part.oid, LATERAL ( \
         SELECT t.typelem AS oid WHERE t.typelem <> 0 \
         UNION ALL SELECT t.typbasetype WHERE t.typtype = 'd' \
         UNION ALL SELECT a.atttypid FROM pg_attribute a \
             WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped \
         UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid OR MULTIRANGE) next) \
     SELECT coalesce(bool_or(t.typtype = 'd'), false) FROM part JOIN pg_type t ON t.oid = part.oid";

/// The type of a domain, through all domains that it is made of, with the length or precision that the last of them has.
const BASE: &str = "WITH RECURSIVE base(oid, typmod, depth) AS (SELECT $1::oid, -1, 0 UNION ALL \
     SELECT t.typbasetype, t.typtypmod, depth + 1 FROM base JOIN pg_type t ON t.oid = base.oid WHERE t.typtype = 'd') \
     SELECT oid, format_type(oid, typmod) FROM base ORDER BY depth DESC LIMIT 1";

/// Finds the type of each column.
///
/// # Errors
/// What keeps the server's catalogue from being read.
pub async fn resolve(client: &Client, columns: Vec<ArchivedColumn>) -> Result<Vec<NewColumn>> {
    let mut resolved = Vec::new();
    for column in columns {
        let archived = column.type_name.as_deref();
        let (type_name, cast) = match archived {
            Some(name) => of_server(client, name).await?,
            None => (None, None),
        };
        if type_name.is_none() {
            let why = match archived {
                None => "the archive does not say its type".to_owned(),
                Some(name) => format!("its type {} runs code, or is not in the database", printable(name)),
            };
            log::warn!("the column {} is a text in the new table: {why}", printable(&column.name));
        }
        let type_name = type_name.unwrap_or_else(|| "text".to_owned());
        resolved.push(NewColumn { name: column.name, type_name, cast });
    }
    Ok(resolved)
}

/// The type to use, if the server has one that runs no code, and else what to cast a text to.
async fn of_server(client: &Client, name: &str) -> Result<(Option<String>, Option<String>)> {
    let cannot_read = |error| failed("the types of the database cannot be read")(error);
    // The server accepts nothing but the name of a type, and PostgreSQL 13 also a comment behind it.
    if name.contains("--") || name.contains("/*") {
        return Ok((None, None));
    }
    let Ok(row) = client.query_one("SELECT to_regtype($1)::oid", &[&name]).await else { return Ok((None, None)) };
    let Some(oid) = get::<Option<u32>>(&row, 0)? else { return Ok((None, None)) };
    let version =
        client.query_one("SELECT current_setting('server_version_num')::int", &[]).await.map_err(cannot_read)?;
    let multirange = if get::<i32>(&version, 0)? >= 140_000 { "r.rngmultitypid = t.oid" } else { "false" };
    let has_domain = HAS_DOMAIN.replace("MULTIRANGE", multirange);
    let domains = |oid: u32| {
        let has_domain = has_domain.clone();
        async move {
            let row = client.query_one(&has_domain, &[&oid]).await.map_err(cannot_read)?;
            get::<bool>(&row, 0)
        }
    };
    if !domains(oid).await? {
        return Ok((Some(name.to_owned()), None));
    }
    let row = client.query_one(BASE, &[&oid]).await.map_err(cannot_read)?;
    let (base, base_name): (u32, String) = (get(&row, 0)?, get(&row, 1)?);
    match base != oid && !domains(base).await? {
        true => Ok((Some(base_name), None)),
        false => Ok((None, Some(name.to_owned()))),
    }
}
