use std::os::unix::fs::symlink;

use super::*;

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A chain of folders deeper than any path may be, the last without permissions.
fn bury(folder: &Path) {
    let name = CString::new("d".repeat(200)).unwrap();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = openat(CWD, folder, flags, Mode::empty()).unwrap();
    for _ in 0..30 {
        mkdirat(&at, &name, Mode::RWXU).unwrap();
        at = openat(&at, &name, flags, Mode::empty()).unwrap();
    }
    mkdirat(&at, c"x", Mode::RWXU).unwrap();
    mkdirat(&at, c"x/y", Mode::RWXU).unwrap();
    rustix::fs::fchmod(openat(&at, c"x", flags, Mode::empty()).unwrap(), Mode::empty()).unwrap();
}

fn left(folder: &Path) -> Vec<String> {
    let mut left: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    left
}

#[test]
fn the_sandbox_folder_is_emptied_and_its_parent_is_not() {
    let given = tempfile::tempdir().unwrap();
    fs::create_dir(given.path().join("photos")).unwrap();
    fs::write(given.path().join("photos/cat"), "a cat").unwrap();
    fs::write(given.path().join("letter"), "dear").unwrap();
    let mut own = OwnFolder::below(given.path());
    own.empty().unwrap();
    assert_eq!(own.path().metadata().unwrap().permissions().mode() & 0o7777, 0o700);
    let closed = own.path().join("a/closed");
    fs::create_dir_all(closed.join("deep")).unwrap();
    fs::write(closed.join("deep/file"), "left").unwrap();
    fs::write(own.path().join(".hidden"), "left").unwrap();
    symlink(given.path().join("photos"), own.path().join("link")).unwrap();
    symlink(given.path().join("photos"), closed.join("link")).unwrap();
    bury(&own.path());
    mode(&closed.join("deep"), 0o000);
    mode(&closed, 0o500);
    mode(&own.path(), 0o000);
    own.empty().unwrap();
    assert!(left(&own.path()).is_empty());
    assert_eq!(left(given.path()), ["letter".to_owned(), own.name.clone(), "photos".to_owned()]);
    assert_eq!(fs::read_to_string(given.path().join("photos/cat")).unwrap(), "a cat");
}

#[test]
fn a_link_in_place_of_the_sandbox_folder_is_not_followed() {
    let given = tempfile::tempdir().unwrap();
    let backups = tempfile::tempdir().unwrap();
    fs::write(backups.path().join("shop.dump"), "rows").unwrap();
    let mut own = OwnFolder::below(given.path());
    symlink(backups.path(), own.path()).unwrap();
    own.empty().unwrap();
    fs::remove_dir(own.path()).unwrap();
    fs::write(own.path(), "in the way").unwrap();
    own.empty().unwrap();
    assert!(own.path().symlink_metadata().unwrap().is_dir());
    assert_eq!(left(backups.path()), ["shop.dump"]);
    // A file of its name that existed before is not the sandbox's.
    fs::remove_dir(own.path()).unwrap();
    fs::write(own.path(), "a letter").unwrap();
    let error = OwnFolder::below(given.path()).empty().unwrap_err();
    assert!(error.message().contains("is not our own folder"), "{error}");
    assert_eq!(fs::read_to_string(own.path()).unwrap(), "a letter");
}

#[test]
fn two_sandboxes_do_not_share_a_folder() {
    let given = tempfile::tempdir().unwrap();
    let (mut first, mut second) = (OwnFolder::below(given.path()), OwnFolder::below(given.path()));
    first.empty().unwrap();
    first.empty().unwrap();
    fs::write(first.path().join("archive"), "rows").unwrap();
    assert!(second.empty().unwrap_err().message().contains("another sandbox"));
    assert_eq!(left(&first.path()), ["archive"]);
}

#[test]
fn initial_files_stay() {
    let shared = tempfile::tempdir().unwrap();
    let at = |name: &str| shared.path().join(name);
    fs::create_dir(at("photos")).unwrap();
    fs::write(at("photos/cat"), "a cat").unwrap();
    fs::write(at("letter"), "dear").unwrap();
    let stock = InitialEntries::of(shared.path()).unwrap();
    fs::create_dir_all(at("new/deep")).unwrap();
    fs::write(at("new/deep/file"), "left").unwrap();
    fs::write(at("reach.log"), "left").unwrap();
    bury(&at("new"));
    symlink(at("photos"), at("link")).unwrap();
    // A renamed file is still an initial one.
    fs::rename(at("letter"), at("moved")).unwrap();
    mode(&at("new"), 0o000);
    stock.restore().unwrap();
    assert_eq!(left(shared.path()), ["moved", "photos"]);
    assert_eq!(fs::read_to_string(at("photos/cat")).unwrap(), "a cat");
    drop(shared);
    stock.restore().unwrap();
}
