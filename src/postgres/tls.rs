//! TLS for connections to PostgreSQL, by libpq's rules (PostgreSQL documentation, "SSL Support").

mod certificate;
mod chain;
mod constraints;
mod group;
mod host_name;
mod problem;
mod signature;
#[cfg(test)]
mod tests;
mod verifier;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::{SslMode, Tls};
use crate::error::{Error, Kind, Result};
use crate::tls::{SYSTEM_ROOTS, certificates, refuse};
use certificate::{Certificate, PublicKey};
pub use problem::CertificateProblem;
use verifier::Verifier;

impl Tls {
    /// The file of trusted authorities against which the server's certificate is checked: `DB_SSLROOTCERT`, else libpq's
    /// `~/.postgresql/root.crt` if there is one. Without it `verify-ca` and `verify-full` use the system's, and the
    /// other modes do not check the certificate.
    pub fn roots(&self) -> Option<PathBuf> {
        let verifies = matches!(self.mode, SslMode::VerifyCa | SslMode::VerifyFull);
        match self.mode {
            SslMode::Disable => None,
            _ => self
                .root_cert
                .clone()
                .or_else(|| of_home("root.crt"))
                .or_else(|| verifies.then(|| PathBuf::from(SYSTEM_ROOTS))),
        }
    }

    /// A connector to this host that checks the server's certificate according to the mode.
    ///
    /// # Errors
    /// `Config` for certificate and key files that cannot be used.
    pub fn connector(&self, host: &str) -> Result<MakeRustlsConnect> {
        let mut provider = ring::default_provider();
        provider.kx_groups.push(&group::P521);
        let provider = Arc::new(provider);
        let trusted = self.roots().map(|path| trusted(&path)).transpose()?;
        let host = (self.mode == SslMode::VerifyFull).then(|| host.to_owned());
        let verifier = Verifier { provider: Arc::clone(&provider), trusted, host };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| refuse("TLS cannot be used", &error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let own = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
            _ => of_home("postgresql.crt").map(|cert| (cert.clone(), cert.with_extension("key"))),
        };
        let config = match own {
            Some((cert, key)) => {
                let resolver = SingleCertAndKey::from(client_certificate(&provider, &cert, &key)?);
                builder.with_client_cert_resolver(Arc::new(resolver))
            }
            None => builder.with_no_client_auth(),
        };
        Ok(MakeRustlsConnect::new(config))
    }
}

/// A file that libpq reads from the home directory by default.
fn of_home(name: &str) -> Option<PathBuf> {
    std::env::home_dir().map(|home| home.join(".postgresql").join(name)).filter(|path| path.exists())
}

/// Reads trusted certificates. Unreadable ones are skipped.
fn trusted(path: &Path) -> Result<Vec<Certificate>> {
    let read = certificates("DB_SSLROOTCERT", path)?;
    let trusted: Vec<_> = read.iter().filter_map(|der| Certificate::read(der).ok()).collect();
    match trusted.is_empty() {
        true => Err(Error::new(Kind::Config, format!("DB_SSLROOTCERT {} has no certificate", path.display()))),
        false => Ok(trusted),
    }
}

/// Reads a client certificate of any version, and its key.
fn client_certificate(provider: &CryptoProvider, cert: &Path, key: &Path) -> Result<CertifiedKey> {
    let chain = certificates("DB_SSLCERT", cert)?;
    let refuse_key =
        |error: &dyn std::fmt::Display| refuse(&format!("DB_SSLKEY {} cannot be used", key.display()), error);
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| refuse_key(&error))?;
    let private = provider.key_provider.load_private_key(private).map_err(|error| refuse_key(&error))?;
    let Some(own) = chain.first() else {
        return Err(Error::new(Kind::Config, format!("DB_SSLCERT {} has no certificate", cert.display())));
    };
    let public = PublicKey::read(own)
        .map_err(|error| refuse(&format!("DB_SSLCERT {} cannot be used", cert.display()), &error))?;
    match private.public_key() {
        Some(key) if key.as_ref() != public.info => Err(Error::new(
            Kind::Config,
            "DB_SSLCERT and DB_SSLKEY cannot be used: the key does not match the certificate",
        )),
        _ => Ok(CertifiedKey::new(chain, private)),
    }
}
