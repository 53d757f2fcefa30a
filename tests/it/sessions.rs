//! Registering, signing in, refreshing, signing out.

use chrono::TimeDelta;
use octoco::identity::sessions;
use octoco::platform::access;
use octoco::platform::rate_limits::{Answer as VelocityLimit, Class};
use reqwest::{Method, StatusCode, header::HeaderValue};
use serde_json::json;
use sqlx::PgPool;

use crate::binary;
use crate::harness::{Answer, PASSWORD, TestApp};

/// The refresh token of a `Set-Cookie` header, whose attributes are checked on the way.
fn cookie(answer: &Answer) -> String {
    let line = answer.headers["set-cookie"].to_str().expect("text").to_owned();
    for attribute in ["HttpOnly", "Secure", "SameSite=Strict", "Path=/v1/auth"] {
        assert!(line.contains(attribute), "{line}");
    }
    line.split(';').next().expect("a pair").to_owned()
}

async fn refresh(t: &TestApp, cookie: &str) -> Answer {
    t.send(Method::POST, "/v1/auth/refresh", None, &[("Cookie", cookie)], None).await
}

/// A browser sends a cookie where its path leads, as the page's host sees it.
#[sqlx::test]
async fn behind_a_path_of_the_pages_host_cookies_and_links_go_there(db: PgPool) {
    let t = TestApp::with(db, &[("PUBLIC_URL", "HTTPS://app.example.com/api/")]).await;
    let customer = t.customer().await;
    let body = json!({"email": customer.email, "password": PASSWORD});
    let login = t.send(Method::POST, "/v1/auth/login", None, &[], Some(body)).await;
    let lines = login.headers.get_all("set-cookie").iter().map(|line| line.to_str().expect("text"));
    let lines: Vec<&str> = lines.collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| line.starts_with("__Secure-")), "{lines:?}");
    assert!(lines.iter().all(|line| line.contains("; Path=/api/v1/auth;")), "{lines:?}");
    let made = [t.deposit(&customer, 500, "a").await, t.deposit(&customer, 500, "b").await];
    assert_eq!(made[0].headers["location"], format!("/api/v1/transactions/{}", made[0].id()));
    let page = t.get(&customer, "/v1/transactions?limit=1").await;
    let links = page.headers["link"].to_str().expect("text");
    assert!(links.contains("</api/v1/transactions?") && !links.contains("</v1/"), "{links}");
    let document = t.get(&customer, "/openapi.json").await.body;
    assert_eq!(document["servers"][0]["url"], "/api/");
    assert!(document["info"]["description"].as_str().is_some_and(|text| text.contains("(/api/docs/versioning)")));
}

#[sqlx::test]
async fn an_email_registers_once_however_it_is_written(db: PgPool) {
    let t = TestApp::new(db).await;
    let body = |email: &str| Some(json!({"email": email, "password": PASSWORD, "full_name": "A"}));
    let first = t.send(Method::POST, "/v1/auth/register", None, &[], body("A@Example.com")).await;
    assert_eq!((first.status, first.body["email"].as_str()), (StatusCode::CREATED, Some("a@example.com")));
    assert!(!first.body.to_string().contains("password"));
    let second = t.send(Method::POST, "/v1/auth/register", None, &[], body(" a@example.COM ")).await;
    assert_eq!((second.status, second.body["email"].as_str()), (StatusCode::CREATED, Some("a@example.com")));
    let users: Vec<(uuid::Uuid,)> =
        sqlx::query_as("select id from users").fetch_all(&t.app.db).await.expect("PostgreSQL answers");
    assert_eq!(users, [(first.id(),)], "the second is told like a first one, and is nobody");
    t.finish().await;
}

#[sqlx::test]
async fn an_unknown_user_and_a_wrong_password_are_told_the_same(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let wrong = t.login(&customer.email, "not the password").await;
    let unknown = t.login("nobody@example.com", "not the password").await;
    for answer in [&wrong, &unknown] {
        assert_eq!((answer.status, answer.code()), (StatusCode::UNAUTHORIZED, "invalid_credentials"));
    }
    assert_eq!(wrong.body["detail"], unknown.body["detail"]);
    t.finish().await;
}

