//! Metrics: what documents name is exported, names say their unit, series whose words are known are there from the start, and a life of
//! money fills those that only it fills.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use chrono::TimeDelta;
use ledger::{AccountCode, Amount, Currency, Leg, Transfer, TransferCode, TransferId};
use octoco::books::{exports, projector};
use octoco::identity::{audit::Actor, mails, sessions};
use octoco::money::transactions::{Kind, State};
use octoco::platform::permissions::Role;
use octoco::platform::telemetry::{Metrics, words};
use octoco::webhooks::inbox;
use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::harness::TestApp;

fn files(folder: &Path, ends: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("readable").path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path, ends) } else { vec![path] })
        .filter(|path| path.to_string_lossy().ends_with(ends))
        .collect()
}

fn names_in(text: &str) -> BTreeSet<String> {
    let name = |part: &str| {
        part.chars().take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_').collect::<String>()
    };
    text.split("octoco_").skip(1).map(|part| format!("octoco_{}", name(part))).collect()
}

/// What queues call themselves: those whose label is one word.
fn labels_in(source: &str) -> Vec<String> {
    let body = |rest: &str| rest.split_once('{').expect("it has a body").1.trim_start().to_owned();
    let word = |body: String| Some(body.strip_prefix('"')?.split_once('"')?.0.to_owned());
    source.split("fn label<'a>(&'a self").skip(1).map(body).filter_map(word).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// By the source: a metric whose words are not known has no series before something happens.
fn declared() -> BTreeSet<String> {
    let mut sources = files(&root().join("src/platform/telemetry"), ".rs");
    sources.retain(|path| path.to_string_lossy().contains("metrics"));
    sources.iter().flat_map(|path| names_in(&std::fs::read_to_string(path).expect("readable"))).collect()
}

#[test]
fn every_metric_that_a_document_names_is_declared() {
    let mut documents = files(&root().join("docs"), ".md");
    documents.push(root().join("README.md"));
    let declared = declared();
    assert!(declared.len() > 40, "{declared:?}");
    // Where a document names none of ours: those of node_exporter's text files, and what is no metric.
    let others = ["octoco_backup_last_success_timestamp_seconds"];
    for path in documents {
        for name in names_in(&std::fs::read_to_string(&path).expect("readable")) {
            let base = ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
            let known = declared.contains(base) || declared.contains(&name) || others.contains(&name.as_str());
            let is_metric = ["_total", "_seconds", "_minor", "_bucket", "_count"].iter().any(|end| name.ends_with(end));
            assert!(known || !is_metric, "{} names {name}", path.display());
        }
    }
}

#[test]
fn every_name_says_what_it_counts_and_in_which_unit() {
    let units = ["_total", "_seconds", "_minor", "_info"];
    // Of which there are so many, or which are true or false.
    let numbers = [
        "octoco_audit_chain_intact", "octoco_database_durable", "octoco_db_pool_connections",
        "octoco_http_connections", "octoco_queue_rows", "octoco_read_model_lag_transfers", "octoco_read_model_orphans",
        "octoco_reconciliation_breaks", "octoco_safe_mode", "octoco_schema_current", "octoco_waiting",
    ];
    for name in declared() {
        let known = units.iter().any(|unit| name.ends_with(unit)) || numbers.contains(&name.as_str());
        assert!(known, "{name} has no unit");
    }
    let text = Metrics::new().render();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').expect("a name and a type");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        assert!(kind != "histogram" || name.ends_with("_seconds"), "{name} is a {kind}");
    }
    let of_process =
        ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_max_fds"];
    for name in of_process.into_iter().chain(["process_start_time_seconds", "process_threads"]) {
        assert!(text.contains(&format!("\n{name} ")), "{name} is exported");
    }
}

