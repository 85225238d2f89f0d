//! TLS for connections to PostgreSQL, by libpq's rules (PostgreSQL documentation, "SSL Support").

use std::path::Path;

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::{SslMode, Tls};
use crate::error::Result;
use crate::tls::{SYSTEM_ROOTS, Trust, certificates, client, refuse};

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
        let trust = self.roots().map(|path| Trust::read("DB_SSLROOTCERT", path)).transpose()?;
        let builder = client(trust, self.mode == SslMode::VerifyFull)?;
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
