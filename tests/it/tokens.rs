//! Access tokens: how long they live, which are ours, and how keys change.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use chrono::{TimeDelta, TimeZone, Utc};
use octoco::platform::clock::DateTime;
use octoco::platform::keys::new_jwt_private_key;
use octoco::platform::tokens::{ACCESS_SECS, Device, Tokens};
use serde_json::Value;
use uuid::Uuid;

/// The header (0) or the claims (1) of a token.
fn part(token: &str, number: usize) -> Value {
    let text = token.split('.').nth(number).expect("three parts");
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(text).expect("base64")).expect("JSON")
}

fn tokens() -> Tokens {
    Tokens::new(&new_jwt_private_key(), "http://octoco.test").expect("a fresh key is usable")
}

fn noon() -> DateTime {
    Utc.with_ymd_and_hms(2026, 1, 1, 12, 0, 0).single().expect("a time")
}

#[test]
fn a_token_lives_fifteen_minutes() {
    let tokens = tokens();
    let token = tokens.sign(Uuid::from_u128(1), Uuid::from_u128(2), "user", noon());
    let claims = tokens.check(&token, noon()).expect("valid");
    assert_eq!((claims.sub, claims.sid, claims.role.as_str()), (Uuid::from_u128(1), Uuid::from_u128(2), "user"));
    assert!(tokens.check(&token, noon() + TimeDelta::seconds(ACCESS_SECS - 1)).is_ok());
    assert!(tokens.check(&token, noon() + TimeDelta::seconds(ACCESS_SECS)).is_err());
    assert!(tokens.check(&token, noon() - TimeDelta::seconds(60)).is_err(), "from the future");
}

#[test]
fn a_token_that_is_not_ours_is_refused() {
    let ours = tokens();
    let user = Uuid::from_u128(1);
    let theirs = tokens().sign(user, user, "admin", noon());
    assert!(ours.check(&theirs, noon()).is_err(), "another key");
    let pem = new_jwt_private_key();
    let (here, elsewhere) = (Tokens::new(&pem, "http://octoco.test"), Tokens::new(&pem, "http://elsewhere"));
    let foreign = elsewhere.expect("usable").sign(user, user, "admin", noon());
    assert!(here.expect("usable").check(&foreign, noon()).is_err(), "another issuer");
    let good = ours.sign(user, user, "user", noon());
    let parts: Vec<&str> = good.split('.').collect();
    let id = part(&good, 0)["kid"].as_str().expect("it names its key").to_owned();
    for (alg, signature) in [("none", ""), ("HS256", parts[2]), ("RS256", parts[2])] {
        let header = BASE64_URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{alg}","typ":"JWT","kid":"{id}"}}"#));
        assert!(ours.check(&format!("{header}.{}.{signature}", parts[1]), noon()).is_err(), "{alg}");
    }
    let nameless = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","typ":"JWT"}"#);
    assert!(ours.check(&format!("{nameless}.{}.{}", parts[1], parts[2]), noon()).is_err(), "no key id");
    let admin = BASE64_URL_SAFE_NO_PAD.encode(part(&good, 1).to_string().replace("\"user\"", "\"admin\""));
    assert!(ours.check(&format!("{}.{admin}.{}", parts[0], parts[2]), noon()).is_err(), "changed");
    for junk in ["", ".", "a.b.c", &"x".repeat(5000)] {
        assert!(ours.check(junk, noon()).is_err());
    }
}

#[test]
fn keys_change_without_a_break() {
    let (old, new) = (new_jwt_private_key(), new_jwt_private_key());
    let with = |pems: &[&str]| Tokens::new(&pems.concat(), "a").expect("usable");
    let (before, prepared, after, done) = (with(&[&old]), with(&[&old, &new]), with(&[&new, &old]), with(&[&new]));
    let user = Uuid::from_u128(1);
    let (early, late) = (before.sign(user, user, "user", noon()), after.sign(user, user, "user", noon()));
    assert!(prepared.check(&late, noon()).is_ok(), "a process that does not sign with it yet");
    assert!(after.check(&early, noon()).is_ok(), "made before the change");
    assert!(done.check(&early, noon()).is_err() && done.check(&late, noon()).is_ok());
    assert!(before.check(&late, noon()).is_err(), "a process that was not told of the new key");
    assert_eq!(after.jwks().keys.len(), 2);
    let shown = serde_json::to_value(done.jwks()).expect("plain data")["keys"][0].clone();
    assert_eq!((&shown["kty"], &shown["crv"], &shown["alg"]), (&"OKP".into(), &"Ed25519".into(), &"EdDSA".into()));
    assert_eq!(shown["kid"], part(&done.sign(user, user, "user", noon()), 0)["kid"]);
    assert!(shown.get("d").is_none() && shown["x"].is_string(), "{shown}");
    for wrong in ["", "junk", &old[..60]] {
        assert!(Tokens::new(wrong, "a").is_err());
    }
}

#[test]
fn a_device_is_known_for_its_own_email_only() {
    let ours = tokens();
    let device = Device::received(ours.new_device("a@example.com", "hash 1").as_str());
    assert!(ours.knows_device(&device, "a@example.com", "hash 1"));
    assert!(!ours.knows_device(&device, "a@example.com", "hash 2"), "another password");
    assert!(!ours.knows_device(&device, "b@example.com", "hash 1"));
    assert!(!tokens().knows_device(&device, "a@example.com", "hash 1"), "another key");
    for junk in ["", "AAAA", "!", &"A".repeat(64)] {
        assert!(!ours.knows_device(&Device::received(junk), "a@example.com", "hash 1"));
    }
}
