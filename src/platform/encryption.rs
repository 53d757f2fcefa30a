//! Encryption of personal data at rest: AES-256-GCM under a named key, bound to the row that holds it.
//!
//! An encrypted value is `nonce (12 bytes) || ciphertext || tag`; the id of its key stands beside it in the row, so that keys
//! can be changed while old values can still be decrypted: `identity/rotation.rs` encrypts them again. What must be known again
//! without being decrypted has a fingerprint beside it ([`DataKeys::fingerprints`]). Whose rows hold such values for long stands in `main.rs`
//! (`rotate`); the links to exports have one that nothing stores.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use base64::prelude::{BASE64_STANDARD, Engine};
use secrecy::zeroize::Zeroizing;
use uuid::Uuid;

/// The keys of `DATA_KEYS`: the first one encrypts, every one decrypts.
pub struct DataKeys(Vec<DataKey>);

struct DataKey {
    id: String,
    cipher: RandomizedNonceKey,
    /// Comes from the same bytes, and says nothing of them.
    fingerprints: hmac::Key,
}

/// What the key of the fingerprints is made with, so that it is used for nothing else.
const FINGERPRINTS: &[u8] = b"octoco fingerprints";

#[derive(Debug, Clone)]
pub struct Encrypted {
    pub key_id: String,
    pub bytes: Vec<u8>,
}

/// The value was not encrypted for this row by a key that we hold, or it was changed since.
#[derive(Debug, thiserror::Error)]
#[error("the encrypted value cannot be decrypted")]
pub struct CannotDecrypt;

impl DataKeys {
    /// Reads `id:base64[,id:base64…]`; each key is 32 bytes.
    /// An error never repeats the value.
    pub fn parse(value: &str) -> Result<Self, String> {
        let keys = value.split(',').map(parse_key).collect::<Result<Vec<_>, _>>()?;
        // The second of two keys with one id would never be used, and what it has encrypted would not open.
        let twice = keys.iter().enumerate().any(|(index, key)| keys[..index].iter().any(|other| other.id == key.id));
        if twice { Err("holds two keys with the same id".to_owned()) } else { Ok(Self(keys)) }
    }

    pub fn current_id(&self) -> &str {
        self.0.first().map(|key| key.id.as_str()).expect("parse yields at least one key")
    }

    pub fn holds(&self, id: &str) -> bool {
        self.0.iter().any(|key| key.id == id)
    }

    pub fn encrypt(&self, row: Uuid, plain: &[u8]) -> Result<Encrypted, CannotDecrypt> {
        let key = self.0.first().expect("parse yields at least one key");
        let mut text = plain.to_vec();
        let nonce =
            key.cipher.seal_in_place_append_tag(Aad::from(row.as_bytes()), &mut text).map_err(|_| CannotDecrypt)?;
        let bytes = [nonce.as_ref().as_slice(), &text].concat();
        Ok(Encrypted { key_id: key.id.clone(), bytes })
    }

    pub fn decrypt(&self, row: Uuid, encrypted: &Encrypted) -> Result<Vec<u8>, CannotDecrypt> {
        let key = self.0.iter().find(|key| key.id == encrypted.key_id).ok_or(CannotDecrypt)?;
        let (nonce, text) = encrypted.bytes.split_at_checked(NONCE_LEN).ok_or(CannotDecrypt)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| CannotDecrypt)?;
        let mut text = text.to_vec();
        let plain = key.cipher.open_in_place(nonce, Aad::from(row.as_bytes()), &mut text).map_err(|_| CannotDecrypt)?;
        Ok(plain.to_vec())
    }

    /// What a text is known by, under each key, the first key's first: the same for the same text, and without the key nobody can try
    /// out which text it was. `of` is what it is about, and whose: texts of others have others.
    pub fn fingerprints(&self, of: &str, whose: Uuid, text: &str) -> Vec<Vec<u8>> {
        let about = [of.as_bytes(), &[0], whose.as_bytes(), text.as_bytes()].concat();
        self.0.iter().map(|key| hmac::sign(&key.fingerprints, &about).as_ref().to_vec()).collect()
    }
}

/// Shows the ids, never the keys.
impl std::fmt::Debug for DataKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

fn parse_key(pair: &str) -> Result<DataKey, String> {
    let (id, key) = pair.trim().split_once(':').ok_or("must be id:base64 pairs")?;
    let bytes = Zeroizing::new(BASE64_STANDARD.decode(key).map_err(|_| "holds a key that is not base64")?);
    let cipher = RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| "holds a key that is not 32 bytes")?;
    if id.is_empty() {
        return Err("holds a key without an id".to_owned());
    }
    let root = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
    let fingerprints = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, FINGERPRINTS).as_ref());
    Ok(DataKey { id: id.to_owned(), cipher, fingerprints })
}