#[test]
fn what_may_happen_is_there_before_it_has_happened() {
    let text = Metrics::new().render();
    for series in [
        r#"octoco_transaction_states_total{kind="deposit",state="completed"} 0"#,
        r#"octoco_webhook_calls_total{verdict="bad_signature"} 0"#,
        // Nobody is woken for what was not looked at.
        "octoco_audit_chain_intact 1",
        "octoco_database_durable 1",
        r#"octoco_task_steps_total{outcome="set_back",task="withdrawal"} 0"#,
        r#"octoco_task_steps_total{outcome="set_back",task="journal"} 0"#,
        r#"octoco_revio_calls_total{class="executions",outcome="no_answer"} 0"#,
        r#"octoco_revio_call_seconds_count{call="execute_payout",outcome="ok"} 0"#,
        r#"octoco_ledger_call_seconds_count{call="create_transfers",outcome="contradiction"} 0"#,
        r#"octoco_transaction_completion_seconds_bucket{kind="withdrawal",le="604800"} 0"#,
        r#"octoco_withdrawal_submission_seconds_bucket{le="300"} 0"#,
        r#"octoco_reconciliation_breaks{severity="critical",type="unbalanced"} 0"#,
        r#"octoco_reconciliation_breaks_oldest_seconds{severity="high",type="copy_line"} 0"#,
        r#"octoco_reconciliation_breaks_healed_total{severity="info",type="paid_at_provider"} 0"#,
        r#"octoco_reconciliation_runs_total{kind="daily",outcome="failed"} 0"#,
        r#"octoco_reconciliation_last_success_timestamp_seconds{kind="quarter_hour"} 0"#,
        r#"octoco_open_item_oldest_seconds{what="settlement"} 0"#,
        r#"octoco_telemetry_items_total{outcome="dropped",to="otlp"} 0"#,
        "octoco_period_reprint_mismatches_total 0",
        "octoco_gauges_read_timestamp_seconds 0",
    ] {
        assert!(text.contains(series), "{series} in {text}");
    }
    assert!(text.contains(&format!("version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))), "octoco_build_info");
}

/// `platform` cannot know the enums of the rooms above it.
#[test]
fn the_words_of_labels_are_those_of_the_code() {
    fn same<T: Copy>(words: &[&str], all: &[T], name: fn(T) -> &'static str) {
        assert_eq!(words, all.iter().copied().map(name).collect::<Vec<_>>());
    }
    same(words::KINDS, Kind::ALL, Kind::name);
    same(&words::TASKS[..6], Kind::ALL, Kind::name);
    same(words::STATES, State::ALL, State::name);
    same(words::MAILS, mails::Kind::ALL, mails::Kind::name);
    same(words::FORMATS, exports::Format::ALL, exports::Format::name);
    same(&words::VERDICTS[..5], inbox::Verdict::ALL, inbox::Verdict::name);
    same(&words::SESSIONS[5..], sessions::Ending::ALL, sessions::Ending::name);
    let sources = files(&root().join("src"), ".rs");
    let labels = sources.iter().flat_map(|path| labels_in(&std::fs::read_to_string(path).expect("readable")));
    assert_eq!(labels.collect::<BTreeSet<_>>(), words::TASKS[6..].iter().map(|word| (*word).to_owned()).collect());
    let migration = std::fs::read_to_string(root().join("migrations/0010_reconciliation.sql")).expect("readable");
    let constraint = |name: &str| -> BTreeSet<String> {
        let (_, rest) = migration.split_once(&format!("constraint {name}")).expect("it is there");
        let (list, _) = rest.split_once("))").expect("it ends");
        list.split('\'').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let of = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(constraint("breaks_type "), words::BREAKS.iter().map(|(name, _)| (*name).to_owned()).collect());
    assert_eq!(constraint("reconciliation_runs_kind "), of(words::RUNS));
}

#[sqlx::test]
async fn what_money_does_is_measured(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let paid = t.withdraw(&customer, 4_000, "w").await;
    t.drive().await;
    assert_eq!(t.state(paid.id()).await, "completed");
    t.sim.set_payout_behaviour(revio_sim::PayoutBehaviour::Pend);
    t.withdraw(&customer, 1_000, "w2").await;
    t.drive().await;
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    projector::measure(&t.app).await.expect("PostgreSQL answers");
    let metrics = &t.app.metrics;
    let completed = |kind: &str| metrics.transaction_completion_seconds.with_label_values(&[kind]).get_sample_count();
    assert_eq!((completed("deposit"), completed("withdrawal")), (1, 1));
    assert_eq!(metrics.withdrawal_submission_seconds.get_sample_count(), 2);
    let revio = |call: &str| metrics.revio.call_seconds.with_label_values(&[call, "ok"]).get_sample_count();
    assert_eq!((revio("create_purchase"), revio("create_payout"), revio("execute_payout")), (1, 2, 2));
    let ledger = |outcome: &str| {
        metrics.ledger_call_seconds.with_label_values(&["create_transfers", outcome]).get_sample_count()
    };
    assert!(ledger("ok") >= 4, "{}", ledger("ok"));
    let contradictions = ledger("contradiction");
    let poor = t.customer().await;
    assert_eq!(t.withdraw(&poor, 1_000, "w").await.code(), "insufficient_funds");
    assert!(ledger("refused") >= 1 && ledger("contradiction") == contradictions);
    for code in [AccountCode::ProviderBalance, AccountCode::CustomerWallet, AccountCode::Suspense] {
        let side = |side: &str| metrics.finance.ledger_balance.with_label_values(&["ZAR", code.name(), side]).get();
        let balance = t.app.ledger.balance(t.app.ledger.system(AccountCode::ProviderBalance, Currency::ZAR)).await;
        match code {
            AccountCode::CustomerWallet => {
                assert_eq!((side("credits") - side("debits"), side("pending_debits")), (6_000, 1_000));
            }
            AccountCode::ProviderBalance => {
                assert_eq!(side("debits") - side("credits"), balance.expect("the ledger answers").posted());
            }
            _ => assert_eq!((side("debits"), side("credits")), (0, 0)),
        }
    }
    t.finish().await;
}

/// A transfer that no row asked for, copied and counted.
async fn orphans_after_another(t: &TestApp) -> i64 {
    let [bank, equity] = [AccountCode::Bank, AccountCode::Equity].map(|code| t.app.ledger.system(code, Currency::ZAR));
    t.app.ledger.open(&[bank, equity]).await.expect("they open");
    let (id, amount) = (TransferId::of(t.app.clock.row_id(), Leg::Main), Amount::new(700, Currency::ZAR));
    let transfer = Transfer::new(id, bank, equity, amount.expect("an amount"), TransferCode::Adjustment);
    t.app.ledger.transfer(transfer).await.expect("it moves");
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    orphans(t).await
}

async fn orphans(t: &TestApp) -> i64 {
    projector::measure(&t.app).await.expect("PostgreSQL answers");
    t.app.metrics.read_model.orphans.get()
}

#[sqlx::test]
async fn orphans_that_somebody_has_looked_at_are_counted_no_more(db: PgPool) {
    let t = TestApp::new(db).await;
    let admin = t.staff(Role::Admin).await;
    assert_eq!((orphans_after_another(&t).await, orphans_after_another(&t).await), (1, 2));
    let (path, looked) = ("/v1/admin/safe-mode/leave", json!({"note": "looked at both"}));
    let left = t.send(Method::POST, path, Some(&t.token(&admin)), &[], Some(looked)).await;
    assert_eq!((left.status, orphans(&t).await), (StatusCode::OK, 0), "{}", left.body);
    t.advance(TimeDelta::minutes(1));
    assert_eq!(orphans_after_another(&t).await, 1, "of which nobody knows");
    let listed = t.get(&admin, "/v1/admin/safe-mode").await.body;
    assert_eq!(listed["lost_transfers"].as_array().map(Vec::len), Some(3), "all of them stay listed");
}

#[sqlx::test]
async fn a_dead_letter_is_late_and_who_replays_it_is_not_measured(db: PgPool) {
    let t = TestApp::new(db).await;
    let body = "not json";
    let call = t.http.post(format!("{}/v1/webhooks/revio", t.url)).header("X-Signature", t.sim.sign(body.as_bytes()));
    assert_eq!(call.body(body).send().await.expect("an answer").status(), StatusCode::OK);
    t.drive().await;
    let effect = t.app.metrics.webhook_effect_seconds.with_label_values(&["other"]);
    assert!(effect.get_sample_count() == 1 && effect.get_sample_sum() > 30.0, "{}", effect.get_sample_sum());
    let dead: Uuid =
        sqlx::query_scalar("select id from webhook_logs where state = 'dead'").fetch_one(&t.app.db).await.expect("one");
    t.advance(TimeDelta::days(2));
    assert_eq!(inbox::replay(&t.app, &Actor::system(), &[dead], None).await.expect("replayed"), [dead]);
    t.drive().await;
    assert_eq!(effect.get_sample_count(), 1);
    t.finish().await;
}

/// Nobody needs a token to call every path with every method.
#[sqlx::test]
async fn methods_that_a_path_does_not_have_are_one_time_series(db: PgPool) {
    let t = TestApp::new(db).await;
    for method in [Method::DELETE, Method::PUT, Method::PATCH] {
        let refused = t.send(method, "/v1/config", None, &[], None).await;
        assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED);
    }
    let rendered = t.app.metrics.render();
    let told = |method: &str| rendered.contains(&format!(r#"method="{method}",route="/v1/config""#));
    assert_eq!([told("OTHER"), told("DELETE"), told("PUT"), told("PATCH")], [true, false, false, false]);
    t.finish().await;
}
