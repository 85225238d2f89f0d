use std::process::{Command, Stdio};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};

use super::certificate::Certificate;
use super::chain::Chain;
use super::problem::CertificateProblem;
use super::{host_name, signature};

/// Makes certificates of a root, an intermediate authority, a server, and an unrelated authority.
const CHAIN: &str = r#"
set -eu
ca='basicConstraints=critical,CA:TRUE'
make() { # NAME CURVE ISSUER EXTENSION
    openssl req -new -nodes -out $1.csr -keyout $1.key -subj "/CN=$1" -newkey ec -pkeyopt ec_paramgen_curve:$2
    printf '%s\n' "$4" >$1.ext
    if [ $3 = $1 ]; then sign="-signkey $1.key"; else sign="-CA $3.crt -CAkey $3.key -CAcreateserial"; fi
    openssl x509 -req -in $1.csr -days 9 -out $1.crt -extfile $1.ext $sign
}
make root secp521r1 root "$ca"
make between prime256v1 root "$ca"
make server prime256v1 between "subjectAltName=DNS:db.example.org,DNS:*.pool.example.org,IP:192.0.2.1,IP:2001:db8::1"
make stranger secp521r1 stranger "$ca"
"#;

struct Made(tempfile::TempDir);

impl Made {
    fn new() -> Made {
        let folder = tempfile::tempdir().unwrap();
        let mut sh = Command::new("sh");
        sh.current_dir(folder.path()).args(["-c", CHAIN]).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(sh.status().unwrap().success());
        Made(folder)
    }

    fn der(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.0.path().join(format!("{name}.crt"))).unwrap()
    }

    fn certificate(&self, name: &str) -> Certificate {
        Certificate::read(&self.der(name)).unwrap()
    }
}

fn algorithms() -> Vec<&'static dyn SignatureVerificationAlgorithm> {
    let own = ring::default_provider().signature_verification_algorithms.all;
    own.iter().chain(signature::ALGORITHMS).copied().collect()
}

fn verify(
    server: &Certificate,
    sent: &[Certificate],
    trusted: &[Certificate],
    now: UnixTime,
) -> Result<(), CertificateProblem> {
    Chain { trusted, sent, now, algorithms: &algorithms() }.verify(server)
}

#[test]
fn chains_are_verified_up_to_a_trusted_root() {
    let made = Made::new();
    let (server, between, root) = (made.certificate("server"), made.certificate("between"), made.certificate("root"));
    let now = UnixTime::now();
    let between = [between];
    let root = [root];
    verify(&server, &between, &root, now).unwrap();
    let unknown = |result: Result<(), CertificateProblem>| {
        assert!(matches!(result, Err(CertificateProblem::UnknownAuthority { .. })), "{result:?}")
    };
    unknown(verify(&server, &between, &[made.certificate("stranger")], now));
    unknown(verify(&server, &[], &root, now));
    // Certificates from the server are not trusted, and a trusted one must sign itself.
    unknown(verify(&server, &[made.certificate("between"), made.certificate("root")], &[], now));
    unknown(verify(&server, &between, &[made.certificate("between")], now));
    let at = |seconds: u64| UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let expired = verify(&server, &between, &root, at(server.not_after + 3600));
    assert!(matches!(expired, Err(CertificateProblem::Expired { .. })), "{expired:?}");
    let early = verify(&server, &between, &root, at(server.not_before - 3600));
    assert!(matches!(early, Err(CertificateProblem::NotYetValid { .. })), "{early:?}");
}

#[test]
fn a_certificate_with_a_changed_byte_is_refused() {
    let made = Made::new();
    let (between, root) = ([made.certificate("between")], [made.certificate("root")]);
    let now = UnixTime::now();
    for name in ["server", "between"] {
        let der = made.der(name);
        for at in 0..der.len() {
            let mut forged = der.to_vec();
            forged[at] ^= 1;
            let Ok(forged) = Certificate::read(&CertificateDer::from(forged)) else { continue };
            let result = match name {
                "server" => verify(&forged, &between, &root, now),
                _ => verify(&made.certificate("server"), &[forged], &root, now),
            };
            assert!(result.is_err(), "{name}, byte {at}");
        }
    }
}

#[test]
fn names_are_compared_as_in_libpq() {
    let made = Made::new();
    let mut server = made.certificate("server");
    for host in ["db.example.org", "DB.Example.ORG", "a.pool.example.org", "192.0.2.1", "2001:db8::1"] {
        host_name::check(&server, host).unwrap();
    }
    // The common name, which is `server`, does not count beside alternative names of the host's kind.
    let others = [
        "server",
        "example.org",
        "pool.example.org",
        "a.b.pool.example.org",
        ".pool.example.org",
        "192.0.2.2",
        "2001:db8::2",
    ];
    for host in others {
        assert!(host_name::check(&server, host).is_err(), "{host}");
    }
    server.names.clear();
    host_name::check(&server, "SERVER").unwrap();
    let names = vec!["server".to_owned()];
    let wrong = CertificateProblem::WrongHost { host: "db.example.org".to_owned(), names };
    assert_eq!(host_name::check(&server, "db.example.org"), Err(wrong));
}
