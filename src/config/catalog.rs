//! `[catalog]`: the links, and settings of their domains.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Config, Section,
    findings::{Findings, is_host_name},
};
use crate::link::{Case, Forward};

/// The links that this edge knows.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Catalog {
    /// NDJSON file with one link a line, read at the start and again on SIGHUP.
    pub file: PathBuf,
    /// Share of lines that may be bad, 0 to 1. Bad lines are reported and skipped; with more of them the whole file is
    /// rejected.
    pub max_bad_ratio: f64,
    /// Share by which a reload may shrink the catalog, 0 to 1. A file that is smaller still is rejected as truncated.
    /// 1 accepts any size.
    pub max_shrink_ratio: f64,
    /// What happens to the query of the short link when the link has no `forwardParameters` of its own.
    pub forward_parameters: Forward,
    /// Settings of one branded domain, by its host name in lower case.
    pub domains: BTreeMap<String, Domain>,
}

impl Default for Catalog {
    fn default() -> Self {
        Self {
            file: "links.ndjson".into(),
            max_bad_ratio: 0.01,
            max_shrink_ratio: 0.5,
            forward_parameters: Forward::Off,
            domains: BTreeMap::new(),
        }
    }
}

/// Settings of one branded domain.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Domain {
    /// Whether `/Spring` and `/spring` are the same link.
    pub case: Case,
}

impl Section for Catalog {
    fn rules(&self, _all: &Config, findings: &mut Findings) {
        findings.ratio("catalog.max_bad_ratio", self.max_bad_ratio);
        findings.ratio("catalog.max_shrink_ratio", self.max_shrink_ratio);
        for host in self.domains.keys() {
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
        vec![("catalog.file".to_owned(), &mut self.file)]
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Domain, fixture::each_is_an_error};

    #[test]
    fn file_shares_and_hosts_are_checked() {
        each_is_an_error(&[
            ("catalog.file", "is empty", |c| c.catalog.file.clear()),
            ("catalog.max_bad_ratio", "between 0 and 1, is -0.1", |c| c.catalog.max_bad_ratio = -0.1),
            ("catalog.max_bad_ratio", "is NaN", |c| c.catalog.max_bad_ratio = f64::NAN),
            ("catalog.max_shrink_ratio", "is 1.01", |c| c.catalog.max_shrink_ratio = 1.01),
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
