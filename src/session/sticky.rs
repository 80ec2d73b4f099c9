//! The key that gives a visitor the same variant of a link at each click, without a cookie.
//!
//! Address and agent of the visitor are hashed with it, together with the link. Neither the hash nor anything else
//! about the visitor is stored or sent: all that leaves the redirect is the name of the variant. So the key needs no
//! rotation, and a visitor keeps the variant for as long as the secret stays: the one that edges share
//! (`enrich.session_key_file`), which gives the same variant at all of them, or else the one of this machine, which
//! lives as long as the folder of the rings.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::keys::Key;
use crate::{click::ClientAddr, config::Secret, visitor::agent::AgentDigest};

/// Separates this use of a secret from any other.
const CONTEXT: &str = "clickedge variant key";

/// Longest name of a link that is hashed without an allocation, in bytes.
const SHORT: usize = 512;

/// The current key.
pub struct StickyKey(ArcSwap<Key>);

impl StickyKey {
    pub fn new(secret: &Secret) -> Self {
        Self(ArcSwap::from_pointee(Key::of(secret, CONTEXT)))
    }

    /// Derives the key from another secret from now on.
    pub fn set_secret(&self, secret: &Secret) {
        self.0.store(Arc::new(Key::of(secret, CONTEXT)));
    }

    /// A number that recognises a visitor on a link, whose name is in several parts. All its bits are random to those
    /// who do not know the key.
    pub fn visitor(&self, link: [&[u8]; 3], client: &ClientAddr, agent: &AgentDigest) -> u64 {
        let mut name = smallvec::SmallVec::<[u8; SHORT]>::new();
        for part in link {
            name.extend_from_slice(&(part.len() as u32).to_le_bytes());
            name.extend_from_slice(part);
        }
        self.0.load().individual(&name, client, agent).hash[0]
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn secret(byte: u8) -> Secret {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        std::fs::write(&file, [byte; 32]).unwrap();
        Secret::read(&file).unwrap()
    }

    fn visitor(key: &StickyKey, link: [&str; 3], address: &str, agent: &str) -> u64 {
        let client = ClientAddr::from_ip(address.parse::<IpAddr>().unwrap());
        key.visitor(link.map(str::as_bytes), &client, &AgentDigest::of(agent.as_bytes()))
    }

    #[test]
    fn a_visitor_is_recognised_by_address_agent_and_link_at_every_edge_with_the_secret() {
        let (here, there) = (StickyKey::new(&secret(7)), StickyKey::new(&secret(7)));
        let link = ["w", "go.brand.com", "spring"];
        let known = visitor(&here, link, "192.0.2.1", "a");
        assert_eq!(visitor(&there, link, "192.0.2.1", "a"), known);
        assert_ne!(visitor(&here, link, "192.0.2.2", "a"), known);
        assert_ne!(visitor(&here, link, "192.0.2.1", "b"), known);
        assert_ne!(visitor(&here, ["w", "go.brand.com", "summer"], "192.0.2.1", "a"), known);
        assert_ne!(visitor(&here, ["w", "go.brand.co", "mspring"], "192.0.2.1", "a"), known);
        let household = visitor(&here, link, "2001:db8::1", "a");
        assert_eq!(visitor(&here, link, "2001:db8::2", "a"), household);
        there.set_secret(&secret(8));
        assert_ne!(visitor(&there, link, "192.0.2.1", "a"), known);
    }

    #[test]
    fn the_numbers_of_neighbours_are_spread_evenly() {
        let key = StickyKey::new(&secret(7));
        let first_quarter = |n: u32| {
            let address = IpAddr::from(n.to_be_bytes()).to_string();
            visitor(&key, ["w", "h", "s"], &address, "a") < 1 << 62
        };
        let share = (0..10_000).filter(|n| first_quarter(*n)).count();
        assert!((2_300..2_700).contains(&share), "{share}");
    }
}
