//! Calls to addresses that others have named: of a URL of theirs nothing inside our network may come within reach.
//!
//! https only, to port 443 or 8443; no user in the URL, no redirect, no proxy of the environment. Names are resolved here, and of the
//! answer only addresses of the public internet are left: the connection is made to exactly those, so that a name which says something
//! else a moment later (DNS rebinding) gains nothing. An address that stands in the URL itself is looked at before each call.
//! `webhooks/outgoing` calls.

use std::error::Error as StdError;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::HeaderMap;
use reqwest::{StatusCode, Url, redirect};

use crate::platform::error::BoxError;
use crate::platform::http::RetryAfter;
use crate::platform::text_enum::text_enum;

const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Of a whole call.
pub const DEADLINE: Duration = Duration::from_secs(10);
const LOOKUP_DEADLINE: Duration = Duration::from_secs(2);
/// Of an answer as much is read, so that its connection serves again; none of it is kept.
const ANSWER_BYTES_MAX: usize = 4 * 1024;
const PORTS: [u16; 2] = [443, 8443];
/// Connections of one host that wait for its next call, as many as are made at once.
const IDLE_MAX: usize = 32;
const URL_CHARS_MAX: usize = 2_048;

/// What is no part of the public internet, or leads out of it again. Of IPv6 only 2000::/3 is public at all: addresses that hold one of
/// IPv4 (::ffff:0:0/96, 64:ff9b::/96), local, link-local and multicast ones lie outside.
static NOT_PUBLIC: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
    let blocks = "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 \
        192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/3 \
        2001::/23 2001:db8::/32 2002::/16 3fff::/20";
    blocks.split_whitespace().map(|block| block.parse().expect("a block")).collect()
});
static PUBLIC_V6: LazyLock<IpNet> = LazyLock::new(|| "2000::/3".parse().expect("a block"));

/// How far calls may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Public,
    /// Also http, private addresses and any port: for development and tests.
    Anywhere,
}

text_enum! {
    /// Why a call had no answer that counts.
    #[schema(as = CallError)]
    pub enum CallError {
        /// The name has no address.
        NoAddress = "no_address",
        /// The URL or the name leads to no public address.
        PrivateAddress = "private_address",
        /// No connection, or a broken one.
        Connection = "connection",
        /// TLS failed: mostly a certificate that nobody trusts.
        Tls = "tls",
        /// No whole answer within ten seconds.
        Timeout = "timeout",
        /// A redirect: it is not followed.
        Redirect = "redirect",
        /// Another status than 2xx.
        Status = "status",
    }
}

#[derive(Debug)]
pub struct Called {
    pub status: Option<StatusCode>,
    pub error: Option<CallError>,
    /// What the answer asks for.
    pub retry_after: Option<RetryAfter>,
    pub took: Duration,
}

/// Every address of a name.
pub type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> + Send + Sync>;

pub struct Outbound {
    http: reqwest::Client,
    guard: Guard,
}

#[derive(Clone)]
struct Guard {
    reach: Reach,
    lookup: Lookup,
}

#[derive(Debug, thiserror::Error)]
enum Unreachable {
    #[error("the name has no address")]
    NoAddress,
    #[error("the name has no public address")]
    Private,
}

impl Outbound {
    pub fn new(reach: Reach) -> Result<Self, BoxError> {
        Self::with_lookup(reach, Arc::new(|name| Box::pin(system_lookup(name))))
    }

