//! Browser, system and device of an agent string.
//!
//! The built-in marks (`agent/marks.rs`) come first, in one pass over the string: in-app browsers, browsers built on
//! Chromium, televisions, consoles. woothee covers the rest: the big browsers, and early phones. Browsers freeze parts
//! of the string (`Windows NT 10.0`, `Android 10; K`, `Mac OS X 10_15_7`): versions are approximate, and what the rest
//! of the request says is laid over them ([`hints`]).
//!
//! `bench/README.md` has the accuracy on lists of real strings.
//!
//! Invariants: no input panics; at most [`bot::MAX_AGENT_BYTES`] are read; names are slugs of the event schema without
//! a version, and versions are digits and dots, or a word for some releases of Windows (`xp`). A bot's claims about its
//! browser are not trusted, and left out.
//!
//! Cost of a hostile string: every step is linear in those bytes, and the worst string known costs 7.6 times as much as
//! the average of humans' strings (`bench/README.md`). Long strings are not cached: a sender of one with every click
//! causes that cost every time.

mod digest;
pub mod hints;
mod marks;
mod models;
mod version;

use std::borrow::Cow;
use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use ahash::RandomState;
use woothee::parser::{Parser, WootheeResult};

pub use self::digest::AgentDigest;
use self::marks::AgentMarks;
use super::bot::{self, CrawlerLists, ListMatch};
use crate::{
    event::{AgentText, Bot, Device, Named},
    quality::Claims,
};

/// Default entries of an [`AgentCache`]: a few MiB a worker when full.
pub const DEFAULT_CACHE_ENTRIES: usize = 16_384;

/// Agent strings above this many bytes are rare, often hostile, and not worth a place in the cache.
const MAX_CACHED_BYTES: usize = 512;

/// All releases of Windows for computers.
const WINDOWS: &str = "windows";

/// The facts of one agent string.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AgentFacts {
    pub bot: Option<Bot>,
    /// Absent for bots, as are system and device.
    pub browser: Option<Named>,
    pub os: Option<Named>,
    pub device: Option<Device>,
    /// The last three as JSON.
    pub text: AgentText,
    /// Evidence for [`quality`](crate::quality).
    pub claims: Claims,
    /// Distinguishes visitors.
    pub digest: AgentDigest,
}

/// Compiles the marks, so that no click waits for it.
///
/// # Errors
/// When they do not compile: a bug.
pub fn warm_up() -> Result<(), aho_corasick::BuildError> {
    marks::automaton().map(drop)
}

/// Parses one agent string, without lists of an operator.
pub fn parse(agent: &str) -> AgentFacts {
    parse_with(agent, &CrawlerLists::default())
}

/// Parses one agent string.
pub fn parse_with(agent: &str, lists: &CrawlerLists) -> AgentFacts {
    complete(agent.as_bytes(), parse_head(bot::head(agent), lists))
}

/// Adds the text, and the facts that need the whole string.
fn complete(agent: &[u8], facts: AgentFacts) -> AgentFacts {
    let text = AgentText::of(facts.browser.as_ref(), facts.os.as_ref(), facts.device);
    AgentFacts { text, claims: Claims::read(agent), digest: AgentDigest::of(agent), ..facts }
}

fn parse_head(agent: &str, lists: &CrawlerLists) -> AgentFacts {
    let listed = lists.listed(agent);
    if let ListMatch::Bot(bot) = listed {
        return AgentFacts { bot: Some(bot), ..AgentFacts::default() };
    }
    let parsed = Parser::new().parse(agent);
    if let ListMatch::Unknown = listed
        && let Some(bot) = bot::by_category(agent, parsed.as_ref())
    {
        return AgentFacts { bot: Some(bot), ..AgentFacts::default() };
    }
    let marked = marks::scan(agent);
    let os = marked.os.map(|(name, rest)| if is_ipad(agent, name) { ("ipados", "") } else { (name, rest) });
    let os = os.map(|(name, rest)| os_of(agent, name, rest));
    let os_name = os.as_ref().map(|os| os.name.as_ref());
    let device = device(agent, &marked, os_name, parsed.as_ref());
    let browser = browser(agent, &marked, os_name, parsed.as_ref());
    AgentFacts { browser, os, device, ..AgentFacts::default() }
}

/// What woothee calls a browser, and its slug.
const NAMED: &[(&str, &str)] = &[
    ("Chrome", "chrome"),
    ("Safari", "safari"),
    ("Firefox", "firefox"),
    ("Edge", "edge"),
    ("Opera", "opera"),
    ("Vivaldi", "vivaldi"),
    ("Sleipnir", "sleipnir"),
    ("Google Search App", "google-app"),
    ("Webview", "webview"),
    ("Yandex Browser", "yandex-browser"),
    ("SamsungBrowser", "samsung-internet"),
];

