//! A feed's stream of NATS JetStream.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::config::findings::Findings;

/// A stream of NATS JetStream that receives each event as a message.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Nats {
    /// Servers of one cluster, `nats://host:4222`, or `tls://host:4222` where TLS is required.
    pub servers: Vec<String>,
    /// Subject of every message, without wildcards. A stream must have it.
    pub subject: String,
    /// Name of the stream: messages that would go to another stream are rejected.
    #[serde(default)]
    pub stream: Option<String>,
    /// File with the user's JWT and key, as `nsc` writes it (`.creds`).
    #[serde(default)]
    pub credentials_file: Option<PathBuf>,
    /// File with the certificates (PEM) that issue the servers' certificates, instead of those of this machine.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Seconds to connect to a server, 1 to 600.
    #[serde(default = "default_connect_secs")]
    pub connect_timeout_secs: u64,
    /// Seconds until a message is acknowledged, 1 to 600.
    #[serde(default = "default_ack_secs")]
    pub ack_timeout_secs: u64,
    /// Most messages that wait for their acknowledgement, 1 to 4096.
    #[serde(default = "default_max_in_flight")]
    pub max_in_flight: usize,
}

fn default_connect_secs() -> u64 {
    5
}

fn default_ack_secs() -> u64 {
    10
}

fn default_max_in_flight() -> usize {
    512
}

impl Nats {
    /// `key` is the path of this stream.
    pub(super) fn rules(&self, key: &str, findings: &mut Findings) {
        connection_rules(key, (&self.servers, &self.subject), findings);
        if let Some(stream) = &self.stream
            && (stream.is_empty()
                || stream.contains(|c: char| c.is_whitespace() || c.is_control() || ".*>/\\".contains(c)))
        {
            findings.error(
                format!("{key}.stream"),
                format!("must be a name without spaces, dots, slashes and wildcards, is {stream:?}"),
                "write it as `nats stream ls` shows it, or remove the key",
            );
        }
        let connect = self.connect_timeout_secs;
        findings.range(format!("{key}.connect_timeout_secs"), connect, 1..=600, "5 suits most networks");
        findings.range(format!("{key}.ack_timeout_secs"), self.ack_timeout_secs, 1..=600, "10 suits most clusters");
        findings.range(format!("{key}.max_in_flight"), self.max_in_flight, 1..=4_096, "512 suits most networks");
    }
}

/// Rules of the servers of a cluster and of a subject; `key` is the path of the table that has both.
pub(in crate::config) fn connection_rules(key: &str, (servers, subject): (&[String], &str), findings: &mut Findings) {
    if servers.is_empty() {
        findings.error(format!("{key}.servers"), "is empty", "name a server like `nats://10.0.0.4:4222`");
    }
    for (i, server) in servers.iter().enumerate() {
        server_rules(format!("{key}.servers[{i}]"), server, findings);
    }
    if !is_subject(subject) {
        findings.error(
            format!("{key}.subject"),
            format!("must be words between dots, without wildcards and spaces, is {subject:?}"),
            "write it like `clicks.brand`",
        );
    }
}

/// The URL may contain a password by mistake, so a message repeats its scheme only.
fn server_rules(key: String, server: &str, findings: &mut Findings) {
    let example = "write it like `nats://10.0.0.4:4222`";
    match Url::parse(server) {
        Ok(url) if !matches!(url.scheme(), "nats" | "tls") => {
            findings.error(key, format!("must begin with nats:// or tls://, not {}:", url.scheme()), example);
        }
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            findings.error(key, "contains a user name, password or token", "put credentials into `credentials_file`");
        }
        Ok(url) if url.host_str().is_some_and(|host| !host.is_empty()) => {}
        _ => findings.error(key, "is not a URL with scheme and host", example),
    }
}

fn is_subject(subject: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || c.is_control() || c == '*' || c == '>')
    };
    // Subjects with a dollar belong to the server.
    subject.split('.').all(is_word) && !subject.starts_with('$')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{
        Config, Sink,
        fixture::{each_is_an_error, sound},
    };

    fn nats(config: &mut Config) -> &mut Nats {
        let json = serde_json::json!({"servers": ["nats://10.0.0.4:4222"], "subject": "clicks.brand"});
        config.feeds[0].sink = Sink::Nats(serde_json::from_value(json).unwrap());
        let Sink::Nats(nats) = &mut config.feeds[0].sink else { unreachable!() };
        nats
    }

    #[test]
    fn streams_are_checked() {
        each_is_an_error(&[
            ("feeds[0].sink.nats.servers", "is empty", |c| nats(c).servers.clear()),
            ("feeds[0].sink.nats.servers[0]", "not a URL", |c| nats(c).servers[0] = "10.0.0.4".into()),
            ("feeds[0].sink.nats.servers[0]", "not http:", |c| nats(c).servers[0] = "http://a".into()),
            ("feeds[0].sink.nats.servers[1]", "user name", |c| nats(c).servers.push("nats://a:b@c".into())),
            ("feeds[0].sink.nats.subject", "is \"\"", |c| nats(c).subject.clear()),
            ("feeds[0].sink.nats.subject", "is \"clicks.>\"", |c| nats(c).subject = "clicks.>".into()),
            ("feeds[0].sink.nats.subject", "is \"a..b\"", |c| nats(c).subject = "a..b".into()),
            ("feeds[0].sink.nats.subject", "is \"$JS.API\"", |c| nats(c).subject = "$JS.API".into()),
            ("feeds[0].sink.nats.stream", "is \"a.b\"", |c| nats(c).stream = Some("a.b".into())),
            ("feeds[0].sink.nats.credentials_file", "is empty", |c| nats(c).credentials_file = Some("".into())),
            ("feeds[0].sink.nats.connect_timeout_secs", "is 0", |c| nats(c).connect_timeout_secs = 0),
            ("feeds[0].sink.nats.ack_timeout_secs", "is 601", |c| nats(c).ack_timeout_secs = 601),
            ("feeds[0].sink.nats.max_in_flight", "is 0", |c| nats(c).max_in_flight = 0),
            ("feeds[0].rollups", "NATS", |c| {
                nats(c);
                c.feeds[0].rollups = true;
            }),
        ]);
        let mut config = sound();
        nats(&mut config).servers.push("nats://me:secret@c".into());
        assert!(!format!("{:?}", config.problems()).contains("secret"));
    }
}
