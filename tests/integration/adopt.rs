//! `pgcellar adopt`: dumps of other scripts become backups, and their files stay unchanged.

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::common::compare::assert_same;
use crate::common::dumps::{pg_dump, piped, small};
use crate::common::process::{attempt, must, plain};
use crate::common::{Cellar, Cluster, Database, Version, exit, keys, tree};

mod bucket;

/// How the scripts dump: options of pg_dump, the filter, and the end of the file's name.
const WAYS: &[(&str, &str, &str)] = &[
    ("-Fc", "gzip", ".dump.gz"),
    ("-Fc", "cat", ".dump"),
    ("-Ft", "gzip", ".tar.gz"),
    ("-Fp", "gzip", ".sql.gz"),
    ("-Fp", "bzip2", ".sql.bz2"),
    ("-Fp", "xz -0", ".sql.xz"),
    ("-Fp", "cat", ".sql"),
];

/// Dumps a database as a script does, into a file of this name among the backups.
fn add(cellar: &Cellar, database: &Database<'_>, options: &[&str], filter: &str, name: &str) {
    piped(&pg_dump(database, options), filter, &cellar.backup_dir().join(name));
}

fn adopt<'a>(cellar: &Cellar, arguments: impl IntoIterator<Item = &'a str>) -> crate::common::pgcellar::Run {
    cellar.run(["adopt"]).arguments(arguments)
}

fn listed(cellar: &Cellar, id: &str) -> Value {
    let all = cellar.list();
    all.iter().find(|backup| backup["id"] == id).unwrap_or_else(|| panic!("{id} is not among {all:#?}")).clone()
}

fn manifests(folder: &Path) -> usize {
    tree::files(folder).iter().filter(|path| path.to_str().unwrap().ends_with(".manifest.json")).count()
}

fn sha256(path: &Path, unpack: &str) -> String {
    let sum = must(plain("bash").env("FILE", path).args(["-c", &format!("{unpack} < \"$FILE\" | sha256sum")]));
    sum.split(' ').next().unwrap().to_owned()
}

#[test]
fn dumps_of_other_scripts_become_backups() {
    let cluster = Cluster::shared(Version::V15);
    let original = small(cluster, "left behind");
    let cellar = Cellar::new(cluster);
    let mut names = Vec::new();
    for (at, (format, filter, ending)) in WAYS.iter().enumerate() {
        let name = format!("{}_20231231_02000{at}{ending}", original.name());
        add(&cellar, &original, &[format], filter, &name);
        names.push(name);
    }
    let folder = format!("{}_20231231_020010", original.name());
    must(pg_dump(&original, &["-Fd", "-j2", "-f"]).arg(cellar.backup_dir().join(&folder)));
    names.push(folder);
    let before = tree::hashes(&cellar.backup_dir());
    assert_eq!(cellar.list(), [] as [Value; 0]);

    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    adopt(&cellar, names.clone()).succeeds().says(&format!("adopted {}", names[0]));

    let backups = cellar.list();
    assert_eq!(backups.len(), names.len());
    for (backup, name) in backups.iter().zip(&names) {
        let id = name.split('.').next().unwrap();
        assert_eq!((&backup["id"], &backup["status"]), (&json!(id), &json!("good")), "{name}");
        assert_eq!((&backup["database"], &backup["partial"]), (&json!(original.name()), &json!(false)));
        let time = format!("2023-12-31T02:00:{}Z", &id[id.len() - 2..]);
        assert_eq!((&backup["started"], &backup["instance"]), (&json!(time), &json!("main")));
        assert!(backup["adopted"].is_string() && backup["host"] == must(plain("uname").arg("-n")).trim(), "{backup}");
        assert_eq!(backup["contents"]["tables"], 1, "{name}");
        assert_eq!(backup["contents"]["large_objects"], 1, "{name}");
        assert_eq!(backup["server"]["version_num"].as_u64().map(|number| number / 10_000), Some(15), "{name}");
        let target = cluster.name_for("back");
        cellar.run(["restore", id, "--target-database", &target]).succeeds();
        let back = cluster.database(&target);
        match name.contains(".sql") {
            true => assert_eq!(back.sql("SELECT count(*), sum(n) FROM wine"), "2000|2001000", "{name}"),
            false => assert_same(&original, &back),
        }
    }
    let file = &backups[0]["files"][0];
    let path = cellar.backup_dir().join(names[0]);
    assert_eq!(file["stored_sha256"], sha256(&path, "cat"));
    assert_eq!(file["plain_sha256"], sha256(&path, "gunzip"));
    cellar.run(["verify", "--all"]).succeeds().says("all 8 backups are good");

    let after = tree::hashes(&cellar.backup_dir());
    for (name, hash) in &before {
        assert_eq!(after.get(name), Some(hash), "{} was touched", name.display());
    }
    // Once more with everything in the folder, as a shell's glob passes it.
    let everything = fs::read_dir(cellar.backup_dir()).unwrap();
    let paths: Vec<String> = everything.map(|entry| entry.unwrap().path().to_str().unwrap().to_owned()).collect();
    let dumps = paths.iter().map(String::as_str).filter(|path| !path.contains("/."));
    adopt(&cellar, dumps).succeeds().says("is a backup already");
    assert_eq!(manifests(&cellar.backup_dir()), names.len());
}

