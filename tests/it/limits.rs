//! Rate limits: what a caller is told, and what happens while Redis is away.

use std::time::{Duration, Instant};

use octoco::platform::config::{Counting, RateLimits};
use octoco::platform::permissions::Role;
use octoco::platform::rate_limits::{Answer, Class, Counter, Limiter};
use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::harness::{Answer as Told, Customer, PASSWORD, PATIENCE, TestApp, environment};
use crate::{health, service_accounts};

const NO_REDIS: (&str, &str) = ("REDIS_URL", "redis://127.0.0.1:1");

fn number(answer: &Told, header: &str) -> u64 {
    let value = answer.headers.get(header).unwrap_or_else(|| panic!("no {header}: {}", answer.body));
    value.to_str().expect("text").parse().expect("a number")
}

/// One customer's own bucket: nobody else's test can use it up.
async fn first_refusal(t: &TestApp, customer: &Customer) -> Told {
    t.used_up(Class::Read, &customer.id.to_string(), async || t.get(customer, "/v1/me").await).await
}

#[sqlx::test]
async fn too_many_calls_are_told_when_to_come_again(db: PgPool) {
    let t = TestApp::with(db, &[("RATE_LIMITS", "default")]).await;
    let customer = t.customer().await;
    let refused = first_refusal(&t, &customer).await;
    assert_eq!(refused.code(), "rate_limited");
    assert!(number(&refused, "retry-after") >= 1);
    assert_eq!((number(&refused, "ratelimit-limit"), number(&refused, "ratelimit-remaining")), (600, 0));
    t.finish().await;
}

#[sqlx::test]
async fn every_counted_answer_tells_where_the_caller_stands(db: PgPool) {
    let t = TestApp::with(db, &[("RATE_LIMITS", "default")]).await;
    let customer = t.customer().await;
    let first = t.get(&customer, "/v1/me").await;
    assert_eq!((number(&first, "ratelimit-limit"), number(&first, "ratelimit-remaining")), (600, 599));
    assert_eq!(number(&first, "ratelimit-reset"), 1);
    assert_eq!(first.headers["ratelimit-policy"], "\"read\";q=600;w=12");
    assert_eq!(first.headers["ratelimit"], "\"read\";r=599;t=1");
    let missing = t.get(&customer, "/v1/transactions/01900000-0000-7000-8000-000000000000").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert!(
        missing.headers.contains_key("ratelimit") && missing.headers.contains_key("ratelimit-policy"),
        "a refusal too"
    );
    let public = t.send(Method::GET, "/healthz", None, &[], None).await;
    assert!(public.headers.get("ratelimit-limit").is_none());
    t.finish().await;
}

/// What is refused for good leaves a row, too: a customer who is never tired adds some megabytes a day.
#[sqlx::test]
async fn a_customer_starts_no_more_in_a_day_than_anybody_needs(db: PgPool) {
    let t = TestApp::with(db, &[("RATE_LIMITS", "default")]).await;
    let customer = t.customer().await;
    let who = customer.id.to_string();
    let mut allowed = 0;
    while let Answer::Allowed(..) = t.app.limiter.check(Class::MoneyLong, &who).await {
        allowed += 1;
    }
    // One call was made for the bank account, and a slow machine gets a few back meanwhile.
    assert!((2_999..3_100).contains(&allowed), "{allowed}");
    let refused = t.withdraw(&customer, 1_000, "w1").await;
    assert_eq!((refused.status, refused.code()), (StatusCode::TOO_MANY_REQUESTS, "rate_limited"));
    assert!(number(&refused, "retry-after") <= 10);
    assert_eq!(t.get(&customer, "/v1/me").await.status, StatusCode::OK, "reading goes on");
    t.finish().await;
}

#[sqlx::test]
async fn from_one_address_no_more_accounts_are_opened_in_a_day_than_a_company_has_people(db: PgPool) {
    let t = TestApp::with(db, &[("RATE_LIMITS", "default"), ("TRUSTED_PROXIES", "127.0.0.1/32")]).await;
    let register = async |address: &str| {
        let email = format!("{}@example.com", Uuid::now_v7().simple());
        let new = json!({"email": email, "password": PASSWORD, "full_name": "Thandi Nkosi"});
        t.send(Method::POST, "/v1/auth/register", None, &[("X-Forwarded-For", address)], Some(new)).await
    };
    assert_eq!(register("192.0.2.1").await.status, StatusCode::CREATED);
    let mut allowed = 0;
    while let Answer::Allowed(..) = t.app.limiter.check(Class::Accounts, "192.0.2.1").await {
        allowed += 1;
    }
    assert!((299..320).contains(&allowed), "{allowed}");
    let refused = register("192.0.2.1").await;
    assert_eq!((refused.status, refused.code()), (StatusCode::TOO_MANY_REQUESTS, "rate_limited"));
    assert_eq!(register("192.0.2.2").await.status, StatusCode::CREATED, "elsewhere");
    t.finish().await;
}

