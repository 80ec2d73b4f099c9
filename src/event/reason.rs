//! The reasons of a verdict, sets of them, and the class of invalid traffic that a reason stands for.
//!
//! The classes are those of the Media Rating Council's "Invalid Traffic Detection and Filtration Standards Addendum"
//! (June 2020). *General* invalid traffic is what routine means filter: lists of bots, data centres, prefetching,
//! agents that are no browsers, activity beyond thresholds. *Sophisticated* invalid traffic hides: bots that pose as
//! visitors, falsified or manipulated requests.
//!
//! Threshold: a reason makes a click invalid only when it was detected with high confidence, and only if it says
//! something of this click's sender. A VPN or a bad destination alone does not: people use both.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BotReason, Verdict};

/// Why a click is not clean, in the order in which an event lists the reasons.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    SqlInjection,
    CrossSiteScripting,
    PathTraversal,
    TemplateInjection,
    LogLookup,
    HeaderInjection,
    CommandInjection,
    Scanner,
    ImpossibleHeaders,
    ClickFlood,
    LinkEnumeration,
    BlockedDestination,
    DataCenterNetwork,
    AnonymizerNetwork,
    SpamReferrer,
}

impl Reason {
    pub const ALL: [Self; 15] = [
        Self::SqlInjection,
        Self::CrossSiteScripting,
        Self::PathTraversal,
        Self::TemplateInjection,
        Self::LogLookup,
        Self::HeaderInjection,
        Self::CommandInjection,
        Self::Scanner,
        Self::ImpossibleHeaders,
        Self::ClickFlood,
        Self::LinkEnumeration,
        Self::BlockedDestination,
        Self::DataCenterNetwork,
        Self::AnonymizerNetwork,
        Self::SpamReferrer,
    ];

    /// The name in events, metrics and the configuration.
    pub fn slug(self) -> &'static str {
        match self {
            Self::SqlInjection => "sql-injection",
            Self::CrossSiteScripting => "cross-site-scripting",
            Self::PathTraversal => "path-traversal",
            Self::TemplateInjection => "template-injection",
            Self::LogLookup => "log-lookup",
            Self::HeaderInjection => "header-injection",
            Self::CommandInjection => "command-injection",
            Self::Scanner => "scanner",
            Self::ImpossibleHeaders => "impossible-headers",
            Self::ClickFlood => "click-flood",
            Self::LinkEnumeration => "link-enumeration",
            Self::BlockedDestination => "blocked-destination",
            Self::DataCenterNetwork => "data-center-network",
            Self::AnonymizerNetwork => "anonymizer-network",
            Self::SpamReferrer => "spam-referrer",
        }
    }

    /// What it means, in the words of the manual's table.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::SqlInjection => "SQL in path, query, referrer or agent",
            Self::CrossSiteScripting => "markup or script that would run in a page",
            Self::PathTraversal => "steps up the folders, or a well-known system file",
            Self::TemplateInjection => "code for a template engine or an expression language",
            Self::LogLookup => "`${jndi:` and its obfuscated forms",
            Self::HeaderInjection => "an encoded line end, followed by a header",
            Self::CommandInjection => "a shell command",
            Self::Scanner => "the agent names a vulnerability scanner",
            Self::ImpossibleHeaders => "headers that no browser sends with this agent",
            Self::ClickFlood => "one visitor clicks one link too often (`quality.flood_clicks`)",
            Self::LinkEnumeration => "the address requested many unknown links (`quality.enumeration_links`)",
            Self::BlockedDestination => "the destination is on a block list",
            Self::DataCenterNetwork => "the address belongs to a hosting provider",
            Self::AnonymizerNetwork => "the address is an exit of Tor, a VPN or a public proxy",
            Self::SpamReferrer => "the referrer is a known source of referrer spam",
        }
    }

    /// The verdict when this reason is detected with high confidence. Weak evidence of an attack is suspicious only,
    /// and never blocks.
    pub fn verdict_at_high_confidence(self) -> Verdict {
        match self {
            Self::SqlInjection
            | Self::CrossSiteScripting
            | Self::PathTraversal
            | Self::TemplateInjection
            | Self::LogLookup
            | Self::HeaderInjection
            | Self::CommandInjection
            | Self::BlockedDestination => Verdict::Malicious,
            Self::Scanner
            | Self::ImpossibleHeaders
            | Self::ClickFlood
            | Self::LinkEnumeration
            | Self::DataCenterNetwork
            | Self::AnonymizerNetwork
            | Self::SpamReferrer => Verdict::Suspicious,
        }
    }

    /// The class of invalid traffic when this reason is detected with high confidence; `None` when the click is still
    /// a valid one.
    pub fn invalid_at_high_confidence(self) -> Option<Invalid> {
        self.classification().0
    }

    /// What the class rests on, in the words of the manual's table.
    pub fn invalid_source(self) -> &'static str {
        self.classification().1
    }

    fn classification(self) -> (Option<Invalid>, &'static str) {
        match self {
            Self::SqlInjection
            | Self::CrossSiteScripting
            | Self::PathTraversal
            | Self::TemplateInjection
            | Self::LogLookup
            | Self::HeaderInjection
            | Self::CommandInjection => (
                Some(Invalid::Sophisticated),
                "own rule: the standard has no example of attacks; closest is \
                 \"bots [...] masquerading as legitimate users\"",
            ),
            Self::ImpossibleHeaders => (Some(Invalid::Sophisticated), MASQUERADE),
            Self::SpamReferrer => (
                Some(Invalid::Sophisticated),
                "own rule: a falsified header; closest is \"falsely represented sites\" (2015)",
            ),
            Self::Scanner => (Some(Invalid::General), NO_BROWSER),
            Self::ClickFlood | Self::LinkEnumeration => (Some(Invalid::General), ACTIVITY),
            Self::DataCenterNetwork => (Some(Invalid::General), DATA_CENTER),
            Self::AnonymizerNetwork => (
                None,
                "\"invalid proxy traffic\" is that of proxies which exist to manipulate counts; people use these, too",
            ),
            Self::BlockedDestination => (None, "own rule: it says nothing of the visitor"),
        }
    }
}

