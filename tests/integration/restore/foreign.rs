//! Restores of files of other tools, by path: their contents are restored, and files that are unsuitable for one
//! database are refused before the start.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::common::compare::{self, Contents, assert_same};
use crate::common::dumps::{pg_dump, piped, small};
use crate::common::process::{must, plain};
use crate::common::{Cellar, Cluster, Database, Version, everything, exit, keys, tree};

/// The database that the tests on PostgreSQL 15 dump. None of them changes it.
fn original() -> (&'static Database<'static>, &'static Contents) {
    static ORIGINAL: OnceLock<(Database<'static>, Contents)> = OnceLock::new();
    let (database, contents) = ORIGINAL.get_or_init(|| {
        let database = everything::database(Cluster::shared(Version::V15), "foreign");
        let contents = compare::contents(&database);
        (database, contents)
    });
    (database, contents)
}

fn restored<'a>(cellar: &Cellar, cluster: &'a Cluster, path: &Path) -> Database<'a> {
    let target = cluster.name_for("back");
    let run = cellar.run(["restore".as_ref(), path.as_os_str()]).arguments(["--target-database", &target]);
    let outcome = run.succeeds();
    assert!(!outcome.stderr.contains("cannot be parsed"), "{outcome}");
    cluster.database(&target)
}

/// The run must fail with this exit code and these words, and create no database.
#[track_caller]
fn refused(cellar: &Cellar, cluster: &Cluster, path: &Path, code: i32, words: &str) {
    let target = cluster.name_for("never");
    let run = cellar.run(["restore".as_ref(), path.as_os_str()]).arguments(["--target-database", &target]);
    let outcome = run.fails(code).says(words);
    assert_eq!(outcome.stderr.lines().filter(|line| line.contains("error")).count(), 1, "one sentence: {outcome}");
    let left = format!("SELECT count(*) FROM pg_database WHERE starts_with(datname, '{target}')");
    assert_eq!(cluster.sql("postgres", &left), "0", "{outcome}");
}

fn without_properties(contents: &Contents) -> Contents {
    contents.iter().filter(|(part, _)| !part.starts_with("property: ")).map(|(a, b)| (a.clone(), b.clone())).collect()
}

/// The complete database, with any file name.
fn comes_back(arguments: &[&str], filter: &str, name: &str) {
    let (original, expected) = original();
    let cellar = Cellar::new(original.cluster());
    let path = cellar.scratch().join(name);
    piped(&pg_dump(original, arguments), filter, &path);
    let found = compare::contents(&restored(&cellar, original.cluster(), &path));
    let differences = match arguments.contains(&"-Fp") {
        // A script has no properties of the database.
        true => compare::differences(&without_properties(expected), &without_properties(&found)),
        false => compare::differences(expected, &found),
    };
    assert!(differences.is_empty(), "{arguments:?} {name}:\n{}", differences.join("\n"));
}

#[test]
fn a_custom_archive_in_gzip() {
    comes_back(&["-Fc", "-Z0"], "gzip", "backup_file.dump.gz");
}

#[test]
fn a_tar_archive_under_a_scripts_name() {
    comes_back(&["-Ft"], "xz -0", "backup_file.sql.gz");
}

#[test]
fn a_script_under_an_archives_name() {
    comes_back(&["-Fp"], "zstd -q", "backup_file.dump");
}

#[test]
fn a_directory_and_a_directory_without_compression() {
    let (original, expected) = original();
    for level in ["-Z9", "-Z0"] {
        let cellar = Cellar::new(original.cluster());
        let folder = cellar.scratch().join("some.sql");
        must(pg_dump(original, &["-Fd", "-j2", level, "-f"]).arg(&folder));
        // The folder, or its table of contents.
        let path = if level == "-Z9" { folder } else { folder.join("toc.dat") };
        let found = compare::contents(&restored(&cellar, original.cluster(), &path));
        let differences = compare::differences(expected, &found);
        assert!(differences.is_empty(), "{level}:\n{}", differences.join("\n"));
    }
}

