//! Classifies one click by all evidence: the agent string, the rest of the request, the network, the behaviour.
//!
//! An agent string that claims to be a current browser, without the headers that every version of it sends, is that of
//! an HTTP library posing as a browser. False positives cost more than misses: web views, old browsers, privacy proxies
//! and the filters of companies remove headers, so that no single missing header counts, and the rules check
//! combinations that none of them leaves:
//!
//! | missing | where | sent by browsers because | missing in |
//! |---|---|---|---|
//! | `Accept` and `Accept-Language` | anywhere | Fetch standard: a navigation sets both; proxies that hide the language keep `Accept` | Go, raw sockets, `http.client` |
//! | `Accept-Encoding` and `Accept-Language` | TLS that ends here | no proxy between can remove them; filters that open TLS keep the language | curl, wget, Java, PHP streams |
//! | `Sec-Fetch-Mode` and `Accept-Language` | TLS that ends here, desktop systems | Fetch Metadata: Chromium from 76, Firefox from 90, over TLS always; on phones, applications that fetch a web view's pages themselves lose both | requests, aiohttp, axios, `OkHttp` |
//! | `Accept`, `Accept-Encoding` and `Accept-Language`, by a browser of any age | anywhere | every browser has sent all three since HTTP/1.1; what removes one of them keeps another | raw sockets, scripts of scanners |
//! | a language: it is `*`, and the mode is not `navigate` | anywhere | a browser has a language, and a followed link is a navigation | Node's `fetch` |
//!
//! None of this counts behind a trusted proxy ([`Flags::PROXIED`]): content delivery networks drop request headers by
//! configuration, and one switch there must not turn all visitors into bots.
//!
//! Previews need no rule per application: Facebook's prefetcher sends `X-Purpose: preview` whenever it sends
//! `X-FB-HTTP-Engine: Liger`, and the previewers of messengers name themselves in the agent string.

use std::{borrow::Cow, sync::LazyLock};

use memchr::memmem::Finder;

use crate::{
    click::{Facts, Flags},
    event::{Bot, BotClass, BotReason},
    visitor::network::Network,
};

/// Chromium from this version on sends Fetch Metadata over TLS (76, with a margin for its roll-out).
const CHROMIUM_WITH_METADATA: u32 = 80;
/// Firefox from this version on does.
const FIREFOX_WITH_METADATA: u32 = 90;
/// Engines from these versions on are current; what older ones send is not well known.
const MODERN_CHROMIUM: u32 = 60;
const MODERN_FIREFOX: u32 = 60;
const MODERN_SAFARI: u32 = 11;

/// Systems of common browsers. Televisions, consoles and cars have others.
const SYSTEMS: &[&[u8]] = &[b"Windows NT ", b"Macintosh; ", b"X11; ", b"Linux; Android ", b"iPhone; ", b"iPad; "];
/// Engines and browsers of any age. Televisions, consoles and phones without a system of their own have others.
const BROWSERS: [&[u8]; 6] = [b" Chrome/", b" Firefox/", b" Version/", b"MSIE ", b" Trident/", b" OPR/"];
/// Systems on which no application fetches pages for a web view.
const DESKTOPS: &[&[u8]] = &[b"Windows NT ", b"Macintosh; "];

/// What is known of a click's sender.
pub struct BotEvidence<'a> {
    /// The bot that a signature proves.
    pub signed: Option<Bot>,
    /// The bot that the agent string names.
    pub agent: Option<&'a Bot>,
    pub facts: &'a Facts<'a>,
    /// The network of the client address.
    pub network: Option<Network>,
    /// Whether the visitor clicks as no human does.
    pub behaviour: bool,
}

