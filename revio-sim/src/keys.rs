//! RSA keys: PKCS#1 v1.5 with SHA-256 over the raw body, PEM in and out. Used by `webhooks.rs` (one key a webhook) and
//! `world.rs` (the company key). Signing is DOC-S for the scheme, see section 6.5 of the provider notes.

use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A key pair and both its PEM forms.
#[derive(Clone)]
pub(crate) struct SigningKey {
    pair: Arc<KeyPair>,
    private_pem: String,
    public_pem: String,
}

impl SigningKey {
    /// Real deployments use 2048 bits (a real sample) or 3072 (the documents' example).
    pub(crate) fn generate(bits: KeyBits) -> SigningKey {
        let size = match bits {
            KeyBits::Rsa2048 => KeySize::Rsa2048,
            KeyBits::Rsa3072 => KeySize::Rsa3072,
        };
        let pair = KeyPair::generate(size).expect("the random source of the machine works");
        let der: Pkcs8V1Der = pair.as_der().expect("a fresh key can be encoded");
        let private_pem = to_pem("PRIVATE KEY", der.as_ref());
        SigningKey::of(pair, private_pem)
    }

    /// Accepts PKCS#8 (`BEGIN PRIVATE KEY`) and PKCS#1 (`BEGIN RSA PRIVATE KEY`).
    pub(crate) fn from_pem(pem: &str) -> Result<SigningKey, String> {
        let der = from_pem(pem)?;
        let parsed =
            if pem.contains("BEGIN RSA PRIVATE KEY") { KeyPair::from_der(&der) } else { KeyPair::from_pkcs8(&der) };
        let pair = parsed.map_err(|rejected| format!("not an RSA private key: {rejected}"))?;
        Ok(SigningKey::of(pair, pem.to_owned()))
    }

    fn of(pair: KeyPair, private_pem: String) -> SigningKey {
        let der: PublicKeyX509Der = pair.public_key().as_der().expect("a parsed key has a public half");
        let public_pem = to_pem("PUBLIC KEY", der.as_ref());
        SigningKey { pair: Arc::new(pair), private_pem, public_pem }
    }

    /// SPKI (`BEGIN PUBLIC KEY`).
    pub(crate) fn public_pem(&self) -> &str {
        &self.public_pem
    }

    /// The value of `X-Signature`.
    pub(crate) fn sign(&self, body: &[u8]) -> String {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), body, &mut signature)
            .expect("the buffer has the length of the modulus");
        STANDARD.encode(signature)
    }
}

/// The two key sizes seen in public material.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyBits {
    #[default]
    Rsa2048,
    Rsa3072,
}

impl Serialize for SigningKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.private_pem)
    }
}

impl<'de> Deserialize<'de> for SigningKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SigningKey, D::Error> {
        let pem = String::deserialize(deserializer)?;
        SigningKey::from_pem(&pem).map_err(serde::de::Error::custom)
    }
}

fn to_pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for (index, character) in text.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            pem.push('\n');
        }
        pem.push(character);
    }
    pem + &format!("\n-----END {label}-----\n")
}

fn from_pem(pem: &str) -> Result<Vec<u8>, String> {
    let inner: String = pem.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(inner).map_err(|error| format!("not a PEM file: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rsa::pkcs8::DecodePublicKey;
    use rsa::sha2::{Digest, Sha256};

    #[test]
    fn a_signature_verifies_with_the_published_key_and_fails_when_tampered() {
        let key = SigningKey::generate(KeyBits::Rsa2048);
        let public = rsa::RsaPublicKey::from_public_key_pem(key.public_pem()).unwrap();
        let signature = STANDARD.decode(key.sign(b"{\"id\": 1}")).unwrap();
        let verify = |body: &[u8]| public.verify(rsa::Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(body), &signature);
        assert!(verify(b"{\"id\": 1}").is_ok());
        assert!(verify(b"{\"id\": 1}\n").is_err());
        assert!(verify(b"{\"id\":1}").is_err());
    }

    #[test]
    fn a_key_survives_its_pem() {
        let key = SigningKey::generate(KeyBits::Rsa3072);
        let again = SigningKey::from_pem(&key.private_pem).unwrap();
        assert_eq!(again.public_pem(), key.public_pem());
        assert_eq!(again.sign(b"x"), key.sign(b"x"), "PKCS#1 v1.5 is deterministic");
        assert!(SigningKey::from_pem("nonsense").is_err());
    }
}
