//! What is answered as a file. One whose bytes are there ([`Download`]) has a strong tag, is not sent again to who has it (304), and is sent
//! in parts to who asks for one (206; 416 where there is no such part). One that is written while it is sent ([`streamed`]) has no parts, and
//! says so: its length is known when it has gone out.
//!
//! RFC 9110, 13 and 14: `If-None-Match` comes first; `Range` counts only for GET, and with `If-Range` only while the tag is that one; several
//! parts at once, and a range that is not understood, are answered by the whole. Nothing here has a date to compare with.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Range;

use axum::body::{Body, Bytes};
use axum::extract::FromRequestParts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header, request};
use axum::response::{IntoResponse, Response};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use utoipa::openapi::{RefOr, ResponseBuilder};

use crate::platform::digest::sha256;
use crate::platform::error::Error;

const TAG_BYTES: usize = 16;

/// What a caller has already, and which part it wants.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    known: Vec<String>,
    range: Option<String>,
    only_of: Option<String>,
}

/// The `ETag` of a representation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag(String);

/// A file whose bytes are there. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Download {
    media_type: &'static str,
    bytes: Bytes,
    tag: Tag,
    name: Option<String>,
    cache: Option<&'static str>,
    has_parts: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Of(Range<usize>),
    /// It begins behind the end.
    Nowhere,
}

impl Asked {
    pub fn of(method: &Method, headers: &HeaderMap) -> Self {
        let all = |name: &header::HeaderName| headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        let known = all(&header::IF_NONE_MATCH).flat_map(|value| value.split(','));
        let known = known.map(|tag| tag.trim().to_owned()).collect();
        let is_asked = method == Method::GET && all(&header::RANGE).count() == 1;
        let range = all(&header::RANGE).next().filter(|_| is_asked).map(|range| range.trim().to_owned());
        Self { known, range, only_of: all(&header::IF_RANGE).next().map(str::to_owned) }
    }

    /// Whether it is what the caller has, weakly compared.
    pub fn knows(&self, tag: &Tag) -> bool {
        let strong = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
        self.known.iter().any(|known| known == "*" || strong(known) == strong(&tag.0))
    }

    fn part(&self, tag: &Tag, length: usize) -> Part {
        let is_current = self.only_of.as_ref().is_none_or(|only| *only == tag.0 && !tag.0.starts_with("W/"));
        self.range.as_deref().filter(|_| is_current).map_or(Part::Whole, |range| part(range, length))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut request::Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.method, &parts.headers))
    }
}

impl Tag {
    /// The same bytes have the same.
    pub fn of(bytes: &[u8]) -> Self {
        Self(format!("\"{}\"", shortened(bytes)))
    }

    /// Of what says the same, perhaps in other bytes: `what` is what it is made of.
    pub fn weak(what: &[u8]) -> Self {
        Self(format!("W/\"{}\"", shortened(what)))
    }

    fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("base64 in quotes")
    }
}

fn shortened(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(&sha256(bytes)[..TAG_BYTES])
}

impl Download {
    pub fn new(media_type: &'static str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { media_type, tag: Tag::of(&bytes), bytes, name: None, cache: None, has_parts: true }
    }

    /// To be kept under this name, which is made of what is ours.
    pub fn named(self, name: String) -> Self {
        Self { name: Some(name), ..self }
    }

    /// `Cache-Control`; without it no cache keeps it.
    pub fn cached(self, how: &'static str) -> Self {
        Self { cache: Some(how), ..self }
    }

    /// Whose bytes are others each time, or so small that nobody wants a part of them.
    pub fn only_whole(self) -> Self {
        Self { has_parts: false, ..self }
    }

    pub fn tagged(self, tag: Tag) -> Self {
        Self { tag, ..self }
    }

    pub fn answer(self, asked: &Asked) -> Response {
        if asked.knows(&self.tag) {
            return self.headed(unchanged(&self.tag));
        }
        let length = self.bytes.len();
        let part = if self.has_parts { asked.part(&self.tag, length) } else { Part::Whole };
        let mut response = match part {
            Part::Nowhere => return Error::RangeNotSatisfiable(length).into_response(),
            Part::Whole => self.bytes.clone().into_response(),
            Part::Of(range) => {
                let content_range = format!("bytes {}-{}/{length}", range.start, range.end.saturating_sub(1));
                (StatusCode::PARTIAL_CONTENT, [(header::CONTENT_RANGE, content_range)], self.bytes.slice(range))
                    .into_response()
            }
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        headers.insert(header::ETAG, self.tag.header());
        let parts = if self.has_parts { "bytes" } else { "none" };
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static(parts));
        if let Some(name) = &self.name {
            headers.insert(header::CONTENT_DISPOSITION, attachment(name));
        }
        self.headed(response)
    }

    fn headed(&self, mut response: Response) -> Response {
        if let Some(cache) = self.cache {
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
        }
        response
    }
}

