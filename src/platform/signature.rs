//! Revio's signature over a webhook: RSASSA-PKCS1-v1_5 with SHA-256 over the raw body, in base64, in `X-Signature`. Several keys may
//! be valid at once, so that a key can be changed without losing an event.

use aws_lc_rs::rsa::PublicKey;
use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use base64::prelude::{BASE64_STANDARD, Engine};
use tokio_rustls::{rustls::pki_types::SubjectPublicKeyInfoDer, rustls::pki_types::pem::PemObject};

/// Bits of a modulus. 2048 and 3072 were seen (`docs/provider.md`, keys); 4096 is room for a larger key.
const KEY_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
/// Keys that may be valid at once: each costs one verification of an unverified call.
const KEYS_MAX: usize = 8;

#[derive(Clone)]
pub struct PublicKeys(Vec<ParsedPublicKey>);

/// Why a body is not believed. The text goes into the delivery log, not to the caller.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone, Copy)]
pub enum BadSignature {
    #[error("there is no X-Signature")]
    Missing,
    #[error("there is more than one X-Signature")]
    Repeated,
    #[error("X-Signature is not base64")]
    NotBase64,
    #[error("no key fits: wrong length, wrong key or other bytes")]
    Wrong,
}

impl PublicKeys {
    /// Reads one or several PEM blocks. Literal `\n` and surrounding quotes, as hosting panels leave them, are undone.
    pub fn from_pem(text: &str) -> Result<Self, String> {
        let text = text.trim().trim_matches(['"', '\'']).replace("\\n", "\n");
        let blocks = SubjectPublicKeyInfoDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>();
        let blocks = blocks.map_err(|_| "is not PEM")?;
        if blocks.is_empty() || blocks.len() > KEYS_MAX {
            return Err(format!("must hold 1 to {KEYS_MAX} blocks of BEGIN PUBLIC KEY"));
        }
        let mut keys = Vec::with_capacity(blocks.len());
        for (index, block) in blocks.iter().enumerate() {
            let position = index.saturating_add(1);
            let not_rsa = |_| format!("block {position} is not an RSA public key");
            let key = PublicKey::from_der(block).map_err(not_rsa)?;
            if !KEY_BITS.contains(&bits(&key)) {
                return Err(format!("block {position} is not of 2048 to 4096 bits"));
            }
            keys.push(ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, block).map_err(not_rsa)?);
        }
        Ok(Self(keys))
    }

    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// Whether one of the keys signed exactly these bytes.
    pub fn verify<'h>(&self, body: &[u8], mut headers: impl Iterator<Item = &'h [u8]>) -> Result<(), BadSignature> {
        let header = headers.next().ok_or(BadSignature::Missing)?;
        if headers.next().is_some() {
            return Err(BadSignature::Repeated);
        }
        // Strict: no white space, no missing padding, no second spelling of the same bytes.
        let signature = BASE64_STANDARD.decode(header).map_err(|_| BadSignature::NotBase64)?;
        if self.0.iter().any(|key| key.verify_sig(body, &signature).is_ok()) {
            Ok(())
        } else {
            Err(BadSignature::Wrong)
        }
    }
}

/// The length of the modulus.
fn bits(key: &PublicKey) -> usize {
    let modulus = key.modulus();
    let bytes = modulus.big_endian_without_leading_zero();
    let leading = bytes.first().map_or(0, |byte| byte.leading_zeros());
    bytes.len() * 8 - usize::try_from(leading).unwrap_or(0)
}

impl std::fmt::Debug for PublicKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} public keys", self.0.len())
    }
}
