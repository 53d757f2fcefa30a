//! How long each kind of page takes on what was seeded: the calls that the routes make, each with values of its own. Two times
//! are taken: from outside, with the way to PostgreSQL and back and the reading of the rows, and the processor's time of
//! PostgreSQL's processes alone, which says what a page costs also where other work disturbs the clock on the wall. For that
//! PostgreSQL must run on the same Linux machine.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use uuid::Uuid;

use super::store;
use crate::app::App;
use crate::error::{Error, Result};
use crate::history::{self, Filter, FilterQuery, Paging, Scope, Sort};
use crate::http::Fields;
use crate::search;
use crate::transactions::Transaction;

const PAGE: i64 = 21;

/// One kind of page.
pub struct Figure {
    pub name: String,
    /// At the median and the 99th percentile.
    pub outside: (Duration, Duration),
    pub processor: (Duration, Duration),
}

/// What the calls are varied by.
struct Samples {
    /// PostgreSQL's processes.
    backends: Vec<i32>,
    newest: Uuid,
    small: Vec<Uuid>,
    large: Uuid,
    /// From all over the table.
    rows: Vec<Transaction>,
}

/// # Errors
/// When PostgreSQL does not answer, or takes longer than a page may.
pub async fn run(app: &App, calls: usize) -> Result<Vec<Figure>> {
    let samples = sample(app, calls).await?;
    let mut figures = Vec::new();
    let none = FilterQuery::default;
    let some = |text: &str| Some(text.to_owned());
    let words = ["rent", "groceries", "march", "stokvel", "bamakavi", "bank declined"];
    let queries: Vec<(&str, Vec<FilterQuery>)> = vec![
        ("newest", vec![none()]),
        ("kind=chargeback", vec![FilterQuery { kind: some("chargeback"), ..none() }]),
        (
            "kind=withdrawal&state=failed",
            vec![FilterQuery { kind: some("withdrawal"), state: some("failed"), ..none() }],
        ),
        ("state=submitted,reserved", vec![FilterQuery { state: some("submitted,reserved"), ..none() }]),
        ("amount_min, amount_max", amounts()),
        ("from, to", periods(&samples.rows)),
        ("sort=amount", vec![FilterQuery { sort: some("amount"), ..none() }]),
        ("sort=-amount", vec![FilterQuery { sort: some("-amount"), ..none() }]),
        ("sort=-updated_at", vec![FilterQuery { sort: some("-updated_at"), ..none() }]),
        (
            "sort=-completed_at&state=completed",
            vec![FilterQuery { sort: some("-completed_at"), state: some("completed"), ..none() }],
        ),
        ("sort=kind", vec![FilterQuery { sort: some("kind"), ..none() }]),
        ("sort=-state", vec![FilterQuery { sort: some("-state"), ..none() }]),
        ("sort=-amount,created_at", vec![FilterQuery { sort: some("-amount,created_at"), ..none() }]),
        ("q, a common word", words[..4].iter().map(|q| FilterQuery { q: some(q), ..none() }).collect()),
        ("q, a rare word", names(&samples.rows)),
        (
            "q, two words",
            ["rent march", "salary june", "bank closed"].iter().map(|q| FilterQuery { q: some(q), ..none() }).collect(),
        ),
        (
            "q, mistyped",
            ["grocceries", "electrcity", "insurence"].iter().map(|q| FilterQuery { q: some(q), ..none() }).collect(),
        ),
        ("q, a beginning", ["gro", "insu", "elec"].iter().map(|q| FilterQuery { q: some(q), ..none() }).collect()),
        ("q, a number", (0..50).map(|n| FilterQuery { q: Some(format!("INV-{}", n * 9_973)), ..none() }).collect()),
        ("q, an id", samples.rows.iter().map(|row| FilterQuery { q: Some(row.id.to_string()), ..none() }).collect()),
    ];
    for (name, queries) in &queries {
        for (whose, scopes) in [
            ("all", vec![Scope::All]),
            ("a small customer's", samples.small.iter().map(|id| Scope::Own(*id)).collect()),
            ("the largest customer's", vec![Scope::Own(samples.large)]),
        ] {
            let at = |index: usize| (&queries[index % queries.len()], scopes[index % scopes.len()]);
            for deep in [false, true] {
                let place = if deep { "deep" } else { "first" };
                let timed = timed(&samples, calls, async |index| {
                    let (query, scope) = at(index);
                    let after = deep.then(|| &samples.rows[index % samples.rows.len()]);
                    one_page(app, query, scope, after).await
                });
                figures.push(figure(format!("{whose}: {name}, {place}"), &timed.await?));
            }
        }
    }
    figures.extend(others(app, &samples, calls).await?);
    Ok(figures)
}

