//! Detects bots.
//!
//! The agent string is classified once per string (`CrawlerLists::listed`, `by_category`), the rest of the request once
//! per click ([`classify`]). The sources for an agent string, the surest first:
//!
//! 1. texts of the operator that mark a human (`enrich.not_crawlers`),
//! 2. the built-in table of well-known names (`bot/crawlers.rs`, `bot/products.rs`, `bot/tools.rs`),
//! 3. applications and devices that humans use (`bot/allowlist.rs`), which end the search: a human in the web view of
//!    an application (Facebook, Instagram, a messenger) is a human,
//! 4. the operator's list (`enrich.crawlers_file`, `bot/community.rs`),
//! 5. rules for what crawlers call themselves (`bot/generic.rs`), for the form of their strings (`bot/form.rs`), and
//!    woothee's crawler category.
//!
//! Invariants: no input panics, and the time is linear in its first [`MAX_AGENT_BYTES`]; every name is a slug of the
//! event schema. `bench/README.md` has the accuracy on lists of real agent strings.

mod allowlist;
mod community;
mod crawlers;
mod form;
mod generic;
mod group;
mod products;
mod request;
mod table;
mod tools;

use woothee::parser::{Parser, WootheeResult};

use self::group::AgentMatches;
pub use community::{BadEntry, CommunityList, CrawlerLists, CrawlersError};
pub use request::{BotEvidence, classify};

use crate::{
    event::{Bot, BotClass, BotReason},
    files::Reloadable,
};

/// Bytes of an agent string that are read; a longer one must not cost more.
pub const MAX_AGENT_BYTES: usize = 1024;

/// The operator's current lists of crawlers and humans.
pub type CrawlerStore = Reloadable<CrawlerLists>;

/// What the lists say about an agent string.
pub(super) enum ListMatch {
    Bot(Bot),
    /// Whatever woothee would say.
    Human,
    Unknown,
}

/// Compiles the table, so that no click waits for it.
///
/// # Errors
/// When the table does not compile: a bug.
pub fn warm_up() -> Result<(), aho_corasick::BuildError> {
    table::agent_table().map(drop)
}

/// Bot by agent string, with the built-in table: agent, library, empty-agent. `None` for a browser.
pub fn from_agent(agent: &str) -> Option<Bot> {
    CrawlerLists::default().from_agent(agent)
}

/// The part of an agent string that is read: the first [`MAX_AGENT_BYTES`], whole characters, trimmed.
pub(super) fn head(agent: &str) -> &str {
    let agent = agent.trim_start();
    agent.get(..agent.floor_char_boundary(MAX_AGENT_BYTES)).unwrap_or_default().trim_end()
}

impl CrawlerLists {
    /// Bot by agent string: agent, library, empty-agent. `None` for a browser.
    pub fn from_agent(&self, agent: &str) -> Option<Bot> {
        let agent = head(agent);
        match self.listed(agent) {
            ListMatch::Bot(bot) => Some(bot),
            ListMatch::Human => None,
            ListMatch::Unknown => by_category(agent, Parser::new().parse(agent).as_ref()),
        }
    }

    /// Bot by everything that needs no parsing. `agent` must come from [`head`].
    pub(super) fn listed(&self, agent: &str) -> ListMatch {
        if agent.is_empty() || agent == "-" {
            return ListMatch::Bot(Bot { reason: BotReason::EmptyAgent, class: None, name: None, verified: false });
        }
        if self.is_human(agent) {
            return ListMatch::Human;
        }
        let found = table::agent_table().map_or_else(|_| AgentMatches::default(), |table| table.scan(agent));
        if let Some(bot) = found.bot {
            return ListMatch::Bot(bot);
        }
        if found.human && !found.stranger {
            return ListMatch::Human;
        }
        let by_list = self.community().and_then(|list| list.detect(agent));
        let bot = by_list.or_else(|| generic::is_bot(agent, &found).then(unnamed));
        bot.map_or(ListMatch::Unknown, ListMatch::Bot)
    }
}

/// Bot by woothee's category, for agents that no list matches.
pub(super) fn by_category(agent: &str, parsed: Option<&WootheeResult<'_>>) -> Option<Bot> {
    let parsed = parsed?;
    match (parsed.category, parsed.name) {
        // Its pattern matches anywhere, so that the model of a phone counts as a crawler; our table has the others.
        ("crawler", "misc crawler") if agent.starts_with("Mozilla/5.0 (Linux; ") => None,
        ("crawler", _) => Some(unnamed()),
        ("misc", "HTTP Library") => {
            Some(Bot { reason: BotReason::Library, class: Some(BotClass::Library), name: None, verified: false })
        }
        ("misc", name) if name.ends_with("RSSReader") => {
            Some(Bot { reason: BotReason::Agent, class: Some(BotClass::Feed), name: None, verified: false })
        }
        _ => None,
    }
}

fn unnamed() -> Bot {
    Bot { reason: BotReason::Agent, class: Some(BotClass::Other), name: None, verified: false }
}

#[cfg(test)]
mod tests;
