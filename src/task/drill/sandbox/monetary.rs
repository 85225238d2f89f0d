//! Amounts of money, which are text in a locale. Without that locale on the host they are refused or read wrongly, which is no fault
//! of the backup.

use tokio_postgres::Client;

use crate::error::{Error, Kind, Result};
use crate::fingerprint::Fingerprints;
use crate::postgres::client::failed;
use crate::postgres::columns::get;
use crate::restore::pg_restore::errors::without_details;
use crate::restore::server::TargetServer;
use crate::task::drill::sandbox::failure::{DrillFailure, of_backup};

/// Errors of the server about an amount (`cash_in` of src/backend/utils/adt/cash.c).
const REFUSED: &[&str] = &["invalid input syntax for type money", "is out of range for type money"];

/// Whether columns of the user's have the type, or one that is made of it: an array, a domain, a range. Of a composite
/// type the attributes are columns, too.
const HAS_ANY: &str = "WITH RECURSIVE made (oid) AS (SELECT 'pg_catalog.money'::pg_catalog.regtype::pg_catalog.oid \
     UNION SELECT t.oid FROM made m JOIN pg_catalog.pg_type t ON m.oid IN (t.typelem, t.typbasetype) \
     OR EXISTS (SELECT FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid AND r.rngsubtype = m.oid)) \
     SELECT EXISTS (SELECT FROM pg_catalog.pg_attribute a JOIN made m ON m.oid = a.atttypid \
     WHERE a.attrelid >= 16384 AND NOT a.attisdropped)";

/// The locale of a backup's amounts.
#[derive(Debug)]
pub enum MonetaryLocale {
    /// It is not recorded.
    Unknown,
    /// The server has it.
    In(String),
    /// The server's host lacks it.
    Lacks(String),
}

impl MonetaryLocale {
    /// Checks whether the server has the locale that the fingerprints name.
    pub async fn find(server: &TargetServer, expected: Option<&Fingerprints>) -> Result<Self> {
        let Some(locale) = expected.and_then(Fingerprints::lc_monetary) else { return Ok(MonetaryLocale::Unknown) };
        Ok(match server.takes("lc_monetary", locale).await? {
            true => MonetaryLocale::In(locale.to_owned()),
            false => MonetaryLocale::Lacks(locale.to_owned()),
        })
    }

    /// The locale to load with.
    pub fn locale(&self) -> Option<&str> {
        match self {
            MonetaryLocale::In(locale) => Some(locale),
            MonetaryLocale::Unknown | MonetaryLocale::Lacks(_) => None,
        }
    }

    /// Classifies an error of loading. An amount that is refused in its own locale is the backup's fault.
    pub fn classify(&self, error: Error) -> DrillFailure {
        let refused = || REFUSED.iter().any(|text| without_details(error.message()).contains(text));
        match self {
            MonetaryLocale::Unknown | MonetaryLocale::Lacks(_) if refused() => {
                DrillFailure::Here(cannot_be_read(error.message()))
            }
            _ => of_backup(error),
        }
    }

    /// Refuses a database with amounts that were read in another locale.
    pub async fn must_be_readable(&self, client: &Client) -> std::result::Result<(), DrillFailure> {
        let MonetaryLocale::Lacks(locale) = self else { return Ok(()) };
        let row = client.query_one(HAS_ANY, &[]).await.map_err(failed("the types of columns cannot be read"))?;
        match get(&row, 0)? {
            true => Err(DrillFailure::Here(cannot_be_read(&format!(
                "the host lacks their locale '{}'",
                locale.escape_debug()
            )))),
            false => Ok(()),
        }
    }
}

/// The error of amounts in another locale.
fn cannot_be_read(why: &str) -> Error {
    Error::new(Kind::System, format!("amounts of money cannot be read: {why}"))
        .hint("make the locale that lc_monetary is set to where they come from (on Debian: dpkg-reconfigure locales)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_amount_is_a_fault_of_the_host_without_its_locale() {
        let refused =
            "pg_restore failed: ERROR:  invalid input syntax for type money: \"1,0 E\" | CONTEXT:  COPY t, line 1";
        let quoted = "pg_restore failed: ERROR:  null value in column | DETAIL:  Failing row contains (invalid input syntax for type money).";
        let here = |money: &MonetaryLocale, why: &str| {
            matches!(money.classify(Error::new(Kind::Data, why)), DrillFailure::Here(_))
        };
        for money in [MonetaryLocale::Unknown, MonetaryLocale::Lacks("xx_XX".to_owned())] {
            assert!(here(&money, refused), "{money:?}");
            assert!(!here(&money, quoted), "{money:?}");
        }
        assert!(!here(&MonetaryLocale::In("C".to_owned()), refused), "in its own locale it is the backup's fault");
    }
}
