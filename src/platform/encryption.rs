//! Encryption of personal data at rest: AES-256-GCM under a named key, bound to the row that holds it.
//!
//! A encrypted value is `nonce (12 bytes) || ciphertext || tag`; the id of its key stands beside it in the row, so that keys
//! can be changed while old values still open: `bank_accounts/rotation.rs` encrypts them renewed. Used by `bank_accounts`, and
//! by the links to exports, which nothing stores.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::prelude::{BASE64_STANDARD, Engine};
use secrecy::zeroize::Zeroizing;
use uuid::Uuid;

/// The keys of `DATA_KEYS`: the first one encrypts, every one decrypts.
pub struct DataKeys(Vec<(String, RandomizedNonceKey)>);

/// A value as the row stores it.
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
    ///
    /// # Errors
    /// Says what is wrong without repeating the value.
    pub fn parse(value: &str) -> Result<Self, String> {
        let keys = value.split(',').map(parse_key).collect::<Result<Vec<_>, _>>()?;
        // The second of two keys with one id would never be used, and what it has encrypted would not open.
        let twice = keys.iter().enumerate().any(|(index, (id, _))| keys[..index].iter().any(|(other, _)| other == id));
        if twice { Err("holds two keys with the same id".to_owned()) } else { Ok(Self(keys)) }
    }

    /// The id of the key that encrypts.
    ///
    /// # Panics
    /// Never: `parse` yields at least one key.
    pub fn current_id(&self) -> &str {
        self.0.first().map(|(id, _)| id.as_str()).expect("parse yields at least one key")
    }

    /// Whether there is a key of this id.
    pub fn holds(&self, id: &str) -> bool {
        self.0.iter().any(|(held, _)| held == id)
    }

    /// # Errors
    /// Only if the library cannot encrypt: there is nothing that a caller could do better.
    pub fn encrypt(&self, row: Uuid, plain: &[u8]) -> Result<Encrypted, CannotDecrypt> {
        let (key_id, key) = self.0.first().expect("parse yields at least one key");
        let mut text = plain.to_vec();
        let nonce = key.seal_in_place_append_tag(Aad::from(row.as_bytes()), &mut text).map_err(|_| CannotDecrypt)?;
        let bytes = [nonce.as_ref().as_slice(), &text].concat();
        Ok(Encrypted { key_id: key_id.clone(), bytes })
    }

    /// # Errors
    /// When key, row and bytes do not belong together.
    pub fn decrypt(&self, row: Uuid, encrypted: &Encrypted) -> Result<Vec<u8>, CannotDecrypt> {
        let (_, key) = self.0.iter().find(|(id, _)| *id == encrypted.key_id).ok_or(CannotDecrypt)?;
        let (nonce, text) = encrypted.bytes.split_at_checked(NONCE_LEN).ok_or(CannotDecrypt)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| CannotDecrypt)?;
        let mut text = text.to_vec();
        let plain = key.open_in_place(nonce, Aad::from(row.as_bytes()), &mut text).map_err(|_| CannotDecrypt)?;
        Ok(plain.to_vec())
    }
}

/// Shows the ids, never the keys.
impl std::fmt::Debug for DataKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(id, _)| id)).finish()
    }
}

fn parse_key(pair: &str) -> Result<(String, RandomizedNonceKey), String> {
    let (id, key) = pair.trim().split_once(':').ok_or("must be id:base64 pairs")?;
    let bytes = Zeroizing::new(BASE64_STANDARD.decode(key).map_err(|_| "holds a key that is not base64")?);
    let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| "holds a key that is not 32 bytes")?;
    if id.is_empty() {
        return Err("holds a key without an id".to_owned());
    }
    Ok((id.to_owned(), key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(ids: &[(&str, u8)]) -> DataKeys {
        let pairs: Vec<String> =
            ids.iter().map(|(id, byte)| format!("{id}:{}", BASE64_STANDARD.encode([*byte; 32]))).collect();
        DataKeys::parse(&pairs.join(",")).expect("well formed")
    }

    #[test]
    fn a_value_opens_only_in_its_row_and_unchanged() {
        let keys = keys(&[("a", 1)]);
        let row = Uuid::from_u128(7);
        let encrypted = keys.encrypt(row, b"62000000001").expect("encrypts");
        assert_eq!(keys.decrypt(row, &encrypted).expect("decrypts"), b"62000000001");
        assert!(keys.decrypt(Uuid::from_u128(8), &encrypted).is_err());
        let mut changed = encrypted.clone();
        changed.bytes[14] ^= 1;
        assert!(keys.decrypt(row, &changed).is_err());
        let cut = Encrypted { bytes: encrypted.bytes[..5].to_vec(), ..encrypted };
        assert!(keys.decrypt(row, &cut).is_err());
    }

    #[test]
    fn an_old_key_still_opens_after_a_new_one_was_put_first() {
        let row = Uuid::from_u128(7);
        let encrypted = keys(&[("a", 1)]).encrypt(row, b"x").expect("encrypts");
        let rotated = keys(&[("b", 2), ("a", 1)]);
        assert_eq!(rotated.decrypt(row, &encrypted).expect("decrypts"), b"x");
        assert_eq!(rotated.encrypt(row, b"x").expect("encrypts").key_id, "b");
        assert!(keys(&[("b", 2)]).decrypt(row, &encrypted).is_err());
    }

    #[test]
    fn keys_are_checked_and_never_shown() {
        for wrong in ["", "a", "a:", "a:!!", "a:AAAA", ":AAAA"] {
            assert!(DataKeys::parse(wrong).is_err(), "{wrong}");
        }
        let key = crate::platform::keys::new_data_key("a");
        assert!(DataKeys::parse(&format!("{key},{key}")).is_err(), "one id twice");
        assert_eq!(format!("{:?}", keys(&[("a", 1)])), r#"["a"]"#);
    }
}
