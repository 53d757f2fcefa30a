//! Extractors whose refusals are problem documents that name the field: [`Json`] for bodies, [`Query`] and [`Path`].

mod mistakes;

use std::fmt::{self, Display};
use std::{borrow::Cow, marker::PhantomData, time::Duration};

use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, FromRequestParts, MatchedPath, Request};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::{body::Bytes, http::request::Parts};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use serde_json::error::Category;

use crate::platform::error::{Error, FieldError, Wrong};
use mistakes::Mistake;

/// The largest body of any call but a webhook: a bank account's is 400 bytes.
pub const BODY_BYTES_MAX: usize = 16 * 1024;
/// Shorter than the request's own deadline, so that the caller's slowness is not taken for ours.
pub const BODY_DEADLINE: Duration = Duration::from_secs(15);
/// How much of a field's name is repeated: of one that we do not know it is what was sent.
const NAME_CHARS_MAX: usize = 160;

/// So many parameters that cannot be read are named.
const UNREADABLE_TOLD_MAX: usize = 20;

/// The one parameter that is an object.
const METADATA: &str = "metadata";

#[derive(Debug, Clone, Copy)]
pub struct Json<T>(pub T);

#[derive(Debug, Clone, Copy)]
pub struct Query<T>(pub T);

#[derive(Debug, Clone, Copy)]
pub struct Path<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// For `serialize_with`: a value as it is displayed.
pub fn text<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// An object inside of a body. serde takes an array for one too; this does not, and hands the fields on one by one, so that a mistake
/// is told with its place and a doubled field is seen.
#[derive(Debug, Clone, Copy)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnlyMaps<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OnlyMaps<T> {
            type Value = Object<T>;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(OnlyMaps(PhantomData))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Error;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Error> {
        if !is_json(request.headers()) {
            return Err(Error::UnsupportedMediaType);
        }
        let bytes = whole_body(request, BODY_DEADLINE).await?;
        parse(&bytes).map(Self)
    }
}

/// All of a body. Who sends it more slowly than that is not waited for.
pub async fn whole_body(request: Request, deadline: Duration) -> Result<Bytes, Error> {
    match tokio::time::timeout(deadline, Bytes::from_request(request, &())).await {
        Ok(read) => read.map_err(body_error),
        Err(_) => Err(Error::TooSlow),
    }
}

fn body_error(rejection: BytesRejection) -> Error {
    match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => Error::TooLarge(BODY_BYTES_MAX),
        _ => Error::InvalidJson("it did not arrive whole".to_owned()),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// Every body of ours is an object. serde takes an array for one too, field by field, whatever the fields are called.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    if std::str::from_utf8(bytes).is_err() {
        return Err(Error::InvalidJson("it is not UTF-8".to_owned()));
    }
    if bytes.iter().find(|byte| !b" \t\r\n".contains(byte)) != Some(&b'{') {
        return Err(match serde_json::from_slice::<IgnoredAny>(bytes) {
            Ok(_) => Error::field("body", Wrong::Type("a JSON object")),
            Err(cause) => malformed(&cause),
        });
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        if let Err(cause) = serde_json::from_slice::<IgnoredAny>(bytes) {
            malformed(&cause)
        } else if error.inner().is_data() || mistakes::is_beyond(error.inner()) {
            Error::Invalid(mistakes::of_body::<T>(bytes, Mistake::of(&error)))
        } else {
            malformed(error.inner())
        }
    })?;
    reader.end().map_err(|_| Error::InvalidJson("something follows the value".to_owned()))?;
    Ok(value)
}

/// Where the parser stopped, without its words: those change with its version and tell of its types.
fn malformed(cause: &serde_json::Error) -> Error {
    Error::InvalidJson(match cause.classify() {
        Category::Eof => "it ends too early".to_owned(),
        _ => format!("it cannot be read from line {}, column {}", cause.line(), cause.column()),
    })
}

/// A name that was sent, as it is repeated.
pub fn shorten(text: &str) -> String {
    text.chars().take(NAME_CHARS_MAX).collect()
}

fn query_of<T: DeserializeOwned>(query: &str) -> Result<T, Mistake> {
    let reader = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
    serde_path_to_error::deserialize(reader).map_err(|error| Mistake::of(&error))
}

