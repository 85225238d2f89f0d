//! The facts about a database that go into the manifest, read in the snapshot of the dump.

use std::collections::BTreeMap;

use tokio_postgres::{Client, Row};

use crate::catalogue::manifest::{DatabaseProperties, Extension, ParameterSetting, Preloaded, SecurityLabel, Server};
use crate::error::Result;
use crate::identity::Identity;
use crate::postgres::client::failed;
use crate::postgres::columns::{Text, get, in_bytes, optional_text, shared_in_bytes, text};
use crate::postgres::properties::list;
use crate::postgres::quoting::literal;
use crate::postgres::snapshot::Snapshot;

/// The parameters of this list, and those of extensions in the database that any session can set (PostgreSQL documentation,
/// "Client Connection Defaults", "Version and Platform Compatibility"). `lc_monetary` is stored with the fingerprints.
/// Parameters with other prefixes are left out, because they may be secrets of an application, and so are texts of extensions that
/// may be secrets by their names, such as `anon.salt` and `postgis.gdal_vsi_options`.
const SESSION_PARAMETERS: &str = "SELECT s.name, coalesce(o.value, s.setting) FROM pg_settings s \
     LEFT JOIN (SELECT lower(split_part(c, '=', 1)) AS name, substr(c, strpos(c, '=') + 1) AS value \
       FROM pg_db_role_setting r JOIN pg_database d ON d.oid = r.setdatabase, unnest(r.setconfig) c \
       WHERE r.setrole = 0 AND d.datname = current_database()) o ON o.name = lower(s.name) \
     WHERE (o.value IS NOT NULL OR s.source NOT IN ('user', 'database user', 'client', 'session')) AND (lower(s.name) IN \
       ('timezone', 'timezone_abbreviations', 'datestyle', 'intervalstyle', 'default_text_search_config', 'lc_numeric', \
        'lc_time', 'bytea_output', 'extra_float_digits', 'xmlbinary', 'transform_null_equals', \
        'backslash_quote') \
       OR s.context IN ('user', 'superuser') AND s.source <> 'default' \
         AND (s.vartype <> 'string' OR lower(s.name) !~ 'pass|secret|salt|token|key|credential|conn|dsn|options') \
         AND EXISTS (SELECT FROM pg_extension e WHERE e.extname = split_part(s.name, '.', 1)))";

/// What the server preloads, and parameters that its configuration sets: those of libraries that only the server's start or reload
/// sets, and two of its own, without which tables of many chunks and times of commits cannot be read. Of texts only the name of
/// pg_cron's database is taken: others may be secrets, such as `pglogical.extra_connection_options`. Only superusers and members of
/// `pg_read_all_settings` see the libraries (PostgreSQL documentation, `pg_settings`).
const PRELOADED: &str = "SELECT name, setting FROM pg_settings WHERE name = 'shared_preload_libraries' \
     OR source IN ('environment variable', 'configuration file', 'command line') \
       AND (name IN ('max_locks_per_transaction', 'track_commit_timestamp', 'cron.database_name') \
         OR strpos(name, '.') > 0 AND context IN ('postmaster', 'sighup') AND vartype <> 'string')";

/// Facts of one database.
#[derive(Debug)]
pub struct DatabaseFacts {
    /// The server.
    pub server: Server,
    /// OID of the database.
    pub database_oid: u32,
    /// Properties of the database itself, which a dump without `--create` leaves out.
    pub properties: DatabaseProperties,
    /// Extensions.
    pub extensions: Vec<Extension>,
    /// Large objects.
    pub large_objects: u64,
    /// Size on the server's disk, in bytes.
    pub bytes: u64,
    /// Whether our role is a superuser.
    pub superuser: bool,
    /// Whether our role may read the roles' passwords.
    pub reads_passwords: bool,
    /// `lc_monetary`, which determines how values of the type `money` are written.
    pub lc_monetary: String,
}

