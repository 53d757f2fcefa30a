//! The whole account: balance and tally, settlements and top-ups, statements, the bank's file, and what reconciliation must find.

use revio_sim::{
    BankLine, BankQuery, Change, Clock, Headings, LineChange, NewTransfer, Options, Pay, PayoutBehaviour,
    PayoutOutcome, Settings, Sim, StatementSettings, Stranger, Unit,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{NOW, World, options};

fn rands(amount: i64) -> NewTransfer {
    NewTransfer { currency: "ZAR".to_owned(), amount: Some(amount), ..NewTransfer::default() }
}

fn stranger(amount: i64, reference: &str) -> Stranger {
    Stranger { amount, currency: "ZAR".to_owned(), reference: reference.to_owned(), ..Stranger::default() }
}

/// Of a currency in `GET /balance/`.
async fn balance(world: &World, currency: &str) -> Value {
    let all = world.get("balance/").await;
    let found = all["ecommerce"].as_array().unwrap().iter().find(|one| one["currency"] == currency).cloned();
    found.unwrap_or_else(|| panic!("no {currency} in {all}"))
}

async fn paid(world: &World, fee: i64) -> Uuid {
    let id = world.purchase().await;
    world.sim.pay_purchase(id, Pay { fee, ..Pay::default() }).unwrap();
    id
}

/// The balance, which is added up from the objects, and the tally, which counts movements, agree.
async fn assert_agreed(world: &World) {
    for (currency, totals) in world.sim.all_totals() {
        let of = balance(world, &currency).await;
        let pending = of["pending_outgoing"].as_i64().unwrap();
        assert_eq!(of["balance"].as_i64().unwrap() - pending, totals.balance(), "{currency}: {of} {totals:?}");
        assert_eq!(of["fee_sell"].as_i64().unwrap(), totals.fees, "{currency}");
        assert_eq!(pending, totals.payouts_pending, "{currency}");
    }
}

async fn control(sim: &Sim, http: &reqwest::Client, call: (&str, &str), body: Value) -> (u16, Value) {
    let url = format!("{}/_sim/{}", sim.origin(), call.1);
    let response = http.request(call.0.parse().unwrap(), url).json(&body).send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Asks for a statement, looks until it is made, and fetches it.
async fn statement(world: &World, query: &str) -> String {
    let body = json!({"format": "csv", "timezone": "Africa/Johannesburg"});
    let (status, made) = world.post(&format!("company_statements/?{query}"), body).await;
    assert_eq!(status, 201, "{made}");
    let path = format!("company_statements/{}/", made["id"].as_str().unwrap());
    for _ in 0..5 {
        let view = world.get(&path).await;
        if let Some(url) = view["download_url"].as_str() {
            let (status, file) = world.call("GET", url, None).await;
            assert_eq!(status, 200);
            return file.as_str().unwrap().to_owned();
        }
    }
    panic!("never made");
}

fn rows(file: &str) -> Vec<Vec<String>> {
    file.lines().map(|line| line.split([',', ';']).map(str::to_owned).collect()).collect()
}

#[tokio::test]
async fn whatever_moves_the_balance_of_the_objects_and_the_tally_of_movements_agree() {
    let world = World::new().await;
    world.sim.set_settings(Settings { payout_fee: 25, payout_fee_basis_points: 100, ..world.sim.settings() });
    let (first, second) = (paid(&world, 30).await, paid(&world, 0).await);
    world.sim.refund_purchase(first, Some(1_000)).unwrap();
    world.sim.charge_back_amount(second, 500).unwrap();
    world.sim.reverse_charge_back_amount(second, 200).unwrap();
    let (executed, url) = world.payout().await;
    world.post(&url, json!({})).await;
    assert_eq!(world.sim.payout(executed).unwrap()["payment"]["fee_amount"], 25 + 70);
    world.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    let (_, url) = world.payout().await;
    world.post(&url, json!({})).await;
    world.sim.set_reserve("ZAR", 2_000);
    let held = 30_000 - 30 - 1_000 - 300 - 7_000 - 95;
    let of = balance(&world, "ZAR").await;
    assert_eq!(
        (&of["balance"], &of["reserved"], &of["pending_outgoing"]),
        (&json!(held), &json!(2_000), &json!(7_000))
    );
    assert_eq!((&of["available_balance"], &of["fee_sell"]), (&json!(held - 9_000), &json!(125)));
    assert_eq!(of["gross_balance"], json!(held + 125));
    let account = world.get("account/json/balance/").await;
    assert_eq!(
        (&account["ZAR"]["balance"], &account["ZAR"]["available_balance"]),
        (&json!(held), &json!(held - 9_000))
    );
    assert_agreed(&world).await;
    // All that can happen to them afterwards.
    world.sim.fail_payment(world.sim.payments_of(first)[0]["id"].as_str().unwrap().parse().unwrap()).unwrap();
    world.sim.settle_payout(executed, PayoutOutcome::Error { code: "account_closed".to_owned() }).unwrap();
    world.sim.change_object(first, &Change { amount: Some(14_000), fee: Some(31), ..Change::default() }).unwrap();
    world.sim.change_object(second, &Change { currency: Some("USD".to_owned()), ..Change::default() }).unwrap();
    world.sim.settle_to_bank(&rands(1_000)).unwrap();
    let returned = world.sim.settle_to_bank(&rands(1_000)).unwrap();
    world.sim.return_transfer(returned).unwrap();
    world.sim.arrive(world.sim.top_up(&rands(4_000)).unwrap()).unwrap();
    world.sim.top_up(&rands(9_000)).unwrap();
    let totals = world.sim.totals("ZAR");
    assert_eq!((totals.settled, totals.topped_up, totals.paid_in, totals.paid_in_count), (1_000, 4_000, 14_000, 1));
    assert_eq!(world.sim.totals("USD").paid_in, 15_000);
    assert_agreed(&world).await;
    assert_eq!(world.call_live("GET", "balance/").await.1["ecommerce"], json!([]), "the other mode has its own");
}

#[tokio::test]
async fn a_settlement_leaves_revio_at_once_and_is_at_the_bank_when_it_arrives() {
    let world = World::new().await;
    paid(&world, 0).await;
    world.sim.set_reserve("ZAR", 5_000);
    assert!(world.sim.settle_to_bank(&rands(10_001)).is_err(), "the reserve is not available");
    let all = NewTransfer { arrives_in: Some(3_600), amount: None, ..rands(0) };
    let settlement = world.sim.settle_to_bank(&all).unwrap();
    assert_eq!(world.sim.transfer(settlement).unwrap()["amount"], 10_000);
    assert_eq!(balance(&world, "ZAR").await["balance"], 5_000);
    let bank = || world.sim.bank_statement(&BankQuery::of("ZAR"));
    assert!(!bank().contains("SETTLEMENT"), "{}", bank());
    world.advance(3_600);
    let reference = world.sim.transfer(settlement).unwrap()["reference"].as_str().unwrap().to_owned();
    assert_eq!(rows(&bank())[2], ["2027-01-15", "REVIO SETTLEMENT", &reference, "100.00", "ZAR", "100.00"]);
    assert!(world.sim.arrive(settlement).is_err());
    world.sim.return_transfer(settlement).unwrap();
    assert_eq!(balance(&world, "ZAR").await["balance"], 15_000);
    assert!(rows(&bank()).last().unwrap().ends_with(&["0.00".to_owned()]));
    assert_agreed(&world).await;
}

#[tokio::test]
async fn a_top_up_leaves_the_bank_at_once_and_feeds_the_payout_balance_when_it_arrives() {
    let world = World::new().await;
    world.sim.set_balance("ZAR", Some(0));
    let top_up = world.sim.top_up(&rands(8_000)).unwrap();
    assert_eq!(balance(&world, "ZAR").await["balance"], 0);
    assert!(world.sim.bank_statement(&BankQuery::of("ZAR")).contains("-80.00"));
    world.sim.arrive(top_up).unwrap();
    let of = balance(&world, "ZAR").await;
    assert_eq!((&of["balance"], &of["payout_balance"]), (&json!(8_000), &json!(8_000)));
    world.sim.move_to_payout_balance("ZAR", 1_000).unwrap();
    let of = balance(&world, "ZAR").await;
    assert_eq!((&of["balance"], &of["payout_balance"]), (&json!(8_000), &json!(9_000)), "inside nothing moves");
    let (payout, url) = world.payout().await;
    world.post(&url, json!({})).await;
    assert_eq!(world.sim.payout(payout).unwrap()["status"], "success");
    assert_eq!(balance(&world, "ZAR").await["available_payout_balance"], 2_000);
    assert_agreed(&world).await;
}

#[tokio::test]
async fn a_statement_is_made_in_looks_and_has_a_line_of_all_that_moved() {
    let world = World::new().await;
    let purchase = paid(&world, 30).await;
    world.purchase().await;
    world.sim.refund_purchase(purchase, Some(1_000)).unwrap();
    world.sim.settle_to_bank(&rands(2_000)).unwrap();
    world.advance(100);
    let (payout, url) = world.payout().await;
    world.sim.set_settings(Settings { payout_fee: 15, ..world.sim.settings() });
    world.post(&url, json!({})).await;
    let asked = world.post("company_statements/", json!({"format": "csv"})).await.1;
    assert_eq!((&asked["status"], &asked["download_url"]), (&json!("pending"), &Value::Null));
    let path = format!("company_statements/{}/", asked["id"].as_str().unwrap());
    assert_eq!(world.get(&path).await["status"], "processing");
    let made = world.get(&path).await;
    assert_eq!((&made["status"], &made["finished_on"]), (&json!("success"), &json!(NOW + 100)));
    assert_eq!(world.get("company_statements/").await["results"], json!([made]));
    assert_eq!(world.call_live("GET", &path).await.0, 404, "of the other mode");
    let file = statement(&world, "").await;
    let lines = rows(&file);
    assert_eq!(lines[0].join(","), "id,reference,product,status,currency,amount,fee,net,paid_on,related_id");
    let find = |product: &str| lines.iter().find(|line| line[2] == product).unwrap().clone();
    let id = purchase.to_string();
    assert_eq!(find("purchase")[..8], [&id, "order-1", "purchase", "refunded", "ZAR", "15000", "30", "14970"]);
    assert_eq!((find("refund")[5].as_str(), &find("refund")[9]), ("-1000", &id));
    assert_eq!(find("settlement")[3..8], ["success", "ZAR", "-2000", "0", "-2000"]);
    assert_eq!((&find("payout")[0], &find("payout")[7]), (&payout.to_string(), &"-7015".to_owned()));
    assert_eq!(find("payout")[8], "2027-01-15T10:01:40+02:00");
    let net: i64 = lines[1..].iter().map(|line| line[7].parse::<i64>().unwrap()).sum();
    assert_eq!(json!(net), balance(&world, "ZAR").await["balance"], "its lines explain the balance");
    let count = async |query: &str| rows(&statement(&world, query).await).len() - 1;
    assert_eq!(lines.len(), 5);
    for (query, expected) in [
        ("product=payout", 1),
        ("status=success", 3),
        ("currency=USD", 0),
        (&format!("paid_from={}", NOW + 1), 1),
        (&format!("paid_to={NOW}"), 3),
        (&format!("from={NOW}&to={NOW}"), 3),
        (&format!("updated_from={}", NOW + 100), 1),
        ("q=order-1", 2),
        ("q=payee@", 1),
        ("brand_id=00000000-0000-0000-0000-000000000000", 0),
    ] {
        assert_eq!(count(query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn a_statement_may_fail_be_cancelled_want_the_key_or_lie_elsewhere() {
    let world = World::new().await;
    for wrong in [json!({"format": "xlsx"}), json!({"format": "csv", "timezone": "Mars/Olympus"})] {
        assert_eq!(world.post("company_statements/", wrong).await.0, 400);
    }
    let ask = async || {
        let asked = world.post("company_statements/", json!({"format": "csv"})).await.1;
        (format!("company_statements/{}/", asked["id"].as_str().unwrap()), asked)
    };
    let (path, _) = ask().await;
    assert_eq!(world.post(&format!("{path}cancel/"), json!({})).await.1["status"], "cancelled");
    assert_eq!(world.get(&path).await["status"], "cancelled");
    assert_eq!(world.post(&format!("{path}cancel/"), json!({})).await.0, 400);
    world.sim.set_statements(StatementSettings { looks: 1, fails: true, ..StatementSettings::default() });
    let (path, _) = ask().await;
    assert_eq!(world.get(&path).await["status"], "error");
    let host = Some("https://files.example".to_owned());
    world.sim.set_statements(StatementSettings { looks: 0, host, ..StatementSettings::default() });
    let (_, made) = ask().await;
    let url = made["download_url"].as_str().unwrap();
    assert!(url.starts_with("https://files.example/statements/"), "{url}");
    let own = url.replace("https://files.example", &world.sim.origin());
    assert_eq!(world.http.get(&own).send().await.unwrap().status(), 401);
    let open = StatementSettings { needs_key: false, padding: 10, ..StatementSettings::default() };
    world.sim.set_statements(open);
    let file = world.http.get(&own).send().await.unwrap();
    assert_eq!(file.status(), 200);
    assert!(file.text().await.unwrap().ends_with("related_id\n\n\n\n\n\n\n\n\n\n\n"));
    let keys: Vec<bool> = world.sim.calls().iter().rev().take(2).map(|call| call.with_key).collect();
    assert_eq!(keys, [false, false]);
}

#[tokio::test]
async fn odd_headings_have_other_names_an_other_order_and_payers_data() {
    let world = World::new().await;
    paid(&world, 30).await;
    let layout =
        |unit, signed| StatementSettings { headings: Headings::Odd, unit, signed, ..StatementSettings::default() };
    world.sim.set_statements(layout(Unit::Rands, true));
    world.sim.settle_to_bank(&rands(2_000)).unwrap();
    let file = statement(&world, "").await;
    assert!(file.starts_with("\u{feff}Paid At;Transaction Type;Customer Name;Gross Amount;"), "{file}");
    assert!(
        file.contains("\r\n") && file.contains("payer@example.test") && file.contains("\"Payer's; \"\"own\"\" bank\"")
    );
    assert!(file.contains(";150,0000;") || file.contains(";\"150,0000\";"), "{file}");
    assert!(file.contains("-20,0000"), "{file}");
    world.sim.set_statements(layout(Unit::Cents, false));
    let file = statement(&world, "").await;
    assert!(file.contains(";15000;") && file.contains(";2000;") && !file.contains("-2000"), "{file}");
}

#[tokio::test]
async fn statements_may_say_something_else_than_the_objects() {
    let world = World::new().await;
    let (purchase, other) = (paid(&world, 0).await, paid(&world, 0).await);
    let say = |id, change| world.sim.change_line(id, change);
    say(purchase, LineChange { omit: true, ..LineChange::default() });
    let file = statement(&world, "").await;
    assert!(!file.contains(&purchase.to_string()) && file.contains(&other.to_string()));
    say(purchase, LineChange { amount: Some(1), fee: Some(2), twice: true, ..LineChange::default() });
    let status = Some("pondering".to_owned());
    say(other, LineChange { status, currency: Some("USD".to_owned()), ..LineChange::default() });
    let file = statement(&world, "").await;
    assert_eq!(file.matches(&format!("{purchase},order-1,purchase,paid,ZAR,1,2,-1,")).count(), 2, "{file}");
    assert!(file.contains(&format!("{other},order-1,purchase,pondering,USD,15000,")), "{file}");
    world.sim.clear_lines();
    assert!(statement(&world, "").await.contains(&format!("{purchase},order-1,purchase,paid,ZAR,15000,0,15000,")));
    assert_agreed(&world).await;
}

#[tokio::test]
async fn what_nobody_of_ours_did_moves_money_and_is_told_of_or_not() {
    let world = World::new().await;
    let known = paid(&world, 0).await;
    let quiet = Stranger { quiet: true, fee: 7, ..stranger(9_000, "order-1") };
    let twin = world.sim.stranger_purchase(&quiet).unwrap();
    assert_eq!(world.sim.purchases_by_reference("order-1").len(), 2, "two paid purchases of one reference");
    assert_eq!(world.status_of(twin).await, "paid");
    assert!(!world.sim.events().iter().any(|event| event.object_id == twin), "nobody was told");
    let told = world.sim.stranger_purchase(&stranger(100, "unknown")).unwrap();
    assert_eq!(world.event("purchase.paid")["id"], json!(told));
    let payout = world.sim.stranger_payout(&Stranger { fee: 3, ..stranger(500, "theirs") }).unwrap();
    assert_eq!(world.get(&format!("payouts/{payout}/")).await["payment"]["fee_amount"], 3);
    assert_eq!(balance(&world, "ZAR").await["balance"], 15_000 + 9_000 - 7 + 100 - 500 - 3);
    world.sim.forget_object(known).unwrap();
    assert_eq!(world.call("GET", &format!("purchases/{known}/"), None).await.0, 404);
    assert!(statement(&world, "").await.contains(&known.to_string()), "its money is where it was");
    assert!(world.sim.forget_object(Uuid::nil()).is_err());
    let change = Change { quiet: true, ..Change::default() };
    assert!(world.sim.change_object(world.purchase().await, &change).is_err(), "it is not paid");
    assert_agreed(&world).await;
}

#[tokio::test]
async fn the_banks_file_has_its_lines_between_two_balances_in_either_layout() {
    let world = World::new().await;
    let line = |at, amount, description: &str| BankLine {
        at,
        amount,
        currency: "ZAR".to_owned(),
        reference: String::new(),
        description: description.to_owned(),
    };
    world.sim.add_bank_line(line(NOW - 86_400, 50_000, "own funds"));
    world.sim.add_bank_line(line(0, -1_250, "bank charges"));
    world.sim.arrive(world.sim.top_up(&rands(8_000)).unwrap()).unwrap();
    let query = BankQuery { from: Some(NOW), ..BankQuery::of("ZAR") };
    let lines = rows(&world.sim.bank_statement(&query));
    assert_eq!(lines[1], ["2027-01-15", "Opening balance", "", "", "", "500.00"]);
    assert_eq!(lines[2], ["2027-01-15", "bank charges", "", "-12.50", "ZAR", "487.50"]);
    assert_eq!(lines[4], ["2027-01-15", "Closing balance", "", "", "", "407.50"]);
    let odd = BankQuery { headings: Headings::Odd, unit: Unit::Cents, ..query };
    let file = world.sim.bank_statement(&odd);
    assert!(file.starts_with("\u{feff}Account;"), "{file}");
    assert!(file.contains("Running Balance;Credit;Debit;Details;Branch;Your Reference;Posting Date\r\n"), "{file}");
    assert!(file.contains("48750;;1250;bank charges;Sandton;;2027-01-15\r\n"), "{file}");
    assert!(world.sim.bank_statement(&BankQuery::of("USD")).contains("0.00"));
}

#[tokio::test]
async fn all_of_it_is_driven_over_http_and_survives_a_restart() {
    let file = std::env::temp_dir().join(format!("revio-sim-{}.json", Uuid::new_v4()));
    let with_file = |now| Options { state_file: Some(file.clone()), clock: Clock::fixed(now), ..options() };
    let world = World::with(with_file(NOW)).await;
    let call =
        async |method: &str, path: &str, body: Value| control(&world.sim, &world.http, (method, path), body).await;
    let new = json!({"amount": 20_000, "currency": "ZAR", "reference": "r", "fee": 5, "quiet": true});
    let (status, purchase) = call("POST", "purchases/", new).await;
    assert_eq!((status, &purchase["status"]), (200, &json!("paid")));
    let id = purchase["id"].as_str().unwrap();
    assert_eq!(call("POST", "payouts/", json!({"amount": 1_000, "currency": "ZAR"})).await.1["status"], "success");
    assert_eq!(call("POST", &format!("objects/{id}/change/"), json!({"fee": 6})).await.1.as_array().unwrap().len(), 3);
    assert_eq!(call("POST", "lines/", json!({"id": id, "amount": 1})).await.1[id]["amount"], 1);
    assert_eq!(call("POST", "lines/", json!({"id": id, "amounts": 1})).await.0, 409);
    assert_eq!(call("POST", "reserve/", json!({"currency": "ZAR", "amount": 9})).await.0, 200);
    let settlement = call("POST", "settlements/", json!({"currency": "ZAR", "amount": 500})).await.1;
    let act = format!("transfers/{}/arrive/", settlement["id"].as_str().unwrap());
    assert_eq!(call("POST", &act, json!({})).await.1["arrived_on"], json!(NOW));
    assert_eq!(call("POST", &act, json!({})).await.0, 409);
    let later = json!({"currency": "ZAR", "amount": 700, "arrives_in": 60});
    assert_eq!(call("POST", "top_ups/", later).await.1["kind"], "top_up");
    assert_eq!(call("POST", "top_ups/", json!({"currency": "ZAR"})).await.0, 409);
    assert_eq!(call("POST", "payout_balance_transfers/", json!({"currency": "ZAR", "amount": 5})).await.0, 200);
    assert_eq!(call("POST", "bank_lines/", json!({"currency": "ZAR", "amount": -3})).await.0, 200);
    assert_eq!(call("GET", "transfers/", Value::Null).await.1.as_array().unwrap().len(), 3);
    let totals = call("GET", "totals/", Value::Null).await.1;
    assert_eq!(totals["ZAR"]["balance"], 20_000 - 6 - 1_000 - 500);
    assert_eq!(call("GET", "totals/?currency=ZAR", Value::Null).await.1, totals["ZAR"]);
    let forgotten = call("POST", &format!("objects/{id}/forget/"), json!({})).await;
    assert_eq!(forgotten.0, 200);
    let settings = json!({"statements": {"headings": "odd", "looks": 0}});
    assert_eq!(call("PATCH", "settings/", settings).await.1["statements"]["unit"], "cents");
    let bank = call("GET", "bank_statement/?currency=ZAR&unit=cents&headings=plain", Value::Null).await.1;
    let asked = world.post("company_statements/", json!({"format": "csv"})).await.1;
    let (before, lines) = (balance(&world, "ZAR").await, world.sim.line_changes());
    world.sim.shutdown().await;

    let world = World::with(with_file(NOW)).await;
    assert_eq!((balance(&world, "ZAR").await, world.sim.line_changes()), (before, lines));
    assert_eq!(
        world.sim.bank_statement(&BankQuery { unit: Unit::Cents, ..BankQuery::of("ZAR") }),
        bank.as_str().unwrap()
    );
    assert_eq!(world.get("company_statements/").await["results"][0]["id"], asked["id"]);
    assert_eq!(world.call("GET", &format!("purchases/{id}/"), None).await.0, 404);
    world.advance(60);
    assert_eq!(world.sim.totals("ZAR").topped_up, 700, "what is on its way arrives");
    assert_agreed(&world).await;
    world.sim.shutdown().await;
    std::fs::remove_file(&file).unwrap();
}
