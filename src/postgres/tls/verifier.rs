//! Verifies a server's certificate and handshake by the rules of libpq and OpenSSL.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, SignatureVerificationAlgorithm, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, PeerMisbehaved, SignatureScheme};

use super::certificate::{Certificate, PublicKey};
use super::chain::Chain;
use super::problem::CertificateProblem;
use super::{host_name, signature};

/// Verifies a server as the TLS mode requires.
#[derive(Debug)]
pub struct Verifier {
    /// The provider of cryptographic algorithms.
    pub provider: Arc<CryptoProvider>,
    /// The trusted certificates; none if the server's is not checked.
    pub trusted: Option<Vec<Certificate>>,
    /// The host that the certificate must name, if that is checked.
    pub host: Option<String>,
}

type Algorithms = Vec<&'static dyn SignatureVerificationAlgorithm>;

impl Verifier {
    fn algorithms(&self) -> Algorithms {
        let own = self.provider.signature_verification_algorithms.all;
        own.iter().chain(signature::ALGORITHMS).copied().collect()
    }

    /// The algorithms of a scheme; the first one is that of TLS 1.3.
    fn of_scheme(&self, scheme: SignatureScheme) -> Algorithms {
        let schemes = self.provider.signature_verification_algorithms.mapping.iter().chain(signature::SCHEMES);
        schemes.filter(|(known, _)| *known == scheme).flat_map(|(_, algorithms)| algorithms.iter().copied()).collect()
    }

    /// Checks that the server has the key of its certificate, which may be of any version.
    fn handshake(
        &self,
        algorithms: &[&'static dyn SignatureVerificationAlgorithm],
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if algorithms.is_empty() {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        let key = PublicKey::read(certificate)?;
        let valid = algorithms.iter().any(|algorithm| {
            algorithm.public_key_alg_id().as_ref() == key.algorithm
                && algorithm.verify_signature(&key.bits, message, signed.signature()).is_ok()
        });
        match valid {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(rustls::Error::InvalidCertificate(CertificateError::BadSignature)),
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(trusted) = &self.trusted else { return Ok(ServerCertVerified::assertion()) };
        let server = Certificate::read(end_entity)?;
        let sent: Vec<Certificate> =
            intermediates.iter().map(Certificate::read).collect::<Result<_, CertificateProblem>>()?;
        let algorithms = self.algorithms();
        Chain { trusted, sent: &sent, now, algorithms: &algorithms }.verify(&server)?;
        if let Some(host) = &self.host {
            host_name::check(&server, host)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.handshake(&self.of_scheme(signed.scheme), message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = self.of_scheme(signed.scheme);
        self.handshake(&algorithms[..algorithms.len().min(1)], message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.provider.signature_verification_algorithms.supported_schemes();
        let more = signature::SCHEMES.iter().map(|(scheme, _)| *scheme).filter(|scheme| !schemes.contains(scheme));
        schemes.extend(more.collect::<Vec<_>>());
        schemes
    }
}
