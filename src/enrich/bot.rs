//! Tells bots from people by the agent string alone, as the first of the signals that the enrich stage weighs.
//!
//! Three judges, the surest first: a table of well-known names (`bot/crawlers.rs`, `bot/tools.rs`), a few generic
//! rules for what crawlers call themselves, and woothee's own crawler category. A person inside an application
//! (Facebook, Instagram, a messenger's web view) is a person: the table names previewers, not the applications.
//!
//! Invariants: any input is answered without panic, in time linear in the first [`MAX_AGENT_BYTES`] of it; every name
//! is a slug of the event schema.

mod crawlers;
mod tools;

use std::borrow::Cow;
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use woothee::parser::{Parser, WootheeResult};

use crate::event::{Bot, BotClass, BotReason};

/// Bytes of an agent string that are looked at; the rest is the sender's own business, and must not cost us.
pub const MAX_AGENT_BYTES: usize = 1024;

/// Entries of one kind: a needle in lower case, and the slug to report.
///
/// A needle matches in any case, but not in the middle of a word: `bot/` never matches `cubot/`. A leading `^` ties
/// it to the start of the agent string, for names that applications and phones also carry further in.
struct Group {
    reason: BotReason,
    class: BotClass,
    entries: &'static [(&'static str, &'static str)],
}

/// Bot by agent string: agent, library, empty-agent. None for a browser.
pub fn from_agent(agent: &str) -> Option<Bot> {
    let agent = head(agent);
    listed(agent).or_else(|| guessed(agent, Parser::new().parse(agent).as_ref()))
}

/// What of an agent string is looked at: the first [`MAX_AGENT_BYTES`], whole characters, trimmed.
pub(super) fn head(agent: &str) -> &str {
    let agent = agent.trim_start();
    agent.get(..agent.floor_char_boundary(MAX_AGENT_BYTES)).unwrap_or_default().trim_end()
}

/// Bot by our own table and rules. `agent` must come from [`head`].
pub(super) fn listed(agent: &str) -> Option<Bot> {
    if agent.is_empty() || agent == "-" {
        return Some(Bot { reason: BotReason::EmptyAgent, class: None, name: None });
    }
    TABLE.first_match(agent).or_else(|| calls_itself_a_bot(agent).then(unnamed))
}

/// Bot by woothee's category, for agents that [`listed`] does not know.
pub(super) fn guessed(agent: &str, guess: Option<&WootheeResult<'_>>) -> Option<Bot> {
    let guess = guess?;
    match (guess.category, guess.name) {
        // Its pattern ends at a word boundary but starts anywhere, so that a phone's model name passes for a crawler.
        ("crawler", "misc crawler") if words(agent).any(is_device_word) => None,
        ("crawler", _) => Some(unnamed()),
        ("misc", "HTTP Library") => {
            Some(Bot { reason: BotReason::Library, class: Some(BotClass::Library), name: None })
        }
        ("misc", name) if name.ends_with("RSSReader") => {
            Some(Bot { reason: BotReason::Agent, class: Some(BotClass::Feed), name: None })
        }
        _ => None,
    }
}

/// The groups and the automaton over all their needles, the same order.
struct Table {
    automaton: Option<AhoCorasick>,
    entries: Vec<Entry>,
}

struct Entry {
    at_start: bool,
    reason: BotReason,
    class: BotClass,
    name: &'static str,
}

/// Built once: a few milliseconds at the first click of the process.
static TABLE: LazyLock<Table> = LazyLock::new(|| Table::new(crawlers::GROUPS.iter().chain(tools::GROUPS)));

impl Table {
    fn new<'a>(groups: impl Iterator<Item = &'a Group>) -> Self {
        let mut needles = Vec::new();
        let mut entries = Vec::new();
        for group in groups {
            for &(needle, name) in group.entries {
                needles.push(needle.trim_start_matches('^'));
                let at_start = needle.starts_with('^');
                entries.push(Entry { at_start, reason: group.reason, class: group.class, name });
            }
        }
        // Constant needles, far below the builder's limits: a test holds that this is never None.
        let automaton = AhoCorasick::builder().ascii_case_insensitive(true).build(needles).ok();
        Self { automaton, entries }
    }

    /// The first entry of the table that matches anywhere, so that order in the table is precedence:
    /// `TelegramBot (like TwitterBot)` is Telegram because Telegram is listed before Twitter.
    fn first_match(&self, agent: &str) -> Option<Bot> {
        let mut first = usize::MAX;
        for found in self.automaton.as_ref()?.find_overlapping_iter(agent) {
            let at = found.pattern().as_usize();
            if at < first && self.entries.get(at).is_some_and(|entry| entry.stands_at(agent, found.start())) {
                first = at;
            }
        }
        self.entries.get(first).map(|entry| Bot {
            reason: entry.reason,
            class: Some(entry.class),
            name: Some(Cow::Borrowed(entry.name)),
        })
    }
}

impl Entry {
    fn stands_at(&self, agent: &str, start: usize) -> bool {
        match start.checked_sub(1) {
            None => true,
            Some(before) => !self.at_start && !agent.as_bytes()[before].is_ascii_alphanumeric(),
        }
    }
}

/// Words that crawlers end their names with, or use as their name.
const TRADES: &[&str] =
    &["bot", "bots", "crawler", "spider", "scraper", "fetcher", "archiver", "linkchecker", "validator"];

/// Makes of phones and tablets that end like a bot.
const DEVICE_WORDS: &[&str] = &["cubot"];

/// How browsers start their agent string.
const BROWSER_STARTS: &[&str] = &["Mozilla/", "Opera/"];

/// Browsers that called themselves compatible with Mozilla in so many words.
const ONCE_COMPATIBLE: &[&str] = &["MSIE", "Konqueror", "Kindle/", "Teleca", "Brew", "BREW", "MIDP"];

fn calls_itself_a_bot(agent: &str) -> bool {
    // Crawlers leave the address of their manners behind; no browser does, but a few name their maker's site.
    if agent.contains("+http")
        || agent.contains("://") && !BROWSER_STARTS.iter().any(|start| agent.starts_with(start))
    {
        return true;
    }
    // "(compatible; X" was Internet Explorer's and some early phones'; whoever else uses it is neither.
    if let Some((_, rest)) = agent.split_once("(compatible; ")
        && !ONCE_COMPATIBLE.iter().any(|browser| rest.contains(browser))
    {
        return true;
    }
    words(agent).any(|word| ends_like_a_trade(word) && !is_device_word(word))
}

/// Runs of ASCII letters and digits, and of anything beyond ASCII.
fn words(agent: &str) -> impl Iterator<Item = &[u8]> {
    agent.as_bytes().split(|byte| byte.is_ascii() && !byte.is_ascii_alphanumeric())
}

fn ends_like_a_trade(word: &[u8]) -> bool {
    TRADES.iter().any(|trade| {
        let tail = word.len().checked_sub(trade.len()).and_then(|start| word.get(start..));
        tail.is_some_and(|tail| tail.eq_ignore_ascii_case(trade.as_bytes()))
    })
}

fn is_device_word(word: &[u8]) -> bool {
    DEVICE_WORDS.iter().any(|device| word.eq_ignore_ascii_case(device.as_bytes()))
}

fn unnamed() -> Bot {
    Bot { reason: BotReason::Agent, class: Some(BotClass::Other), name: None }
}

#[cfg(test)]
mod tests;
