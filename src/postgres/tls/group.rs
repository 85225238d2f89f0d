//! Key exchange on the curve P-521, which the ring provider of rustls lacks: servers with `ssl_ecdh_curve = secp521r1`
//! accept no other, and with TLS 1.2 a server sends a certificate on this curve only to clients that support it
//! (RFC 8422, section 5.1.1).

use p521::elliptic_curve::sec1::ToEncodedPoint;
use p521::{PublicKey, SecretKey, ecdh};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::crypto::{ActiveKeyExchange, GetRandomFailed, SharedSecret, SupportedKxGroup};
use rustls::{Error, NamedGroup, PeerMisbehaved};

/// Bytes of a private key; the first byte has one bit.
const KEY_LENGTH: usize = 66;

/// The group `secp521r1`.
#[derive(Debug)]
pub struct P521;

struct Exchange {
    private: SecretKey,
    public: Vec<u8>,
}

impl SupportedKxGroup for P521 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let random = SystemRandom::new();
        // FIPS 186-5, appendix A.2.2: random bits, until they are a valid key.
        let private = loop {
            let mut bytes = [0; KEY_LENGTH];
            random.fill(&mut bytes).map_err(|_| GetRandomFailed)?;
            bytes[0] &= 1;
            if let Ok(private) = SecretKey::from_slice(&bytes) {
                break private;
            }
        };
        let public = private.public_key().to_encoded_point(false).as_bytes().to_vec();
        Ok(Box::new(Exchange { private, public }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::secp521r1
    }
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer_pub_key: &[u8]) -> Result<SharedSecret, Error> {
        // RFC 8446, section 4.2.8.2: points are uncompressed.
        let peer = Some(peer_pub_key).filter(|key| key.first() == Some(&4));
        let peer = peer.and_then(|key| PublicKey::from_sec1_bytes(key).ok()).ok_or(PeerMisbehaved::InvalidKeyShare)?;
        let secret = ecdh::diffie_hellman(self.private.to_nonzero_scalar(), peer.as_affine());
        Ok(SharedSecret::from(secret.raw_secret_bytes().as_slice()))
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::secp521r1
    }
}
