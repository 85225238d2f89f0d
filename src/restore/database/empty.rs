//! Whether anything was made in a database.

use tokio_postgres::Client;

use crate::error::Result;
use crate::postgres::client::failed;
use crate::postgres::columns::get;

/// Catalogues of what can be made in a database. What depends on a table, a type or a server alone is not needed.
const CATALOGUES: &[&str] = &[
    "pg_am",
    "pg_cast",
    "pg_class",
    "pg_collation",
    "pg_conversion",
    "pg_default_acl",
    "pg_event_trigger",
    "pg_extension",
    "pg_foreign_data_wrapper",
    "pg_foreign_server",
    "pg_language",
    "pg_largeobject_metadata",
    "pg_opclass",
    "pg_operator",
    "pg_opfamily",
    "pg_proc",
    "pg_publication",
    "pg_transform",
    "pg_ts_config",
    "pg_ts_dict",
    "pg_ts_parser",
    "pg_ts_template",
    "pg_type",
];

/// Whether nothing was made in the database of this session since the server was: what `initdb` makes has OIDs below
/// 16384 (`FirstNormalObjectId` in `src/include/access/transam.h`). Schemas of temporary tables stay when the tables go.
pub async fn has_nothing(client: &Client) -> Result<bool> {
    let each: Vec<String> =
        CATALOGUES.iter().map(|name| format!("SELECT FROM pg_catalog.{name} WHERE oid >= 16384")).collect();
    let query = format!(
        "SELECT NOT EXISTS ({} UNION ALL \
         SELECT FROM pg_namespace WHERE oid >= 16384 AND nspname !~ '^pg_(toast_)?temp_' UNION ALL \
         SELECT FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database()))",
        each.join(" UNION ALL ")
    );
    let row = client.query_one(&query, &[]).await.map_err(failed("the contents of a database cannot be read"))?;
    get(&row, 0)
}
