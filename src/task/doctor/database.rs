//! Checks of the server: whether the role can log in, and may read everything that is to be backed up.

use std::sync::Arc;

use crate::catalogue::product::What;
use crate::cli::DoctorPart;
use crate::config::{Databases, local_zone};
use crate::error::Result;
use crate::health::products;
use crate::postgres::client::{connect, identifier};
use crate::postgres::connection_limit;
use crate::task::doctor::check::Checks;
use crate::task::doctor::grants::Grants;
use crate::task::doctor::rights::{BackupRole, Rights};
use crate::task::doctor::server::DoctorServer;
use crate::task::doctor::services::Services;

/// Checks the connection to the server, the role, and each database.
pub async fn check(services: &Arc<Services>) -> Checks {
    let mut checks = Checks::new(DoctorPart::Database);
    let databases = Databases::new(&services.args.databases);
    if let Some(server) = services.server(&mut checks, DoctorPart::Database).await {
        role(server, &mut checks).await;
        match &databases {
            Ok(databases) => {
                for name in server.databases(databases) {
                    database(server, &name, &mut checks).await;
                }
                half_dropped(server, databases, &mut checks);
                products(server, databases, &mut checks);
            }
            Err(error) => checks.failed("databases", error),
        }
    } else {
        checks.skipped("role, databases", "there is no connection");
        if let Err(error) = &databases {
            checks.failed("databases", error);
        }
    }
    checks
}

async fn role(server: &DoctorServer, checks: &mut Checks) {
    let role = match role_of(server).await {
        Ok(role) => role,
        Err(error) => return checks.failed("role", &error),
    };
    let name = &server.role;
    if server.superuser {
        let also = "; a role that may only read is enough for backups, see 'The role' in doc/backup.md";
        return checks.ok("role", format!("'{name}' is a superuser{also}"));
    }
    let (has, lacks) = role.words();
    let mend = format!("{}{}", role.who(), role.statements(name).join("; "));
    let old = match server.major {
        ..14 => "; this version has no pg_read_all_data, so tables that are made later need a GRANT of their own",
        _ => "",
    };
    match lacks.is_empty() {
        true => checks.ok("role", format!("'{name}' has {}, and is no superuser{old}", has.join(", "))),
        false => checks.warning(
            "role",
            format!("'{name}' lacks {}: tables that are made later may not be readable", lacks.join(", ")),
            mend,
        ),
    }
}

async fn role_of(server: &DoctorServer) -> Result<BackupRole> {
    BackupRole::of(&server.client, Grants::of(&server.client, server.major).await?).await
}

async fn database(server: &DoctorServer, name: &str, checks: &mut Checks) {
    let check = format!("'{name}'");
    match rights(server, name).await {
        Err(error) if error.kind() == crate::error::Kind::Missing => {
            let names: Vec<&str> = server.databases.iter().map(|(name, _)| name.as_str()).collect();
            let there = format!("DB_NAME is the name of a database; the server has {}", some(&names));
            checks.failed(check, &crate::error::Error::new(error.kind(), error.message()).hint(there));
        }
        Err(error) => checks.failed(check, &error),
        Ok((rights, grants)) => rights.report(&check, &server.role, grants, checks),
    }
}

/// With `DB_NAME=*`, warns of databases that cannot be backed up.
fn half_dropped(server: &DoctorServer, databases: &Databases, checks: &mut Checks) {
    let Databases::AllBut(excluded) = databases else { return };
    for name in server.half_dropped.iter().filter(|name| !excluded.contains(name)) {
        checks.warning(
            format!("'{name}'"),
            "its DROP DATABASE was interrupted: it cannot be backed up, and can only be dropped",
            format!("DROP DATABASE {}", identifier(name)),
        );
    }
}

/// With `DB_NAME=*`, reports databases that restores have created beside others.
fn products(server: &DoctorServer, databases: &Databases, checks: &mut Checks) {
    let Databases::AllBut(excluded) = databases else { return };
    let zone = local_zone();
    for product in server.products.iter().filter(|product| !excluded.contains(&product.name)) {
        let (name, message) = (format!("'{}'", product.name), products::message(product, &zone));
        match product.what {
            What::Loading => checks.ok(name, message),
            What::Unfinished | What::Replaced | What::Copy => checks.warning(name, message, products::hint(product)),
        }
    }
}

async fn rights(server: &DoctorServer, name: &str) -> Result<(Rights, Grants)> {
    // The session is one of those that a limit counts.
    let other;
    let client = match server.database == name {
        true => &server.client,
        false => {
            other = connect(&server.connection, name).await?;
            &other
        }
    };
    connection_limit::must_allow(client, connection_limit::OF_A_BACKUP).await?;
    let rights = Rights::of(client, server.superuser).await?;
    Ok((rights, Grants::of(client, server.major).await?))
}

fn some(names: &[&str]) -> String {
    crate::format::some(names, 8)
}
