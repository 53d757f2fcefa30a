//! Mails over real SMTP: a server that takes them, one that refuses, puts off, hangs, hangs up, does not let us in. And what becomes of a
//! mail that does not go out.

use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use octoco::identity::mails;
use octoco::platform::config::Config;
use octoco::platform::crash::CrashPoints;
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{PASSWORD, TestApp};

/// What a mail server does when it is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Takes,
    /// Answers the recipient with this.
    Refuses(&'static str),
    /// Takes our password for a wrong one.
    LocksOut,
    /// Says nothing more after its greeting.
    Hangs,
    /// Hangs up in the middle of a mail.
    HangsUp,
    /// Takes a mail, and says so too late.
    TakesLong,
    /// Speaks something else.
    Babbles,
}

/// Enough of RFC 5321 for a client that behaves.
#[derive(Clone)]
struct Server {
    url: String,
    manner: Arc<Mutex<Manner>>,
    /// Envelope recipient and text.
    taken: Arc<Mutex<Vec<(String, String)>>>,
}

impl Server {
    #[expect(clippy::disallowed_methods, reason = "the server ends with the test's runtime")]
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let url = format!("smtp://octoco:secret@{}", listener.local_addr().expect("bound"));
        let server = Self { url, manner: Arc::new(Mutex::new(manner)), taken: Arc::default() };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                // A client that goes away is no failure of the server.
                tokio::spawn(async move { serving.talk(stream).await.unwrap_or_default() });
            }
        });
        server
    }

    fn becomes(&self, manner: Manner) {
        *self.manner.lock().expect("not poisoned") = manner;
    }

    fn taken(&self) -> Vec<(String, String)> {
        self.taken.lock().expect("not poisoned").clone()
    }

    async fn talk(&self, stream: TcpStream) -> std::io::Result<()> {
        let manner = *self.manner.lock().expect("not poisoned");
        let mut stream = BufReader::new(stream);
        let greeting: &[u8] = if manner == Manner::Babbles { b"HTTP/1.1 200 OK\r\n\r\n" } else { b"220 mail.test\r\n" };
        stream.write_all(greeting).await?;
        let (mut line, mut recipient) = (String::new(), String::new());
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 || manner == Manner::HangsUp && line.starts_with("RCPT") {
                return Ok(());
            }
            let answer = match line.split([' ', '\r']).next().unwrap_or_default() {
                _ if manner == Manner::Hangs => continue,
                "EHLO" => "250-mail.test\r\n250 AUTH PLAIN",
                "AUTH" if manner == Manner::LocksOut => "535 5.7.8 who are you",
                "AUTH" => "235 welcome",
                "RCPT" => {
                    recipient = line.trim().trim_start_matches("RCPT TO:<").trim_end_matches('>').to_owned();
                    if let Manner::Refuses(refusal) = manner { refusal } else { "250 fine" }
                }
                "DATA" => {
                    stream.write_all(b"354 go on\r\n").await?;
                    let text = read_text(&mut stream).await?;
                    self.taken.lock().expect("not poisoned").push((recipient.clone(), text));
                    if manner == Manner::TakesLong {
                        continue;
                    }
                    "250 taken"
                }
                _ => "250 fine",
            };
            stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
        }
    }
}

async fn read_text(stream: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut text = String::new();
    while !text.ends_with("\r\n.\r\n") && stream.read_line(&mut text).await? > 0 {}
    Ok(text)
}

/// A service that sends over this server, and somebody who has just registered.
async fn registered(db: PgPool, server: &Server) -> (TestApp, String) {
    let hangs = *server.manner.lock().expect("not poisoned") == Manner::Hangs;
    let deadline = if hangs { "1" } else { "30" };
    let settings =
        [("SMTP_URL", server.url.as_str()), ("MAIL_FROM", "Octoco <octoco@example.com>"), ("SMTP_SECS", deadline)];
    let t = TestApp::with(db, &settings).await;
    let email = register(&t).await;
    (t, email)
}

