//! Shell completions.

use crate::common::process::{attempt, must, new_folder, plain};

#[path = "../../examples/docs/completions.rs"]
mod scripts;

/// The completions that fish offers for a line. They end at the first line that it cannot read.
#[test]
fn fish_completes_verbs_and_options() {
    let folder = new_folder();
    scripts::write(folder.path()).unwrap();
    for script in ["_pgcellar", "pgcellar.bash", "pgcellar.fish"] {
        let text = std::fs::read_to_string(folder.path().join(script)).unwrap();
        assert!(text.contains("retention") && !text.contains("-?") && !text.contains("-s ?"), "{script}");
    }
    if attempt(plain("fish").arg("--version")).is_err() {
        // The scripts are checked without it.
        return;
    }
    let offered = |line: &str| {
        let script = folder.path().join("pgcellar.fish");
        let mut fish = plain("fish");
        fish.env("HOME", folder.path()).current_dir(folder.path()).arg("--no-config").arg("-c");
        must(fish.arg(format!("source {} && complete -C '{line}'", script.display())))
    };
    let first =
        |line: &str| offered(line).lines().map(|one| one.split('\t').next().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(first("pgcellar re"), ["restore", "retention"]);
    assert_eq!(first("pgcellar restore --target"), ["--target-database"]);
    assert!(first("pgcellar monitor ").contains(&"test-mail".to_owned()));
    assert!(first("pgcellar --he").contains(&"--help".to_owned()));
}