impl BotReason {
    /// The class of invalid traffic of a bot's click. `is_declared`: the agent string names the bot, or a
    /// signature proves it. An agent or a library without it poses as a browser.
    pub fn invalid(self, is_declared: bool) -> Invalid {
        self.classification(is_declared).0
    }

    /// What the class rests on, in the words of the manual's table.
    pub fn invalid_source(self, is_declared: bool) -> &'static str {
        self.classification(is_declared).1
    }

    fn classification(self, is_declared: bool) -> (Invalid, &'static str) {
        match self {
            // Hints of a headless browser, missing headers.
            Self::Agent | Self::Library if !is_declared => (Invalid::Sophisticated, MASQUERADE),
            Self::Agent => (Invalid::General, "\"bots and spiders or other crawlers\""),
            Self::Library | Self::EmptyAgent => (Invalid::General, NO_BROWSER),
            Self::Head => (Invalid::General, "\"non-rendering capabilities\": no page is shown of a `HEAD` request"),
            Self::Prefetch | Self::Preview => (Invalid::General, "\"pre-fetch or browser pre-rendered traffic\""),
            Self::Network => (Invalid::General, DATA_CENTER),
            Self::Behaviour => (Invalid::General, ACTIVITY),
        }
    }
}

// Examples of the standard that several reasons share.
const MASQUERADE: &str = "\"bots and spiders or other crawlers masquerading as legitimate users\"";
const NO_BROWSER: &str = "\"non-browser user-agent headers or other forms of unknown browsers\"";
const ACTIVITY: &str = "\"activity-based filtration\"";
const DATA_CENTER: &str = "\"known [...] data-center traffic\"";

/// The class of invalid traffic.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Invalid {
    /// What routine means filter.
    General,
    /// What hides from them. Outweighs the other.
    Sophisticated,
}

impl Invalid {
    /// In the order of the schema.
    pub const ALL: [Self; 2] = [Self::General, Self::Sophisticated];

    /// The slug in the event.
    pub fn name(self) -> &'static str {
        match self {
            Self::General => "general",
            Self::Sophisticated => "sophisticated",
        }
    }
}

/// A set of reasons.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Reasons(u32);

impl Reasons {
    pub fn insert(&mut self, reason: Reason) {
        self.0 |= 1 << reason as u32;
    }

    pub fn contains(self, reason: Reason) -> bool {
        self.0 & 1 << reason as u32 != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// In the order of [`Reason::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Reason> {
        Reason::ALL.into_iter().filter(move |reason| self.contains(*reason))
    }
}

impl FromIterator<Reason> for Reasons {
    fn from_iter<I: IntoIterator<Item = Reason>>(reasons: I) -> Self {
        let mut set = Self::default();
        reasons.into_iter().for_each(|reason| set.insert(reason));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_one_name_everywhere_and_its_own_place() {
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.slug());
        }
        let named = serde_json::to_value(schemars::schema_for!(Reason)).unwrap()["enum"].as_array().unwrap().len();
        assert_eq!(Reason::ALL.len(), named, "a reason is missing in the list");
    }

    #[test]
    fn a_set_holds_what_was_put_into_it() {
        let set: Reasons = [Reason::SpamReferrer, Reason::SqlInjection].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [Reason::SqlInjection, Reason::SpamReferrer]);
        assert!(!set.contains(Reason::Scanner) && Reasons::default().is_empty());
    }
}
