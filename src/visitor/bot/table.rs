//! All needles for an agent string, as one automaton: well-known bots, applications that humans use, words that only
//! bots use for themselves, and the systems that browsers run on.
//!
//! One pass finds all needles in the string. Needles are constant, and few of them are the end of another one, so that
//! the number of matches is bounded by a small multiple of the string's length.
//!
//! A needle is lower case and matches in any case, but not in the middle of a word: `bot/` never matches `cubot/`. A
//! leading `^` ties it to the start of the agent string, for names that applications and phones also carry further in;
//! a leading `*` lets it begin in the middle of a word; a trailing `$` ties it to the end of a word.

use std::borrow::Cow;

use aho_corasick::{AhoCorasick, BuildError};
use once_cell::sync::OnceCell;

use super::{
    allowlist, crawlers, form, generic,
    group::{AgentMatches, Group},
    products, tools,
};
use crate::event::{Bot, BotClass, BotReason};

/// All groups. The order is precedence.
pub(super) fn groups() -> impl Iterator<Item = &'static Group> {
    crawlers::GROUPS.iter().chain(products::GROUPS).chain(tools::GROUPS)
}

#[derive(Clone, Copy)]
enum MarkKind {
    Bot(BotReason, BotClass, &'static str),
    Human,
    Occupation,
    /// An `@` between two words.
    Mail,
    Url,
    Host,
    Legacy,
    Platform,
    Desktop,
}

pub(super) struct AgentTable {
    automaton: AhoCorasick,
    entries: Vec<Entry>,
}

struct Entry {
    at_start: bool,
    inside: bool,
    at_end: bool,
    kind: MarkKind,
}

/// The table, compiled at the first call: a few milliseconds.
///
/// # Errors
/// When it does not compile, which [`warm_up`](super::warm_up) finds at the start.
pub(super) fn agent_table() -> Result<&'static AgentTable, BuildError> {
    static TABLE: OnceCell<AgentTable> = OnceCell::new();
    TABLE.get_or_try_init(AgentTable::compile)
}

impl AgentTable {
    fn compile() -> Result<Self, BuildError> {
        let bots = groups().flat_map(|group| {
            group.entries.iter().map(|&(needle, name)| (needle, MarkKind::Bot(group.reason, group.class, name)))
        });
        let marks = [
            (allowlist::MARKS, MarkKind::Human),
            (generic::OCCUPATIONS, MarkKind::Occupation),
            (generic::LEGACY, MarkKind::Legacy),
            (generic::PLATFORMS, MarkKind::Platform),
            (generic::DESKTOPS, MarkKind::Desktop),
            (generic::DOMAINS, MarkKind::Host),
            (&["*@"], MarkKind::Mail),
            (&["*://"], MarkKind::Url),
        ];
        let marks = marks.into_iter().flat_map(|(needles, kind)| needles.iter().map(move |&needle| (needle, kind)));
        let (mut needles, mut entries) = (Vec::new(), Vec::new());
        for (needle, kind) in bots.chain(marks) {
            needles.push(bare(needle));
            let (at_start, inside, at_end) =
                (needle.starts_with('^'), needle.starts_with('*'), needle.ends_with('$'));
            entries.push(Entry { at_start, inside, at_end, kind });
        }
        let automaton = AhoCorasick::builder().ascii_case_insensitive(true).build(needles)?;
        Ok(Self { automaton, entries })
    }

    pub fn scan(&self, agent: &str) -> AgentMatches {
        let mut found = AgentMatches::default();
        let bytes = agent.as_bytes();
        let device = device_end(bytes);
        let mut first = usize::MAX;
        let mut application = usize::MAX;
        for hit in self.automaton.find_overlapping_iter(agent) {
            let at = hit.pattern().as_usize();
            let Some(entry) = self.entries.get(at).filter(|entry| entry.stands_at(bytes, hit.start(), hit.end()))
            else {
                continue;
            };
            let start = hit.start();
            match entry.kind {
                MarkKind::Bot(.., "dalvik") if form::is_web_view(bytes) => {}
                MarkKind::Bot(..) => first = first.min(at),
                MarkKind::Human => {
                    found.human = true;
                    application = start;
                }
                MarkKind::Occupation => found.occupation |= start >= device && !form::is_appended(bytes, start),
                MarkKind::Mail => {
                    found.occupation |= start >= device && is_mail(bytes, start) && !form::is_appended(bytes, start);
                }
                MarkKind::Url if form::is_appended(bytes, start) => {}
                MarkKind::Url => {
                    found.url = true;
                    found.stranger |=
                        form::product_of_url(bytes, start).is_some_and(|product| product != application);
                }
                MarkKind::Host => found.host |= form::is_host(bytes, start),
                MarkKind::Legacy => found.legacy = true,
                MarkKind::Platform => found.platform = true,
                MarkKind::Desktop => found.desktop = true,
            }
        }
        if let Some(MarkKind::Bot(reason, class, name)) = self.entries.get(first).map(|entry| entry.kind) {
            found.bot = Some(Bot { reason, class: Some(class), name: Some(Cow::Borrowed(name)), verified: false });
        }
        found
    }
}

impl Entry {
    fn stands_at(&self, agent: &[u8], start: usize, end: usize) -> bool {
        let begins = match start.checked_sub(1) {
            None => true,
            Some(before) => !self.at_start && (self.inside || !(is_word(agent, before) && is_word(agent, start))),
        };
        begins && !(self.at_end && is_word(agent, end))
    }
}

/// Where the name of an Android device ends, zero for other systems: `Mozilla/5.0 (Linux; Android 7.0; M bot 60)`.
/// Makers choose any name for their devices.
fn device_end(agent: &[u8]) -> usize {
    let is_android = |rest: &[u8]| [&b"Linux; Android"[..], b"Linux; U; Android"].iter().any(|s| rest.starts_with(s));
    let starts = [&b"Mozilla/5.0 ("[..], b"Dalvik/2.1.0 (", b"Dalvik/1.6.0 ("];
    match starts.iter().find_map(|start| agent.strip_prefix(*start)) {
        Some(rest) if is_android(rest) => memchr::memchr(b')', agent).unwrap_or(0),
        _ => 0,
    }
}

fn is_word(agent: &[u8], at: usize) -> bool {
    agent.get(at).is_some_and(u8::is_ascii_alphanumeric)
}

/// Whether the `@` at this place belongs to a mail address, and not to a locale: `th-TH@calendar=gregorian`.
fn is_mail(agent: &[u8], at: usize) -> bool {
    let host = agent.get(at + 1..).unwrap_or_default();
    let label = host.iter().take(64).take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-').count();
    label > 0 && host.get(label) == Some(&b'.') && is_word(agent, at.wrapping_sub(1))
}

/// The needle without its anchors.
pub(super) fn bare(needle: &str) -> &str {
    needle.trim_start_matches(['^', '*']).trim_end_matches('$')
}