#[test]
fn every_packing_whatever_the_name() {
    for version in [Version::V15, Version::V17] {
        if !version.is_covered() {
            continue;
        }
        let cluster = Cluster::shared(version);
        let original = small(cluster, "packings");
        let cellar = Cellar::new(cluster);
        let key = keys::age(cellar.scratch(), "key");
        let age = format!("age -r {}", key.recipient);
        let cellar = cellar.with("BACKUP_AGE_IDENTITY_FILE", &key.identity);
        let mut cases: Vec<(&[&str], String)> = vec![
            (&["-Fc"], "cat".to_owned()),
            (&["-Fc", "-Z9"], "bzip2".to_owned()),
            (&["-Fc", "-Z1"], format!("gzip | {age}")),
            (&["-Ft"], "cat".to_owned()),
            (&["-Ft"], age.clone()),
            (&["-Fp"], "cat".to_owned()),
            (&["-Fp", "--inserts"], "gzip".to_owned()),
            (&["-Fp", "--clean", "--if-exists"], format!("xz -0 | {age}")),
        ];
        if version == Version::V17 {
            cases.push((&["-Fc", "--compress=lz4"], "gzip".to_owned()));
            cases.push((&["-Fc", "--compress=zstd:5"], "cat".to_owned()));
        }
        for (at, (arguments, filter)) in cases.iter().enumerate() {
            let names = ["x.sql", "x.dump.gz", "x.tar", "x"];
            let path = cellar.scratch().join(names[at % names.len()]);
            piped(&pg_dump(&original, arguments), filter, &path);
            let back = restored(&cellar, cluster, &path);
            let query = "SELECT count(*), sum(n), max(lo_get(oid)::text) FROM wine, pg_largeobject_metadata";
            assert_eq!(back.sql(query), original.sql(query), "{arguments:?} {filter}");
        }
        let packed = if version == Version::V17 { vec!["gzip", "lz4", "zstd"] } else { vec!["5"] };
        for compression in packed {
            let folder = cellar.scratch().join(format!("folder_{compression}"));
            must(pg_dump(&original, &["-Fd", "-Z", compression, "-f"]).arg(&folder));
            assert_same(&original, &restored(&cellar, cluster, &folder));
        }
    }
}

/// Every property that an archive has an entry for.
const PROPERTIES: &str = r#"
ALTER DATABASE "It's ""a"" d" CONNECTION LIMIT 7;
ALTER DATABASE "It's ""a"" d" SET search_path TO "$user", "My ""x""", public;
ALTER DATABASE "It's ""a"" d" SET my.text TO E'a\\b''c, d';
ALTER DATABASE "It's ""a"" d" SET default_transaction_read_only TO on;
ALTER ROLE foreign_reader IN DATABASE "It's ""a"" d" SET work_mem = '8MB';
COMMENT ON DATABASE "It's ""a"" d" IS E'it''s \\ a; comment';
REVOKE TEMP ON DATABASE "It's ""a"" d" FROM public;
REVOKE CREATE ON DATABASE "It's ""a"" d" FROM "foreign owner";
GRANT CONNECT ON DATABASE "It's ""a"" d" TO foreign_reader WITH GRANT OPTION;
SET SESSION AUTHORIZATION foreign_reader;
GRANT CONNECT ON DATABASE "It's ""a"" d" TO foreign_other;
"#;

#[test]
fn properties_come_from_the_archives_own_entries() {
    for (version, locale) in [
        (Version::V15, "LOCALE_PROVIDER icu ICU_LOCALE 'de-DE' LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'"),
        (Version::V15, "ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C'"),
        (Version::V17, "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C.UTF-8'"),
        (Version::V17, "LOCALE_PROVIDER icu ICU_LOCALE 'und' ICU_RULES '&V << w' LOCALE 'C'"),
    ] {
        if !version.is_covered() {
            continue;
        }
        let cluster = Cluster::start(version);
        cluster.sql("postgres", "CREATE ROLE \"foreign owner\"; CREATE ROLE foreign_reader; CREATE ROLE foreign_other");
        let create = format!(
            "CREATE DATABASE \"It's \"\"a\"\" d\" OWNER \"foreign owner\" TEMPLATE template0 {locale} IS_TEMPLATE true"
        );
        cluster.sql("postgres", &create);
        let original = cluster.database("It's \"a\" d");
        // Named like the entry of the database.
        original.sql("CREATE SCHEMA \"DATABASE x\"");
        cluster.sql("postgres", PROPERTIES);
        let cellar = Cellar::new(&cluster);
        for format in ["-Fc", "-Ft", "-Fd"] {
            let path = cellar.scratch().join(format);
            must(pg_dump(&original, &[format, "-f"]).arg(&path));
            assert_same(&original, &restored(&cellar, &cluster, &path));
        }
        // Without the entries, and without privileges.
        let path = cellar.scratch().join("bare");
        must(pg_dump(&original, &["-Fc", "-x", "-f"]).arg(&path));
        let bare = restored(&cellar, &cluster, &path);
        let query = "SELECT datacl IS NULL, datconnlimit FROM pg_database WHERE datname = current_database()";
        assert_eq!(bare.sql(query), "t|7");
    }
}