impl Snapshot {
    /// Reads the facts.
    pub async fn facts(&self) -> Result<DatabaseFacts> {
        let database = self.one(&database_query(self.version_num, "current_database()")).await?;
        let size =
            self.one("SELECT pg_database_size(oid), oid FROM pg_database WHERE datname = current_database()").await?;
        let server = self
            .one(&format!(
                "SELECT current_setting('server_version'), {}, pg_is_in_recovery(), \
                     current_setting('is_superuser') = 'on', has_table_privilege('pg_authid', 'SELECT'), \
                     (SELECT count(*) FROM pg_largeobject_metadata), current_setting('lc_monetary')",
                shared_in_bytes("pg_get_userbyid(10)::text")
            ))
            .await?;
        let large_objects: i64 = get(&server, 5)?;
        let bytes: i64 = get(&size, 0)?;
        Ok(DatabaseFacts {
            server: Server {
                version: text(&server, 0)?.split(' ').next().unwrap_or_default().to_owned(),
                version_num: self.version_num,
                bootstrap_role: text(&server, 1)?,
                standby: get(&server, 2)?,
                identity: Identity::default(),
                preloaded: self.preloaded().await?,
            },
            database_oid: get(&size, 1)?,
            properties: DatabaseProperties {
                security_labels: security_labels(self.client(), "current_database()").await?,
                settings: settings(self.client(), "current_database()").await?,
                session_parameters: self.session_parameters().await?,
                ..properties(&database)?
            },
            extensions: self.extensions().await?,
            large_objects: u64::try_from(large_objects).unwrap_or_default(),
            bytes: u64::try_from(bytes).unwrap_or_default(),
            superuser: get(&server, 3)?,
            reads_passwords: get(&server, 4)?,
            lc_monetary: text(&server, 6)?,
        })
    }

    async fn one(&self, query: &str) -> Result<Row> {
        self.client().query_one(query, &[]).await.map_err(failed("facts of the database cannot be read"))
    }

    async fn all(&self, query: &str) -> Result<Vec<Row>> {
        self.client().query(query, &[]).await.map_err(failed("facts of the database cannot be read"))
    }

    /// Parameters that determine how a session in this database computes and parses values. If our role has settings of its
    /// own, only those of the database show what applies to other roles.
    async fn session_parameters(&self) -> Result<BTreeMap<String, String>> {
        let rows = self.all(SESSION_PARAMETERS).await?;
        rows.iter().map(|row| Ok((text(row, 0)?, text(row, 1)?))).collect()
    }

    async fn preloaded(&self) -> Result<Preloaded> {
        let mut preloaded = Preloaded::default();
        for row in self.all(PRELOADED).await? {
            let (name, value) = (text(&row, 0)?, text(&row, 1)?);
            match name.as_str() {
                "shared_preload_libraries" => {
                    preloaded.libraries = Some(list(&value).into_iter().filter(|name| !name.is_empty()).collect());
                }
                _ => drop(preloaded.settings.insert(name, value)),
            }
        }
        Ok(preloaded)
    }

    async fn extensions(&self) -> Result<Vec<Extension>> {
        let query = format!(
            "SELECT {}, {}, {} FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace ORDER BY 1",
            in_bytes("e.extname::text"),
            in_bytes("e.extversion"),
            in_bytes("n.nspname::text")
        );
        let extension =
            |row: &Row| Ok(Extension { name: text(row, 0)?, version: text(row, 1)?, schema: text(row, 2)? });
        self.all(&query).await?.iter().map(extension).collect()
    }
}

/// The properties of a database on this server. `server` is the major version.
pub async fn properties_of(client: &Client, server: u32, database: &str) -> Result<DatabaseProperties> {
    let name = literal(database);
    let query = database_query(server.saturating_mul(10_000), &name);
    let row = client.query_one(&query, &[]).await.map_err(failed("the database's properties cannot be read"))?;
    Ok(DatabaseProperties {
        security_labels: security_labels(client, &name).await?,
        settings: settings(client, &name).await?,
        ..properties(&row)?
    })
}

async fn security_labels(client: &Client, name: &str) -> Result<Vec<SecurityLabel>> {
    let query = format!(
        "SELECT l.provider, {} FROM pg_shseclabel l JOIN pg_database d ON d.oid = l.objoid \
         WHERE l.classoid = 'pg_database'::regclass AND d.datname = {name} ORDER BY 1",
        shared_in_bytes("l.label")
    );
    let rows = client.query(&query, &[]).await.map_err(failed("facts of the database cannot be read"))?;
    let label = |row: &Row| Ok(SecurityLabel { provider: text(row, 0)?, label: text(row, 1)? });
    rows.iter().map(label).collect()
}

