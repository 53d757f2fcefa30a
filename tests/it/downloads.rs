//! Files as they are fetched: known ones are not sent again, parts of those whose bytes are there, and streams that say that they have none.

use octoco::platform::permissions::Role;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use sqlx::PgPool;

use crate::harness::TestApp;
use crate::statements::pass_the_ledgers_present;

pub(crate) fn told<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers[name].to_str().expect("text")
}

#[sqlx::test]
async fn the_document_comes_in_parts_that_make_the_whole(db: PgPool) {
    let t = TestApp::new(db).await;
    let url = format!("{}/openapi.json", t.url);
    let fetch = async |method: Method, headers: &[(&str, &str)]| {
        let mut request = t.http.request(method, &url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.expect("the service answers");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        (status, headers, answer.bytes().await.expect("a body").to_vec())
    };
    let (_, headers, whole) = fetch(Method::GET, &[]).await;
    assert_eq!((told(&headers, "accept-ranges"), told(&headers, "cache-control")), ("bytes", "no-cache"));
    let tag = headers["etag"].to_str().expect("text").to_owned();
    let mut parts = Vec::new();
    for start in (0..whole.len()).step_by(100_000) {
        let range = format!("bytes={start}-{}", start + 99_999);
        let (status, headers, part) = fetch(Method::GET, &[("Range", &range), ("If-Range", &tag)]).await;
        let last = (start + 99_999).min(whole.len() - 1);
        assert_eq!((status, told(&headers, "content-range")), (206, &*format!("bytes {start}-{last}/{}", whole.len())));
        assert_eq!(headers["content-length"], part.len().to_string());
        parts.extend(part);
    }
    assert!(parts == whole);
    let (status, headers, problem) = fetch(Method::GET, &[("Range", &format!("bytes={}-", whole.len()))]).await;
    assert_eq!((status, told(&headers, "content-range")), (416, &*format!("bytes */{}", whole.len())));
    assert_eq!(headers["content-type"], "application/problem+json");
    assert!(String::from_utf8_lossy(&problem).contains("\"range_not_satisfiable\""));
    for asked in [
        vec![("Range", "bytes=0-1,5-6")],
        vec![("Range", "bytes=9-1")],
        vec![("Range", "rows=0-1")],
        vec![("Range", "bytes=0-1"), ("Range", "bytes=2-3")],
        vec![("Range", "bytes=0-1"), ("If-Range", "\"another\"")],
        vec![("Range", "bytes=0-1"), ("If-Range", "Wed, 21 Oct 2026 07:28:00 GMT")],
    ] {
        let (status, headers, body) = fetch(Method::GET, &asked).await;
        assert!(status == 200 && body == whole && !headers.contains_key("content-range"), "{asked:?}");
    }
    let (status, headers, body) = fetch(Method::HEAD, &[("Range", "bytes=0-1")]).await;
    assert_eq!((status, told(&headers, "content-length"), body.len()), (200, &*whole.len().to_string(), 0));
    let (status, headers, body) = fetch(Method::GET, &[("If-None-Match", &tag), ("Range", "bytes=0-1")]).await;
    assert_eq!((status, told(&headers, "etag"), body.len()), (304, tag.as_str(), 0));
    t.finish().await;
}

#[sqlx::test]
async fn what_is_written_while_it_is_sent_says_that_it_has_no_parts(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    pass_the_ledgers_present(&t).await;
    let finance = t.staff(Role::Finance).await;
    let to = (t.app.clock.now() - chrono::TimeDelta::minutes(2)).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let statement = format!("/v1/statements?currency=ZAR&from=2020-01-01&to={to}&format=csv");
    for (whom, path) in [
        (&customer, "/v1/transactions/export?format=csv"),
        (&customer, "/v1/transactions/export?format=xlsx"),
        (&customer, statement.as_str()),
        (&finance, "/v1/admin/transactions/export?format=jsonl"),
        (&finance, "/v1/admin/journals/export"),
    ] {
        let whole = t.send(Method::GET, path, Some(&t.token(whom)), &[], None).await;
        assert_eq!((whole.status, told(&whole.headers, "accept-ranges")), (StatusCode::OK, "none"), "{path}");
        let part = t.send(Method::GET, path, Some(&t.token(whom)), &[("Range", "bytes=0-9")], None).await;
        assert_eq!(part.status, StatusCode::OK, "{path}");
        assert!(!part.headers.contains_key("content-range"), "{path}");
    }
    // A statement that is final says the same for ever, and is known before it is written.
    let get = async |path: &str, tag: &str| {
        t.send(Method::GET, path, Some(&t.token(&customer)), &[("If-None-Match", tag)], None).await
    };
    let tag = get(&statement, "\"other\"").await.headers["etag"].to_str().expect("text").to_owned();
    assert_eq!(get(&statement, &tag).await.status, StatusCode::NOT_MODIFIED);
    assert_eq!(get(&format!("{statement}&tz=Africa/Johannesburg"), &tag).await.status, StatusCode::OK);
    let json = statement.replace("&format=csv", "");
    let tag = get(&json, "\"other\"").await.headers["etag"].to_str().expect("text").to_owned();
    assert_eq!(get(&json, &tag).await.status, StatusCode::NOT_MODIFIED);
    t.deposit(&customer, 5_000, "d2").await;
    assert_eq!(get(&json, &tag).await.status, StatusCode::NOT_MODIFIED, "it is over");
    t.finish().await;
}

#[sqlx::test]
async fn personal_data_is_known_by_what_is_held_and_not_by_when_it_was_taken_out(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let admin = t.staff(Role::Admin).await;
    let path = format!("/v1/admin/users/{}/data-export", customer.id);
    let get = async |headers: &[(&str, &str)]| t.send(Method::GET, &path, Some(&t.token(&admin)), headers, None).await;
    let first = get(&[]).await;
    assert_eq!((first.status, told(&first.headers, "accept-ranges")), (StatusCode::OK, "none"));
    let name = format!("attachment; filename=\"personal-data-{}.json\"", customer.id);
    assert_eq!(first.headers["content-disposition"], name);
    let tag = first.headers["etag"].to_str().expect("text").to_owned();
    t.advance(chrono::TimeDelta::minutes(1));
    assert_eq!(get(&[("If-None-Match", &tag)]).await.status, StatusCode::NOT_MODIFIED);
    assert_eq!(get(&[("Range", "bytes=0-9")]).await.status, StatusCode::OK);
    t.deposit(&customer, 5_000, "d1").await;
    assert_eq!(get(&[("If-None-Match", &tag)]).await.status, StatusCode::OK, "there is more now");
    t.finish().await;
}