/// The names beside which bytes stand that are no UTF-8. The parser puts U+FFFD in their place, which somebody may also have sent.
fn unreadable(query: &str) -> impl Iterator<Item = String> {
    let is_bad = |pair: &&str| {
        let others = pair.to_ascii_uppercase().replace("%EF%BF%BD", "x").replace(char::REPLACEMENT_CHARACTER, "x");
        let is_bad = |text: &str| text.contains(char::REPLACEMENT_CHARACTER);
        form_urlencoded::parse(others.as_bytes()).any(|(name, value)| is_bad(&name) || is_bad(&value))
    };
    let pairs = query.split('&').filter(|pair| pair.contains('%')).filter(is_bad).take(UNREADABLE_TOLD_MAX);
    pairs.filter_map(|pair| form_urlencoded::parse(pair.as_bytes()).next().map(|(name, _)| name.into_owned()))
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Error> {
        let query = parts.uri.query().unwrap_or_default();
        let wrong = Wrong::Characters("must be UTF-8, each byte as %XX");
        let unreadable: Vec<FieldError> =
            unreadable(query).map(|name| FieldError::parameter(shorten(&name), wrong.clone())).collect();
        if !unreadable.is_empty() {
            return Err(Error::Invalid(unreadable));
        }
        let query = folded(query);
        query_of(&query)
            .map(Self)
            .map_err(|first| Error::Invalid(mistakes::of_query::<T>(&query, first)).of_parameters())
    }
}

/// `metadata[key]=value` (OpenAPI's `deepObject`), however often, becomes one parameter that [`deep_object`] reads.
fn folded(query: &str) -> Cow<'_, str> {
    let key_of = |name: &str| Some(name.strip_prefix(METADATA)?.strip_prefix('[')?.strip_suffix(']')?.to_owned());
    let (mut plain, mut pairs, mut is_bare) = (form_urlencoded::Serializer::new(String::new()), Vec::new(), false);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match key_of(&name) {
            Some(key) => pairs.push((key, value)),
            // How it is handed on is no way to write it.
            None if name == METADATA => {
                is_bare = true;
                plain.append_pair(METADATA, "");
            }
            None => _ = plain.append_pair(&name, &value),
        }
    }
    if pairs.is_empty() && !is_bare {
        return query.into();
    }
    if !pairs.is_empty() {
        plain.append_pair(METADATA, &serde_json::to_string(&pairs).expect("texts are plain data"));
    }
    plain.finish().into()
}

/// The keys and values of a parameter that was given as `metadata[key]=value`; `None` when it was given otherwise.
pub fn deep_object(text: &str) -> Option<Vec<(String, Value)>> {
    serde_json::from_str(text).ok()
}

