//! Fingerprints: taken from every format during the dump, equal for the database and its restored copy, and different
//! after any change.

use serde_json::Value;

use crate::common::bucket::Bucket;
use crate::common::fingerprints::{self, differences, file, is_complete};
use crate::common::{Cellar, Cluster, Database, Version, everything, exit, keys};

mod random;

/// Objects that `everything` does not have.
const MORE: &str = r#"
    CREATE TABLE public.long_rows AS SELECT n, repeat(md5(n::text), 150000) AS t FROM generate_series(1, 3) n;
    CREATE TABLE public.times (t timestamptz, d date, i interval, m money, f float8, b bytea, c regclass);
    INSERT INTO public.times VALUES ('2024-03-31 02:30:00 Europe/Berlin', '2024-02-29', '1 year -3 days 04:05:06.7', 12.34,
        0.1::float8 + 0.2, '\x00ff5c', 'public.long_rows'), ('infinity', NULL, NULL, -5, 'NaN', '', 'pg_class');
    CREATE TYPE public.mood AS ENUM ('sad', 'ok', 'happy');
    -- A part of the tree is loaded through the root, and another directly.
    CREATE TABLE public.mixed (id int, mood public.mood, extra text) PARTITION BY RANGE (id);
    CREATE TABLE public.mixed_low PARTITION OF public.mixed FOR VALUES FROM (MINVALUE) TO (50);
    CREATE TABLE public.mixed_high PARTITION OF public.mixed FOR VALUES FROM (50) TO (MAXVALUE) PARTITION BY HASH (mood);
    CREATE TABLE public.mixed_high_0 PARTITION OF public.mixed_high FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE public.mixed_high_1 PARTITION OF public.mixed_high FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    INSERT INTO public.mixed SELECT n, (enum_range(NULL::public.mood))[1 + n % 3], 'row ' || n FROM generate_series(1, 100) n;
"#;

fn rich<'a>(cluster: &'a Cluster, purpose: &str) -> Database<'a> {
    let database = everything::database(cluster, purpose);
    database.sql(MORE);
    // None of these settings may change the fingerprints.
    for setting in [
        "TimeZone = 'Asia/Kathmandu'",
        "bytea_output = 'escape'",
        "DateStyle = 'German'",
        "IntervalStyle = 'iso_8601'",
        "extra_float_digits = -3",
        "quote_all_identifiers = on",
    ] {
        database.sql(&format!("ALTER DATABASE {} SET {setting}", database.name()));
    }
    database
}

fn every_format(version: Version) {
    let cluster = Cluster::shared(version);
    let original = rich(cluster, "prints");
    let mut of_formats: Vec<(String, String)> = Vec::new();
    for (format, compression, encrypted) in [
        ("custom", "gzip", true),
        ("custom", "zstd", false),
        ("directory", "gzip", false),
        ("directory", "none", true),
        ("tar", "gzip", false),
    ] {
        let what = format!("{format} {compression} {encrypted} on {version:?}");
        let mut cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format).with("BACKUP_COMPRESSION", compression);
        let key = keys::age(cellar.scratch(), "key");
        if encrypted {
            cellar =
                cellar.with("BACKUP_AGE_RECIPIENTS", &key.recipient).with("BACKUP_AGE_IDENTITY_FILE", &key.identity);
        }
        let manifest = cellar.back_up(original.name());
        let id = manifest["id"].as_str().unwrap();
        let fingerprints = fingerprints::read(&cellar.backup_dir(), &manifest, encrypted.then_some(&key));
        let tables = fingerprints.tables.iter().map(|table| format!("{table:?}\n")).collect::<String>();
        of_formats
            .push((what.clone(), format!("{tables}{:?}{:?}", fingerprints.sequences, fingerprints.large_objects)));
        if of_formats.len() == 1 {
            is_complete(&original, &fingerprints);
            assert_eq!(differences(&original, &fingerprints), [""; 0], "{what}");
            let by_enum = fingerprints.tables.iter().find(|table| table.target.to_string() == "app.by_enum").unwrap();
            assert_eq!((by_enum.partitions.len(), by_enum.sum.rows), (2, 60));
            let mixed = fingerprints.tables.iter().find(|table| table.target.to_string() == "public.mixed").unwrap();
            assert_eq!((mixed.partitions.len(), mixed.sum.rows), (2, 51));
            cellar.run(["verify", id]).succeeds();
            let restored = cluster.database(&cluster.name_for("restored"));
            cellar.run(["restore", id, "--target-database", restored.name()]).succeeds();
            assert_eq!(differences(&restored, &fingerprints), [""; 0], "{what}, restored");
        }
    }
    let (first, expected) = of_formats.first().unwrap();
    for (what, found) in &of_formats {
        assert!(found == expected, "{what} is not like {first}:\n{found}\n{expected}");
    }
}

