//! The parts of an X.509 certificate that verifying a chain needs (RFC 5280). Any version is read: `openssl x509 -req`,
//! which the PostgreSQL manual uses, makes version 1.

use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier};
use der::{Decode, Encode, Reader, SliceReader};
use rustls::pki_types::CertificateDer;
use x509_cert::certificate::{CertificateInner, Raw, Version};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, NameConstraints, SubjectAltName};
use x509_cert::name::Name;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use super::problem::CertificateProblem;
use crate::printable::printable;

/// Critical extensions that are checked here, or that OpenSSL ignores unless policies are requested
/// (`X509_supported_extension` in `crypto/x509/v3_purp.c`).
const KNOWN: &[&str] = &[
    "2.5.29.15", // keyUsage
    "2.5.29.17", // subjectAltName
    "2.5.29.19", // basicConstraints
    "2.5.29.30", // nameConstraints
    "2.5.29.31", // cRLDistributionPoints
    "2.5.29.32", // certificatePolicies
    "2.5.29.33", // policyMappings
    "2.5.29.36", // policyConstraints
    "2.5.29.37", // extKeyUsage
    "2.5.29.54", // inhibitAnyPolicy
    NETSCAPE_CERT_TYPE,
];

const NETSCAPE_CERT_TYPE: &str = "2.16.840.1.113730.1.1";

/// A certificate, with the bytes that its issuer signed.
#[derive(Debug)]
pub struct Certificate {
    /// The whole certificate.
    pub der: CertificateDer<'static>,
    /// The bytes under the signature.
    pub signed: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
    /// The algorithm of the signature: the contents of its AlgorithmIdentifier.
    pub signature_algorithm: Vec<u8>,
    /// The public key.
    pub key: PublicKey,
    /// Whether it has version 1, which has no extensions.
    pub version_1: bool,
    /// The owner of the certificate.
    pub subject: Name,
    /// The authority that signed it.
    pub issuer: Name,
    /// Start of its validity, in seconds since 1970.
    pub not_before: u64,
    /// End of its validity, in seconds since 1970.
    pub not_after: u64,
    /// basicConstraints.
    pub basic: Option<BasicConstraints>,
    /// keyUsage.
    pub usage: Option<KeyUsage>,
    /// extKeyUsage.
    pub purposes: Option<ExtendedKeyUsage>,
    /// The first byte of Netscape's certificate type.
    pub netscape: Option<u8>,
    /// subjectAltName.
    pub names: Vec<GeneralName>,
    /// nameConstraints.
    pub constraints: Option<NameConstraints>,
    /// A critical extension that is not supported here.
    pub unknown: Option<ObjectIdentifier>,
}

/// The public key of a certificate.
#[derive(Debug)]
pub struct PublicKey {
    /// Its kind: the contents of its AlgorithmIdentifier.
    pub algorithm: Vec<u8>,
    /// The key itself.
    pub bits: Vec<u8>,
    /// Both, as they stand in the certificate.
    pub info: Vec<u8>,
}

impl PublicKey {
    /// Reads the key of a certificate with any extensions.
    pub fn read(der: &CertificateDer<'_>) -> Result<Self, CertificateProblem> {
        let whole = CertificateInner::<Raw>::from_der(der);
        let key = whole.and_then(|whole| PublicKey::of(&whole.tbs_certificate.subject_public_key_info));
        key.map_err(|error| CertificateProblem::Unreadable(error.to_string()))
    }

    fn of(info: &SubjectPublicKeyInfoOwned) -> der::Result<Self> {
        Ok(PublicKey {
            algorithm: contents(&info.algorithm)?,
            bits: info.subject_public_key.as_bytes().ok_or(der::ErrorKind::Failed)?.to_vec(),
            info: info.to_der()?,
        })
    }
}

impl Certificate {
    /// Reads a certificate.
    pub fn read(der: &CertificateDer<'_>) -> Result<Self, CertificateProblem> {
        read(der).map_err(|error| CertificateProblem::Unreadable(error.to_string()))
    }

    /// Whether its issuer has the same name.
    pub fn self_issued(&self) -> bool {
        same(&self.subject, &self.issuer)
    }

