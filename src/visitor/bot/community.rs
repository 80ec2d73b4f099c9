//! The operator's lists: crawlers in the community's format, and texts that mark a human.
//!
//! The file (`enrich.crawlers_file`) is `crawler-user-agents.json` of the project `monperrus/crawler-user-agents`: an
//! array of objects with a `pattern` (a regular expression, case-sensitive), `tags` and more. The patterns are compiled
//! into one automaton; the leftmost match in an agent string wins, of several at one place the first entry of the file.
//! The class comes from the first known tag of the entry, the name from the pattern.
//!
//! Bounds: [`MAX_FILE_BYTES`], [`MAX_ENTRIES`], [`MAX_PATTERN_BYTES`], [`MAX_PROGRAM_BYTES`]. A search reads each of at
//! most [`super::MAX_AGENT_BYTES`] bytes once, without backtracking. States of the automaton are built when they are
//! first reached: at worst, with strings that are crafted to reach new ones, one state for each byte. The automaton is
//! configured never to fall back to a slower search, as a set of regular expressions does: with the community's list
//! that search takes 130 ms for one hostile string.
//!
//! An entry is skipped with a warning when its pattern is no regular expression, uses look-around or back references,
//! or matches a common browser: one bad entry of a thousand must not cost the operator the others. A file with more
//! than [`MAX_BAD_SHARE`] of them is another kind of file, or damaged, and rejected.

use std::{
    borrow::Cow,
    fmt, io,
    path::{Path, PathBuf},
};

use aho_corasick::AhoCorasick;
use regex_automata::{
    Input, MatchKind,
    hybrid::{
        BuildError,
        dfa::{Cache, DFA},
    },
    nfa::thompson::{self, WhichCaptures},
    util::{pool::Pool, syntax},
};
use serde::Deserialize;

use crate::{
    event::{Bot, BotClass, BotReason},
    files,
    runtime::{Class, Classified},
};

/// Largest file that is read. The community's has 1 MB.
const MAX_FILE_BYTES: u64 = 32 << 20;
/// Most entries of a file. The community's has 1,500.
const MAX_ENTRIES: usize = 20_000;
/// Longest pattern. The community's longest has 56.
const MAX_PATTERN_BYTES: usize = 512;
/// Largest automaton, in bytes. The community's needs less than 2 MB.
const MAX_PROGRAM_BYTES: usize = 32 << 20;
/// Memory for the states that searches have built, in bytes, for each worker.
const MAX_STATES_BYTES: usize = 8 << 20;
/// A file with a larger share of bad entries is rejected.
const MAX_BAD_SHARE: f64 = 0.1;
/// Longest name made of a pattern.
const MAX_NAME_BYTES: usize = 48;

/// Browsers that no entry may match, so that a mistake (`Mozilla`, `.*`, an empty pattern) does not make every visitor
/// a bot.
const BROWSERS: &[&str] = &[
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 \
     Safari/605.1.15",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 \
     Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36 \
     Edg/131.0.0.0",
    "Mozilla/5.0 (Linux; Android 14; SM-S921B Build/UP1A.231005.007; wv) AppleWebKit/537.36 (KHTML, like Gecko) \
     Version/4.0 Chrome/131.0.6778.39 Mobile Safari/537.36",
];

/// Why the operator's lists were rejected.
#[derive(Debug, thiserror::Error)]
pub enum CrawlersError {
    #[error(
        "cannot read the crawler list {}: {source}; put the file there, let this user read it, or correct the path",
        file.display()
    )]
    Read {
        file: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "the crawler list {} is no array of entries with a `pattern`: {source}; download the published list again",
        file.display()
    )]
    Format {
        file: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error(
        "the crawler list {} is rejected: {bad} of {entries} entries are bad, and one in ten may be; correct or remove \
         them, first {first}",
        file.display()
    )]
    TooManyBad { file: PathBuf, bad: usize, entries: usize, first: BadEntry },
    #[error("the crawler list {} is rejected: it has {entries} entries; keep at most {MAX_ENTRIES}", file.display())]
    TooMany { file: PathBuf, entries: usize },
    #[error("the crawler list {} is rejected: {source}; keep fewer or shorter patterns", file.display())]
    TooLarge {
        file: PathBuf,
        #[source]
        source: Box<BuildError>,
    },
    #[error("`enrich.not_crawlers` has too many texts: {0}; keep fewer or shorter ones")]
    NotCrawlers(#[from] aho_corasick::BuildError),
}