/// Each leaves two lines in the audit log for ever, and of an empty list takes no time.
#[sqlx::test]
async fn a_customer_begins_no_more_exports_than_anybody_reads(db: PgPool) {
    let t = TestApp::with(db, &[("RATE_LIMITS", "default")]).await;
    let customer = t.customer().await;
    let export = async || t.get(&customer, "/v1/transactions/export?format=csv").await;
    let told = t.used_up(Class::Exports, &customer.id.to_string(), export).await;
    assert_eq!(told.code(), "rate_limited");
    assert_eq!(t.get(&customer, "/v1/transactions").await.status, StatusCode::OK, "reading goes on");
    t.finish().await;
}

/// Each of these calls is on record for ever.
#[sqlx::test]
async fn staff_and_machines_read_no_more_than_they_need_and_a_machine_no_more_by_many_keys(db: PgPool) {
    let t = TestApp::with(db, &[("RATE_LIMITS", "default")]).await;
    let (admin, other) = (t.staff(Role::Admin).await, t.staff(Role::Admin).await);
    let path = "/v1/admin/users?limit=1";
    let account = service_accounts::account(&t, &admin, &["users.read"]).await;
    let (_, one) = service_accounts::key(&t, &admin, account).await;
    let (_, two) = service_accounts::key(&t, &admin, account).await;
    let elsewhere = service_accounts::account(&t, &admin, &["users.read"]).await;
    let (_, third) = service_accounts::key(&t, &admin, elsewhere).await;
    let told = t.used_up(Class::Staff, &admin.id.to_string(), async || t.get(&admin, path).await).await;
    assert_eq!((told.code(), number(&told, "ratelimit-limit")), ("rate_limited", 600));
    assert_eq!(t.get(&admin, "/v1/me").await.status, StatusCode::OK, "as anybody");
    assert_eq!(t.get(&other, path).await.status, StatusCode::OK);
    for key in [&one, &two] {
        let read = async || t.send(Method::GET, path, Some(key), &[], None).await;
        let told = t.used_up(Class::Machine, &format!("service:{account}"), read).await;
        assert_eq!((told.code(), number(&told, "ratelimit-limit")), ("rate_limited", 300));
    }
    assert_eq!(t.send(Method::GET, path, Some(&third), &[], None).await.status, StatusCode::OK, "another machine");
    t.finish().await;
}

/// A body that cannot be read has its mistakes looked for, which is work, too.
#[sqlx::test]
async fn a_sign_in_that_cannot_be_read_is_counted(db: PgPool) {
    let t = TestApp::with(db, &[("RATE_LIMITS", "default"), ("TRUSTED_PROXIES", "127.0.0.1/32")]).await;
    let unreadable =
        [("192.0.2.7", json!({"email": 1})), ("192.0.2.8", json!({"email": "nobody", "password": PASSWORD}))];
    for (from, body) in unreadable {
        let headers = [("X-Forwarded-For", from)];
        let login = async || t.send(Method::POST, "/v1/auth/login", None, &headers, Some(body.clone())).await;
        assert_eq!(login().await.code(), "invalid_request");
        assert_eq!(t.used_up(Class::Auth, from, login).await.code(), "rate_limited");
    }
    t.finish().await;
}

#[sqlx::test]
async fn without_redis_each_process_counts_for_itself_and_money_still_moves(db: PgPool) {
    let t = TestApp::with(db, &[("RATE_LIMITS", "default"), NO_REDIS]).await;
    let customer = t.customer_with(5_000).await;
    assert_eq!(t.withdraw(&customer, 1_000, "w1").await.status, StatusCode::ACCEPTED);
    t.drive().await;
    assert_eq!(health::ready(&t).await.body["redis"], "unavailable");
    assert_eq!(number(&first_refusal(&t, &customer).await, "ratelimit-remaining"), 0);
    let metrics = t.app.metrics.render();
    assert!(
        metrics.contains(r#"octoco_rate_limit_answers_total{answer="refused",by="process",class="read"}"#),
        "{metrics}"
    );
    t.finish().await;
}

/// Something that takes connections and never answers. A call that waits takes as long as a connection may take to open, however
/// fast the machine is; one that does not wait takes so long only now and then on a slow one.
#[tokio::test]
async fn a_redis_that_hangs_is_waited_for_by_one_call_a_second() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
    let url = format!("redis://{}", listener.local_addr().expect("bound"));
    let counting = Counting { connection: Duration::from_millis(200), ..Counting::default() };
    let limiter = Limiter::new(&url, RateLimits::Default, counting.clone()).expect("a URL");
    let (started, mut waited) = (Instant::now(), 0);
    for _ in 0..150 {
        let asked = Instant::now();
        let answer = limiter.check(Class::Read, "somebody").await;
        assert!(matches!(answer, Answer::Allowed(_, Counter::Process)), "{answer:?}");
        waited += u64::from(asked.elapsed() >= counting.connection);
    }
    let took = started.elapsed();
    assert!((1..=took.as_secs() + 10).contains(&waited), "{waited} of 150 calls waited in {took:?}");
}