async fn register(t: &TestApp) -> String {
    let email = format!("{}@example.com", uuid::Uuid::now_v7().simple());
    let body = json!({"email": email, "password": PASSWORD, "full_name": "Anna"});
    let registered = t.send(Method::POST, "/v1/auth/register", None, &[], Some(body)).await;
    assert_eq!(registered.status, StatusCode::CREATED, "{}", registered.body);
    email
}

/// State, attempts and last error of the only mail.
async fn only_mail(t: &TestApp) -> (String, i32, Option<String>) {
    sqlx::query_as("select state, attempts, last_error from mails").fetch_one(&t.app.db).await.expect("one mail")
}

#[sqlx::test]
async fn a_mail_arrives_over_smtp(db: PgPool) {
    let server = Server::start(Manner::Takes).await;
    let (t, email) = registered(db, &server).await;
    t.drive().await;
    let taken = server.taken();
    assert_eq!(taken.len(), 1);
    let (recipient, text) = &taken[0];
    assert_eq!(recipient, &email);
    for line in ["From: Octoco <octoco@example.com>", &format!("To: {email}"), "Date: Mon, 02 Mar 2026 09:00:00 +0000"]
    {
        assert!(text.contains(&format!("{line}\r\n")), "{text}");
    }
    let token = text.split("#token=").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("a link");
    let verified = t.send(Method::POST, "/v1/auth/verify-email", None, &[], Some(json!({"token": token}))).await;
    assert_eq!(verified.status, StatusCode::NO_CONTENT, "{}", verified.body);
    assert_eq!(only_mail(&t).await, ("sent".to_owned(), 1, None));
    t.finish().await;
}

