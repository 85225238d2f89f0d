//! Signatures that OpenSSL can verify but the ring provider of rustls cannot: ECDSA on the curve P-521, and SHA-512 on the
//! smaller curves.

use p256::ecdsa::signature::hazmat::PrehashVerifier;
use ring::digest::{Algorithm, SHA256, SHA384, SHA512, digest};
use rustls::SignatureScheme;
use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};

/// The widest field element of the curves here, in bytes.
const WIDEST: usize = 66;

/// One curve with one digest.
#[derive(Debug)]
struct Ecdsa {
    curve: Curve,
    digest: &'static Algorithm,
    digest_id: AlgorithmIdentifier,
}

#[derive(Clone, Copy, Debug)]
enum Curve {
    P256,
    P384,
    P521,
}

static P256_SHA512: Ecdsa = Ecdsa::new(Curve::P256, &SHA512, alg_id::ECDSA_SHA512);
static P384_SHA512: Ecdsa = Ecdsa::new(Curve::P384, &SHA512, alg_id::ECDSA_SHA512);
static P521_SHA256: Ecdsa = Ecdsa::new(Curve::P521, &SHA256, alg_id::ECDSA_SHA256);
static P521_SHA384: Ecdsa = Ecdsa::new(Curve::P521, &SHA384, alg_id::ECDSA_SHA384);
static P521_SHA512: Ecdsa = Ecdsa::new(Curve::P521, &SHA512, alg_id::ECDSA_SHA512);

/// Algorithms of certificate signatures besides those of the provider.
pub static ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] =
    &[&P256_SHA512, &P384_SHA512, &P521_SHA256, &P521_SHA384, &P521_SHA512];

/// Schemes of handshake signatures besides those of the provider. TLS 1.3 fixes the curve of a scheme, which comes first;
/// TLS 1.2 accepts any (RFC 8446, section 4.2.3).
pub static SCHEMES: &[(SignatureScheme, &[&dyn SignatureVerificationAlgorithm])] = &[
    (SignatureScheme::ECDSA_NISTP521_SHA512, &[&P521_SHA512, &P384_SHA512, &P256_SHA512]),
    (SignatureScheme::ECDSA_NISTP384_SHA384, &[&P521_SHA384]),
    (SignatureScheme::ECDSA_NISTP256_SHA256, &[&P521_SHA256]),
];

impl Ecdsa {
    const fn new(curve: Curve, digest: &'static Algorithm, digest_id: AlgorithmIdentifier) -> Self {
        Ecdsa { curve, digest, digest_id }
    }
}

impl SignatureVerificationAlgorithm for Ecdsa {
    fn verify_signature(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let digest = digest(self.digest, message);
        // FIPS 186-5, section 6.4: the digest is an integer, which leading zeros do not change. The library rejects a
        // digest that is shorter than half a field element.
        let mut padded = [0; WIDEST];
        let short = digest.as_ref();
        padded[WIDEST - short.len()..].copy_from_slice(short);
        let verified = match self.curve {
            Curve::P256 => p256::ecdsa::VerifyingKey::from_sec1_bytes(public_key)
                .and_then(|key| key.verify_prehash(short, &p256::ecdsa::Signature::from_der(signature)?)),
            Curve::P384 => p384::ecdsa::VerifyingKey::from_sec1_bytes(public_key)
                .and_then(|key| key.verify_prehash(short, &p384::ecdsa::Signature::from_der(signature)?)),
            Curve::P521 => p521::ecdsa::VerifyingKey::from_sec1_bytes(public_key)
                .and_then(|key| key.verify_prehash(&padded, &p521::ecdsa::Signature::from_der(signature)?)),
        };
        verified.map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        match self.curve {
            Curve::P256 => alg_id::ECDSA_P256,
            Curve::P384 => alg_id::ECDSA_P384,
            Curve::P521 => alg_id::ECDSA_P521,
        }
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.digest_id
    }
}
