use std::io::Read;
use std::process::Command;

use age::secrecy::ExposeSecret;
use proptest::prelude::*;

use super::super::decrypt::{CHUNK, TAG};
use super::*;

const BOUNDARY: usize = CHUNK as usize;

/// A fresh age key: private and public part.
fn age_key() -> (String, String) {
    let identity = age::x25519::Identity::generate();
    (identity.to_string().expose_secret().to_owned(), identity.to_public().to_string())
}

/// A fresh key of ssh-keygen: private and public part.
fn ssh_key(kind: &str, bits: &str, passphrase: &str) -> (String, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    let status = Command::new("ssh-keygen")
        .args(["-q", "-t", kind, "-b", bits, "-N", passphrase, "-C", "backup@host, the second one", "-f"])
        .arg(&path)
        .status()
        .unwrap();
    assert!(status.success());
    let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
    (std::fs::read_to_string(path).unwrap(), public.trim().replace(", the second one", ""))
}

fn encrypt(recipients: &str, plain: &[u8]) -> Vec<u8> {
    let mut encryptor = Recipients::parse(recipients).unwrap().encrypt(Vec::new()).unwrap();
    encryptor.write_all(plain).unwrap();
    encryptor.finish().unwrap()
}

fn decrypt(identities: &str, stored: &[u8]) -> (Vec<u8>, io::Result<()>) {
    let mut plain = Vec::new();
    let outcome = Identities::parse(identities)
        .unwrap()
        .decrypt(stored)
        .and_then(|mut decryptor| decryptor.read_to_end(&mut plain).map(drop));
    (plain, outcome)
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

#[test]
fn each_kind_of_key_reads_what_was_encrypted_to_all() {
    let keys = [age_key(), ssh_key("ed25519", "256", ""), ssh_key("rsa", "2048", ""), age_key()];
    let publics: Vec<&str> = keys.iter().map(|(_, public)| public.as_str()).collect();
    let text = format!(
        "# the office\n{},{}\n\n  # the safe, closed\n {} , \r\n{}\n",
        publics[0], publics[1], publics[2], publics[3]
    );
    let recipients = Recipients::parse(&text).unwrap();
    assert_eq!(recipients.names(), publics);
    assert!(format!("{recipients:?}").contains(publics[0]));

    let plain = bytes(100_000);
    let stored = encrypt(&text, &plain);
    assert!(is_age(&stored));
    for (private, _) in &keys {
        let (back, outcome) = decrypt(private, &stored);
        outcome.unwrap();
        assert!(back == plain);
    }
    // Several identities in one file, the right one last, with Windows line ends.
    let file = format!("# created: today\n{}\n\n{}\n{}", age_key().0, ssh_key("ed25519", "256", "").0, keys[1].0);
    decrypt(&file.replace('\n', "\r\n"), &stored).1.unwrap();
}

#[test]
fn every_size_around_a_chunk_comes_back() {
    let (private, public) = age_key();
    for size in [0, 1, BOUNDARY - 1, BOUNDARY, BOUNDARY + 1, 2 * BOUNDARY, 2 * BOUNDARY + 1] {
        let plain = bytes(size);
        let (back, outcome) = decrypt(&private, &encrypt(&public, &plain));
        outcome.unwrap();
        assert!(back == plain, "{size} bytes");
    }
}

#[test]
fn other_keys_are_distinguished_from_damage() {
    let stored = encrypt(&age_key().1, b"rows");
    for private in [age_key().0, ssh_key("ed25519", "256", "").0] {
        let error = decrypt(&private, &stored).1.unwrap_err();
        assert!(is_no_matching_key(&error), "{error}");
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
    let not_age = decrypt(&age_key().0, b"PGDMP and so on\n").1.unwrap_err();
    assert!(!is_no_matching_key(&not_age));
    assert_eq!(not_age.kind(), io::ErrorKind::InvalidData);
}

#[test]
fn a_passphrase_file_is_refused() {
    let mut recipient = age::scrypt::Recipient::new(String::from("correct horse").into());
    recipient.set_work_factor(2);
    let stored = age::encrypt(&recipient, b"rows").unwrap();
    let error = decrypt(&age_key().0, &stored).1.unwrap_err();
    assert!(error.to_string().contains("passphrase"), "{error}");
}

#[test]
fn a_file_that_was_cut_is_never_a_clean_end() {
    let (private, public) = age_key();
    for size in [0, 1, BOUNDARY, 2 * BOUNDARY, 2 * BOUNDARY + 5] {
        let plain = bytes(size);
        let stored = encrypt(&public, &plain);
        let header = stored.len() - size - size.div_ceil(BOUNDARY).max(1) * TAG as usize;
        let chunk = (CHUNK + TAG) as usize;
        let ends = (0..).map(|n| header + n * chunk).take_while(|end| *end < stored.len());
        let cuts = ends
            .flat_map(|end| end.saturating_sub(17)..end + 18)
            .chain(0..header)
            .chain(stored.len() - 20..stored.len());
        for cut in cuts.filter(|cut| *cut < stored.len()) {
            let (back, outcome) = decrypt(&private, &stored[..cut]);
            let error = outcome.expect_err(&format!("cut at {cut} of {}", stored.len()));
            let kind = error.kind();
            assert!(matches!(kind, io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof), "{cut}: {error}");
            assert!(plain.starts_with(&back));
        }
    }
}

#[test]
fn without_finish_the_file_cannot_be_read_to_its_end() {
    let (private, public) = age_key();
    for size in [0, 1, BOUNDARY, BOUNDARY + 1] {
        let mut stored = Vec::new();
        let mut encryptor = Recipients::parse(&public).unwrap().encrypt(&mut stored).unwrap();
        encryptor.write_all(&bytes(size)).unwrap();
        encryptor.flush().unwrap();
        drop(encryptor);
        assert!(decrypt(&private, &stored).1.is_err(), "{size} bytes");
    }
}

#[test]
fn bytes_after_the_end_are_an_error() {
    let (private, public) = age_key();
    for size in [0, 5, BOUNDARY] {
        for extra in [1, 16, BOUNDARY + 16] {
            let stored = [encrypt(&public, &bytes(size)), vec![0; extra]].concat();
            let error = decrypt(&private, &stored).1.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{size} and {extra}");
        }
    }
}

#[test]
fn a_header_without_end_is_refused_in_bounded_memory() {
    let endless = io::Cursor::new(b"age-encryption.org/v1\n").chain(io::repeat(b'a'));
    let error = Identities::parse(&age_key().0).unwrap().decrypt(endless).map(drop).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    let lines = b"-> X25519 abc\nabc\n".repeat(HEADER_LIMIT);
    let error = decrypt(&age_key().0, &[b"age-encryption.org/v1\n", &lines[..]].concat()).1.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_flipped_bit_is_an_error(length in 0_usize..300, at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let (private, public) = age_key();
        let mut stored = encrypt(&public, &bytes(length));
        let at = at.index(stored.len());
        stored[at] ^= 1 << bit;
        prop_assert!(decrypt(&private, &stored).1.is_err(), "byte {} bit {}", at, bit);
    }

    /// No text makes the parsers panic, and no error repeats much of what was given.
    #[test]
    fn any_text_is_parsed_or_refused(text in "(age1|ssh-rsa |ssh-ed25519 |AGE-SECRET-KEY-1|-----BEGIN OPENSSH PRIVATE KEY-----\n)?[ -~\n,#é]{0,200}") {
        for error in [Recipients::parse(&text).err(), Identities::parse(&text).err()].into_iter().flatten() {
            prop_assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            prop_assert!(error.to_string().len() < 260, "{}", error);
        }
    }
}

#[test]
fn a_private_key_given_as_recipient_is_refused_and_not_repeated() {
    let plugin = "AGE-PLUGIN-YUBIKEY-1QQQQQQQQQQQQ".to_owned();
    for private in [age_key().0, age_key().0.to_lowercase(), ssh_key("ed25519", "256", "").0, plugin] {
        for text in [private.clone(), format!("{},{private}", age_key().1)] {
            let message = Recipients::parse(&text).unwrap_err().to_string();
            assert!(message.contains("private key"), "{message}");
            for line in private.lines().filter(|line| line.len() > 16 && !line.starts_with('-')) {
                assert!(!message.contains(&line[..16]), "{message}");
            }
        }
    }
}

#[test]
fn a_file_of_the_most_recipients_is_read_back() {
    let (private, public) = ssh_key("rsa", "4096", "");
    let most = vec![public.as_str(); MOST_RECIPIENTS].join("\n");
    decrypt(&private, &encrypt(&most, b"rows")).1.unwrap();
    let message = Recipients::parse(&format!("{most},{public}")).unwrap_err().to_string();
    assert!(message.contains("101"), "{message}");
}

#[test]
fn wrong_recipients_are_named() {
    let (_, good) = age_key();
    let (_, ed25519) = ssh_key("ed25519", "256", "");
    let (_, rsa) = ssh_key("rsa", "1024", "");
    let (_, ecdsa) = ssh_key("ecdsa", "256", "");
    let mistyped = good.replace("age1", "age1q");
    let longer = ed25519.replacen(" backup", "AAAA backup", 1);
    for (text, named, why) in [
        (mistyped.as_str(), &mistyped[..16], "not an age recipient"),
        ("age1yubikey1qqqqqqqqqqqqqqqq", "age1yubikey1", "plugins"),
        ("alice@example.org", "\"alice@example.org\"", "must begin with"),
        (&format!("{good} {good}"), &good[..16], "not an age recipient"),
        (&ed25519[..40], "ssh-ed25519 AAAA", "incomplete"),
        (&longer, "ssh-ed25519 AAAA", "incomplete"),
        ("ssh-ed25519", "\"ssh-ed25519\"", "incomplete"),
        (&rsa, "ssh-rsa AAAA", "2048"),
        (&ecdsa, "ecdsa-sha2", "must begin with"),
        ("ssh-dss AAAAB3NzaC1kc3MAAACBAP1/U4EddRIpUt9KnC7s5Of2EbdSPO9EAMMeP4C2", "ssh-dss", "ssh-dss"),
        ("", "", "no age recipient"),
        ("# only words\n\n,,", "", "no age recipient"),
    ] {
        let error = Recipients::parse(&format!("{text}\n")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let message = error.to_string();
        assert!(message.contains(named) && message.contains(why), "{text}: {message}");
        assert!(message.len() < 200, "{message}");
    }
}

#[test]
fn wrong_identities_are_named_by_line_and_not_repeated() {
    let (private, public) = age_key();
    let (cut, _) = private.split_at(40);
    let locked = ssh_key("ed25519", "256", "a passphrase").0;
    let ecdsa = ssh_key("ecdsa", "256", "").0;
    let open = ssh_key("ed25519", "256", "").0;
    let unended = open.replace("-----END OPENSSH PRIVATE KEY-----", "");
    for (text, why) in [
        (format!("# comment\n{cut}\n"), "line 2"),
        (format!("{private}\n{public}\n"), "line 2 of the age identity file is a public key"),
        (format!("\n{locked}"), "line 2 of the age identity file has a passphrase"),
        (ecdsa, "type that age does not support"),
        (unended, "cannot be read"),
        ("AGE-PLUGIN-YUBIKEY-1QQQQ".to_owned(), "plugin"),
        ("# nothing\n".to_owned(), "no key"),
        ("-----BEGIN AGE ENCRYPTED FILE-----\nabc\n".to_owned(), "passphrase"),
        ("age-encryption.org/v1\n-> scrypt abc 18\n".to_owned(), "passphrase"),
    ] {
        let message = Identities::parse(&text).map(drop).unwrap_err().to_string();
        assert!(message.contains(why), "{message} for {why}");
        for line in text.lines().filter(|line| line.len() > 20 && !line.starts_with('-')) {
            assert!(!message.contains(&line[..20]), "{message}");
        }
    }
}