fn gauge(t: &TestApp, what: &str, rows: u32) -> bool {
    t.app.metrics.render().contains(&format!(r#"octoco_queue_rows{{queue="mails",what="{what}"}} {rows}"#))
}

/// Tries at 0, 0, 1, 6 and 21 minutes; then it is dead. The refusal names the recipient, as servers do: that is personal and stays out of
/// rows and logs.
#[sqlx::test]
async fn a_mail_that_is_refused_for_good_is_dead_and_the_server_is_not_quoted(db: PgPool) {
    let server = Server::start(Manner::Refuses("550 5.1.1 <somebody@example.com>: no such user")).await;
    let (t, email) = registered(db, &server).await;
    for (attempt, minutes) in [0, 0, 1, 5, 15].into_iter().enumerate() {
        if minutes > 0 {
            t.advance(TimeDelta::minutes(minutes) - TimeDelta::seconds(1));
            assert_eq!(t.send_mails().await, 0, "not yet");
            t.advance(TimeDelta::seconds(1));
        }
        assert_eq!(t.send_mails().await, 1, "attempt {attempt}");
        let (state, attempts, error) = only_mail(&t).await;
        assert_eq!(attempts, i32::try_from(attempt).expect("few") + 1);
        assert_eq!(state == "dead", attempt == 4, "attempt {attempt}");
        let error = error.expect("why it failed");
        assert!(error.contains("refused it with 550") && !error.contains(&email), "{error}");
    }
    server.becomes(Manner::Takes);
    t.advance(TimeDelta::hours(1));
    assert_eq!(t.send_mails().await, 0, "nobody tries it again");
    assert!(server.taken().is_empty());
    mails::measure(&t.app).await.expect("PostgreSQL answers");
    assert!(gauge(&t, "dead", 1) && gauge(&t, "failing", 0));
    let metrics = t.app.metrics.render();
    assert!(metrics.contains(r#"octoco_mails_total{kind="email_verification",outcome="failed"} 4"#), "{metrics}");
    t.finish().await;
}

/// For most of a day; then it is there within a minute of the end of it. And one that nobody takes in time is dead.
async fn outlives(db: PgPool, manner: Manner, told: &str) {
    let server = Server::start(manner).await;
    let (t, email) = registered(db, &server).await;
    for _ in 0..23 {
        t.send_mails().await;
        t.advance(TimeDelta::hours(1));
    }
    let (state, attempts, error) = only_mail(&t).await;
    assert_eq!((state.as_str(), attempts), ("pending", 0), "no try is used up");
    let error = error.expect("why it failed");
    assert!(error.contains(told) && !error.contains(&email), "{error}");
    mails::measure(&t.app).await.expect("PostgreSQL answers");
    assert!(gauge(&t, "failing", 1) && gauge(&t, "dead", 0));
    assert_eq!(t.send_mails().await, 1);
    server.becomes(Manner::Takes);
    t.advance(TimeDelta::seconds(45));
    assert_eq!(t.send_mails().await, 1);
    assert_eq!((only_mail(&t).await.0.as_str(), server.taken().len()), ("sent", 1));

    server.becomes(manner);
    t.advance(TimeDelta::seconds(1));
    register(&t).await;
    assert_eq!(t.send_mails().await, 1);
    t.advance(TimeDelta::hours(24));
    assert_eq!(t.send_mails().await, 1);
    let late = "select state, last_error from mails order by id desc limit 1";
    let late: (String, String) = sqlx::query_as(late).fetch_one(&t.app.db).await.expect("PostgreSQL answers");
    assert_eq!(late, ("dead".to_owned(), "its link ended before it could be sent".to_owned()));
    mails::measure(&t.app).await.expect("PostgreSQL answers");
    assert!(gauge(&t, "failing", 0) && gauge(&t, "dead", 1));
    t.finish().await;
}

#[sqlx::test]
async fn no_mail_dies_of_a_server_that_hangs(db: PgPool) {
    outlives(db, Manner::Hangs, "did not take it within 1 s").await;
}

/// It has the mail each time: whoever it is for is not sent it for a day.
#[sqlx::test]
async fn a_mail_that_the_server_may_have_is_not_sent_again_without_end(db: PgPool) {
    let server = Server::start(Manner::TakesLong).await;
    let (t, _) = registered(db, &server).await;
    for _ in 0..60 {
        t.send_mails().await;
        t.advance(TimeDelta::minutes(1));
    }
    let (state, _, error) = only_mail(&t).await;
    let told = "the mail server did not say that it has it, and answers otherwise";
    assert_eq!((state.as_str(), error.as_deref()), ("dead", Some(told)));
    assert_eq!(server.taken().len(), 5);
    t.finish().await;
}

#[sqlx::test]
async fn no_mail_dies_of_a_server_that_hangs_up(db: PgPool) {
    outlives(db, Manner::HangsUp, "the mail server could not be used").await;
}

#[sqlx::test]
async fn no_mail_dies_of_a_server_that_speaks_something_else(db: PgPool) {
    outlives(db, Manner::Babbles, "the mail server could not be used").await;
}

#[sqlx::test]
async fn no_mail_dies_of_a_server_that_shuts_down_or_does_not_let_us_in(db: PgPool) {
    outlives(db, Manner::LocksOut, "refused it with 535").await;
}

/// Seldom enough to keep no other waiting: after 0, 1, 5 and then every 15 minutes.
#[sqlx::test]
async fn a_mail_that_the_server_puts_off_is_tried_every_quarter_of_an_hour_until_it_is_taken(db: PgPool) {
    let server = Server::start(Manner::Refuses("450 4.2.1 come later")).await;
    let (t, _) = registered(db, &server).await;
    for (attempt, minutes) in [0, 0, 1, 5, 15, 15, 15, 15].into_iter().enumerate() {
        if minutes > 0 {
            t.advance(TimeDelta::minutes(minutes) - TimeDelta::seconds(1));
            assert_eq!(t.send_mails().await, 0, "not yet");
            t.advance(TimeDelta::seconds(1));
        }
        assert_eq!(t.send_mails().await, 1, "attempt {attempt}");
        let (state, attempts, error) = only_mail(&t).await;
        assert_eq!((state.as_str(), attempts), ("pending", i32::try_from(attempt).expect("few") + 1));
        assert!(error.is_some_and(|error| error.contains("refused it with 450")));
    }
    server.becomes(Manner::Takes);
    t.advance(TimeDelta::minutes(15));
    t.drive().await;
    assert_eq!((only_mail(&t).await.0.as_str(), server.taken().len()), ("sent", 1));
    t.finish().await;
}

#[sqlx::test]
async fn a_mail_goes_out_when_the_server_is_well_again(db: PgPool) {
    let server = Server::start(Manner::Refuses("451 greylisted")).await;
    let (t, email) = registered(db, &server).await;
    t.drive().await;
    assert!(server.taken().is_empty());
    server.becomes(Manner::Takes);
    t.advance(TimeDelta::minutes(1));
    t.drive().await;
    assert_eq!(server.taken().iter().map(|(recipient, _)| recipient).collect::<Vec<_>>(), [&email]);
    assert_eq!(only_mail(&t).await.0, "sent");
    t.finish().await;
}

#[sqlx::test]
async fn a_link_that_would_end_before_it_arrives_is_not_sent(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    t.drive().await;
    let body = json!({"email": customer.email});
    t.send(Method::POST, "/v1/auth/password/forgot", None, &[], Some(body)).await;
    t.advance(TimeDelta::minutes(30));
    t.drive().await;
    assert_eq!(t.mailbox.to(&customer.email).len(), 1, "the one from registering");
    let staff = t.staff(Role::Support).await;
    let dead = t.get(&staff, "/v1/admin/mails?state=dead").await;
    let mail = &dead.body["data"][0];
    assert_eq!((&mail["kind"], &mail["user_id"]), (&json!("password_reset"), &json!(customer.id)));
    assert_eq!(mail["last_error"], "its link ended before it could be sent");
    t.finish().await;
}

#[sqlx::test]
async fn without_a_way_out_mails_are_dead_and_everything_else_works(db: PgPool) {
    let t = TestApp::with(db, &[("MAIL_FOLDER", "")]).await;
    let customer = t.customer_with(5_000).await;
    t.advance(TimeDelta::minutes(1));
    t.drive().await;
    t.advance(TimeDelta::minutes(5));
    t.drive().await;
    t.advance(TimeDelta::minutes(15));
    t.drive().await;
    let (state, _, error) = only_mail(&t).await;
    assert_eq!((state.as_str(), error.as_deref()), ("dead", Some("neither SMTP_URL nor MAIL_FOLDER is set")));
    assert_eq!(t.withdraw(&customer, 1_000, "w").await.status, StatusCode::ACCEPTED);
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn a_process_that_dies_before_it_notes_the_mail_sends_the_same_one_again(db: PgPool) {
    let dies = Arc::new(Mutex::new(true));
    let plan = dies.clone();
    let crash = CrashPoints::planned(move |point| {
        point == "mail.sent" && std::mem::take(&mut *plan.lock().expect("not poisoned"))
    });
    let server = Server::start(Manner::Takes).await;
    let settings = [("SMTP_URL", server.url.as_str()), ("MAIL_FROM", "octoco@example.com")];
    let t = TestApp::crashing(db, &settings, crash).await;
    register(&t).await;
    t.drive().await;
    assert_eq!(only_mail(&t).await.0, "pending");
    t.advance(TimeDelta::seconds(90));
    t.drive().await;
    let taken = server.taken();
    assert_eq!(taken.len(), 2);
    let id = |text: &str| text.lines().find(|line| line.starts_with("Message-ID: ")).map(str::to_owned);
    assert_eq!(id(&taken[0].1), id(&taken[1].1));
    assert!(id(&taken[0].1).is_some());
    assert_eq!(only_mail(&t).await.0, "sent");
    t.finish().await;
}

#[sqlx::test]
async fn staff_list_mails_page_by_page_and_never_what_they_say(db: PgPool) {
    let t = TestApp::new(db).await;
    let support = t.staff(Role::Support).await;
    for _ in 0..3 {
        t.app.clock.advance(TimeDelta::milliseconds(1));
        register(&t).await;
    }
    t.drive().await;
    let page = async |query: &str| t.get(&support, &format!("/v1/admin/mails?{query}")).await;
    let first = page("limit=3").await;
    let rest = page(&format!("limit=3&cursor={}", first.body["page"]["next_cursor"].as_str().expect("more"))).await;
    let count = |answer: &Value| answer["data"].as_array().expect("a list").len();
    assert_eq!((count(&first.body), count(&rest.body), &rest.body["page"]["next_cursor"]), (3, 1, &Value::Null));
    assert!(!first.body.to_string().contains('@') && !first.body.to_string().contains("token"), "{}", first.body);
    let all = page("limit=4").await.body;
    assert_eq!((count(&all), &all["page"]["next_cursor"], &all["page"]["page_size"]), (4, &Value::Null, &json!(4)));
    assert_eq!(count(&page("state=pending").await.body), 0);
    for query in ["state=gone", "limit=0", "cursor=x", "colour=red"] {
        assert_eq!(page(query).await.status, StatusCode::BAD_REQUEST, "{query}");
    }
    t.finish().await;
}

#[test]
fn settings_that_cannot_be_meant_are_refused_by_name() {
    let refused = |settings: &[(&str, &str)]| {
        let value =
            |name: &str| settings.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let error = Config::from_source(&|name| Ok(value(name))).expect_err("much else is missing");
        let about = ["SMTP_URL", "MAIL_FROM", "SMTP_SECS", "FRONTEND_URL", "REQUIRE_VERIFIED_EMAIL"];
        let text = error.to_string();
        assert!(!text.contains("secret"), "{text}");
        let lines = text.lines().filter_map(|line| line.split_whitespace().next());
        lines.filter(|name| about.contains(name)).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(refused(&[]), [""; 0]);
    assert_eq!(refused(&[("SMTP_URL", "smtps://octoco:secret@mail.example.com")]), ["MAIL_FROM"]);
    let plain = [("SMTP_URL", "smtp://octoco:secret@mail.example.com"), ("MAIL_FROM", "octoco@example.com")];
    assert_eq!(refused(&plain), ["SMTP_URL"]);
    assert_eq!(refused(&[("MAIL_FROM", "nobody"), ("SMTP_SECS", "0")]), ["MAIL_FROM", "SMTP_SECS"]);
    assert_eq!(refused(&[("REQUIRE_VERIFIED_EMAIL", "yes")]), ["REQUIRE_VERIFIED_EMAIL"]);
    assert_eq!(refused(&[("REQUIRE_VERIFIED_EMAIL", "yes"), ("MAIL_FOLDER", "/tmp/x")]), [""; 0]);
    for url in ["app.example.com", "https://app.example.com/?a=b", "https://app.example.com/#x"] {
        assert_eq!(refused(&[("FRONTEND_URL", url)]), ["FRONTEND_URL"], "{url}");
    }
}

#[sqlx::test]
async fn a_mail_that_went_out_or_died_a_month_ago_is_deleted(db: PgPool) {
    let t = TestApp::new(db).await;
    t.customer().await;
    t.drive().await;
    t.customer().await;
    let dead = "update mails set state = 'dead', due_at = null where state = 'pending'";
    sqlx::query(dead).execute(&t.app.db).await.expect("PostgreSQL answers");
    t.advance(chrono::TimeDelta::days(30));
    t.customer().await;
    let count = async || -> i64 {
        octoco::identity::mails::prune(&t.app).await.expect("PostgreSQL answers");
        sqlx::query_scalar("select count(*) from mails").fetch_one(&t.app.db).await.expect("PostgreSQL answers")
    };
    assert_eq!(count().await, 3, "not yet");
    t.advance(chrono::TimeDelta::seconds(1));
    assert_eq!(count().await, 1, "and one that has not gone out stays");
    t.finish().await;
}
