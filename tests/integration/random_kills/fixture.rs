//! The fixture of all kills: a database of some size, its backups, and the time that each shape takes undisturbed.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use super::scenario;
use super::shapes::{SHAPES, Shape, Verb};
use crate::common::dumps::{pg_dump, piped};
use crate::common::keys::Key;
use crate::common::process::{must, new_folder, plain};
use crate::common::{Cellar, Cluster, Database, Version};

/// Rows that pg_dump reads slowly, large rows, many tables, large objects, and objects restored after the rows.
const LARGE: &str = "CREATE TABLE slow AS SELECT n, n * 1.000001 AS f, n::numeric / 7 AS q, now() + n * interval '1 s' AS at, \
       ARRAY[n, n + 1, n + 2] AS a, md5(n::text) AS label FROM generate_series(1, 90000) n; \
     ALTER TABLE slow ADD PRIMARY KEY (n); CREATE INDEX slow_by_label ON slow (label); \
     CREATE TABLE wide (n int PRIMARY KEY, slow int REFERENCES slow, body text); \
     ALTER TABLE wide ALTER body SET STORAGE EXTERNAL; \
     INSERT INTO wide SELECT n, n, string_agg(md5((n * 1000 + i)::text), '') \
       FROM generate_series(1, 420) n, generate_series(1, 2000) i GROUP BY n; \
     DO $$ BEGIN FOR i IN 1..60 LOOP EXECUTE format('CREATE TABLE t%s (id serial PRIMARY KEY, note text)', i); \
       EXECUTE format('INSERT INTO t%s (note) SELECT md5(n::text) FROM generate_series(1, %s) n', i, i); END LOOP; END $$; \
     CREATE MATERIALIZED VIEW labels AS SELECT substr(label, 1, 2) AS start, count(*) AS n FROM slow GROUP BY 1; \
     SELECT count(lo_from_bytea(0, decode(repeat(md5(n::text), 2000 * n), 'hex'))) FROM generate_series(1, 20) n; \
     CREATE TABLE few (n int)";

/// The minimum size of the large database, in bytes.
const SIZE: u64 = 50 << 20;

pub struct Fixture {
    pub cluster: &'static Cluster,
    /// The database that is backed up and restored.
    pub large: Database<'static>,
    /// A database that takes no time.
    pub small: Database<'static>,
    pub key: Key,
    /// Hash of the large database's dump as a script.
    pub script: String,
    /// The contents of a database restored from it, by [`contents`].
    pub contents: String,
    /// Backups of the two, by database, format, compression and encryption.
    templates: Mutex<HashMap<String, Arc<OnceLock<Cellar>>>>,
    usual: Vec<OnceLock<Duration>>,
}

impl Fixture {
    pub fn new(key: Key) -> Fixture {
        let cluster = Cluster::shared(Version::V15);
        let (large, small) = (cluster.create("large"), cluster.create("small"));
        large.sql(LARGE);
        small.sql("CREATE TABLE wine AS SELECT n, md5(n::text) AS label FROM generate_series(1, 100) n");
        let bytes: u64 = large.sql("SELECT pg_database_size(current_database())").parse().unwrap();
        assert!(bytes >= SIZE, "the large database has {bytes} bytes");
        let folder = new_folder();
        let script = folder.path().join("script");
        piped(&pg_dump(&large, &["--format=plain"]), "cat", &script);
        Fixture {
            cluster,
            script: script_hash(&format!("cat '{}'", script.display())),
            contents: contents(&large),
            large,
            small,
            key,
            templates: Mutex::default(),
            usual: SHAPES.iter().map(|_| OnceLock::new()).collect(),
        }
    }

    /// How long an undisturbed run of a shape takes. The first call runs one, which must be right.
    pub fn usual(&self, at: usize) -> Duration {
        *self.usual[at].get_or_init(|| {
            let scenario = scenario::prepare(self, &SHAPES[at]);
            let begun = Instant::now();
            scenario.run().succeeds();
            let took = begun.elapsed();
            scenario.must_be_whole();
            took
        })
    }