#[test]
fn recipes_of_adopted_backups_run() {
    let cluster = Cluster::shared(Version::V15);
    let original = small(cluster, "recipes");
    let cellar = Cellar::new(cluster);
    let path = std::env::join_paths([cluster.version().bin_dir(), "/usr/bin".into(), "/bin".into()]).unwrap();
    for (at, (format, filter, ending)) in WAYS.iter().enumerate() {
        let id = format!("{}_20231231_02000{at}", original.name());
        add(&cellar, &original, &[format], filter, &format!("{id}{ending}"));
        adopt(&cellar, [format!("{id}{ending}").as_str()]).succeeds();
        let target = cluster.name_for("by_hand");
        let recipe = cellar.run(["restore", "--recipe", &id, "--target-database", &target]).succeeds().stdout;
        let file = cellar.scratch().join("recipe.sh");
        fs::write(&file, recipe).unwrap();
        let mut bash = plain("bash");
        bash.arg(&file).current_dir(cellar.backup_dir()).env("PATH", &path);
        bash.env("PGHOST", cluster.socket_dir()).env("PGPORT", cluster.port().to_string()).env("PGUSER", "postgres");
        attempt(&mut bash).unwrap();
        assert_eq!(cluster.database(&target).sql("SELECT count(*) FROM wine"), "2000", "{ending}");
    }
}

#[test]
fn a_script_replaces_a_database_and_keeps_its_properties() {
    let cluster = Cluster::shared(Version::V15);
    let live = small(cluster, "properties");
    cluster.sql("postgres", &format!("COMMENT ON DATABASE {} IS 'kept'", live.name()));
    let cellar = Cellar::new(cluster);
    let id = format!("{}_20231231_020000", live.name());
    add(&cellar, &live, &[], "gzip", &format!("{id}.sql.gz"));
    adopt(&cellar, [format!("{id}.sql.gz").as_str()]).succeeds();
    live.sql("DROP TABLE wine");
    cellar.run(["restore", &id, "--force"]).succeeds().says("are kept");
    let comment = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()";
    assert_eq!(live.sql(comment), "kept");
    assert_eq!(live.sql("SELECT count(*) FROM wine"), "2000");
}

#[test]
fn incomplete_dumps_are_refused_and_the_others_adopted() {
    let cluster = Cluster::shared(Version::V15);
    let original = small(cluster, "damaged");
    let cellar = Cellar::new(cluster);
    let at = |name: &str| cellar.backup_dir().join(name);
    let name = |second: u32, ending: &str| format!("{}_20231231_0200{second:02}{ending}", original.name());
    let mut cases = Vec::new();
    for (second, (format, filter, ending)) in WAYS.iter().enumerate() {
        let file = name(u32::try_from(second).unwrap(), ending);
        add(&cellar, &original, &[format], filter, &file);
        let bytes = at(&file).metadata().unwrap().len();
        tree::truncate(&at(&file), bytes - if *ending == ".tar.gz" { 9 } else { bytes / 3 });
        cases.push(file);
    }
    let flipped = name(20, ".dump.gz");
    add(&cellar, &original, &["-Fc"], "gzip", &flipped);
    tree::flip_byte(&at(&flipped), -6);
    let other = name(21, ".dump.gz");
    fs::write(at(&other), "not a dump").unwrap();
    let create = name(22, ".sql");
    add(&cellar, &original, &["-C"], "cat", &create);
    let folder = name(23, "");
    must(pg_dump(&original, &["-Fd", "-f"]).arg(at(&folder)));
    let rows = tree::files(&at(&folder)).into_iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    fs::remove_file(rows).unwrap();
    cases.extend([flipped, other, create, folder]);
    for file in &cases {
        let outcome = adopt(&cellar, [file.as_str()]).fails(exit::DATAERR).says(file);
        assert_eq!(outcome.stderr.lines().filter(|line| line.contains("error")).count(), 1, "one sentence: {outcome}");
    }
    let good = name(30, ".dump.gz");
    add(&cellar, &original, &["-Fc"], "gzip", &good);
    cases.insert(3, good.clone());
    let printed = format!("{} could not be adopted", cases.len() - 1);
    adopt(&cellar, cases.iter().map(String::as_str))
        .fails(exit::DATAERR)
        .says(&printed)
        .says(&format!("adopted {good}"));
    assert_eq!(manifests(&cellar.backup_dir()), 1);
    assert_eq!(cellar.list().len(), 1);
}

