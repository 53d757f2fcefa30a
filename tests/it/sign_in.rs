//! Signing in under attack, with an old hash, from somebody else's page, and while keys change.

use std::time::Instant;

use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};
use futures_util::{StreamExt, stream};
use octoco::identity::users::Email;
use octoco::platform::keys;
use octoco::platform::rate_limits::{Answer as VelocityLimit, Class};
use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::PgPool;

use crate::harness::{Answer, Customer, PASSWORD, TestApp};

/// Limits are on, and each call may say where it comes from.
const UNDER_ATTACK: [(&str, &str); 2] = [("RATE_LIMITS", "default"), ("TRUSTED_PROXIES", "127.0.0.1/32")];

async fn sign_in(t: &TestApp, email: &str, password: &str, headers: &[(&str, &str)]) -> Answer {
    let body = json!({"email": email, "password": password});
    t.send(Method::POST, "/v1/auth/login", None, headers, Some(body)).await
}

/// From an address that no other test uses.
fn somewhere() -> String {
    let group = || rand::random::<u16>();
    format!("2001:db8:{:x}:{:x}:{:x}:{:x}:{:x}:1", group(), group(), group(), group(), group())
}

fn cookie(answer: &Answer, name: &str) -> String {
    let lines = answer.headers.get_all("set-cookie").iter().map(|line| line.to_str().expect("text"));
    let mut pairs = lines.filter_map(|line| line.split(';').next()).filter(|pair| pair.starts_with(name));
    pairs.next().unwrap_or_else(|| panic!("no cookie {name}")).to_owned()
}

async fn customer_with_device(t: &TestApp) -> (Customer, String) {
    let customer = t.customer().await;
    let from = somewhere();
    let login = sign_in(t, &customer.email, PASSWORD, &[("X-Forwarded-For", &from)]).await;
    assert_eq!(login.status, StatusCode::OK, "{}", login.body);
    (customer, cookie(&login, "device="))
}

#[sqlx::test]
async fn ten_thousand_wrong_logins_do_not_stop_the_right_one(db: PgPool) {
    let t = TestApp::with(db, &UNDER_ATTACK).await;
    let (customer, device) = customer_with_device(&t).await;
    let started = Instant::now();
    let attack = stream::iter(0..10_000).map(|_| async {
        let from = somewhere();
        sign_in(&t, &customer.email, "a wrong password", &[("X-Forwarded-For", &from)]).await.status
    });
    let attack = attack.buffer_unordered(200).collect::<Vec<_>>();
    let right = async {
        let mut answers = Vec::new();
        for _ in 0..5 {
            let from = somewhere();
            let headers = [("X-Forwarded-For", from.as_str()), ("Cookie", &device)];
            answers.push(sign_in(&t, &customer.email, PASSWORD, &headers).await.status);
        }
        answers
    };
    let (wrong, right) = tokio::join!(attack, right);
    assert_eq!(right, [StatusCode::OK; 5]);
    let tried = wrong.iter().filter(|status| **status == StatusCode::UNAUTHORIZED).count();
    let slowed = wrong.iter().filter(|status| **status == StatusCode::TOO_MANY_REQUESTS).count();
    assert_eq!(tried + slowed, 10_000, "nothing but refusals, and no 5xx");
    // Ten at once, and one more every ten seconds.
    let allowed = 11 + started.elapsed().as_secs() / 10;
    assert!(
        u64::try_from(tried).is_ok_and(|tried| tried <= allowed.min(40)),
        "{tried} passwords were tried, {allowed} might be"
    );
    t.finish().await;
}

#[sqlx::test]
async fn guesses_at_one_account_do_not_slow_down_another(db: PgPool) {
    let t = TestApp::with(db, &UNDER_ATTACK).await;
    let (victim, other) = (customer_with_device(&t).await, customer_with_device(&t).await);
    let mut slowed = None;
    for _ in 0..100 {
        let answer = sign_in(&t, &victim.0.email, "a wrong password", &[("X-Forwarded-For", &somewhere())]).await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            slowed = Some(answer);
            break;
        }
    }
    let slowed = slowed.expect("a hundred guesses are too many");
    assert!(slowed.headers["retry-after"].to_str().expect("text").parse::<u64>().expect("seconds") >= 1);
    let elsewhere = sign_in(&t, &other.0.email, PASSWORD, &[("X-Forwarded-For", &somewhere())]).await;
    assert_eq!(elsewhere.status, StatusCode::OK);
    let foreign = [("X-Forwarded-For", somewhere()), ("Cookie", other.1)];
    let foreign = foreign.each_ref().map(|(name, value)| (*name, value.as_str()));
    let knock = async || sign_in(&t, &victim.0.email, PASSWORD, &foreign).await;
    // Somebody else's device does not help.
    t.used_up(Class::Guess, &bucket(&victim.0), knock).await;
    t.finish().await;
}

