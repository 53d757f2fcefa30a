//! How long each kind of page takes on what `bench seed` made: the calls that a browser makes, through every layer of the router,
//! each with values of its own and each made twice. Of both the time from outside is taken, and of the second the processor's
//! time of PostgreSQL's processes alone, which says what a page costs also where other work disturbs the clock on the wall. For
//! that PostgreSQL must run on the same Linux machine.

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use chrono::{SecondsFormat, TimeDelta};
use octoco::app::App;
use octoco::platform::clock::DateTime;
use octoco::platform::error::BoxError;
use octoco::processes::router;
use serde_json::Value;
use tower::ServiceExt;
use uuid::Uuid;

use crate::seed::{PERIOD, STAFF};

/// What a person opens daily: this much of PostgreSQL's processor at the 99th percentile, whoever asks and however deep.
const DAILY_MAX: Duration = Duration::from_millis(10);
const DAILY: [&str; 6] =
    ["", "kind=chargeback", "kind=withdrawal", "state=failed", "state=submitted,reserved", "from={from}&to={to}"];
/// The same of a customer's own rows; of everybody's it is one of the others.
const SEARCHES: [&str; 5] = ["q={word}", "q={name}", "q=INV-{number}", "q={word}+{month}", "q={id}"];
/// This long from outside, or 422 `query_too_broad`.
const OTHERS_MAX: Duration = Duration::from_secs(2);
const OTHERS: [&str; 12] = [
    "page={page}",
    "currency=USD",
    "amount_min={amount}000&amount_max={amount}999",
    "kind=withdrawal&state=failed",
    "sort=amount",
    "sort=-updated_at",
    "sort=-completed_at&state=completed",
    "sort=kind,-amount",
    "sort=state,kind,-completed_at",
    "kind=withdrawal&state=failed&sort=-amount",
    "kind=withdrawal&from={from}&to={to}&sort=-amount",
    "q={word}&sort=-amount",
];
const WORDS: [&str; 4] = ["rent", "groceries", "stokvel", "insurance"];
const MONTHS: [&str; 3] = ["march", "june", "july"];

/// Of everybody's many rows the deep pages lie this deep at most: numbered pages end there.
const PAGE_MAX: usize = 1000;
const SAMPLES: i64 = 200;
const BODY_MAX: usize = 1 << 20;

struct Lists<'a> {
    app: &'a App,
    router: Router,
    now: DateTime,
    /// An id, and the name that its description ends in.
    samples: Vec<(String, String)>,
}

/// Whose rows, and who asks for them: customers for their own, or staff.
struct Whose {
    name: &'static str,
    customers: Vec<Uuid>,
}

#[derive(Default)]
struct Figures {
    first: Vec<Duration>,
    again: Vec<Duration>,
    processor: Vec<Duration>,
    refused: usize,
}

/// Whether every page held what is asked of it.
pub(crate) async fn run(app: &App, calls: usize) -> Result<bool, BoxError> {
    let samples = "select id::text, split_part(description, ' for ', 2) from transactions where description like '% for %' limit $1";
    let samples = sqlx::query_as(samples).bind(SAMPLES).fetch_all(&app.db).await?;
    let lists = Lists { app, router: router::router(app.clone()), now: app.clock.now(), samples };
    let (whose, mut missed) = (whose(app).await?, 0);
    println!("   {:<78}{:^18}{:^18}{:^18}", "", "the first time", "again", "processor");
    println!("   {:<78}{}", "", format!("{:>9}{:>9}", "p50", "p99").repeat(3));
    for whose in &whose {
        let searches_daily = !whose.customers.is_empty();
        for page in DAILY.iter().chain(SEARCHES.iter().filter(|_| searches_daily)) {
            missed += lists.both(page, whose, calls, true).await?;
        }
        for page in OTHERS.iter().chain(SEARCHES.iter().filter(|_| !searches_daily)) {
            missed += lists.both(page, whose, calls.div_ceil(10), false).await?;
        }
    }
    println!(
        "   {missed} kinds of page miss: {DAILY_MAX:?} of processor time at p99 for daily ones, {OTHERS_MAX:?} or query_too_broad \
         for the others (·)"
    );
    Ok(missed == 0)
}

async fn whose(app: &App) -> Result<Vec<Whose>, BoxError> {
    let seeded = "select id from users where email like 'seed-%' order by length(email), email limit $1";
    let mut seeded = sqlx::query_scalar(seeded).bind(SAMPLES).fetch_all(&app.db).await?.into_iter();
    let mut whose = vec![Whose { name: "everybody's", customers: Vec::new() }];
    for name in ["10 %", "1 %", "15,000 rows"] {
        whose.push(Whose { name, customers: seeded.by_ref().take(1).collect() });
    }
    whose.push(Whose { name: "1,000 rows", customers: seeded.collect() });
    Ok(whose)
}

