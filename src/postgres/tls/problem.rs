//! What is wrong with a server's certificate.

use std::fmt;
use std::sync::Arc;

use rustls::{CertificateError, OtherError};

/// Why a server's certificate is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateProblem {
    /// It, or a certificate that came with it, is no certificate that can be read.
    Unreadable(String),
    /// No trusted authority signed it.
    UnknownAuthority {
        /// The name of the authority that was looked for last.
        issuer: String,
    },
    /// One of the certificates up to the authority is not valid yet.
    NotYetValid {
        /// Whose certificate.
        subject: String,
    },
    /// One of the certificates up to the authority is not valid any more.
    Expired {
        /// Whose certificate.
        subject: String,
    },
    /// One of the certificates may not be used as it is used here.
    NotAllowed {
        /// Whose certificate.
        subject: String,
        /// What it may not, or has.
        why: String,
    },
    /// The certificate is another host's.
    WrongHost {
        /// The host that was asked for.
        host: String,
        /// The names in the certificate.
        names: Vec<String>,
    },
}

impl CertificateProblem {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            CertificateProblem::Unreadable(_) => {
                "look at ssl_cert_file of the server: psql with the same settings says more"
            }
            CertificateProblem::UnknownAuthority { .. } => {
                "DB_SSLROOTCERT must name the certificate of the authority that signed the server's certificate"
            }
            CertificateProblem::NotYetValid { .. } => {
                "look at the clocks of both hosts, and at the dates of the certificate"
            }
            CertificateProblem::Expired { .. } => {
                "the server needs a new certificate; look at the clock of this host too"
            }
            CertificateProblem::NotAllowed { .. } => "the server needs a certificate that is made for servers",
            CertificateProblem::WrongHost { .. } => {
                "set DB_HOST to a name that the certificate has, or DB_SSLMODE=verify-ca, which does not look at the name"
            }
        }
    }

    /// The problem that a failed handshake carries, if it is one.
    pub fn of(error: &rustls::Error) -> Option<&CertificateProblem> {
        match error {
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(problem))) => problem.downcast_ref(),
            _ => None,
        }
    }
}

impl From<CertificateProblem> for rustls::Error {
    fn from(problem: CertificateProblem) -> Self {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(problem))))
    }
}

impl std::error::Error for CertificateProblem {}

impl fmt::Display for CertificateProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CertificateProblem::Unreadable(why) => write!(f, "the server's certificate cannot be read: {why}"),
            CertificateProblem::UnknownAuthority { issuer } => {
                write!(
                    f,
                    "the server's certificate is not trusted: there is no trusted certificate of its issuer {issuer}"
                )
            }
            CertificateProblem::NotYetValid { subject } => {
                write!(f, "the server's certificate is not trusted: that of {subject} is not valid yet")
            }
            CertificateProblem::Expired { subject } => {
                write!(f, "the server's certificate is not trusted: that of {subject} has expired")
            }
            CertificateProblem::NotAllowed { subject, why } => {
                write!(f, "the server's certificate is not trusted: that of {subject} {why}")
            }
            CertificateProblem::WrongHost { host, names } if names.is_empty() => {
                write!(f, "the server's certificate has no name, and so not '{host}'")
            }
            CertificateProblem::WrongHost { host, names } => {
                write!(f, "the server's certificate is for {}, and not for '{host}'", names.join(", "))
            }
        }
    }
}
