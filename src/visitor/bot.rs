//! Tells bots from people.
//!
//! What an agent string says of itself is weighed once for each string (`CrawlerLists::listed`, `by_category`), what the
//! request shows beside it once for each click ([`classify`]). The judges of an agent string, the surest first:
//!
//! 1. texts of the operator that mark a person (`enrich.not_crawlers`),
//! 2. our own table of well-known names (`bot/crawlers.rs`, `bot/tools.rs`),
//! 3. applications and devices with a person in front of them (`bot/allowlist.rs`): the end of the search. A person inside
//!    an application (Facebook, Instagram, a messenger's web view) is a person,
//! 4. the operator's list (`enrich.crawlers_file`, `bot/community.rs`),
//! 5. rules for what crawlers call themselves (`bot/generic.rs`), and woothee's crawler category.
//!
//! Invariants: any input is answered without panic, in time linear in the first [`MAX_AGENT_BYTES`] of it; every name
//! is a slug of the event schema. How well it does on lists of real agent strings stands in `bench/README.md`.

mod allowlist;
mod community;
mod crawlers;
mod generic;
mod group;
mod products;
mod request;
mod table;
mod tools;

use woothee::parser::{Parser, WootheeResult};

pub use community::{BadEntry, CommunityList, CrawlerLists, CrawlersError};
pub use request::{BotEvidence, classify};

use crate::{
    event::{Bot, BotClass, BotReason},
    files::Reloadable,
};

/// Bytes of an agent string that are looked at; the rest is the sender's own business, and must not cost us.
pub const MAX_AGENT_BYTES: usize = 1024;

/// The operator's current lists of crawlers and humans.
pub type CrawlerStore = Reloadable<CrawlerLists>;

/// What the lists say of an agent string.
pub(super) enum ListMatch {
    Bot(Bot),
    /// Whatever a guess would say.
    Human,
    Unknown,
}

/// Bot by agent string, with what is built in: agent, library, empty-agent. None for a browser.
pub fn from_agent(agent: &str) -> Option<Bot> {
    CrawlerLists::default().from_agent(agent)
}

/// What of an agent string is looked at: the first [`MAX_AGENT_BYTES`], whole characters, trimmed.
pub(super) fn head(agent: &str) -> &str {
    let agent = agent.trim_start();
    agent.get(..agent.floor_char_boundary(MAX_AGENT_BYTES)).unwrap_or_default().trim_end()
}

impl CrawlerLists {
    /// Bot by agent string: agent, library, empty-agent. None for a browser.
    pub fn from_agent(&self, agent: &str) -> Option<Bot> {
        let agent = head(agent);
        match self.listed(agent) {
            ListMatch::Bot(bot) => Some(bot),
            ListMatch::Human => None,
            ListMatch::Unknown => by_category(agent, Parser::new().parse(agent).as_ref()),
        }
    }

    /// Bot by all that needs no parsing. `agent` must come from [`head`].
    pub(super) fn listed(&self, agent: &str) -> ListMatch {
        if agent.is_empty() || agent == "-" {
            return ListMatch::Bot(Bot { reason: BotReason::EmptyAgent, class: None, name: None });
        }
        if self.is_human(agent) {
            return ListMatch::Human;
        }
        let found = table::AGENT_TABLE.scan(agent);
        if let Some(bot) = found.bot {
            return ListMatch::Bot(bot);
        }
        if found.human {
            return ListMatch::Human;
        }
        let by_list = self.community().and_then(|list| list.detect(agent));
        let bot = by_list.or_else(|| generic::is_bot(agent, &found).then(unnamed));
        bot.map_or(ListMatch::Unknown, ListMatch::Bot)
    }
}

/// Bot by woothee's category, for agents that no list knows.
pub(super) fn by_category(agent: &str, guess: Option<&WootheeResult<'_>>) -> Option<Bot> {
    let guess = guess?;
    match (guess.category, guess.name) {
        // Its pattern starts anywhere, so that a phone's model name passes for a crawler; ours has seen the others.
        ("crawler", "misc crawler") if agent.starts_with("Mozilla/5.0 (Linux; ") => None,
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

fn unnamed() -> Bot {
    Bot { reason: BotReason::Agent, class: Some(BotClass::Other), name: None }
}

#[cfg(test)]
mod tests;
