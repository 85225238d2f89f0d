//! TLS of connections to mail servers: which certificates are trusted, and how they are verified (Web PKI). Sessions with
//! PostgreSQL follow libpq instead (`postgres::tls`).

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WantsClientCert, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::{Error, Kind, Result};

/// The system's authorities, at the path of Debian and NixOS.
pub const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Begins the configuration of a client that verifies the server's certificate and name.
pub fn client(trust: Trust) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier { provider: Arc::clone(&provider), trust };
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refuse("TLS cannot be used", &error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier)))
}

/// The error for an unusable TLS setting.
pub fn refuse(what: &str, error: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Config, format!("{what}: {error}"))
}

/// Reads the certificates of a PEM file. `setting` names the setting for messages.
pub fn certificates(setting: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<std::result::Result<Vec<_>, _>>();
    read().map_err(|error| refuse(&format!("{setting} {} cannot be used", path.display()), &error))
}

/// Trusted certificates.
#[derive(Debug)]
pub struct Trust {
    roots: RootCertStore,
    certificates: Vec<CertificateDer<'static>>,
}

impl Trust {
    /// Reads them from a PEM file. `setting` names the setting for messages.
    pub fn read(setting: &str, path: &Path) -> Result<Self> {
        let certificates = certificates(setting, path)?;
        let mut roots = RootCertStore::empty();
        let (usable, _) = roots.add_parsable_certificates(certificates.iter().cloned());
        match usable {
            0 => Err(Error::new(Kind::Config, format!("{setting} {} contains no certificate", path.display()))),
            _ => Ok(Trust { roots, certificates }),
        }
    }
}

#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    trust: Trust,
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
        let certificate = ParsedCertificate::try_from(end_entity)?;
        // A self-signed certificate that is itself in the file is trusted, as by OpenSSL.
        if !self.trust.certificates.contains(end_entity) {
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, &self.trust.roots, intermediates, now, algorithms)?;
        }
        verify_server_name(&certificate, server_name)?;
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
