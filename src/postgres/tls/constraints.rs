//! Name constraints of an authority (RFC 5280, section 4.2.1.10), as OpenSSL checks them
//! (`crypto/x509/v3_ncons.c`, `check_name_constraints` in `crypto/x509/x509_vfy.c`).

use std::mem::discriminant;

use der::asn1::Ia5String;
use x509_cert::ext::pkix::NameConstraints;
use x509_cert::ext::pkix::constraints::name::GeneralSubtree;
use x509_cert::ext::pkix::name::GeneralName;

use super::certificate::{Certificate, begins};
use super::host_name::common_names;

/// Why an authority may not sign a certificate with these names, if it may not. The common name of a server's certificate
/// without DNS names counts too.
pub fn breach(certificate: &Certificate, constraints: &NameConstraints, is_server: bool) -> Option<&'static str> {
    let permitted = constraints.permitted_subtrees.as_deref().unwrap_or_default();
    let excluded = constraints.excluded_subtrees.as_deref().unwrap_or_default();
    let limited = |subtree: &GeneralSubtree| subtree.minimum != 0 || subtree.maximum.is_some();
    if permitted.iter().chain(excluded).any(limited) {
        return Some("has name constraints above it that are not supported");
    }
    names(certificate, is_server).iter().find_map(|name| {
        let kind = discriminant(name);
        let of_kind = |subtrees: &[GeneralSubtree]| -> Vec<Option<bool>> {
            let bases = subtrees.iter().map(|subtree| &subtree.base).filter(|base| discriminant(*base) == kind);
            bases.map(|base| within(name, base)).collect()
        };
        let (permitted, excluded) = (of_kind(permitted), of_kind(excluded));
        if permitted.iter().chain(&excluded).any(Option::is_none) {
            return Some("has name constraints above it that are not supported");
        }
        let outside = !permitted.is_empty() && !permitted.contains(&Some(true));
        (outside || excluded.contains(&Some(true))).then_some("has a name that its authority may not sign")
    })
}

/// All names of a certificate.
fn names(certificate: &Certificate, is_server: bool) -> Vec<GeneralName> {
    let mut names = certificate.names.clone();
    if !certificate.subject.0.is_empty() {
        names.push(GeneralName::DirectoryName(certificate.subject.clone()));
    }
    if is_server && !names.iter().any(|name| matches!(name, GeneralName::DnsName(_))) {
        // As in OpenSSL, only a name of several labels is a host name.
        let host = |name: &&[u8]| {
            let letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'*');
            name.contains(&b'.') && name.iter().all(letter)
        };
        let hosts = common_names(certificate).filter(host).filter_map(|name| Ia5String::new(name).ok());
        names.extend(hosts.map(GeneralName::DnsName));
    }
    names
}

/// Whether a name is within a base of the same kind; none for kinds that are not supported.
fn within(name: &GeneralName, base: &GeneralName) -> Option<bool> {
    match (name, base) {
        (GeneralName::DnsName(name), GeneralName::DnsName(base)) => Some(domain(name.as_bytes(), base.as_bytes())),
        (GeneralName::IpAddress(name), GeneralName::IpAddress(base)) => Some(network(name.as_bytes(), base.as_bytes())),
        (GeneralName::DirectoryName(name), GeneralName::DirectoryName(base)) => Some(begins(name, base)),
        _ => None,
    }
}

fn domain(name: &[u8], base: &[u8]) -> bool {
    let Some(left) = name.len().checked_sub(base.len()) else { return false };
    let whole_labels = left == 0 || base.is_empty() || base[0] == b'.' || name[left - 1] == b'.';
    whole_labels && name[left..].eq_ignore_ascii_case(base)
}

fn network(address: &[u8], base: &[u8]) -> bool {
    let (network, mask) = base.split_at(base.len() / 2);
    address.len() == network.len()
        && network.len() == mask.len()
        && address.iter().zip(network).zip(mask).all(|((address, network), mask)| address & mask == network & mask)
}
