//! `[enrich]`: what the workers know, and what they may tell.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The workers that turn raw clicks into click events. All files named here are read into memory; SIGHUP reads them
/// again, and one that is broken then leaves the old one in service.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Enrich {
    /// Worker threads. 0 means one for each two processors, at least one.
    pub workers: usize,
    /// `MaxMind` City, Enterprise or Country database, or one of the same structure, such as DB-IP's. Without it events
    /// carry no location.
    pub geoip_file: Option<PathBuf>,
    /// `MaxMind` ASN or ISP database, or one of the same structure, such as DB-IP's. With it, clicks from the networks of
    /// hosting and cloud providers are told from others.
    pub asn_file: Option<PathBuf>,
    /// Networks of data centres beside those, one a line, such as `192.0.2.0/24`; `#` begins a comment.
    pub hosting_networks_file: Option<PathBuf>,
    /// Networks of anonymizers with people behind them, such as the exits of Tor and VPNs, in the same form. An address
    /// of both is an anonymizer's.
    pub anonymizer_networks_file: Option<PathBuf>,
    /// Crawlers beside the ones that are built in: the community's `crawler-user-agents.json`, an array of objects with
    /// a `pattern` (a regular expression) and `tags` (which give the class). An entry that cannot be used is skipped
    /// with a warning; a file with more than one such entry in ten is refused.
    pub crawlers_file: Option<PathBuf>,
    /// Texts that mark an agent string as a person's whatever else it holds, in any case: applications that name
    /// themselves like a crawler. The in-app browsers that most people use are built in. What else a request shows
    /// (a prefetch, missing headers, its network) still counts.
    pub not_crawlers: Vec<String>,
    /// Search engines beside the ones that are built in, in Matomo's format (`SearchEngines.yml`).
    pub search_engines_file: Option<PathBuf>,
    /// Social networks beside the ones that are built in, in Matomo's format (`Socials.yml`).
    pub socials_file: Option<PathBuf>,
    /// AI assistants beside the ones that are built in, in Matomo's format (`AIAssistants.yml`).
    pub ai_assistants_file: Option<PathBuf>,
    /// Hosts that send spam referrers, one a line, as in Matomo's `spammers.txt`.
    pub spammers_file: Option<PathBuf>,
    /// Most that events tell of where a visitor is.
    pub location: Precision,
    /// Leave session and location detail out of events whose visitor sent `Sec-GPC: 1` or `DNT: 1`.
    pub honour_opt_out: bool,
    /// The last two for single workspaces, by the workspace's id.
    pub workspaces: BTreeMap<String, Privacy>,
    /// Seconds without a click after which a visitor's session ends.
    pub session_idle_secs: u64,
    /// Visitors that are remembered, in a table of 51 bytes for each, taken at the start from the tmpfs of
    /// `capture.dir`. As it fills up, visitors that have been idle for the longest are forgotten.
    pub session_visitors: usize,
    /// Hour of the day in UTC, 0 to 23, at which the key that recognises visitors is replaced. The key before is kept
    /// until the last visit under it has ended. Edges that share a secret need the same hour.
    pub session_rotation_hour: u8,
    /// File with a secret that several edges share, 32 to 4096 bytes as they stand there, without one line end. The
    /// key of each day is derived from it, so that a visitor is the same individual to all of them. They do not share
    /// their sessions: one goes on at another edge only when `sessions` in `capture.dir` is handed over to it. Without
    /// a file each edge has random keys of its own. Keep it readable by this service only.
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

impl Enrich {
    /// All files that are named here.
    pub(super) fn files(&mut self) -> [Option<&mut PathBuf>; 10] {
        [
            self.geoip_file.as_mut(),
            self.asn_file.as_mut(),
            self.hosting_networks_file.as_mut(),
            self.anonymizer_networks_file.as_mut(),
            self.crawlers_file.as_mut(),
            self.search_engines_file.as_mut(),
            self.socials_file.as_mut(),
            self.ai_assistants_file.as_mut(),
            self.spammers_file.as_mut(),
            self.session_key_file.as_mut(),
        ]
    }
}

/// What a workspace's events may tell of visitors. What is not set is as for all.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Privacy {
    /// Most that events tell of where a visitor is.
    pub location: Option<Precision>,
    /// Leave session and location detail out of events whose visitor sent `Sec-GPC: 1` or `DNT: 1`.
    pub honour_opt_out: Option<bool>,
}

/// Most that events tell of where a visitor is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// The country.
    Country,
    /// And the region, as in ISO 3166-2.
    Region,
    /// And the city.
    City,
    /// And its latitude and longitude.
    #[default]
    Coordinates,
}
