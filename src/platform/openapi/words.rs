//! Which words a field may hold, for fields that are no enum in the code: the ledger's names, and parts of a health check.
//! Routes name these functions in `schema_with`.

use ledger::{AccountCode, Leg, TransferCode};
use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaType, Type};

fn one_of<'a>(words: impl IntoIterator<Item = &'a str>, example: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).examples([example])
}

fn or_null<'a>(words: impl IntoIterator<Item = &'a str>, example: &str) -> ObjectBuilder {
    let words = words.into_iter().map(Some).chain([None]);
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
        .enum_values(Some(words))
        .examples([example])
}

fn of_money() -> impl Iterator<Item = &'static str> {
    TransferCode::ALL.into_iter().filter(|code| code.code() < TransferCode::LimitUse.code()).map(TransferCode::name)
}

/// Why money moved.
pub fn transfer_code() -> Object {
    or_null(of_money(), "deposit").description(Some("What it is for")).build()
}

/// The same on a statement, where a code that only a newer release knows reads `other`.
pub fn statement_line() -> Object {
    one_of(of_money().chain(["other"]), "deposit").description(Some("Why money moved")).build()
}

pub fn transfer_kind() -> Object {
    let description = "`posted`: moved at once; `pending`: reserved, and later `post` (moved) or `void` (given back)";
    one_of(["posted", "pending", "post", "void"], "posted").description(Some(description)).build()
}

pub fn leg() -> Object {
    or_null(Leg::ALL.into_iter().map(Leg::name), "main").build()
}

pub fn account() -> Object {
    or_null(AccountCode::ALL.into_iter().map(AccountCode::name), "provider_balance").build()
}

pub fn readiness() -> Object {
    one_of(["ready", "not_ready"], "ready").build()
}

pub fn database() -> Object {
    one_of(["ok", "not_migrated", "unavailable"], "ok").build()
}

pub fn part() -> Object {
    one_of(["ok", "unavailable"], "ok").build()
}

pub fn redis() -> Object {
    let description = "Its loss costs rate limits only, so it never makes the service not ready";
    one_of(["ok", "unavailable"], "ok").description(Some(description)).build()
}

pub fn payouts() -> Object {
    let description = "Whether payouts begin: `clock_unknown` when PostgreSQL's was not measured for a minute, `clocks_apart` when this \
        process's is more than 2 s from PostgreSQL's or TigerBeetle's, `not_durable` when PostgreSQL does not promise what is \
        demanded of it, `safe_mode` in that, `unavailable` when it cannot be told. All else goes on, so it never makes the service not ready";
    let words = ["ok", "clock_unknown", "clocks_apart", "not_durable", "safe_mode", "unavailable"];
    one_of(words, "ok").description(Some(description)).build()
}

pub fn read_model() -> Object {
    let description = "The ledger's copy for lists and dashboards: `behind` when it lags by more than a minute, `unavailable` when that \
        cannot be told. It decides nothing, so it never makes the service not ready";
    one_of(["ok", "behind", "unavailable"], "ok").description(Some(description)).build()
}
