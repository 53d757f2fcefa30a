//! The process dies between any two effects of a journal's life, of each kind.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde_json::json;
use sqlx::PgPool;

use super::{
    Company, KINDS, Row, approve, assert_items_are_the_account, balances, company, land, moved, named, propose, shown,
    with,
};
use crate::crashes::Crashes;
use crate::harness::TestApp;

/// Proposed, approved by both, and landed where it travels, with a death at the n-th point; whoever met it asks again.
async fn live(t: &TestApp, company: &Company, row: &Row, (how, amount): (&str, i64), key: &str) -> String {
    let body = named(company, row, amount);
    let mut journal = propose(t, &company.maker, body.clone(), key).await;
    if journal.code() == "internal" {
        journal = propose(t, &company.maker, body, key).await;
    }
    for _ in 0..2 {
        for checker in [&company.checker, &company.second] {
            let answer = approve(t, checker, &journal).await;
            assert!(["", "internal", "stale_state"].contains(&answer.code()), "{}", answer.body);
        }
        rest(t).await;
    }
    if row.5 == "in_transit" {
        for _ in 0..2 {
            let answer = land(t, &company.checker, journal.id(), how, "line 3").await;
            assert!(["", "internal", "stale_state"].contains(&answer.code()), "{}", answer.body);
            rest(t).await;
        }
    }
    shown(t, &company.checker, journal.id()).await["state"].as_str().expect("a state").to_owned()
}

async fn rest(t: &TestApp) {
    for _ in 0..2 {
        t.drive().await;
        t.advance(TimeDelta::minutes(2));
    }
}

/// Each with a death at each point, until none is left. Every time the amount has moved once.
async fn die_everywhere(t: &TestApp, crashes: &Crashes, rows: &[Row]) -> BTreeSet<&'static str> {
    let company = company(t).await;
    for row in rows {
        let ends: &[(&str, &str)] = match row.5 {
            "in_transit" => &[("arrived", "completed"), ("returned", "returned")],
            _ => &[("", "completed")],
        };
        for (how, end) in ends {
            for points in 1.. {
                let before = balances(t, &company.debtor).await;
                crashes.after(points);
                let key = format!("{}{:?}{how}{points}", row.0, row.2);
                let state = live(t, &company, row, (how, 10), &key).await;
                let over = crashes.is_over();
                assert_eq!(state, *end, "{key}: {:?}", crashes.died_at());
                let mut expected = before;
                for (name, change) in moved(row.3, row.4, 10) {
                    *expected.get_mut(name).expect("an account") += if *end == "completed" { change } else { 0 };
                }
                assert_eq!(balances(t, &company.debtor).await, expected, "{key}: {:?}", crashes.died_at());
                assert_items_are_the_account(t).await;
                if over {
                    break;
                }
            }
        }
    }
    t.drive().await;
    crashes.died_at()
}

async fn of(db: PgPool, kinds: &[&str], points: &[&str]) {
    let crashes = Crashes::default();
    let t = TestApp::crashing(db, &[], crashes.plan()).await;
    let rows: Vec<Row> = KINDS.into_iter().filter(|row| kinds.contains(&row.0)).collect();
    assert!(rows.len() >= kinds.len());
    let died = die_everywhere(&t, &crashes, &rows).await;
    let common = ["journal.proposed", "journal.approved", "journal.booking", "journal.before_move", "journal.moved"];
    for point in common.iter().chain(points) {
        assert!(died.contains(point), "nobody died at {point}: {died:?}");
    }
    t.finish().await;
}

#[sqlx::test]
async fn a_death_between_any_two_effects_of_money_on_its_way_moves_it_once_or_not_at_all(db: PgPool) {
    let points = ["journal.held", "journal.arrival_noted", "journal.landed"];
    of(db, &["settlement", "float_top_up"], &points).await;
}

#[sqlx::test]
async fn a_death_between_any_two_effects_on_suspense_moves_it_once_and_clears_its_item_once(db: PgPool) {
    let points =
        ["journal.item_noted", "journal.item_booked", "journal.item_settled", "journal.booked", "suspense.claimed"];
    of(db, &["suspense_in", "suspense_return", "suspense_release"], &points).await;
}

#[sqlx::test]
async fn a_death_between_any_two_effects_of_fees_and_losses_books_them_once(db: PgPool) {
    of(db, &["provider_invoice", "write_off", "chargeback_loss", "result"], &["journal.booked"]).await;
}

#[sqlx::test]
async fn a_death_between_any_two_effects_of_own_funds_moves_them_once(db: PgPool) {
    of(db, &["own_funds_in", "own_funds_out"], &["journal.held", "journal.looked", "journal.booked"]).await;
}

/// What the ledger refuses stays refused, and what was claimed for it is free again.
#[sqlx::test]
async fn a_death_between_any_two_effects_of_a_refusal_changes_nothing(db: PgPool) {
    let crashes = Crashes::default();
    let t = TestApp::crashing(db, &[], crashes.plan()).await;
    let company = company(&t).await;
    let rows = KINDS.into_iter().filter(|row| ["write_off", "own_funds_out"].contains(&row.0));
    for row in rows {
        for points in 1.. {
            let before = balances(&t, &company.debtor).await;
            crashes.after(points);
            let state = live(&t, &company, &row, ("", 2_000_000), &format!("{}{points}", row.0)).await;
            let over = crashes.is_over();
            assert_eq!(state, "rejected", "{}: {:?}", row.0, crashes.died_at());
            assert_eq!(balances(&t, &company.debtor).await, before);
            if over {
                break;
            }
        }
    }
    // The ledger has less in suspense than the items say: it decides.
    let wrong = "update suspense_items set amount_minor = amount_minor + 1000";
    sqlx::query(wrong).execute(&t.app.db).await.expect("changed past the service");
    let row = KINDS.into_iter().find(|row| row.0 == "suspense_return").expect("a kind");
    for points in 1.. {
        crashes.after(points);
        let state = live(&t, &company, &row, ("", 500_001), &format!("over{points}")).await;
        let over = crashes.is_over();
        assert_eq!(state, "rejected", "{:?}", crashes.died_at());
        let taken: i64 = sqlx::query_scalar("select sum(taken_minor)::bigint from suspense_items")
            .fetch_one(&t.app.db)
            .await
            .expect("a sum");
        assert_eq!(taken, 0, "the claim is given up");
        if over {
            break;
        }
    }
    assert!(crashes.died_at().contains("journal.claim_given_up"), "{:?}", crashes.died_at());
    t.finish().await;
}

#[sqlx::test]
async fn whoever_was_told_nothing_may_ask_with_the_same_key(db: PgPool) {
    let crashes = Crashes::default();
    let t = TestApp::crashing(db, &[], crashes.plan()).await;
    let company = company(&t).await;
    let body = with(named(&company, &KINDS[11], 10), json!({}));
    crashes.at("journal.proposed");
    assert_eq!(propose(&t, &company.maker, body.clone(), "k").await.code(), "internal");
    let again = propose(&t, &company.maker, body, "k").await;
    assert!(again.replayed(), "{}", again.body);
    t.finish().await;
}
