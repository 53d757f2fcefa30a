//! Settings of where errors and traces go outside the house: nowhere, unless they are set. Read with the other settings by `config.rs`.

use reqwest::Url;
use secrecy::SecretString;

use crate::platform::config::reader::Reader;

#[derive(Debug)]
pub struct Collectors {
    /// `ENVIRONMENT`: what this installation is called there. Default `production`.
    pub environment: String,
    pub sentry: Option<SentrySettings>,
    pub otlp: Option<Collector>,
}

#[derive(Debug)]
pub struct SentrySettings {
    /// `SENTRY_DSN`: the address of the project, with its key.
    pub dsn: SecretString,
    /// `SENTRY_TRACES_SAMPLE_RATE`: of which part of the traces, 0 to 1. Default 0.1. Errors are always told.
    pub share: Share,
}

#[derive(Debug)]
pub struct Collector {
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`: the collector, http/protobuf; `/v1/traces` is put behind it.
    pub endpoint: Url,
    /// `OTEL_EXPORTER_OTLP_HEADERS`: `name=value` with commas: a key for it.
    pub headers: Vec<(String, SecretString)>,
    /// `OTEL_TRACES_SAMPLER_ARG`: which part of the traces, 0 to 1. Default 1.
    pub share: Share,
}

impl Collectors {
    /// These settings alone, for a test.
    #[cfg(test)]
    pub fn from_source(source: crate::platform::config::Source<'_>) -> Option<Self> {
        Reader { source, wrong: Vec::new() }.collectors()
    }
}

/// In millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share(u32);

const WHOLE: u32 = 1_000_000;

impl Share {
    /// Whether it is one of those. It is decided by the id, so that all processes have all of a trace or nothing of it.
    pub fn holds(self, id: u128) -> bool {
        // Of a row's id these 48 bits are random: before them is the time, behind them a zero (`ledger::row_id`).
        let random = (id >> 8) & 0xffff_ffff_ffff;
        random % u128::from(WHOLE) < u128::from(self.0)
    }

    fn parse(value: &str) -> Result<Self, String> {
        let wrong = || "must be 0 to 1, with at most six decimals".to_owned();
        let (whole, decimals) = value.split_once('.').unwrap_or((value, ""));
        let digits = [whole, decimals].concat();
        if decimals.len() > 6 || whole.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let millionths = format!("{whole}{decimals:0<6}").parse().map_err(|_| wrong())?;
        if millionths <= WHOLE { Ok(Self(millionths)) } else { Err(wrong()) }
    }
}

impl Reader<'_> {
    pub(super) fn collectors(&mut self) -> Option<Collectors> {
        let environment = self.checked("ENVIRONMENT", Some("production"), parse_environment);
        let dsn = self.checked("SENTRY_DSN", Some(""), parse_dsn);
        let sentry_share = self.checked("SENTRY_TRACES_SAMPLE_RATE", Some("0.1"), Share::parse);
        let endpoint = self.checked("OTEL_EXPORTER_OTLP_ENDPOINT", Some(""), parse_endpoint);
        let headers = self.checked("OTEL_EXPORTER_OTLP_HEADERS", Some(""), parse_headers);
        let otlp_share = self.checked("OTEL_TRACES_SAMPLER_ARG", Some("1"), Share::parse);
        let (environment, sentry_share, headers, otlp_share) = (environment?, sentry_share?, headers?, otlp_share?);
        Some(Collectors {
            environment,
            sentry: dsn?.map(|dsn| SentrySettings { dsn, share: sentry_share }),
            otlp: endpoint?.map(|endpoint| Collector { endpoint, headers, share: otlp_share }),
        })
    }
}

fn parse_environment(value: &str) -> Result<String, String> {
    let plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if plain && (1..=64).contains(&value.len()) { Ok(value.to_owned()) } else { Err("must be a plain word".to_owned()) }
}

fn parse_dsn(value: &str) -> Result<Option<SecretString>, String> {
    if value.is_empty() {
        return Ok(None);
    }
    let url = value.parse::<Url>().ok().filter(is_http);
    let project =
        |url: &Url| url.path_segments().and_then(|mut parts| parts.next_back().map(str::to_owned)).unwrap_or_default();
    let is_one = url.is_some_and(|url| {
        !url.username().is_empty() && !project(&url).is_empty() && project(&url).bytes().all(|b| b.is_ascii_digit())
    });
    if is_one { Ok(Some(value.into())) } else { Err("is no DSN: want https://key@host/project".to_owned()) }
}

fn parse_endpoint(value: &str) -> Result<Option<Url>, String> {
    if value.is_empty() {
        return Ok(None);
    }
    let url = value.parse::<Url>().ok().filter(is_http);
    // Keys belong into the headers: what is said of an address, in an error or a log, may quote it.
    let url = url.filter(|url| url.username().is_empty() && url.password().is_none() && url.query().is_none());
    url.map(Some).ok_or_else(|| "must be an http(s) URL without a user or a query".to_owned())
}

fn is_http(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.has_host()
}

fn parse_headers(value: &str) -> Result<Vec<(String, SecretString)>, String> {
    let pairs = value.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let parse = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        let usable = name.parse::<reqwest::header::HeaderName>().is_ok()
            && reqwest::header::HeaderValue::from_str(value).is_ok();
        usable.then(|| (name.to_owned(), SecretString::from(value)))
    };
    pairs.map(|pair| parse(pair).ok_or("must be name=value with commas".to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_ids_and_all_processes_agree() {
        for (text, want) in [("0", 0), ("1", WHOLE), ("0.25", 250_000), ("1.000000", WHOLE), ("0.000001", 1)] {
            assert_eq!(Share::parse(text), Ok(Share(want)), "{text}");
        }
        for wrong in ["", ".5", "1.1", "2", "-1", "0.0000001", "1e3", "a"] {
            assert!(Share::parse(wrong).is_err(), "{wrong}");
        }
        let ids: Vec<u128> = (0..10_000).map(|_| ledger::row_id(1_700_000_000_000, rand::random()).as_u128()).collect();
        let kept = |share: &str| {
            let share = Share::parse(share).expect("a share");
            ids.iter().filter(|id| share.holds(**id)).count()
        };
        assert_eq!((kept("0"), kept("1")), (0, 10_000));
        assert!((2_200..2_800).contains(&kept("0.25")), "{}", kept("0.25"));
    }

    #[test]
    fn where_things_go_is_checked_at_the_start() {
        assert!(parse_dsn("").is_ok_and(|dsn| dsn.is_none()));
        assert!(parse_dsn("https://key@sentry.example.com/7").is_ok_and(|dsn| dsn.is_some()));
        for wrong in ["https://sentry.example.com/7", "https://key@host/x", "key@host/7", "ftp://key@host/7"] {
            assert!(parse_dsn(wrong).is_err(), "{wrong}");
        }
        assert!(parse_endpoint("http://127.0.0.1:4318").is_ok_and(|url| url.is_some()));
        for wrong in ["127.0.0.1:4318", "https://user:pass@host", "https://host/?key=1"] {
            assert!(parse_endpoint(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_headers("a=b, c = d").map(|headers| headers.len()), Ok(2));
        assert!(parse_headers("a").is_err() && parse_headers("a b=c").is_err());
    }
}
