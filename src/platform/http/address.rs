//! Where a call comes from. Behind proxies the connection's peer is a proxy: its word on the caller, `X-Forwarded-For`, is taken
//! only from the networks that `TRUSTED_PROXIES` names, from the right, up to the first address that is not one of them.

use std::net::{IpAddr, SocketAddr};

use axum::{extract::ConnectInfo, http::request::Parts};
use ipnet::IpNet;

/// The caller's address; `None` only where there is no connection.
pub fn of(parts: &Parts, trusted: &[IpNet]) -> Option<IpAddr> {
    let ConnectInfo(peer) = parts.extensions.get::<ConnectInfo<SocketAddr>>()?;
    let lines = parts.headers.get_all("x-forwarded-for").iter().filter_map(|line| line.to_str().ok());
    let hops: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    Some(behind(peer.ip().to_canonical(), &hops, trusted))
}

fn behind(peer: IpAddr, hops: &[&str], trusted: &[IpNet]) -> IpAddr {
    let mut address = peer;
    for hop in hops.iter().rev() {
        if !trusted.iter().any(|network| network.contains(&address)) {
            break;
        }
        // A hop that is no address was not written by a proxy of ours: what stands left of it is nobody's word.
        let Ok(next) = hop.parse::<IpAddr>() else { break };
        address = next.to_canonical();
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().expect("a block")];
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(behind(ip("203.0.113.9"), &["1.2.3.4"], &trusted), ip("203.0.113.9"), "a stranger's word");
        assert_eq!(behind(ip("10.0.0.1"), &["1.2.3.4"], &trusted), ip("1.2.3.4"));
        assert_eq!(
            behind(ip("10.0.0.1"), &["6.6.6.6", "1.2.3.4", "10.0.0.2"], &trusted),
            ip("1.2.3.4"),
            "forged on the left"
        );
        assert_eq!(behind(ip("10.0.0.1"), &["1.2.3.4", "junk"], &trusted), ip("10.0.0.1"));
        assert_eq!(behind(ip("10.0.0.1"), &[], &trusted), ip("10.0.0.1"));
    }
}