/// Cookies cost nothing to make: the address is counted before anything is looked up for them, and where too many come they are none. Nobody is
/// shut out by those that others make up.
#[sqlx::test]
async fn cookies_of_devices_are_counted_by_address_before_they_are_looked_at(db: PgPool) {
    let t = TestApp::with(db, &UNDER_ATTACK).await;
    let (customer, device) = customer_with_device(&t).await;
    let from = somewhere();
    let use_up = async |bucket: &str| {
        while matches!(t.app.limiter.check(Class::Auth, bucket).await, VelocityLimit::Allowed(..)) {}
    };
    use_up(&format!("cookie:{from}")).await;
    let made_up = format!("device={}", "A".repeat(64));
    for (cookie, word) in [(made_up.as_str(), "made up"), (&device, "known")] {
        let headers = [("X-Forwarded-For", from.as_str()), ("Cookie", cookie)];
        let as_without = sign_in(&t, &customer.email, PASSWORD, &headers).await;
        assert_eq!(as_without.status, StatusCode::OK, "{word}: as who brings none");
    }
    let headers = [("X-Forwarded-For", from.as_str()), ("Cookie", device.as_str())];
    let slowed = t.used_up(Class::Auth, &from, async || sign_in(&t, &customer.email, PASSWORD, &headers).await).await;
    assert_eq!(slowed.code(), "rate_limited", "it is not looked at");
    let elsewhere = [("X-Forwarded-For", somewhere()), ("Cookie", device.clone())];
    let elsewhere = elsewhere.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(sign_in(&t, &customer.email, PASSWORD, &elsewhere).await.status, StatusCode::OK);
    t.finish().await;
}

#[sqlx::test]
async fn guesses_from_one_address_are_slowed_down_whomever_they_are_for(db: PgPool) {
    let t = TestApp::with(db, &UNDER_ATTACK).await;
    let from = somewhere();
    let headers = [("X-Forwarded-For", from.as_str())];
    let mut slowed = 0;
    // A hundred at once, and five a second: on a slow machine 150 may be too few. Most find no turn to hash, and cost little.
    for round in 0..20 {
        let emails: Vec<String> = (0..150).map(|index| format!("nobody{index}.{round}@example.com")).collect();
        let calls = emails.iter().map(|email| sign_in(&t, email, "a wrong password", &headers));
        let answers = futures_util::future::join_all(calls).await;
        slowed = answers.iter().filter(|answer| answer.status == StatusCode::TOO_MANY_REQUESTS).count();
        if slowed > 0 {
            break;
        }
    }
    assert!(slowed > 0);
    t.finish().await;
}

#[sqlx::test]
async fn guesses_from_the_many_addresses_of_one_network_are_slowed_down(db: PgPool) {
    let t = TestApp::with(db, &UNDER_ATTACK).await;
    let (network, group) = (somewhere(), || rand::random::<u16>());
    let network = network.split(':').take(4).collect::<Vec<_>>().join(":");
    let mut slowed = 0;
    for round in 0..20 {
        let calls = (0..150).map(async |index| {
            let from = format!("{network}:{:x}:{:x}:{:x}:{:x}", group(), group(), group(), group());
            let email = format!("nobody{index}.{round}@example.com");
            sign_in(&t, &email, "a wrong password", &[("X-Forwarded-For", &from)]).await.status
        });
        let answers = futures_util::future::join_all(calls).await;
        slowed += answers.iter().filter(|status| **status == StatusCode::TOO_MANY_REQUESTS).count();
        if slowed > 0 {
            break;
        }
    }
    assert!(slowed > 0);
    t.finish().await;
}

