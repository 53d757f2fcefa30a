//! How long each kind of page takes on what was seeded: the calls that the routes make, each with values of its own and each made
//! twice. Three times are taken: of the first call and of the second from outside, with the way to PostgreSQL and back and the
//! reading of the rows; and of the second the processor's time of PostgreSQL's processes alone, which says what a page costs also
//! where other work disturbs the clock on the wall. For that PostgreSQL must run on the same Linux machine.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use uuid::Uuid;

use super::store;
use crate::app::App;
use crate::books::history::{self, Filter, FilterQuery, Paging, Scope, Sort};
use crate::books::search;
use crate::money::transactions::Transaction;
use crate::platform::error::{Error, Result};
use crate::platform::http::Fields;

const PAGE: i64 = 21;

/// One kind of page: the times at the median and the 99th percentile.
pub struct Figure {
    /// From outside, of a page that may have to come from the disk.
    pub first: (Duration, Duration),
    /// The same again.
    pub again: (Duration, Duration),
    /// The processor's time of that.
    pub processor: (Duration, Duration),
}

/// What the calls are varied by.
struct Samples {
    /// PostgreSQL's processes.
    backends: Vec<i32>,
    whose: [(&'static str, Vec<Scope>); 5],
    /// From all over the table.
    rows: Vec<Transaction>,
}

/// Tells each kind of page by its name as soon as it is measured, or why it could not be read.
pub async fn run(app: &App, calls: usize, mut tell: impl FnMut(&str, Result<Figure>)) -> Result<()> {
    let samples = sample(app, calls).await?;
    for (name, queries) in queries(&samples.rows).iter().filter(|(n, _)| std::env::var("KINDS").map_or(true, |k| k.split('|').any(|k| n.starts_with(k)))) {
        for (whose, scopes) in &samples.whose {
            let at = |index: usize| (&queries[index % queries.len()], scopes[index % scopes.len()]);
            for place in ["first", "deep"] {
                let timed = timed(&samples, calls, async |index| {
                    let (query, scope) = at(index);
                    // A list of completed rows is never continued from another one.
                    let fits =
                        |row: &&Transaction| query.state.as_deref() != Some("completed") || row.completed_at.is_some();
                    let after = samples.rows.iter().skip(index % samples.rows.len()).find(fits);
                    one_page(app, query, scope, after.filter(|_| place == "deep")).await
                });
                tell(&format!("{whose}: {name}, {place}"), timed.await);
            }
            let listed = timed(&samples, calls, async |index| {
                let (query, scope) = at(index);
                list(app, query, scope, Paging::Cursor { cursor: None, limit: PAGE - 1 }).await
            });
            tell(&format!("{whose}: {name}, first with its total"), listed.await);
        }
    }
    for (whose, scopes) in &samples.whose {
        let pages = timed(&samples, calls, async |index| {
            let number = i64::try_from(index % 500).unwrap_or(0) + 1;
            let paging = Paging::Page { number, size: PAGE - 1 };
            list(app, &FilterQuery::default(), scopes[index % scopes.len()], paging).await
        });
        tell(&format!("{whose}: page=1…500 with its total"), pages.await);
    }
    let find = timed(&samples, calls, async |index| {
        let row = &samples.rows[index % samples.rows.len()];
        let text = match index % 3 {
            0 => row.id.to_string(),
            1 => row.provider.id.unwrap_or(row.id).to_string(),
            _ => format!("seed-{}", &row.user_id.simple().to_string()[..12]),
        };
        search::find(app, &text).await.map(drop)
    });
    tell("staff's search", find.await);
    Ok(())
}

/// Each kind of page, with the values that its calls take in turn.
fn queries(rows: &[Transaction]) -> Vec<(&'static str, Vec<FilterQuery>)> {
    let none = FilterQuery::default;
    let some = |text: &str| Some(text.to_owned());
    let kind = |kind: &str, state: &str| FilterQuery { kind: some(kind), state: some(state), ..none() };
    let state = |state: &str| FilterQuery { state: some(state), ..none() };
    let sort = |sort: &str| FilterQuery { sort: some(sort), ..none() };
    let find = |words: &[&str]| words.iter().map(|q| FilterQuery { q: some(q), ..none() }).collect::<Vec<_>>();
    let sorted = |queries: Vec<FilterQuery>, sort: &str| {
        queries.into_iter().map(|query| FilterQuery { sort: some(sort), ..query }).collect::<Vec<_>>()
    };
    let of_kind = |queries: Vec<FilterQuery>, kind: &str| {
        queries.into_iter().map(|query| FilterQuery { kind: some(kind), ..query }).collect::<Vec<_>>()
    };
    vec![
        ("newest", vec![none()]),
        ("kind=chargeback", vec![FilterQuery { kind: some("chargeback"), ..none() }]),
        ("kind=withdrawal&state=failed", vec![kind("withdrawal", "failed")]),
        ("kind=adjustment&state=cancelled", vec![kind("adjustment", "cancelled")]),
        ("kind=deposit&state=rejected: none", vec![kind("deposit", "rejected")]),
        ("state=submitted,reserved", vec![state("submitted,reserved")]),
        ("currency=USD, GBP: few, none", ["USD", "GBP"].map(|c| FilterQuery { currency: some(c), ..none() }).to_vec()),
        ("amount_min, amount_max", amounts()),
        ("from, to", periods(rows)),
        ("sort=amount", vec![sort("amount")]),
        ("sort=-amount", vec![sort("-amount")]),
        ("sort=-updated_at", vec![sort("-updated_at")]),
        ("sort=-completed_at&state=completed", vec![FilterQuery { sort: some("-completed_at"), ..state("completed") }]),
        ("sort=kind", vec![sort("kind")]),
        ("sort=-state", vec![sort("-state")]),
        ("sort=-amount,created_at", vec![sort("-amount,created_at")]),
        ("sort=kind,-amount", vec![sort("kind,-amount")]),
        ("sort=-amount,state,updated_at", vec![sort("-amount,state,updated_at")]),
        ("sort=state,kind,-completed_at", vec![sort("state,kind,-completed_at")]),
        ("kind=withdrawal&state=failed&sort=-amount", sorted(vec![kind("withdrawal", "failed")], "-amount")),
        ("kind=withdrawal&from&to&sort=-amount", sorted(of_kind(periods(rows), "withdrawal"), "-amount")),
        ("from, to, sort=updated_at", sorted(periods(rows), "updated_at")),
        ("q, a common word", find(&["rent", "groceries", "march", "stokvel"])),
        ("q, a rare word", names(rows)),
        ("q, two words", find(&["rent march", "salary june", "bank closed"])),
        ("q, a beginning", find(&["gro", "insu", "elec"])),
        ("q, a number", (0..50).map(|n| FilterQuery { q: Some(format!("INV-{}", n * 9_973)), ..none() }).collect()),
        ("q, an id", rows.iter().map(|row| FilterQuery { q: Some(row.id.to_string()), ..none() }).collect()),
        ("q, a common word, sort=-amount", sorted(find(&["rent", "groceries"]), "-amount")),
        ("q, a rare word, sort=-amount", sorted(names(rows), "-amount")),
    ]
}

async fn list(app: &App, query: &FilterQuery, scope: Scope, paging: Paging) -> Result<()> {
    let mut fields = Fields::default();
    let (filter, sort) = query.parse(&mut fields, scope);
    fields.finish()?;
    history::list(app, Uuid::nil(), filter, sort, paging).await.map(drop)
}

async fn one_page(app: &App, query: &FilterQuery, scope: Scope, after: Option<&Transaction>) -> Result<()> {
    let mut fields = Fields::default();
    let (filter, sort) = query.parse(&mut fields, scope);
    fields.finish()?;
    let selection = history::prepare(app, filter, sort).await?;
    let keyset = after.map(|row| selection.sort.keyset(row));
    history::page_after(app, &selection, keyset.as_ref(), PAGE).await.map(drop)
}

async fn timed(samples: &Samples, calls: usize, call: impl AsyncFn(usize) -> Result<()>) -> Result<Figure> {
    let (mut first, mut again, mut processor) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..calls {
        let began = Instant::now();
        call(index).await?;
        first.push(began.elapsed());
        let (began, before) = (Instant::now(), processor_time(&samples.backends)?);
        call(index).await?;
        again.push(began.elapsed());
        processor.push(processor_time(&samples.backends)?.saturating_sub(before));
    }
    Ok(Figure { first: percentiles(first), again: percentiles(again), processor: percentiles(processor) })
}

/// What the processes have had of processors: the first number of each one's `schedstat`, in nanoseconds.
fn processor_time(processes: &[i32]) -> Result<Duration> {
    let mut nanos = 0;
    for process in processes {
        let text = std::fs::read_to_string(format!("/proc/{process}/schedstat")).map_err(Error::internal)?;
        let first: Option<u64> = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
        nanos += first.ok_or_else(|| Error::internal("schedstat cannot be read"))?;
    }
    Ok(Duration::from_nanos(nanos))
}

fn percentiles(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort();
    let at = |percent: usize| times.get(times.len() * percent / 100).or(times.last()).copied().unwrap_or_default();
    (at(50), at(99))
}

async fn sample(app: &App, calls: usize) -> Result<Samples> {
    let edge = async |sort: Sort| {
        let selection = history::prepare(app, Filter::of(Scope::All), sort).await?;
        history::page_after(app, &selection, None, 1).await?.pop().ok_or(Error::NotFound("transaction"))
    };
    let (newest, oldest) = (edge(Sort::default()).await?, edge(Sort::default().reversed()).await?);
    let span = newest.created_at - oldest.created_at;
    let mut rows = Vec::new();
    for index in 0..calls {
        let step = span * i32::try_from(index + 1).unwrap_or(1) / i32::try_from(calls + 1).unwrap_or(1);
        let until = Filter { to: Some(newest.created_at - step), ..Filter::of(Scope::All) };
        let selection = history::prepare(app, until, Sort::default()).await?;
        rows.extend(history::page_after(app, &selection, None, 1).await?);
    }
    let mut connection = store::connect(&app.db).await?;
    let customers = store::customers(&mut connection).await?;
    drop(connection);
    let one = |place: usize| customers.get(place).map(|id| Scope::Own(*id)).ok_or(Error::NotFound("customer"));
    let small = customers.iter().skip(3).step_by((customers.len() / calls).max(1)).map(|id| Scope::Own(*id));
    let whose = [
        ("all", vec![Scope::All]),
        ("customers with a thousand", small.collect()),
        ("the third customer, 15,000", vec![one(2)?]),
        ("the second customer, 1 %", vec![one(1)?]),
        ("the first customer, 10 %", vec![one(0)?]),
    ];
    let backends = store::backends(&app.db, app.config.database_connections_max).await?;
    Ok(Samples { backends, whose, rows })
}

/// Ranges of a few and of many rows.
fn amounts() -> Vec<FilterQuery> {
    let range = |min: i64, width: i64| FilterQuery {
        amount_min: Some(min.to_string()),
        amount_max: Some((min + width).to_string()),
        ..FilterQuery::default()
    };
    (0..50)
        .map(|n| range(1_000 + n * 90_000, [10, 1_000, 100_000, 2_000_000][usize::try_from(n % 4).unwrap_or(0)]))
        .collect()
}

/// A day or a month somewhere in the past.
fn periods(rows: &[Transaction]) -> Vec<FilterQuery> {
    let period = |(index, row): (usize, &Transaction)| FilterQuery {
        from: Some(row.created_at.to_rfc3339()),
        to: Some((row.created_at + TimeDelta::days(if index % 2 == 0 { 1 } else { 30 })).to_rfc3339()),
        ..FilterQuery::default()
    };
    rows.iter().enumerate().map(period).collect()
}

/// The last words of descriptions that name somebody.
fn names(rows: &[Transaction]) -> Vec<FilterQuery> {
    let name = |row: &Transaction| row.description.as_deref()?.split_once(" for ").map(|(_, name)| name.to_owned());
    rows.iter().filter_map(name).map(|name| FilterQuery { q: Some(name), ..FilterQuery::default() }).collect()
}