/// The bot, by the surest evidence. `None` for a human.
pub fn classify(evidence: &BotEvidence<'_>) -> Option<Bot> {
    if evidence.signed.is_some() {
        return evidence.signed.clone();
    }
    let flags = evidence.facts.flags;
    let bot = |reason| Some(Bot { reason, class: None, name: None, verified: false });
    // The agent string says so.
    if let Some(named) = evidence.agent {
        return Some(named.clone());
    }
    if flags.has(Flags::HEAD) {
        return bot(BotReason::Head);
    }
    if flags.has(Flags::PREFETCH) {
        return bot(BotReason::Prefetch);
    }
    if flags.has(Flags::PREVIEW) {
        return bot(BotReason::Preview);
    }
    // The agent string is a browser's, the rest of the request is not.
    if is_headless(evidence.facts.texts.hint_brands) {
        let name = Some(Cow::Borrowed("headless-chrome"));
        return Some(Bot { reason: BotReason::Agent, class: Some(BotClass::Library), name, verified: false });
    }
    if is_library(evidence.facts) {
        return Some(Bot { reason: BotReason::Library, class: Some(BotClass::Library), name: None, verified: false });
    }
    // Network and behaviour. An anonymizer has humans behind it.
    if evidence.network == Some(Network::Hosting) {
        return bot(BotReason::Network);
    }
    if evidence.behaviour {
        return bot(BotReason::Behaviour);
    }
    None
}

/// `"HeadlessChrome";v="131"`: automation that replaces its agent string often keeps its hints.
fn is_headless(brands: &[u8]) -> bool {
    static NAME: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"HeadlessChrome"));
    !brands.is_empty() && NAME.find(brands).is_some()
}

/// Whether this is an HTTP library that claims to be a browser. For almost every click the flags decide.
fn is_library(facts: &Facts<'_>) -> bool {
    let flags = facts.flags;
    let language = facts.texts.accept_language;
    if flags.has(Flags::PROXIED) || !(language.is_empty() || language == b"*") {
        return false;
    }
    if language.is_empty() && !flags.has(Flags::ACCEPT) && !flags.has(Flags::ACCEPT_ENCODING) {
        return claims_a_browser(facts.texts.user_agent);
    }
    let Some(claim) = ClaimedBrowser::read(facts.texts.user_agent) else {
        return false;
    };
    if language == b"*" {
        return flags.has(Flags::FETCH_METADATA) && !flags.has(Flags::NAVIGATE);
    }
    let tls = flags.has(Flags::TLS);
    !flags.has(Flags::ACCEPT)
        || tls && !flags.has(Flags::ACCEPT_ENCODING)
        || tls && claim.sends_metadata && !flags.has(Flags::FETCH_METADATA)
}

/// Whether an agent string claims to be a browser of any age on a common system.
fn claims_a_browser(agent: &[u8]) -> bool {
    let Some(system) = agent.strip_prefix(b"Mozilla/").and_then(|rest| rest.get(3..)) else { return false };
    let names_one = |names: &[&[u8]]| names.iter().any(|name| memchr::memmem::find(system, name).is_some());
    names_one(SYSTEMS) && names_one(&BROWSERS)
}

/// A current browser, as an agent string claims.
struct ClaimedBrowser {
    /// On a desktop, of a version that sends Fetch Metadata.
    sends_metadata: bool,
}

impl ClaimedBrowser {
    fn read(agent: &[u8]) -> Option<Self> {
        let system = agent.strip_prefix(b"Mozilla/5.0 (")?;
        let is_on = |systems: &[&[u8]]| systems.iter().any(|name| system.starts_with(name));
        if !is_on(SYSTEMS) {
            return None;
        }
        let engines: [(&[u8], u32, u32); 3] = [
            (b" Chrome/", MODERN_CHROMIUM, CHROMIUM_WITH_METADATA),
            (b" Firefox/", MODERN_FIREFOX, FIREFOX_WITH_METADATA),
            (b" Version/", MODERN_SAFARI, u32::MAX),
        ];
        let (version, modern, metadata) = engines
            .into_iter()
            .find_map(|(mark, modern, metadata)| Some((version_after(system, mark)?, modern, metadata)))?;
        (version >= modern).then(|| Self { sends_metadata: version >= metadata && is_on(DESKTOPS) })
    }
}

/// The number right after a mark.
fn version_after(agent: &[u8], mark: &[u8]) -> Option<u32> {
    let rest = &agent[memchr::memmem::find(agent, mark)? + mark.len()..];
    let digits = rest.iter().take(4).take_while(|byte| byte.is_ascii_digit());
    digits.fold(None, |number, digit| Some(number.unwrap_or(0) * 10 + u32::from(digit - b'0')))
}

#[cfg(test)]
mod tests;
