use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::catalogue::records::{Pin, Verification};

const SAMPLE: &str = include_str!("../../../tests/golden/manifest.json");
const ENCRYPTED: &str = include_str!("../../../tests/golden/encrypted.json");
const DETAILS: &str = include_str!("../../../tests/golden/details.json");
const RECORD: &str = include_str!("../../../tests/golden/verify.json");
const PIN_RECORD: &str = include_str!("../../../tests/golden/pin.json");
const DRILL_RECORD: &str = include_str!("../../../tests/golden/drill.json");
const DOCUMENT: &str = include_str!("../../../doc/manifest.md");
const KEY: &str = "my%20shop_20231231_020000.manifest.json";

/// The sample with one part changed.
fn changed(pointer: &str, value: Value) -> Result<Manifest> {
    let mut sample: Value = serde_json::from_str(SAMPLE).unwrap();
    *sample.pointer_mut(pointer).unwrap() = value;
    Manifest::parse(KEY, sample.to_string().as_bytes())
}

#[test]
fn a_stored_manifest_is_read_and_written_byte_for_byte() {
    let manifest = Manifest::parse(KEY, SAMPLE.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(manifest.to_json().unwrap()).unwrap(), SAMPLE);
    let manifest = Manifest::parse(KEY, ENCRYPTED.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(manifest.to_json().unwrap()).unwrap(), ENCRYPTED);
    let record: Verification = serde_json::from_str(RECORD).unwrap();
    assert_eq!(String::from_utf8(record.to_json().unwrap()).unwrap(), RECORD);
    let pin: Pin = serde_json::from_str(PIN_RECORD).unwrap();
    assert_eq!(String::from_utf8(pin.to_json().unwrap()).unwrap(), PIN_RECORD);
}

/// The fields of the tables below this heading.
fn documented(heading: &str) -> BTreeSet<String> {
    let section = DOCUMENT.split("\n## ").find_map(|section| section.strip_prefix(heading)).unwrap();
    let field = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    section.lines().filter_map(field).collect()
}

/// The paths of all fields of a document.
fn fields(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        // Names of parameters, which are no fields.
        Value::Object(_) if matches!(path, "properties.session_parameters" | "server.preloaded.settings") => {}
        Value::Object(object) => {
            for (name, value) in object {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                fields(value, &path, found);
                found.insert(path);
            }
        }
        Value::Array(array) => {
            let path = format!("{path}[]");
            array.iter().for_each(|value| fields(value, &path, found));
        }
        Value::Null => panic!("{path} is null in the sample, which then may hide fields"),
        _ => {}
    }
}

#[test]
fn each_field_is_documented() {
    let records = [("Verify record\n", RECORD), ("Drill record\n", DRILL_RECORD), ("Pin\n", PIN_RECORD)];
    let parsed = |text: &str| -> Value { serde_json::from_str(text).unwrap() };
    let mut manifest = parsed(SAMPLE);
    manifest["concealed"] = parsed(ENCRYPTED)["concealed"].clone();
    let records = records.map(|(heading, sample)| (heading, parsed(sample)));
    for (heading, sample) in [("Manifest\n", manifest)].into_iter().chain(records) {
        let mut there = BTreeSet::new();
        fields(&sample, "", &mut there);
        assert_eq!(documented(heading), there);
    }
    let details: BTreeSet<String> = parsed(DETAILS).as_object().unwrap().keys().cloned().collect();
    assert_eq!(documented("Details\n"), details);
}

