//! The error of a sink: one type from the SDK or the file system to the log line.
//!
//! The variant says what has to happen next; [`Details`] keep what the store said, and the cause stays attached as
//! [`Error::source`]. What an operator can do about it is in [`SinkError::remedy`].

use std::{
    borrow::Cow,
    error::Error,
    fmt::{self, Write},
    io,
    time::Duration,
};

use super::answer::Answer;
use crate::runtime::{Class, Classified};

/// What came of one upload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UploadResult {
    /// Acknowledged by the sink.
    Stored,
    /// An object with this key was there already: an earlier upload whose answer was lost.
    Present,
    /// Failed in a way that may pass.
    Retried,
    /// Rejected in a way that an operator must fix: access, bucket, credentials.
    Refused,
}

impl UploadResult {
    pub(super) const ALL: [Self; 4] = [Self::Stored, Self::Present, Self::Retried, Self::Refused];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Present => "present",
            Self::Retried => "retried",
            Self::Refused => "refused",
        }
    }
}

/// Why an object was not stored, by what has to happen next.
#[derive(Debug)]
pub enum SinkError {
    /// The network, the store or the disk failed: a later attempt may succeed.
    Retry(Box<Details>),
    /// The store asks to slow down, or takes too long: as `Retry`, with fewer uploads at a time.
    SlowDown(Box<Details>),
    /// Access, bucket, credentials or configuration are wrong: the feed is parked until an operator acts.
    Rejected(Box<Details>),
    /// The key holds other content: the feed is parked until an operator acts.
    Conflict(Box<Details>),
    /// The object is not what it was when it was finished: it is moved aside.
    Damaged(Box<Details>),
    /// The object is no longer in the outbox.
    Missing(Box<Details>),
}

/// What is known of a failure.
#[derive(Debug, Default)]
pub struct Details {
    /// What failed, in a line. The cause is not part of it, except for an answer of a store.
    pub summary: String,
    /// HTTP status of the store's answer.
    pub status: Option<u16>,
    /// Error code in the store's answer, `AccessDenied`.
    pub code: Option<String>,
    /// What the store's operator finds the request by.
    pub request_id: Option<String>,
    /// Region of the bucket, when the store names it because the configured one is another.
    pub region: Option<String>,
    /// What answered, when that is no store.
    pub answer: Option<Answer>,
    /// The time that the sink asks to wait before the next attempt.
    pub retry_after: Option<Duration>,
    /// Whether a part of the object was acknowledged before, so that the sink is not down.
    pub progressed: bool,
    /// What an operator can do about it, where the sink knows it.
    pub remedy: Option<Cow<'static, str>>,
    /// The error of the SDK or the operating system.
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl Details {
    pub fn new(summary: impl Into<String>) -> Self {
        Self { summary: summary.into(), ..Self::default() }
    }

    /// Whether the store's answer names a permission or a key of KMS.
    pub fn is_about_kms(&self) -> bool {
        self.summary.contains("kms:")
    }

    /// Adds a remedy.
    pub fn with_remedy(mut self, remedy: impl Into<Cow<'static, str>>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Adds the cause.
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl SinkError {
    pub fn retry(details: impl Into<Details>) -> Self {
        Self::Retry(Box::new(details.into()))
    }

    pub fn slow_down(details: impl Into<Details>) -> Self {
        Self::SlowDown(Box::new(details.into()))
    }

    pub fn rejected(details: impl Into<Details>) -> Self {
        Self::Rejected(Box::new(details.into()))
    }

    pub fn conflict(details: impl Into<Details>) -> Self {
        Self::Conflict(Box::new(details.into()))
    }

    pub fn damaged(details: impl Into<Details>) -> Self {
        Self::Damaged(Box::new(details.into()))
    }

    /// The meaning of a failure to read an object's own file.
    pub fn of_file(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => {
                Self::Missing(Box::new(Details::new("the object is no longer in the outbox").with_source(error)))
            }
            // The error is about the content that was read, not from the operating system.
            _ if error.raw_os_error().is_none() => {
                Self::damaged(Details::new("the object's file is damaged").with_source(error))
            }
            _ => Self::retry(Details::new("cannot read the object's file").with_source(error)),
        }
    }

    pub fn details(&self) -> &Details {
        let (Self::Retry(details)
        | Self::SlowDown(details)
        | Self::Rejected(details)
        | Self::Conflict(details)
        | Self::Damaged(details)
        | Self::Missing(details)) = self;
        details
    }

    pub(super) fn details_mut(&mut self) -> &mut Details {
        let (Self::Retry(details)
        | Self::SlowDown(details)
        | Self::Rejected(details)
        | Self::Conflict(details)
        | Self::Damaged(details)
        | Self::Missing(details)) = self;
        details
    }

    /// Puts what was attempted before the summary.
    pub fn with_context(mut self, context: &str) -> Self {
        let details = self.details_mut();
        details.summary = format!("{context}: {}", details.summary);
        self
    }

    /// Records whether a part of the object was acknowledged before.
    pub fn with_progress(mut self, progressed: bool) -> Self {
        self.details_mut().progressed = progressed;
        self
    }

    /// The same failure as one that a retry may overcome.
    pub fn into_retry(self) -> Self {
        let (Self::Retry(details)
        | Self::SlowDown(details)
        | Self::Rejected(details)
        | Self::Conflict(details)
        | Self::Damaged(details)
        | Self::Missing(details)) = self;
        Self::Retry(details)
    }

    /// Whether a later attempt may succeed without an operator's action.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Retry(_) | Self::SlowDown(_))
    }

    /// Whether the feed is parked until an operator acts.
    pub fn parks_feed(&self) -> bool {
        matches!(self, Self::Rejected(_) | Self::Conflict(_))
    }

    /// Whether the object is itself the problem, so that no retry would deliver it.
    pub fn is_about_object(&self) -> bool {
        matches!(self, Self::Damaged(_) | Self::Missing(_))
    }

    /// The label of the upload in the metrics. `None` for an object that is itself the problem: its events are counted
    /// as dropped.
    pub fn label(&self) -> Option<UploadResult> {
        match self {
            Self::Retry(_) | Self::SlowDown(_) => Some(UploadResult::Retried),
            Self::Rejected(_) | Self::Conflict(_) => Some(UploadResult::Refused),
            Self::Damaged(_) | Self::Missing(_) => None,
        }
    }

    /// The error and its causes in a line. The summary of a store's answer already has what the SDK would repeat.
    pub fn chain(&self) -> String {
        if self.details().status.is_some() { self.to_string() } else { with_causes(self) }
    }
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.details().summary)
    }
}

