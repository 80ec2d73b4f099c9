//! Counts: clicks by link, domain, workspace, tag and creator, and for each workspace by country, referrer, device,
//! browser and operating system, hour by hour.
//!
//! They are a fold over the journal: the packer reads each event's [tally] once, in the journal's order, and what it
//! has counted is committed to the [store] together with how far it has read. So a crash neither loses a click nor counts
//! one twice, and workers that count never wait for each other: they append to what they journal anyway.
//!
//! This module stands beside the flow. Workers write tallies, the spool reads them in the journal and keeps the book; what
//! is here knows neither.

pub mod book;
mod live;
pub mod metrics;
mod referrers;
pub mod rollup;
pub mod store;
pub mod tally;

use hashbrown::HashMap;

pub use live::Live;
pub use referrers::{MAX_NAMES, OTHER, Referrers};

use crate::runtime::Hour;

/// What is counted of each thing in each hour.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    pub clicks: u64,
    /// Clicks whose `agent.type` is `human`.
    pub humans: u64,
    /// Clicks whose `agent.type` is `bot`.
    pub bots: u64,
    /// Sessions that began: clicks whose `session.first` is true.
    pub sessions: u64,
    /// Time of the first click, microseconds since the Unix epoch; 0 without clicks.
    pub first: u64,
    /// Time of the last click, microseconds since the Unix epoch; 0 without clicks.
    pub last: u64,
}

impl Counts {
    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &Self) {
        if other.clicks == 0 {
            return;
        }
        self.first = if self.clicks == 0 { other.first } else { self.first.min(other.first) };
        self.last = self.last.max(other.last);
        self.clicks += other.clicks;
        self.humans += other.humans;
        self.bots += other.bots;
        self.sessions += other.sessions;
    }
}

/// What a thing is. The numbers are stored: never change one.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Kind {
    /// Scope is the domain, name the slashtag.
    Link = 1,
    /// Scope is the workspace, as for all that follow; name is the domain.
    Domain = 2,
    /// Name is empty.
    Workspace = 3,
    /// Name is the tag's id.
    Tag = 4,
    /// Name is the creator's id.
    Creator = 5,
    /// Name is `client.location.country`, empty when it is unknown.
    Country = 6,
    /// Name is `referral.hostname`, empty for direct clicks.
    Referrer = 7,
    /// Name is `client.agent.device.name`, empty when it is unknown.
    Device = 8,
    /// Name is `client.agent.browser.name`, empty when it is unknown.
    Browser = 9,
    /// Name is `client.agent.os.name`, empty when it is unknown.
    Os = 10,
}

impl Kind {
    pub const ALL: [Self; 10] = [
        Self::Link,
        Self::Domain,
        Self::Workspace,
        Self::Tag,
        Self::Creator,
        Self::Country,
        Self::Referrer,
        Self::Device,
        Self::Browser,
        Self::Os,
    ];
}

/// A thing that is counted.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key {
    pub kind: Kind,
    pub scope: Box<str>,
    pub name: Box<str>,
}

/// Counts of some events.
pub type Delta = HashMap<(Hour, Key), Counts, ahash::RandomState>;
