//! Filters and orders of lists, as they are written in a query: what is wrong is named, and an order is total.

use octoco::books::history::filter::{FilterQuery, Scope, ids_beginning};
use octoco::books::history::sort::Direction::{Ascending, Descending};
use octoco::books::history::sort::{Column, Sort};
use octoco::money::transactions::{Kind, ShownState};
use octoco::platform::error::Error;
use octoco::platform::http::Fields;
use octoco::processes::router;
use serde_json::json;
use uuid::Uuid;

fn wrong(query: FilterQuery) -> Vec<String> {
    let mut fields = Fields::default();
    query.parse(&mut fields, Scope::All);
    match fields.finish() {
        Ok(()) => Vec::new(),
        Err(Error::Invalid(errors)) => errors.into_iter().map(|error| error.field).collect(),
        Err(other) => panic!("{other}"),
    }
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn each_refusal_names_the_parameter() {
    let none = FilterQuery::default;
    assert_eq!(wrong(none()), Vec::<String>::new());
    assert_eq!(wrong(FilterQuery { kind: some("deposit,gift"), ..none() }), ["kind"]);
    assert_eq!(wrong(FilterQuery { kind: some(""), ..none() }), ["kind"]);
    assert_eq!(
        wrong(FilterQuery { kind: some("deposit, refund"), state: some(" completed"), ..none() }),
        ["state", "kind"],
        "as the document's patterns have them, without blanks"
    );
    assert_eq!(
        wrong(FilterQuery { amount_min: some("-1"), amount_max: some("1e3"), ..none() }),
        ["amount_min", "amount_max"]
    );
    assert_eq!(wrong(FilterQuery { amount_min: some("2"), amount_max: some("1"), ..none() }), ["amount_max"]);
    assert_eq!(wrong(FilterQuery { from: some("yesterday"), to: some("2026-02-30"), ..none() }), ["from", "to"]);
    assert_eq!(wrong(FilterQuery { from: some("2026-02-02"), to: some("2026-02-01"), ..none() }), ["to"]);
    assert_eq!(
        wrong(FilterQuery { completed_from: some("x"), completed_to: some("y"), tz: some("Mars/Olympus"), ..none() }),
        ["tz", "completed_from", "completed_to"]
    );
    assert_eq!(
        wrong(FilterQuery { completed_from: some("2026-02-02"), completed_to: some("2026-02-01"), ..none() }),
        ["completed_to"]
    );
    assert_eq!(wrong(FilterQuery { q: some("a\0b"), ..none() }), ["q"]);
    assert_eq!(wrong(FilterQuery { q: some(&"a".repeat(101)), ..none() }), ["q"]);
    assert_eq!(
        wrong(FilterQuery { provider_id: some("7"), sort: some("amount;drop"), ..none() }),
        ["provider_id", "sort"]
    );
}

#[test]
fn an_id_is_recognised_by_its_beginning_and_by_its_legs() {
    let id = Uuid::parse_str("01900000-0000-7000-8000-0000000000a5").expect("an id");
    let row = Uuid::parse_str("01900000-0000-7000-8000-000000000000").expect("an id");
    assert_eq!(ids_beginning(&id.to_string()), Some((row, id)));
    let (first, last) = ids_beginning("01900000-00").expect("a beginning");
    assert!(first <= row && row <= last);
    assert_eq!(ids_beginning("0190000"), None, "too short");
    assert_eq!(ids_beginning("coffee00x"), None);
    assert_eq!(ids_beginning(&"0".repeat(33)), None);
}

fn parsed(text: &str) -> Sort {
    Sort::parse(Some(text)).expect("an order")
}

#[test]
fn the_id_goes_the_way_of_the_column_before_it() {
    assert_eq!(Sort::parse(None), Ok(Sort { columns: vec![], id: Descending }));
    assert_eq!(parsed("created_at"), Sort { columns: vec![], id: Ascending });
    assert_eq!(parsed("-amount"), Sort { columns: vec![(Column::Amount, Descending)], id: Descending });
    assert_eq!(parsed("-amount,created_at"), Sort { columns: vec![(Column::Amount, Descending)], id: Ascending });
    assert_eq!(parsed("-created_at,amount"), Sort::default(), "nothing comes after created_at");
    assert_eq!(
        parsed("kind,-state").reversed(),
        Sort { columns: vec![(Column::Kind, Descending), (Column::State, Ascending)], id: Ascending }
    );
}

#[test]
fn what_is_no_order_is_refused() {
    for text in [
        "", "-", "amount,", "amount,-amount", "amount,amount", " amount", "amount, kind", "amount desc", "id",
        "--amount", "AMOUNT", "amount;select 1",
    ] {
        assert!(Sort::parse(Some(text)).is_err(), "{text}");
    }
}

#[test]
fn lists_name_what_there_is() {
    let document = router::openapi();
    let parameters = document["paths"]["/v1/transactions"]["get"]["parameters"].as_array().expect("a list");
    let pattern = |name: &str| {
        let named = parameters.iter().find(|parameter| parameter["name"] == name).expect("it is there");
        named["schema"]["pattern"].as_str().expect("a pattern")
    };
    let kinds: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    let states: Vec<&str> = ShownState::ALL.iter().map(|state| state.name()).collect();
    for (name, words) in [("kind", kinds.join("|")), ("state", states.join("|"))] {
        assert_eq!(pattern(name), format!("^({words})(,({words}))*$"), "{name}");
    }
}

/// As `Fields::moment` reads them; the import of a statement takes days alone.
#[test]
fn where_a_day_may_stand_for_a_moment_the_document_says_so() {
    let document = router::openapi();
    for (body, field) in [
        ("NewRunBody", "since"),
        ("ReplaySince", "since"),
        ("DeadBody", "from"),
        ("DeadBody", "to"),
        ("NewExport", "from"),
    ] {
        let schema = &document["components"]["schemas"][body]["properties"][field];
        assert_eq!(schema["format"], "date-or-time", "{body} {field}");
        assert!(schema["pattern"].as_str().is_some_and(|pattern| pattern.ends_with(")?$")), "{body} {field}");
    }
    let import = &document["paths"]["/v1/admin/reconciliation/statements"]["post"]["parameters"];
    let days =
        import.as_array().expect("a list").iter().filter(|known| known["name"] == "from" || known["name"] == "to");
    let days: Vec<_> = days.map(|known| &known["schema"]).collect();
    assert_eq!(days, [&json!({"type": "string", "format": "date"}); 2]);
}