impl Classified for CrawlersError {
    fn class(&self) -> Class {
        match self {
            Self::Read { source, .. } => Class::of_read(source),
            Self::Format { .. } | Self::TooManyBad { .. } | Self::TooMany { .. } | Self::TooLarge { .. } => {
                Class::Data
            }
            Self::NotCrawlers(_) => Class::Config,
        }
    }
}

/// An entry that was skipped.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BadEntry {
    /// Counted from 1.
    pub entry: usize,
    pub pattern: String,
    pub reason: String,
}

impl fmt::Display for BadEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {}, pattern {:?}: {}", self.entry, self.pattern, self.reason)
    }
}

/// What the operator adds to the built-in table.
#[derive(Default)]
pub struct CrawlerLists {
    /// Texts that mark a human.
    humans: Option<AhoCorasick>,
    community: Option<CommunityList>,
}

impl CrawlerLists {
    /// Reads the operator's lists. [`CommunityList::bad`] has the entries that were skipped.
    ///
    /// # Errors
    /// See [`CrawlersError`].
    pub fn read(file: Option<&Path>, not_crawlers: &[String]) -> Result<Self, CrawlersError> {
        let community = file.map(CommunityList::read).transpose()?;
        let texts = not_crawlers.iter().filter(|text| !text.is_empty());
        let humans = AhoCorasick::builder().ascii_case_insensitive(true).build(texts)?;
        Ok(Self { humans: (humans.patterns_len() > 0).then_some(humans), community })
    }

    /// The operator's list of crawlers.
    pub fn community(&self) -> Option<&CommunityList> {
        self.community.as_ref()
    }

    /// Whether the operator marks this as a human.
    pub(super) fn is_human(&self, agent: &str) -> bool {
        self.humans.as_ref().is_some_and(|texts| texts.is_match(agent))
    }
}

/// A list of crawlers.
pub struct CommunityList {
    automaton: DFA,
    /// The automaton's states that each thread has built.
    caches: Pool<Cache, Box<dyn Fn() -> Cache + Send + Sync>>,
    /// Class and name, in the order of the patterns.
    entries: Vec<(BotClass, Option<Cow<'static, str>>)>,
    bad: Vec<BadEntry>,
    file: PathBuf,
}

#[derive(Deserialize)]
struct Entry {
    pattern: String,
    #[serde(default)]
    tags: Vec<String>,
}

impl CommunityList {
    fn read(file: &Path) -> Result<Self, CrawlersError> {
        let text = files::read_bounded(file, MAX_FILE_BYTES);
        Self::parse(&text.map_err(|source| CrawlersError::Read { file: file.into(), source })?, file)
    }

    /// Reads a list; `file` is its name in errors.
    ///
    /// # Errors
    /// See [`CrawlersError`].
    pub fn parse(text: &[u8], file: &Path) -> Result<Self, CrawlersError> {
        let entries: Vec<Entry> =
            serde_json::from_slice(text).map_err(|source| CrawlersError::Format { file: file.into(), source })?;
        let total = entries.len();
        if total > MAX_ENTRIES {
            return Err(CrawlersError::TooMany { file: file.into(), entries: total });
        }
        let (mut patterns, mut kinds, mut bad) = (Vec::new(), Vec::new(), Vec::new());
        for (at, entry) in entries.into_iter().enumerate() {
            if let Some(reason) = problem(&entry.pattern) {
                bad.push(BadEntry { entry: at + 1, pattern: entry.pattern, reason });
            } else {
                kinds.push((class(&entry.tags), name(&entry.pattern)));
                patterns.push(entry.pattern);
            }
        }
        if let Some(first) = bad.first().filter(|_| bad.len() as f64 > MAX_BAD_SHARE * total as f64) {
            let first = first.clone();
            return Err(CrawlersError::TooManyBad { file: file.into(), bad: bad.len(), entries: total, first });
        }
        let automaton = automaton(&patterns, MAX_PROGRAM_BYTES)
            .map_err(|source| CrawlersError::TooLarge { file: file.into(), source })?;
        let shared = automaton.clone();
        let caches: Pool<_, Box<dyn Fn() -> Cache + Send + Sync>> =
            Pool::new(Box::new(move || shared.create_cache()));
        Ok(Self { automaton, caches, entries: kinds, bad, file: file.into() })
    }

    /// Entries that were skipped.
    pub fn bad(&self) -> &[BadEntry] {
        &self.bad
    }

