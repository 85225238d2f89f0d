//! The throwaway cluster with the libraries that its server preloads.

use crate::error::{Error, Kind, Result};
use crate::host::surroundings::Surroundings;
use crate::postgres::client::failed;
use crate::postgres::cluster::Cluster;
use crate::postgres::columns::text;
use crate::postgres::packages::package;
use crate::restore::server::session;
use crate::stop::Stop;
use crate::task::drill::protocol::DrillOrder;
use crate::task::drill::sandbox::ground::Ground;

/// The libraries among `$1` that the server would not find in its folder.
const ABSENT: &str = "SELECT l FROM pg_catalog.pg_config c, unnest($1::text[]) l \
     WHERE c.name = 'PKGLIBDIR' AND (pg_catalog.pg_stat_file(c.setting || '/' || l || '.so', true)).size IS NULL";

/// A cluster that runs, and the libraries that are not on this host and that the backup may do without.
pub async fn make_cluster(order: &DrillOrder, ground: &Ground, stop: &Stop) -> Result<(Cluster, Vec<String>)> {
    let mut preload: Vec<String> = order.libraries.iter().map(|library| library.name.clone()).collect();
    Cluster::initialize(ground.plan(order, &preload), stop).await?;
    let refused = match Cluster::start(ground.plan(order, &preload), stop).await {
        Err(error) if !preload.is_empty() && !stop.requested() => error,
        started => return Ok((started?, Vec::new())),
    };
    let plain = Cluster::start(ground.plan(order, &[]), stop).await?;
    let absent = absent(&plain, &preload).await;
    plain.stop().await;
    let absent = absent?;
    if absent.is_empty() {
        return Err(refused);
    }
    let required = |name: &&String| order.libraries.iter().any(|library| library.required && library.name == **name);
    let lacking: Vec<&String> = absent.iter().filter(required).collect();
    if !lacking.is_empty() && order.rehearsal.is_none() {
        let names = lacking.iter().map(|name| name.as_str()).collect::<Vec<_>>();
        let message = format!(
            "PostgreSQL {} here lacks libraries that its server must preload: {}",
            order.server(),
            names.join(", ")
        );
        return Err(Error::new(Kind::System, message).hint(install(&names, order.server())));
    }
    preload.retain(|name| !absent.contains(name));
    Ok((Cluster::start(ground.plan(order, &preload), stop).await?, absent))
}

async fn absent(cluster: &Cluster, libraries: &[String]) -> Result<Vec<String>> {
    let client = session(cluster.connection(), "postgres").await?;
    let rows = client.query(ABSENT, &[&libraries]).await.map_err(failed("the server's libraries cannot be found"))?;
    rows.iter().map(|row| text(row, 0)).collect()
}

/// How to get these extensions or libraries.
pub fn install(names: &[&str], major: u32) -> String {
    let mut packages: Vec<String> = names.iter().map(|name| package(name, major)).collect();
    packages.sort();
    packages.dedup();
    if Surroundings::here().is_container() {
        let names: Vec<&str> = packages.iter().filter_map(|package| package.strip_prefix("postgresql-")).collect();
        return format!(
            "build the sandbox's image with the packages that have them: PG_SERVER='{major} {}'",
            names.join(" ")
        );
    }
    format!("install the packages that have them: {}", packages.join(" "))
}
