//! `[catalog]`: the links, and settings of their domains.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Config, Fleet, Listener, Section,
    findings::{Findings, is_host_name},
};
use crate::link::{Case, Forward, hsts};

/// Name of the private copy of a snapshot in the state folder.
pub const PRIVATE_SNAPSHOT: &str = "base.snapshot";

/// The links that this edge knows.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Catalog {
    /// The links: a snapshot that `clickedge catalog build` made, or an NDJSON file with one link a line. Read at the
    /// start and again on SIGHUP.
    pub file: PathBuf,
    /// Folder for what this edge keeps of the catalog: a private copy of a snapshot, which is mapped into memory, and
    /// the log of changes that were made by the API. One edge uses it alone, and nothing else writes there. Without it
    /// snapshots are read into memory, and no changes can be made.
    pub state_dir: Option<PathBuf>,
    /// Share of lines that may be bad, 0 to 1. Bad lines are reported and skipped; with more of them the whole file is
    /// rejected.
    pub max_bad_ratio: f64,
    /// Share by which a reload may shrink the catalog, 0 to 1, compared with the largest catalog of the last 24 hours.
    /// A smaller file is rejected as truncated, unless at most 10 links go and half of them stay. 1 accepts any size.
    pub max_shrink_ratio: f64,
    /// Share by which a reload may enlarge the catalog, more than 0, compared with the current one: at 1 it may double.
    /// A larger file is rejected as suspicious. A catalog of less than 1,000 links may grow without limit.
    pub max_growth_ratio: f64,
    /// What happens to the query of the short link when the link has no `forwardParameters` of its own.
    pub forward_parameters: Forward,
    /// What becomes of links that lead back to themselves, directly or by other links. A load reports them with the
    /// chain in either case.
    pub loops: Loops,
    /// The bucket from which many edges take one catalog. It replaces `file`, and needs `state_dir`.
    pub fleet: Option<Fleet>,
    /// Settings of one branded domain, by its host name in lower case.
    pub domains: BTreeMap<String, Domain>,
}

impl Default for Catalog {
    fn default() -> Self {
        Self {
            file: "links.ndjson".into(),
            state_dir: None,
            max_bad_ratio: 0.01,
            max_shrink_ratio: 0.1,
            max_growth_ratio: 1.0,
            forward_parameters: Forward::Off,
            loops: Loops::Keep,
            fleet: None,
            domains: BTreeMap::new(),
        }
    }
}

/// What becomes of links that lead back to themselves.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Loops {
    /// They are redirected. Browsers give up after some twenty redirects.
    #[default]
    Keep,
    /// They are switched off.
    Disable,
}

/// Settings of one branded domain.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Domain {
    /// Whether `/Spring` and `/spring` are the same link.
    pub case: Case,
    /// Value of the header `Strict-Transport-Security` (RFC 6797), which is sent with every answer of this domain over
    /// TLS, and never without TLS: `max-age=31536000; includeSubDomains`. Browsers keep to HTTPS for so many seconds.
    pub hsts: Option<String>,
}

impl Catalog {
    /// The file that the catalog is loaded from. An edge of a fleet has it in its state folder, from the second start
    /// on.
    pub fn source(&self) -> Cow<'_, Path> {
        match &self.state_dir {
            Some(dir) if self.fleet.is_some() => dir.join(PRIVATE_SNAPSHOT).into(),
            _ => self.file.as_path().into(),
        }
    }

    /// Leaves the state folder to the edge that uses it.
    pub fn forget_state(&mut self) {
        self.file = self.source().into_owned();
        self.state_dir = None;
    }
}

impl Section for Catalog {
    fn rules(&self, all: &Config, findings: &mut Findings) {
        findings.ratio("catalog.max_bad_ratio", self.max_bad_ratio);
        findings.ratio("catalog.max_shrink_ratio", self.max_shrink_ratio);
        let growth = self.max_growth_ratio;
        if growth.is_nan() || growth <= 0.0 {
            let remedy = "1 lets a reload double the catalog, 9 lets it grow tenfold";
            findings.error("catalog.max_growth_ratio", format!("must be more than 0, is {growth}"), remedy);
        }
        if let Some(fleet) = &self.fleet {
            fleet.rules(findings);
            if self.state_dir.is_none() && findings.knows("catalog.state_dir") {
                findings.error(
                    "catalog.fleet",
                    "needs a folder for the snapshots and changes of the fleet, and `catalog.state_dir` is not set",
                    "set it, such as `state_dir = \"/var/lib/clickedge/catalog\"`",
                );
            }
        }
        for (host, domain) in &self.domains {
            if let Some(hsts) = &domain.hsts {
                check_hsts(&format!("catalog.domains.\"{host}\".hsts"), hsts, all, findings);
            }
            if !is_host_name(host) || host.chars().any(|c| c.is_ascii_uppercase()) {
                findings.error(
                    format!("catalog.domains.\"{host}\""),
                    "is not a host name in lower case",
                    "write the host alone, without scheme, port or path, such as `go.example.com`; \
                     international names in their `xn--` form",
                );
            }
        }
    }

