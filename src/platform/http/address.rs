//! Where a call comes from. Behind proxies the connection's peer is a proxy: its word on the caller, in the one header that
//! `CLIENT_ADDRESS_HEADER` names, is taken only from the networks that `TRUSTED_PROXIES` names, from the right, up to the first address
//! that is not one of them. An IPv4 address is one however it is written: a socket for both kinds calls it `::ffff:…`.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::{extract::ConnectInfo, http::HeaderMap, http::request::Parts};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::platform::text_enum::text_enum;

text_enum! {
    pub enum AddressHeader {
        XForwardedFor = "x-forwarded-for",
        /// One address, as nginx and others are set up to say it.
        XRealIp = "x-real-ip",
        /// RFC 7239.
        Forwarded = "forwarded",
    }
}

/// Whose word on the caller is taken, and where it stands.
#[derive(Debug)]
pub struct Proxies {
    pub trusted: Vec<IpNet>,
    pub header: AddressHeader,
}

/// The caller's address; `None` only where there is no connection.
pub fn of(parts: &Parts, proxies: &Proxies) -> Option<IpAddr> {
    let ConnectInfo(peer) = parts.extensions.get::<ConnectInfo<SocketAddr>>()?;
    let hops = hops(&parts.headers, proxies.header);
    Some(behind(peer.ip().to_canonical(), &hops, &proxies.trusted))
}

pub fn is_in(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address.to_canonical()))
}

/// A block of `::ffff:…` is one of IPv4.
pub fn parse_network(block: &str) -> Option<IpNet> {
    let network: IpNet = block.parse().ok()?;
    let IpNet::V6(mapped) = network else { return Some(network) };
    let Some(address) = mapped.addr().to_ipv4_mapped() else { return Some(network) };
    let length = mapped.prefix_len().checked_sub(96)?;
    Ipv4Net::new(address, length).ok().map(IpNet::V4)
}

fn behind(peer: IpAddr, hops: &[String], trusted: &[IpNet]) -> IpAddr {
    let mut address = peer;
    for hop in hops.iter().rev() {
        if !is_in(trusted, address) {
            break;
        }
        // A hop that is no address was not written by a proxy of ours: what stands left of it is nobody's word.
        let Some(next) = parse_hop(hop) else { break };
        address = next;
    }
    address
}

/// What each proxy wrote, the nearest last. Several lines are one list.
fn hops(headers: &HeaderMap, header: AddressHeader) -> Vec<String> {
    // What a caller wrote that is no text is a hop that cannot be read, and not the end of what a proxy wrote behind it.
    let lines = headers.get_all(header.name()).iter().map(|line| String::from_utf8_lossy(line.as_bytes()));
    let parts = |line: &str| line.split(',').map(|part| part.trim().to_owned()).collect::<Vec<_>>();
    let mut parts = lines.flat_map(|line| parts(&line)).filter(|part| !part.is_empty());
    match header {
        AddressHeader::XForwardedFor => parts.collect(),
        // It is no list: only the proxy that is nearest has said anything.
        AddressHeader::XRealIp => parts.next_back().into_iter().collect(),
        AddressHeader::Forwarded => parts.map(|element| forwarded_for(&element).to_owned()).collect(),
    }
}

/// `for=` of an element, which may hold other pairs; nothing where it says none.
fn forwarded_for(element: &str) -> &str {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for")).map_or("", |(_, value)| value.trim())
}