/// An hour's bucket: a slow machine does not get some of it back meanwhile.
#[sqlx::test]
async fn redis_and_a_process_count_alike(db: PgPool) {
    let redis = TestApp::with(db.clone(), &[("RATE_LIMITS", "default")]).await;
    let process = TestApp::with(db, &[("RATE_LIMITS", "default"), NO_REDIS]).await;
    let who = Uuid::now_v7().to_string();
    let started = Instant::now();
    for call in 0..32 {
        let standing = async |t: &TestApp, by: Counter| match t.app.limiter.check(Class::GuessLong, &who).await {
            Answer::Allowed(standing, counter) => (Ok(standing.remaining), counter == by),
            Answer::Refused { retry_after_secs, counter, .. } => (Err(retry_after_secs), counter == by),
            Answer::Unlimited => panic!("limits are on"),
        };
        let (one, two) = (standing(&redis, Counter::Redis).await, standing(&process, Counter::Process).await);
        assert!(one.1 && two.1, "each has counted");
        match (one.0, two.0) {
            (Ok(one), Ok(two)) => assert_eq!((one, two), (29 - call, 29 - call)),
            (Err(one), Err(two)) => {
                assert!(call >= 30, "call {call} was refused");
                let elapsed = started.elapsed().as_secs();
                assert!(one.abs_diff(two) <= 1 + elapsed && one.max(two) <= 60, "{one} and {two} seconds");
            }
            unlike => panic!("call {call}: {unlike:?}"),
        }
    }
    redis.finish().await;
}

/// Twenty at once, and one in ten seconds: a slow machine does not get many of them back meanwhile.
#[sqlx::test]
async fn an_ipv6_network_counts_as_one_and_the_one_around_it_as_ten(db: PgPool) {
    let redis = TestApp::with(db.clone(), &[("RATE_LIMITS", "default")]).await;
    let process = TestApp::with(db, &[("RATE_LIMITS", "default"), NO_REDIS]).await;
    for t in [&redis, &process] {
        let passes = async |who: &str| {
            let answer = t.app.limiter.check(Class::MailsAsked, who).await;
            u64::from(matches!(answer, Answer::Allowed(..)))
        };
        let started = Instant::now();
        let (mut one, mut many, mut mapped) = (0, 0, 0);
        for index in 0..300 {
            one += passes(&format!("2001:db8:1:1::{index:x}")).await;
        }
        for index in 0..300 {
            many += passes(&format!("2001:db8:2:{index:x}::1")).await;
        }
        for index in 0..40 {
            mapped += passes(if index % 2 == 0 { "203.0.113.7" } else { "::ffff:203.0.113.7" }).await;
        }
        let more = started.elapsed().as_secs() / 10 + 1;
        assert!((20..=20 + more).contains(&one), "{one} from one /64");
        assert!((200..=200 + 10 * more).contains(&many), "{many} from one /48");
        assert!((20..=20 + more).contains(&mapped), "{mapped} from one IPv4 address");
        assert_eq!(passes("203.0.113.8").await + passes("2001:db8:3::1").await, 2, "others are not concerned");
    }
    redis.finish().await;
}

/// Else whoever has many accounts crowds out those whose devices are known.
#[sqlx::test]
async fn a_password_that_is_proven_is_counted_by_where_the_call_comes_from(db: PgPool) {
    let t = TestApp::with(db, &[("RATE_LIMITS", "default"), ("TRUSTED_PROXIES", "127.0.0.1/32")]).await;
    let customer = t.customer().await;
    let prove = async |from: &str| {
        let body = json!({"password": "not the customer's own"});
        t.send(Method::POST, "/v1/auth/step-up", Some(&customer.token), &[("X-Forwarded-For", from)], Some(body)).await
    };
    let told = t.used_up(Class::Auth, "prove:192.0.2.9", async || prove("192.0.2.9").await).await;
    assert_eq!(told.code(), "rate_limited");
    assert_eq!(prove("192.0.2.10").await.code(), "invalid_credentials", "from elsewhere it goes on");
    t.finish().await;
}

/// A replica takes over whose clock is behind: what the other wrote is far ahead of it.
#[tokio::test]
async fn a_clock_of_redis_that_was_put_back_refuses_nobody_for_long() {
    let redis = environment("TEST_REDIS_URL");
    let counting =
        Counting { prefix: format!("octoco:test:{}", Uuid::now_v7()), answer: PATIENCE, connection: PATIENCE };
    let limiter = Limiter::new(&redis, RateLimits::Default, counting.clone()).expect("a URL");
    let client = redis::Client::open(redis).expect("a URL");
    let mut connection = client.get_multiplexed_async_connection().await.expect("Redis answers");
    let time = redis::cmd("TIME").query_async::<(u64, u64)>(&mut connection).await.expect("Redis answers");
    let in_ten_minutes = (time.0 + 600) * 1_000_000;
    let key = format!("{}:{}:somebody", counting.prefix, Class::Read.name());
    redis::cmd("SET").arg(key).arg(in_ten_minutes).exec_async(&mut connection).await.expect("Redis answers");
    match limiter.check(Class::Read, "somebody").await {
        Answer::Refused { retry_after_secs, .. } => assert!(retry_after_secs <= 1, "{retry_after_secs} s"),
        other => panic!("a full bucket lets nobody through: {other:?}"),
    }
}
