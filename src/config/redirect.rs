//! `[redirect]`: how clicks are answered.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Config, Section, findings::Findings};

/// Longest time that a browser may keep a permanent redirect, in seconds.
const MAX_PERMANENT_SECS: u32 = 86_400;

/// Longest name of a query parameter, in bytes.
const MAX_PARAMETER: usize = 64;

/// How clicks are answered.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Redirect {
    /// Seconds of `max-age` in 301 and 308 answers, which browsers would otherwise keep for ever; at most 86400.
    /// 302 and 307 answers are never stored.
    pub permanent_max_age_secs: u32,
    /// Who may store permanent answers: `private` for browsers only, `public` for caches in between as well, which then
    /// answer visitors whose clicks this edge never sees.
    pub permanent_cache: Cache,
    /// Seconds that an idle keep-alive connection stays open, at most 3600. 0 closes it after each answer.
    pub keepalive_secs: u64,
    /// Name of a query parameter with which a request is redirected without being a click, such as "notrack". It is not
    /// forwarded. Letters, digits, `-`, `_` and `.`.
    pub no_track_parameter: Option<String>,
    /// Networks from which requests are redirected without being clicks, such as those of an office or a monitor.
    #[schemars(with = "Vec<String>")]
    pub untracked_networks: Vec<IpNet>,
    /// How long the scripts of a link may take before the visitor moves on, in milliseconds, 100 to 10000.
    pub scripts_timeout_millis: u64,
    /// Whether a visitor gets the same variant of a link at each click, as far as address and agent stay the same. It
    /// is picked by a keyed hash of both, which is neither stored nor sent, and not by a cookie. Visitors who opted out
    /// are not recognised. `false` picks a random variant at each click.
    pub sticky_variants: bool,
}

/// Who may store an answer.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cache {
    #[default]
    Private,
    Public,
}

impl Default for Redirect {
    fn default() -> Self {
        Self {
            permanent_max_age_secs: 90,
            permanent_cache: Cache::Private,
            keepalive_secs: 60,
            no_track_parameter: None,
            untracked_networks: Vec::new(),
            scripts_timeout_millis: 1_000,
            sticky_variants: true,
        }
    }
}

impl Section for Redirect {
    fn rules(&self, _all: &Config, findings: &mut Findings) {
        findings.range(
            "redirect.permanent_max_age_secs",
            self.permanent_max_age_secs,
            0..=MAX_PERMANENT_SECS,
            "browsers cannot be called back: keep it short, such as 90",
        );
        findings.range(
            "redirect.keepalive_secs",
            self.keepalive_secs,
            0..=3600,
            "write how many seconds an idle connection stays open, such as 60",
        );
        findings.range(
            "redirect.scripts_timeout_millis",
            self.scripts_timeout_millis,
            100..=10_000,
            "write how long a visitor may be kept, such as 1000",
        );
        if let Some(name) = &self.no_track_parameter
            && !is_parameter_name(name)
        {
            findings.error(
                "redirect.no_track_parameter",
                format!("must be 1 to {MAX_PARAMETER} letters, digits, `-`, `_` or `.`, is {name:?}"),
                "write the name alone, such as \"notrack\"",
            );
        }
        for (i, network) in self.untracked_networks.iter().enumerate() {
            if network.prefix_len() == 0 {
                findings.warning(
                    format!("redirect.untracked_networks[{i}]"),
                    "is every address, so that no request is a click",
                    "name the networks that are not to be counted only",
                );
            }
        }
    }
}

fn is_parameter_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=MAX_PARAMETER).contains(&name.len()) && name.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use crate::config::fixture::{each_is_a_warning, each_is_an_error};

    #[test]
    fn ages_are_checked() {
        each_is_an_error(&[
            ("redirect.permanent_max_age_secs", "is 86401", |c| c.redirect.permanent_max_age_secs = 86_401),
            ("redirect.keepalive_secs", "between 0 and 3600, is 3601", |c| c.redirect.keepalive_secs = 3601),
        ]);
    }

    #[test]
    fn what_is_not_tracked_is_checked() {
        each_is_an_error(&[
            ("redirect.no_track_parameter", "is \"\"", |c| c.redirect.no_track_parameter = Some(String::new())),
            ("redirect.no_track_parameter", "is \"a=b\"", |c| c.redirect.no_track_parameter = Some("a=b".into())),
            ("redirect.no_track_parameter", "is \"aaa", |c| c.redirect.no_track_parameter = Some("a".repeat(65))),
        ]);
        each_is_a_warning(&[("redirect.untracked_networks[0]", "no request is a click", |c| {
            c.redirect.untracked_networks = vec!["::/0".parse().unwrap()];
        })]);
    }
}