const END: &str = "\n--\n-- PostgreSQL database dump complete\n--\n\n";

#[test]
fn scripts_that_do_more_than_fill_a_database_are_refused() {
    let cluster = Cluster::shared(Version::V15);
    let cellar = Cellar::new(cluster);
    let live = small(cluster, "live");
    let before = compare::contents(&live);
    let name = live.name();
    let cases = [
        (format!("CREATE TABLE a ();\n\\connect {name}\nDROP TABLE wine;\n{END}"), "\\connect at line 2"),
        (format!("\\c {name}\nDROP TABLE wine;\n{END}"), "\\connect at line 1"),
        (format!("DROP DATABASE {name};\n{END}"), "DROP DATABASE at line 1"),
        (format!("/* x */ drop\n-- x\ndatabase {name};\n{END}"), "DROP DATABASE at line 1"),
        (format!("CREATE DATABASE another;\n{END}"), "CREATE DATABASE at line 1"),
        (format!("ALTER DATABASE {name} CONNECTION LIMIT 0;\n{END}"), "about a database itself at line 1"),
        (
            format!("SELECT 1;\nALTER ROLE postgres CONNECTION LIMIT 0;\n{END}"),
            "roles, tablespaces or settings at line 2",
        ),
        (format!("SELECT 1; \\! touch /tmp/never\n{END}"), "psql command"),
        (format!("\\i /etc/passwd\n{END}"), "psql command"),
        ("CREATE TABLE a (n int);\nCOPY a FROM stdin;\n1\n2\n".to_owned(), "in the middle of the rows of a COPY"),
        ("CREATE TABLE a (n int);\n".to_owned(), "completion line"),
        (format!("SELECT 'open;\n{END}"), "in the middle of a quoted string"),
        ("hello, world\n".to_owned(), "in the middle of a statement"),
    ];
    for (text, words) in &cases {
        let path = cellar.scratch().join("script.sql");
        fs::write(&path, text).unwrap();
        refused(&cellar, cluster, &path, exit::DATAERR, words);
    }
    // A dump by pg_dump --clean --create, which replaces the live database itself.
    for packing in ["cat", "gzip"] {
        let path = cellar.scratch().join("create.sql");
        piped(&pg_dump(&live, &["-C", "-c"]), packing, &path);
        refused(&cellar, cluster, &path, exit::DATAERR, "pg_dump --create");
    }
    assert_eq!(compare::contents(&live), before);
}

#[test]
fn those_words_are_allowed_in_rows_bodies_and_comments() {
    let cluster = Cluster::shared(Version::V15);
    let original = cluster.create("words");
    original.sql(
        r"CREATE TABLE words AS SELECT * FROM (VALUES ('\connect live'), (E'x\n\\connect live'), ('DROP DATABASE live;'), ('\.')) v(w)",
    );
    original.sql(
        "SET check_function_bodies = off; CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'SELECT ''a'';
\\connect live
DROP DATABASE live;'; COMMENT ON FUNCTION f() IS '
DROP DATABASE live;'; CREATE VIEW v AS SELECT '
\\connect live
' AS \"DROP DATABASE live;\"",
    );
    let cellar = Cellar::new(cluster);
    for arguments in [&["-Fp"][..], &["-Fp", "--inserts"]] {
        let path = cellar.scratch().join("words.sql");
        piped(&pg_dump(&original, arguments), "sed '1i-- \\\\connect live\\n-- DROP DATABASE live;'", &path);
        assert_same(&original, &restored(&cellar, cluster, &path));
    }
}