#[test]
fn names_without_database_and_time_are_refused_with_a_hint() {
    let cluster = Cluster::shared(Version::V15);
    let original = small(cluster, "names");
    let cellar = Cellar::new(cluster);
    for name in ["backup.dump", "shop_2023-12-31.dump", "shop_20231231_020000", "shop_20230231_020000.dump"] {
        add(&cellar, &original, &["-Fc"], "cat", name);
        adopt(&cellar, [name]).fails(exit::USAGE).says(name.trim_end_matches(".dump")).says("rename it");
    }
    must(pg_dump(&original, &["-Fd", "-f"]).arg(cellar.backup_dir().join("shop_20231231_020001.dir")));
    adopt(&cellar, ["shop_20231231_020001.dir"]).fails(exit::USAGE).says("nothing after the time");
    adopt(&cellar, ["nowhere_20231231_020000.dump"]).fails(exit::NOINPUT).says("there is no file");
    adopt(&cellar, ["s3://bucket/nowhere_20231231_020000.dump"]).fails(exit::USAGE).says("AWS_S3_BUCKET");
    // In another folder: no file is moved.
    let outside = cellar.scratch().join("shop_20231231_020000.dump");
    piped(&pg_dump(&original, &["-Fc"]), "cat", &outside);
    adopt(&cellar, [outside.to_str().unwrap()]).fails(exit::USAGE).says("move it there first");
    cellar.run(["adopt"]).fails(exit::USAGE);
    assert_eq!(manifests(cellar.scratch()), 0);
}

#[test]
fn a_dump_of_foo_is_no_backup_of_foobar() {
    let cluster = Cluster::shared(Version::V15);
    let foo = small(cluster, "foo");
    let cellar = Cellar::new(cluster);
    let name = format!("{}bar_20231231_020000.dump.gz", foo.name());
    add(&cellar, &foo, &["-Fc"], "gzip", &name);
    adopt(&cellar, [name.as_str()]).fails(exit::USAGE).says("named after").says("--database");
    assert_eq!(manifests(&cellar.backup_dir()), 0);
    adopt(&cellar, [name.as_str(), "--database", foo.name()]).succeeds();
    let id = name.strip_suffix(".dump.gz").unwrap();
    assert_eq!(listed(&cellar, id)["database"], foo.name());
    let other = format!("{}bar", foo.name());
    let of_other = cellar.run(["list", "--json", "--database", &other]).succeeds().json();
    assert_eq!(of_other, json!([]));
}

#[test]
fn two_dumps_of_the_same_second_get_one_backup() {
    let cluster = Cluster::shared(Version::V15);
    let original = small(cluster, "twice");
    let cellar = Cellar::new(cluster);
    let id = format!("{}_20231231_020000", original.name());
    let (first, second) = (format!("{id}.dump.gz"), format!("{id}.sql.gz"));
    add(&cellar, &original, &["-Fc"], "gzip", &first);
    add(&cellar, &original, &["-Fp"], "gzip", &second);
    adopt(&cellar, [first.as_str(), &second]).fails(exit::CANTCREAT).says(&format!("is {first} already"));
    let manifest = fs::read(cellar.backup_dir().join(format!("{id}.manifest.json"))).unwrap();
    adopt(&cellar, [second.as_str()]).fails(exit::CANTCREAT).says("change the time in its name by a second");
    assert_eq!(fs::read(cellar.backup_dir().join(format!("{id}.manifest.json"))).unwrap(), manifest);
    assert_eq!(listed(&cellar, &id)["files"][0]["key"], first);
    cellar.run(["list"]).succeeds().says(&second);
}

