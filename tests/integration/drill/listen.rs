//! A sandbox that listens on a socket, in a folder where its user has other files too.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use super::*;

/// Code that leaves folders with paths longer than PATH_MAX beside the cluster, and a mark that it ran.
const BURY: &str = r#"perl -e 'chdir "../../.."; mkdir "ran"; for (1 .. 30) { mkdir "d" x 200; chdir "d" x 200 } mkdir "x"; mkdir "x/y"; chmod 0, "x"'"#;

/// A sandbox at a socket in the folder of backups, which it shares with the backup's user.
fn listen(cellar: &Cellar) -> (Running, PathBuf) {
    let socket = cellar.backup_dir().join("drill.socket");
    let arguments = ["drill-sandbox".as_ref(), "--listen".as_ref(), socket.as_os_str()];
    let sandbox = cellar.run(arguments).env("container", "oci").by_unprivileged_user().start();
    sandbox.wait_for_stderr("waiting for drills at");
    (sandbox, socket)
}

fn drill_there(cellar: &Cellar, socket: &Path, id: &Value) -> Run {
    let run = cellar.run(["drill", "--json", "--wait=60", id.as_str().unwrap()]);
    run.env("DRILL_SOCKET", socket).by_unprivileged_user()
}

#[test]
fn a_sandbox_empties_only_its_own_folder() {
    let database = small("drill_listen");
    database.sql(
        "CREATE FUNCTION evil(int) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN true; END'; \
         CREATE TABLE trap (a int CHECK (evil(a))); INSERT INTO trap VALUES (1)",
    );
    let program = format!("cat >/dev/null; {BURY}").replace('\'', "''");
    database.sql(&format!(
        "CREATE OR REPLACE FUNCTION evil(int) RETURNS boolean LANGUAGE plpgsql AS \
         $$ BEGIN COPY (SELECT 1) TO PROGRAM '{program}'; RETURN true; END $$"
    ));
    let cellar = cellar(&database);
    let id = cellar.back_up_for_drill()["id"].clone();
    let given = cellar.drill_dir();
    let photos = given.join("photos");
    let keep = |name: &str| {
        fs::create_dir_all(&photos).unwrap();
        fs::write(photos.join(name), name).unwrap();
        fs::write(given.join(name), name).unwrap();
        for path in [&photos, &photos.join(name), &given.join(name)] {
            hand_over(path);
        }
    };
    keep("before");
    let (sandbox, socket) = listen(&cellar);
    keep("after");
    for _ in 0..3 {
        assert_eq!(drill_there(&cellar, &socket, &id).succeeds().json()[0]["result"], "passed");
    }
    let own = left(&cellar).into_iter().find(|name| name.starts_with("pgcellar-drill-")).unwrap();
    assert!(given.join(&own).join("ran").is_dir());
    let mut there = left(&cellar);
    there.sort();
    assert_eq!(there, ["after", "before", &own, "photos"]);
    assert!(photos.join("before").exists() && photos.join("after").exists());
    // A file that it cannot remove ends only the drill.
    if rustix::process::geteuid().is_root() {
        let foreign = given.join(own).join("foreign");
        fs::create_dir_all(foreign.join("deep")).unwrap();
        let printed = drill_there(&cellar, &socket, &id).fails(OSFILE).says("cannot be drilled here");
        printed.says(foreign.to_str().unwrap());
        fs::remove_dir_all(foreign).unwrap();
        drill_there(&cellar, &socket, &id).succeeds();
    }
    sandbox.signal(Signal::TERM);
    assert_eq!(sandbox.wait().code(), Some(0));
}

#[test]
fn the_monitor_reports_a_sandbox_that_hangs_up_twice() {
    let database = small("drill_hung_up");
    let cellar = cellar(&database);
    cellar.back_up_for_drill();
    let socket = cellar.scratch().join("hangs-up.socket");
    let listener = UnixListener::bind(&socket).unwrap();
    hand_over(&socket);
    thread::spawn(move || listener.incoming().flatten().for_each(drop));
    let monitor = || cellar.run(["monitor", "check"]).by_unprivileged_user().finish();
    for _ in 0..2 {
        assert!(!monitor().stdout.contains("drill_not_held"));
        let run = cellar.run(["drill", "--each", "--wait=0"]).env("DRILL_SOCKET", &socket);
        run.by_unprivileged_user().fails(75).says("the sandbox closed the connection");
    }
    let printed = monitor().stdout;
    assert!(printed.contains("drill_not_held") && printed.contains("the last 2 times"), "{printed}");
}
