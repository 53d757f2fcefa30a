//! Personal data at rest: only its own key, its own row and unchanged bytes give it back.

use base64::prelude::{BASE64_STANDARD, Engine};
use octoco::platform::encryption::{DataKeys, Encrypted};
use octoco::platform::keys::new_data_key;
use uuid::Uuid;

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
    let key = new_data_key("a");
    assert!(DataKeys::parse(&format!("{key},{key}")).is_err(), "one id twice");
    assert_eq!(format!("{:?}", keys(&[("a", 1)])), r#"["a"]"#);
}
