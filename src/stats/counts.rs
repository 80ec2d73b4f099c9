//! Counts, and the subjects that they belong to.

use indexmap::IndexMap;

use crate::runtime::Hour;

/// The counts of a subject in an hour.
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
    /// Adds other counts of the same subject.
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

/// What a subject is. The numbers are stored: never change one.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum SubjectKind {
    /// The scope is the domain, the name is the slashtag.
    Link = 1,
    /// The scope is the workspace, as for all that follow; the name is the domain.
    Domain = 2,
    /// The name is empty.
    Workspace = 3,
    /// The name is the tag's id.
    Tag = 4,
    /// The name is the creator's id.
    Creator = 5,
    /// The name is `client.location.country`, empty when it is unknown.
    Country = 6,
    /// The name is `referral.hostname`, empty for direct clicks.
    Referrer = 7,
    /// The name is `client.agent.device.name`, empty when it is unknown.
    Device = 8,
    /// The name is `client.agent.browser.name`, empty when it is unknown.
    Browser = 9,
    /// The name is `client.agent.os.name`, empty when it is unknown.
    Os = 10,
}

impl SubjectKind {
    /// All kinds, in the order of their numbers.
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

/// A subject of counts: a link, a domain, and so on.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key {
    pub kind: SubjectKind,
    pub scope: Box<str>,
    pub name: Box<str>,
}

/// Counts of some events.
pub type Delta = IndexMap<(Hour, Key), Counts, ahash::RandomState>;