async fn settings(client: &Client, name: &str) -> Result<Vec<ParameterSetting>> {
    let query = format!(
        "SELECT {}, split_part(c, '=', 1), {} \
         FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase \
         LEFT JOIN pg_roles r ON r.oid = s.setrole, unnest(s.setconfig) WITH ORDINALITY u(c, position) \
         WHERE d.datname = {name} ORDER BY r.rolname NULLS FIRST, position",
        shared_in_bytes("r.rolname::text"),
        shared_in_bytes("substr(c, strpos(c, '=') + 1)")
    );
    let rows = client.query(&query, &[]).await.map_err(failed("facts of the database cannot be read"))?;
    let setting =
        |row: &Row| Ok(ParameterSetting { role: optional_text(row, 0)?, name: text(row, 1)?, value: text(row, 2)? });
    rows.iter().map(setting).collect()
}

/// The properties of a database that `owner` creates on this server without any options (`CREATE DATABASE` with the template
/// `template0`). `server` is the major version.
pub async fn defaults(client: &Client, server: u32, owner: &str) -> Result<DatabaseProperties> {
    let query = database_query(server.saturating_mul(10_000), "'template0'");
    let row = client.query_one(&query, &[]).await.map_err(failed("the server's defaults cannot be read"))?;
    Ok(DatabaseProperties {
        owner: owner.to_owned(),
        connection_limit: -1,
        is_template: false,
        acl: None,
        comment: None,
        ..properties(&row)?
    })
}

/// The columns of `pg_database` for the locale differ between the versions 15, 16 and 17.
fn database_query(version_num: u32, name: &str) -> String {
    let (provider, locale, rules) = match version_num {
        ..150_000 => ("'c'", "NULL", "NULL"),
        150_000..160_000 => ("d.datlocprovider", "d.daticulocale", "NULL"),
        160_000..170_000 => ("d.datlocprovider", "d.daticulocale", "d.daticurules"),
        _ => ("d.datlocprovider", "d.datlocale", "d.daticurules"),
    };
    format!(
        "SELECT {}, pg_encoding_to_char(d.encoding)::text, d.datcollate::text, d.datctype::text, {}, d.datconnlimit, \
         d.datistemplate, CASE WHEN d.datacl IS NOT NULL THEN ARRAY(SELECT {} FROM unnest(d.datacl::text[]) a) END, \
         {}, {provider}::text, {locale}::text, {} \
         FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace WHERE d.datname = {name}",
        shared_in_bytes("pg_get_userbyid(d.datdba)::text"),
        shared_in_bytes("t.spcname::text"),
        shared_in_bytes("a"),
        shared_in_bytes("shobj_description(d.oid, 'pg_database')"),
        in_bytes(&format!("{rules}::text"))
    )
}

/// A comment that a manifest can store. One with invalid bytes would be restored as another comment.
fn comment(row: &Row, column: usize) -> Result<Option<String>> {
    let text = get::<Option<&[u8]>>(row, column)?.map(|bytes| String::from_utf8(bytes.to_vec()));
    if let Some(Err(_)) = text {
        log::warn!("the database's comment is not backed up: it has bytes that are not valid text");
    }
    Ok(text.and_then(std::result::Result::ok))
}

fn properties(row: &Row) -> Result<DatabaseProperties> {
    let provider = match text(row, 9)?.as_str() {
        "i" => "icu",
        "b" => "builtin",
        _ => "libc",
    };
    Ok(DatabaseProperties {
        owner: text(row, 0)?,
        encoding: text(row, 1)?,
        locale_provider: provider.to_owned(),
        collate: text(row, 2)?,
        ctype: text(row, 3)?,
        locale: get(row, 10)?,
        icu_rules: optional_text(row, 11)?,
        tablespace: text(row, 4)?,
        connection_limit: get(row, 5)?,
        is_template: get(row, 6)?,
        acl: get::<Option<Vec<Text>>>(row, 7)?.map(|acl| acl.into_iter().map(|Text(item)| item).collect()),
        comment: comment(row, 8)?,
        security_labels: Vec::new(),
        settings: Vec::new(),
        session_parameters: BTreeMap::new(),
    })
}
