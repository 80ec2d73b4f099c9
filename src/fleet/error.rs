//! Why an edge does not have what its fleet has.

use super::{bucket::BucketError, malformed::Malformed, store::StoreError};
use crate::catalog::change::Position;

/// Why an edge could not follow. It keeps the catalog that it has.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    #[error(transparent)]
    Bucket(#[from] BucketError),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The bucket is empty.
    #[error("the bucket has no head.json; publish a snapshot with `clickedge catalog publish`")]
    NoHead,
    #[error("{0}")]
    Disk(String),
    /// What the bucket has is not taken.
    #[error(transparent)]
    Halted(Halt),
    #[error("internal error: {0}; please report this bug")]
    Internal(String),
}

/// Why what the bucket has is not taken, until an operator acts or the head changes.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Halt {
    /// The head is older than the catalog of this edge.
    #[error(
        "the head of the bucket went back: it is at generation {}, change {}, and this edge at generation {}, change \
         {}; if the bucket was restored on purpose, publish a snapshot with `--generation` {}",
        head.generation, head.revision, here.generation, here.revision, here.generation.saturating_add(1)
    )]
    WentBack { head: Position, here: Position },
    /// The canary edge still observes the snapshot.
    #[error("generation {generation} waits for the canary edge")]
    Canary { generation: u64 },
    /// The canary edge has found the snapshot bad.
    #[error(
        "the canary edge has found generation {generation} bad: its share of requests for unknown slashtags rose from \
         {before:.3} to {after:.3}; publish a corrected snapshot"
    )]
    CanaryFailed { generation: u64, before: f64, after: f64 },
    #[error("{0}; if it is right, publish it again with `--accept`")]
    Shrunk(String),
    #[error("{0}; if it is right, publish it again with `--accept`")]
    Grown(String),
    /// The snapshot cannot be used.
    #[error("the snapshot is rejected: {0}")]
    Rejected(String),
    /// The snapshot was damaged in the bucket, or on its way here.
    #[error("the snapshot is damaged: {0}; it is read again, and if that does not help, publish it again")]
    Damaged(String),
    /// The deltas do not lead to what the head says.
    #[error("{0}; publish another snapshot")]
    Diverged(String),
}

impl SyncError {
    /// Label of the metric; `None` for what may pass by itself.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Halted(halt) => Some(halt.reason()),
            Self::Malformed(_) | Self::Bucket(BucketError::Malformed(_)) => Some("malformed"),
            Self::NoHead => Some("no_head"),
            Self::Bucket(BucketError::Missing(_)) => Some("missing"),
            _ => None,
        }
    }
}

impl Halt {
    /// Label of the metric.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::WentBack { .. } => "went_back",
            Self::Canary { .. } => "canary",
            Self::CanaryFailed { .. } => "canary_failed",
            Self::Shrunk(_) => "shrunk",
            Self::Grown(_) => "grown",
            Self::Rejected(_) | Self::Damaged(_) => "rejected",
            Self::Diverged(_) => "diverged",
        }
    }

    /// Whether an operator has to act.
    pub fn needs_operator(&self) -> bool {
        !matches!(self, Self::Canary { .. })
    }
}

impl From<StoreError> for SyncError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Diverged(text) => Self::Halted(Halt::Diverged(text)),
            StoreError::Rejected(text) => Self::Halted(Halt::Rejected(text)),
            StoreError::Shrunk(text) => Self::Halted(Halt::Shrunk(text)),
            StoreError::Grown(text) => Self::Halted(Halt::Grown(text)),
            StoreError::Disk(text) => Self::Disk(text),
        }
    }
}
