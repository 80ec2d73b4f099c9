//! Changes of single links and domains: what is asked for, and what became of it.

use std::io;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::state_hash::StateHash;

/// What is asked of the catalog.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    pub operation: Operation,
    pub condition: Condition,
}

impl Change {
    /// The link is as here from now on, whether it was there or not: a JSON object in the form of the catalog file.
    pub fn put_link(link: impl Into<String>) -> Self {
        Self::of(Operation::PutLink { link: link.into() })
    }

    /// There is no such link any more.
    pub fn delete_link(domain: impl Into<String>, slashtag: impl Into<String>) -> Self {
        Self::of(Operation::DeleteLink { domain: domain.into(), slashtag: slashtag.into() })
    }

    /// The domain is as here from now on, whether it was there or not: a JSON object in the form of the catalog file.
    pub fn put_domain(domain: impl Into<String>) -> Self {
        Self::of(Operation::PutDomain { domain: domain.into() })
    }

    /// There is no such domain any more. Its links have to be gone before.
    pub fn delete_domain(domain: impl Into<String>) -> Self {
        Self::of(Operation::DeleteDomain { domain: domain.into() })
    }

    /// Only if this holds.
    pub fn only_if(self, condition: Condition) -> Self {
        Self { condition, ..self }
    }

    fn of(operation: Operation) -> Self {
        Self { operation, condition: Condition::Always }
    }
}

/// What becomes of a link or a domain. Links and domains are JSON texts in the form of the catalog file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", tag = "op")]
pub enum Operation {
    /// The link is as here from now on, whether it was there or not.
    #[serde(rename_all = "camelCase")]
    PutLink { link: String },
    /// There is no such link any more.
    #[serde(rename_all = "camelCase")]
    DeleteLink { domain: String, slashtag: String },
    /// The domain is as here from now on, whether it was there or not.
    #[serde(rename_all = "camelCase")]
    PutDomain { domain: String },
    /// There is no such domain any more. Its links have to be gone before.
    #[serde(rename_all = "camelCase")]
    DeleteDomain { domain: String },
}

impl Operation {
    /// Whether it may give a link a limit of clicks.
    pub(super) fn has_limit(&self) -> bool {
        matches!(self, Self::PutLink { link } if link.contains("\"maxClicks\""))
    }

    /// The domain and the slashtag of the link that it is about, as they are written; `None` if it is about a domain.
    pub(super) fn link(&self) -> Option<(String, String)> {
        match self {
            Self::PutLink { link } => {
                let link: serde_json::Value = serde_json::from_str(link).unwrap_or_default();
                let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
                Some((text(&link["domain"]["fullName"]), text(&link["slashtag"])))
            }
            Self::DeleteLink { domain, slashtag } => Some((domain.clone(), slashtag.clone())),
            Self::PutDomain { .. } | Self::DeleteDomain { .. } => None,
        }
    }
}

/// Of what a change depends, as in RFC 9110, 13.1.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Condition {
    #[default]
    Always,
    /// `If-None-Match: *`: there is no such link or domain yet.
    Absent,
    /// `If-Match: *`: there is one.
    Present,
    /// `If-Match` with entity tags, each with its quotes: it is one of these.
    Matches(Vec<String>),
}

/// A change that was accepted, as it stands in the change log and in deltas: one JSON object a line.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Entry {
    /// Its number: each is one more than the one before.
    pub revision: u64,
    #[serde(flatten)]
    pub operation: Operation,
}

/// Which state of a catalog this is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Position {
    /// The number of the snapshot that it began with: each published one has a higher one.
    pub generation: u64,
    /// The number of the last change.
    pub revision: u64,
    /// What all links and domains add up to.
    pub hash: StateHash,
}

/// What became of a change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Accepted {
    /// The number of the last change of the link or domain.
    pub revision: u64,
    /// Its entity tag, with quotes; `None` once it is deleted.
    pub etag: Option<String>,
    /// Whether it was not there before.
    pub created: bool,
    /// Whether it was there before, just as the change says: the catalog has the same revision as before.
    pub unchanged: bool,
}

/// Why a change was not made.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// What is to be deleted is not there.
    #[error("there is no such {what}")]
    NotFound { what: &'static str },
    /// The condition does not hold.
    #[error("it has changed since, or is not there")]
    ConditionFailed {
        /// The entity tag that it has now.
        etag: Option<String>,
    },
    /// The link or domain is invalid.
    #[error("{reason}")]
    Invalid {
        /// The field that is to blame, if it is one.
        field: Option<String>,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// It is valid, and does not go with what is there.
    #[error("{reason}")]
    Conflict { reason: String },
}

/// Why a change is not answered with what became of it.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// The change log cannot be written. Nothing has changed.
    #[error("the change log cannot be written: {0}; nothing has changed, try again later")]
    Log(#[from] io::Error),
    /// The bucket of the fleet cannot be reached, or others write to it all the time. Nothing has changed.
    #[error("the bucket of the catalog does not take the change: {0}; nothing has changed, try again later")]
    Bucket(String),
    /// The bucket of the fleet may have the change or not.
    #[error("{0}; whether the change was made is not known: repeat the request, or read what it was to change")]
    Unknown(String),
    /// The bucket of the fleet has the change, and this edge does not yet.
    #[error("the bucket has the change, and this edge takes it later: {0}")]
    Ahead(String),
    /// The edge is not configured to take changes. Nothing has changed, and nothing will.
    #[error("{0}")]
    Off(&'static str),
}

/// What takes changes: an edge alone, or through the bucket of its fleet.
#[async_trait]
pub trait Changes: Send + Sync {
    /// Makes changes in their order, those that are refused apart. When it returns, they are durable, and the next
    /// look-up sees them.
    ///
    /// # Errors
    /// When none of them can be made now, or what became of them is not known: see [`Unavailable`].
    async fn change(&self, changes: Vec<Change>) -> Result<Vec<Result<Accepted, Refused>>, Unavailable>;
}

/// Which page of a list of links is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Page<'p> {
    /// The cursor of the page before; empty for the first page.
    pub after: &'p str,
    /// Most links of the page.
    pub limit: usize,
}

/// A link or domain as the API shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Shown {
    /// A JSON object in the form of the catalog file.
    pub json: String,
    /// Its entity tag, with quotes.
    pub etag: String,
    /// Id of the workspace that it belongs to; empty for none.
    pub workspace: String,
}

/// The order of links is another one since the cursor was handed out, as a new snapshot is in use.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the cursor is of an earlier catalog, or none; begin with the first page")]
pub struct BadCursor;
