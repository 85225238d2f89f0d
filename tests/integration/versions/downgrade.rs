//! An older version refuses the objects that it lacks: each is named, and the rest is restored.

use std::collections::BTreeSet;

use crate::common::pgcellar::Run;
use crate::common::{Cellar, Cluster, Database, Version, everything, exit};
use crate::versions::rows;

/// Names of objects, without those that are made with another one: constructors of ranges, constraints of partitions, and
/// constraints in the definition of a table.
const OBJECTS: &str = "SELECT relname FROM pg_class WHERE relnamespace = 'app'::regnamespace \
     UNION SELECT conname FROM pg_constraint WHERE connamespace = 'app'::regnamespace AND contype <> 'n' \
       AND conparentid = 0 AND (contype <> 'c' OR NOT convalidated) \
     UNION SELECT proname FROM pg_proc p WHERE pronamespace = 'app'::regnamespace AND prokind <> 'a' \
       AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'i') \
     UNION SELECT collname FROM pg_collation WHERE collnamespace = 'app'::regnamespace \
     UNION SELECT stxname FROM pg_statistic_ext UNION SELECT polname FROM pg_policy \
     UNION SELECT tgname FROM pg_trigger WHERE NOT tgisinternal UNION SELECT rulename FROM pg_rewrite \
     UNION SELECT pubname FROM pg_publication UNION SELECT fdwname FROM pg_foreign_data_wrapper \
     UNION SELECT subname FROM pg_subscription JOIN pg_database d ON d.oid = subdbid WHERE datname = current_database()";

fn objects(database: &Database<'_>) -> BTreeSet<String> {
    database.sql(OBJECTS).lines().map(str::to_owned).collect()
}

/// The parts of a database that another one lacks or has otherwise.
fn lost(from: &Database<'_>, into: &Database<'_>) -> BTreeSet<String> {
    let (before, after) = (rows(from), rows(into));
    before.into_iter().filter(|(part, value)| after.get(part) != Some(value)).map(|(part, _)| part).collect()
}

#[test]
fn everything_of_19_that_an_older_version_lacks_is_named() {
    if !Version::V19.is_covered() {
        return;
    }
    let original = everything::database(Cluster::shared(Version::V19), "downgrade");
    let expected = objects(&original);
    let there = |cluster: &Cluster, run: Run| run.env("DB_PORT", cluster.port().to_string());
    let cellar = Cellar::new(original.cluster()).with("DB_NAME", original.name());
    let id = cellar.back_up(original.name())["id"].as_str().unwrap().to_owned();
    for older in Version::ALL.into_iter().filter(|older| *older < Version::V19 && older.is_covered()) {
        let cluster = Cluster::shared(older);
        everything::make_roles(cluster);
        let target = cluster.name_for("downgrade");
        let stopped = there(cluster, cellar.run(["restore", &id, "--target-database", &target]));
        drop(stopped.fails(exit::DATAERR).says("--keep-going"));
        let kept = there(cluster, cellar.run(["restore", &id, "--keep-going", "--target-database", &target]));
        let outcome = kept.fails(exit::DATAERR);
        let restored = cluster.database(&target);
        let gone: Vec<String> = expected.difference(&objects(&restored)).cloned().collect();
        assert!(gone.iter().any(|name| name == "types_19"), "{gone:?}");
        let unnamed: Vec<&String> = gone.iter().filter(|name| !outcome.stderr.contains(name.as_str())).collect();
        assert!(unnamed.is_empty(), "{}: {unnamed:?} of {gone:?}: {outcome}", older.0);
        // Rows and values that did not arrive are those of tables and sequences that the errors name.
        for part in lost(&original, &restored) {
            let (_, named) = part.split_once(": ").unwrap();
            let named = named.split(" (").next().unwrap_or(named);
            assert!(outcome.stderr.contains(named), "{}: {part}: {outcome}", older.0);
        }
    }
}
