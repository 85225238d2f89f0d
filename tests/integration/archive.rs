//! The archive reader and the script scanner, compared with real pg_dump, pg_restore and psql.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use pgcellar::postgres::archive::{self, ArchiveCompression, ArchiveFormat, Contents, Malformed, Rechunker, TarReader};
use pgcellar::postgres::script::{Script, ScriptScanner, ServerWide};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::common::process::{must, new_folder, plain};
use crate::common::{Cluster, Version};

/// A cluster, and a folder for the files of a test.
struct Server {
    cluster: Cluster,
    folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        Server { cluster: Cluster::start(Version::V15), folder: new_folder() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A client program of this version, connected to the server.
    fn client(&self, version: Version, program: &str) -> Command {
        let own = self.cluster.client(program, "postgres");
        let mut client = plain(version.bin_dir().join(program));
        client.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir(self.folder.path());
        client
    }

    /// The database as a script, without the lines that differ from run to run.
    fn script(&self, database: &str) -> String {
        let text = must(self.client(Version::V15, "pg_dump").arg(database));
        text.lines().filter(|line| !line.contains("restrict ")).map(|line| format!("{line}\n")).collect()
    }
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().expect("the program is there");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Versions whose client programs read and write archives of the server.
fn clients() -> impl Iterator<Item = Version> {
    [Version::V15, Version::V17, Version::V19].into_iter().filter(|version| version.is_covered())
}

const SAMPLE: &str = r#"
CREATE ROLE clerk; CREATE ROLE "Ünder role";
CREATE SCHEMA "odd ""schema";
CREATE TABLE public.a (i int PRIMARY KEY, t text);
INSERT INTO a SELECT g, repeat('x', g % 300) || E'\t\\' FROM generate_series(1, 30000) g;
CREATE TABLE public.wide (i int, t text);
INSERT INTO wide SELECT g, repeat(md5(g::text), 50000) FROM generate_series(1, 3) g;
INSERT INTO wide VALUES (4, E'\\.\n\\.\n'), (5, NULL);
CREATE TABLE public.empty (i int); ALTER TABLE empty OWNER TO clerk;
CREATE TABLE public.nocolumns ();
INSERT INTO nocolumns DEFAULT VALUES; INSERT INTO nocolumns DEFAULT VALUES;
CREATE TABLE "odd ""schema"."odd.table, (really) ""ü""" ("from" int, "stdin;" text);
INSERT INTO "odd ""schema"."odd.table, (really) ""ü""" VALUES (1, '\connect x'), (2, 'DROP DATABASE x;');
ALTER TABLE "odd ""schema"."odd.table, (really) ""ü""" OWNER TO "Ünder role";
CREATE FUNCTION public.f(a int, b text) RETURNS void LANGUAGE plpgsql AS $f$
BEGIN EXECUTE 'DROP DATABASE ' || b; /* \connect x */ END $f$;
CREATE VIEW public.v AS SELECT i FROM a;
CREATE SEQUENCE public.s START 7;
CREATE INDEX ON a (t);
SELECT lo_from_bytea(20001, decode(repeat('ab', 700000), 'hex')), lo_create(20002),
       lo_from_bytea(4000000000, 'abc');
COMMENT ON LARGE OBJECT 20001 IS 'large';
"#;

fn sample() -> Server {
    let server = Server::start();
    server.cluster.create_named("sample").sql(SAMPLE);
    server
}

fn walk(bytes: &[u8]) -> io::Result<Contents> {
    archive::walk(bytes, |_| ())
}

fn join(mut from: impl Read, to: impl Write) -> Contents {
    let mut rechunker = Rechunker::new(to);
    io::copy(&mut from, &mut rechunker).expect("an archive");
    rechunker.finish().expect("a whole archive").1
}

fn scan(bytes: &[u8]) -> Script {
    let mut scanner = ScriptScanner::new(io::sink());
    scanner.write_all(bytes).expect("taken");
    scanner.finish().expect("taken").1
}

fn check_sample(server: &Server, contents: &Contents) {
    let tables = "SELECT oid FROM pg_class WHERE relkind = 'r' AND oid >= 16384 ORDER BY oid";
    let oids: Vec<_> = contents.table_data.iter().map(|oid| oid.to_string()).collect();
    assert_eq!(oids, server.cluster.sql("sample", tables).lines().collect::<Vec<_>>());
    assert_eq!(contents.dbname, "sample");
    assert!(contents.server_version.starts_with("15."));
    assert_eq!(contents.encoding.as_deref(), Some("UTF8"));
    assert_eq!(contents.large_objects, 3);
    assert_eq!(contents.owners.iter().collect::<Vec<_>>(), ["clerk", "postgres", "Ünder role"]);
    assert_eq!((contents.tables(), contents.count_of("INDEX"), contents.count_of("FUNCTION")), (5, 1, 1));
}

#[test]
fn a_rechunked_archive_restores_to_the_same_database() {
    let server = sample();
    let expected = server.script("sample");
    for version in clients() {
        let mut dump = server.client(version, "pg_dump");
        let mut dump = dump.args(["-Fc", "-Z0", "sample"]).stdout(Stdio::piped()).spawn().expect("pg_dump");
        let file = server.path(&format!("joined-{}", version.0));
        let contents = join(dump.stdout.take().expect("piped"), File::create(&file).expect("a file"));
        assert!(dump.wait().expect("waited").success());
        check_sample(&server, &contents);
        assert_eq!((contents.compression, contents.large_objects_with_data), (ArchiveCompression::None, 3));
        assert_eq!(walk(&fs::read(&file).expect("the file")).expect("whole"), contents);

        for (mode, arguments) in [("stdin", &[][..]), ("serial", &[]), ("parallel", &["-j", "2"])] {
            let database = format!("restored_{mode}_{}", version.0);
            server.cluster.create_named(&database);
            let mut restore = server.client(version, "pg_restore");
            restore.args(arguments).args(["-d", &database]);
            if mode == "stdin" {
                // A pipe: pg_restore cannot seek in it.
                let mut cat = Command::new("cat").arg(&file).stdout(Stdio::piped()).spawn().expect("cat");
                restore.stdin(cat.stdout.take().expect("piped"));
                restore_into(&mut restore);
                assert!(cat.wait().expect("waited").success());
            } else {
                restore_into(restore.arg(&file));
            }
            assert!(server.script(&database) == expected, "{database} differs");
        }
    }
}

/// Newer programs set `transaction_timeout` in each connection, which the server does not know. No other error is
/// accepted.
fn restore_into(restore: &mut Command) {
    let output = restore.output().expect("pg_restore");
    let said = String::from_utf8_lossy(&output.stderr);
    let errors: Vec<_> = said.lines().filter(|line| line.contains("error: could not execute query")).collect();
    let known = errors.iter().all(|line| line.contains("\"transaction_timeout\""));
    assert!(known && (output.status.success() || !errors.is_empty()), "{restore:?}: {said}");
}

#[test]
fn archives_of_pg_dump_are_read() {
    let server = sample();
    for version in clients() {
        let dump = |arguments: &[&str]| succeed(server.client(version, "pg_dump").args(arguments).arg("sample")).stdout;
        let piped = dump(&["-Fc", "-Z0"]);
        let contents = walk(&piped).expect("whole");
        check_sample(&server, &contents);

        // To a file the offsets are filled in, in place or (17 and later, when it is their stdout) at the end.
        let file = server.path("file");
        dump(&["-Fc", "-Z0", "-f", file.to_str().expect("UTF-8")]);
        let in_place = fs::read(&file).expect("the file");
        assert!(in_place != piped && in_place.len() == piped.len());
        assert_eq!(walk(&in_place).expect("whole"), contents);
        let mut to_stdout = server.client(version, "pg_dump");
        to_stdout.args(["-Fc", "-Z0", "sample"]).stdout(File::create(server.path("stdout")).expect("a file"));
        assert!(to_stdout.status().expect("pg_dump").success());
        assert_eq!(walk(&fs::read(server.path("stdout")).expect("the file")).expect("whole"), contents);

        let compressed = walk(&dump(&["-Fc"])).expect("whole");
        assert_eq!(compressed.compression, ArchiveCompression::Gzip);
        assert_eq!(compressed.large_objects_with_data, 3);
        assert_eq!(walk(&dump(&["-Fc", "-Z0", "--inserts"])).expect("whole").table_data, contents.table_data);
        assert_eq!(walk(&dump(&["-Fc", "-Z0", "-a"])).expect("whole").table_data, contents.table_data);
        assert!(walk(&dump(&["-Fc", "-s"])).expect("whole").table_data.is_empty());

        for len in [piped.len() - 1, piped.len() / 2, 100] {
            let error = walk(&piped[..len]).expect_err("cut");
            assert_eq!(Malformed::in_error(&error).map(|malformed| malformed.offset), Some(len as u64));
        }
    }
}

#[test]
fn tables_of_contents_of_directory_and_tar_are_read() {
    let server = sample();
    for version in clients() {
        let folder = server.path(&format!("folder-{}", version.0));
        succeed(server.client(version, "pg_dump").args(["-Fd", "-j2", "-f"]).arg(&folder).arg("sample"));
        let mut files = Vec::new();
        let contents = archive::read_toc(File::open(folder.join("toc.dat")).expect("toc.dat"), |entry| {
            if entry.has_data {
                files.push(entry.file.to_string());
            }
        })
        .expect("whole");
        check_sample(&server, &contents);
        assert_eq!((contents.format, contents.compression), (ArchiveFormat::Toc, ArchiveCompression::Gzip));
        assert_eq!(files.iter().filter(|file| folder.join(format!("{file}.gz")).exists()).count(), 5);
        assert_eq!(files.iter().filter(|file| file.starts_with("blobs") && folder.join(file).exists()).count(), 1);

        let tar = succeed(server.client(version, "pg_dump").args(["-Ft", "sample"])).stdout;
        let contents = archive::tar_toc(tar.as_slice(), |_| ()).expect("whole");
        check_sample(&server, &contents);
        let mut reader = TarReader::new(Vec::new());
        tar.chunks(1000).for_each(|piece| reader.write_all(piece).expect("taken"));
        let (out, read, _) = reader.finish().expect("whole");
        assert!(out == tar && read == contents);
    }
}

#[test]
fn plain_dumps_are_understood() {
    let server = sample();
    for version in clients() {
        let plain = succeed(server.client(version, "pg_dump").arg("sample")).stdout;
        let script = scan(&plain);
        assert_eq!((script.findings.as_slice(), script.unfinished), (&[][..], None));
        assert!(script.complete);
        assert_eq!((script.tables(), script.copies, script.large_objects), (5, 5, 3));
        for (schema, table) in [
            ("public", "a"),
            ("public", "wide"),
            ("public", "empty"),
            ("public", "nocolumns"),
            ("odd \"schema", "odd.table, (really) \"ü\""),
        ] {
            assert!(script.has_table(schema, table), "{schema} {table}");
        }
        let line = plain.windows(2).rposition(|pair| pair == b"--").expect("there");
        for len in [line - 10, plain.len() / 2, plain.len() / 20] {
            assert!(!scan(&plain[..len]).complete);
        }
        let create = succeed(server.client(version, "pg_dump").args(["--create", "--clean", "sample"])).stdout;
        let kinds: Vec<_> = scan(&create).findings.iter().map(|finding| finding.kind).collect();
        assert_eq!(
            kinds,
            [ServerWide::DropDatabase, ServerWide::CreateDatabase, ServerWide::Database, ServerWide::Connect]
        );
    }
}

/// Random scripts: psql itself shows whether a backslash command is outside of quotes and comments.
#[test]
fn psql_sees_the_same_commands() {
    let server = Server::start();
    server.cluster.sql("postgres", "CREATE TABLE t (a text, b text)");
    let token = prop::sample::select(vec![
        "SELECT ",
        "'",
        "''",
        "E'",
        "e",
        "U&'",
        "B'",
        "\\'",
        "\\;",
        "\"",
        "$",
        "$a$",
        "$$",
        "$1",
        "--",
        "/*",
        "*/",
        "-",
        "/",
        "*",
        "\n",
        ";",
        "\\echo HIT\n",
        "\\echo HIT ",
        "a",
        "1",
        ".",
        "ü",
        " ",
        "(",
        ")",
        "\n;",
        "\\.\n",
    ]);
    let copy = prop::sample::select(vec![
        "\n;COPY t FROM stdin;\n\\echo HIT\tx\n\\.\n",
        "\n;COPY t (a, b) FROM stdin; ",
        "x\ty\n",
    ]);
    let part = prop_oneof![40 => token, 1 => copy];
    let scripts = prop::collection::vec(part, 1..25).prop_map(|parts| parts.concat());
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    let file = server.path("script.sql");
    runner
        .run(&scripts, |script| {
            fs::write(&file, &script).expect("a file");
            let output = server
                .client(Version::V15, "psql")
                .args(["-Xq", "-d", "postgres", "-f"])
                .arg(&file)
                .output()
                .expect("psql");
            let (out, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            // Without a COPY on the server, psql runs the rows as commands, which is no evidence.
            let copies = said.lines().any(|line| line.contains("ERROR")) && script.contains("COPY");
            if copies {
                return Ok(());
            }
            let ran = out.lines().any(|line| line.starts_with("HIT")) || said.contains("invalid command");
            let found = scan(script.as_bytes()).findings;
            prop_assert_eq!(!found.is_empty(), ran, "{:?} {} {}", script, out, said);
            Ok(())
        })
        .expect("the same");
}

/// The fuzzing corpus with random damage: nothing panics, and accepted archives are consistent.
#[test]
fn damaged_corpus_is_survived() {
    let read = |folder: &str| -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(folder);
        let files = fs::read_dir(folder).expect("the corpus");
        files.map(|file| fs::read(file.expect("a file").path()).expect("a file")).collect()
    };
    let (archives, scripts) = (read("walk"), read("script"));
    for archive in &archives {
        walk(archive).expect("whole");
    }
    for script in &scripts {
        assert!(scan(script).complete);
    }
    let damage = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0u8..4, any::<u8>());
    let damages = (any::<prop::sample::Index>(), prop::collection::vec(damage, 1..5));
    let mut runner = TestRunner::new(Config { cases: 2000, failure_persistence: None, ..Config::default() });
    runner
        .run(&damages, |(which, damages)| {
            let mut archive = which.get(&archives).clone();
            let mut script = which.get(&scripts).clone();
            for (at, to, how, byte) in &damages {
                spoil(&mut archive, at, to, *how, *byte);
                spoil(&mut script, at, to, *how, *byte);
            }
            scan(&script);
            let mut rechunker = Rechunker::new(Vec::new());
            let joined = rechunker.write_all(&archive).and_then(|()| rechunker.finish());
            match walk(&archive) {
                Ok(contents) => {
                    let (bytes, joined, _) = joined.expect("accepted like the walked archive");
                    prop_assert_eq!(&joined, &contents);
                    prop_assert_eq!(walk(&bytes).expect("whole"), contents);
                }
                Err(error) => {
                    prop_assert!(Malformed::in_error(&error).is_some());
                    prop_assert!(joined.is_err());
                }
            }
            Ok(())
        })
        .expect("survived");
}

fn spoil(bytes: &mut Vec<u8>, at: &prop::sample::Index, to: &prop::sample::Index, how: u8, byte: u8) {
    if bytes.is_empty() {
        return;
    }
    let (at, to) = (at.index(bytes.len()), to.index(bytes.len()));
    match how {
        0 => bytes[at] ^= byte,
        1 => bytes.truncate(at.max(to)),
        2 => bytes.insert(at, byte),
        _ => drop(bytes.drain(at.min(to)..(at.min(to) + usize::from(byte)).min(at.max(to)))),
    }
}
