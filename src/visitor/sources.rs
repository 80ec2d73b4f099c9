//! The operator's lists and databases on visitors: places, spam referrers, networks, signed agents. Locations have a
//! store of their own, [`geo`](crate::visitor::geo).
//!
//! Each is read as a whole, and replaced as a whole when its files are read again.

use std::net::IpAddr;

use crate::{
    files::Reloadable,
    visitor::{
        network::{Network, Networks},
        referrer::{self, Places, Spammers},
        signature::SignedAgents,
    },
};

/// The current lists and databases; empty until some are published.
#[derive(Default)]
pub struct Sources {
    pub places: Reloadable<Places>,
    pub spammers: Reloadable<Spammers>,
    pub networks: Reloadable<Networks>,
    pub signed_agents: Reloadable<SignedAgents>,
}

impl Sources {
    /// The network of an address, for a thread that asks seldom.
    pub fn network(&self, address: IpAddr) -> Option<Network> {
        self.networks.peek().of(address)
    }

    /// Whether a `Referer` is a spammer's, for a thread that asks seldom.
    pub fn is_spam(&self, referer: &[u8]) -> bool {
        referrer::host(referer).is_some_and(|host| self.spammers.peek().is_spam(&host))
    }
}