#[test]
fn a_backup_of_our_own_keeps_its_manifest() {
    let cluster = Cluster::shared(Version::V15);
    let original = small(cluster, "ours");
    let cellar = Cellar::new(cluster);
    let manifest = cellar.back_up(original.name());
    let hashes = || {
        let mut hashes = tree::hashes(&cellar.backup_dir());
        hashes.remove(Path::new(".pgcellar.lock"));
        hashes
    };
    let before = hashes();
    for file in manifest["files"].as_array().unwrap() {
        adopt(&cellar, [file["key"].as_str().unwrap()]).succeeds().says("is a backup already");
    }
    assert_eq!(hashes(), before);
}

#[test]
fn retention_removes_adopted_backups_and_not_their_neighbours() {
    let cluster = Cluster::shared(Version::V15);
    let original = small(cluster, "cleaned");
    let cellar = Cellar::new(cluster);
    let name = |time: &str, ending: &str| format!("{}_{time}{ending}", original.name());
    let (old, neighbour) = (name("20231201_020000", ".dump.gz"), name("20231201_020000", ".sql.gz"));
    let (unmanaged, new) = (name("20231130_020000", ".dump.gz"), name("20231231_020000", ".dump.gz"));
    for (file, options) in [(&old, &["-Fc"][..]), (&neighbour, &[]), (&unmanaged, &["-Fc"]), (&new, &["-Fc"])] {
        add(&cellar, &original, options, "gzip", file);
    }
    adopt(&cellar, [old.as_str(), &new]).succeeds();
    cellar.run(["retention"]).env("BACKUP_KEEP_LAST", "1").succeeds();
    let left = [&old, &neighbour, &unmanaged, &new].map(|file| cellar.backup_dir().join(file).exists());
    assert_eq!(left, [false, true, true, true]);
    assert_eq!(cellar.list().len(), 1);
}

#[test]
fn local_times_are_read_in_their_zone() {
    let cluster = Cluster::shared(Version::V15);
    let original = small(cluster, "zones");
    let cellar = Cellar::new(cluster);
    let dump = |time: &str| {
        let name = format!("{}_{time}.dump.gz", original.name());
        add(&cellar, &original, &["-Fc"], "gzip", &name);
        name
    };
    let (summer, winter) = (dump("20230701_003000"), dump("20231231_003000"));
    let (gap, fold) = (dump("20230326_023000"), dump("20231029_023000"));
    let berlin = ["--timezone", "Europe/Berlin"];
    adopt(&cellar, [summer.as_str(), &winter].into_iter().chain(berlin)).succeeds();
    adopt(&cellar, [fold.as_str()].into_iter().chain(berlin)).succeeds().says("twice");
    adopt(&cellar, [gap.as_str()].into_iter().chain(berlin)).fails(exit::USAGE).says("never showed 02:30:00");
    let started = |name: &str| listed(&cellar, name.strip_suffix(".dump.gz").unwrap())["started"].clone();
    assert_eq!(started(&summer), "2023-06-30T22:30:00Z");
    assert_eq!(started(&winter), "2023-12-30T23:30:00Z");
    assert_eq!(started(&fold), "2023-10-29T00:30:00Z");
    // Backups are ordered by their time: this one is newer than the one whose name has the later digits.
    let later = dump("20231231_001500");
    adopt(&cellar, [later.as_str()]).succeeds();
    let last = cellar.list().last().unwrap()["id"].clone();
    assert_eq!(Some(last.as_str().unwrap()), later.strip_suffix(".dump.gz"));
    cellar.run(["verify", "latest"]).succeeds().says(later.strip_suffix(".dump.gz").unwrap());
    // Made just now, by a clock far in the east.
    let now = Timestamp::now().in_tz("Pacific/Kiritimati").unwrap().strftime("%Y%m%d_%H%M%S").to_string();
    let east = dump(&now);
    adopt(&cellar, [east.as_str()]).fails(exit::USAGE).says("--timezone");
    adopt(&cellar, [east.as_str(), "--timezone", "Pacific/Kiritimati"]).succeeds();
    adopt(&cellar, [east.as_str(), "--timezone", "Middle/Earth"]).fails(exit::USAGE).says("Middle/Earth");
}

