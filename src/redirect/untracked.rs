//! Requests that are redirected without being clicks: those with a parameter, and those from networks that the operator
//! names, such as the offices of a company or its monitoring.

use std::{borrow::Cow, net::IpAddr};

use ipnet::IpNet;
use percent_encoding::percent_decode;

use crate::config;

/// Why a request is redirected without being a click.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Untracked {
    /// The query has the parameter `redirect.no_track_parameter`.
    Parameter,
    /// The client is in `redirect.untracked_networks`.
    Network,
}

impl Untracked {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Parameter, Self::Network];

    /// The value of the metric's label `reason`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Parameter => "parameter",
            Self::Network => "network",
        }
    }
}

/// What the operator does not want to be tracked.
#[derive(Default)]
pub struct UntrackedRequests {
    parameter: Option<Box<str>>,
    networks: Vec<IpNet>,
}

impl UntrackedRequests {
    /// As configured.
    pub fn new(config: &config::Redirect) -> Self {
        let parameter = config.no_track_parameter.as_deref().map(Into::into);
        Self { parameter, networks: config.untracked_networks.clone() }
    }

    /// The query without the parameter; `None` when it does not have it. Keys are compared decoded, and whatever value
    /// the parameter has, none included. All else stays as it is.
    pub fn without_parameter<'q>(&self, query: &'q [u8]) -> Option<Cow<'q, [u8]>> {
        let name = self.parameter.as_deref()?.as_bytes();
        let pairs = || query.split(|&byte| byte == b'&');
        if !pairs().any(|pair| has_key(pair, name)) {
            return None;
        }
        let kept = || pairs().filter(|pair| !has_key(pair, name));
        // Mostly the parameter is all that there is.
        if kept().next().is_none() {
            return Some(Cow::Borrowed(&[]));
        }
        Some(Cow::Owned(kept().collect::<Vec<_>>().join(&b'&')))
    }

    /// Whether any network is untracked: if not, the address need not be asked for.
    pub fn has_networks(&self) -> bool {
        !self.networks.is_empty()
    }

    /// Whether a client is in an untracked network. IPv4 addresses are in their own form, not mapped into IPv6.
    pub fn has_client(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }
}

fn has_key(pair: &[u8], name: &[u8]) -> bool {
    let key = pair.split(|&byte| byte == b'=').next().unwrap_or_default();
    // A name has no character for which a `+` could stand.
    key == name || (key.len() > name.len() && key.contains(&b'%') && percent_decode(key).eq(name.iter().copied()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn untracked(parameter: &str, networks: &[&str]) -> UntrackedRequests {
        UntrackedRequests::new(&config::Redirect {
            no_track_parameter: Some(parameter.into()),
            untracked_networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
            ..config::Redirect::default()
        })
    }

    fn without(query: &str) -> Option<String> {
        let untracked = untracked("notrack", &[]);
        untracked.without_parameter(query.as_bytes()).map(|query| String::from_utf8(query.into_owned()).unwrap())
    }

    #[test]
    fn the_parameter_goes_and_all_else_stays() {
        for (query, rest) in [
            ("notrack&x=1", "x=1"),
            ("x=1&notrack", "x=1"),
            ("x=1&notrack=0&y=%2f+&x=2", "x=1&y=%2f+&x=2"),
            ("notrack", ""),
            ("notrack=1&notrack=2", ""),
            ("a&&notrack&&b=", "a&&&b="),
            ("%6eotrack=a&%6E%6F%74%72%61%63%6B&b", "b"),
        ] {
            assert_eq!(without(query).as_deref(), Some(rest), "{query}");
        }
        for query in ["", "x=notrack", "notrack2=1", "Notrack", "no+track", "notrac%6", "&", "a=1&notrac"] {
            assert_eq!(without(query), None, "{query}");
        }
        assert_eq!(UntrackedRequests::default().without_parameter(b"notrack"), None);
    }

    #[test]
    fn clients_of_either_family_are_found_in_their_networks() {
        let untracked = untracked("x", &["192.0.2.0/24", "2001:db8::/32"]);
        let has = |address: &str| untracked.has_client(address.parse().unwrap());
        assert!(has("192.0.2.0") && has("192.0.2.255") && has("2001:db8::1"));
        assert!(!has("192.0.3.0") && !has("2001:db9::1") && !has("::192.0.2.1"));
        assert!(untracked.has_networks() && !UntrackedRequests::default().has_networks());
    }

    proptest! {
        #[test]
        fn no_pair_is_lost_or_changed(pairs in proptest::collection::vec("(notrack|%6eotrack|a|b%20)(=[a-z&]{0,3})?", 0..8)) {
            let query = pairs.join("&");
            let is_other = |pair: &&str| !pair.starts_with("notrack") && !pair.starts_with("%6eotrack");
            let others: Vec<_> = query.split('&').filter(is_other).collect();
            if let Some(rest) = without(&query) {
                prop_assert_eq!(rest, others.join("&"));
            } else {
                prop_assert_eq!(others.join("&"), query);
            }
        }
    }
}
