//! `[quality]`: what is suspicious, and what is refused.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{Reason, Reasons};

/// What becomes of clicks that are not what they claim to be. Every reason marks the event (`quality`), whatever is
/// refused here. The lists are read into memory; SIGHUP reads them again, and one that is broken then leaves the old
/// one in service.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quality {
    /// Reasons for which a click is answered with 403 instead of the redirect, such as "sql-injection" or
    /// "blocked-destination". A refused request is no click: it makes no event. Weak evidence is never refused.
    pub block: Vec<Reason>,
    /// Domains that no link should lead to, one a line, or a hosts file. A domain covers everything below it.
    pub blocked_domains_file: Option<PathBuf>,
    /// Addresses that no link should lead to, one lower-case hexadecimal SHA-256 a line: of the URL without fragment,
    /// or without query and fragment.
    pub blocked_urls_file: Option<PathBuf>,
    /// Clicks of one visitor on one link within `flood_secs` beyond which they are a flood ("click-flood"). 0 finds
    /// none.
    pub flood_clicks: u16,
    /// Seconds in which they are counted; a refused flood is refused for as long.
    pub flood_secs: u64,
    /// Different links of one visitor within `burst_secs` that make him a bot (reason "behaviour"), as mail gateways
    /// are that look at every link of a message. At most 16. 0 finds none.
    pub burst_links: u16,
    /// Seconds in which they are counted.
    pub burst_secs: u64,
    /// Seconds for which such a visitor stays a bot.
    pub burst_bot_secs: u64,
    /// Requests of one address for links that are none within `enumeration_secs` from which on its clicks are marked
    /// ("link-enumeration"). At most 4095. 0 counts none.
    pub enumeration_links: u16,
    /// Seconds in which they are counted.
    pub enumeration_secs: u64,
}

impl Default for Quality {
    fn default() -> Self {
        Self {
            block: Vec::new(),
            blocked_domains_file: None,
            blocked_urls_file: None,
            flood_clicks: 20,
            flood_secs: 60,
            burst_links: 5,
            burst_secs: 3,
            burst_bot_secs: 300,
            enumeration_links: 30,
            enumeration_secs: 60,
        }
    }
}

impl Quality {
    /// The reasons for which a click is refused.
    pub fn blocked(&self) -> Reasons {
        self.block.iter().copied().collect()
    }

    /// All files that are named here.
    pub(super) fn files(&mut self) -> [Option<&mut PathBuf>; 2] {
        [self.blocked_domains_file.as_mut(), self.blocked_urls_file.as_mut()]
    }
}
