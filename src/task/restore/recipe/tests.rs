use super::*;
use crate::catalogue::manifest::{Encryption, Server};

const SAMPLE: &str = include_str!("../../../../tests/golden/manifest.json");

fn sample() -> Manifest {
    let mut manifest: Manifest = serde_json::from_str(SAMPLE).unwrap();
    manifest.properties.icu_rules = None;
    manifest
}

#[test]
fn a_recipe_reads_as_a_list_of_steps() {
    let text = script(&sample(), "nestjs_starter_db", None, LeftOut::default()).unwrap();
    let steps = [
        "sha256sum --check --strict <<'END'",
        "CREATE DATABASE \"nestjs_starter_db\" TEMPLATE template0",
        "pg_restore --format=custom --exit-on-error --dbname=\"$database\"",
        "--command=ANALYZE",
        "ALTER DATABASE \"nestjs_starter_db\" OWNER TO",
    ];
    let places: Vec<usize> = steps.iter().map(|step| text.find(step).expect(step)).collect();
    assert!(places.is_sorted(), "{text}");
}

#[test]
fn what_an_adopted_archive_does_not_tell_is_left_out() {
    let mut manifest = sample();
    manifest.server = Server { version: String::new(), version_num: 0, ..manifest.server };
    manifest.pg_dump = String::new();
    manifest.properties = DatabaseProperties::unknown();
    manifest.encryption = manifest.encryption.map(|encryption| Encryption { recipients: Vec::new(), ..encryption });
    let text = script(&manifest, "shop", None, LeftOut::default()).unwrap();
    assert!(text.contains("Made, in the custom format") && text.contains("server's own version.\n"), "{text}");
    assert!(
        text.contains("CREATE DATABASE \"shop\" TEMPLATE template0;\n") && !text.contains("ALTER DATABASE"),
        "{text}"
    );
}

#[test]
fn what_is_in_a_bucket_is_fetched_first() {
    let location = "s3://my-bucket/its path".to_owned();
    let bucket = Bucket { location, region: "eu-central-1", endpoint: Some("http://127.0.0.1:9000") };
    let mut manifest = sample();
    manifest.files[0].key = "shop.dump.gz".to_owned();
    let text = script(&manifest, "shop", Some(&bucket), LeftOut::default()).unwrap();
    let line = "aws s3 cp --only-show-errors --region eu-central-1 --endpoint-url http://127.0.0.1:9000 \
                's3://my-bucket/its path/shop.dump.gz' ./shop.dump.gz\n";
    assert!(text.find(line).expect(&text) < text.find("sha256sum").unwrap(), "{text}");
}

#[test]
fn owners_and_privileges_are_left_out() {
    let mut manifest = sample();
    for format in [Format::Custom, Format::Directory] {
        manifest.format = format;
        let all = LeftOut { owners: true, privileges: true };
        let text = script(&manifest, "shop", None, all).unwrap();
        assert!(text.contains(" --no-owner --no-privileges --dbname="), "{text}");
        assert!(!text.contains("OWNER TO") && !text.contains("GRANT"), "{text}");
    }
}

#[test]
fn here_documents_end_where_they_should() {
    assert_eq!(here("a\n"), "<<'END'\na\nEND\n");
    assert_eq!(here("a\nEND\nEND_\n"), "<<'END__'\na\nEND\nEND_\nEND__\n");
}

#[test]
fn hashes_are_hashes_and_odd_names_are_escaped() {
    let mut manifest = sample();
    manifest.files[0].key = "a\\b\nc".to_owned();
    let hash = manifest.files[0].stored_sha256.clone();
    assert!(hashes(&manifest).unwrap().contains(&format!("\n\\{hash}  a\\\\b\\nc\n")));
    manifest.files[0].stored_sha256 = "$(rm -r /)".to_owned();
    assert_eq!(hashes(&manifest).unwrap_err().kind(), Kind::Data);
}

#[test]
fn comments_stay_comments() {
    let mut manifest = sample();
    let evil = "x\nrm -r /\r#\u{85}y";
    manifest.database = evil.to_owned();
    manifest.pg_dump = evil.to_owned();
    manifest.server.version = evil.to_owned();
    for line in head(&manifest, evil, true, LeftOut::default()).lines() {
        assert!(line.starts_with('#'), "{line}");
    }
    for file in &mut manifest.files {
        file.key = evil.to_owned();
    }
    for line in globals(&manifest).unwrap().lines() {
        assert!(line.starts_with('#'), "{line}");
    }
}