/// An address as proxies write it: with a port or without, IPv6 in brackets or bare, in quotes or not.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let hop = hop.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(hop).trim();
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    let address = bare.parse().ok().or_else(|| hop.parse().ok().map(|with_port: SocketAddr| with_port.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

/// Whom limits count when they count an address: an IPv4 address for itself; of IPv6 the /64, since whoever has one address there
/// has all of them, and the /48 around it with a larger allowance.
#[derive(Debug, PartialEq, Eq)]
pub struct Networks {
    pub near: String,
    pub around: Option<String>,
}

impl Networks {
    /// Of an address, or of a word and an address (`device:2001:db8::1`); `None`: it is something else.
    pub fn of(who: &str) -> Option<Self> {
        if let Ok(address) = who.parse::<IpAddr>() {
            return Some(Self::around(address));
        }
        let (word, address) = who.split_once(':')?;
        let networks = Self::around(address.parse().ok()?);
        let named = |network: String| format!("{word}:{network}");
        Some(Self { near: named(networks.near), around: networks.around.map(named) })
    }

    fn around(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self { near: address.to_string(), around: None },
            IpAddr::V6(address) => Self { near: block(address, 64), around: Some(block(address, 48)) },
        }
    }
}

fn block(address: Ipv6Addr, length: u8) -> String {
    Ipv6Net::new_assert(address, length).trunc().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// Seen by a service whose proxy is 10.0.0.1.
    fn seen(header: AddressHeader, lines: &[&str]) -> IpAddr {
        seen_in_bytes(header, &lines.iter().map(|line| line.as_bytes()).collect::<Vec<_>>())
    }

    fn seen_in_bytes(header: AddressHeader, lines: &[&[u8]]) -> IpAddr {
        let name = axum::http::HeaderName::from_static(header.name());
        let value = |line: &[u8]| axum::http::HeaderValue::from_bytes(line).expect("a value");
        let headers = lines.iter().map(|line| (name.clone(), value(line))).collect();
        behind(ip("10.0.0.1"), &hops(&headers, header), &[parse_network("10.0.0.0/8").expect("a block")])
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let trusted = [parse_network("10.0.0.0/8").expect("a block")];
        assert_eq!(
            behind(ip("203.0.113.9"), &["1.2.3.4".to_owned()], &trusted),
            ip("203.0.113.9"),
            "a stranger's word"
        );
        let seen = |line: &str| seen(AddressHeader::XForwardedFor, &[line]);
        assert_eq!(seen("1.2.3.4"), ip("1.2.3.4"));
        assert_eq!(seen("6.6.6.6, 1.2.3.4, 10.0.0.2"), ip("1.2.3.4"), "forged on the left");
        assert_eq!(seen("1.2.3.4, junk"), ip("10.0.0.1"));
        assert_eq!(seen(""), ip("10.0.0.1"));
    }

    #[test]
    fn an_address_is_understood_however_a_proxy_writes_it() {
        let v6 = "2001:db8::1";
        for (written, meant) in [
            ("203.0.113.7", "203.0.113.7"),
            ("203.0.113.7:51008", "203.0.113.7"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("[::ffff:203.0.113.7]:51008", "203.0.113.7"),
            (v6, v6),
            ("[2001:db8::1]", v6),
            ("[2001:db8::1]:443", v6),
            ("\"[2001:db8::1]:443\"", v6),
            ("198.51.100.1 , \t203.0.113.7:1 ,, 10.9.9.9:80", "203.0.113.7"),
        ] {
            assert_eq!(seen(AddressHeader::XForwardedFor, &[written]), ip(meant), "{written}");
        }
        for junk in ["203.0.113.7:x", "203.0.113.7:99999", "[203.0.113.7", "2001:db8::1]:443", "unknown", "a:b"] {
            assert_eq!(seen(AddressHeader::XForwardedFor, &[junk]), ip("10.0.0.1"), "{junk}");
        }
        assert_eq!(seen(AddressHeader::XForwardedFor, &["6.6.6.6", "203.0.113.7", "10.0.0.2"]), ip("203.0.113.7"));
    }

    #[test]
    fn only_the_header_of_the_setting_counts() {
        assert_eq!(seen(AddressHeader::XRealIp, &["6.6.6.6", "203.0.113.7:8"]), ip("203.0.113.7"), "the nearest word");
        assert_eq!(seen(AddressHeader::XRealIp, &["[2001:db8::1]"]), ip("2001:db8::1"));
        let forwarded = "for=6.6.6.6, For=\"[2001:db8::1]:443\";proto=https;by=10.0.0.2, by=x;for=10.0.0.3";
        assert_eq!(seen(AddressHeader::Forwarded, &[forwarded]), ip("2001:db8::1"));
        assert_eq!(seen(AddressHeader::Forwarded, &["for=1.2.3.4, proto=https"]), ip("10.0.0.1"), "nobody named");
        assert_eq!(seen(AddressHeader::Forwarded, &["for=1.2.3.4, for=_hidden"]), ip("10.0.0.1"));
    }

    /// Whoever calls sends what it likes, and the proxy writes behind it: nobody passes for the proxy, or for somebody else, by that.
    #[test]
    fn bytes_that_are_no_text_hide_nothing_that_a_proxy_wrote() {
        for (header, line) in [
            (AddressHeader::XForwardedFor, &b"\xff, 203.0.113.7"[..]),
            (AddressHeader::XForwardedFor, b"1.2.3.4\xff, 203.0.113.7, 10.0.0.2"),
            (AddressHeader::XRealIp, b"\xff, 203.0.113.7"),
            (AddressHeader::Forwarded, b"for=\xff, for=203.0.113.7;proto=https"),
        ] {
            assert_eq!(seen_in_bytes(header, &[line]), ip("203.0.113.7"), "{header:?} {line:?}");
            assert_eq!(seen_in_bytes(header, &[&b"6.6.6.6"[..], line]), ip("203.0.113.7"), "{header:?} {line:?}");
        }
        let lines = [&b"6.6.6.6"[..], &b"\xff"[..]];
        assert_eq!(seen_in_bytes(AddressHeader::XForwardedFor, &lines), ip("10.0.0.1"), "nobody's word");
    }

    #[test]
    fn a_mapped_address_and_a_mapped_block_are_ipv4() {
        for (block, address, inside) in [
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "::ffff:10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "11.1.2.3", false),
            ("2001:db8::/32", "2001:db8::1", true),
        ] {
            let networks = [parse_network(block).expect("a block")];
            assert_eq!(is_in(&networks, ip(address)), inside, "{address} in {block}");
        }
        assert_eq!(parse_network("::ffff:0.0.0.0/90"), None, "neither one nor the other");
    }

    #[test]
    fn limits_count_networks() {
        let near = |who: &str| Networks::of(who).map(|networks| networks.near);
        assert_eq!(near("203.0.113.7").as_deref(), Some("203.0.113.7"));
        assert_eq!(near("::ffff:203.0.113.7").as_deref(), Some("203.0.113.7"));
        assert_eq!(near("2001:db8:1:2:3:4:5:6").as_deref(), Some("2001:db8:1:2::/64"));
        assert_eq!(near("device:2001:db8:1:2::9").as_deref(), Some("device:2001:db8:1:2::/64"));
        let around = Networks::of("2001:db8:1:2::9").and_then(|networks| networks.around);
        assert_eq!(around.as_deref(), Some("2001:db8:1::/48"));
        assert_eq!(Networks::of("verify:c29tZWJvZHk"), None);
    }
}