    /// With another way to find addresses: tests have names of their own.
    pub fn with_lookup(reach: Reach, lookup: Lookup) -> Result<Self, BoxError> {
        let guard = Guard { reach, lookup };
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_DEADLINE)
            .timeout(DEADLINE)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(IDLE_MAX)
            .user_agent("Octoco-Webhooks")
            .dns_resolver(Arc::new(guard.clone()))
            .build()?;
        Ok(Self { http, guard })
    }

    /// The URL, if it may be called as it stands. What its name says is looked at by [`Self::leads_inside`] and at each call.
    pub fn parse(&self, text: &str) -> Result<Url, &'static str> {
        // The parser would leave out or turn round what is none of a URL's, and call another one than was written.
        let is_written = text.split_once("://").is_some_and(|(scheme, rest)| {
            scheme.bytes().all(|byte| byte.is_ascii_alphabetic()) && !rest.starts_with('/')
        });
        if !is_written || text.chars().any(|one| one.is_whitespace() || one.is_control() || one == '\\') {
            return Err("must be a URL");
        }
        let url = Url::parse(text).map_err(|_| "must be a URL")?;
        // As it is kept, in which what is not ASCII takes three times its bytes.
        if text.len().max(url.as_str().len()) > URL_CHARS_MAX {
            return Err("is too long");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not hold a user or password");
        }
        if url.fragment().is_some() {
            return Err("must not hold a fragment");
        }
        let anywhere = self.guard.reach == Reach::Anywhere;
        if url.scheme() != "https" && !(anywhere && url.scheme() == "http") {
            return Err("must be https");
        }
        if !anywhere && !url.port_or_known_default().is_some_and(|port| PORTS.contains(&port)) {
            return Err("must use port 443 or 8443");
        }
        match url.host_str().map(address) {
            None => Err("must name a host"),
            Some(Some(address)) if !self.guard.admits(address) => Err("must lead to a public address"),
            Some(None) if !anywhere && url.host_str().is_some_and(is_local_name) => {
                Err("must lead to a public address")
            }
            Some(_) => Ok(url),
        }
    }

    /// Whether its name leads to no public address now. A name that is not known yet may be by the time that it is called.
    pub async fn leads_inside(&self, url: &Url) -> bool {
        let Some(host) = url.host_str().filter(|host| address(host).is_none()) else { return false };
        let looked = tokio::time::timeout(LOOKUP_DEADLINE, self.guard.addresses(host)).await;
        matches!(looked, Ok(Err(Unreachable::Private)))
    }

    /// One POST, within [`DEADLINE`]. Whatever becomes of it is told, and nothing of the answer but its status.
    pub async fn post(&self, url: &str, headers: HeaderMap, body: String) -> Called {
        let begun = Instant::now();
        let none = |error| Called { status: None, error: Some(error), retry_after: None, took: begun.elapsed() };
        let Ok(url) = self.parse(url) else { return none(CallError::PrivateAddress) };
        let mut response = match self.http.post(url).headers(headers).body(body).send().await {
            Ok(response) => response,
            Err(error) => return none(class(&error)),
        };
        let status = response.status();
        let retry_after = RetryAfter::of(response.headers());
        let mut read = 0;
        while read < ANSWER_BYTES_MAX {
            match response.chunk().await {
                Ok(Some(chunk)) => read = read.saturating_add(chunk.len()),
                Ok(None) => break,
                // It has said what became of the message.
                Err(_) => break,
            }
        }
        let error = match status {
            status if status.is_success() => None,
            status if status.is_redirection() => Some(CallError::Redirect),
            _ => Some(CallError::Status),
        };
        Called { status: Some(status), error, retry_after, took: begun.elapsed() }
    }
}

