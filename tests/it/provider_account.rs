//! What Revio says of the whole account: its balance and its statements, the key that goes to its own host alone, and the calls that come last.

use chrono::TimeDelta;
use ledger::AccountCode;
use octoco::provider::revio::{self, Errand, RevioError, StatementStatus};
use revio_sim::{
    Fault, FaultKind, Headings, NewTransfer, PayoutBehaviour, Scope, Settings, StatementSettings, Stranger, Unit,
};
use sqlx::PgPool;

use crate::harness::TestApp;

const ZONE: &str = "Africa/Johannesburg";

fn statements(t: &TestApp, change: impl FnOnce(&mut StatementSettings)) {
    let mut settings = t.sim.settings().statements;
    change(&mut settings);
    t.sim.set_statements(settings);
}

async fn balance(t: &TestApp, field: &str) -> i64 {
    let fields = t.app.revio.balance().await.expect("Revio answers");
    let of = fields.iter().find(|one| one.currency == "ZAR" && one.field == field);
    of.unwrap_or_else(|| panic!("no {field} among {fields:?}")).minor
}

/// The address of a statement of the hour that has passed.
async fn made(t: &TestApp) -> String {
    let (from, to) = (t.app.clock.now() - TimeDelta::hours(1), t.app.clock.now() + TimeDelta::seconds(1));
    let id = t.app.revio.request_statement(from, to, ZONE).await.expect("Revio answers");
    for _ in 0..5 {
        let statement = t.app.revio.statement(id).await.expect("Revio answers");
        if statement.status == StatementStatus::Success {
            return statement.download_url.expect("a made one has an address");
        }
        assert!(matches!(statement.status, StatementStatus::Open(_)), "{:?}", statement.status);
        assert_eq!(statement.download_url, None);
    }
    panic!("never made");
}

fn fetched(t: &TestApp) -> Vec<(u16, bool)> {
    let calls = t.sim.calls().into_iter().filter(|call| call.path.starts_with("/statements/"));
    calls.map(|call| (call.status, call.with_key)).collect()
}

#[sqlx::test]
async fn the_balance_is_read_field_by_field_and_is_what_the_books_say(db: PgPool) {
    let t = TestApp::new(db).await;
    t.sim.set_settings(Settings { payout_fee: 30, ..t.sim.settings() });
    let customer = t.customer_with(100_000).await;
    t.withdraw(&customer, 20_000, "w1").await;
    t.drive().await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    t.withdraw(&customer, 5_000, "w2").await;
    t.drive().await;
    let books = t.system_balance(AccountCode::ProviderBalance).await.posted();
    assert_eq!((books, balance(&t, "balance").await), (79_970, 79_970));
    t.sim.set_reserve("ZAR", 10_000);
    let settlement = NewTransfer { currency: "ZAR".to_owned(), amount: Some(30_000), ..NewTransfer::default() };
    t.sim.settle_to_bank(&settlement).expect("it is there");
    for (field, minor) in [
        ("balance", 49_970),
        ("available_balance", 34_970),
        ("reserved", 10_000),
        ("pending_outgoing", 5_000),
        ("fee_sell", 30),
        ("payout_overdraft", 0),
    ] {
        assert_eq!(balance(&t, field).await, minor, "{field}");
    }
    // Below zero is a balance, too; this one costs its fee as well.
    t.sim
        .stranger_payout(&Stranger { amount: 60_000, currency: "ZAR".to_owned(), quiet: true, ..Stranger::default() })
        .expect("nothing is checked");
    assert_eq!(balance(&t, "balance").await, -10_060);
    t.finish().await;
}

#[sqlx::test]
async fn a_statement_is_asked_for_waited_for_and_fetched_with_the_key(db: PgPool) {
    let t = TestApp::new(db).await;
    let early = t.customer_with(10_000).await;
    t.advance(TimeDelta::hours(2));
    let customer = t.customer_with(50_000).await;
    let withdrawal = t.withdraw(&customer, 20_000, "w").await.id();
    t.drive().await;
    let file = t.app.revio.download_statement(&made(&t).await).await.expect("Revio answers");
    let file = String::from_utf8(file).expect("text");
    let mut lines: Vec<&str> = file.lines().collect();
    assert_eq!(lines.remove(0), "id,reference,product,status,currency,amount,fee,net,paid_on,related_id");
    lines.sort_by_key(|line| line.contains("payout"));
    assert!(lines[0].contains(",purchase,paid,ZAR,50000,0,50000,2026-03-02T13:00:00+02:00,"), "{file}");
    let payout = format!("{},{withdrawal},payout,success,ZAR,-20000,0,-20000,", t.payout_of(withdrawal));
    assert!(lines[1].starts_with(&payout), "{file}");
    assert_eq!(lines.len(), 2, "what was paid before is in another one: {file}");
    assert_eq!(fetched(&t), [(200, true)]);
    assert_eq!(t.balance(&early).await, (10_000, 0, 10_000));
    statements(&t, |settings| (settings.headings, settings.unit) = (Headings::Odd, Unit::Rands));
    let odd = t.app.revio.download_statement(&made(&t).await).await.expect("Revio answers");
    assert!(odd.starts_with(b"\xef\xbb\xbfPaid At;"), "as it was sent");
    t.finish().await;
}

