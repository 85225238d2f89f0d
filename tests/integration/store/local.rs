//! What holds for a folder alone: modes, names, links, whole folders.

use super::*;

fn mode(path: impl AsRef<Path>) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn local_files_are_for_their_owner_alone() {
    let folder = new_folder();
    let directory = folder.path().join("backups");
    let store = LocalStore::new(&directory);
    store.prepare().unwrap();
    assert_eq!(mode(&directory), 0o700);
    let mut upload = store.create("shop_20231231_020000.dump", None, ObjectKind::Archive).unwrap();
    upload.write_all(b"x").unwrap();
    assert_eq!(mode(directory.join("shop_20231231_020000.dump.partial")), 0o600);
    upload.commit().unwrap();
    put(&store, "shop_20231231_020000/toc.dat", b"x");
    store.replace("shop_20231231_020000.verify.json", b"x", ObjectKind::Record).unwrap();
    let held = store.create_folder("shop_20231231_030000").unwrap();
    assert_eq!(mode(held.folder()), 0o700);
    assert_eq!(mode(directory.join("shop_20231231_020000")), 0o700);
    for file in ["shop_20231231_020000.dump", "shop_20231231_020000/toc.dat", "shop_20231231_020000.verify.json"] {
        assert_eq!(mode(directory.join(file)), 0o600, "{file}");
    }
}

#[test]
fn local_lists_backups_files_and_nothing_else() {
    let folder = new_folder();
    let store = LocalStore::new(folder.path());
    put(&store, "a_20231231_020000.dump", b"x");
    put(&store, "a_20231231_020000/toc.dat", b"x");
    for hidden in [".pgcellar.lock", "b_20231231_020000.dump.partial", "a_20231231_020000/.x"] {
        std::fs::write(folder.path().join(hidden), "x").unwrap();
    }
    std::fs::create_dir(folder.path().join("c_20231231_020000.partial")).unwrap();
    std::fs::write(folder.path().join("c_20231231_020000.partial/toc.dat"), "x").unwrap();
    std::fs::create_dir_all(folder.path().join("a_20231231_020000/deep")).unwrap();
    std::fs::write(folder.path().join("a_20231231_020000/deep/x"), "x").unwrap();
    // A link stands for its target, also for sizes; a dangling one is ignored.
    for (name, to) in [("d", "/etc/passwd"), ("e", "nowhere"), ("f", "f_20231231_020000.dump")] {
        std::os::unix::fs::symlink(to, folder.path().join(format!("{name}_20231231_020000.dump"))).unwrap();
    }
    assert_eq!(keys(&store), ["a_20231231_020000.dump", "a_20231231_020000/toc.dat", "d_20231231_020000.dump"]);
    assert_eq!(store.size("d_20231231_020000.dump").unwrap(), Some(std::fs::metadata("/etc/passwd").unwrap().len()));
    assert_eq!(store.size("f_20231231_020000.dump").unwrap(), None);
}

/// Reading never blocks on a pipe.
#[test]
fn local_files_are_files() {
    let folder = new_folder();
    let store = LocalStore::new(folder.path());
    let (pipe, directory) = ("a_20231231_020000.dump", "b_20231231_020000.dump");
    for name in [pipe, "c_20231231_020000.manifest.json.partial"] {
        let made = std::process::Command::new("mkfifo").arg(folder.path().join(name)).status().unwrap();
        assert!(made.success());
    }
    std::fs::create_dir(folder.path().join(directory)).unwrap();
    assert_eq!(keys(&store), Vec::<String>::new());
    let expected = [(pipe.to_owned(), "a named pipe"), (directory.to_owned(), "a folder")];
    let mut found = store.not_files().unwrap();
    found.sort_unstable();
    assert_eq!(found, expected);
    for (key, what) in expected {
        assert_eq!(store.size(&key).unwrap(), None);
        assert_eq!(store.not_a_file(&key).unwrap(), Some(what));
        let error = store.read(&key, 0).err().unwrap();
        assert!(error.kind() == Kind::Data && error.message().contains(what), "{error}");
    }
    assert_eq!(store.read_partial("c_20231231_020000.manifest.json").unwrap_err().kind(), Kind::Data);
}

#[test]
fn local_folders_come_whole_or_not_at_all() {
    let folder = new_folder();
    let store = LocalStore::new(folder.path());
    let begin = || {
        let begun = store.create_folder("a_20231231_020000").unwrap();
        std::fs::write(begun.folder().join("toc.dat"), "x").unwrap();
        begun.seal().unwrap();
        begun
    };
    drop(begin());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let begun = begin();
    assert_eq!(keys(&store), Vec::<String>::new());
    begun.commit().unwrap();
    assert_eq!(keys(&store), ["a_20231231_020000/toc.dat"]);
    assert_eq!(begin().commit().unwrap_err().kind(), Kind::CannotWrite);
    assert_eq!(get(&store, "a_20231231_020000/toc.dat", 0), b"x");
}

#[test]
fn a_local_directory_whose_parent_is_missing_is_not_made() {
    let folder = new_folder();
    let directory = folder.path().join("disk/backups");
    let error = LocalStore::new(&directory).prepare().unwrap_err();
    assert_eq!(error.kind(), Kind::CannotWrite);
    assert!(error.to_string().contains("mounted"), "{error}");
    assert!(!folder.path().join("disk").exists());
    let error = LocalStore::new(&directory).list().unwrap_err();
    assert_eq!(error.kind(), Kind::Missing);
    assert!(error.hint_text().is_some_and(|hint| hint.contains("BACKUP_DIR")), "{error}");
    std::fs::write(folder.path().join("file"), "x").unwrap();
    assert_eq!(LocalStore::new(folder.path().join("file")).prepare().unwrap_err().kind(), Kind::CannotWrite);
}
