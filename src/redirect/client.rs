//! The client address: the peer's, unless the peer is a trusted proxy; then the one that it names.

use std::net::{IpAddr, Ipv4Addr};

use http::HeaderName;
use ipnet::IpNet;

use crate::{click::ClientAddr, config};

/// The proxies that may name the client, and the header in which they do.
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    header: HeaderName,
}

impl TrustedProxies {
    /// # Errors
    /// When the configured header is not a header name.
    pub fn new(config: &config::ClientAddress) -> Result<Self, http::header::InvalidHeaderName> {
        Ok(Self {
            networks: config.trusted_proxies.clone(),
            header: HeaderName::from_bytes(config.header.to_ascii_lowercase().as_bytes())?,
        })
    }

    /// The header in which trusted proxies name the client.
    pub fn header(&self) -> &HeaderName {
        &self.header
    }

    /// The client of a request from `peer`. `forwarded` are the values of the [header](Self::header), read from the
    /// right: each address is named by the one to its right, and the first untrusted one is the client. An entry that
    /// is not an address ends the walk: what stands left of it is vouched for by no trusted proxy.
    pub fn client(&self, peer: Option<IpAddr>, forwarded: &[&[u8]]) -> ClientAddr {
        let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)).to_canonical();
        if !self.trusts(peer) {
            return ClientAddr::from_ip(peer);
        }
        let mut client = peer;
        for entry in forwarded.iter().rev().flat_map(|value| value.rsplit(|&byte| byte == b',')) {
            let Some(address) = parse(entry) else {
                break;
            };
            client = address;
            if !self.trusts(address) {
                break;
            }
        }
        ClientAddr::from_ip(client)
    }

    /// Whether the peer is a trusted proxy, so that its connection is not the visitor's own.
    pub fn is_proxy(&self, peer: Option<IpAddr>) -> bool {
        !self.networks.is_empty() && peer.is_some_and(|peer| self.trusts(peer.to_canonical()))
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }
}

/// An address, alone, with a port, or in brackets.
fn parse(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    let address = text.parse::<IpAddr>().ok().or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|s| s.ip()));
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    address.or_else(bracketed).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let trusted = TrustedProxies::new(&config::ClientAddress {
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
            header: "X-Forwarded-For".into(),
        })
        .unwrap();
        let forwarded: Vec<_> = forwarded.iter().map(|value| value.as_bytes()).collect();
        trusted.client(Some(peer.parse().unwrap()), &forwarded).ip().to_string()
    }

    #[test]
    fn an_untrusted_peer_is_the_client_whatever_it_claims() {
        assert_eq!(client("192.0.2.1", &["203.0.113.9"]), "192.0.2.1");
    }

    #[test]
    fn a_trusted_peer_names_the_client_from_the_right() {
        assert_eq!(client("10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["198.51.100.1, 203.0.113.9"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["198.51.100.1, 203.0.113.9, 10.9.9.9"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["198.51.100.1", "203.0.113.9"]), "203.0.113.9");
        assert_eq!(client("::ffff:10.0.0.1", &["[2001:470::1]:443"]), "2001:470::1");
        assert_eq!(client("2001:db8::1", &["[2001:470::1]"]), "2001:470::1");
    }

    #[test]
    fn an_invalid_entry_ends_the_walk() {
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["unknown"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["203.0.113.9, unknown, 10.1.1.1"]), "10.1.1.1");
    }
}