#[test]
fn incomplete_dumps_are_named() {
    let cluster = Cluster::shared(Version::V15);
    let original = small(cluster, "cuts");
    let cellar = Cellar::new(cluster);
    let at = |name: &str| cellar.scratch().join(name);
    let check = |name: &str, words: &str| refused(&cellar, cluster, &at(name), exit::DATAERR, words);

    fs::write(at("empty.dump"), b"").unwrap();
    check("empty.dump", "is not a PostgreSQL dump: it is empty");
    must(plain("bash").env("OUT", at("empty.gz")).args(["-c", "gzip < /dev/null > $OUT"]));
    check("empty.gz", "empty once it is unpacked");
    fs::write(at("random.dump"), [0x9f, 0x3a, 0, 7].repeat(3000)).unwrap();
    check("random.dump", "is not a PostgreSQL dump: it begins with the bytes 9f 3a 00 07");
    fs::create_dir(at("folder")).unwrap();
    check("folder", "a folder without a toc.dat");
    let mut all = cluster.client("pg_dumpall", "postgres");
    piped(all.arg("--globals-only"), "gzip", &at("all.sql.gz"));
    check("all.sql.gz", "pg_dumpall");
    piped(&pg_dump(&original, &[]), "gzip | gzip", &at("twice.gz"));
    check("twice.gz", "compressed twice");
    piped(&pg_dump(&original, &["-Fc"]), "lz4 -q", &at("x.lz4"));
    check("x.lz4", "lz4 -d");

    // Cut in the middle, and by one byte.
    let kinds: [(&[&str], &str, &str); 5] = [
        (&["-Fc", "-Z0"], "cat", "is damaged: at byte"),
        (&["-Fc"], "gzip", "the gzip data ends in the middle"),
        (&["-Ft"], "cat", "the tar archive"),
        (&["-Fp"], "zstd -q", "the zstd data ends in the middle"),
        (&["-Fp"], "cat", "is damaged: the script"),
    ];
    for (arguments, filter, words) in kinds {
        piped(&pg_dump(&original, arguments), filter, &at("cut"));
        let whole = fs::metadata(at("cut")).unwrap().len();
        tree::truncate(&at("cut"), whole - 200);
        check("cut", if arguments == ["-Fp"] && filter == "cat" { "completion line" } else { words });
        tree::truncate(&at("cut"), whole * 2 / 3);
        check("cut", words);
    }
    for level in ["-Z0", "-Z6"] {
        let folder = at(&format!("dir{level}"));
        must(pg_dump(&original, &["-Fd", level, "-f"]).arg(&folder));
        let rows = tree::files(&folder).into_iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
        tree::truncate(&rows, rows.metadata().unwrap().len() / 2);
        check(&format!("dir{level}"), "is damaged");
        fs::remove_file(rows).unwrap();
        check(&format!("dir{level}"), "which it does not have");
    }
    // Byte 6 of an archive is its minor version.
    must(pg_dump(&original, &["-Fc", "-f"]).arg(at("newer")));
    let mut bytes = fs::read(at("newer")).unwrap();
    bytes[6] = 17;
    fs::write(at("newer"), bytes).unwrap();
    check("newer", "version 1.17 of the archive format, of a pg_dump that is newer");
}

#[test]
fn an_archive_that_no_installed_program_reads_names_the_version() {
    if !Version::V17.is_covered() {
        return;
    }
    let newer = small(Cluster::shared(Version::V17), "newer");
    let cluster = Cluster::shared(Version::V15);
    let cellar = Cellar::new(cluster);
    let path = cellar.scratch().join("newer.dump");
    must(pg_dump(&newer, &["-Fc", "-f"]).arg(&path));
    refused(&cellar, cluster, &path, exit::SYSTEM, "cannot read what pg_dump 17 wrote");
    let cellar = cellar.with("PG_BINDIR", Version::V17.bin_dir());
    assert_eq!(restored(&cellar, cluster, &path).sql("SELECT count(*) FROM wine"), "2000");
}

#[test]
fn files_encrypted_by_age_need_a_key() {
    let cluster = Cluster::shared(Version::V15);
    let original = small(cluster, "keys");
    let cellar = Cellar::new(cluster);
    let (key, other) = (keys::age(cellar.scratch(), "key"), keys::ssh(cellar.scratch(), "other", "ed25519"));
    let path = cellar.scratch().join("x.dump");
    piped(&pg_dump(&original, &["-Fc"]), &format!("age -r {}", key.recipient), &path);
    refused(&cellar, cluster, &path, exit::NOPERM, "there is no private key");
    let with = |identity: &Path| Cellar::new(cluster).with("BACKUP_AGE_IDENTITY_FILE", identity);
    refused(&with(&other.identity), cluster, &path, exit::NOPERM, "cannot be decrypted with this private key");
    restored(&with(&key.identity), cluster, &path);
    let size = path.metadata().unwrap().len();
    tree::truncate(&path, size - 1);
    refused(&with(&key.identity), cluster, &path, exit::DATAERR, "is damaged");
    piped(&pg_dump(&original, &["-Fc"]), &format!("age -a -r {}", key.recipient), &path);
    refused(&with(&key.identity), cluster, &path, exit::DATAERR, "armor");
}