#[test]
fn every_format_on_15() {
    every_format(Version::V15);
}

#[test]
fn every_format_on_17() {
    every_format(Version::V17);
}

#[test]
fn every_format_on_19() {
    every_format(Version::V19);
}

#[test]
fn rows_loaded_through_the_partition_root() {
    let cluster = Cluster::shared(Version::V15);
    let original = rich(cluster, "through_root");
    let cellar = Cellar::new(cluster).with("BACKUP_DUMP_OPTIONS", "--load-via-partition-root --extra-float-digits=0");
    let manifest = cellar.back_up(original.name());
    let fingerprints = fingerprints::read(&cellar.backup_dir(), &manifest, None);
    assert_eq!(differences(&original, &fingerprints), [""; 0]);
    assert_eq!(fingerprints.settings["extra_float_digits"], "0");
    // The attached partition has its columns in another order, and comes first.
    let targets = fingerprints.tables.iter().filter(|table| table.target.to_string() == "app.by_range");
    let columns: Vec<String> = targets.map(|table| table.columns.to_string()).collect();
    assert_eq!(columns, ["(colour, day, id)"]);
}

/// The values of an enum are hashed by their OIDs, which differ between databases: rows move between partitions.
#[test]
fn rows_may_change_places_between_partitions_with_other_orders_of_columns() {
    let cluster = Cluster::shared(Version::V15);
    let original = cluster.create("turned");
    let hues: Vec<String> = (0..20).map(|n| format!("'hue {n}'")).collect();
    original.sql(&format!(
        "CREATE TYPE hue AS ENUM ({}); \
         CREATE TABLE turned (id int, hue hue, note text) PARTITION BY HASH (hue); \
         CREATE TABLE turned_0 PARTITION OF turned FOR VALUES WITH (MODULUS 2, REMAINDER 0); \
         CREATE TABLE turned_1 (note text, gone int, id int, hue hue); ALTER TABLE turned_1 DROP COLUMN gone; \
         ALTER TABLE turned ATTACH PARTITION turned_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1); \
         INSERT INTO turned SELECT n, (enum_range(NULL::hue))[1 + n % 20], \
         CASE n % 4 WHEN 0 THEN NULL WHEN 1 THEN E'a\\tb\\n\\\\.' WHEN 2 THEN '' ELSE 'note ' || n END \
         FROM generate_series(1, 500) n",
        hues.join(", ")
    ));
    for format in ["custom", "directory", "tar"] {
        let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format);
        let fingerprints = fingerprints::read(&cellar.backup_dir(), &cellar.back_up(original.name()), None);
        assert_eq!((fingerprints.tables.len(), fingerprints.tables[0].sum.rows), (1, 500), "{format}");
        assert_eq!(differences(&original, &fingerprints), [""; 0], "{format}");
        let restored = cluster.database(&cluster.name_for("turned"));
        cellar.run(["restore", "latest", "--target-database", restored.name()]).succeeds();
        let hues = "SELECT string_agg(DISTINCT hue::text, ', ') FROM ONLY turned_1";
        assert_ne!(restored.sql(hues), original.sql(hues), "no row has changed places");
        restored.sql("UPDATE turned SET note = 'x' WHERE id = 77");
        assert_eq!(differences(&restored, &fingerprints).len(), 1, "{format}");
    }
}

