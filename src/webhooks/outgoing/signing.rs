//! Secrets and signatures as [Standard Webhooks](https://www.standardwebhooks.com) writes them: HMAC-SHA256 over
//! `id.timestamp.body`, in base64 behind `v1,`; several, with spaces, while a secret is being rotated.

use aws_lc_rs::hmac;
use base64::prelude::{BASE64_STANDARD, Engine};
use secrecy::zeroize::Zeroizing;

const PREFIX: &str = "whsec_";

/// 256 random bits.
pub(super) fn new_secret() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(rand::random::<[u8; 32]>().to_vec())
}

/// As it is shown, once.
pub(super) fn shown_secret(secret: &[u8]) -> String {
    format!("{PREFIX}{}", BASE64_STANDARD.encode(secret))
}

pub(super) fn signature(secret: &[u8], signed: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    format!("v1,{}", BASE64_STANDARD.encode(hmac::sign(&key, signed.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's own libraries.
    #[test]
    fn a_signature_is_the_one_of_the_specification() {
        let secret = BASE64_STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("base64");
        let signed = r#"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}"#;
        assert_eq!(signature(&secret, signed), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(shown_secret(&secret), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    }
}