#[sqlx::test]
async fn a_login_gives_a_token_of_fifteen_minutes(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let login = t.login(&customer.email, PASSWORD).await;
    assert_eq!((&login.body["token_type"], &login.body["expires_in"]), (&json!("Bearer"), &json!(900)));
    assert_eq!(login.body["user"]["email"], customer.email);
    assert_eq!(t.get(&customer, "/v1/me").await.body["email"], customer.email);
    t.advance(TimeDelta::minutes(15));
    let late = t.send(Method::GET, "/v1/me", Some(&customer.token), &[], None).await;
    assert_eq!((late.status, late.code()), (StatusCode::UNAUTHORIZED, "unauthenticated"));
    t.finish().await;
}

#[sqlx::test]
async fn a_refresh_token_works_once_and_its_reuse_ends_the_family(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let first = cookie(&t.login(&customer.email, PASSWORD).await);
    let renewed = refresh(&t, &first).await;
    assert_eq!(renewed.status, StatusCode::OK, "{}", renewed.body);
    let second = cookie(&renewed);
    assert_ne!(first, second);
    t.advance(TimeDelta::seconds(11));
    assert_eq!(refresh(&t, &first).await.status, StatusCode::UNAUTHORIZED, "used again");
    assert_eq!(refresh(&t, &second).await.status, StatusCode::UNAUTHORIZED, "the whole family is gone");
    t.finish().await;
}