#[test]
fn every_change_is_detected() {
    let cluster = Cluster::shared(Version::V15);
    let original = rich(cluster, "changed");
    let cellar = Cellar::new(cluster);
    let fingerprints = fingerprints::read(&cellar.backup_dir(), &cellar.back_up(original.name()), None);
    for (change, seen) in [
        ("UPDATE public.long_rows SET t = overlay(t placing 'X' from 2000000) WHERE n = 2", "public.long_rows: "),
        ("DELETE FROM app.egg WHERE id = 2", "app.egg: Sum { rows: 1,"),
        ("INSERT INTO app.without_columns DEFAULT VALUES", "app.without_columns: Sum { rows: 3,"),
        ("UPDATE app.by_enum SET id = 1000 WHERE id = 3", "app.by_enum: "),
        ("UPDATE public.mixed SET extra = 'another' WHERE id = 99", "public.mixed: "),
        ("UPDATE app.tree SET parent = NULL WHERE id = 4", "app.tree: "),
        ("SELECT setval('app.called_once', 2)", "app.called_once: 2 true instead of 1 true"),
        ("SELECT lo_put(max(oid), 0, 'X') FROM pg_largeobject_metadata", "large objects "),
        ("SELECT lo_unlink(min(oid)) FROM pg_largeobject_metadata", "large objects "),
    ] {
        // The changes are made in a copy.
        let copy = cluster.name_for("copy");
        cluster.sql("postgres", &format!("CREATE DATABASE {copy} TEMPLATE {}", original.name()));
        let copy = cluster.database(&copy);
        let publications = "SELECT string_agg(format('DROP PUBLICATION %I', pubname), '; ') FROM pg_publication";
        copy.sql(&copy.sql(publications));
        copy.sql(&format!("SET session_replication_role = replica; {change}"));
        let found = differences(&copy, &fingerprints);
        assert_eq!(found.len(), 1, "{change}: {found:?}");
        assert!(found[0].contains(seen), "{change}: {found:?}");
        cluster.sql("postgres", &format!("DROP DATABASE {}", copy.name()));
    }
}

#[test]
fn a_script_has_no_fingerprints() {
    let cluster = Cluster::shared(Version::V15);
    let original = cluster.create("script");
    let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", "plain");
    let manifest = cellar.back_up(original.name());
    assert_eq!(file(&manifest), None);
    assert_eq!(manifest["warnings"].as_array().map(Vec::len), Some(0));
}

fn stored(manifest: &Value, role: &str) -> String {
    let files = manifest["files"].as_array().unwrap();
    files.iter().find(|file| file["role"] == role).unwrap()["key"].as_str().unwrap().to_owned()
}

#[test]
fn damaged_and_missing_fingerprint_files_are_found() {
    let cluster = Cluster::shared(Version::V15);
    let original = cluster.create("damaged_prints");
    original.sql("CREATE TABLE t AS SELECT 1 AS n");
    let cellar = Cellar::new(cluster).with("BACKUP_COMPRESSION", "none");
    let manifest = cellar.back_up(original.name());
    let id = manifest["id"].as_str().unwrap();
    let path = cellar.backup_dir().join(stored(&manifest, "fingerprints"));
    assert!(path.to_str().unwrap().ends_with(&format!("/{id}.fingerprints.json")));
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, whole.replacen("\"rows\":1", "\"rows\":2", 1)).unwrap();
    cellar.run(["verify", id]).fails(exit::DATAERR).says(".fingerprints.json: the SHA-256 of the");
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    cellar.run(["verify", id]).fails(exit::DATAERR).says(".fingerprints.json");
    assert_eq!(cellar.list()[0]["status"], "damaged");
    std::fs::write(&path, &whole).unwrap();
    cellar.run(["verify", id]).succeeds();
    assert_eq!(cellar.list()[0]["status"], "verified");
    std::fs::remove_file(&path).unwrap();
    cellar.run(["verify", id]).fails(exit::DATAERR).says(".fingerprints.json: is missing");
    // A script is not an archive.
    std::fs::write(&path, &whole).unwrap();
    let path = path.to_str().unwrap();
    cellar.run(["restore", path, "--target-database", "x"]).fails(exit::USAGE).says("has the fingerprints of");
}

#[test]
fn fingerprints_are_copied_and_removed_with_their_backup() {
    let cluster = Cluster::shared(Version::V15);
    let original = cluster.create("prints_copied");
    original.sql("CREATE TABLE t AS SELECT 1 AS n");
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::new(cluster));
    let ids: Vec<String> = (0..2).map(|_| cellar.back_up(original.name())["id"].as_str().unwrap().to_owned()).collect();
    let has = |id: &String| {
        let name = format!("{id}.fingerprints.json.gz");
        (cellar.backup_dir().join(&name).exists(), bucket.keys().contains(&name))
    };
    assert_eq!([has(&ids[0]), has(&ids[1])], [(true, true), (true, true)]);
    cellar.run(["verify", &ids[1], "--store", "s3"]).succeeds();
    cellar.run(["retention", "--keep-last", "1"]).succeeds();
    assert_eq!([has(&ids[0]), has(&ids[1])], [(false, false), (true, true)]);
}

