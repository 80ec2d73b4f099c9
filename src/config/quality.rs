//! `[quality]`: detection of invalid traffic, and what is blocked.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Config, Section,
    findings::{Findings, set_paths},
};
use crate::event::{Reason, Reasons};

/// Longest window, in seconds: a day.
const MAX_SECS: u64 = 86_400;

/// Detection of invalid traffic. Every reason is part of the event (`quality`), whether the click is blocked or not.
/// The lists are read into memory, and again at a reload.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quality {
    /// Reasons for which a click is answered with 403 instead of the redirect, such as "sql-injection" or
    /// "blocked-destination". A blocked request is not a click: it has no event. A reason of low confidence never
    /// blocks.
    pub block: Vec<Reason>,
    /// List of domains that no link should lead to, one a line, or a hosts file. A domain includes its subdomains.
    pub blocked_domains_file: Option<PathBuf>,
    /// List of URLs that no link should lead to, one lower-case hexadecimal SHA-256 a line: of the URL without
    /// fragment, or without query and fragment.
    pub blocked_urls_file: Option<PathBuf>,
    /// Number of clicks of one visitor on one link within `flood_secs` beyond which they are a flood ("click-flood"),
    /// at most 10000. 0 switches the detection off.
    pub flood_clicks: u16,
    /// Seconds in which these clicks are counted, 1 to 86400. A blocked flood is blocked for as long.
    pub flood_secs: u64,
    /// Number of different links of one visitor within `burst_secs` that make the visitor a bot (reason "behaviour"):
    /// mail gateways open every link of a message. 2 to 16. 0 switches the detection off.
    pub burst_links: u16,
    /// Seconds in which these links are counted, 1 to 86400.
    pub burst_secs: u64,
    /// Seconds for which such a visitor stays a bot, 1 to 86400.
    pub burst_bot_secs: u64,
    /// Number of requests of one address for unknown links within `enumeration_secs` from which on its clicks are
    /// marked ("link-enumeration"), at most 4095. 0 switches the detection off.
    pub enumeration_links: u16,
    /// Seconds in which these requests are counted, 1 to 86400.
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
    /// The reasons for which a click is blocked.
    pub fn blocked(&self) -> Reasons {
        self.block.iter().copied().collect()
    }

    /// What is missing for a reason to be found at all.
    fn missing_for(&self, reason: Reason, all: &Config, findings: &Findings) -> Option<&'static str> {
        let lacks = |file: &Option<PathBuf>, key| file.is_none() && findings.knows(key);
        let enrich = &all.enrich;
        match reason {
            Reason::BlockedDestination
                if lacks(&self.blocked_domains_file, "quality.blocked_domains_file")
                    && lacks(&self.blocked_urls_file, "quality.blocked_urls_file") =>
            {
                Some("set `blocked_domains_file` or `blocked_urls_file`")
            }
            Reason::ClickFlood if self.flood_clicks == 0 => Some("set `flood_clicks`"),
            Reason::LinkEnumeration if self.enumeration_links == 0 => Some("set `enumeration_links`"),
            Reason::DataCenterNetwork
                if lacks(&enrich.asn_file, "enrich.asn_file")
                    && lacks(&enrich.hosting_networks_file, "enrich.hosting_networks_file") =>
            {
                Some("set `enrich.asn_file` or `enrich.hosting_networks_file`")
            }
            Reason::AnonymizerNetwork
                if lacks(&enrich.anonymizer_networks_file, "enrich.anonymizer_networks_file") =>
            {
                Some("set `enrich.anonymizer_networks_file`")
            }
            Reason::SpamReferrer if lacks(&enrich.spammers_file, "enrich.spammers_file") => {
                Some("set `enrich.spammers_file`")
            }
            _ => None,
        }
    }
}

impl Section for Quality {
    fn rules(&self, all: &Config, findings: &mut Findings) {
        for (i, reason) in self.block.iter().enumerate() {
            if let Some(remedy) = self.missing_for(*reason, all, findings) {
                let message = format!("names {:?}, for which nothing will be blocked", reason.slug());
                findings.warning(format!("quality.block[{i}]"), message, remedy);
            }
        }
        let secs = [
            ("quality.flood_secs", self.flood_secs, "write in how many seconds clicks are counted, such as 60"),
            ("quality.burst_secs", self.burst_secs, "write in how many seconds links are counted, such as 3"),
            ("quality.burst_bot_secs", self.burst_bot_secs, "write how long a visitor stays a bot, such as 300"),
            (
                "quality.enumeration_secs",
                self.enumeration_secs,
                "write in how many seconds requests are counted, such as 60",
            ),
        ];
        for (key, secs, remedy) in secs {
            findings.range(key, secs, 1..=MAX_SECS, remedy);
        }
        let off = "0 switches the detection off; 20 suits most edges";
        findings.range("quality.flood_clicks", self.flood_clicks, 0..=10_000, off);
        let off = "0 switches the detection off; 30 suits most edges";
        findings.range("quality.enumeration_links", self.enumeration_links, 0..=4_095, off);
        let off = "0 switches the detection off; 5 suits most edges";
        if self.burst_links == 1 {
            findings.error("quality.burst_links", "is 1, so that every visitor would be a bot", off);
        }
        findings.range("quality.burst_links", self.burst_links, 0..=16, off);
    }

    fn paths(&mut self) -> Vec<(String, &mut PathBuf)> {
        set_paths([
            ("quality.blocked_domains_file", &mut self.blocked_domains_file),
            ("quality.blocked_urls_file", &mut self.blocked_urls_file),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixture::{each_is_a_warning, each_is_an_error};

    #[test]
    fn windows_and_limits_are_checked() {
        each_is_an_error(&[
            ("quality.blocked_urls_file", "is empty", |c| c.quality.blocked_urls_file = Some("".into())),
            ("quality.flood_secs", "is 0", |c| c.quality.flood_secs = 0),
            ("quality.burst_bot_secs", "is 86401", |c| c.quality.burst_bot_secs = 86_401),
            ("quality.flood_clicks", "is 10001", |c| c.quality.flood_clicks = 10_001),
            ("quality.enumeration_links", "is 4096", |c| c.quality.enumeration_links = 4_096),
            ("quality.burst_links", "every visitor would be a bot", |c| c.quality.burst_links = 1),
            ("quality.burst_links", "is 17", |c| c.quality.burst_links = 17),
        ]);
    }

    #[test]
    fn a_reason_that_is_never_found_gets_a_warning() {
        each_is_a_warning(&[
            ("quality.block[0]", "\"blocked-destination\"", |c| c.quality.block = vec![Reason::BlockedDestination]),
            ("quality.block[0]", "\"data-center-network\"", |c| c.quality.block = vec![Reason::DataCenterNetwork]),
            ("quality.block[0]", "\"click-flood\"", |c| {
                c.quality.block = vec![Reason::ClickFlood];
                c.quality.flood_clicks = 0;
            }),
        ]);
    }
}