#[test]
fn other_documents_are_refused() {
    let refused = |bytes: &[u8]| Manifest::parse(KEY, bytes).unwrap_err();
    for bytes in ["", "{", "[]", "null", "{}", "not JSON", r#"{"manifest_version": 1}"#, r#"{"manifest_version": -1}"#]
    {
        let error = refused(bytes.as_bytes());
        assert_eq!(error.kind(), Kind::Data, "{bytes}");
        assert!(error.message().starts_with(&format!("the manifest {KEY} cannot be used: ")), "{error}");
    }
    assert_eq!(refused(&SAMPLE.as_bytes()[..SAMPLE.len() / 2]).kind(), Kind::Data);
    assert_eq!(refused(b"\xff\xfe").kind(), Kind::Data);
}

#[test]
fn a_newer_version_is_refused_with_any_fields() {
    let error = Manifest::parse(KEY, br#"{"manifest_version": 3, "surprise": []}"#).unwrap_err();
    assert!(error.to_string().contains("version 3") && error.to_string().contains("newer"), "{error}");
}

#[test]
fn unknown_fields_are_ignored() {
    let sample = SAMPLE.replacen('{', "{ \"later\": 1,", 1);
    assert!(Manifest::parse(KEY, sample.as_bytes()).is_ok());
}

#[test]
fn a_manifest_of_another_backup_is_refused() {
    let error = Manifest::parse("shop_20231231_020000.manifest.json", SAMPLE.as_bytes()).unwrap_err();
    assert!(error.message().contains("my%20shop_20231231_020000"), "{error}");
}

#[test]
fn files_must_belong_to_the_backup() {
    const ID: &str = "my%20shop_20231231_020000";
    for own in [".dump", ".dump.gz.age", ".globals.sql", "/toc.dat", "/1.dat.gz.age", "/blobs.toc"] {
        assert!(changed("/files/0/key", json!(format!("{ID}{own}"))).is_ok(), "{own}");
    }
    let outside = [
        "",
        "x",
        "/etc/passwd",
        "../x",
        "./x",
        "shop_20231231_020000.dump",
        "my%20shop_20231231_0200001.dump",
        "my%20shop_20231231_020000",
        "my%20shop_20231231_020000/",
        "my%20shop_20231231_020000/..",
        "my%20shop_20231231_020000/../x",
        "my%20shop_20231231_020000/a/b",
        "my%20shop_20231231_020000//b",
        "my%20shop_20231231_020000/\0",
        "my%20shop_20231231_020000.dump/../../x",
        "my%20shop_20231231_020000.manifest.json",
        "my%20shop_20231231_020000.verify.json",
        "my%20shop_20231231_020000.pin.json",
        "my%20shop_20231231_020000.drill.json",
        "my%20shop_20231231_020000.b_20240101_020000.dump",
    ];
    for key in outside {
        let error = changed("/files/0/key", json!(key)).unwrap_err();
        assert!(error.message().contains("does not belong to its backup"), "{key}: {error}");
    }
    assert!(changed("/files", json!([])).unwrap_err().message().contains("names no file"));
}

#[test]
fn impossible_sizes_do_not_overflow() {
    assert_eq!(changed("/files/0/stored_bytes", json!(u64::MAX)).unwrap().stored_bytes(), u64::MAX);
    assert!(changed("/files/0/stored_bytes", json!(-1)).is_err());
}

#[test]
fn pgcellar_does_not_compress_a_directory_archive() {
    let mut manifest = Manifest::parse(KEY, SAMPLE.as_bytes()).unwrap();
    let methods = |manifest: &Manifest| manifest.files.iter().map(|file| manifest.method(file)).collect::<Vec<_>>();
    assert_eq!(methods(&manifest), [Method::Gzip, Method::Gzip]);
    manifest.format = Format::Directory;
    assert_eq!(methods(&manifest), [Method::None, Method::Gzip]);
}

proptest! {
    #[test]
    fn no_bytes_break_the_reader(
        flips in proptest::collection::vec((0..SAMPLE.len(), any::<u8>()), 0..8),
        cut in 0..=SAMPLE.len(),
    ) {
        let mut bytes = SAMPLE.as_bytes()[..cut].to_vec();
        for (at, byte) in flips {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        if let Ok(manifest) = Manifest::parse(KEY, &bytes) {
            // What is accepted can be used.
            prop_assert_eq!(Manifest::key(&manifest.id), KEY);
            let _ = (manifest.stored_bytes(), manifest.to_json().unwrap());
        }
    }

    #[test]
    fn no_value_in_any_place_breaks_the_reader(at in any::<prop::sample::Index>(), which in 0..8_usize) {
        let values = [json!(null), json!(-1), json!(u64::MAX), json!(1e300), json!("\u{0}/.."), json!([[]]), json!({}), json!(true)];
        let mut sample: Value = serde_json::from_str(SAMPLE).unwrap();
        let mut pointers = Vec::new();
        pointers_of(&sample, "", &mut pointers);
        *sample.pointer_mut(&pointers[at.index(pointers.len())]).unwrap() = values[which].clone();
        if let Ok(manifest) = Manifest::parse(KEY, sample.to_string().as_bytes()) {
            let _ = (manifest.stored_bytes(), manifest.to_json().unwrap());
        }
    }
}

/// JSON pointers (RFC 6901) to everything in a value; no name here needs escaping.
fn pointers_of(value: &Value, path: &str, found: &mut Vec<String>) {
    found.push(path.to_owned());
    match value {
        Value::Object(object) => {
            object.iter().for_each(|(name, value)| pointers_of(value, &format!("{path}/{name}"), found));
        }
        Value::Array(array) => {
            array.iter().enumerate().for_each(|(at, value)| pointers_of(value, &format!("{path}/{at}"), found));
        }
        _ => {}
    }
}

#[test]
fn names_in_a_manifest_are_unique() {
    let sample = include_str!("../../../tests/golden/manifest.json");
    let key = "my%20shop_20231231_020000.manifest.json";
    Manifest::parse(key, sample.as_bytes()).unwrap();
    let unknown = sample.replacen('{', "{\"later\": 1, \"later\": 2,", 1);
    let error = Manifest::parse(key, unknown.as_bytes()).unwrap_err();
    assert!(error.message().contains("the key 'later' occurs twice"), "{error}");
    let mut manifest: Manifest = serde_json::from_str(sample).unwrap();
    manifest.files.push(manifest.files[0].clone());
    let error = Manifest::parse(key, &manifest.to_json().unwrap()).unwrap_err();
    assert!(error.kind() == Kind::Data && error.message().ends_with("twice"), "{error}");
}
