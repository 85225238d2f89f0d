//! Faults of a server's certificate.

use std::fmt;
use std::sync::Arc;

use rustls::{CertificateError, OtherError};

/// Why a server's certificate is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateProblem {
    /// It, or a certificate that was sent with it, cannot be parsed.
    Unreadable(String),
    /// It was not signed by a trusted authority.
    UnknownAuthority {
        /// The name of the authority whose certificate is missing.
        issuer: String,
    },
    /// One of the certificates up to the authority is not valid yet.
    NotYetValid {
        /// The subject of that certificate.
        subject: String,
    },
    /// One of the certificates up to the authority has expired.
    Expired {
        /// The subject of that certificate.
        subject: String,
    },
    /// One of the certificates may not be used for this purpose.
    NotAllowed {
        /// The subject of that certificate.
        subject: String,
        /// The reason, as the predicate of a sentence.
        why: String,
    },
    /// The certificate is that of another host.
    WrongHost {
        /// The host to which we connect.
        host: String,
        /// The names in the certificate.
        names: Vec<String>,
    },
}

impl CertificateProblem {
    /// A hint for the user.
    pub fn hint(&self) -> &'static str {
        match self {
            CertificateProblem::Unreadable(_) => {
                "check ssl_cert_file of the server: psql with the same settings prints details"
            }
            CertificateProblem::UnknownAuthority { .. } => {
                "DB_SSLROOTCERT must name the certificate of the authority that signed the server's certificate"
            }
            CertificateProblem::NotYetValid { .. } => "check the clocks of both hosts and the dates of the certificate",
            CertificateProblem::Expired { .. } => {
                "the server needs a new certificate; check the clock of this host too"
            }
            CertificateProblem::NotAllowed { .. } => "the server needs a certificate that is issued for servers",
            CertificateProblem::WrongHost { .. } => {
                "set DB_HOST to a name that the certificate has, or DB_SSLMODE=verify-ca, which does not check the name"
            }
        }
    }

    /// The problem inside the error of a handshake, if it is about a certificate.
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
