//! What PostgreSQL keeps of a password (SCRAM-SHA-256, RFC 7677): sent in its place, so that the password itself is in no statement and no
//! log of PostgreSQL's. Called by `schema`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rsa::sha2::{Digest, Sha256};

const ROUNDS: u32 = 4096;
const BLOCK: usize = 64;

/// The password is visible ASCII, of which SCRAM changes nothing.
pub(super) fn verifier(password: &str, salt: [u8; 16]) -> String {
    let salted = salted(password.as_bytes(), salt);
    let stored = Sha256::digest(hmac(&salted, b"Client Key"));
    let server = hmac(&salted, b"Server Key");
    format!("SCRAM-SHA-256${ROUNDS}:{}${}:{}", STANDARD.encode(salt), STANDARD.encode(stored), STANDARD.encode(server))
}

/// PBKDF2, of which SCRAM takes one block.
fn salted(password: &[u8], salt: [u8; 16]) -> [u8; 32] {
    let mut last = hmac(password, &[salt.as_slice(), &1_u32.to_be_bytes()].concat());
    let mut sum = last;
    for _ in 1..ROUNDS {
        last = hmac(password, &last);
        sum.iter_mut().zip(last).for_each(|(sum, byte)| *sum ^= byte);
    }
    sum
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0_u8; BLOCK];
    let short = if key.len() > BLOCK { Sha256::digest(key).to_vec() } else { key.to_vec() };
    block.iter_mut().zip(short).for_each(|(byte, key)| *byte = key);
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_postgresql_makes_of_it() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64").try_into().expect("16 bytes");
        let expected = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        assert_eq!(verifier("pencil", salt), expected);
    }
}