/// The thief is first: then it is the owner's refresh that shows the theft.
#[sqlx::test]
async fn a_stolen_cookie_ends_with_the_owners_next_refresh(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let stolen = cookie(&t.login(&customer.email, PASSWORD).await);
    let theft = refresh(&t, &stolen).await;
    assert_eq!(theft.status, StatusCode::OK);
    let (thiefs_token, thiefs_cookie) = (theft.body["access_token"].as_str().expect("a token"), cookie(&theft));
    let me = async |token: &str| t.send(Method::GET, "/v1/me", Some(token), &[], None).await.status;
    assert_eq!(me(thiefs_token).await, StatusCode::OK);
    t.advance(TimeDelta::minutes(5));
    assert_eq!(refresh(&t, &stolen).await.status, StatusCode::UNAUTHORIZED, "the owner is asked to sign in");
    assert_eq!(me(thiefs_token).await, StatusCode::UNAUTHORIZED);
    assert_eq!(refresh(&t, &thiefs_cookie).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(me(&t.token(&customer)).await, StatusCode::OK, "another session of the owner's");
    let reasons: Vec<(serde_json::Value,)> =
        sqlx::query_as("select after from audit_log where action = 'session.ended'")
            .fetch_all(&t.app.db)
            .await
            .expect("PostgreSQL answers");
    assert_eq!(reasons.iter().map(|(after,)| &after["reason"]).collect::<Vec<_>>(), ["token_reused"]);
    assert!(t.app.metrics.render().contains(r#"octoco_sign_ins_total{outcome="token_reused"} 1"#));
    t.finish().await;
}

#[sqlx::test]
async fn two_tabs_that_refresh_at_once_get_the_same_successor(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let first = cookie(&t.login(&customer.email, PASSWORD).await);
    let (one, two) = tokio::join!(refresh(&t, &first), refresh(&t, &first));
    assert_eq!((one.status, two.status), (StatusCode::OK, StatusCode::OK));
    assert_eq!(cookie(&one), cookie(&two));
    let third = refresh(&t, &cookie(&one)).await;
    assert_eq!(third.status, StatusCode::OK);
    assert_eq!(refresh(&t, &first).await.status, StatusCode::OK, "a third tab, whose answer was late");
    t.advance(TimeDelta::seconds(11));
    assert_eq!(refresh(&t, &first).await.status, StatusCode::UNAUTHORIZED, "no tab is so late");
    assert_eq!(refresh(&t, &cookie(&third)).await.status, StatusCode::UNAUTHORIZED);
    t.finish().await;
}

#[sqlx::test]
async fn whoever_is_signed_in_goes_on_beside_guessers_at_the_same_address(db: PgPool) {
    let t = TestApp::with(db, &[("RATE_LIMITS", "default"), ("TRUSTED_PROXIES", "127.0.0.1/32")]).await;
    let customer = t.customer().await;
    let from = format!("2001:db8:{:x}:{:x}::7", rand::random::<u16>(), rand::random::<u16>());
    let headers = [("X-Forwarded-For", &*from)];
    let body = json!({"email": customer.email, "password": PASSWORD});
    let login = t.send(Method::POST, "/v1/auth/login", None, &headers, Some(body)).await;
    while matches!(t.app.limiter.check(Class::Auth, &from).await, VelocityLimit::Allowed(..)) {}
    let cookie = cookie(&login);
    for path in ["/v1/auth/refresh", "/v1/auth/logout"] {
        let headers = [("X-Forwarded-For", &*from), ("Cookie", &*cookie)];
        let answer = t.send(Method::POST, path, None, &headers, None).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.body);
    }
    t.finish().await;
}

/// A browser has one cookie for all tabs: each sends the one that there is when it wakes up, and what the last answer sets stays.
#[sqlx::test]
async fn ten_tabs_that_are_restored_at_once_stay_signed_in_in_whatever_order_they_are_answered(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let mut jar = cookie(&t.login(&customer.email, PASSWORD).await);
    for round in 0..6_usize {
        // Each tab sends what the jar held some tabs ago, and its answer arrives in the order of its turn: late ones are older.
        let (mut held, mut answers) = (vec![jar.clone()], Vec::new());
        for tab in 0..10_usize {
            let sent = held[held.len().saturating_sub(1 + (tab * (round + 3)) % 4)].clone();
            let renewed = refresh(&t, &sent).await;
            assert_eq!(renewed.status, StatusCode::OK, "round {round}, tab {tab}: {}", renewed.body);
            held.push(cookie(&renewed));
            answers.push(cookie(&renewed));
            t.advance(TimeDelta::milliseconds(950));
        }
        let late = (round * 7) % answers.len();
        jar = answers[late].clone();
        t.advance(TimeDelta::minutes(15));
        let next = refresh(&t, &jar).await;
        assert_eq!(next.status, StatusCode::OK, "round {round}: the answer of tab {late} came last");
        jar = cookie(&next);
        t.advance(TimeDelta::minutes(15));
    }
    t.finish().await;
}

/// Ten tabs with one old cookie, some of which go on with its successor.
#[sqlx::test]
async fn a_successor_that_is_used_at_once_is_no_theft(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let old = cookie(&t.login(&customer.email, PASSWORD).await);
    let mut successors = std::collections::BTreeSet::new();
    for _ in 0..5 {
        let (one, two) = tokio::join!(refresh(&t, &old), refresh(&t, &old));
        for answer in [one, two] {
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
            let again = refresh(&t, &cookie(&answer)).await;
            assert_eq!(again.status, StatusCode::OK, "{}", again.body);
            successors.extend([cookie(&answer), cookie(&again)]);
        }
        t.advance(TimeDelta::seconds(2));
    }
    assert_eq!(successors.len(), 1, "a family is one line");
    t.advance(TimeDelta::seconds(11));
    let newest = successors.pop_first().expect("one");
    let next = refresh(&t, &newest).await;
    assert_eq!(next.status, StatusCode::OK);
    assert_ne!(cookie(&next), newest, "it has rested");
    t.advance(TimeDelta::seconds(11));
    assert_eq!(refresh(&t, &newest).await.status, StatusCode::UNAUTHORIZED, "a copy of it");
    assert_eq!(refresh(&t, &cookie(&next)).await.status, StatusCode::UNAUTHORIZED, "the whole family");
    t.finish().await;
}

#[sqlx::test]
async fn a_refresh_token_lives_seven_days(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let token = cookie(&t.login(&customer.email, PASSWORD).await);
    t.advance(TimeDelta::days(7));
    assert_eq!(refresh(&t, &token).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refresh(&t, "refresh_token=junk").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refresh(&t, "other=1").await.status, StatusCode::UNAUTHORIZED);
    t.finish().await;
}

#[sqlx::test]
async fn signing_out_ends_the_session(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let token = cookie(&t.login(&customer.email, PASSWORD).await);
    let out = t.send(Method::POST, "/v1/auth/logout", None, &[("Cookie", &token)], None).await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    assert!(out.headers["set-cookie"].to_str().expect("text").contains("Max-Age=0"));
    assert_eq!(refresh(&t, &token).await.status, StatusCode::UNAUTHORIZED);
    t.finish().await;
}

#[sqlx::test]
async fn whoever_comes_with_a_token_of_a_session_that_is_over_leaves_a_row(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let token = cookie(&t.login(&customer.email, PASSWORD).await);
    t.send(Method::POST, "/v1/auth/logout", None, &[("Cookie", &token)], None).await;
    for cookie in [token.as_str(), "refresh_token=made-up"] {
        assert_eq!(refresh(&t, cookie).await.status, StatusCode::UNAUTHORIZED);
    }
    let refused = "select actor, object_id from audit_log where action = 'session.refresh_refused'";
    let refused: Vec<(String, String)> =
        sqlx::query_as(refused).fetch_all(&t.app.db).await.expect("PostgreSQL answers");
    assert_eq!(
        refused,
        [("nobody".to_owned(), customer.id.to_string())],
        "of what is nobody's there is nothing to tell"
    );
    assert_eq!(t.app.metrics.sign_ins.with_label_values(&["refresh_refused"]).get(), 1);
    t.finish().await;
}

/// Whose cookie did not come along.
#[sqlx::test]
async fn signing_out_by_the_access_token_ends_its_session(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let signed_in = t.login(&customer.email, PASSWORD).await;
    let access = signed_in.body["access_token"].as_str();
    assert_eq!(t.send(Method::POST, "/v1/auth/logout", access, &[], None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(t.send(Method::GET, "/v1/me", access, &[], None).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refresh(&t, &cookie(&signed_in)).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(t.get(&customer, "/v1/me").await.status, StatusCode::OK, "the other one goes on");
    let junk = t.send(Method::POST, "/v1/auth/logout", Some("junk"), &[], None).await;
    assert_eq!(junk.status, StatusCode::NO_CONTENT, "there is nothing to end");
    t.finish().await;
}

#[sqlx::test]
async fn sessions_are_listed_and_revoked_by_their_owner_only(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, other) = (t.customer().await, t.customer().await);
    let token = cookie(&t.login(&customer.email, PASSWORD).await);
    let listed = t.get(&customer, "/v1/auth/sessions").await;
    let sessions = listed.body["data"].as_array().expect("a list").clone();
    assert_eq!(sessions.len(), 2);
    assert_eq!(sessions.iter().filter(|session| session["current"] == true).count(), 1);
    let second = sessions.iter().find(|session| session["current"] == false).expect("the other one");
    let path = format!("/v1/auth/sessions/{}", second["id"].as_str().expect("an id"));
    let foreign = t.send(Method::DELETE, &path, Some(&other.token), &[], None).await;
    assert_eq!(foreign.status, StatusCode::NOT_FOUND);
    assert_eq!(t.send(Method::DELETE, &path, Some(&customer.token), &[], None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(refresh(&t, &token).await.status, StatusCode::UNAUTHORIZED);
    t.finish().await;
}

#[sqlx::test]
async fn end_all_ends_every_session_of_everybody(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let (one, other) = (t.customer().await, t.customer().await);
    let login = t.login(&one.email, PASSWORD).await;
    // The command has the system's clock.
    let lives = "update sessions set expires_at = now() + interval '1 day'";
    sqlx::query(lives).execute(&db).await.expect("PostgreSQL answers");
    let (printed, status) = binary::run(&["sessions", "end-all"], &binary::settings(&db, "unused")).await;
    assert!(status.success() && printed.contains("3 sessions ended"), "{printed}");
    assert_eq!(refresh(&t, &cookie(&login)).await.status, StatusCode::UNAUTHORIZED);
    t.advance(access::PERIOD);
    for customer in [&one, &other] {
        assert_eq!(t.get(customer, "/v1/me").await.status, StatusCode::UNAUTHORIZED);
    }
    let told: Vec<serde_json::Value> =
        sqlx::query_scalar("select after from audit_log where action = 'session.all_ended'")
            .fetch_all(&db)
            .await
            .expect("PostgreSQL answers");
    assert_eq!(told, [json!({"sessions_ended": 3})]);
    let (printed, status) = binary::run(&["sessions", "end-all"], &binary::settings(&db, "unused")).await;
    assert!(status.success() && printed.contains("0 sessions ended"), "{printed}");
    t.finish().await;
}

#[sqlx::test]
async fn a_session_that_ended_a_month_ago_is_deleted_and_no_other(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let count = async || -> (i64, i64) {
        let counted = "select (select count(*) from sessions), (select count(*) from refresh_tokens)";
        sqlx::query_as(counted).fetch_one(&db).await.expect("PostgreSQL answers")
    };
    let customer = t.customer().await;
    let revoked = format!("/v1/auth/sessions/{}", customer.session_id);
    let done = t.send(Method::DELETE, &revoked, Some(&customer.token), &[], None).await;
    assert_eq!(done.status, StatusCode::NO_CONTENT);
    t.login(&customer.email, PASSWORD).await;
    t.advance(TimeDelta::days(30));
    assert!(!sessions::prune(&t.app).await.expect("PostgreSQL answers"));
    assert_eq!(count().await, (2, 2), "not yet");
    t.login(&customer.email, PASSWORD).await;
    t.advance(TimeDelta::seconds(1));
    sessions::prune(&t.app).await.expect("PostgreSQL answers");
    assert_eq!(count().await, (2, 2), "the revoked one, with its token");
    t.advance(TimeDelta::days(7));
    sessions::prune(&t.app).await.expect("PostgreSQL answers");
    assert_eq!(count().await, (1, 1), "the one whose time was over");
    t.finish().await;
}

#[sqlx::test]
async fn tokens_that_were_used_go_after_a_week_though_their_session_goes_on(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let customer = t.customer().await;
    let mut token = cookie(&t.login(&customer.email, PASSWORD).await);
    for day in 0..20 {
        t.advance(TimeDelta::days(1));
        let renewed = refresh(&t, &token).await;
        assert_eq!(renewed.status, StatusCode::OK, "day {day}");
        token = cookie(&renewed);
        sessions::prune(&t.app).await.expect("PostgreSQL answers");
    }
    let used: i64 = sqlx::query_scalar("select count(*) from refresh_tokens where rotated_at is not null")
        .fetch_one(&db)
        .await
        .expect("PostgreSQL answers");
    assert!((7..=8).contains(&used), "{used}");
    t.finish().await;
}

/// More than are listed: the one that asks is among them, and nobody is told that there are no more.
#[sqlx::test]
async fn of_more_sessions_than_are_listed_the_one_that_asks_is_there(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let customer = t.customer().await;
    sqlx::query(
        "insert into sessions (id, user_id, created_at, expires_at)
         select gen_random_uuid(), user_id, created_at + number * interval '1 second', expires_at
           from sessions, generate_series(1, 120) number where id = $1",
    )
    .bind(customer.session_id)
    .execute(&db)
    .await
    .expect("they are there");
    let listed = t.get(&customer, "/v1/auth/sessions").await;
    let all = listed.body["data"].as_array().expect("a list");
    assert_eq!((all.len(), &listed.body["page"]["total_is"]), (100, &json!("at_least")));
    assert_eq!(all.iter().filter(|session| session["current"] == true).count(), 1);
    assert!(all.is_sorted_by(|one, other| one["created_at"].as_str() >= other["created_at"].as_str()));
    t.finish().await;
}

/// Whatever another cookie of the site holds.
#[sqlx::test]
async fn a_cookie_of_somebody_elses_in_other_bytes_hides_none_of_ours(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let ours = cookie(&t.login(&customer.email, PASSWORD).await);
    for line in [[b"theme=caf\xe9; ", ours.as_bytes()].concat(), [ours.as_bytes(), b"; theme=caf\xe9"].concat()] {
        let line = HeaderValue::from_bytes(&line).expect("a header may hold them");
        let asked = t.http.post(format!("{}/v1/auth/refresh", t.url)).header("Cookie", line).send().await;
        assert_eq!(asked.expect("an answer").status(), StatusCode::OK);
    } // Browsers let a page in the clear set a name that begins so.
    let theirs = HeaderValue::from_bytes(format!("\u{2000}{ours}").as_bytes()).expect("a header may hold it");
    let asked = t.http.post(format!("{}/v1/auth/refresh", t.url)).header("Cookie", theirs).send().await;
    assert_eq!(asked.expect("an answer").status(), StatusCode::UNAUTHORIZED);
}