fn browser(
    agent: &str,
    marked: &AgentMarks<'_>,
    os: Option<&str>,
    parsed: Option<&WootheeResult<'_>>,
) -> Option<Named> {
    if let Some(found) = &marked.browser {
        let elsewhere = found.version_mark.and_then(|mark| version::after(agent, mark));
        return Some(Named {
            name: Cow::Borrowed(found.name),
            version: elsewhere.or_else(|| version::at(found.rest)),
        });
    }
    let Some(parsed) = parsed.filter(|parsed| parsed.name != "Internet Explorer") else {
        return internet_explorer(agent, parsed);
    };
    let named = NAMED.iter().find(|(known, _)| *known == parsed.name);
    let Some(&(_, name)) = named else { return internet_explorer(agent, None) };
    // The stock browser of Android 4 and before claims to be Safari.
    let name = if name == "safari" && os == Some("android") { "android-browser" } else { name };
    Some(Named { name: Cow::Borrowed(name), version: version::at(parsed.version) })
}

/// Internet Explorer, which says so in many ways: `(compatible; MSIE 6.0; …)`, `(Windows; MSIE 6.0; …)`, `MSIE 7.0b`.
fn internet_explorer(agent: &str, parsed: Option<&WootheeResult<'_>>) -> Option<Named> {
    let version = parsed
        .and_then(|parsed| version::at(parsed.version))
        .or_else(|| version::after(agent, "MSIE "))
        .or_else(|| version::after(agent, "MSIE/"));
    (parsed.is_some() || version.is_some()).then_some(Named { name: Cow::Borrowed("internet-explorer"), version })
}

/// The system that a mark names; `rest` is the string after the mark.
fn os_of(agent: &str, name: &'static str, rest: &str) -> Named {
    let (name, version) = match name {
        WINDOWS => windows(rest),
        "ios" | "ipados" => (name, ios_version(agent)),
        "macos" => (name, version::after(agent, "Mac OS X ")),
        // `CrOS x86_64 14541.0.0`
        "chrome-os" => (name, rest.split_once(' ').and_then(|(_, rest)| version::at(rest))),
        // Their marks are followed by versions of kernel or firmware, which are of no interest.
        "linux" | "xbox" | "playstation-5" | "firefox-os" => (name, None),
        // Their marks are followed by a model: `BlackBerry9700/5.0.0.862`.
        "blackberry" => {
            let elsewhere = rest.split_once('/').and_then(|(_, rest)| version::at(rest));
            (name, version::after(agent, "Version/").or(elsewhere))
        }
        _ => (name, version::at(rest)),
    };
    Named { name: Cow::Borrowed(name), version }
}

/// `CPU iPhone OS 17_5_1 like Mac OS X`, `CPU OS 17_5 like Mac OS X`. From 26 on Safari keeps 18 there, but its own
/// version is that of the system.
fn ios_version(agent: &str) -> Option<String> {
    let version = version::after(agent, " OS ").or_else(|| version::after(agent, "iOS "))?;
    let frozen = version.starts_with("18.6") || version.starts_with("18.7");
    let safari = frozen.then(|| version::after(agent, "Version/")).flatten();
    let is_newer = |safari: &String| safari.split('.').next().and_then(|major| major.parse().ok()) >= Some(26);
    Some(safari.filter(is_newer).unwrap_or(version))
}

/// An iPad that requests desktop pages claims to be a Mac, except for words that no browser on a Mac uses. Safari
/// itself leaves no such sign.
fn is_ipad(agent: &str, os: &str) -> bool {
    os == "macos" && ["Mobile/", "CriOS/", "FxiOS/", "EdgiOS/", "GSA/"].iter().any(|mark| agent.contains(mark))
}

/// Windows by its marketing version; "10.0" is also what Windows 11 says. Windows CE is a system of its own.
fn windows(rest: &str) -> (&'static str, Option<String>) {
    let release = rest.strip_prefix("NT ").unwrap_or(rest);
    if release.starts_with("CE") {
        return ("windows-ce", None);
    }
    let releases = [
        ("10.", "10"),
        ("6.4", "10"),
        ("6.3", "8.1"),
        ("6.2", "8"),
        ("6.1", "7"),
        ("6.0", "vista"),
        ("5.2", "xp"),
        ("5.1", "xp"),
        ("XP", "xp"),
        ("5.0", "2000"),
        ("98", "98"),
        ("95", "95"),
    ];
    let version = releases.iter().find(|(prefix, _)| release.starts_with(prefix));
    (WINDOWS, version.map(|(_, version)| (*version).to_owned()))
}

