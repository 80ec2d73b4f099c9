//! The client address: the peer's, unless the peer is a trusted proxy; then the one that it names. A program that
//! embeds the redirect may know it better.

use std::net::{IpAddr, Ipv4Addr};

use http::HeaderName;
use ipnet::IpNet;

use crate::{
    click::{ClientAddr, address::assert_cannot_leak},
    config,
};

/// The client of a request, where the embedding program knows it better than the connection and
/// `client_address` do. Holds personal data: it can be neither printed nor serialised, and is wiped when dropped.
pub struct Client {
    address: ClientAddr,
    pub(super) is_proxied: bool,
}

assert_cannot_leak!(Client);

impl Client {
    /// A client whose own connection arrives here, through what passes its bytes on: a tunnel, or a load balancer with
    /// a PROXY protocol that the program reads. What connection and headers show is the visitor's.
    pub fn direct(address: IpAddr) -> Self {
        Self { address: ClientAddr::from_ip(address.to_canonical()), is_proxied: false }
    }

    /// A client behind a proxy that sends requests of its own, such as a CDN that names it in a header. What the
    /// connection shows is not the visitor's, as behind `client_address.trusted_proxies`.
    pub fn proxied(address: IpAddr) -> Self {
        Self { is_proxied: true, ..Self::direct(address) }
    }

    pub(super) fn ip(&self) -> IpAddr {
        self.address.ip()
    }
}

/// The proxies that may name the client, and the header in which they do.
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    header: HeaderName,
    /// Whether that is `Forwarded`, whose entries have parameters.
    is_rfc_7239: bool,
}

impl TrustedProxies {
    /// # Errors
    /// When the configured header is not a header name.
    pub fn new(config: &config::ClientAddress) -> Result<Self, http::header::InvalidHeaderName> {
        Ok(Self {
            networks: config.trusted_proxies.clone(),
            header: HeaderName::from_bytes(config.header.to_ascii_lowercase().as_bytes())?,
            is_rfc_7239: config.header.eq_ignore_ascii_case("forwarded"),
        })
    }

    /// The header in which trusted proxies name the client.
    pub fn header(&self) -> &HeaderName {
        &self.header
    }

    /// The client of a request from `peer`. `forwarded` are the values of the [header](Self::header), read from the
    /// right: each address is named by the one to its right, and the first untrusted one is the client. Empty entries
    /// do not count (RFC 9110, 5.6.1). One that is not an address ends the walk: what stands left of it is vouched for
    /// by no trusted proxy.
    pub fn client(&self, peer: Option<IpAddr>, forwarded: &[&[u8]]) -> ClientAddr {
        let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)).to_canonical();
        if !self.trusts(peer) {
            return ClientAddr::from_ip(peer);
        }
        let mut client = peer;
        let entries = forwarded.iter().rev().flat_map(|value| value.rsplit(|&byte| byte == b','));
        for entry in entries.map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty()) {
            let Some(address) = parse(if self.is_rfc_7239 { node(entry) } else { entry }) else {
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

/// The node that an entry of `Forwarded` names: `for="[2001:db8::7]:4711";proto=https` (RFC 7239, 4).
fn node(entry: &[u8]) -> &[u8] {
    let parameters = entry.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let value = parameters.filter_map(|parameter| {
        let (name, value) = parameter.split_at_checked(4)?;
        name.eq_ignore_ascii_case(b"for=").then_some(value)
    });
    let value = value.fold(&b""[..], |_, value| value);
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
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
        client_in("X-Forwarded-For", peer, forwarded)
    }

    fn client_in(header: &str, peer: &str, forwarded: &[&str]) -> String {
        let trusted = TrustedProxies::new(&config::ClientAddress {
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
            header: header.into(),
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
    fn empty_entries_do_not_count() {
        for list in ["203.0.113.9,", ", 203.0.113.9 ,, ", "203.0.113.9,\t10.0.0.2, "] {
            assert_eq!(client("10.0.0.1", &[list]), "203.0.113.9", "{list:?}");
        }
        assert_eq!(client("10.0.0.1", &["203.0.113.9", ""]), "203.0.113.9");
    }

    #[test]
    fn entries_of_the_standard_header_have_parameters() {
        for entry in [
            "for=203.0.113.9",
            "For=\"203.0.113.9:4711\"; proto=https;by=10.0.0.1",
            "proto=http ; for=203.0.113.9",
            "for=198.51.100.1, for=203.0.113.9,, for=10.0.0.2",
        ] {
            assert_eq!(client_in("Forwarded", "10.0.0.1", &[entry]), "203.0.113.9", "{entry:?}");
        }
        assert_eq!(client_in("forwarded", "10.0.0.1", &["for=\"[2001:470::1]:1\""]), "2001:470::1");
        for entry in ["for=unknown", "for=_hidden", "203.0.113.9", "for=", "proto=https"] {
            assert_eq!(client_in("Forwarded", "10.0.0.1", &[entry]), "10.0.0.1", "{entry:?}");
        }
    }

    #[test]
    fn an_invalid_entry_ends_the_walk() {
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["unknown"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["203.0.113.9, unknown, 10.1.1.1"]), "10.1.1.1");
    }
}
