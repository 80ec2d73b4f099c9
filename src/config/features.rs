//! What this build has: a configuration that needs a feature of the crate which was not compiled in is rejected.
//!
//! The types of the sections are the same in every build, so that one file fits all of them.

use super::{
    Config, Sink,
    findings::{Findings, Problem},
};

/// Features of the crate that a configuration can need.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "a flag a feature")]
pub struct Features {
    pub acme: bool,
    pub nats: bool,
    pub s3: bool,
    pub stats: bool,
    pub webhook: bool,
}

impl Features {
    /// Those that were compiled in.
    pub const fn of_this_build() -> Self {
        Self {
            acme: cfg!(feature = "acme"),
            nats: cfg!(feature = "nats"),
            s3: cfg!(feature = "s3"),
            stats: cfg!(feature = "stats"),
            webhook: cfg!(feature = "webhook"),
        }
    }

    /// What a configuration needs and this build does not have.
    pub fn problems(self, config: &Config) -> Vec<Problem> {
        let mut findings = Findings::default();
        self.rules(config, &mut findings);
        findings.into_problems()
    }

    pub(super) fn rules(self, config: &Config, findings: &mut Findings) {
        for (i, feed) in config.feeds.iter().enumerate() {
            if let Some(Missing { what, feature }) = self.missing(&feed.sink) {
                lacks(format!("feeds[{i}].sink.{feature}"), what, feature, ", or choose another sink", findings);
            }
        }
        if let Some(fleet) = &config.catalog.fleet {
            if !self.s3 {
                lacks("catalog.fleet", "fleet", "s3", "", findings);
            }
            if fleet.nats.is_some() && !self.nats {
                lacks("catalog.fleet.nats", "client of NATS", "nats", ", or remove the section", findings);
            }
        }
        if config.acme.is_some() && !self.acme {
            lacks("acme", "client of ACME", "acme", ", or name certificates in `[[listeners.tls]]`", findings);
        }
        if config.stats.enabled && !self.stats {
            lacks("stats.enabled", "store of counts", "stats", ", or set `stats.enabled = false`", findings);
        }
    }

    /// The feature that a sink needs and this build does not have.
    pub(crate) fn missing(self, sink: &Sink) -> Option<Missing> {
        let (has, what, feature) = match sink {
            Sink::Dir(_) | Sink::Custom(_) => return None,
            Sink::S3(_) => (self.s3, "S3 sink", "s3"),
            Sink::Webhook(_) => (self.webhook, "webhook sink", "webhook"),
            Sink::Nats(_) => (self.nats, "NATS sink", "nats"),
        };
        (!has).then_some(Missing { what, feature })
    }
}

/// A feature that this build lacks.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("this build has no {what}: build with `--features {feature}`")]
pub(crate) struct Missing {
    what: &'static str,
    feature: &'static str,
}

fn lacks(key: impl Into<String>, what: &str, feature: &str, instead: &str, findings: &mut Findings) {
    findings.error(
        key,
        format!("cannot be used: this build has no {what}"),
        format!("build with `--features {feature}`{instead}"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixture::sound;

    const NONE: Features = Features { acme: false, nats: false, s3: false, stats: false, webhook: false };

    #[test]
    fn what_was_not_compiled_in_is_an_error_with_its_feature() {
        let feed =
            |sink: &str| format!("[[feeds]]\nname = 'f'\nworkspaces = ['*']\n{sink}\n[stats]\nenabled = false");
        let s3 = "{ bucket = 'abc', region = 'r' }";
        for (text, key, feature) in [
            (feed(&format!("sink.s3 = {s3}")), "feeds[0].sink.s3", "s3"),
            (
                feed("sink.webhook = { url = 'https://a.example', secret_files = ['s'] }"),
                "feeds[0].sink.webhook",
                "webhook",
            ),
            (feed("sink.nats = { servers = ['nats://a'], subject = 's' }"), "feeds[0].sink.nats", "nats"),
            (format!("{}\n[catalog.fleet]\nbucket = {s3}", feed("sink.dir.path = 'd'")), "catalog.fleet", "s3"),
            ("[stats]\nenabled = true".to_owned(), "stats.enabled", "stats"),
            ("[acme]\n[stats]\nenabled = false".to_owned(), "acme", "acme"),
        ] {
            let config: Config = toml::from_str(&text).unwrap();
            let problems = NONE.problems(&config);
            let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
            assert_eq!(keys, [key], "{text}");
            assert!(problems[0].remedy.starts_with(&format!("build with `--features {feature}`")), "{problems:?}");
        }
    }

    #[test]
    fn what_needs_no_feature_is_accepted_by_every_build() {
        let mut config = sound();
        config.stats.enabled = false;
        config.feeds.truncate(1);
        assert_eq!(NONE.problems(&config), []);
    }
}
