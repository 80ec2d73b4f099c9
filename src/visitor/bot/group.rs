//! What the tables of agent strings consist of, and what a search in them finds.

use crate::event::{Bot, BotClass, BotReason};

/// Bots of one kind: needles, and the slugs to report.
pub(super) struct Group {
    pub reason: BotReason,
    pub class: BotClass,
    pub entries: &'static [(&'static str, &'static str)],
}

/// What stands in an agent string.
#[derive(Default)]
pub(super) struct AgentMatches {
    /// The first entry of the table that matches anywhere, so that order in the table is precedence:
    /// `TelegramBot (like TwitterBot)` is Telegram because Telegram is listed before Twitter.
    pub bot: Option<Bot>,
    /// An application or a device with a person in front of it.
    pub human: bool,
    /// A word that only bots use of themselves, outside the name of a device.
    pub occupation: bool,
    /// The address of a page.
    pub url: bool,
    /// A browser of the time when strangers put addresses into its agent string.
    pub legacy: bool,
    /// A system or a device that browsers run on, or a browser that tells none.
    pub platform: bool,
}
