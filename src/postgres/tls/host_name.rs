//! Checks that a certificate is that of a host, by libpq's rules (`src/interfaces/libpq/fe-secure-common.c` and
//! `pgtls_verify_peer_name_matches_certificate_guts` in `fe-secure-openssl.c`).

use std::net::IpAddr;

use der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::name::GeneralName;

use super::certificate::Certificate;
use super::problem::CertificateProblem;
use crate::printable::printable;

/// commonName (RFC 4519).
const COMMON_NAME: &str = "2.5.4.3";

/// Checks the host against the certificate's names. The common name counts only if the certificate has no alternative name of
/// the host's kind, which is address or name.
///
/// # Errors
/// [`CertificateProblem::WrongHost`] with the names that were compared.
pub fn check(certificate: &Certificate, host: &str) -> Result<(), CertificateProblem> {
    let address: Option<IpAddr> = host.parse().ok();
    let mut shown = Vec::new();
    let mut has_kind = false;
    for name in &certificate.names {
        match name {
            GeneralName::DnsName(name) => {
                has_kind |= address.is_none();
                if matches(name.as_bytes(), host) {
                    return Ok(());
                }
                shown.push(printable(name.as_str()));
            }
            GeneralName::IpAddress(bytes) => {
                has_kind |= address.is_some();
                let own = ip(bytes.as_bytes());
                if own.is_some() && own == address {
                    return Ok(());
                }
                shown.extend(own.map(|own| own.to_string()));
            }
            _ => {}
        }
    }
    if !has_kind && let Some(name) = common_names(certificate).next() {
        if matches(name, host) {
            return Ok(());
        }
        shown.push(printable(&String::from_utf8_lossy(name)));
    }
    Err(CertificateProblem::WrongHost { host: host.to_owned(), names: shown })
}

/// The common names of a certificate's subject, as bytes.
pub fn common_names(certificate: &Certificate) -> impl Iterator<Item = &[u8]> {
    let values = certificate.subject.0.iter().flat_map(|part| part.0.iter());
    values.filter(|value| ObjectIdentifier::new(COMMON_NAME) == Ok(value.oid)).map(|value| value.value.value())
}

/// Whether a name without a zero byte is the host's, or is a pattern `*.domain` and the host has one more label.
fn matches(name: &[u8], host: &str) -> bool {
    let host = host.as_bytes();
    if name.is_empty() || name.contains(&0) {
        return false;
    }
    if name.eq_ignore_ascii_case(host) {
        return true;
    }
    let Some(domain) = name.strip_prefix(b"*").filter(|rest| rest.len() >= 2 && rest[0] == b'.') else { return false };
    let Some(label) = host.len().checked_sub(domain.len()).filter(|label| *label > 0) else { return false };
    host[label..].eq_ignore_ascii_case(domain) && !host[..label].contains(&b'.')
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}
