//! What a restore shows and asks, the recipe that does without it, and the roles that it makes.

use std::collections::BTreeSet;

use crate::common::{Cluster, Database};

mod dialogue;
mod list;
mod plan;
mod recipe;
mod roles;

const FORMATS: [&str; 4] = ["custom", "directory", "tar", "plain"];

fn databases(cluster: &Cluster) -> BTreeSet<String> {
    cluster.sql("postgres", "SELECT datname FROM pg_database").lines().map(str::to_owned).collect()
}

fn shop(cluster: &Cluster) -> Database<'_> {
    let shop = cluster.create("shop");
    shop.sql("CREATE TABLE bottle AS SELECT i AS id, 'Riesling ' || i AS label FROM generate_series(1, 1000) i");
    shop
}
