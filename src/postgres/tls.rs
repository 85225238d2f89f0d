//! TLS for our own connections, by libpq's rules (PostgreSQL documentation, "SSL Support").

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::{SslMode, Tls};
use crate::error::{Error, Kind, Result};

/// The system's authorities, where Debian and NixOS have them.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

impl Tls {
    /// The file of trusted authorities, for modes that look at the server's certificate: `DB_SSLROOTCERT`, or the
    /// system's. As in libpq, `require` looks at it where a file is set.
    pub fn roots(&self) -> Option<&Path> {
        match (self.mode, self.root_cert.as_deref()) {
            (SslMode::Disable | SslMode::Prefer, _) => None,
            (_, Some(path)) => Some(path),
            (SslMode::Require, None) => None,
            (SslMode::VerifyCa | SslMode::VerifyFull, None) => Some(Path::new(SYSTEM_ROOTS)),
        }
    }

    /// A connector that looks at the server's certificate as the mode asks.
    pub fn connector(&self) -> Result<MakeRustlsConnect> {
        let provider = Arc::new(ring::default_provider());
        let verifier = Verifier {
            provider: Arc::clone(&provider),
            trust: self.roots().map(Trust::read).transpose()?,
            check_name: self.mode == SslMode::VerifyFull,
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| refuse("TLS cannot be used", &error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let config = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let key = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| refuse(&format!("DB_SSLKEY {} cannot be used", key.display()), &error))?;
                builder
                    .with_client_auth_cert(certificates("DB_SSLCERT", cert)?, key)
                    .map_err(|error| refuse("DB_SSLCERT and DB_SSLKEY cannot be used", &error))?
            }
            _ => builder.with_no_client_auth(),
        };
        Ok(MakeRustlsConnect::new(config))
    }
}

fn refuse(what: &str, error: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Config, format!("{what}: {error}"))
}

fn certificates(variable: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<std::result::Result<Vec<_>, _>>();
    read().map_err(|error| refuse(&format!("{variable} {} cannot be used", path.display()), &error))
}

#[derive(Debug)]
struct Trust {
    roots: RootCertStore,
    certificates: Vec<CertificateDer<'static>>,
}

impl Trust {
    fn read(path: &Path) -> Result<Self> {
        let certificates = certificates("DB_SSLROOTCERT", path)?;
        let mut roots = RootCertStore::empty();
        let (usable, _) = roots.add_parsable_certificates(certificates.iter().cloned());
        match usable {
            0 => Err(Error::new(Kind::Config, format!("DB_SSLROOTCERT {} has no certificate", path.display()))),
            _ => Ok(Trust { roots, certificates }),
        }
    }
}

#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    trust: Option<Trust>,
    check_name: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let Some(trust) = &self.trust else { return Ok(ServerCertVerified::assertion()) };
        let certificate = ParsedCertificate::try_from(end_entity)?;
        // A self-signed certificate that is itself in the file is trusted, as OpenSSL and so libpq do.
        if !trust.certificates.contains(end_entity) {
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, &trust.roots, intermediates, now, algorithms)?;
        }
        if self.check_name {
            verify_server_name(&certificate, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
