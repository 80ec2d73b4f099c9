//! `[telemetry]`: logs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Config, Section, findings::Findings};

/// Logs.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// Format of log lines, which go to standard error.
    pub log_format: LogFormat,
    /// Minimum level of log lines. ERROR means that data was lost or that an operator must act.
    pub log_level: LogLevel,
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
    fn rules(&self, _all: &Config, _findings: &mut Findings) {}
}