impl Lists<'_> {
    /// The first page and a deep one. How many of them miss what is asked.
    async fn both(&self, page: &str, whose: &Whose, calls: usize, daily: bool) -> Result<usize, BoxError> {
        let mut missed = 0;
        for deep in [false, true] {
            let figures = self.measure(page, whose, calls, deep).await?;
            if deep && figures.again.is_empty() {
                continue;
            }
            let place = if deep { "deep" } else { "first" };
            let good = tell(
                &format!("{}: {}, {place}", whose.name, if page.is_empty() { "newest" } else { page }),
                figures,
                daily,
            );
            missed += usize::from(!good);
        }
        Ok(missed)
    }

    async fn measure(&self, page: &str, whose: &Whose, calls: usize, deep: bool) -> Result<Figures, BoxError> {
        let (backends, mut figures) = (backends(self.app).await?, Figures::default());
        for index in 0..calls {
            let customer = whose.customers.get(index % whose.customers.len().max(1)).copied();
            let mut query = self.filled(page, index);
            if deep {
                match self.deep(&query, customer, PAGE_MAX * (index + 1) / calls).await? {
                    Some(cursor) => query = format!("{query}&cursor={cursor}"),
                    None => continue,
                }
            }
            let began = Instant::now();
            if self.list(&query, customer).await?.is_none() {
                figures.refused += 1;
                continue;
            }
            figures.first.push(began.elapsed());
            let (began, before) = (Instant::now(), processor_time(&backends)?);
            if self.list(&query, customer).await?.is_some() {
                figures.again.push(began.elapsed());
                figures.processor.push(processor_time(&backends)?.saturating_sub(before));
            }
        }
        Ok(figures)
    }

    /// The words of a query, varied from call to call.
    fn filled(&self, page: &str, index: usize) -> String {
        let day = i32::try_from(index % 700).unwrap_or_default();
        let from = self.now - PERIOD + TimeDelta::days(1) * day;
        let to = from + TimeDelta::days(if index.is_multiple_of(2) { 1 } else { 30 });
        let (id, name) = self.samples.get(index % self.samples.len().max(1)).cloned().unwrap_or_default();
        [
            ("{from}", from.to_rfc3339_opts(SecondsFormat::Secs, true)),
            ("{to}", to.to_rfc3339_opts(SecondsFormat::Secs, true)),
            ("{id}", id),
            ("{name}", name),
            ("{word}", WORDS[index % WORDS.len()].to_owned()),
            ("{month}", MONTHS[index % MONTHS.len()].to_owned()),
            ("{number}", (index * 9_973).to_string()),
            ("{amount}", (index * 37 % 5_000).to_string()),
            ("{page}", (index * 53 % 500 + 1).to_string()),
        ]
        .iter()
        .fold(page.to_owned(), |query, (word, value)| query.replace(word, value))
    }

    /// The cursor behind a numbered page, or behind the deepest one that there is; `None` where there is one page only.
    async fn deep(&self, query: &str, customer: Option<Uuid>, number: usize) -> Result<Option<String>, BoxError> {
        let mut number = number;
        while number > 0 && !query.contains("page=") {
            let Some(list) = self.list(&format!("{query}&page={number}&page_size=100"), customer).await? else { break };
            if let Some(cursor) = list["page"]["next_cursor"].as_str() {
                return Ok(Some(cursor.to_owned()));
            }
            number /= 2;
        }
        Ok(None)
    }

    /// `None` where the query is too broad.
    async fn list(&self, query: &str, customer: Option<Uuid>) -> Result<Option<Value>, BoxError> {
        let (path, now) =
            (if customer.is_some() { "/v1/transactions" } else { "/v1/admin/transactions" }, self.app.clock.now());
        let (user, role) = customer.map_or((STAFF, "finance"), |customer| (customer, "user"));
        let token = self.app.tokens.sign(user, STAFF, role, now);
        let request = Request::get(format!("{path}?{query}")).header(header::AUTHORIZATION, format!("Bearer {token}"));
        let response = self.router.clone().oneshot(request.body(Body::empty())?).await?;
        let status = response.status();
        let body: Value = serde_json::from_slice(&to_bytes(response.into_body(), BODY_MAX).await?)?;
        match status {
            StatusCode::OK => Ok(Some(body)),
            StatusCode::UNPROCESSABLE_ENTITY if body["code"] == "query_too_broad" => Ok(None),
            _ => Err(format!("{path}?{query} answered {status} {body}").into()),
        }
    }
}

/// Prints a line; whether it holds what is asked.
fn tell(name: &str, figures: Figures, daily: bool) -> bool {
    let Figures { first, again, processor, refused } = figures;
    let pairs = [first, again, processor].map(percentiles);
    let [_, (_, outside), (_, cost)] = pairs;
    let good = if daily { refused == 0 && cost <= DAILY_MAX } else { outside <= OTHERS_MAX };
    let times: String = pairs.iter().map(|(p50, p99)| format!("{p50:>9.1?}{p99:>9.1?}")).collect();
    let refused = if refused == 0 { String::new() } else { format!("  {refused} too broad") };
    println!(
        "   {:<78}{times}{refused}{}",
        format!("{name}{}", if daily { "" } else { " ·" }),
        if good { "" } else { "  MISSED" }
    );
    good
}

fn percentiles(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    (at(50), at(99))
}

/// PostgreSQL's processes that serve the pools' connections, of which all are opened for it.
async fn backends(app: &App) -> Result<Vec<i32>, BoxError> {
    let mut open = Vec::new();
    let pools = [(&app.db, app.config.connections_of_main_max()), (&app.lists, app.config.connections_beside_max())];
    for (db, connections) in pools {
        for _ in 0..connections {
            open.push(db.acquire().await?);
        }
    }
    let mut pids = Vec::new();
    for connection in &mut open {
        pids.push(sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut **connection).await?);
    }
    Ok(pids)
}

/// What the processes have had of processors: the first number of each one's `schedstat`, in nanoseconds.
fn processor_time(processes: &[i32]) -> Result<Duration, BoxError> {
    let mut nanos = 0;
    for process in processes {
        let text = std::fs::read_to_string(format!("/proc/{process}/schedstat"))?;
        nanos += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanos))
}
