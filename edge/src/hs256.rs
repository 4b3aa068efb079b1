//! HMAC-SHA-256 as the only algorithm that the token library gets to know.
//!
//! With no other algorithm behind it, a token that names one (`none`, a public-key one) cannot be
//! verified by mistake; and the library's own providers, one of which is built in C, stay out.

use std::sync::Once;

use hmac::{Hmac, Mac};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind, Result, new_error};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, EncodingKey};
use sha2::Sha256;
use signature::{Signer, Verifier};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| signer(*algorithm, key),
    verifier_factory: |algorithm, key| verifier(*algorithm, key),
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes this the library's provider; the first call does, the others find it done.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if PROVIDER.install_default().is_err() {
            tracing::warn!("another provider of token signatures was installed before");
        }
    });
}

#[derive(Clone)]
struct Hs256(Hmac<Sha256>);

impl Hs256 {
    fn keyed(algorithm: Algorithm, family: AlgorithmFamily, key: &[u8]) -> Result<Hs256> {
        if algorithm != Algorithm::HS256 || family != AlgorithmFamily::Hmac {
            return Err(new_error(ErrorKind::InvalidAlgorithm));
        }
        let bad_key = |_| Error::from(ErrorKind::InvalidKeyFormat);
        Hmac::new_from_slice(key).map(Hs256).map_err(bad_key)
    }
}

fn signer(algorithm: Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    Ok(Box::new(Hs256::keyed(algorithm, key.family(), key.as_bytes())?))
}

fn verifier(algorithm: Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    Ok(Box::new(Hs256::keyed(algorithm, key.family(), key.try_get_as_bytes()?)?))
}

impl Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, signature::Error> {
        Ok(self.0.clone().chain_update(message).finalize().into_bytes().to_vec())
    }
}

impl Verifier<Vec<u8>> for Hs256 {
    /// Compares in constant time.
    fn verify(&self, message: &[u8], tag: &Vec<u8>) -> std::result::Result<(), signature::Error> {
        let mac = self.0.clone().chain_update(message);
        mac.verify_slice(tag).map_err(signature::Error::from_source)
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 2.
    #[test]
    fn agrees_with_the_published_vector() {
        let key = EncodingKey::from_secret(b"Jefe");
        let message = b"what do ya want for nothing?";
        let tag = signer(Algorithm::HS256, &key).unwrap().try_sign(message).unwrap();
        let hex: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");

        let verifier = verifier(Algorithm::HS256, &DecodingKey::from_secret(b"Jefe")).unwrap();
        assert!(verifier.verify(message, &tag).is_ok());
        assert!(verifier.verify(message, &tag[..31].to_vec()).is_err());
        assert!(verifier.verify(message, &Vec::new()).is_err());
        assert!(verifier.verify(b"what", &tag).is_err());
    }

    #[test]
    fn knows_no_other_algorithm() {
        for algorithm in [Algorithm::HS384, Algorithm::HS512, Algorithm::RS256, Algorithm::ES256] {
            assert!(signer(algorithm, &EncodingKey::from_secret(b"k")).is_err());
            assert!(verifier(algorithm, &DecodingKey::from_secret(b"k")).is_err());
            assert!(verifier(algorithm, &DecodingKey::from_rsa_der(b"k")).is_err());
        }
    }
}