#[sqlx::test]
async fn all_that_is_wrong_with_a_sign_in_is_named_at_once(db: PgPool) {
    let t = TestApp::new(db).await;
    let body = json!({"email": "x", "password": "p", "totp_code": ""});
    let refused = t.send(Method::POST, "/v1/auth/login", None, &[], Some(body)).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::BAD_REQUEST, "invalid_request"), "{}", refused.body);
    let errors = refused.body["errors"].as_array().expect("a list");
    let mut named: Vec<&str> = errors.iter().filter_map(|error| error["field"].as_str()).collect();
    named.sort_unstable();
    assert_eq!(named, ["email", "totp_code"]);
    t.finish().await;
}

/// Gives everybody a hash of their password with parameters of the past.
pub(crate) async fn store_an_old_hash(t: &TestApp) -> String {
    let weak = Params::new(8 * 1024, 1, 1, None).expect("valid parameters");
    let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, weak);
    let old = weak.hash_password(PASSWORD.as_bytes()).expect("hashed").to_string();
    sqlx::query("update users set password_hash = $1").bind(&old).execute(&t.app.db).await.expect("stored");
    old
}

#[sqlx::test]
async fn a_hash_with_old_parameters_is_made_anew_at_the_next_sign_in(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let old = store_an_old_hash(&t).await;
    let stored = async || {
        let hash: String =
            sqlx::query_scalar("select password_hash from users").fetch_one(&t.app.db).await.expect("there");
        hash
    };
    assert_eq!(t.login(&customer.email, "not the password").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(stored().await, old, "a wrong password changes nothing");
    assert_eq!(t.login(&customer.email, PASSWORD).await.status, StatusCode::OK);
    let renewed = stored().await;
    assert!(renewed.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{renewed}");
    assert_eq!(t.login(&customer.email, PASSWORD).await.status, StatusCode::OK);
    assert_eq!(stored().await, renewed);
    t.finish().await;
}

#[sqlx::test]
async fn a_password_that_everybody_tries_is_not_taken(db: PgPool) {
    let t = TestApp::new(db).await;
    for password in ["password123", "Summer2024!", "qwertyuiop", "zzzzzzzzzz", "anna.somebody"] {
        let body = json!({"email": "anna.somebody@example.com", "password": password, "full_name": "Anna"});
        let refused = t.send(Method::POST, "/v1/auth/register", None, &[], Some(body)).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{password}");
        assert_eq!(refused.body["errors"][0]["field"], "password");
        assert!(!refused.body.to_string().contains(password));
    }
    t.finish().await;
}

#[sqlx::test]
async fn a_page_of_somebody_elses_cannot_use_the_cookie(db: PgPool) {
    let t = TestApp::with(db, &[("CORS_ORIGINS", "https://app.example.com")]).await;
    let customer = t.customer().await;
    let mut token = cookie(&t.login(&customer.email, PASSWORD).await, "refresh_token=");
    let own = t.url.clone();
    for path in ["/v1/auth/refresh", "/v1/auth/logout", "/v1/auth/login"] {
        for (name, value) in [
            ("Origin", "https://evil.example"),
            ("Origin", "null"),
            ("Origin", "https://app.example.com.evil.example"),
            ("Sec-Fetch-Site", "cross-site"),
        ] {
            let body = json!({"email": customer.email, "password": PASSWORD});
            let refused = t.send(Method::POST, path, None, &[(name, value), ("Cookie", &token)], Some(body)).await;
            assert_eq!((refused.status, refused.code()), (StatusCode::FORBIDDEN, "forbidden"), "{path} {name} {value}");
        }
    }
    for headers in [
        vec![("Origin", own.as_str()), ("Sec-Fetch-Site", "same-origin")],
        vec![("Origin", "https://app.example.com"), ("Sec-Fetch-Site", "same-site")],
        vec![],
    ] {
        let headers = [headers.as_slice(), &[("Cookie", token.as_str())]].concat();
        let renewed = t.send(Method::POST, "/v1/auth/refresh", None, &headers, None).await;
        assert_eq!(renewed.status, StatusCode::OK, "{headers:?}");
        token = cookie(&renewed, "refresh_token=");
    }
    t.finish().await;
}

#[sqlx::test]
async fn signing_keys_change_while_people_are_signed_in(db: PgPool) {
    let (old, new) = (keys::new_jwt_private_key(), keys::new_jwt_private_key());
    let both = format!("{new}{old}");
    let before = TestApp::with(db.clone(), &[("JWT_PRIVATE_KEY", &old), ("PUBLIC_URL", "http://octoco.test")]).await;
    let customer = before.customer().await;
    let first = cookie(&before.login(&customer.email, PASSWORD).await, "refresh_token=");
    let renewed = before.send(Method::POST, "/v1/auth/refresh", None, &[("Cookie", &first)], None).await;
    let after = TestApp::with(db, &[("JWT_PRIVATE_KEY", &both), ("PUBLIC_URL", "http://octoco.test")]).await;
    let me = after.send(Method::GET, "/v1/me", Some(&customer.token), &[], None).await;
    assert_eq!(me.status, StatusCode::OK, "a token of the old key");
    let second_tab = after.send(Method::POST, "/v1/auth/refresh", None, &[("Cookie", &first)], None).await;
    assert_eq!(second_tab.status, StatusCode::OK, "{}", second_tab.body);
    assert_eq!(cookie(&second_tab, "refresh_token="), cookie(&renewed, "refresh_token="), "the same successor");
    let jwks = after.send(Method::GET, "/.well-known/jwks.json", None, &[], None).await;
    assert_eq!(jwks.headers["cache-control"], "public, max-age=300");
    let ids: Vec<&str> =
        jwks.body["keys"].as_array().expect("a list").iter().filter_map(|key| key["kid"].as_str()).collect();
    assert_eq!(ids.len(), 2);
    assert!(!jwks.body.to_string().contains("\"d\""), "no private part");
    after.finish().await;
}

fn bucket(customer: &Customer) -> String {
    Email::parse(&customer.email).expect("an address").bucket()
}

async fn sign_in_from(t: &TestApp, email: &str, password: &str, from: &str, device: &str) -> Answer {
    sign_in(t, email, password, &[("X-Forwarded-For", from), ("Cookie", device)]).await
}

#[sqlx::test]
async fn devices_of_ones_own_accounts_are_no_way_around_the_limits(db: PgPool) {
    let t = TestApp::with(db, &UNDER_ATTACK).await;
    let (attacker, first) = customer_with_device(&t).await;
    let (victim, device) = customer_with_device(&t).await;
    let again = sign_in(&t, &attacker.email, PASSWORD, &[("X-Forwarded-For", &somewhere())]).await;
    let second = cookie(&again, "device=");
    let mut tried = 0;
    for turn in 0..30 {
        let mine = if turn % 2 == 0 { &first } else { &second };
        let answer = sign_in_from(&t, &attacker.email, "a wrong password", &somewhere(), mine).await;
        tried += usize::from(answer.status == StatusCode::UNAUTHORIZED);
    }
    assert!((1..20).contains(&tried), "{tried}: two devices of one account have two allowances");
    // With any number of accounts from one address.
    let from = somewhere();
    let flood = async || sign_in_from(&t, &victim.email, PASSWORD, &from, &device).await;
    t.used_up(Class::Auth, &format!("device:{from}"), flood).await;
    let elsewhere = sign_in_from(&t, &victim.email, PASSWORD, &somewhere(), &device).await;
    assert_eq!(elsewhere.status, StatusCode::OK, "{}", elsewhere.body);
    t.finish().await;
}

#[sqlx::test]
async fn a_copied_device_is_no_endless_way_to_guess(db: PgPool) {
    let t = TestApp::with(db, &UNDER_ATTACK).await;
    let (customer, device) = customer_with_device(&t).await;
    let hour = device.trim_start_matches("device=");
    let guess = async || sign_in_from(&t, &customer.email, PASSWORD, &somewhere(), &device).await;
    t.used_up(Class::DeviceLong, hour, guess).await;
    let elsewhere = sign_in(&t, &customer.email, PASSWORD, &[("X-Forwarded-For", &somewhere())]).await;
    assert_eq!(elsewhere.status, StatusCode::OK, "{}", elsewhere.body);
    t.finish().await;
}

#[sqlx::test]
async fn a_device_is_known_until_the_password_is_another(db: PgPool) {
    let new = "another horse another staple";
    let t = TestApp::with(db, &UNDER_ATTACK).await;
    let (customer, device) = customer_with_device(&t).await;
    // Somebody guesses without end: only a known device gets in.
    let (everybodys, stranger) = (bucket(&customer), async |password, device: &str| {
        sign_in_from(&t, &customer.email, password, &somewhere(), device).await
    });
    t.used_up(Class::Guess, &everybodys, async || stranger(PASSWORD, "").await).await;
    assert_eq!(sign_in_from(&t, &customer.email, PASSWORD, &somewhere(), &device).await.status, StatusCode::OK);
    let body = json!({"current_password": PASSWORD, "new_password": new});
    let changed = t.send(Method::POST, "/v1/auth/password", Some(&customer.token), &[], Some(body)).await;
    assert_eq!(changed.status, StatusCode::NO_CONTENT, "{}", changed.body);
    // The device is known for the old password.
    t.used_up(Class::Guess, &everybodys, async || stranger(new, &device).await).await;
    let known = sign_in_from(&t, &customer.email, new, &somewhere(), &cookie(&changed, "device=")).await;
    assert_eq!(known.status, StatusCode::OK, "{}", known.body);
    t.finish().await;
}

/// Another program on the host, or on one above it, has cookies of the same name; a browser sends those of the longer path first.
#[sqlx::test]
async fn our_cookies_are_found_among_those_of_other_programs(db: PgPool) {
    for public_url in ["http://octoco.test", "https://octoco.test"] {
        let t = TestApp::with(db.clone(), &[("PUBLIC_URL", public_url)]).await;
        let prefix = if public_url.starts_with("https") { "__Secure-" } else { "" };
        let customer = t.customer().await;
        let login = t.login(&customer.email, PASSWORD).await;
        let mut own = cookie(&login, &format!("{prefix}refresh_token="));
        let device = cookie(&login, &format!("{prefix}device="));
        let another = t.customer().await;
        let ended = cookie(&t.login(&another.email, PASSWORD).await, &format!("{prefix}refresh_token="));
        t.send(Method::POST, "/v1/auth/logout", None, &[("Cookie", &ended)], None).await;
        let foreign = ["refresh_token=eyJhbGciOiJIUzI1NiJ9.e30.x".to_owned(), format!("{prefix}refresh_token="), ended];
        for way in 0..4 {
            let lines = match way {
                0 => vec![format!("{}; {own}", foreign.join("; "))],
                1 => vec![format!("{own}; {}", foreign.join("; "))],
                2 => vec![foreign.join("; "), own.clone()],
                _ => vec![format!("a=b;{};{own}; broken; =", foreign[1])],
            };
            let headers: Vec<(&str, &str)> = lines.iter().map(|line| ("Cookie", line.as_str())).collect();
            let renewed = t.send(Method::POST, "/v1/auth/refresh", None, &headers, None).await;
            assert_eq!(renewed.status, StatusCode::OK, "{lines:?}: {}", renewed.body);
            assert_eq!(renewed.body["user"]["email"], customer.email);
            own = cookie(&renewed, &format!("{prefix}refresh_token="));
        }
        let many = format!("{}; {own}", [foreign[1].as_str(); 8].join("; "));
        let lost = t.send(Method::POST, "/v1/auth/refresh", None, &[("Cookie", &many)], None).await;
        assert_eq!(lost.status, StatusCode::UNAUTHORIZED, "not without end");
        let devices = format!("{prefix}device=theirs; {device}");
        let again = sign_in(&t, &customer.email, PASSWORD, &[("Cookie", &devices)]).await;
        assert_eq!(cookie(&again, &format!("{prefix}device=")), device, "known: no new one is made");
        let both = format!("{}; {own}", foreign[0]);
        let out = t.send(Method::POST, "/v1/auth/logout", None, &[("Cookie", &both)], None).await;
        assert!(out.headers["set-cookie"].to_str().expect("text").starts_with(&format!("{prefix}refresh_token=;")));
        let late = t.send(Method::POST, "/v1/auth/refresh", None, &[("Cookie", &own)], None).await;
        assert_eq!(late.status, StatusCode::UNAUTHORIZED);
        t.finish().await;
    }
}
