//! `[enrich]`: the workers, the files that they read, privacy and sessions.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Config, Section,
    findings::{Findings, MAX_THREADS, set_paths},
};

/// Least and most bytes of a text in `not_crawlers`: a shorter one would be part of every user agent.
const MIN_NOT_CRAWLER: usize = 3;
const MAX_NOT_CRAWLER: usize = 256;

/// The workers that turn clicks into click events. All files named here are read into memory, and again at a reload.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Enrich {
    /// Number of worker threads, at most 1024. 0 means one for each two processors, at least one.
    pub workers: usize,
    /// `MaxMind` City, Enterprise or Country database, or one of the same structure, such as DB-IP's. Without it events
    /// have no location.
    pub geoip_file: Option<PathBuf>,
    /// `MaxMind` ASN or ISP database, or one of the same structure, such as DB-IP's. It identifies clicks from the
    /// networks of hosting and cloud providers.
    pub asn_file: Option<PathBuf>,
    /// Further networks of data centres, one a line, such as `192.0.2.0/24`; `#` begins a comment.
    pub hosting_networks_file: Option<PathBuf>,
    /// Networks of anonymizers that humans use, such as the exits of Tor and VPNs, in the same format. An address in
    /// both files counts as an anonymizer.
    pub anonymizer_networks_file: Option<PathBuf>,
    /// Crawlers in addition to the built-in ones: the community's `crawler-user-agents.json`, an array of objects with
    /// a `pattern` (a regular expression) and `tags` (which give the class). An entry that cannot be used is skipped
    /// with a warning; a file with more than one such entry in ten is rejected.
    pub crawlers_file: Option<PathBuf>,
    /// Texts of 3 to 256 bytes, in any case, that mark a user agent as a human's whatever else it contains: for
    /// applications with a name like a crawler's. The common in-app browsers are built in. Other evidence (a prefetch,
    /// missing headers, the network) still counts.
    pub not_crawlers: Vec<String>,
    /// Search engines in addition to the built-in ones, in Matomo's format (`SearchEngines.yml`).
    pub search_engines_file: Option<PathBuf>,
    /// Social networks in addition to the built-in ones, in Matomo's format (`Socials.yml`).
    pub socials_file: Option<PathBuf>,
    /// AI assistants in addition to the built-in ones, in Matomo's format (`AIAssistants.yml`).
    pub ai_assistants_file: Option<PathBuf>,
    /// Hosts that send spam referrers, one a line, as in Matomo's `spammers.txt`.
    pub spammers_file: Option<PathBuf>,
    /// Bots that sign their requests (HTTP message signatures, "Web Bot Auth"), and their keys: a JSON object that maps
    /// the address in `Signature-Agent` to the bot's `name`, its `class` (optional), and the `keys` of the directory
    /// that it publishes. Events of clicks with a valid signature name the bot as verified. Nothing is fetched.
    pub signed_agents_file: Option<PathBuf>,
    /// Precision of the location in events.
    pub location: Precision,
    /// Whether `Sec-GPC: 1` and `DNT: 1` remove session and detailed location from the visitor's events.
    pub honour_opt_out: bool,
    /// Privacy settings of one workspace, by its id. What is not set here is as for all workspaces.
    pub workspaces: BTreeMap<String, Privacy>,
    /// Seconds without a click after which a visitor's session ends, 1 to 86400.
    pub session_idle_secs: u64,
    /// Number of visitors in the session table, 1 to 100000000. Each takes 51 bytes of the tmpfs of `capture.dir`,
    /// allocated at the start. As the table fills up, the visitors that have been idle for the longest are removed.
    pub session_visitors: usize,
    /// Hour of the day in UTC, 0 to 23, at which the key that recognises visitors is replaced. The previous key is kept
    /// until the last visit under it has ended. Edges that share a secret need the same hour.
    pub session_rotation_hour: u8,
    /// File with a secret that several edges share: 32 to 4096 bytes, not counting one line end. The key of each day is
    /// derived from it, so that all of them recognise a visitor as the same individual. Sessions are not shared: one
    /// continues at another edge only when the file `sessions` in `capture.dir` is copied there. Without a secret each
    /// edge has random keys. Only this service should be able to read the file.
    pub session_key_file: Option<PathBuf>,
}