    fn paths(&mut self) -> Vec<(String, &mut PathBuf)> {
        let file = ("catalog.file".to_owned(), &mut self.file);
        let state_dir = self.state_dir.as_mut().map(|dir| ("catalog.state_dir".to_owned(), dir));
        [file].into_iter().chain(state_dir).chain(self.fleet.iter_mut().flat_map(Fleet::paths)).collect()
    }
}

fn check_hsts(key: &str, value: &str, all: &Config, findings: &mut Findings) {
    if let Some(problem) = hsts::problem(value) {
        findings.error(key, problem, hsts::REMEDY);
    } else if !all.listeners.iter().any(Listener::has_tls) {
        findings.warning(
            key,
            "has no effect: it is sent over TLS only, and no listener has certificates",
            "configure certificates, or leave the header to what terminates TLS",
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{
        Domain,
        fixture::{each_is_a_warning, each_is_an_error, sound},
    };

    const HSTS: &str = "catalog.domains.\"go.example.com\".hsts";

    #[test]
    fn a_policy_of_hsts_is_valid_or_rejected() {
        let problems = |value: &str| {
            let mut config = sound();
            config.catalog.domains.get_mut("go.example.com").unwrap().hsts = Some(value.into());
            config.problems().into_iter().map(|problem| (problem.key, problem.message)).collect::<Vec<_>>()
        };
        for good in [
            "max-age=31536000",
            "max-age=0",
            "max-age=\"300\"; includeSubDomains",
            "includesubdomains;MAX-AGE = 1; preload;",
        ] {
            assert_eq!(problems(good), [], "{good}");
        }
        for (bad, message) in [
            ("", "lacks `max-age`"),
            ("includeSubDomains", "lacks `max-age`"),
            ("max-age", "\"max-age\", which is no directive"),
            ("max-age=", "\"max-age=\""),
            ("max-age=+1", "\"max-age=+1\""),
            ("max-age=1y", "\"max-age=1y\""),
            ("max-age=4294967296", "4294967296"),
            ("max-age=1, includeSubDomains", "no directive"),
            ("max-age=1; includeSubdomain", "\"includeSubdomain\""),
            ("max-age=1; includeSubDomains=1", "\"includeSubDomains=1\""),
            ("max-age=1; Max-Age=2", "`max-age` more than once"),
            ("max-age=1;\n", "no header may hold"),
            ("max-age=1\r\nX: y", "no header may hold"),
        ] {
            let problems = problems(bad);
            let [(key, found)] = &problems[..] else { panic!("{bad}: {problems:?}") };
            assert!(key == HSTS && found.contains(message), "{bad}: {found}");
        }
        each_is_a_warning(&[(HSTS, "has no effect", |c| {
            c.listeners[1].tls.clear();
            c.catalog.domains.get_mut("go.example.com").unwrap().hsts = Some("max-age=1".into());
        })]);
    }

    #[test]
    fn file_shares_and_hosts_are_checked() {
        each_is_an_error(&[
            ("catalog.file", "is empty", |c| c.catalog.file.clear()),
            ("catalog.max_bad_ratio", "between 0 and 1, is -0.1", |c| c.catalog.max_bad_ratio = -0.1),
            ("catalog.max_bad_ratio", "is NaN", |c| c.catalog.max_bad_ratio = f64::NAN),
            ("catalog.max_shrink_ratio", "is 1.01", |c| c.catalog.max_shrink_ratio = 1.01),
            ("catalog.max_growth_ratio", "more than 0, is 0", |c| c.catalog.max_growth_ratio = 0.0),
            ("catalog.max_growth_ratio", "is NaN", |c| c.catalog.max_growth_ratio = f64::NAN),
            ("catalog.domains.\"https://a.b\"", "not a host name", |c| {
                c.catalog.domains.insert("https://a.b".into(), Domain::default());
            }),
            ("catalog.domains.\"Go.example.com\"", "not a host name", |c| {
                c.catalog.domains.insert("Go.example.com".into(), Domain::default());
            }),
            ("catalog.domains.\"\"", "not a host name", |c| {
                c.catalog.domains.insert(String::new(), Domain::default());
            }),
        ]);
    }
}
