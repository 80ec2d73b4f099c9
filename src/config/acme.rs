//! `[acme]`: certificates that the edge obtains by itself.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Config, Listener, Section,
    findings::{Findings, is_host_name},
};

/// Certificates that the edge obtains and renews by itself (RFC 8555), for listeners with `acme = true`.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Acme {
    /// Whether you accept the terms of service of the certificate authority (CA). Nothing is asked of it otherwise.
    pub accept_terms: bool,
    /// Where the CA describes itself: its directory. Let's Encrypt has another one for tries, whose certificates no
    /// browser accepts: `https://acme-staging-v02.api.letsencrypt.org/directory`.
    pub directory_url: String,
    /// Where the CA may reach you, as `mailto:` addresses.
    pub contact: Vec<String>,
    /// Whether each domain of the catalog gets a certificate. Names that only a client sends never do.
    pub catalog: bool,
    /// More names that get one, each in lower case and without wildcard.
    pub domains: Vec<String>,
    /// Names of the catalog that get none, such as those that do not lead to this edge; `*.example.com` excludes all
    /// names directly below.
    pub exclude: Vec<String>,
    /// How the CA sees that a name leads here.
    pub challenge: Challenge,
    /// Folder of account, keys and certificates, created with mode 0700. Edges that share it, on storage that all of
    /// them write to, share account, orders and certificates, and answer for each other.
    pub dir: PathBuf,
    /// File with the certificates that the CA's own server is verified by, PEM. Without it those of this machine.
    pub root_file: Option<PathBuf>,
    /// Most orders in an hour, of all edges that share the folder, 1 to 1000. Let's Encrypt allows about 100.
    pub orders_per_hour: u32,
}

/// How a CA sees that a name leads here.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Challenge {
    /// A file on port 80 of the name, which listeners without TLS answer. Every CA offers it, and it passes through
    /// load balancers that terminate TLS.
    #[serde(rename = "http-01")]
    Http01,
    /// A handshake on port 443 of the name. For edges that are not reachable on port 80.
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
}

impl Default for Acme {
    fn default() -> Self {
        Self {
            accept_terms: false,
            directory_url: "https://acme-v02.api.letsencrypt.org/directory".into(),
            contact: Vec::new(),
            catalog: false,
            domains: Vec::new(),
            exclude: Vec::new(),
            challenge: Challenge::Http01,
            dir: "/var/lib/clickedge/acme".into(),
            root_file: None,
            orders_per_hour: 50,
        }
    }
}

impl Acme {
    /// Whether a name of the catalog gets no certificate.
    pub fn excludes(&self, name: &str) -> bool {
        let parent = name.split_once('.').map(|(_, parent)| parent);
        self.exclude.iter().any(|excluded| match excluded.strip_prefix("*.") {
            Some(below) => parent == Some(below),
            None => excluded == name,
        })
    }
}

/// Whether a CA can give a certificate to this name, in lower case: a host name that is no IP address, with a dot.
pub fn is_certifiable(name: &str) -> bool {
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    is_host_name(name)
        && !name.bytes().any(|byte| byte.is_ascii_uppercase())
        && name.rsplit_once('.').is_some_and(|(_, last)| !is_number(last))
}

impl Section for Option<Acme> {
    fn rules(&self, all: &Config, findings: &mut Findings) {
        let Some(acme) = self else {
            for (i, _) in all.listeners.iter().enumerate().filter(|(_, listener)| listener.acme) {
                findings.error(
                    format!("listeners[{i}].acme"),
                    "is set, but nothing says which certificates to obtain",
                    "add a section `[acme]`",
                );
            }
            return;
        };
        acme.account(findings);
        acme.names(findings);
        acme.listeners(&all.listeners, findings);
        findings.range(
            "acme.orders_per_hour",
            acme.orders_per_hour,
            1..=1_000,
            "50 keeps to the limits of Let's Encrypt",
        );
        if acme.dir == all.spool.dir && findings.knows("spool.dir") {
            findings.error("acme.dir", "is the same folder as `spool.dir`", "give each a folder of its own");
        }
    }

    fn paths(&mut self) -> Vec<(String, &mut PathBuf)> {
        let Some(acme) = self else { return Vec::new() };
        let root = acme.root_file.iter_mut().map(|file| ("acme.root_file".to_owned(), file));
        [("acme.dir".to_owned(), &mut acme.dir)].into_iter().chain(root).collect()
    }
}

impl Acme {
    fn account(&self, findings: &mut Findings) {
        if !self.accept_terms {
            findings.error(
                "acme.accept_terms",
                "is false: no CA gives certificates to those who do not accept its terms of service",
                "read them, and write `accept_terms = true`",
            );
        }
        let is_https =
            url::Url::parse(&self.directory_url).is_ok_and(|url| url.scheme() == "https" && url.has_host());
        if !is_https {
            findings.error(
                "acme.directory_url",
                format!("is {:?}, which is no URL with `https`", self.directory_url),
                "write the URL that your CA names, such as `https://acme-v02.api.letsencrypt.org/directory`",
            );
        }
        for (i, contact) in self.contact.iter().enumerate() {
            if !contact.strip_prefix("mailto:").is_some_and(|address| address.contains('@')) {
                findings.error(
                    format!("acme.contact[{i}]"),
                    format!("is {contact:?}, which is no `mailto:` address"),
                    "write it like `mailto:certificates@example.com`",
                );
            }
        }
    }

