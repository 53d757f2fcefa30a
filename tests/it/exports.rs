//! Exports: the files to the byte, the rows of the list in its order, what breaks off, and who may have them. Links to them
//! are in `exports/links.rs`, what the ledger booked in `exports/booked.rs`.

mod booked;
mod ended;
mod links;

use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::process::{Command, Stdio};

use calamine::{Data, Reader, Xlsx};
use octoco::platform::permissions::Role;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use uuid::Uuid;

use crate::harness::{Customer, TestApp};

pub(crate) const FORMATS: [&str; 3] = ["csv", "jsonl", "xlsx"];
/// The moment of the harness's clock, in milliseconds.
const NOW: i64 = 1_772_442_000_000;

/// A file as it came.
pub(crate) struct File {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) async fn fetch(t: &TestApp, token: Option<&str>, path: &str) -> File {
    let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", t.url) };
    let request = t.http.get(url);
    let request = match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    let response = request.send().await.expect("the service answers");
    let (status, headers) = (response.status(), response.headers().clone());
    let bytes = response.bytes().await.expect("the file is whole").to_vec();
    File { status, headers, bytes }
}

pub(crate) async fn export(t: &TestApp, customer: &Customer, query: &str) -> Vec<u8> {
    let file = fetch(t, Some(&t.token(customer)), &format!("/v1/transactions/export?{query}")).await;
    assert_eq!(file.status, StatusCode::OK, "{query}: {}", String::from_utf8_lossy(&file.bytes));
    file.bytes
}

/// Rows that moved no money, so that the books still balance: `count` failed deposits, a millisecond apart.
pub(crate) async fn seed(t: &TestApp, user_id: Uuid, count: i32) {
    sqlx::query(
        "insert into transactions (id, user_id, kind, state, states, amount_minor, currency, idempotency_key, request_hash,
                                   description, failure_reason, updated_at)
         select (lpad(to_hex($3 - n), 12, '0') || '70008000' || lpad(to_hex(n), 10, '0') || '00')::uuid, $1, 'deposit',
                state, state, 1 + n % 977, case when n % 4 = 0 then 'JPY' else 'ZAR' end,
                'seed ' || n, '\\x00', case when n % 50 = 0 then 'no. ' || n end, case when n % 3 = 1 then 'declined' end, now()
           from generate_series(1, $2) n, lateral (select case when n % 3 = 0 then 'expired' else 'failed' end as state) s",
    )
    .bind(user_id)
    .bind(count)
    .bind(NOW)
    .execute(&t.app.db)
    .await
    .expect("the rows are well formed");
}

/// One row of everything that is awkward.
async fn seed_awkward(t: &TestApp, user_id: Uuid, number: i64, description: &str, failure_reason: &str) -> Uuid {
    let id = Uuid::from_u128(
        (u128::try_from(NOW - number).expect("after 1970") << 80)
            | (0x7000_8000 << 48)
            | (u128::try_from(number).expect("small") << 8),
    );
    sqlx::query(
        "insert into transactions (id, user_id, kind, state, states, amount_minor, currency, idempotency_key, request_hash,
                                   description, failure_reason, updated_at)
         values ($1, $2, 'deposit', 'failed', 'failed', $3, 'ZAR', 'k' || $3, '\\x00', nullif($4, ''), nullif($5, ''), $6)",
    )
    .bind(id)
    .bind(user_id)
    .bind(number)
    .bind(description)
    .bind(failure_reason)
    .bind(t.app.clock.now())
    .execute(&t.app.db)
    .await
    .expect("the row is well formed");
    id
}

