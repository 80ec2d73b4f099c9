//! The groups of the table of agent strings, and the matches of a search in it.

use crate::event::{Bot, BotClass, BotReason};

/// Bots of one class: needles, and the slugs of their names.
pub(super) struct Group {
    pub reason: BotReason,
    pub class: BotClass,
    pub entries: &'static [(&'static str, &'static str)],
}

/// What the table matches in an agent string.
#[derive(Default)]
pub(super) struct AgentMatches {
    /// The first entry of the table that matches anywhere, so that the order of the table is the precedence:
    /// `TelegramBot (like TwitterBot)` is Telegram because Telegram is listed before Twitter.
    pub bot: Option<Bot>,
    /// An application or a device that humans use.
    pub human: bool,
    /// A word that only bots use for themselves, outside the name of a device.
    pub occupation: bool,
    /// The URL of a page.
    pub url: bool,
    /// After an application's mark, another product with the URL of a page.
    pub stranger: bool,
    /// The name of a host, in the string of a browser on a computer.
    pub host: bool,
    /// A browser of the time when other software put URLs into its agent string.
    pub legacy: bool,
    /// A device that browsers run on, or a browser that names none.
    pub platform: bool,
    /// The system of a computer.
    pub desktop: bool,
}