/// The caller has it already.
pub fn unchanged(tag: &Tag) -> Response {
    (StatusCode::NOT_MODIFIED, [(header::ETAG, tag.header())]).into_response()
}

/// A file that is written while it is sent. With a tag where what it will say is known before.
pub fn streamed(media_type: &'static str, name: &str, tag: Option<&Tag>, body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CONTENT_DISPOSITION, attachment(name)),
        (header::ACCEPT_RANGES, HeaderValue::from_static("none")),
    ];
    let mut response = (headers, body).into_response();
    if let Some(tag) = tag {
        response.headers_mut().insert(header::ETAG, tag.header());
    }
    response
}

fn attachment(name: &str) -> HeaderValue {
    HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")).expect("a name of letters, digits and dashes")
}

/// `bytes=0-499`, `bytes=500-`, `bytes=-500`.
fn part(range: &str, length: usize) -> Part {
    let spec = range.split_once('=').filter(|(unit, _)| unit.trim().eq_ignore_ascii_case("bytes"));
    let Some((first, last)) = spec.and_then(|(_, spec)| spec.split_once('-')) else { return Part::Whole };
    let (first, last) = (first.trim(), last.trim());
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(first) || !is_number(last) {
        return Part::Whole;
    }
    // Digits alone: what does not fit is more than there can be.
    let number = |text: &str| text.parse::<usize>().unwrap_or(usize::MAX);
    let range = match (first, last) {
        ("", "") => return Part::Whole,
        ("", last) => length.saturating_sub(number(last))..length,
        (first, "") => number(first)..length,
        (first, last) if number(first) > number(last) => return Part::Whole,
        (first, last) => number(first)..number(last).saturating_add(1).min(length),
    };
    if range.start < length { Part::Of(range) } else { Part::Nowhere }
}

/// In the `responses(…)` of a route that answers with a [`Download`]: `openapi` makes of it the part (206), what is said of the
/// whole (200), and the headers that ask for either.
pub struct Parts;

impl utoipa::IntoResponses for Parts {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let response = |text: &str| RefOr::from(ResponseBuilder::new().description(text).build());
        BTreeMap::from([
            ("206".to_owned(), response("The part that `Range` asks for")),
            ("304".to_owned(), response("It is still what you have")),
            ("416".to_owned(), response("`range_not_satisfiable`")),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_one_range_of_bytes_and_what_is_not_understood_is_no_part() {
        for (range, expected) in [
            ("bytes=0-0", Part::Of(0..1)),
            ("bytes=2-4", Part::Of(2..5)),
            ("Bytes = 2 - 4", Part::Of(2..5)),
            ("bytes=2-", Part::Of(2..10)),
            ("bytes=-3", Part::Of(7..10)),
            ("bytes=-30", Part::Of(0..10)),
            ("bytes=9-99999999999999999999999", Part::Of(9..10)),
            ("bytes=10-", Part::Nowhere),
            ("bytes=-0", Part::Nowhere),
            ("bytes=99999999999999999999999-", Part::Nowhere),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=4-2", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("bytes", Part::Whole),
            ("lines=0-1", Part::Whole),
            ("", Part::Whole),
        ] {
            assert_eq!(part(range, 10), expected, "{range}");
        }
        assert_eq!(part("bytes=0-", 0), Part::Nowhere);
    }

    fn asked(method: Method, headers: &[(&'static str, &str)]) -> Asked {
        let headers = headers.iter().map(|(name, value)| {
            (header::HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header"))
        });
        Asked::of(&method, &headers.collect())
    }

    #[test]
    fn a_tag_that_is_known_comes_before_the_part_and_another_one_brings_the_whole() {
        let file = Download::new("text/csv", "0123456789");
        let tag = Tag::of(b"0123456789").0;
        let status = |method: Method, headers: &[(&'static str, &str)]| {
            file.clone().answer(&asked(method, headers)).status().as_u16()
        };
        let weak = format!("\"a\", W/{tag}");
        for (expected, headers) in [
            (200, vec![]),
            (206, vec![("range", "bytes=1-")]),
            (304, vec![("range", "bytes=1-"), ("if-none-match", tag.as_str())]),
            (304, vec![("if-none-match", weak.as_str())]),
            (304, vec![("if-none-match", "*")]),
            (200, vec![("if-none-match", "\"another\"")]),
            (206, vec![("range", "bytes=1-"), ("if-range", tag.as_str())]),
            (200, vec![("range", "bytes=1-"), ("if-range", "\"another\"")]),
            (200, vec![("range", "bytes=1-"), ("if-range", "Wed, 21 Oct 2015 07:28:00 GMT")]),
            (200, vec![("range", "bytes=99-"), ("if-range", "\"another\"")]),
            (416, vec![("range", "bytes=99-")]),
        ] {
            assert_eq!(status(Method::GET, &headers), expected, "{headers:?}");
        }
        assert_eq!(status(Method::HEAD, &[("range", "bytes=99-")]), 200, "a range is for GET");
    }
}