#[sqlx::test]
async fn the_key_never_goes_to_another_host_and_no_redirect_is_followed(db: PgPool) {
    let t = TestApp::new(db).await;
    // The simulator by another name, and addresses inside of our own network.
    let elsewhere = t.sim.origin().replace("127.0.0.1", "localhost");
    for host in [elsewhere.as_str(), "http://169.254.169.254", "https://10.0.0.1", "https://localhost"] {
        statements(&t, |settings| settings.host = Some(host.to_owned()));
        let fetched = t.app.revio.download_statement(&made(&t).await).await;
        assert!(matches!(fetched, Err(RevioError::Unreadable(_))), "{host}: {fetched:?}");
    }
    assert_eq!(fetched(&t), [], "nobody was asked");
    statements(&t, |settings| settings.host = None);
    let url = made(&t).await;
    t.sim.set_fault(Fault::next(1, Scope::OtherCall, FaultKind::Answer { status: 302 }));
    let redirected = t.app.revio.download_statement(&url).await;
    assert!(matches!(redirected, Err(RevioError::Upstream { status: 302 })), "{redirected:?}");
    assert_eq!(fetched(&t), [(302, true)]);
    t.finish().await;
}

#[sqlx::test]
async fn a_file_without_an_end_and_answers_that_are_none_are_typed_errors(db: PgPool) {
    let t = TestApp::new(db).await;
    statements(&t, |settings| settings.padding = (64 << 20) + 1);
    let large = t.app.revio.download_statement(&made(&t).await).await;
    assert!(matches!(large, Err(RevioError::Unreadable(_))), "{:?}", large.map(|file| file.len()));
    statements(&t, |settings| (settings.padding, settings.fails) = (0, true));
    let (from, to) = (t.app.clock.now() - TimeDelta::hours(1), t.app.clock.now());
    let id = t.app.revio.request_statement(from, to, ZONE).await.expect("Revio answers");
    t.app.revio.statement(id).await.expect("Revio answers");
    let failed = t.app.revio.statement(id).await.expect("Revio answers");
    assert_eq!(failed.status, StatementStatus::Failed("error".to_owned()));
    assert!(matches!(t.app.revio.statement(uuid::Uuid::nil()).await, Err(RevioError::NotFound)));
    let unknown = t.app.revio.request_statement(from, to, "Mars/Olympus").await;
    assert!(matches!(unknown, Err(RevioError::Rejected { status: 400, .. })), "{unknown:?}");
    t.sim.set_fault(Fault::next(1, Scope::OtherCall, FaultKind::Blank { status: 200 }));
    assert!(matches!(t.app.revio.balance().await, Err(RevioError::Unreadable(_))));
    t.sim.set_fault(Fault::next(1, Scope::OtherCall, FaultKind::RateLimited { retry_after_secs: 30 }));
    assert!(matches!(t.app.revio.balance().await, Err(RevioError::RateLimited { .. })));
    assert!(matches!(t.app.revio.balance().await, Err(RevioError::NoPlace(_))), "nobody calls before that");
    t.advance(TimeDelta::seconds(31));
    t.app.revio.balance().await.expect("Revio answers");
    t.finish().await;
}

#[sqlx::test]
async fn what_fails_about_the_account_pauses_no_payment(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_fault(Fault::next(8, Scope::OtherCall, FaultKind::Answer { status: 503 }));
    for _ in 0..8 {
        assert!(matches!(t.app.revio.balance().await, Err(RevioError::Upstream { status: 503 })));
    }
    assert!(matches!(t.app.revio.balance().await, Err(RevioError::Paused(_))));
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    t.drive().await;
    assert_eq!(t.state(withdrawal).await, "completed");
    // But that it has enough of us is for all calls, also where it says so of a file of its own.
    t.advance(TimeDelta::seconds(31));
    let (file, slowed) = (made(&t).await, FaultKind::RateLimited { retry_after_secs: 60 });
    t.sim.set_fault(Fault::next(1, Scope::OtherCall, slowed));
    t.app.revio.download_statement(&file).await.expect_err("not now");
    let calls = t.sim.calls().len();
    let second = t.withdraw(&customer, 4_000, "w2").await.id();
    t.drive().await;
    assert_eq!(t.sim.calls().len(), calls, "nobody calls before");
    for _ in 0..3 {
        t.advance(TimeDelta::seconds(61));
        t.drive().await;
    }
    assert_eq!(t.state(second).await, "completed");
    t.finish().await;
}

#[sqlx::test]
async fn reconciliation_asks_in_a_class_of_its_own_and_no_more_often_than_it_may(db: PgPool) {
    let t = TestApp::with(db, &[("RECONCILIATION_CALLS_PER_SECOND", "5")]).await;
    let customer = t.customer_with(10_000).await;
    let deposit = t.deposit(&customer, 1_000, "d").await.id();
    let purchase = t.purchase_of(deposit);
    let mut answered = 0;
    // Each that has no place waits for one.
    for _ in 0..8 {
        match revio::on(Errand::Reconciliation, t.app.revio.purchase(purchase)).await {
            Ok(_) => answered += 1,
            Err(error) => assert!(matches!(error, RevioError::NoPlace(_)), "{error}"),
        }
    }
    assert_eq!(answered, 5, "what may come at once while the clock stands still");
    assert!(matches!(t.app.revio.balance().await, Err(RevioError::NoPlace(_))), "the balance is of the same class");
    t.app.revio.purchase(purchase).await.expect("others have their places");
    let metrics = t.app.metrics.render();
    assert!(metrics.contains(r#"octoco_revio_calls_total{class="reconciliation",outcome="ok"} 5"#), "{metrics}");
    t.finish().await;
}
