//! Ownership of backups of real servers that share a bucket or a directory under the same names.

use serde_json::Value;

use crate::common::bucket::Bucket;
use crate::common::dumps::small;
use crate::common::pgcellar::Run;
use crate::common::process::{must, unprivileged};
use crate::common::standby::Standby;
use crate::common::{Cellar, Cluster, Database, Version, exit};

/// A run as the host of this name.
fn on<'a>(cellar: &Cellar, host: &str, arguments: impl IntoIterator<Item = &'a str>) -> Run {
    cellar.run(arguments).env("PGCELLAR_HOST", host)
}

/// An instance that backs up to the bucket only, as a container without a volume does.
fn straight(bucket: &Bucket, database: &Database<'_>) -> Cellar {
    let cellar = bucket.copies(Cellar::new(database.cluster()));
    cellar.with("DB_NAME", database.name()).with("BACKUP_DIR", "")
}

fn back_up(cellar: &Cellar, host: &str) -> String {
    let made = on(cellar, host, ["backup", "--json"]).succeeds().json();
    made[0]["id"].as_str().unwrap().to_owned()
}

/// Ids in `list` on the host.
fn listed(cellar: &Cellar, host: &str) -> Vec<String> {
    let listed = on(cellar, host, ["list", "--json"]).succeeds().json();
    listed.as_array().unwrap().iter().map(|backup| backup["id"].as_str().unwrap().to_owned()).collect()
}