#[test]
fn a_dump_that_leaves_data_out_is_partial() {
    let cluster = Cluster::shared(Version::V15);
    let original = small(cluster, "partial");
    let cellar = Cellar::new(cluster);
    let cases: [(&[&str], &str, bool); 6] = [
        (&["-Fc", "-s"], "gzip", true),
        (&["-Ft", "-a"], "gzip", true),
        (&["-s"], "gzip", true),
        (&["-a"], "gzip", true),
        (&["--inserts"], "gzip", false),
        (&["-a", "--inserts"], "gzip", true),
    ];
    for (at, (options, filter, partial)) in cases.into_iter().enumerate() {
        let id = format!("{}_20231231_02000{at}", original.name());
        add(&cellar, &original, options, filter, &format!("{id}.gz"));
        adopt(&cellar, [format!("{id}.gz").as_str()]).succeeds();
        let backup = listed(&cellar, &id);
        let status = if partial { "partial" } else { "good" };
        assert_eq!((&backup["partial"], &backup["status"]), (&json!(partial), &json!(status)), "{options:?}");
        assert_eq!(backup["omitted"].as_array().unwrap().len(), usize::from(partial), "{options:?}");
        cellar.run(["verify", &id]).succeeds();
    }
    let id = format!("{}_20231231_020000", original.name());
    cellar.run(["restore", &id, "--force"]).fails(exit::USAGE).says("--schema-only");
}

#[test]
fn a_dump_without_a_manifest_is_verified_by_its_path() {
    let cluster = Cluster::shared(Version::V15);
    let original = small(cluster, "unmanaged");
    let cellar = Cellar::new(cluster);
    let id = format!("{}_20231231_020000", original.name());
    for (format, filter, ending) in WAYS {
        let name = format!("{id}{ending}");
        add(&cellar, &original, &[format], filter, &name);
        let path = cellar.backup_dir().join(&name);
        cellar.run(["verify".as_ref(), path.as_os_str()]).succeeds().says("good, 1 table");
        cellar.run(["verify", &name]).succeeds().says("good, 1 table");
        tree::truncate(&path, path.metadata().unwrap().len() - 200);
        let run = cellar.run(["verify".as_ref(), path.as_os_str(), "--json".as_ref()]);
        let outcome = run.fails(exit::DATAERR).says("damaged");
        assert_eq!(outcome.json()[0]["result"], "damaged", "{outcome}");
        fs::remove_file(&path).unwrap();
    }
    must(pg_dump(&original, &["-Fd", "-f"]).arg(cellar.backup_dir().join(&id)));
    cellar.run(["verify", &id]).succeeds().says("good, 1 table");
    assert!(tree::files(&cellar.backup_dir()).iter().all(|path| !path.to_str().unwrap().ends_with(".json")));
    // With a manifest it is a backup, which is verified and recorded.
    adopt(&cellar, [id.as_str()]).succeeds();
    let toc = cellar.backup_dir().join(&id).join("toc.dat");
    cellar.run(["verify".as_ref(), toc.as_os_str()]).succeeds().says(&id);
    assert_eq!(listed(&cellar, &id)["status"], "verified");
    cellar.run(["verify".as_ref(), toc.as_os_str(), "--database=x".as_ref()]).fails(exit::USAGE).says("--database");
    cellar.run(["verify", "nowhere_20231231_020000"]).fails(exit::NOINPUT).says("no backup");
    cellar.run(["verify", "/nowhere/x.dump"]).fails(exit::NOINPUT).says("/nowhere/x.dump");
}

