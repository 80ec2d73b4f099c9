//! The rules of `[quality]`.

use std::path::Path;

use super::{Findings, open};
use crate::{
    config::{Enrich, Quality},
    event::Reason,
    files::list::ListError,
    quality::blocklist::{Domains, Urls},
};

/// A day: nobody's visit is that long.
const MAX_SECS: u64 = 86_400;

pub(super) fn quality(config: &Quality, enrich: &Enrich, findings: &mut Findings) {
    let files = [
        ("quality.blocked_domains_file", &config.blocked_domains_file),
        ("quality.blocked_urls_file", &config.blocked_urls_file),
    ];
    for (key, file) in files {
        if let Some(file) = file {
            findings.path(key, file);
        }
    }
    for (i, reason) in config.block.iter().enumerate() {
        let has_lists = config.blocked_domains_file.is_some() || config.blocked_urls_file.is_some();
        let never = match reason {
            Reason::BlockedDestination if !has_lists => Some("set `blocked_domains_file` or `blocked_urls_file`"),
            Reason::ClickFlood if config.flood_clicks == 0 => Some("set `flood_clicks`"),
            Reason::LinkEnumeration if config.enumeration_links == 0 => Some("set `enumeration_links`"),
            Reason::DataCenterNetwork if enrich.asn_file.is_none() && enrich.hosting_networks_file.is_none() => {
                Some("set `enrich.asn_file` or `enrich.hosting_networks_file`")
            }
            Reason::AnonymizerNetwork if enrich.anonymizer_networks_file.is_none() => {
                Some("set `enrich.anonymizer_networks_file`")
            }
            Reason::SpamReferrer if enrich.spammers_file.is_none() => Some("set `enrich.spammers_file`"),
            _ => None,
        };
        if let Some(remedy) = never {
            let message = format!("names {:?}, for which nothing will be refused", reason.slug());
            findings.warning(format!("quality.block[{i}]"), message, remedy);
        }
    }
    let secs = [
        ("quality.flood_secs", config.flood_secs, "say in how many seconds clicks are counted, such as 60"),
        ("quality.burst_secs", config.burst_secs, "say in how many seconds links are counted, such as 3"),
        ("quality.burst_bot_secs", config.burst_bot_secs, "say how long a visitor stays a bot, such as 300"),
        (
            "quality.enumeration_secs",
            config.enumeration_secs,
            "say in how many seconds requests are counted, such as 60",
        ),
    ];
    for (key, secs, remedy) in secs {
        findings.range(key, secs, 1..=MAX_SECS, remedy);
    }
    findings.range("quality.flood_clicks", config.flood_clicks, 0..=10_000, "0 finds no floods; 20 suits most edges");
    findings.range(
        "quality.enumeration_links",
        config.enumeration_links,
        0..=4_095,
        "0 counts none; 30 suits most edges",
    );
    if config.burst_links == 1 {
        findings.error(
            "quality.burst_links",
            "is 1, so that everybody would be a bot",
            "0 finds none; 5 suits most edges",
        );
    }
    findings.range("quality.burst_links", config.burst_links, 0..=16, "0 finds none; 5 suits most edges");
}

/// Reads the lists for what is wrong in them. Files that cannot be read at all are told by the caller.
pub(super) fn check_lists(config: &Quality, findings: &mut Findings) {
    let domains = |file: &Path| Domains::read(file).map(drop);
    let urls = |file: &Path| Urls::read(file).map(drop);
    check("quality.blocked_domains_file", config.blocked_domains_file.as_deref(), domains, findings);
    check("quality.blocked_urls_file", config.blocked_urls_file.as_deref(), urls, findings);
}

fn check(key: &str, file: Option<&Path>, read: impl Fn(&Path) -> Result<(), ListError>, findings: &mut Findings) {
    let Some(file) = file else { return };
    if let Err(error) = open(file) {
        return findings.unreadable(key.into(), file, &error);
    }
    match read(file) {
        Ok(()) => {}
        Err(ListError::Line { line, problem, remedy, .. }) => {
            let message = format!("names {}, where line {line} is wrong: {problem}", file.display());
            findings.error(key, message, remedy);
        }
        Err(error @ ListError::Read { .. }) => findings.error(key, error.to_string(), "correct the path"),
    }
}