#[test]
fn show_counts_the_rows() {
    let cluster = Cluster::shared(Version::V15);
    let original = rich(cluster, "shown");
    let cellar = Cellar::new(cluster);
    let key = keys::age(cellar.scratch(), "key");
    let cellar = cellar.with("BACKUP_AGE_RECIPIENTS", &key.recipient).with("BACKUP_AGE_IDENTITY_FILE", &key.identity);
    let manifest = cellar.back_up(original.name());
    let id = manifest["id"].as_str().unwrap();
    cellar.run(["verify", id]).succeeds();
    cellar.run(["pin", id, "--reason", "before the move"]).succeeds();
    let fingerprints = fingerprints::read(&cellar.backup_dir(), &manifest, Some(&key));

    // No server is asked.
    let text = cellar.run(["show"]).env("DB_PORT", "1").env("DB_NAME", original.name()).succeeds().stdout;
    for line in [
        "\ntable              \"app\".\"by_hash_0\"  31 rows, 1.06 KiB\n",
        "\ntable              \"app\".\"empty\"  0 rows, 0 B\n",
        "\ntable              \"app\".\"by_enum_0\"  rows, counted with those of app.by_enum\n",
        "\ntable              \"app\".\"by_enum\"  60 rows, ",
        "\napp.set_not_called  41 (not called yet)\n",
        "\napp.called_once  1\n",
        ": before the move\n",
        "\nstatus         verified, in local\n",
        "\nroles needed ",
        "\"cellar_reader\"",
        "\"hstore\" ",
        ".fingerprints.json.gz.age, ",
    ] {
        assert!(text.contains(line), "{line:?} is not in:\n{text}");
    }

    let shown = cellar.run(["show", id, "--json"]).env("DB_PORT", "1").succeeds().json();
    assert_eq!(
        (&shown["id"], &shown["status"], &shown["store"]),
        (&manifest["id"], &"verified".into(), &"local".into())
    );
    assert_eq!(shown["properties"]["encoding"], manifest["properties"]["encoding"]);
    assert_eq!((&shown["properties"]["owner"], &manifest["properties"]["owner"]), (&"postgres".into(), &"".into()));
    let tables = shown["tables"].as_array().unwrap();
    let rows: u64 = tables.iter().filter_map(|table| table["rows"].as_u64()).sum();
    assert_eq!(rows, fingerprints.tables.iter().map(|table| table.sum.rows).sum::<u64>());
    let long = tables.iter().find(|table| table["name"] == "\"public\".\"long_rows\"").unwrap();
    assert_eq!((&long["kind"], &long["rows"], &long["bytes"]), (&"table".into(), &3.into(), &14_400_006.into()));
    assert_eq!(shown["sequences"].as_array().unwrap().len(), fingerprints.sequences.len());
    assert_eq!(shown["large_objects"]["bytes"], fingerprints.large_objects.all().bytes);
    assert!(shown["needs"]["roles"].as_array().unwrap().contains(&"cellar_reader".into()));

    let closed = cellar.run(["show", id]).without("BACKUP_AGE_IDENTITY_FILE").succeeds().stdout;
    assert!(closed.contains("private key") && !closed.contains("TABLES"), "{closed}");
    cellar.run(["show", "nothing"]).fails(exit::NOINPUT);
}

#[test]
fn show_without_fingerprints_has_no_rows() {
    let cluster = Cluster::shared(Version::V15);
    let original = cluster.create("shown_script");
    original.sql("CREATE TABLE t AS SELECT 1 AS n; CREATE SEQUENCE s");
    let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", "plain");
    let manifest = cellar.back_up(original.name());
    let text = cellar.run(["show"]).succeeds().stdout;
    assert!(text.contains("\"public\".\"t\"  rows\n"), "{text}");
    assert!(text.contains("fingerprints   none: "), "{text}");
    let shown = cellar.run(["show", "--json"]).succeeds().json();
    assert_eq!(shown["tables"][0]["rows"], Value::Null);
    assert_eq!(shown["sequences"], Value::Null);
    // The archive of another tool.
    let copy = cellar.scratch().join("dump.sql.gz");
    std::fs::copy(cellar.backup_dir().join(stored(&manifest, "archive")), &copy).unwrap();
    let copy = copy.to_str().unwrap();
    let shown = cellar.run(["show", copy, "--json"]).succeeds().json();
    assert_eq!((&shown["file"], &shown["tables"][0]["has_rows"]), (&copy.into(), &true.into()));
    assert!(cellar.run(["show", copy]).succeeds().stdout.contains("\"public\".\"t\"  rows\n"));
}