    /// Where it was read from.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Entries in use.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no entry is in use.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bot of the entry that matches.
    pub fn detect(&self, agent: &str) -> Option<Bot> {
        let found = self.automaton.try_search_fwd(&mut self.caches.get(), &Input::new(agent)).ok()??;
        let (class, name) = self.entries.get(found.pattern().as_usize())?;
        let reason = if *class == BotClass::Library { BotReason::Library } else { BotReason::Agent };
        Some(Bot { reason, class: Some(*class), name: name.clone(), verified: false })
    }
}

/// One automaton for all patterns. They match bytes, so that `.` and `\b` cost no tables of Unicode.
fn automaton<P: AsRef<str>>(patterns: &[P], max_bytes: usize) -> Result<DFA, Box<BuildError>> {
    let states = DFA::config()
        .match_kind(MatchKind::LeftmostFirst)
        .cache_capacity(MAX_STATES_BYTES)
        .minimum_cache_clear_count(None);
    let program =
        thompson::Config::new().utf8(false).nfa_size_limit(Some(max_bytes)).which_captures(WhichCaptures::None);
    DFA::builder()
        .syntax(syntax::Config::new().unicode(false).utf8(false))
        .thompson(program)
        .configure(states)
        .build_many(patterns)
        .map_err(Box::new)
}

/// Why a pattern is skipped.
fn problem(pattern: &str) -> Option<String> {
    if pattern.len() > MAX_PATTERN_BYTES {
        return Some(format!("it has more than {MAX_PATTERN_BYTES} bytes"));
    }
    let automaton = match automaton(&[pattern], MAX_PROGRAM_BYTES / 64) {
        Ok(automaton) => automaton,
        Err(error) => return Some(cause(&*error)),
    };
    let mut cache = automaton.create_cache();
    let mut matches =
        |text: &str| automaton.try_search_fwd(&mut cache, &Input::new(text)).is_ok_and(|hit| hit.is_some());
    if matches("") {
        return Some("it matches every string".into());
    }
    let matches_a_browser = BROWSERS.iter().any(|browser| matches(browser));
    matches_a_browser.then(|| "it matches a common browser".into())
}

/// The last cause of an error, on one line: the outer ones only say that the automaton was not built.
fn cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => cause(source),
        None => error.to_string().lines().last().unwrap_or_default().to_owned(),
    }
}

/// The class of the first known tag.
fn class(tags: &[String]) -> BotClass {
    let of = |tag: &String| {
        Some(match tag.as_str() {
            "search-engine" => BotClass::Search,
            "social-preview" => BotClass::SocialPreview,
            "ai-crawler" => BotClass::Ai,
            "seo" => BotClass::Seo,
            "monitoring" => BotClass::Monitoring,
            "scanner" => BotClass::Scanner,
            "feed-reader" => BotClass::Feed,
            "advertising" => BotClass::Advertising,
            "http-library" | "browser-automation" => BotClass::Library,
            _ => return None,
        })
    };
    tags.iter().find_map(of).unwrap_or(BotClass::Other)
}

/// A slug from a pattern: `[pP]ingdom` gives `pingdom`, `Current[\s\S]*RSS Reader` gives `current-rss-reader`.
///
/// Of a class of characters the first letter counts, of an alternation the first branch; repetitions and escapes that
/// stand for many characters are left out.
fn name(pattern: &str) -> Option<Cow<'static, str>> {
    let mut slug = String::new();
    let mut chars = pattern.chars();
    let mut depth = 0_usize;
    while let Some(char) = chars.next() {
        let literal = match char {
            '\\' => chars.next().filter(|escaped| !escaped.is_ascii_alphanumeric()),
            '[' => {
                let class: String = chars.by_ref().take_while(|&c| c != ']').collect();
                class.chars().next().filter(|c| c.is_ascii_alphanumeric() && !class.contains('-'))
            }
            '(' => {
                depth += 1;
                None
            }
            ')' => {
                depth = depth.saturating_sub(1);
                None
            }
            // The other branches are skipped, to the end of the group.
            '|' if depth > 0 => {
                let rest = chars.as_str();
                chars = rest.find(')').map_or("", |end| &rest[end..]).chars();
                None
            }
            '|' => break,
            '.' => None,
            other => Some(other),
        };
        match literal.unwrap_or('-') {
            c if c.is_ascii_alphanumeric() || c == '.' => slug.push(c.to_ascii_lowercase()),
            _ if slug.is_empty() || slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
    }
    slug.truncate(MAX_NAME_BYTES);
    let slug = slug.trim_matches(['-', '.']);
    (!slug.is_empty()).then(|| Cow::Owned(slug.to_owned()))
}

#[cfg(test)]
mod tests;