/// Where the file is that `path` makes a link to.
pub(crate) async fn link(t: &TestApp, customer: &Customer, path: &str, body: Value) -> String {
    let answer = t.send(Method::POST, path, Some(&t.token(customer)), &[], Some(body)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    answer.body["download_url"].as_str().expect("a link").to_owned()
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

pub(crate) fn sheet(bytes: &[u8], name: &str) -> Vec<Vec<Data>> {
    let mut book: Xlsx<_> = calamine::open_workbook_from_rs(Cursor::new(bytes)).expect("a workbook");
    book.worksheet_range(name).expect("the sheet is there").rows().map(<[Data]>::to_vec).collect()
}

/// The trailer of a file, if it has one.
pub(crate) fn trailer(format: &str, bytes: &[u8]) -> Option<Value> {
    match format {
        "csv" => {
            let line = text(bytes).strip_suffix("\r\n")?.rsplit("\r\n").next()?.strip_prefix("#end,\"")?.to_owned();
            let (json, rest) = line.rsplit_once('"')?;
            assert!(rest.bytes().all(|byte| byte == b','), "{rest}");
            serde_json::from_str(&json.replace("\"\"", "\"")).ok()
        }
        "jsonl" => {
            let line: Value = serde_json::from_str(text(bytes).strip_suffix('\n')?.rsplit('\n').next()?).ok()?;
            line.get("trailer").cloned()
        }
        _ => {
            let cells: BTreeMap<String, String> = sheet(bytes, "Trailer")
                .into_iter()
                .take(5)
                .map(|row| (row[0].to_string(), row.get(1).map(ToString::to_string).unwrap_or_default()))
                .collect();
            let number = |name: &str| cells[name].parse::<u64>().expect("a number");
            Some(json!({"rows": number("rows"), "bytes": number("bytes"), "sha256": cells["sha256"]}))
        }
    }
}

/// The ids in their order.
pub(crate) fn ids(format: &str, bytes: &[u8]) -> Vec<String> {
    match format {
        "csv" => {
            let is_id = |line: &&str| line.get(..36).is_some_and(|id| id.parse::<Uuid>().is_ok());
            text(bytes).split("\r\n").filter(is_id).map(|line| line[..36].to_owned()).collect()
        }
        "jsonl" => {
            let objects = text(bytes).lines().map(|line| serde_json::from_str::<Value>(line).expect("an object"));
            objects.filter_map(|object| object["id"].as_str().map(str::to_owned)).collect()
        }
        _ => sheet(bytes, "Transactions").into_iter().skip(1).map(|row| row[0].to_string()).collect(),
    }
}

/// As docs/exports.md tells its readers to.
pub(crate) fn verify(format: &str, bytes: &[u8]) -> Value {
    let trailer = trailer(format, bytes).expect("a whole file has a trailer");
    let hashed = |command: &str| {
        let mut child = Command::new("sh")
            .args(["-c", command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let (mut stdin, copy) = (child.stdin.take().expect("piped"), bytes.to_vec());
        // `head` may stop reading before the end.
        let feed = std::thread::spawn(move || stdin.write_all(&copy).is_ok());
        let output = child.wait_with_output().expect("it ends");
        feed.join().expect("it ends");
        text(&output.stdout)[..64].to_owned()
    };
    assert_eq!(trailer["sha256"], hashed(&format!("head -c {} | sha256sum", trailer["bytes"])), "{format}");
    if format != "xlsx" {
        assert_eq!(trailer["sha256"], hashed("head -n -1 | sha256sum"), "{format}");
    }
    assert_eq!(trailer["rows"], ids(format, bytes).len(), "{format}");
    trailer
}

#[sqlx::test]
async fn a_csv_is_what_it_says_to_the_byte(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let plain = seed_awkward(&t, customer.id, 5, "", "").await;
    let formula = seed_awkward(&t, customer.id, 70, "=HYPERLINK(\"http://x\")", "provider_refused").await;
    let lines = seed_awkward(&t, customer.id, 123_456, "Größe ☃, \"quoted\"\r\nsecond", "").await;
    let file = fetch(&t, Some(&customer.token), "/v1/transactions/export?format=csv").await;
    let header = |name: &str| file.headers[name].to_str().expect("ASCII").to_owned();
    assert_eq!(header("content-type"), "text/csv; charset=utf-8; header=present");
    assert_eq!(header("content-disposition"), "attachment; filename=\"transactions-20260302T090000Z.csv\"");
    assert!(!file.headers.contains_key("content-length"), "it is streamed");
    let rows = [
        "id,kind,state,currency,amount,amount_decimal,bank_account_id,parent_id,repaid,owed,refunded,charged_back,\
         description,failure_reason,created_at,updated_at,completed_at,direction,fee,counterpart,booked_at,booking_date,metadata"
            .to_owned(),
        format!(
            "{plain},deposit,failed,ZAR,5,0.05,,,0,0,0,0,,,2026-03-02T08:59:59.995Z,2026-03-02T09:00:00Z,,credit,,Revio,,,"
        ),
        format!(
            "{formula},deposit,failed,ZAR,70,0.70,,,0,0,0,0,\"'=HYPERLINK(\"\"http://x\"\")\",provider_refused,\
             2026-03-02T08:59:59.930Z,2026-03-02T09:00:00Z,,credit,,Revio,,,"
        ),
        format!(
            "{lines},deposit,failed,ZAR,123456,1234.56,,,0,0,0,0,\"Größe ☃, \"\"quoted\"\"\r\nsecond\",,\
             2026-03-02T08:57:56.544Z,2026-03-02T09:00:00Z,,credit,,Revio,,,"
        ),
    ];
    let body = rows.join("\r\n") + "\r\n";
    assert_eq!(text(&file.bytes).get(..body.len()), Some(body.as_str()));
    let end = &text(&file.bytes)[body.len()..];
    assert!(end.starts_with("#end,\"{\"\"rows\"\":3,") && end.ends_with(",,,,,,,,,,,,,,,,\r\n"), "{end}");
    let trailer = verify("csv", &file.bytes);
    assert_eq!(
        trailer["totals"]["ZAR"],
        json!({"rows": 3, "amount": "123531", "completed_amount": "0", "completed_credits": "0", "completed_debits": "0",
        "kinds": {"deposit": {"rows": 3, "amount": "123531", "completed_amount": "0", "completed_credits": "0",
            "completed_debits": "0"}}})
    );
    assert_eq!((&trailer["after"], &trailer["finished_at"]), (&Value::Null, &json!("2026-03-02T09:00:00Z")));
    t.finish().await;
}

/// What a line has beside the list's object.
const BOOKED: [&str; 4] = ["fee", "counterpart", "booked_at", "booking_date"];

/// The lines without these members, each of which every line has.
fn without(lines: &[Value], members: &[&str]) -> Value {
    let mut lines = lines.to_vec();
    for line in &mut lines {
        let line = line.as_object_mut().expect("an object");
        members.iter().for_each(|member| assert!(line.remove(*member).is_some(), "{member}: {line:?}"));
    }
    json!(lines)
}

#[sqlx::test]
async fn a_line_of_json_is_the_object_of_the_list(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(5_000).await;
    t.withdraw(&customer, 1_000, "w1").await;
    t.drive().await;
    seed_awkward(&t, customer.id, 7, "Größe ☃ \"quoted\"\nsecond", "provider_refused").await;
    let listed = t.get(&customer, "/v1/transactions").await.body["data"].clone();
    let bytes = export(&t, &customer, "format=jsonl").await;
    let lines: Vec<Value> = text(&bytes).lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    assert_eq!(without(&lines[..3], &BOOKED), listed);
    let trailer = verify("jsonl", &bytes);
    assert_eq!(
        trailer["totals"]["ZAR"]["kinds"],
        json!({
        "deposit": {"rows": 2, "amount": "5007", "completed_amount": "5000", "completed_credits": "5000", "completed_debits": "0"},
        "withdrawal": {"rows": 1, "amount": "1000", "completed_amount": "1000", "completed_credits": "0", "completed_debits": "1000"}})
    );
    let staff = t.staff(Role::Support).await;
    let listed = t.get(&staff, "/v1/admin/transactions").await.body["data"].clone();
    let all = fetch(&t, Some(&staff.token), "/v1/admin/transactions/export?format=jsonl").await;
    let lines: Vec<Value> =
        text(&all.bytes).lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    assert_eq!(without(&lines[..3], &[&BOOKED[..], &["provider_fee", "customer"]].concat()), listed);
    assert_eq!(lines[0]["user_id"], customer.id.to_string());
    t.finish().await;
}

#[sqlx::test]
async fn a_workbook_opens_with_dates_numbers_and_text_as_text(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let id = seed_awkward(&t, customer.id, 123_456, "=1+1 <&> _x0041_ bell \u{7}\r\nend", "provider_refused").await;
    let bytes = export(&t, &customer, "format=xlsx").await;
    let rows = sheet(&bytes, "Transactions");
    assert_eq!(rows.len(), 2);
    let cell = |name: &str| {
        let column =
            rows[0].iter().position(|header| matches!(header, Data::String(text) if text == name)).expect("a column");
        rows[1][column].clone()
    };
    assert_eq!(cell("id"), Data::String(id.to_string()));
    assert_eq!(cell("amount"), Data::Float(123_456.0));
    assert_eq!(cell("amount_decimal"), Data::Float(1234.56));
    assert_eq!(cell("bank_account_id"), Data::Empty);
    let Data::DateTime(updated_at) = cell("updated_at") else { panic!("a date, not {:?}", cell("updated_at")) };
    assert_eq!((updated_at.is_datetime(), updated_at.as_f64()), (true, 46_083.375));
    let unescaped =
        |data: Data| data.to_string().replace("_x005F_", "_").replace("_x0007_", "\u{7}").replace("_x000D_", "\r");
    assert_eq!(unescaped(cell("description")), "=1+1 <&> _x0041_ bell \u{7}\r\nend");
    assert_eq!(unescaped(cell("failure_reason")), "provider_refused");
    verify("xlsx", &bytes);
    let totals: Vec<String> = sheet(&bytes, "Trailer")[7].iter().map(ToString::to_string).collect();
    assert_eq!(totals, ["ZAR", "deposit", "1", "123456", "0", "0", "0"]);
    t.finish().await;
}

#[sqlx::test]
async fn an_export_has_the_rows_of_the_list_in_its_order(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, other) = (t.customer().await, t.customer().await);
    seed(&t, customer.id, 150).await;
    seed_awkward(&t, other.id, 100_003, "no. 100", "declined").await;
    for query in [
        "",
        "sort=created_at",
        "sort=-amount,created_at",
        "sort=state,-amount",
        "sort=completed_at,amount",
        "state=failed",
        "currency=JPY&amount_min=20&amount_max=90&sort=amount",
        "from=2026-03-02T08:59:59.900Z&to=2026-03-02T08:59:59.950Z",
        "q=declined",
        "kind=withdrawal",
        "reference=seed%207",
    ] {
        let (mut listed, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = t.get(&customer, &format!("/v1/transactions?limit=40&{query}{cursor}")).await;
            assert_eq!(page.status, StatusCode::OK, "{query}: {}", page.body);
            let rows = page.body["data"].as_array().expect("a list");
            listed.extend(rows.iter().map(|row| row["id"].as_str().expect("an id").to_owned()));
            let Some(next) = page.body["page"]["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        for format in FORMATS {
            let bytes = export(&t, &customer, &format!("format={format}&{query}")).await;
            assert_eq!(ids(format, &bytes), listed, "{format} {query}");
            verify(format, &bytes);
        }
    }
    let staff = t.staff(Role::Finance).await;
    let all = fetch(&t, Some(&staff.token), "/v1/admin/transactions/export?format=csv&sort=amount").await;
    assert_eq!(ids("csv", &all.bytes).len(), 151);
    let one = format!("/v1/admin/transactions/export?format=csv&user_id={}", other.id);
    assert_eq!(ids("csv", &fetch(&t, Some(&staff.token), &one).await.bytes).len(), 1);
    t.finish().await;
}

/// A request by a reader whose system keeps little for him.
async fn narrow(t: &TestApp, path: &str, token: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(16 * 1024).expect("a small buffer");
    let address = t.url.trim_start_matches("http://").parse().expect("an address");
    let mut stream = socket.connect(address).await.expect("the service listens");
    let head = format!("GET {path} HTTP/1.1\r\nHost: octoco\r\nAuthorization: Bearer {token}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("the service reads");
    stream
}

/// What there is of a body that is sent in chunks, unless the last of them says that this was all.
fn cut_off(answer: &[u8]) -> Option<Vec<u8>> {
    let line = |bytes: &[u8]| bytes.windows(2).position(|pair| pair == b"\r\n");
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    assert!(answer.starts_with(b"HTTP/1.1 200 OK"), "{}", String::from_utf8_lossy(&answer[..head]));
    let (mut rest, mut body) = (&answer[head + 4..], Vec::new());
    while let Some(end) = line(rest) {
        let length = std::str::from_utf8(&rest[..end]).expect("a length");
        let length = usize::from_str_radix(length, 16).expect("a length");
        if length == 0 {
            return None;
        }
        let chunk = &rest[end + 2..];
        body.extend_from_slice(&chunk[..length.min(chunk.len())]);
        rest = chunk.get(length + 2..).unwrap_or_default();
    }
    Some(body)
}

#[sqlx::test]
async fn an_export_that_breaks_off_has_no_trailer_and_is_continued_after_its_last_row(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    seed(&t, customer.id, 40_000).await;
    let whole = export(&t, &customer, "format=csv&sort=amount").await;
    // What the system keeps of an answer that nobody reads: 4 MiB at most on the service's side, and next to nothing on this one.
    assert!(whole.len() > 5 << 20, "{} bytes", whole.len());
    let whole = ids("csv", &whole);
    assert_eq!(whole.len(), 40_000);

    let mut reader = narrow(&t, "/v1/transactions/export?format=csv&sort=amount", &customer.token).await;
    let mut bytes = Vec::new();
    while cut_off(&bytes).is_none_or(|body| !body.contains(&b'\n')) {
        assert!(reader.read_buf(&mut bytes).await.expect("it begins") > 0, "the first rows");
    }
    // What is not in the connection's buffers yet cannot be read any more.
    sqlx::query("alter table transactions rename to gone").execute(&t.app.db).await.expect("renamed");
    // However it is cut off.
    reader.read_to_end(&mut bytes).await.unwrap_or_default();
    let bytes = cut_off(&bytes).expect("the end was told as if the file were whole");
    sqlx::query("alter table gone rename to transactions").execute(&t.app.db).await.expect("renamed");
    let end = bytes.iter().rposition(|byte| *byte == b'\n').expect("a line");
    assert!(trailer("csv", &bytes[..=end]).is_none());
    let mut got = ids("csv", &bytes[..=end]);
    assert!(!got.is_empty() && got.len() < whole.len(), "{} rows", got.len());

    let last = got.last().expect("a row").clone();
    let rest = export(&t, &customer, &format!("format=csv&sort=amount&after={last}")).await;
    assert_eq!(verify("csv", &rest)["after"], last.as_str());
    got.extend(ids("csv", &rest));
    assert!(got == whole, "no row twice, none missing");
    t.finish().await;
}

#[sqlx::test]
async fn three_files_go_to_one_user_at_once_and_a_fourth_waits_for_its_turn(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, other) = (t.customer().await, t.customer().await);
    seed(&t, customer.id, 40_000).await;
    let linked = link(&t, &customer, "/v1/exports", json!({"format": "csv"})).await;
    let mut readers = Vec::new();
    for _ in 0..3 {
        let mut reader = narrow(&t, "/v1/transactions/export?format=csv", &customer.token).await;
        assert!(reader.read_u8().await.is_ok(), "it begins");
        readers.push(reader);
    }
    for answer in [
        t.get(&customer, "/v1/transactions/export?format=csv").await,
        t.send(Method::GET, linked.trim_start_matches(&t.url), None, &[], None).await,
    ] {
        assert_eq!((answer.status, answer.code()), (StatusCode::TOO_MANY_REQUESTS, "rate_limited"), "{}", answer.body);
        assert!(answer.headers.contains_key("retry-after"));
    }
    export(&t, &other, "format=csv").await;
    drop(readers);
    // The service sees that they are gone when it writes to them.
    let mut tries = 0;
    while fetch(&t, None, &linked).await.status == StatusCode::TOO_MANY_REQUESTS {
        tries += 1;
        assert!(tries < 10_000, "their places are never free again");
    }
    let broken = t.app.metrics.exports.with_label_values(&["csv", "broken"]).get();
    assert_eq!(broken, 3, "each of them is counted");
    t.finish().await;
}

#[sqlx::test]
async fn nothing_to_export_is_a_whole_file(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    for format in FORMATS {
        let bytes = export(&t, &customer, &format!("format={format}")).await;
        assert_eq!(verify(format, &bytes)["rows"], 0);
    }
    t.finish().await;
}

#[sqlx::test]
async fn a_wrong_request_is_told_which_parameter_is_wrong(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, other) = (t.customer().await, t.customer().await);
    seed(&t, customer.id, 1).await;
    let foreign = seed_awkward(&t, other.id, 9, "", "").await;
    for (query, field) in [
        ("".to_owned(), "format"),
        ("format=pdf".to_owned(), "format"),
        ("format=csv&format=csv".to_owned(), "format"),
        ("format=csv&page=1".to_owned(), "page"),
        ("format=csv&user_id=7".to_owned(), "user_id"),
        ("format=csv&after=7".to_owned(), "after"),
        (format!("format=csv&after={foreign}"), "after"),
        ("format=csv&after=01900000-0000-7000-8000-000000000000".to_owned(), "after"),
        (format!("format=csv&sort=-updated_at&after={foreign}"), "after"),
        ("format=csv&amount_min=x".to_owned(), "amount_min"),
        ("format=csv&from=2026-02-02&to=2026-02-01".to_owned(), "to"),
        ("format=csv&sort=amount;drop".to_owned(), "sort"),
        ("format=csv&q=%00".to_owned(), "q"),
        // Each would be in the audit log for ever, as long as it comes.
        (format!("format=csv&from=2026-01-01T00:00:00.{}Z", "1".repeat(60)), "from"),
        (format!("format=csv&kind={}deposit", "deposit,".repeat(40)), "kind"),
        (format!("format=csv&amount_min={}1", "0".repeat(40)), "amount_min"),
    ] {
        let answer = t.get(&customer, &format!("/v1/transactions/export?{query}")).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, "invalid_request"), "{query}");
        assert_eq!(answer.body["errors"][0]["field"], field, "{query}");
    }
    t.finish().await;
}

#[sqlx::test]
async fn exports_are_audited_without_what_was_searched_for(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    seed(&t, customer.id, 3).await;
    export(&t, &customer, "format=csv&state=failed&q=declined&reference=planted").await;
    let log: Vec<(String, Option<Value>)> = sqlx::query_as(
        "select action, after from audit_log where object_kind = 'export' and actor = $1 order by action desc",
    )
    .bind(customer.id.to_string())
    .fetch_all(&t.app.db)
    .await
    .expect("PostgreSQL answers");
    let [(started, asked), (completed, rows)] = log.as_slice() else { panic!("two entries: {log:?}") };
    assert_eq!((started.as_str(), completed.as_str()), ("export.started", "export.completed"));
    let asked = asked.clone().expect("what was asked for");
    assert_eq!((&asked["format"], &asked["filter"]["by"]["state"]), (&json!("csv"), &json!("failed")));
    assert_eq!(asked["filter"]["searched"], true);
    assert!(!asked.to_string().contains("declined") && !asked.to_string().contains("planted"), "{asked}");
    assert_eq!(rows.clone().expect("what it came to")["rows"], 0);
    t.finish().await;
}
