//! The client address: personal data, as a type.
//!
//! It can be compared with a network, turned into a location and into a keyed hash, and nothing else: it implements
//! neither `Debug`, `Display` nor `Serialize`, so that no log line, error or event can hold it by accident.
//! The compiler enforces that: the end of this file does not build otherwise.

use std::net::{IpAddr, Ipv6Addr};

use zeroize::Zeroize;

/// The address of the client, wiped from memory when dropped.
pub struct ClientAddr([u8; 16]);

impl ClientAddr {
    /// IPv4 addresses are held in their IPv6-mapped form.
    pub fn from_ip(ip: IpAddr) -> Self {
        Self(match ip {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        })
    }

    pub(crate) fn from_octets(octets: [u8; 16]) -> Self {
        Self(octets)
    }

    pub(crate) fn octets(&self) -> &[u8; 16] {
        &self.0
    }

    /// For the GeoIP look-up only: the result must not outlive it.
    pub(crate) fn ip(&self) -> IpAddr {
        Ipv6Addr::from(self.0).to_canonical()
    }

    /// For the keyed hash only: the bytes that distinguish visitors. Of an IPv6 address the
    /// first 64 bits, as the rest changes within one household by the hour.
    pub(crate) fn hash_input(&self) -> &[u8] {
        let mapped = self.0[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
        if mapped { &self.0 } else { &self.0[..8] }
    }

    /// Which of `shards` this address belongs to. All addresses of one [`hash_input`](Self::hash_input) share one.
    pub(crate) fn shard(&self, shards: usize) -> usize {
        if shards == 1 {
            return 0;
        }
        // FNV-1a, and a last mixing step, as its upper bits hardly know the last byte.
        let hash = self.hash_input().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((u128::from(mixed) * shards as u128) >> 64) as usize
    }
}

impl Drop for ClientAddr {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Does not compile when a type that holds an address can be printed, serialised, hashed without a key or taken for
/// bytes: then it is not clear which `HOLDS` is meant.
macro_rules! assert_cannot_leak {
    ($type:ty) => {
        const _: () = {
            trait Cannot<Which> {
                const HOLDS: () = ();
            }
            impl<T: ?Sized> Cannot<()> for T {}
            impl<T: ?Sized + std::fmt::Debug> Cannot<[(); 1]> for T {}
            impl<T: ?Sized + std::fmt::Display> Cannot<[(); 2]> for T {}
            impl<T: ?Sized + std::fmt::LowerHex> Cannot<[(); 3]> for T {}
            impl<T: ?Sized + serde::Serialize> Cannot<[(); 4]> for T {}
            impl<T: ?Sized + std::hash::Hash> Cannot<[(); 5]> for T {}
            impl<T: ?Sized + AsRef<[u8]>> Cannot<[(); 6]> for T {}
            <$type as Cannot<_>>::HOLDS
        };
    };
}

pub(crate) use assert_cannot_leak;

assert_cannot_leak!(ClientAddr);
assert_cannot_leak!(super::Facts<'static>);
assert_cannot_leak!(super::RawClick<'static>);

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> ClientAddr {
        ClientAddr::from_ip(text.parse().unwrap_or_else(|_| IpAddr::from([0, 0, 0, 0])))
    }

    #[test]
    fn an_address_comes_back_in_the_family_it_came_in() {
        for text in ["192.0.2.7", "2001:db8::7"] {
            assert_eq!(address(text).ip().to_string(), text);
        }
        assert_eq!(address("::ffff:192.0.2.7").ip().to_string(), "192.0.2.7");
    }

    #[test]
    fn a_household_is_one_visitor_in_ipv6_and_a_host_in_ipv4() {
        assert_eq!(address("2001:db8::1").hash_input(), address("2001:db8::2").hash_input());
        assert_ne!(address("192.0.2.1").hash_input(), address("192.0.2.2").hash_input());
    }

    #[test]
    fn addresses_spread_over_shards() {
        let mut hits = [0; 4];
        for host in 0..=255 {
            hits[ClientAddr::from_ip([198, 51, 100, host].into()).shard(4)] += 1;
        }
        assert!(hits.iter().all(|&n| n > 32), "{hits:?}");
    }
}