    /// Its subject, for messages.
    pub fn shown(&self) -> String {
        shown(&self.subject)
    }
}

fn read(der: &CertificateDer<'_>) -> der::Result<Certificate> {
    let whole = CertificateInner::<Raw>::from_der(der)?;
    let mut parts = SliceReader::new(AnyRef::from_der(der)?.value())?;
    let signed = parts.tlv_bytes()?.to_vec();
    let tbs = whole.tbs_certificate;
    let broken = || der::Error::from(der::ErrorKind::Failed);
    // RFC 5280, section 4.1.1.2: both must be the same.
    if tbs.signature != whole.signature_algorithm {
        return Err(broken());
    }
    let extensions = tbs.extensions.as_deref().unwrap_or_default();
    let repeated = |at: usize| extensions[..at].iter().any(|other| other.extn_id == extensions[at].extn_id);
    if (tbs.version == Version::V1 && !extensions.is_empty()) || (0..extensions.len()).any(repeated) {
        return Err(broken());
    }
    let known = |id: &ObjectIdentifier| KNOWN.iter().any(|known| ObjectIdentifier::new(known).as_ref() == Ok(id));
    let netscape =
        extensions.iter().find(|extension| ObjectIdentifier::new(NETSCAPE_CERT_TYPE) == Ok(extension.extn_id));
    let netscape = netscape.map(|extension| BitStringRef::from_der(extension.extn_value.as_bytes())).transpose()?;
    Ok(Certificate {
        der: der.clone().into_owned(),
        signed,
        signature: whole.signature.as_bytes().ok_or_else(broken)?.to_vec(),
        signature_algorithm: contents(&whole.signature_algorithm)?,
        key: PublicKey::of(&tbs.subject_public_key_info)?,
        version_1: tbs.version == Version::V1,
        not_before: tbs.validity.not_before.to_unix_duration().as_secs(),
        not_after: tbs.validity.not_after.to_unix_duration().as_secs(),
        basic: tbs.get::<BasicConstraints>()?.map(|(_, basic)| basic),
        usage: tbs.get::<KeyUsage>()?.map(|(_, usage)| usage),
        purposes: tbs.get::<ExtendedKeyUsage>()?.map(|(_, purposes)| purposes),
        netscape: netscape.map(|kinds| kinds.raw_bytes().first().copied().unwrap_or_default()),
        names: tbs.get::<SubjectAltName>()?.map(|(_, names)| names.0).unwrap_or_default(),
        constraints: tbs.get::<NameConstraints>()?.map(|(_, constraints)| constraints),
        unknown: extensions
            .iter()
            .find(|extension| extension.critical && !known(&extension.extn_id))
            .map(|extension| extension.extn_id),
        subject: tbs.subject,
        issuer: tbs.issuer,
    })
}

/// An AlgorithmIdentifier without the header of its SEQUENCE, as rustls names algorithms.
fn contents(algorithm: &AlgorithmIdentifierOwned) -> der::Result<Vec<u8>> {
    let der = algorithm.to_der()?;
    Ok(AnyRef::from_der(&der)?.value().to_vec())
}

/// A name for messages: `'CN=db.example.org'`.
pub fn shown(name: &Name) -> String {
    format!("'{}'", printable(&name.to_string()))
}

/// Whether two names are equal by OpenSSL's rules: without regard to case and to the number of spaces
/// (`x509_name_canon` in `crypto/x509/x_name.c`).
pub fn same(one: &Name, other: &Name) -> bool {
    one.0.len() == other.0.len() && begins(one, other)
}

/// Whether `name` begins with the parts of `base`.
pub fn begins(name: &Name, base: &Name) -> bool {
    let canonical = |name: &Name| -> Vec<Vec<(ObjectIdentifier, Vec<u8>)>> {
        let part = |part: &x509_cert::name::RelativeDistinguishedName| {
            part.0.iter().map(|value| (value.oid, canonical(value.value.value()))).collect()
        };
        name.0.iter().map(part).collect()
    };
    canonical(name).starts_with(&canonical(base))
}

fn canonical(text: &[u8]) -> Vec<u8> {
    let words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words.map(<[u8]>::to_ascii_lowercase).collect::<Vec<_>>().join(&b' ')
}