impl Error for SinkError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.details().source.as_ref().map(|source| &**source as &(dyn Error + 'static))
    }
}

impl Classified for SinkError {
    fn class(&self) -> Class {
        match self {
            Self::Retry(_) | Self::SlowDown(_) => Class::Unavailable,
            Self::Rejected(_) | Self::Conflict(_) => Class::Config,
            Self::Damaged(_) => Class::Data,
            Self::Missing(_) => Class::NoInput,
        }
    }
}

impl From<&str> for Details {
    fn from(summary: &str) -> Self {
        Self::new(summary)
    }
}

impl From<String> for Details {
    fn from(summary: String) -> Self {
        Self::new(summary)
    }
}

/// An error and its causes in a line, each once.
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.ends_with(&part) {
            // Writing into a string cannot fail.
            _ = write!(text, ": {part}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_stays_attached_and_is_part_of_the_chain() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = SinkError::retry(Details::new("cannot write /feed").with_source(full));
        assert_eq!(error.to_string(), "cannot write /feed");
        assert_eq!(error.chain(), "cannot write /feed: no storage space");
        let source = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn a_failure_to_read_the_object_s_file_is_missing_damaged_or_transient() {
        let of = |error| SinkError::of_file(error);
        assert!(matches!(of(io::ErrorKind::NotFound.into()), SinkError::Missing(_)));
        assert!(matches!(of(io::Error::other("corrupt deflate stream")), SinkError::Damaged(_)));
        assert!(matches!(of(io::Error::from_raw_os_error(5)), SinkError::Retry(_)));
    }

    #[test]
    fn only_an_error_that_parks_the_feed_is_labelled_as_refused() {
        for (error, label, class) in [
            (SinkError::retry("x"), Some(UploadResult::Retried), Class::Unavailable),
            (SinkError::slow_down("x"), Some(UploadResult::Retried), Class::Unavailable),
            (SinkError::rejected("x"), Some(UploadResult::Refused), Class::Config),
            (SinkError::conflict("x"), Some(UploadResult::Refused), Class::Config),
            (SinkError::damaged("x"), None, Class::Data),
        ] {
            assert_eq!((error.label(), error.class()), (label, class), "{error:?}");
            assert_eq!(error.parks_feed(), label == Some(UploadResult::Refused), "{error:?}");
            assert_eq!(error.is_retryable(), label == Some(UploadResult::Retried), "{error:?}");
        }
    }
}