#[test]
fn encrypted_dumps_need_their_key() {
    let cluster = Cluster::shared(Version::V15);
    let original = small(cluster, "encrypted");
    let cellar = Cellar::new(cluster);
    let key = keys::age(cellar.scratch(), "key");
    let id = format!("{}_20231231_020000", original.name());
    let name = format!("{id}.dump.gz.age");
    add(&cellar, &original, &["-Fc"], &format!("gzip | age -r {}", key.recipient), &name);
    adopt(&cellar, [name.as_str()]).fails(exit::NOPERM).says("no private key");
    adopt(&cellar, [name.as_str()]).env("BACKUP_AGE_IDENTITY_FILE", &key.identity).succeeds();
    // Details of the database stay in the encrypted archive.
    let created = format!("{}_20231231_030000", original.name());
    let file = format!("{created}.dump.gz.age");
    original.sql(&format!("COMMENT ON DATABASE {} IS 'x'", original.name()));
    add(&cellar, &original, &["-Fc", "--create"], &format!("gzip | age -r {}", key.recipient), &file);
    adopt(&cellar, [file.as_str()]).env("BACKUP_AGE_IDENTITY_FILE", &key.identity).succeeds();
    let manifest = fs::read_to_string(cellar.backup_dir().join(format!("{created}.manifest.json"))).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(
        (&manifest["properties"]["owner"], &manifest["properties"]["comment"]),
        (&"".into(), &serde_json::Value::Null)
    );
    let shown =
        cellar.run(["show", &created, "--json"]).env("BACKUP_AGE_IDENTITY_FILE", &key.identity).succeeds().json();
    assert_eq!((&shown["properties"]["owner"], &shown["properties"]["comment"]), (&"postgres".into(), &"x".into()));
    let commented = cluster.name_for("decrypted");
    let run = cellar.run(["restore", &created, "--target-database", &commented]);
    run.env("BACKUP_AGE_IDENTITY_FILE", &key.identity).succeeds();
    assert_same(&original, &cluster.database(&commented));
    original.sql(&format!("COMMENT ON DATABASE {} IS NULL", original.name()));
    cellar.run(["verify", &id]).succeeds().says("stored bytes only");
    cellar.run(["verify", &id]).env("BACKUP_AGE_IDENTITY_FILE", &key.identity).succeeds().says("good, 1 table");
    let target = cluster.name_for("decrypted");
    let restore = || cellar.run(["restore", &id, "--target-database", &target]);
    restore().fails(exit::NOPERM).says("there is no private key");
    restore().env("BACKUP_AGE_IDENTITY_FILE", &key.identity).succeeds();
    assert_same(&original, &cluster.database(&target));
}

#[test]
fn a_dry_run_and_a_locked_folder_write_nothing() {
    let cluster = Cluster::shared(Version::V15);
    let original = small(cluster, "dry");
    let cellar = Cellar::new(cluster);
    let name = format!("{}_20231231_020000.dump.gz", original.name());
    add(&cellar, &original, &["-Fc"], "gzip", &name);
    let before = tree::hashes(&cellar.backup_dir());
    adopt(&cellar, [name.as_str(), "--dry-run"]).succeeds().says(&format!("would adopt {name}"));
    assert_eq!(tree::hashes(&cellar.backup_dir()), before);
    let lock = fs::File::create(cellar.backup_dir().join(".pgcellar.lock")).unwrap();
    lock.lock().unwrap();
    adopt(&cellar, [name.as_str()]).fails(exit::TEMPFAIL).says("is locked by");
    assert_eq!(manifests(&cellar.backup_dir()), 0);
    drop(lock);
    adopt(&cellar, [name.as_str()]).succeeds();
}

#[test]
fn a_dump_survives_a_killed_adoption() {
    let cluster = Cluster::shared(Version::V15);
    let original = small(cluster, "killed");
    let cellar = Cellar::new(cluster);
    let id = format!("{}_20231231_020000", original.name());
    add(&cellar, &original, &["-Fc"], "gzip", &format!("{id}.dump.gz"));
    let dump = cellar.backup_dir().join(format!("{id}.dump.gz"));
    let before = fs::read(&dump).unwrap();
    let names = Renamed::watch(&cellar.backup_dir());
    adopt(&cellar, [format!("{id}.dump.gz").as_str()]).succeeds();
    let manifest = format!("{id}.manifest.json");
    let temporary: Vec<String> = names.seen().into_iter().filter(|name| name.starts_with(&manifest)).collect();
    assert!(!temporary.is_empty(), "the manifest never had a temporary name");
    // Whatever temporary name the manifest has, a sweep must not remove the files that it names.
    for name in temporary {
        fs::rename(cellar.backup_dir().join(&manifest), cellar.backup_dir().join(&name)).unwrap();
        cellar.back_up(original.name());
        assert!(!cellar.backup_dir().join(&name).exists(), "{name} was not swept");
        assert_eq!(fs::read(&dump).unwrap(), before);
        adopt(&cellar, [format!("{id}.dump.gz").as_str()]).succeeds();
    }
}

/// The names of files of a folder before they were renamed.
struct Renamed(rustix::fd::OwnedFd);

impl Renamed {
    fn watch(folder: &Path) -> Renamed {
        use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
        let queue = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        add_watch(&queue, folder, WatchFlags::MOVED_FROM).unwrap();
        Renamed(queue)
    }

    fn seen(self) -> Vec<String> {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut events = rustix::fs::inotify::Reader::new(self.0, &mut buffer);
        let name =
            |event: rustix::fs::inotify::Event<'_>| event.file_name().map(|name| name.to_str().unwrap().to_owned());
        std::iter::from_fn(|| events.next().ok().map(name)).flatten().collect()
    }
}
