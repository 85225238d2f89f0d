//! A certificate authority of the tests' own, and the certificates that it signed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::process::{hand_over, must, new_folder, plain};

/// Certificates and keys in a temporary folder.
#[derive(Debug)]
pub struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    /// Makes an authority, another one that signed none of the rest, a server certificate for `localhost` (not for
    /// 127.0.0.1, so that the name matters), and a client certificate for the role `certified`.
    pub fn make() -> Certificates {
        let certificates = Certificates { folder: new_folder() };
        certificates.sign("authority", "pgcellar test authority", None, "basicConstraints=critical,CA:TRUE");
        certificates.sign("stranger", "another authority", None, "basicConstraints=critical,CA:TRUE");
        certificates.sign("server", "localhost", Some("authority"), "subjectAltName=DNS:localhost");
        certificates.sign("client", "certified", Some("authority"), "extendedKeyUsage=clientAuth");
        certificates
    }

    fn sign(&self, name: &str, subject: &str, authority: Option<&str>, extension: &str) {
        let mut openssl = plain("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "30"]);
        openssl.arg("-subj").arg(format!("/CN={subject}")).arg("-keyout").arg(self.key(name));
        openssl.arg("-out").arg(self.certificate(name)).arg("-addext").arg(extension);
        if let Some(authority) = authority {
            openssl.arg("-CA").arg(self.certificate(authority)).arg("-CAkey").arg(self.key(authority));
            openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        }
        must(&mut openssl);
    }

    /// Adds a certificate for `localhost` that signs itself: `lonely`.
    pub fn add_self_signed(&self) {
        self.sign("lonely", "localhost", None, "subjectAltName=DNS:localhost");
    }

    /// Adds a certificate for `localhost` of the authority that was good for one month in 2020: `expired`.
    pub fn add_expired(&self) {
        let folder = self.folder.path();
        let config = format!(
            "[ca]\ndefault_ca=d\n[d]\ndatabase={0}/index\nnew_certs_dir={0}\nrand_serial=yes\ndefault_md=sha256\n\
             policy=p\nx509_extensions=e\n[p]\ncommonName=supplied\n[e]\nsubjectAltName=DNS:localhost\n\
             basicConstraints=critical,CA:FALSE\n",
            folder.display()
        );
        fs::write(folder.join("ca.conf"), config).unwrap();
        fs::write(folder.join("index"), "").unwrap();
        let mut request = plain("openssl");
        request.args([
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-noenc",
            "-subj",
            "/CN=localhost",
        ]);
        must(request.arg("-keyout").arg(self.key("expired")).arg("-out").arg(folder.join("request")));
        let mut sign = plain("openssl");
        sign.args(["ca", "-batch", "-notext", "-startdate", "20200101000000Z", "-enddate", "20200201000000Z"]);
        sign.arg("-config").arg(folder.join("ca.conf")).arg("-in").arg(folder.join("request"));
        sign.arg("-cert").arg(self.certificate("authority")).arg("-keyfile").arg(self.key("authority"));
        must(sign.arg("-out").arg(self.certificate("expired")));
    }

    /// The certificate of `authority`, `stranger`, `server`, `client` or what was added.
    pub fn certificate(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.crt"))
    }

    /// The private key of the same.
    pub fn key(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.key"))
    }

    /// Puts the server's files into its data directory and returns the settings that name them.
    pub fn server_settings(&self, data: &Path) -> Vec<String> {
        for (from, to) in [
            (self.certificate("server"), "server.crt"),
            (self.key("server"), "server.key"),
            (self.certificate("authority"), "authority.crt"),
        ] {
            fs::copy(from, data.join(to)).unwrap();
            fs::set_permissions(data.join(to), fs::Permissions::from_mode(0o600)).unwrap();
            hand_over(&data.join(to));
        }
        ["ssl=on", "ssl_ca_file=authority.crt"].map(str::to_owned).to_vec()
    }
}
