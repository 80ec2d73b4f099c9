//! Whether a click looks like what it claims to be.
//!
//! This module stands beside the flow and imports no stage: the workers ask it for the event's `quality`, the redirect
//! whether to refuse. [`detect`] is a pure function of [`Evidence`]; what must be remembered from click to click
//! (floods, guesses) is counted by the stages and comes in as evidence.
//!
//! | reason | verdict | what it means |
//! |---|---|---|
//! | `sql-injection` | malicious; weak evidence suspicious | SQL in path, query, referrer or agent |
//! | `cross-site-scripting` | malicious; weak evidence suspicious | markup or script that would run in a page |
//! | `path-traversal` | malicious; weak evidence suspicious | steps up the folders, or a well-known system file |
//! | `template-injection` | malicious | code for a template engine or an expression language |
//! | `log-lookup` | malicious; weak evidence suspicious | `${jndi:` and its disguises |
//! | `header-injection` | malicious; weak evidence suspicious | an encoded line end, with a header behind it |
//! | `command-injection` | malicious | a shell command |
//! | `scanner` | suspicious | the agent names a tool that looks for weaknesses |
//! | `impossible-headers` | suspicious | headers that no browser sends with this agent ([`fingerprint`]) |
//! | `click-flood` | suspicious | one visitor clicks one link too often (`quality.flood_clicks`) |
//! | `link-enumeration` | suspicious | the address has lately asked for many links that are none (`quality.enumeration_links`) |
//! | `blocked-destination` | malicious | the link leads to a place on a block list ([`blocklist`]) |
//! | `data-center-network` | suspicious | the address belongs to a hosting provider |
//! | `anonymizer-network` | suspicious | the address is an exit of Tor, a VPN or a public proxy |
//! | `spam-referrer` | suspicious | the referrer is one that spammers send to be found in reports |
//!
//! The verdict is the worst that a reason says, and clean without reasons. The default action of every reason is to
//! mark: the click was answered, and whoever reads the feed may leave it out. So a missed attack costs a line in a
//! report, and a false alarm costs a real click; the `rules` lean towards silence. `quality.block` makes the redirect
//! refuse instead, for a reason at its full weight only: weak evidence is marked and never refused.

pub mod block;
pub mod blocklist;
pub mod enumeration;
mod evidence;
pub mod fingerprint;
pub mod penalty;
mod signatures;
pub mod velocity;

use fingerprint::Browser;
pub use fingerprint::Headers;

use self::{blocklist::Destinations, penalty::Penalties, signatures::Field};
use crate::{
    config,
    event::{Quality, Reason, Reasons, Verdict},
};

/// What a click shows of its sender, as it came. Absent headers are empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evidence<'a> {
    /// The slashtag as requested, still percent-encoded.
    pub path: &'a [u8],
    /// The query of the short link without `?`, still percent-encoded.
    pub query: &'a [u8],
    /// The whole `Referer`.
    pub referer: &'a [u8],
    /// What `User-Agent` shows.
    pub agent: Claims,
    /// What else the headers show.
    pub headers: Headers<'a>,
    /// The address has lately asked for many links that are none.
    pub enumeration: bool,
    /// The visitor clicks this link too often.
    pub flood: bool,
    /// The destination is on a block list.
    pub blocked_destination: bool,
    /// The address belongs to a hosting provider.
    pub hosting_network: bool,
    /// The address is an exit of an anonymising network.
    pub anonymizer_network: bool,
    /// The referrer is a spammer's.
    pub spam_referrer: bool,
}

/// What an agent string shows for itself: the same for every click with it, so it is worth remembering.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Claims {
    /// The browser whose very own string it is.
    browser: Option<Browser>,
    attacks: Findings,
}

impl Claims {
    /// Reads `User-Agent`.
    pub fn read(agent: &[u8]) -> Self {
        let browser = Browser::read(agent);
        // Of a browser's own agent only the first brackets can hold anything.
        let text = browser.map_or(agent, |(_, brackets)| brackets);
        let mut attacks = Findings::default();
        signatures::scan(text, Field::Agent, &mut attacks);
        Self { browser: browser.map(|(browser, _)| browser), attacks }
    }
}

/// How sure a finding is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Confidence {
    /// Weak evidence: the click is suspicious, and is never blocked for it.
    Low,
    /// The click gets the reason's own verdict ([`Reason::verdict_at_high_confidence`]).
    High,
}

/// The reasons that were detected, by confidence.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Findings {
    low: Reasons,
    high: Reasons,
}

/// The verdict, with the reasons for it in a fixed order: clean without reasons, else the worst that a rule says.
pub fn classify(evidence: &Evidence<'_>) -> Quality {
    detect(evidence).quality()
}

/// Everything that speaks against a click. Allocates nothing, but for a buffer that each thread keeps.
pub fn detect(evidence: &Evidence<'_>) -> Findings {
    let mut findings = evidence.agent.attacks;
    signatures::scan(evidence.path, Field::Address, &mut findings);
    signatures::scan(evidence.query, Field::Address, &mut findings);
    signatures::scan(evidence.referer, Field::Address, &mut findings);
    let browser = evidence.agent.browser;
    let are_impossible = browser.is_some_and(|browser| fingerprint::are_impossible(browser, &evidence.headers));
    let facts = [
        (are_impossible, Reason::ImpossibleHeaders),
        (evidence.flood, Reason::ClickFlood),
        (evidence.enumeration, Reason::LinkEnumeration),
        (evidence.blocked_destination, Reason::BlockedDestination),
        (evidence.hosting_network, Reason::DataCenterNetwork),
        (evidence.anonymizer_network, Reason::AnonymizerNetwork),
        (evidence.spam_referrer, Reason::SpamReferrer),
    ];
    for (holds, reason) in facts {
        if holds {
            findings.add(reason, Confidence::High);
        }
    }
    findings
}

impl Findings {
    fn add(&mut self, reason: Reason, confidence: Confidence) {
        match confidence {
            Confidence::Low => self.low.insert(reason),
            Confidence::High => self.high.insert(reason),
        }
    }

    /// The first of `reasons` that was detected with high confidence.
    pub fn first_with_high_confidence(&self, reasons: Reasons) -> Option<Reason> {
        self.high.intersection(reasons).iter().next()
    }

    /// The `quality` of the event.
    pub fn quality(&self) -> Quality {
        let reasons = self.low.union(self.high);
        if reasons.is_empty() {
            return Quality { verdict: Verdict::Clean, reasons: Vec::new() };
        }
        let verdicts = self.high.iter().map(Reason::verdict_at_high_confidence);
        let verdict = verdicts.fold(Verdict::Suspicious, Verdict::max);
        Quality { verdict, reasons: reasons.iter().map(Reason::slug).collect() }
    }
}

/// What the redirect and the workers share to judge clicks.
pub struct State {
    pub config: config::Quality,
    pub destinations: Destinations,
    /// Visitors that the workers want refused; only when `click-flood` is refused.
    pub penalties: Option<Penalties>,
}

impl State {
    /// Detectors without a history and without block lists.
    pub fn new(config: &config::Quality) -> Self {
        let block = config.blocked();
        if !block.is_empty() {
            signatures::warm_up();
        }
        Self {
            config: config.clone(),
            destinations: Destinations::default(),
            penalties: block.contains(Reason::ClickFlood).then(|| Penalties::new(config.flood_secs)),
        }
    }
}

#[cfg(test)]
mod tests;
