//! Abuse detection: does a click look like what it claims to be?
//!
//! Next to the flow; imports no stage. The workers ask for the event's `quality`, the redirect for the block policy.
//! [`detect`] is a pure function of [`Evidence`]; what must be remembered from click to click ([`velocity`],
//! [`enumeration`]) is counted by the stages and arrives as evidence.
//!
//! | reason | verdict | what it means |
//! |---|---|---|
//! | `sql-injection` | malicious; weak evidence suspicious | SQL in path, query, referrer or agent |
//! | `cross-site-scripting` | malicious; weak evidence suspicious | markup or script that would run in a page |
//! | `path-traversal` | malicious; weak evidence suspicious | steps up the folders, or a well-known system file |
//! | `template-injection` | malicious | code for a template engine or an expression language |
//! | `log-lookup` | malicious; weak evidence suspicious | `${jndi:` in any of its spellings |
//! | `header-injection` | malicious; weak evidence suspicious | an encoded line end, with a header after it |
//! | `command-injection` | malicious | a shell command |
//! | `scanner` | suspicious | the agent names a vulnerability scanner |
//! | `impossible-headers` | suspicious | headers that no browser sends with this agent ([`fingerprint`]) |
//! | `click-flood` | suspicious | one visitor clicks one link too often (`quality.flood_clicks`) |
//! | `link-enumeration` | suspicious | the address has lately requested many unknown slashtags (`quality.enumeration_links`) |
//! | `blocked-destination` | malicious | the destination is on a block list ([`blocklist`]) |
//! | `data-center-network` | suspicious | the address belongs to a hosting provider |
//! | `anonymizer-network` | suspicious | the address is an exit of Tor, a VPN or a public proxy |
//! | `spam-referrer` | suspicious | the referrer is one that spammers send to appear in reports |
//!
//! The verdict is the worst of the reasons, and clean without reasons. By default a reason only marks: the click is
//! answered, and the consumer of the feed may leave it out. So a missed attack costs a line in a report, and a false
//! positive costs a real click; the `rules` prefer the former. `quality.block` makes the redirect block instead, for a
//! reason with high [`Confidence`] only: weak evidence marks and never blocks.

pub mod block;
pub mod blocklist;
pub mod enumeration;
mod evidence;
pub mod fingerprint;
pub mod penalty;
mod signatures;
pub mod velocity;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use fingerprint::Browser;
pub use fingerprint::Headers;

use self::{blocklist::Destinations, penalty::Penalties, signatures::Field};
use crate::{
    config,
    event::{Quality, Reason, Reasons, Verdict},
    files::Reloadable,
    runtime::{Class, Classified},
};

/// What a click shows of its sender, unchanged. Absent headers are empty.
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
    /// The address has lately requested many unknown slashtags.
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

/// What an agent string shows: the same for every click with it, so it is cached per string.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Claims {
    /// The browser whose unmodified string it is.
    browser: Option<Browser>,
    attacks: Findings,
}

impl Claims {
    /// Reads `User-Agent`.
    pub fn read(agent: &[u8]) -> Self {
        let browser = Browser::read(agent);
        // Of a browser's unmodified string only the first parentheses can hold an attack.
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

/// The verdict, with its reasons in a fixed order: clean without reasons, else that of the worst reason.
pub fn classify(evidence: &Evidence<'_>) -> Quality {
    detect(evidence).quality()
}

/// All reasons against a click. Allocates nothing but a buffer that each thread keeps.
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

    /// The `quality` of the event, as far as it does not depend on whether a bot clicked.
    pub fn quality(&self) -> Quality {
        let reasons = self.low.union(self.high);
        if reasons.is_empty() {
            return Quality { verdict: Verdict::Clean, reasons: Vec::new(), invalid: None };
        }
        let verdicts = self.high.iter().map(Reason::verdict_at_high_confidence);
        let verdict = verdicts.fold(Verdict::Suspicious, Verdict::max);
        let invalid = self.high.iter().filter_map(Reason::invalid_at_high_confidence).max();
        Quality { verdict, reasons: reasons.iter().map(Reason::slug).collect(), invalid }
    }
}

/// The built-in signatures do not compile.
#[derive(Debug, thiserror::Error)]
#[error("internal error: cannot compile the signatures of attacks: {0}; please report this bug")]
pub struct QualityError(#[from] aho_corasick::BuildError);

impl Classified for QualityError {
    fn class(&self) -> Class {
        Class::Internal
    }
}

/// The state of the detectors, which the redirect and the workers share.
pub struct State {
    config: Reloadable<config::Quality>,
    pub destinations: Destinations,
    /// Visitors that the workers want blocked; only when `click-flood` blocks.
    penalties: ArcSwapOption<Penalties>,
}

impl State {
    /// Detectors without a history and without block lists. Compiles the signatures.
    ///
    /// # Errors
    /// See [`QualityError`].
    pub fn new(config: &config::Quality) -> Result<Self, QualityError> {
        signatures::warm_up()?;
        let state = Self {
            config: Reloadable::default(),
            destinations: Destinations::default(),
            penalties: ArcSwapOption::empty(),
        };
        state.configure(config);
        Ok(state)
    }

    /// Takes other thresholds from now on. What was counted stays.
    pub fn configure(&self, config: &config::Quality) {
        self.config.publish(config.clone());
        let wanted = config.blocked().contains(Reason::ClickFlood);
        match self.penalties() {
            Some(penalties) if wanted => penalties.set_secs(config.flood_secs),
            _ => self.penalties.store(wanted.then(|| Arc::new(Penalties::new(config.flood_secs)))),
        }
    }

    /// The current thresholds.
    pub fn config(&self) -> Arc<config::Quality> {
        self.config.load()
    }

    fn penalties(&self) -> Option<Arc<Penalties>> {
        self.penalties.load_full()
    }
}

#[cfg(test)]
mod tests;
