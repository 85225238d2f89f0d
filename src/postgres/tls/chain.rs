//! Verifies the chain from a server's certificate to a trusted authority by OpenSSL's rules, which are libpq's: `check_chain`,
//! `check_ca` and `check_purpose_ssl_server` in `crypto/x509/x509_vfy.c` and `v3_purp.c`. They differ from those of browsers:
//! an authority that signs itself may be version 1, a server may be version 1 or an authority, and an authority is trusted
//! only if it signs itself.

use der::asn1::ObjectIdentifier;
use rustls::pki_types::{SignatureVerificationAlgorithm, UnixTime};

use super::certificate::{Certificate, PublicKey, same, shown};
use super::constraints;
use super::problem::CertificateProblem;

/// The most certificates of a chain.
const LONGEST: usize = 10;

/// The most signatures that are checked, so that a server cannot cause unlimited work.
const MOST_SIGNATURES: usize = 100;

/// id-kp-serverAuth, and two purposes of old browsers that OpenSSL accepts in its place.
const SERVER_PURPOSES: &[&str] = &["1.3.6.1.5.5.7.3.1", "1.3.6.1.4.1.311.10.3.3", "2.16.840.1.113730.4.1"];

/// The bit for servers in Netscape's certificate type.
const NETSCAPE_SERVER: u8 = 0x40;

/// What chains are built from.
#[derive(Debug)]
pub struct Chain<'a> {
    /// The trusted certificates.
    pub trusted: &'a [Certificate],
    /// The certificates that the server sent after its own.
    pub sent: &'a [Certificate],
    /// The time at which all must be valid.
    pub now: UnixTime,
    /// The algorithms of signatures.
    pub algorithms: &'a [&'static dyn SignatureVerificationAlgorithm],
}

impl Chain<'_> {
    /// Finds a valid chain from the server's certificate to a trusted one.
    pub fn verify(&self, server: &Certificate) -> Result<(), CertificateProblem> {
        self.extend(&mut vec![server], &mut MOST_SIGNATURES.clone())
    }

    fn extend<'c>(&'c self, path: &mut Vec<&'c Certificate>, budget: &mut usize) -> Result<(), CertificateProblem> {
        let Some(&last) = path.last() else { return Ok(()) };
        if last.self_issued() && self.trusted.iter().any(|trusted| trusted.der == last.der) {
            return self.check(path);
        }
        let mut problem = CertificateProblem::UnknownAuthority { issuer: shown(&last.issuer) };
        if path.len() == LONGEST {
            return Err(problem);
        }
        for issuer in self.trusted.iter().chain(self.sent) {
            if !same(&issuer.subject, &last.issuer) || path.iter().any(|earlier| earlier.der == issuer.der) {
                continue;
            }
            match budget.checked_sub(1) {
                Some(left) => *budget = left,
                None => return Err(problem),
            }
            if !signed(&issuer.key, &last.signature_algorithm, &last.signed, &last.signature, self.algorithms) {
                continue;
            }
            path.push(issuer);
            let extended = self.extend(path, budget);
            path.pop();
            match extended {
                Ok(()) => return Ok(()),
                // The fault of a complete chain is more specific than that another chain is incomplete.
                Err(fault) if matches!(problem, CertificateProblem::UnknownAuthority { .. }) => problem = fault,
                Err(_) => {}
            }
        }
        Err(problem)
    }

    /// Checks a chain whose signatures are valid.
    fn check(&self, path: &[&Certificate]) -> Result<(), CertificateProblem> {
        let mut authorities_below = 0;
        for (at, certificate) in path.iter().enumerate() {
            let refuse =
                |why: &str| CertificateProblem::NotAllowed { subject: certificate.shown(), why: why.to_owned() };
            self.check_dates(certificate)?;
            if let Some(unknown) = &certificate.unknown {
                return Err(refuse(&format!("has the critical extension {unknown}, which is not supported")));
            }
            check_purpose(certificate, at == 0).map_err(refuse)?;
            if at > 0 {
                check_authority(certificate, at + 1 == path.len()).map_err(refuse)?;
                let most = certificate.basic.as_ref().and_then(|basic| basic.path_len_constraint);
                if most.is_some_and(|most| authorities_below > usize::from(most)) {
                    return Err(refuse("has more authorities below it than it allows"));
                }
                authorities_below += usize::from(!certificate.self_issued());
            }
            // A certificate with which an authority changes its key has no new name.
            if at > 0 && at + 1 < path.len() && certificate.self_issued() {
                continue;
            }
            let above = path[at + 1..].iter().filter_map(|above| above.constraints.as_ref());
            let mut breaches = above.filter_map(|above| constraints::breach(certificate, above, at == 0));
            if let Some(why) = breaches.next() {
                return Err(refuse(why));
            }
        }
        Ok(())
    }

    fn check_dates(&self, certificate: &Certificate) -> Result<(), CertificateProblem> {
        match self.now.as_secs() {
            now if now < certificate.not_before => {
                Err(CertificateProblem::NotYetValid { subject: certificate.shown() })
            }
            now if now > certificate.not_after => Err(CertificateProblem::Expired { subject: certificate.shown() }),
            _ => Ok(()),
        }
    }
}

/// Whether a certificate, or one that it signs, may be that of a TLS server.
fn check_purpose(certificate: &Certificate, is_server: bool) -> Result<(), &'static str> {
    let for_servers = |purpose: &ObjectIdentifier| {
        SERVER_PURPOSES.iter().any(|known| ObjectIdentifier::new(known).as_ref() == Ok(purpose))
    };
    if certificate.purposes.as_ref().is_some_and(|purposes| !purposes.0.iter().any(for_servers)) {
        return Err("is not for servers (extendedKeyUsage)");
    }
    if !is_server {
        return Ok(());
    }
    if certificate.netscape.is_some_and(|kinds| kinds & NETSCAPE_SERVER == 0) {
        return Err("is not for servers (nsCertType)");
    }
    match &certificate.usage {
        Some(usage) if !(usage.digital_signature() || usage.key_encipherment() || usage.key_agreement()) => {
            Err("is not for TLS (keyUsage)")
        }
        _ => Ok(()),
    }
}

/// Whether a certificate may sign others. The last one of a chain, which signs itself, may be older than the extension
/// basicConstraints.
fn check_authority(certificate: &Certificate, is_last: bool) -> Result<(), &'static str> {
    if certificate.usage.as_ref().is_some_and(|usage| !usage.key_cert_sign()) {
        return Err("may not sign certificates (keyUsage)");
    }
    match &certificate.basic {
        Some(basic) if basic.ca => Ok(()),
        None if is_last && (certificate.version_1 || certificate.usage.is_some()) => Ok(()),
        _ => Err("is not of an authority (basicConstraints)"),
    }
}

/// Whether the signature is that of the key with this algorithm (the contents of an AlgorithmIdentifier).
fn signed(
    key: &PublicKey,
    algorithm: &[u8],
    message: &[u8],
    signature: &[u8],
    algorithms: &[&'static dyn SignatureVerificationAlgorithm],
) -> bool {
    algorithms.iter().any(|known| {
        known.public_key_alg_id().as_ref() == key.algorithm
            && known.signature_alg_id().as_ref() == algorithm
            && known.verify_signature(&key.bits, message, signature).is_ok()
    })
}
