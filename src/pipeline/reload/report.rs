//! What a reload reports: which keys it has applied, which of them wait for a restart, or why nothing has changed.

use serde::Serialize;

use crate::{
    config::{ConfigError, Diagnostic},
    pipeline::preflight::Rejection,
    runtime::{Class, Classified, UnixTime},
};

/// What can be done about a key that a running process cannot take up.
const REMEDY: &str = "run `clickedge upgrade`, which fails no request, or restart";

/// The same for the folders of rings and spool, where clicks wait.
const REMEDY_OF_FOLDERS: &str =
    "run `clickedge drain` with the former folder in the configuration, then start with the new one";

/// Most notices of the last reload that are kept.
pub const MOST_NOTICES: usize = 20;

/// What a reload has changed.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reloaded {
    /// Keys whose new values hold from now on.
    pub applied: Vec<String>,
    /// Keys whose values since the start wait for a restart.
    pub needs_restart: Vec<NeedsRestart>,
    /// What is legal, and probably not what was meant.
    pub warnings: Vec<Notice>,
}

/// A key that a process reads at its start only.
#[derive(Debug, Serialize)]
pub struct NeedsRestart {
    pub key: String,
    pub remedy: &'static str,
}

/// Something wrong, at its place. Never the value of a secret.
#[derive(Clone, Debug, Serialize)]
pub struct Notice {
    pub file: String,
    /// Counted from 1; absent for a file as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    pub message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// What came of the last reload, for an operator who looks.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastReload {
    pub at: UnixTime,
    /// Whether nothing has changed, because something was wrong.
    pub rejected: bool,
    /// What was wrong, or the warnings: the first [`MOST_NOTICES`].
    pub notices: Vec<Notice>,
    /// How many more there were.
    pub more: usize,
    /// Keys whose values wait for an upgrade or a restart.
    pub restart_keys: Vec<String>,
}

/// Why a reload has changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The configuration file is missing or invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An operator file, or something on this machine.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// Another process takes over.
    #[error("an upgrade is under way: reload when it is over")]
    Busy,
}

impl NeedsRestart {
    pub(super) fn new(key: String) -> Self {
        let is_folder = matches!(key.as_str(), "capture.dir" | "spool.dir");
        Self { key, remedy: if is_folder { REMEDY_OF_FOLDERS } else { REMEDY } }
    }
}

impl LastReload {
    pub(super) fn new(result: &Result<Reloaded, ReloadError>) -> Self {
        let (mut notices, restart_keys) = match result {
            Ok(reloaded) => {
                let keys = reloaded.needs_restart.iter().map(|of| of.key.clone()).collect();
                (reloaded.warnings.clone(), keys)
            }
            Err(error) => (error.notices(), Vec::new()),
        };
        let more = notices.len().saturating_sub(MOST_NOTICES);
        notices.truncate(MOST_NOTICES);
        Self { at: UnixTime::now(), rejected: result.is_err(), notices, more, restart_keys }
    }
}

impl Reloaded {
    /// What an operator reads, line by line.
    pub fn lines(&self) -> Vec<String> {
        let applied = if self.applied.is_empty() {
            "the configuration has not changed; its files are read again".to_owned()
        } else {
            format!("applied: {}", self.applied.join(", "))
        };
        let later = |NeedsRestart { key, remedy }: &NeedsRestart| format!("not applied yet: {key}: {remedy}");
        let warning = |Notice { file, line, message, .. }: &Notice| {
            let line = line.map_or_else(String::new, |line| format!(":{line}"));
            format!("warning: {file}{line}: {message}")
        };
        let later = self.needs_restart.iter().map(later);
        [applied].into_iter().chain(later).chain(self.warnings.iter().map(warning)).collect()
    }

    pub(super) fn log(&self) {
        let applied = (!self.applied.is_empty()).then(|| self.applied.join(", "));
        tracing::info!(applied, "configuration reloaded");
        for NeedsRestart { key, remedy } in &self.needs_restart {
            tracing::warn!(key, remedy, "restart required: the key has another value than at the start");
        }
    }
}

impl ReloadError {
    /// What is wrong, all of it.
    pub fn notices(&self) -> Vec<Notice> {
        match self {
            Self::Config(ConfigError::Invalid(diagnostics)) => diagnostics.iter().map(Notice::from).collect(),
            Self::Config(ConfigError::Read { file, source }) => vec![Notice {
                file: file.display().to_string(),
                line: None,
                message: format!("cannot be read: {source}"),
                remedy: "put the file there, or let this user read it".into(),
            }],
            Self::Rejected(rejection) => rejection.diagnostics().iter().map(Notice::from).collect(),
            Self::Busy => vec![Notice {
                file: String::new(),
                line: None,
                message: self.to_string(),
                remedy: "reload again in a few seconds".into(),
            }],
        }
    }
}

impl Notice {
    pub(super) fn log_failure(&self) {
        let Self { file, line, message, remedy } = self;
        tracing::error!(
            file,
            line,
            error = message,
            remedy,
            "reload failed; the previous version of everything stays active"
        );
    }
}

impl From<&Diagnostic> for Notice {
    fn from(diagnostic: &Diagnostic) -> Self {
        Self {
            file: diagnostic.file.display().to_string(),
            line: Some(diagnostic.line as u64),
            message: diagnostic.message.clone(),
            remedy: diagnostic.remedy.clone(),
        }
    }
}

impl Classified for ReloadError {
    fn class(&self) -> Class {
        match self {
            Self::Config(error) => error.class(),
            Self::Rejected(error) => error.class(),
            Self::Busy => Class::Unavailable,
        }
    }
}