fn device(
    agent: &str,
    marked: &AgentMarks<'_>,
    os: Option<&str>,
    parsed: Option<&WootheeResult<'_>>,
) -> Option<Device> {
    let has_model = matches!(os, Some("android" | "harmonyos" | "linux"));
    if let Some(device) = marked.device.or_else(|| has_model.then(|| models::device(agent)).flatten()) {
        return Some(device);
    }
    match parsed.map_or("", |parsed| parsed.category) {
        "mobilephone" => return Some(Device::MobilePhone),
        "appliance" => return Some(Device::Appliance),
        _ => {}
    }
    let device = match os? {
        "android" | "harmonyos" => android_device(agent),
        "ipados" | "blackberry-tablet-os" => Device::Tablet,
        "ios" | "windows-phone" | "blackberry" | "bada" | "firefox-os" | "sailfish-os" | "meego" | "maemo" => {
            Device::Smartphone
        }
        "symbian" | "kaios" | "windows-ce" | "series-40" | "brew" | "mre" => Device::MobilePhone,
        "tizen" if agent.contains("Mobile") => Device::Smartphone,
        "tizen" | "webos" | "tvos" | "roku-os" | "vidaa" => Device::Tv,
        "watchos" => Device::Wearable,
        WINDOWS | "macos" | "linux" | "chrome-os" | "freebsd" | "openbsd" | "netbsd" | "solaris" | "haiku" => {
            Device::Pc
        }
        _ => Device::Other,
    };
    Some(device)
}

/// A browser on an Android phone says `Mobile`, on a tablet it does not. Applications with a string of their own say
/// neither, and run on phones.
fn android_device(agent: &str) -> Device {
    let browser_engine = agent.contains("AppleWebKit/") || agent.contains("Gecko/");
    if browser_engine && !agent.contains("Mobile") { Device::Tablet } else { Device::Smartphone }
}

/// A small cache in front of [`parse`], one per worker, so without locks.
///
/// Two generations: new strings go to the young half; when it is full it becomes the old half and the former old half
/// is dropped. A hit in the old half moves to the young one. So strings that were seen since the last swap stay, and a
/// sender of a new string with every click evicts in bulk, at no more cost than the parse itself. The hash is randomly
/// keyed, so that no sender can aim at one bucket.
pub struct AgentCache {
    half: usize,
    lists: Arc<CrawlerLists>,
    young: Generation,
    old: Generation,
}

/// Keyed by the raw header bytes: a hit needs neither UTF-8 validation nor an allocation.
type Generation = HashMap<Box<[u8]>, Arc<AgentFacts>, RandomState>;

impl AgentCache {
    /// A cache of at most `capacity` agent strings (at least two), none longer than 512 bytes.
    pub fn new(capacity: usize) -> Self {
        Self {
            half: (capacity / 2).max(1),
            lists: Arc::default(),
            young: Generation::default(),
            old: Generation::default(),
        }
    }

    /// Uses these lists from now on. Facts that were parsed with others are dropped.
    pub fn set_lists(&mut self, lists: &Arc<CrawlerLists>) {
        if !Arc::ptr_eq(&self.lists, lists) {
            self.lists = Arc::clone(lists);
            self.young.clear();
            self.old.clear();
        }
    }

    /// The facts of one `User-Agent` header; bytes that are not UTF-8 are replaced.
    pub fn facts(&mut self, agent: &[u8]) -> Arc<AgentFacts> {
        if agent.len() > MAX_CACHED_BYTES {
            return Arc::new(parse_bytes(agent, &self.lists));
        }
        if let Some(facts) = self.young.get(agent) {
            return Arc::clone(facts);
        }
        let known = self.old.remove_entry(agent);
        let (key, facts) = known.unwrap_or_else(|| (agent.into(), Arc::new(parse_bytes(agent, &self.lists))));
        self.remember(key, Arc::clone(&facts));
        facts
    }

    fn remember(&mut self, key: Box<[u8]>, facts: Arc<AgentFacts>) {
        if self.young.len() >= self.half {
            mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(key, facts);
    }
}

fn parse_bytes(agent: &[u8], lists: &CrawlerLists) -> AgentFacts {
    // Cut before decoding, so that a long header costs no long copy; a split character is replaced.
    let cut = agent.get(..bot::MAX_AGENT_BYTES).unwrap_or(agent);
    complete(agent, parse_head(&String::from_utf8_lossy(cut), lists))
}

/// The slugs of all systems and of all browsers that an agent string or hints can name.
#[cfg(test)]
pub fn systems() -> Vec<&'static str> {
    let marked = marks::systems::SYSTEMS.iter().map(|(_, name)| *name);
    marked.chain(hints::platforms()).chain(["ipados", "windows-ce", WINDOWS]).collect()
}

#[cfg(test)]
pub fn browsers() -> Vec<&'static str> {
    let marked = marks::browsers::BROWSERS.iter().map(|(_, name, _)| *name);
    let parsed = NAMED.iter().map(|(_, name)| *name);
    marked.chain(hints::brands()).chain(parsed).chain(["android-browser", "internet-explorer"]).collect()
}

#[cfg(test)]
mod tests;