async fn others(app: &App, samples: &Samples, calls: usize) -> Result<Vec<Figure>> {
    let row = |index: usize| &samples.rows[index % samples.rows.len()];
    let mut figures = Vec::new();
    for (name, scope) in [("all", Scope::All), ("the largest customer's", Scope::Own(samples.large))] {
        let list = timed(samples, calls, async |_| {
            let paging = Paging::Cursor { cursor: None, limit: 20 };
            history::list(app, samples.newest, Filter::of(scope), Sort::default(), paging).await.map(drop)
        });
        figures.push(figure(format!("{name}: first page with its total"), &list.await?));
        let pages = timed(samples, calls, async |index| {
            let number = i64::try_from(index % 500).unwrap_or(0) + 1;
            let paging = Paging::Page { number, size: 20 };
            history::list(app, samples.newest, Filter::of(scope), Sort::default(), paging).await.map(drop)
        });
        figures.push(figure(format!("{name}: page=1…500 with its total"), &pages.await?));
    }
    let find = timed(samples, calls, async |index| {
        let row = row(index);
        let text = match index % 3 {
            0 => row.id.to_string(),
            1 => row.provider.id.unwrap_or(row.id).to_string(),
            _ => format!("seed-{}", &row.user_id.simple().to_string()[..12]),
        };
        search::find(app, &text).await.map(drop)
    });
    figures.push(figure("staff's search".to_owned(), &find.await?));
    Ok(figures)
}

async fn one_page(app: &App, query: &FilterQuery, scope: Scope, after: Option<&Transaction>) -> Result<()> {
    let mut fields = Fields::default();
    let (filter, sort) = query.parse(&mut fields, scope);
    fields.finish()?;
    let selection = history::prepare(app, filter, sort).await?;
    let keyset = after.map(|row| selection.sort.keyset(row));
    history::page_after(app, &selection, keyset.as_ref(), PAGE).await.map(drop)
}

/// For each call the time from outside and the processor's.
async fn timed(
    samples: &Samples,
    calls: usize,
    call: impl AsyncFn(usize) -> Result<()>,
) -> Result<Vec<(Duration, Duration)>> {
    let mut times = Vec::with_capacity(calls);
    for index in 0..calls {
        let (began, before) = (Instant::now(), processor_time(&samples.backends)?);
        call(index).await?;
        times.push((began.elapsed(), processor_time(&samples.backends)?.saturating_sub(before)));
    }
    Ok(times)
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

fn figure(name: String, times: &[(Duration, Duration)]) -> Figure {
    let percentiles = |mut times: Vec<Duration>| {
        times.sort();
        let at = |percent: usize| times.get(times.len() * percent / 100).or(times.last()).copied().unwrap_or_default();
        (at(50), at(99))
    };
    let outside = percentiles(times.iter().map(|time| time.0).collect());
    Figure { name, outside, processor: percentiles(times.iter().map(|time| time.1).collect()) }
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
    let share = |user: Uuid| rows.iter().filter(|row| row.user_id == user).count();
    let large = rows.iter().map(|row| row.user_id).max_by_key(|user| share(*user)).unwrap_or(newest.user_id);
    let small = rows.iter().map(|row| row.user_id).filter(|user| share(*user) < 3).collect();
    let backends = store::backends(&app.db, app.config.database_connections_max).await?;
    Ok(Samples { backends, newest: newest.id, small, large, rows })
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