impl Guard {
    fn admits(&self, address: IpAddr) -> bool {
        self.reach == Reach::Anywhere || is_public(address)
    }

    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Unreachable> {
        let found = (self.lookup)(name.to_owned()).await.map_err(|_| Unreachable::NoAddress)?;
        if found.is_empty() {
            return Err(Unreachable::NoAddress);
        }
        let admitted: Vec<IpAddr> = found.into_iter().filter(|address| self.admits(*address)).collect();
        if admitted.is_empty() { Err(Unreachable::Private) } else { Ok(admitted) }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let addresses = guard.addresses(name.as_str()).await?;
            // The port is the URL's.
            let addresses: Addrs = Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

pub fn is_public(address: IpAddr) -> bool {
    let apart = NOT_PUBLIC.iter().any(|block| block.contains(&address));
    !apart && (address.is_ipv4() || PUBLIC_V6.contains(&address))
}

/// The address that a URL names itself, in whatever way it was written: the parser has made one of it.
fn address(host: &str) -> Option<IpAddr> {
    host.trim_matches(['[', ']']).parse().ok()
}

/// Names that are no part of the public DNS.
pub fn is_local_name(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let last = host.rsplit('.').next().unwrap_or_default();
    !host.contains('.')
        || ["localhost", "local", "internal", "localdomain", "home", "lan", "corp", "arpa"].contains(&last)
}

async fn system_lookup(name: String) -> std::io::Result<Vec<IpAddr>> {
    Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
}

fn class(error: &reqwest::Error) -> CallError {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        match error.downcast_ref::<Unreachable>() {
            Some(Unreachable::Private) => return CallError::PrivateAddress,
            Some(Unreachable::NoAddress) => return CallError::NoAddress,
            None => {}
        }
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if inner.is_some_and(|inner| inner.is::<tokio_rustls::rustls::Error>()) {
            return CallError::Tls;
        }
        cause = error.source();
    }
    if error.is_timeout() { CallError::Timeout } else { CallError::Connection }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbound(reach: Reach) -> Outbound {
        Outbound::new(reach).expect("a client")
    }

    #[test]
    fn only_the_public_internet_is_public() {
        for inside in "127.0.0.1 127.255.0.9 10.1.2.3 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 \
            0.1.2.3 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255 192.0.0.1 198.18.0.1 198.19.1.1 192.0.2.1 198.51.100.7 203.0.113.9 \
            192.88.99.1 :: ::1 ::ffff:10.0.0.1 ::ffff:8.8.8.8 ::127.0.0.1 64:ff9b::7f00:1 64:ff9b:1::1 fe80::1 fc00::1 \
            fd00:ec2::254 ff02::1 2001::1 2001:db8::1 2002:7f00:1::1 100::1 3fff::1"
            .split_whitespace()
        {
            assert!(!is_public(inside.parse().expect("an address")), "{inside}");
        }
        for public in ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "192.0.1.1", "2606:4700::1111", "2a00::1"] {
            assert!(is_public(public.parse().expect("an address")), "{public}");
        }
    }

    #[test]
    fn a_url_that_leads_inside_or_hides_where_it_leads_is_refused() {
        let outbound = outbound(Reach::Public);
        for wrong in "http://example.com/ https://127.0.0.1/ https://127.1/ https://2130706433/ https://0x7f000001/ https://0177.0.0.1/ \
            https://[::1]/ https://[::ffff:127.0.0.1]/ https://[::ffff:a00:1]/ https://169.254.169.254/latest/meta-data/ \
            https://[fd00:ec2::254]/ https://localhost/ https://LOCALHOST./ https://api.localhost/ https://metadata.google.internal/ \
            https://printer.local/ https://intranet/ https://user@example.com/ https://user:word@example.com/ https://example.com:22/ \
            https://example.com:6379/ https://example.com/#x ftp://example.com/ file:///etc/passwd gopher://example.com/ javascript:1 \
            https:// example.com https:example.com/://x https://10.0.0.1:8443/ https://100.100.100.200/ https://０１７７.0.0.1/ https://127。0。0。1/"
            .split_whitespace()
        {
            assert!(outbound.parse(wrong).is_err(), "{wrong}");
        }
        // Kept, it would be longer than it came.
        for long in ["{".repeat(1_000), "é".repeat(1_000), "a".repeat(2_048)] {
            assert_eq!(outbound.parse(&format!("https://example.com/{long}")), Err("is too long"));
        }
        for right in [
            "https://example.com", "https://example.com:8443/hooks?a=b", "https://8.8.8.8/",
            "https://[2606:4700::1111]/x", "HTTPS://example.com:0443?who=@me", "https://:@example.com:/@me",
            "https://134744072/", "https://example。com/", "https://example%2Ecom/",
        ] {
            assert!(outbound.parse(right).is_ok(), "{right}");
        }
        assert!(self::outbound(Reach::Anywhere).parse("http://127.0.0.1:9000/").is_ok(), "in development");
    }
}