    /// Settings that back up a database as this shape does.
    pub fn settings(&self, cellar: Cellar, shape: &Shape) -> Cellar {
        let cellar = cellar
            .with("BACKUP_FORMAT", shape.format)
            .with("BACKUP_COMPRESSION", shape.compression)
            .with("BACKUP_JOBS", shape.jobs)
            .with("BACKUP_AGE_IDENTITY_FILE", &self.key.identity);
        let cellar = match shape.compression {
            "none" => cellar,
            _ => cellar.with("BACKUP_COMPRESSION_LEVEL", "1"),
        };
        match shape.encrypted {
            true => cellar.with("BACKUP_AGE_RECIPIENTS", &self.key.recipient),
            false => cellar,
        }
    }

    /// Adds a backup of this database to a folder, with the shape's options, or a dump of another tool.
    pub fn lay_backup(&self, database: &Database<'_>, shape: &Shape, folder: &Path) {
        let name = format!("{} {} {} {}", database.name(), shape.format, shape.compression, shape.encrypted);
        let is_adopted = shape.verb == Verb::Adopt && database.name() == self.large.name();
        let name = if is_adopted { "dump".to_owned() } else { name };
        let template = Arc::clone(self.templates.lock().unwrap().entry(name).or_default());
        let template = template.get_or_init(|| {
            let cellar = self.settings(Cellar::new(self.cluster), shape).with("BACKUP_STAGING_DIR", "/dev/shm");
            match is_adopted {
                true => piped(&pg_dump(database, &["-Fc", "-Z1"]), "cat", &cellar.backup_dir().join(self.dump())),
                false => drop(cellar.back_up(database.name())),
            }
            cellar
        });
        must(plain("cp").arg("-a").arg(format!("{}/.", template.backup_dir().display())).arg(folder));
    }

    /// Name of the dump that is to be adopted.
    pub fn dump(&self) -> String {
        format!("{}_20240102_030405.dump", self.large.name())
    }
}

/// Hash of the script that a shell command writes, without the parts that differ between dumps: comments, and the key
/// of `\restrict`.
pub fn script_hash(command: &str) -> String {
    let filter = r"grep -av -e '^--' -e '^\\restrict' -e '^\\unrestrict'";
    let sum = must(plain("bash").args(["-c", &format!("set -o pipefail; {command} | {filter} | sha256sum")]));
    sum.split(' ').next().unwrap().to_owned()
}

/// The contents of a database: the rows of each table and view, large objects, sequences, indexes and constraints.
pub fn contents(database: &Database<'_>) -> String {
    let relations = "SELECT string_agg(format('SELECT %L || count(*) || '' '' || coalesce(sum(hashtextextended(r::text, 0)::numeric), 0) \
       FROM %s r', relname || ' ', oid::regclass), ' UNION ALL ' ORDER BY relname) \
       FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'm')";
    let rows = database.sql(&database.sql(relations));
    let rest = "SELECT 'lo ' || loid || ' ' || md5(string_agg(data, '' ORDER BY pageno)) FROM pg_largeobject GROUP BY loid \
       UNION ALL SELECT 'index ' || indexrelid::regclass || ' ' || indisvalid FROM pg_index \
         JOIN pg_class ON pg_class.oid = indexrelid WHERE relnamespace = 'public'::regnamespace \
       UNION ALL SELECT 'constraint ' || conname || ' ' || convalidated FROM pg_constraint \
         WHERE connamespace = 'public'::regnamespace \
       UNION ALL SELECT 'sequence ' || sequencename || ' ' || last_value FROM pg_sequences ORDER BY 1";
    // Parallel workers answer in any order.
    let rest = database.sql(rest);
    let mut lines: Vec<&str> = rows.lines().chain(rest.lines()).collect();
    lines.sort_unstable();
    lines.join("\n")
}
