//! Staff and users: finding them, giving roles, taking them away.

use octoco::identity::users::{Email, passwords};
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use secrecy::SecretString;
use serde_json::json;
use sqlx::PgPool;

use crate::four_eyes;
use crate::harness::{Answer, Customer, TestApp};

pub(crate) async fn change_role(t: &TestApp, staff: &Customer, user: &Customer, role: &str) -> Answer {
    let path = format!("/v1/admin/users/{}", user.id);
    t.send(Method::PATCH, &path, Some(&t.token(staff)), &[], Some(json!({"role": role}))).await
}

#[sqlx::test]
async fn staff_find_users_by_the_beginning_of_the_email(db: PgPool) {
    let t = TestApp::new(db).await;
    let support = t.staff(Role::Support).await;
    for email in ["anna%x@example.com", "anna.b@example.com", "ANNA.c@example.com", "joanna@example.com"] {
        let body = json!({"email": email, "password": crate::harness::PASSWORD, "full_name": "Anna"});
        let registered = t.send(Method::POST, "/v1/auth/register", None, &[], Some(body)).await;
        assert_eq!(registered.status, StatusCode::CREATED, "{}", registered.body);
        t.app.clock.advance(chrono::TimeDelta::milliseconds(1));
    }
    let emails = async |query: &str| {
        let answer = t.get(&support, &format!("/v1/admin/users?{query}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        let users = answer.body["data"].as_array().expect("a list").clone();
        let emails = users.iter().map(|user| user["email"].as_str().expect("text").to_owned()).collect::<Vec<_>>();
        (emails, answer.body["page"]["next_cursor"].as_str().map(str::to_owned))
    };
    let (found, _) = emails("email=Anna.").await;
    assert_eq!(found, ["anna.c@example.com", "anna.b@example.com"], "newest first");
    assert_eq!(emails("email=anna%25x").await.0, ["anna%x@example.com"], "no wildcard");
    assert_eq!(emails("role=support").await.0.first(), Some(&support.email));
    let (first, cursor) = emails("email=anna&limit=2").await;
    let (rest, end) = emails(&format!("email=anna&limit=2&cursor={}", cursor.expect("more"))).await;
    assert_eq!((first.len(), rest.len(), end), (2, 1, None));
    for query in ["role=king", "limit=0", "cursor=x", "email=", "colour=red"] {
        let refused = t.get(&support, &format!("/v1/admin/users?{query}")).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{query}");
    }
    t.finish().await;
}

#[sqlx::test]
async fn only_an_admin_gives_roles_and_never_to_himself(db: PgPool) {
    let t = TestApp::new(db).await;
    let (admin, finance, customer) = (t.staff(Role::Admin).await, t.staff(Role::Finance).await, t.customer().await);
    for (staff, user) in [(&finance, &customer), (&finance, &finance), (&customer, &customer), (&admin, &admin)] {
        let refused = change_role(&t, staff, user, "support").await;
        assert_eq!((refused.status, refused.code()), (StatusCode::FORBIDDEN, "forbidden"));
    }
    let asked = change_role(&t, &admin, &customer, "support").await;
    assert_eq!((asked.status, &asked.body["state"]), (StatusCode::ACCEPTED, &json!("pending")));
    let changed = four_eyes::approve(&t, &t.staff(Role::Admin).await, &asked).await;
    assert_eq!((changed.status, &changed.body["role"]), (StatusCode::OK, &json!("support")));
    assert_eq!(change_role(&t, &admin, &customer, "king").await.status, StatusCode::BAD_REQUEST);
    let shown = t.get(&customer, &format!("/v1/admin/users/{}", admin.id)).await;
    assert_eq!((shown.status, &shown.body["email"]), (StatusCode::OK, &json!(admin.email)));
    let nobody = t.get(&admin, "/v1/admin/users/01900000-0000-7000-8000-000000000000").await;
    assert_eq!(nobody.code(), "not_found");
    t.finish().await;
}

#[sqlx::test]
async fn a_role_that_is_taken_away_ends_with_the_next_call(db: PgPool) {
    let t = TestApp::new(db).await;
    let (admin, finance) = (t.staff(Role::Admin).await, t.staff(Role::Finance).await);
    let read = async || t.send(Method::GET, "/v1/admin/audit", Some(&finance.token), &[], None).await.status;
    assert_eq!(read().await, StatusCode::OK);
    assert_eq!(change_role(&t, &admin, &finance, "user").await.status, StatusCode::OK);
    assert_eq!(read().await, StatusCode::FORBIDDEN, "the same token");
    t.finish().await;
}

#[sqlx::test]
async fn a_token_that_claims_a_role_has_only_the_role_of_its_user(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let forged = t.app.tokens.sign(customer.id, customer.session_id, "admin", t.app.clock.now());
    let refused = t.send(Method::GET, "/v1/admin/users", Some(&forged), &[], None).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let (admin, now) = (t.staff(Role::Admin).await, t.app.clock.now());
    let mixed = t.app.tokens.sign(admin.id, customer.session_id, "admin", now);
    let refused = t.send(Method::GET, "/v1/admin/users", Some(&mixed), &[], None).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "the session is another user's");
    t.finish().await;
}

#[sqlx::test]
async fn the_first_admin_is_made_from_the_command_line_and_on_record(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    t.give_role(customer.id, Role::Admin).await;
    let answer = t.get(&customer, "/v1/admin/audit?action=user.role_changed").await;
    assert_eq!(answer.body["data"][0]["actor"], "system");
    assert_eq!(answer.body["data"][0]["object_id"], customer.id.to_string());
    t.finish().await;
}

#[test]
fn what_anybody_would_try_is_refused() {
    let email = Email::parse("thandi.nkosi@example.com").expect("valid");
    let refused = |password: &str| passwords::check("password", &SecretString::from(password), Some(&email)).is_err();
    let common = "password|Password|PASSWORD123!|qwertyuiop|Summer2024!|12345678|aaaaaaaaaaaa|short";
    for common in common.split('|').chain(["thandi.nkosi", "Thandi.Nkosi@example.com"]) {
        assert!(refused(common), "{common}");
    }
    for good in ["correct horse battery staple", "summer-in-the-karoo", "kx7#Qm2pVw", "ümläute sind schön"] {
        assert!(!refused(good), "{good}");
    }
}

#[test]
fn an_address_is_normalised_and_junk_is_refused() {
    assert_eq!(Email::parse("  Thandi@Example.COM ").expect("valid").as_str(), "thandi@example.com");
    let long = format!("{}@b.co", "a".repeat(300));
    for junk in "|a|a@|@b.co|a b@c.co|a@b@c.co|<a@b.co>|a@b.co\n".split('|').chain([long.as_str()]) {
        // The trailing line break is trimmed away: only inner white space makes an address wrong.
        assert_eq!(Email::parse(junk).is_ok(), junk == "a@b.co\n", "{junk:?}");
    }
}
