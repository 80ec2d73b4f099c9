//! A set of networks as sorted ranges of addresses that do not touch.

use std::net::IpAddr;

use ipnet::IpNet;

/// The set. Firsts and lasts are stored apart, so that a search reads firsts only.
#[derive(Default)]
pub(super) struct Ranges {
    v4: Sorted<u32>,
    v6: Sorted<u128>,
}

#[derive(Default)]
struct Sorted<T> {
    firsts: Box<[T]>,
    lasts: Box<[T]>,
}

impl Ranges {
    /// The networks' addresses, all together.
    pub(super) fn new(networks: Vec<IpNet>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            // An IPv4 network may be written as IPv6 (`::ffff:192.0.2.0/120`); addresses are looked up as IPv4.
            match (network.network().to_canonical(), network.broadcast().to_canonical()) {
                (IpAddr::V4(first), IpAddr::V4(last)) => v4.push((u32::from(first), u32::from(last))),
                (IpAddr::V6(first), IpAddr::V6(last)) => v6.push((u128::from(first), u128::from(last))),
                // A network that holds all of IPv4 and more is one of IPv6.
                _ => {
                    if let IpNet::V6(network) = network {
                        v6.push((u128::from(network.network()), u128::from(network.broadcast())));
                    }
                }
            }
        }
        Self { v4: Sorted::new(v4), v6: Sorted::new(v6) }
    }

    /// Whether an address is in the set. An IPv4 address must not be in the form of IPv6.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.contains(address.into()),
            IpAddr::V6(address) => self.v6.contains(address.into()),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.v4.firsts.len() + self.v6.firsts.len()
    }
}

impl<T: Copy + Ord> Sorted<T> {
    fn new(mut ranges: Vec<(T, T)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(T, T)> = Vec::new();
        for (first, last) in ranges {
            match merged.last_mut() {
                Some((_, end)) if first <= *end => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        let (firsts, lasts): (Vec<_>, Vec<_>) = merged.into_iter().unzip();
        Self { firsts: firsts.into(), lasts: lasts.into() }
    }

    fn contains(&self, address: T) -> bool {
        let after = self.firsts.partition_point(|first| *first <= address);
        after.checked_sub(1).and_then(|at| self.lasts.get(at)).is_some_and(|last| address <= *last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn networks_that_overlap_become_one_range() {
        let networks = ["192.0.2.0/24", "192.0.2.128/25", "192.0.2.7/32", "198.51.100.9/32", "2001:db8::/32"];
        let ranges = Ranges::new(networks.map(|network| network.parse().unwrap()).into());
        assert_eq!(ranges.len(), 3);
        let contains = |address: &str| ranges.contains(address.parse().unwrap());
        for address in ["192.0.2.0", "192.0.2.255", "198.51.100.9", "2001:db8::", "2001:db8:ffff::1"] {
            assert!(contains(address), "{address}");
        }
        for address in ["192.0.1.255", "192.0.3.0", "198.51.100.8", "198.51.100.10", "2001:db9::", "::", "0.0.0.0"] {
            assert!(!contains(address), "{address}");
        }
        assert!(!Ranges::default().contains(IpAddr::from([0; 4])));
    }

    #[test]
    fn an_ipv4_network_in_the_form_of_ipv6_is_an_ipv4_network() {
        let ranges = Ranges::new(vec!["::ffff:192.0.2.0/120".parse().unwrap()]);
        assert!(ranges.contains([192, 0, 2, 255].into()) && !ranges.contains([192, 0, 3, 0].into()));
    }

    proptest! {
        #[test]
        fn a_set_contains_what_one_of_its_networks_contains(
            networks in prop::collection::vec((0..256_u32, 24..=32_u8), 0..20),
            address in 0..256_u32,
        ) {
            let at = |low: u32| IpAddr::from((0xc000_0200 | low).to_be_bytes());
            let networks: Vec<_> = networks.iter().map(|(low, len)| IpNet::new(at(*low), *len).unwrap()).collect();
            let expected = networks.iter().any(|network| network.contains(&at(address)));
            prop_assert_eq!(Ranges::new(networks).contains(at(address)), expected);
        }
    }
}