    fn names(&self, findings: &mut Findings) {
        if !self.catalog && self.domains.is_empty() && findings.knows("acme.domains") {
            findings.error(
                "acme.catalog",
                "is false and `acme.domains` is empty, so that no certificate is obtained",
                "write `catalog = true`, or name the domains",
            );
        }
        for (i, name) in self.domains.iter().enumerate() {
            let key = format!("acme.domains[{i}]");
            if name.starts_with("*.") {
                findings.error(
                    key,
                    format!("is {name:?}: a wildcard needs a record in DNS, which this edge cannot write"),
                    "name each domain, or obtain it with another program and put it into `listeners.certificates_dir`",
                );
            } else if !is_certifiable(name) {
                findings.error(
                    key,
                    format!("is {name:?}, which is no full host name in lower case"),
                    "write the host alone, such as `go.example.com`; international names in their `xn--` form",
                );
            }
        }
        for (i, name) in self.exclude.iter().enumerate() {
            if !is_certifiable(name.strip_prefix("*.").unwrap_or(name)) {
                findings.error(
                    format!("acme.exclude[{i}]"),
                    format!("is {name:?}, which is no full host name in lower case"),
                    "write the host alone, such as `go.example.com`, or `*.example.com` for all directly below",
                );
            }
        }
    }

    fn listeners(&self, listeners: &[Listener], findings: &mut Findings) {
        if !findings.knows("listeners") {
            return;
        }
        if !listeners.iter().any(|listener| listener.acme) {
            findings.error(
                "acme",
                "has no listener that uses its certificates",
                "write `acme = true` in the section of the listener on port 443",
            );
        }
        if self.challenge == Challenge::Http01 && listeners.iter().all(Listener::has_tls) {
            findings.error(
                "acme.challenge",
                "is \"http-01\", which only listeners without TLS answer, and all listeners have TLS",
                "add a listener on port 80, or write \"tls-alpn-01\"",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixture::each_is_an_error;

    fn acme(config: &mut Config) -> &mut Acme {
        config.listeners[1].acme = true;
        config.acme.insert(Acme { accept_terms: true, catalog: true, ..Acme::default() })
    }

    #[test]
    fn the_section_is_checked() {
        each_is_an_error(&[
            ("listeners[0].acme", "nothing says which", |c| c.listeners[0].acme = true),
            ("acme.accept_terms", "is false", |c| acme(c).accept_terms = false),
            ("acme.directory_url", "no URL with `https`", |c| acme(c).directory_url = "http://ca.example/".into()),
            ("acme.contact[0]", "no `mailto:` address", |c| acme(c).contact = vec!["ops@example.com".into()]),
            ("acme.catalog", "no certificate is obtained", |c| acme(c).catalog = false),
            ("acme.domains[0]", "a wildcard needs a record", |c| acme(c).domains = vec!["*.example.com".into()]),
            ("acme.domains[0]", "no full host name", |c| acme(c).domains = vec!["Go.example.com".into()]),
            ("acme.exclude[0]", "no full host name", |c| acme(c).exclude = vec!["*".into()]),
            ("acme.orders_per_hour", "is 0", |c| acme(c).orders_per_hour = 0),
            ("acme.dir", "is empty", |c| acme(c).dir.clear()),
            ("acme.dir", "the same folder as `spool.dir`", |c| acme(c).dir = Config::default().spool.dir),
            ("acme", "has no listener", |c| {
                acme(c);
                c.listeners[1].acme = false;
            }),
            ("acme.challenge", "all listeners have TLS", |c| {
                acme(c);
                c.listeners.remove(0);
            }),
        ]);
    }

    #[test]
    fn names_that_no_ca_accepts_are_known() {
        for name in ["go.brand.com", "xn--bcher-kva.example", "a-1.b2"] {
            assert!(is_certifiable(name), "{name}");
        }
        for name in ["", "localhost", "10.0.0.1", "a_b.example", "*.a.example", "Go.brand.com", "a..b", "a.b."] {
            assert!(!is_certifiable(name), "{name}");
        }
    }

    #[test]
    fn a_wildcard_excludes_what_is_directly_below() {
        let acme = Acme { exclude: vec!["*.a.example".into(), "b.example".into()], ..Acme::default() };
        assert!(acme.excludes("x.a.example") && acme.excludes("b.example"));
        assert!(!acme.excludes("x.y.a.example") && !acme.excludes("a.example") && !acme.excludes("x.b.example"));
    }
}