/// The backups that retention keeps and removes on the host.
fn retained(run: Run) -> (Vec<String>, Vec<String>) {
    let printed = run.arguments(["--json"]).succeeds().json();
    let ids = |what: &str| {
        let of = printed.as_array().unwrap().iter().filter(|backup| backup["decision"] == what);
        of.map(|backup| backup["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    (ids("keep"), ids("remove"))
}

/// A database of the same name in two clusters.
fn pair<'a>(one: &'a Cluster, other: &'a Cluster, purpose: &str) -> (Database<'a>, Database<'a>) {
    let first = small(one, purpose);
    let second = other.create_named(first.name());
    second.sql("CREATE TABLE other AS SELECT x FROM generate_series(1, 1000) x");
    (first, second)
}

#[test]
fn containers_of_one_server_own_each_others_backups() {
    let cluster = Cluster::shared(Version::V15);
    let database = small(cluster, "containers");
    let bucket = Bucket::new();
    let cellar = straight(&bucket, &database);
    let ids: Vec<String> = ["c1", "c2", "c3"].map(|host| back_up(&cellar, host)).to_vec();
    assert_eq!(listed(&cellar, "c4"), ids);
    on(&cellar, "c5", ["verify", "--all"]).succeeds();
    let found = on(&cellar, "c6", ["monitor", "check", "--json"]).finish().json();
    // Other tests make and drop databases on this server.
    let is_ours = |finding: &Value| finding["subject"].as_str().unwrap().starts_with(database.name());
    let of_ours = |finding: &&Value| match finding["check"].as_str().unwrap() {
        "not_covered" => false,
        "half_dropped" | "leftover" => is_ours(finding),
        _ => true,
    };
    let found: Vec<&Value> = found["findings"].as_array().unwrap().iter().filter(of_ours).collect();
    assert_eq!(found, [&Value::Null; 0]);
    let restored = cluster.name_for("restored");
    let outcome = on(&cellar, "c7", ["restore", "latest", "--target-database", &restored]).succeeds();
    assert!(outcome.stderr.contains(&ids[2]), "{outcome}");
    let (keep, remove) = retained(on(&cellar, "c8", ["retention"]).env("BACKUP_KEEP_LAST", "1"));
    assert_eq!((keep, remove), (vec![ids[2].clone()], ids[..2].to_vec()));
    assert_eq!(bucket.ids(), ids[2..]);
    // Without the server their identity is unknown, and nothing is removed.
    let last = back_up(&cellar, "c9");
    let unreachable = on(&cellar, "c10", ["retention"]).env("BACKUP_KEEP_LAST", "1").env("DB_PORT", "1");
    let outcome = unreachable.fails(exit::CONFIG);
    assert!(outcome.stderr.contains("takeover c9/main"), "{outcome}");
    assert_eq!(bucket.ids(), [ids[2].clone(), last]);
}

#[test]
fn two_servers_of_one_name_are_never_mixed() {
    let (one, other) = (Cluster::shared(Version::V15), Cluster::shared(Version::V17));
    let (first, second) = pair(one, other, "mixed");
    let bucket = Bucket::new();
    let (ours, theirs) = (straight(&bucket, &first), straight(&bucket, &second));
    let mine = [back_up(&ours, "pgcellar"), back_up(&ours, "pgcellar")];
    let yours = [back_up(&theirs, "pgcellar"), back_up(&theirs, "pgcellar")];
    // A restore reads the identity of its target server.
    let restored = one.name_for("restored");
    on(&ours, "pgcellar", ["restore", "latest", "--target-database", &restored]).succeeds().says(&mine[1]);
    // The other servers cannot be reached, or do not identify themselves.
    let outcome = on(&ours, "pgcellar", ["show", "latest"]).fails(exit::USAGE);
    assert!(outcome.stderr.contains("2 servers") && outcome.stderr.contains("PGCELLAR_INSTANCE"), "{outcome}");
    let dead = on(&ours, "pgcellar", ["retention"]).env("BACKUP_KEEP_LAST", "1").env("DB_PORT", "1");
    let outcome = dead.fails(exit::CONFIG);
    assert!(outcome.stderr.contains("2 servers"), "{outcome}");
    let (keep, remove) = retained(on(&ours, "pgcellar", ["retention"]).env("BACKUP_KEEP_LAST", "1"));
    assert_eq!((keep, remove), (vec![mine[1].clone()], vec![mine[0].clone()]));
    let (keep, remove) = retained(on(&theirs, "pgcellar", ["retention"]).env("BACKUP_KEEP_LAST", "1"));
    assert_eq!((keep, remove), (vec![yours[1].clone()], vec![yours[0].clone()]));
    let outcome = on(&ours, "pgcellar", ["monitor", "check", "--json"]).finish();
    assert!(outcome.code() != Some(0) && outcome.stdout.contains("mixed_servers"), "{outcome}");
}

#[test]
fn a_server_that_has_made_no_backup_yet_removes_none() {
    // The same names in the bucket and in a directory.
    let (one, other) = (Cluster::shared(Version::V15), Cluster::shared(Version::V17));
    let (first, second) = pair(one, other, "newcomer");
    let bucket = Bucket::new();
    for directory in [false, true] {
        let (ours, theirs) = match directory {
            false => (straight(&bucket, &first), straight(&bucket, &second)),
            true => {
                let ours = Cellar::new(one).with("DB_NAME", first.name());
                let theirs = Cellar::new(other).with("DB_NAME", second.name());
                let theirs = theirs.with("BACKUP_DIR", ours.backup_dir());
                (ours, theirs)
            }
        };
        let ids = [back_up(&ours, "pgcellar"), back_up(&ours, "pgcellar")];
        let (keep, remove) = retained(on(&theirs, "pgcellar", ["retention"]).env("BACKUP_KEEP_LAST", "1"));
        assert_eq!((keep, remove), (vec![], vec![]));
        assert_eq!(listed(&ours, "pgcellar"), ids);
        let outcome = on(&theirs, "pgcellar", ["monitor", "check", "--json"]).finish();
        assert!(matches!(outcome.code(), Some(1 | 2)) && outcome.stdout.contains("are of another server"), "{outcome}");
    }
}

#[test]
fn two_servers_in_use_do_not_take_over_from_each_other() {
    let (one, other) = (Cluster::shared(Version::V15), Cluster::shared(Version::V17));
    let (first, second) = pair(one, other, "in_use");
    let bucket = Bucket::new();
    let (ours, theirs) = (straight(&bucket, &first), straight(&bucket, &second));
    back_up(&ours, "same");
    back_up(&theirs, "same");
    back_up(&ours, "same");
    on(&theirs, "same", ["takeover", "same/main"]).fails(exit::USAGE).says("PGCELLAR_INSTANCE");
    assert_eq!(bucket.keys().iter().filter(|key| key.contains("takeover")).count(), 0);
}

#[test]
fn a_replacement_server_takes_over_the_backups() {
    // As after pg_upgrade, or a restore into a new cluster: the directory, the host and the instance are the same.
    let (one, other) = (Cluster::shared(Version::V15), Cluster::shared(Version::V17));
    let (first, second) = pair(one, other, "upgraded");
    let before = Cellar::new(one).with("DB_NAME", first.name());
    let after = Cellar::new(other).with("DB_NAME", second.name()).with("BACKUP_DIR", before.backup_dir());
    let old = [back_up(&before, "db1"), back_up(&before, "db1")];
    let new = back_up(&after, "db1");
    let outcome = on(&after, "db1", ["show", "latest"]).fails(exit::USAGE);
    assert!(outcome.stderr.contains("pgcellar takeover db1/main"), "{outcome}");
    let (keep, remove) = retained(on(&after, "db1", ["retention"]).env("BACKUP_KEEP_LAST", "1"));
    assert_eq!((keep, remove), (vec![new.clone()], vec![]), "those of the old server stay as they are");
    on(&after, "db1", ["takeover", "db1/main"]).env("DB_PORT", "1").fails(exit::UNAVAILABLE);
    on(&after, "db1", ["takeover", "db1/main"]).succeeds().says("took over 3 backups");
    on(&after, "db1", ["verify", "latest"]).succeeds().says(&new);
    let last = back_up(&after, "db1");
    let (keep, remove) = retained(on(&after, "db1", ["retention"]).env("BACKUP_KEEP_LAST", "1"));
    // The verified backup is kept until a newer one is verified.
    assert_eq!((keep, remove), (vec![new, last], vec![old[0].clone(), old[1].clone()]));
    on(&after, "db1", ["takeover", "db1/main"]).succeeds().says("own already");
}

#[test]
fn a_new_host_takes_over_from_a_lost_one() {
    let (one, other) = (Cluster::shared(Version::V15), Cluster::shared(Version::V17));
    let (first, second) = pair(one, other, "burnt");
    let bucket = Bucket::new();
    let old = straight(&bucket, &first);
    let ids = [back_up(&old, "db1"), back_up(&old, "db1")];
    let new = bucket.copies(Cellar::new(other)).with("DB_NAME", second.name());
    // Only one server has backups here: they can be restored at once.
    on(&new, "db2", ["verify", "latest"]).succeeds().says("the only one that has backups here");
    let outcome = on(&new, "db2", ["takeover"]).succeeds();
    assert!(outcome.stdout.starts_with("db1/main (2 backups"), "{outcome}");
    for nonsense in ["a/b/c", "/", "/main", "db1/"] {
        on(&new, "db2", ["takeover", nonsense]).fails(exit::USAGE).says("is no HOST/INSTANCE");
    }
    let outcome = on(&new, "db2", ["takeover", "db7/main"]).fails(exit::NOINPUT);
    assert!(outcome.stderr.contains("db1/main (2 backups"), "{outcome}");
    on(&new, "db2", ["takeover", "db1/main"]).succeeds().says("took over 2 backups of db1/main");
    on(&new, "db2", ["takeover", "db1/main"]).succeeds().says("own already");
    let own = back_up(&new, "db2");
    on(&new, "db2", ["verify", "latest"]).succeeds().says(&own);
    let all = on(&new, "db2", ["verify", "--all", "--store", "s3", "--json"]).succeeds().json();
    assert_eq!(all.as_array().map(Vec::len), Some(3));
    let (_, remove) = retained(on(&new, "db2", ["retention"]).env("BACKUP_KEEP_LAST", "2"));
    assert_eq!(remove, [ids[0].clone()]);
    // The old host is back: its new backups are its own.
    let late = back_up(&old, "db1");
    assert_eq!(listed(&old, "db1"), [late]);
}

/// A promoted standby, as for a test copy or after the loss of the primary.
fn staging_is_promoted(standby: &Standby) {
    let mut psql = unprivileged("psql");
    psql.args(["-X", "-U", "postgres", "-d", "postgres", "-c", "SELECT pg_promote()"])
        .arg("-h")
        .arg(standby.socket_dir());
    must(psql.arg("-p").arg(standby.port().to_string()));
}

#[test]
fn a_copy_of_a_server_takes_nothing_from_the_original() {
    let cluster = Cluster::start(Version::V15);
    let database = small(&cluster, "copied");
    let bucket = Bucket::new();
    let production = straight(&bucket, &database);
    let ids = [back_up(&production, "db1"), back_up(&production, "db1")];
    let copy = Standby::of(&cluster, &[]);
    let staging =
        straight(&bucket, &database).with("DB_HOST", copy.socket_dir()).with("DB_PORT", copy.port().to_string());
    staging_is_promoted(&copy);
    // Before and after its first backup; under its own name, and under that of the first server.
    let mut made = Vec::new();
    for (host, own) in [("db2", false), ("db1", false), ("db2", true)] {
        made.extend(own.then(|| back_up(&staging, host)));
        let (keep, remove) = retained(on(&staging, host, ["retention"]).env("BACKUP_KEEP_LAST", "1"));
        assert_eq!((&keep, remove), (&made, vec![]), "{host}");
    }
    assert_eq!(listed(&production, "db1"), ids);
    on(&production, "db1", ["verify", "latest"]).succeeds().says(&ids[1]);
    // Each has backups of its own, and no action is needed.
    let found = on(&production, "db1", ["monitor", "check", "--json"]).finish().json();
    assert!(found["findings"].as_array().unwrap().iter().all(|finding| finding["check"] != "mixed_servers"), "{found}");
    // The first one is retired: its backups stay, and the other one is shown how to take them over.
    let outcome = on(&staging, "db3", ["takeover"]).succeeds();
    assert!(outcome.stdout.contains("db1/main (2 backups"), "{outcome}");
    on(&staging, "db2", ["takeover", "db1/main"]).succeeds();
    let (_, remove) = retained(on(&staging, "db2", ["retention"]).env("BACKUP_KEEP_LAST", "1"));
    // The second one was verified most recently.
    assert_eq!(remove, ids[..1]);
}