#[test]
fn the_target_is_named_by_the_archive_or_the_file() {
    let cluster = Cluster::shared(Version::V15);
    let original = small(cluster, "named");
    let cellar = Cellar::new(cluster);
    // In the backup folder, by its name alone, as with the shell scripts.
    let target = cluster.name_for("shop");
    let script = format!("{target}_20231231_020000.sql.gz");
    piped(&pg_dump(&original, &[]), "gzip", &cellar.backup_dir().join(&script));
    cellar.run(["restore", &script]).succeeds().says("the server's defaults are used");
    assert_eq!(cluster.database(&target).sql("SELECT count(*) FROM wine"), "2000");
    // The database's name in the archive overrides the file's, and such a database exists.
    let archive = cellar.backup_dir().join("other_20231231_020000.dump");
    must(pg_dump(&original, &["-Fc", "-f"]).arg(&archive));
    cellar.run(["restore", "other_20231231_020000.dump"]).fails(exit::CANTCREAT).says(original.name());
    let bare = cellar.scratch().join("dump.sql");
    must(pg_dump(&original, &["-f"]).arg(&bare));
    cellar.run(["restore".as_ref(), bare.as_os_str()]).fails(exit::USAGE).says("--target-database");
    cellar.run(["restore", "/nowhere/x.dump"]).fails(exit::NOINPUT).says("/nowhere/x.dump");
    cellar.run(["restore", "nowhere.dump"]).fails(exit::NOINPUT).says("there is no backup");
    cellar.run(["restore", "/dev/zero"]).fails(exit::USAGE).says("neither a file nor a folder");
    let path = archive.to_str().unwrap();
    cellar.run(["restore", path, "--database", "x"]).fails(exit::USAGE).says("--target-database");
    cellar.run(["restore", path, "--globals", "--target-database", "never"]).fails(exit::USAGE).says("no manifest");
}

#[test]
fn a_file_of_a_backup_stands_for_the_backup() {
    let cluster = Cluster::shared(Version::V15);
    let original = small(cluster, "own");
    cluster.sql("postgres", &format!("COMMENT ON DATABASE {} IS 'ours'", original.name()));
    let ours = Cellar::unconnected();
    let key = keys::age(ours.scratch(), "key");
    for format in ["plain", "directory"] {
        let cellar = Cellar::new(cluster)
            .with("BACKUP_FORMAT", format)
            .with("BACKUP_AGE_RECIPIENTS", &key.recipient)
            .with("BACKUP_AGE_IDENTITY_FILE", &key.identity);
        let manifest = cellar.back_up(original.name());
        let file = |role: &str| -> PathBuf {
            let files = manifest["files"].as_array().unwrap();
            let of_role = files.iter().filter(|file| file["role"] == role);
            let key = of_role
                .map(|file| file["key"].as_str().unwrap())
                .find(|key| !key.contains('/') || key.ends_with("toc.dat.age"));
            cellar.backup_dir().join(key.unwrap())
        };
        // The comment is in the manifest, not in the script.
        assert_same(&original, &restored(&cellar, cluster, &file("archive")));
        refused(&cellar, cluster, &file("globals"), exit::USAGE, "--globals");
        // Without its manifest it is an ordinary file.
        let id = manifest["id"].as_str().unwrap();
        fs::remove_file(cellar.backup_dir().join(format!("{id}.manifest.json"))).unwrap();
        let back = restored(&cellar, cluster, &file("archive"));
        let comment =
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()";
        assert_eq!(back.sql(comment), if format == "plain" { "" } else { "ours" });
        assert_eq!(back.sql("SELECT count(*) FROM wine"), "2000");
    }
    fs::remove_file(key.identity).unwrap();
}

#[test]
fn only_a_dump_with_rows_replaces_a_database() {
    let cluster = Cluster::shared(Version::V15);
    let live = small(cluster, "replaced");
    let cellar = Cellar::new(cluster);
    let path = cellar.scratch().join("x.dump");
    let before = compare::contents(&live);
    let restore = || cellar.run(["restore".as_ref(), path.as_os_str(), "--force".as_ref()]);
    must(pg_dump(&live, &["-Fc", "-s", "-f"]).arg(&path));
    restore().fails(exit::USAGE).says("no rows");
    // A truncated one is detected before a database is created.
    must(pg_dump(&live, &["-Fc", "-f"]).arg(&path));
    tree::truncate(&path, path.metadata().unwrap().len() - 1);
    restore().fails(exit::DATAERR).says("is damaged");
    assert_eq!(compare::contents(&live), before);
    must(pg_dump(&live, &["-Fc", "-f"]).arg(&path));
    live.sql("DROP TABLE wine");
    restore().succeeds();
    assert_eq!(compare::contents(&live), before);
    let kept = format!("SELECT count(*) FROM pg_database WHERE starts_with(datname, '{}_replaced_')", live.name());
    assert_eq!(cluster.sql("postgres", &kept), "1");
}
