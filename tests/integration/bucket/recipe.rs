//! `restore --recipe` of backups that only the bucket has: its output is run.

use super::*;
use crate::common::compare::assert_same;
use crate::common::process::{attempt, new_folder, plain};
use crate::common::s3_server::OWNER;

#[test]
fn the_recipe_fetches_the_files_first() {
    let cluster = Cluster::shared(Version::V15);
    let database = small(cluster);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/tool");
    let aws = attempt(plain(script).arg("aws")).unwrap();
    let aws = Path::new(aws.trim()).parent().unwrap().to_owned();
    for format in ["custom", "directory"] {
        let bucket = Bucket::new();
        let cellar = bucket.copies(Cellar::new(cluster)).with("BACKUP_FORMAT", format);
        let id = id_of(&cellar.back_up(database.name()));
        let target = cluster.name_for("by_recipe");
        let recipe = || cellar.run(["restore", "--recipe", &id, "--target-database", &target]).succeeds().stdout;
        assert!(!recipe().contains("aws s3 cp"), "the directory has it");
        lose_directory(&cellar);
        let (folder, text) = (new_folder(), recipe());
        std::fs::write(folder.path().join("recipe.sh"), &text).unwrap();
        let path = std::env::join_paths([cluster.version().bin_dir(), aws.clone(), "/usr/bin".into(), "/bin".into()]);
        let mut bash = plain("bash");
        bash.arg("recipe.sh").current_dir(folder.path()).env("PATH", path.unwrap());
        bash.env("PGHOST", cluster.socket_dir()).env("PGPORT", cluster.port().to_string()).env("PGUSER", "postgres");
        bash.env("AWS_ACCESS_KEY_ID", OWNER.id).env("AWS_SECRET_ACCESS_KEY", OWNER.secret);
        attempt(&mut bash).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_same(&database, &cluster.database(&target));
    }
}