impl Default for Enrich {
    fn default() -> Self {
        Self {
            workers: 0,
            geoip_file: None,
            asn_file: None,
            hosting_networks_file: None,
            anonymizer_networks_file: None,
            crawlers_file: None,
            not_crawlers: Vec::new(),
            search_engines_file: None,
            socials_file: None,
            ai_assistants_file: None,
            spammers_file: None,
            signed_agents_file: None,
            location: Precision::Coordinates,
            honour_opt_out: true,
            workspaces: BTreeMap::new(),
            session_idle_secs: 30 * 60,
            session_visitors: 1_000_000,
            session_rotation_hour: 0,
            session_key_file: None,
        }
    }
}

/// Privacy settings of one workspace.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Privacy {
    /// Precision of the location in events.
    pub location: Option<Precision>,
    /// Whether `Sec-GPC: 1` and `DNT: 1` remove session and detailed location from the visitor's events.
    pub honour_opt_out: Option<bool>,
}

/// Precision of the location in events.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// The country only.
    Country,
    /// Country and region (ISO 3166-2).
    Region,
    /// Country, region and city.
    City,
    /// Country, region, city, latitude and longitude.
    #[default]
    Coordinates,
}

impl Section for Enrich {
    fn rules(&self, _all: &Config, findings: &mut Findings) {
        findings.range("enrich.workers", self.workers, 0..=MAX_THREADS, "0 takes one for each two processors");
        for (i, text) in self.not_crawlers.iter().enumerate() {
            if !(MIN_NOT_CRAWLER..=MAX_NOT_CRAWLER).contains(&text.len()) {
                findings.error(
                    format!("enrich.not_crawlers[{i}]"),
                    format!("must have {MIN_NOT_CRAWLER} to {MAX_NOT_CRAWLER} bytes, has {}", text.len()),
                    "write the name as it is in the user agent, such as `ExampleApp/`",
                );
            }
        }
        findings.range(
            "enrich.session_idle_secs",
            self.session_idle_secs,
            1..=86_400,
            "write how long a visit may pause, such as 1800",
        );
        findings.range(
            "enrich.session_visitors",
            self.session_visitors,
            1..=100_000_000,
            "write how many visitors are remembered, such as 1000000",
        );
        findings.range(
            "enrich.session_rotation_hour",
            self.session_rotation_hour,
            0..=23,
            "write the hour, in UTC, with the fewest clicks, such as 3",
        );
    }

    fn paths(&mut self) -> Vec<(String, &mut PathBuf)> {
        set_paths([
            ("enrich.geoip_file", &mut self.geoip_file),
            ("enrich.asn_file", &mut self.asn_file),
            ("enrich.hosting_networks_file", &mut self.hosting_networks_file),
            ("enrich.anonymizer_networks_file", &mut self.anonymizer_networks_file),
            ("enrich.crawlers_file", &mut self.crawlers_file),
            ("enrich.search_engines_file", &mut self.search_engines_file),
            ("enrich.socials_file", &mut self.socials_file),
            ("enrich.ai_assistants_file", &mut self.ai_assistants_file),
            ("enrich.spammers_file", &mut self.spammers_file),
            ("enrich.signed_agents_file", &mut self.signed_agents_file),
            ("enrich.session_key_file", &mut self.session_key_file),
        ])
    }
}

#[cfg(test)]
mod tests {
    use crate::config::fixture::each_is_an_error;

    #[test]
    fn workers_files_and_sessions_are_checked() {
        each_is_an_error(&[
            ("enrich.workers", "is 1025", |c| c.enrich.workers = 1025),
            ("enrich.geoip_file", "is empty", |c| c.enrich.geoip_file = Some("".into())),
            ("enrich.crawlers_file", "is empty", |c| c.enrich.crawlers_file = Some("".into())),
            ("enrich.not_crawlers[0]", "must have 3 to 256 bytes, has 1", |c| {
                c.enrich.not_crawlers = vec!["a".into()];
            }),
            ("enrich.session_idle_secs", "between 1 and 86400, is 0", |c| c.enrich.session_idle_secs = 0),
            ("enrich.session_visitors", "is 0", |c| c.enrich.session_visitors = 0),
            ("enrich.session_rotation_hour", "between 0 and 23, is 24", |c| c.enrich.session_rotation_hour = 24),
            ("enrich.session_key_file", "is empty", |c| c.enrich.session_key_file = Some("".into())),
        ]);
    }
}
