//! The failure of a probe, and when it is one.

use std::{error::Error, fmt, time::Duration};

use crate::{
    deliver::error::SinkError,
    runtime::{Class, Classified},
};

/// Longest probe.
pub(in crate::deliver) const TIMEOUT: Duration = Duration::from_secs(10);

/// The reason why deliveries would fail.
#[derive(Debug)]
pub struct ProbeError {
    pub error: SinkError,
    /// The permission that the bucket's policy lacks, in words.
    pub lacks: Option<String>,
}

impl From<SinkError> for ProbeError {
    fn from(error: SinkError) -> Self {
        Self { error, lacks: None }
    }
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error.chain())?;
        if let Some(id) = &self.error.details().request_id {
            write!(f, " (request id {id})")?;
        }
        match &self.lacks {
            Some(lacks) => write!(f, "; {lacks}"),
            None => write!(f, "; {}", self.error.remedy()),
        }
    }
}

impl Error for ProbeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

impl Classified for ProbeError {
    fn class(&self) -> Class {
        self.error.class()
    }
}