/// A query as a caller writes it.
pub fn written_query(query: &impl Serialize) -> String {
    let plain = serde_urlencoded::to_string(query).expect("a query is plain text");
    let mut written = form_urlencoded::Serializer::new(String::new());
    for (name, value) in form_urlencoded::parse(plain.as_bytes()) {
        match deep_object(&value).filter(|_| name == METADATA) {
            Some(pairs) => {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                written.extend_pairs(pairs.iter().map(|(key, value)| (format!("{METADATA}[{key}]"), text(value))));
            }
            None => _ = written.append_pair(&name, &value),
        }
    }
    written.finish()
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|axum::extract::Path(value)| Self(value)).map_err(|_| {
            let route = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
            let name = route.split(['{', '}']).nth(1).unwrap_or("id");
            let is_id = std::any::type_name::<T>().ends_with("Uuid");
            let message = if is_id { "is not a UUID" } else { "is not what this path takes" };
            Error::Invalid(vec![FieldError::parameter(name, Wrong::Format(message))])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[expect(dead_code, reason = "only its parsing is tested")]
        amount: i64,
        #[expect(dead_code, reason = "only its parsing is tested")]
        currency: String,
    }

    /// Every field with its code, in the order in which they are told.
    fn all(body: &str) -> Vec<(String, &'static str)> {
        match parse::<Wide>(body.as_bytes()).expect_err("must be refused") {
            Error::Invalid(errors) => errors.into_iter().map(|error| (error.field, error.code.name())).collect(),
            other => panic!("{other}"),
        }
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its parsing is tested")]
    struct Wide {
        amount: i64,
        currency: String,
        urgent: bool,
        ids: Vec<uuid::Uuid>,
        inner: Inner,
        note: Option<String>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its parsing is tested")]
    struct Inner {
        name: String,
        kind: crate::platform::permissions::Role,
    }

    #[test]
    fn all_that_is_missing_and_wrong_is_told_at_once() {
        let named = |pairs: &[(&str, &'static str)]| -> Vec<(String, &'static str)> {
            pairs.iter().map(|(field, code)| ((*field).to_owned(), *code)).collect()
        };
        let missing = ["amount", "currency", "urgent", "ids", "inner"].map(|field| (field, "required"));
        assert_eq!(all("{}"), named(&missing));
        let mixed =
            r#"{"amount": "1", "urgent": 7, "admin": true, "ids": ["x"], "inner": {"name": 5, "kind": "king"}}"#;
        let expected = [
            ("amount", "type"),
            ("admin", "unknown"),
            ("ids[0]", "format"),
            ("inner.kind", "choice"),
            ("inner.name", "type"),
            ("urgent", "type"),
            ("currency", "required"),
        ];
        assert_eq!(all(mixed), named(&expected));
    }

    /// Every mistake of a body: its field, its place and its code.
    fn places<T: DeserializeOwned + fmt::Debug>(body: &str) -> Vec<(String, String, &'static str)> {
        match parse::<T>(body.as_bytes()).expect_err("must be refused") {
            Error::Invalid(errors) => errors
                .into_iter()
                .map(|error| (error.field, error.pointer.unwrap_or_default(), error.code.name()))
                .collect(),
            other => panic!("{other}: {body}"),
        }
    }

    fn place(field: &str, pointer: &str, code: &'static str) -> (String, String, &'static str) {
        (field.to_owned(), pointer.to_owned(), code)
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its parsing is tested")]
    struct Nested {
        inner: Object<Inner>,
        maybe: Option<Object<Inner>>,
        any: Option<Value>,
    }

    #[test]
    fn what_is_larger_or_deeper_than_anybody_reads_is_a_mistake_of_its_field() {
        let digits = "9".repeat(400);
        for number in ["1e400", "-1e999", &digits] {
            let amount = format!(r#"{{"amount": {number}, "currency": "ZAR"}}"#);
            assert_eq!(places::<Body>(&amount), [place("amount", "#/amount", "format")], "{number}");
            let inner = format!(r#"{{"inner": {{"name": {number}, "kind": "admin"}}}}"#);
            assert_eq!(places::<Nested>(&inner), [place("inner.name", "#/inner/name", "format")], "{number}");
            assert_eq!(wrong(&format!("[{number}]")).0, "body");
            assert_eq!(wrong(&format!("{amount} x")).0, "invalid_json");
        }
        let deep = format!(r#"{{"any": {}1{}}}"#, "[".repeat(200), "]".repeat(200));
        assert_eq!(places::<Nested>(&deep), [place("any", "#/any", "format")]);
    }

    #[test]
    fn a_name_may_hold_whatever_it_likes() {
        let body = r#"{"amount": "1", "currency": "ZAR", "a.b": 1, "c/d~e": 2, "f`g": 3, "h[0]": 4, "body": 5, "X-Y": 6, "": 7}"#;
        let expected = [
            place("amount", "#/amount", "type"),
            place("a.b", "#/a.b", "unknown"),
            place("c/d~e", "#/c~1d~0e", "unknown"),
            place("f`g", "#/f%60g", "unknown"),
            place("h[0]", "#/h%5B0%5D", "unknown"),
            place("body", "#/body", "unknown"),
            place("X-Y", "#/X-Y", "unknown"),
            place("", "#/", "unknown"),
        ];
        let found = places::<Body>(body);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        expected.into_iter().for_each(|one| assert!(found.contains(&one), "{one:?} in {found:?}"));
    }

    #[test]
    fn the_fields_of_an_object_inside_are_told_as_those_of_the_whole() {
        for (body, expected) in [
            ("{}", place("inner", "#/inner", "required")),
            (r#"{"inner": null}"#, place("inner", "#/inner", "type")),
            (r#"{"inner": ["a", "admin"]}"#, place("inner", "#/inner", "type")),
            (r#"{"inner": {"name": 5, "kind": "admin"}}"#, place("inner.name", "#/inner/name", "type")),
            (r#"{"inner": {"kind": "admin"}}"#, place("inner.name", "#/inner/name", "required")),
            (r#"{"inner": {"name": "a", "kind": "king"}}"#, place("inner.kind", "#/inner/kind", "choice")),
            (
                r#"{"inner": {"name": "a", "name": "b", "kind": "admin"}}"#,
                place("inner.name", "#/inner/name", "duplicate"),
            ),
            (
                r#"{"inner": {"name": "a", "kind": "admin", "inner": 1}}"#,
                place("inner.inner", "#/inner/inner", "unknown"),
            ),
            (r#"{"inner": {"name": "a", "kind": "admin"}, "maybe": []}"#, place("maybe", "#/maybe", "type")),
        ] {
            assert_eq!(places::<Nested>(body), [expected], "{body}");
        }
        parse::<Nested>(br#"{"inner": {"name": "a", "kind": "admin"}, "maybe": null}"#)
            .expect("as if it were not there");
    }

    #[test]
    fn no_word_of_the_parser_reaches_the_caller() {
        for body in [
            r#"{"amount": "secret", "currency": 5, "urgent": null, "ids": {}, "inner": []}"#,
            r#"{"amount": 1.5, "currency": [], "urgent": "yes", "ids": [1], "inner": {"name": null, "kind": 4}}"#,
        ] {
            let Err(Error::Invalid(errors)) = parse::<Wide>(body.as_bytes()) else { panic!("must be refused") };
            assert!(errors.len() >= 5, "{errors:?}");
            for error in errors {
                for word in ["invalid", "expected", "struct", "i64", "line", "column", "secret"] {
                    assert!(!error.message.contains(word), "{error:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_json_is_told_in_our_words() {
        for (body, expected) in [
            (&b""[..], "it ends too early"),
            (b"{", "it ends too early"),
            (b"{\"amount\": ", "it ends too early"),
            (b"{\"amount\": \xff}", "it is not UTF-8"),
            (b"{amount: 1}", "it cannot be read from line 1, column 2"),
            (b"{\"amount\": 1,\n}", "it cannot be read from line 2, column 1"),
            (b"{\"amount\": NaN}", "it cannot be read from line 1, column 12"),
            (b"{\"amount\": \"\\ud800\"}", "it cannot be read from line 1, column 19"),
            (b"<a/>", "it cannot be read from line 1, column 1"),
        ] {
            match parse::<Body>(body).expect_err("must be refused") {
                Error::InvalidJson(words) => assert_eq!(words, expected, "{}", String::from_utf8_lossy(body)),
                other => panic!("{other}: {}", String::from_utf8_lossy(body)),
            }
        }
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its parsing is tested")]
    struct Wanted {
        limit: Option<i64>,
        open: Option<bool>,
        id: Option<uuid::Uuid>,
        role: Option<crate::platform::permissions::Role>,
        q: String,
    }

    #[test]
    fn all_that_is_wrong_with_a_query_is_told_at_once() {
        let mistakes = |query: &str| -> Vec<(String, &'static str)> {
            let first = query_of::<Wanted>(query).expect_err("must be refused");
            let all = mistakes::of_query::<Wanted>(query, first);
            all.into_iter().map(|error| (error.field, error.code.name())).collect()
        };
        let named = |pairs: &[(&str, &'static str)]| -> Vec<(String, &'static str)> {
            pairs.iter().map(|(field, code)| ((*field).to_owned(), *code)).collect()
        };
        assert_eq!(
            mistakes("limit=x&open=perhaps&id=7&role=king&colour=red"),
            named(&[
                ("limit", "type"),
                ("open", "type"),
                ("id", "format"),
                ("role", "choice"),
                ("colour", "unknown"),
                ("q", "required")
            ])
        );
        assert_eq!(mistakes("limit=99999999999999999999&q=a&q=b"), named(&[("limit", "format"), ("q", "duplicate")]));
        let long: String = (0..4_000).map(|name| format!("{name}&")).collect();
        assert!((1..10).contains(&mistakes(&long).len()), "each mistake has all of it read again");
    }

    fn wrong(body: &str) -> (String, String) {
        match parse::<Body>(body.as_bytes()).expect_err("must be refused") {
            Error::Invalid(errors) => (errors[0].field.clone(), errors[0].message.clone()),
            other => (other.code().to_owned(), other.to_string()),
        }
    }

    #[test]
    fn each_refusal_names_the_field() {
        let named = |body: &str| wrong(body).0;
        assert_eq!(named(r#"{"amount": "1", "currency": "ZAR"}"#), "amount");
        assert_eq!(named(r#"{"amount": 1.5, "currency": "ZAR"}"#), "amount");
        assert_eq!(named(r#"{"amount": 99999999999999999999999, "currency": "ZAR"}"#), "amount");
        assert_eq!(named(r#"{"amount": 1, "currency": null}"#), "currency");
        assert_eq!(wrong(r#"{"amount": 1}"#), ("currency".to_owned(), "is required".to_owned()));
        assert_eq!(named(r#"{"amount": 1, "currency": "ZAR", "admin": true}"#), "admin");
        assert_eq!(
            wrong(r#"{"amount": 1, "amount": 2, "currency": "ZAR"}"#),
            ("amount".to_owned(), "is given twice".to_owned())
        );
        for other in ["[]", " \n[1, \"ZAR\"]", "[[]]", "7", "\"text\"", "null", "true"] {
            assert_eq!(wrong(other), ("body".to_owned(), "must be a JSON object".to_owned()), "{other}");
        }
        assert_eq!(named("[1, \"ZAR\"] x"), "invalid_json");
        assert_eq!(named("{"), "invalid_json");
        assert_eq!(named(""), "invalid_json");
        assert_eq!(named(r#"{"amount": 1, "currency": "ZAR"} x"#), "invalid_json");
    }
}
