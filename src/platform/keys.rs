//! New secrets, for `octoco keys generate` and for tests.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::prelude::{BASE64_STANDARD, Engine};

/// A new Ed25519 key in PKCS#8 PEM, for `JWT_PRIVATE_KEY`.
pub fn new_jwt_private_key() -> String {
    let pair = Ed25519KeyPair::generate().expect("the system gives random numbers");
    let der: Pkcs8V1Der<'_> = pair.as_der().expect("a fresh key can be written");
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64_STANDARD.encode(der.as_ref()))
}

/// A new key with its id, for `DATA_KEYS`. The id is what rows will carry, so it should say when the key was made.
pub fn new_data_key(id: &str) -> String {
    format!("{id}:{}", BASE64_STANDARD.encode(rand::random::<[u8; 32]>()))
}

/// Both as lines of an environment file; values are quoted as JSON strings, so that a PEM stays on its line.
pub fn environment_lines(data_key_id: &str) -> String {
    let quoted = |value: &str| serde_json::Value::from(value).to_string();
    format!("JWT_PRIVATE_KEY={}\nDATA_KEYS={}\n", quoted(&new_jwt_private_key()), quoted(&new_data_key(data_key_id)))
}
