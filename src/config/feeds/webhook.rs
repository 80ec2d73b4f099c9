//! A feed's webhook: an HTTP endpoint that receives signed batches of events.

use std::{net::IpAddr, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::config::findings::Findings;

/// An HTTP endpoint that receives batches of events as signed `POST` requests, after the Standard Webhooks
/// specification.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// URL of the endpoint, `https://hooks.example.com/clicks`.
    pub url: String,
    /// Files with the signing secrets: one, or two while the secret is replaced. A file holds `whsec_` and the base64
    /// of 24 to 64 random bytes; only its owner should be able to read it. Read again on `SIGHUP`.
    pub secret_files: Vec<PathBuf>,
    /// Most events of a request, 1 to 10000.
    #[serde(default = "default_max_events")]
    pub max_events: usize,
    /// Largest body of a request, 1 KiB to 64 MiB. An event that is larger by itself is sent alone.
    #[serde(default = "default_max_body_bytes")]
    pub max_body_bytes: usize,
    /// Seconds to connect, 1 to 600.
    #[serde(default = "default_connect_secs")]
    pub connect_timeout_secs: u64,
    /// Seconds for a whole request, from connecting to the answer's status, 1 to 600.
    #[serde(default = "default_request_secs")]
    pub request_timeout_secs: u64,
    /// Number of concurrent requests, 1 to 64. With 1, events arrive in the order of the objects.
    #[serde(default = "default_uploads")]
    pub uploads: usize,
    /// Whether `url` may begin with `http://` although it leads to another machine. Events are then readable on the
    /// way.
    #[serde(default)]
    pub allow_http: bool,
    /// File with the certificates (PEM) that issue the endpoint's certificate, instead of those of this machine.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

fn default_max_events() -> usize {
    500
}

fn default_max_body_bytes() -> usize {
    1 << 20
}

fn default_connect_secs() -> u64 {
    5
}

fn default_request_secs() -> u64 {
    30
}

fn default_uploads() -> usize {
    1
}

impl Webhook {
    /// The URL without its query, which may hold a token: for log lines.
    pub fn shown_url(&self) -> &str {
        self.url.split('?').next().unwrap_or_default()
    }

    /// `key` is the path of this webhook.
    pub(super) fn rules(&self, key: &str, findings: &mut Findings) {
        self.url_rules(format!("{key}.url"), findings);
        if !(1..=2).contains(&self.secret_files.len()) {
            findings.error(
                format!("{key}.secret_files"),
                format!("must name one file, or two while the secret is replaced, names {}", self.secret_files.len()),
                "create a secret with `echo whsec_$(head -c 32 /dev/urandom | base64)`, and name its file",
            );
        }
        findings.range(format!("{key}.max_events"), self.max_events, 1..=10_000, "500 suits most receivers");
        findings.range(
            format!("{key}.max_body_bytes"),
            self.max_body_bytes,
            1 << 10..=64 << 20,
            "1048576 (1 MiB) is what most servers accept",
        );
        let connect = self.connect_timeout_secs;
        findings.range(format!("{key}.connect_timeout_secs"), connect, 1..=600, "5 suits most networks");
        let request = self.request_timeout_secs;
        findings.range(format!("{key}.request_timeout_secs"), request, 1..=600, "30 suits most receivers");
        findings.range(format!("{key}.uploads"), self.uploads, 1..=64, "1 keeps the order, 4 is faster");
    }

    /// The URL may contain a password or a token, so a message repeats its scheme only.
    fn url_rules(&self, key: String, findings: &mut Findings) {
        let example = "write it like `https://hooks.example.com/clicks`";
        let Ok(url) = Url::parse(&self.url) else {
            return findings.error(key, "is not a URL with scheme and host", example);
        };
        if !matches!(url.scheme(), "http" | "https") {
            findings.error(key, format!("must begin with https://, not {}:", url.scheme()), example);
        } else if !url.username().is_empty() || url.password().is_some() {
            findings.error(key, "contains a user name or password", "remove it: requests are signed");
        } else if url.fragment().is_some() {
            findings.error(key, "has a fragment", "remove the part from `#` on");
        } else if url.scheme() == "http" && !self.allow_http && !is_loopback(&url) {
            findings.error(
                key,
                "begins with http://, so that events are readable on the way",
                "use https://, or set `allow_http = true` in a network of your own",
            );
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{
        Config, Sink,
        fixture::{each_is_an_error, sound},
    };

    fn webhook(config: &mut Config) -> &mut Webhook {
        let json = serde_json::json!({"url": "https://hooks.example.com/clicks", "secret_files": ["secret"]});
        config.feeds[0].sink = Sink::Webhook(serde_json::from_value(json).unwrap());
        let Sink::Webhook(webhook) = &mut config.feeds[0].sink else { unreachable!() };
        webhook
    }

    #[test]
    fn webhooks_are_checked() {
        each_is_an_error(&[
            ("feeds[0].sink.webhook.url", "not a URL", |c| webhook(c).url = "hooks".into()),
            ("feeds[0].sink.webhook.url", "not ftp:", |c| webhook(c).url = "ftp://hooks".into()),
            ("feeds[0].sink.webhook.url", "user name", |c| webhook(c).url = "https://a:b@hooks".into()),
            ("feeds[0].sink.webhook.url", "fragment", |c| webhook(c).url = "https://hooks/#a".into()),
            ("feeds[0].sink.webhook.url", "readable", |c| webhook(c).url = "http://hooks.example.com/".into()),
            ("feeds[0].sink.webhook.url", "readable", |c| webhook(c).url = "http://10.0.0.1/".into()),
            ("feeds[0].sink.webhook.secret_files", "names 0", |c| webhook(c).secret_files.clear()),
            ("feeds[0].sink.webhook.secret_files", "names 3", |c| webhook(c).secret_files = vec!["a".into(); 3]),
            ("feeds[0].sink.webhook.secret_files[0]", "is empty", |c| webhook(c).secret_files = vec!["".into()]),
            ("feeds[0].sink.webhook.ca_file", "is empty", |c| webhook(c).ca_file = Some("".into())),
            ("feeds[0].sink.webhook.max_events", "is 0", |c| webhook(c).max_events = 0),
            ("feeds[0].sink.webhook.max_body_bytes", "is 1023", |c| webhook(c).max_body_bytes = 1023),
            ("feeds[0].sink.webhook.connect_timeout_secs", "is 0", |c| webhook(c).connect_timeout_secs = 0),
            ("feeds[0].sink.webhook.request_timeout_secs", "is 601", |c| webhook(c).request_timeout_secs = 601),
            ("feeds[0].sink.webhook.uploads", "is 65", |c| webhook(c).uploads = 65),
            ("feeds[0].rollups", "a webhook", |c| {
                webhook(c);
                c.feeds[0].rollups = true;
            }),
        ]);
    }

    #[test]
    fn plain_http_passes_on_this_machine_or_where_it_is_allowed() {
        for url in
            ["http://localhost:8080/hook", "http://127.0.0.9/", "http://[::1]:80/", "https://a.example/?token=1"]
        {
            let mut config = sound();
            webhook(&mut config).url = url.into();
            assert_eq!(config.problems(), [], "{url}");
        }
        let mut config = sound();
        *webhook(&mut config) =
            Webhook { url: "http://10.0.0.1/".into(), allow_http: true, ..webhook(&mut sound()).clone() };
        assert_eq!(config.problems(), []);
    }

    #[test]
    fn a_message_never_repeats_a_token() {
        let mut config = sound();
        webhook(&mut config).url = "http://hooks.example.com/?token=secret".into();
        assert!(!format!("{:?}", config.problems()).contains("secret"));
        assert_eq!(webhook(&mut config).shown_url(), "https://hooks.example.com/clicks");
    }
}
