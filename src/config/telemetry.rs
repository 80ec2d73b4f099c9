//! `[telemetry]`: logs, and the export of metrics.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::{Config, Section, findings::Findings, secret::is_open_to_all};

/// Logs, and the export of metrics.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// Format of log lines, which go to standard error.
    pub log_format: LogFormat,
    /// Minimum level of log lines. ERROR means that data was lost or that an operator must act.
    pub log_level: LogLevel,
    /// Export of the metrics to an OpenTelemetry collector (OTLP over HTTP, in JSON), in addition to `/metrics`.
    /// Without it nothing is sent.
    pub otlp: Option<Otlp>,
}

/// An OpenTelemetry collector.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Otlp {
    /// URL to which metrics are sent, with its path: `http://127.0.0.1:4318/v1/metrics`.
    pub endpoint: String,
    /// Seconds between two exports, 1 to 3600.
    #[serde(default = "interval_secs")]
    pub interval_secs: u64,
    /// Seconds for one export, 1 to 60. One that takes longer counts as failed.
    #[serde(default = "timeout_secs")]
    pub timeout_secs: u64,
    /// File with HTTP headers that are sent, such as a token: `Name: value`, a line each. Read again at a reload.
    #[serde(default)]
    pub headers_file: Option<PathBuf>,
    /// File with the certificates that are trusted, in PEM. Without it those of this machine.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

fn interval_secs() -> u64 {
    60
}

fn timeout_secs() -> u64 {
    10
}

/// Format of log lines.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// Coloured text, for a terminal.
    Pretty,
}

/// Minimum level of log lines.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// Data was lost, or an operator must act.
    Error,
    /// Something unusual that clickedge handles by itself.
    Warn,
    /// Starts, stops, reloads.
    #[default]
    Info,
    /// Each object.
    Debug,
    /// Everything.
    Trace,
}

impl Section for Telemetry {
    fn rules(&self, _all: &Config, findings: &mut Findings) {
        let Some(otlp) = &self.otlp else { return };
        otlp.endpoint_rules(findings);
        let (interval, timeout) = (otlp.interval_secs, otlp.timeout_secs);
        findings.range("telemetry.otlp.interval_secs", interval, 1..=3_600, "60 suits most collectors");
        findings.range("telemetry.otlp.timeout_secs", timeout, 1..=60, "10 suits most collectors");
        if let Some(file) = &otlp.headers_file
            && is_open_to_all(file)
        {
            findings.warning(
                "telemetry.otlp.headers_file",
                "names a file that any user of this machine may read",
                "chmod 600 it, if it has a token",
            );
        }
    }

    fn paths(&mut self) -> Vec<(String, &mut PathBuf)> {
        let Some(otlp) = &mut self.otlp else { return Vec::new() };
        let files = [("headers_file", &mut otlp.headers_file), ("ca_file", &mut otlp.ca_file)];
        let set = files.into_iter().filter_map(|(key, file)| Some((key, file.as_mut()?)));
        set.map(|(key, file)| (format!("telemetry.otlp.{key}"), file)).collect()
    }
}

impl Otlp {
    /// The URL may contain a password, so a message repeats its scheme only.
    fn endpoint_rules(&self, findings: &mut Findings) {
        const KEY: &str = "telemetry.otlp.endpoint";
        let example = "write it like `http://127.0.0.1:4318/v1/metrics`";
        let Ok(url) = Url::parse(&self.endpoint) else {
            return findings.error(KEY, "is not a URL with scheme and host", example);
        };
        if !matches!(url.scheme(), "http" | "https") {
            findings.error(KEY, format!("must begin with http:// or https://, not {}:", url.scheme()), example);
        } else if !url.username().is_empty() || url.password().is_some() {
            findings.error(KEY, "contains a user name or password", "send it as a header: `headers_file`");
        } else if url.path() == "/" {
            findings.error(KEY, "has no path", example);
        } else if url.scheme() == "http" && self.headers_file.is_some() && !is_this_machine(&url) {
            findings.warning(
                KEY,
                "begins with http://, so that the headers of `headers_file` are readable on the way",
                "use https://, or a collector on this machine",
            );
        }
    }
}

fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixture::{each_is_an_error, sound};

    fn otlp(config: &mut Config) -> &mut Otlp {
        config.telemetry.otlp.get_or_insert_with(|| Otlp {
            endpoint: "http://127.0.0.1:4318/v1/metrics".into(),
            interval_secs: 60,
            timeout_secs: 10,
            headers_file: None,
            ca_file: None,
        })
    }

    #[test]
    fn the_export_is_checked() {
        each_is_an_error(&[
            ("telemetry.otlp.endpoint", "is not a URL", |c| otlp(c).endpoint = "127.0.0.1:4318".into()),
            ("telemetry.otlp.endpoint", "not grpc:", |c| otlp(c).endpoint = "grpc://127.0.0.1:4317/".into()),
            ("telemetry.otlp.endpoint", "has no path", |c| otlp(c).endpoint = "http://127.0.0.1:4318".into()),
            ("telemetry.otlp.endpoint", "contains a user name", |c| {
                otlp(c).endpoint = "http://a:b@c/v1/metrics".into();
            }),
            ("telemetry.otlp.interval_secs", "is 0", |c| otlp(c).interval_secs = 0),
            ("telemetry.otlp.timeout_secs", "is 61", |c| otlp(c).timeout_secs = 61),
            ("telemetry.otlp.headers_file", "is empty", |c| otlp(c).headers_file = Some(PathBuf::new())),
        ]);
        let mut config = sound();
        otlp(&mut config).headers_file = Some("/nowhere/headers".into());
        let warned = |config: &Config| {
            config.problems().iter().any(|problem| {
                problem.key == "telemetry.otlp.endpoint" && problem.message.contains("readable on the way")
            })
        };
        assert!(!warned(&config));
        otlp(&mut config).endpoint = "http://collector.example/v1/metrics".into();
        assert!(warned(&config));
    }
}
