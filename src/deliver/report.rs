//! What the last uploads of a feed came to, for an operator who looks: the last object, and the last error in the words
//! of the store.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use serde::Serialize;

use super::error::SinkError;
use crate::{object::Object, runtime::UnixTime};

/// Longest text of an error, in bytes.
const LONGEST: usize = 1_000;

/// The report of one feed. It outlives changes of the feed's configuration.
#[derive(Default)]
pub struct FeedReport {
    is_failing: AtomicBool,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    delivered: Option<Delivered>,
    failure: Option<Failure>,
}

/// The last object that the sink has acknowledged.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivered {
    pub at: UnixTime,
    pub key: String,
    pub bytes: u64,
    pub events: u64,
}

/// The last failure of an upload.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    pub at: UnixTime,
    /// Key of the object.
    pub key: String,
    /// The error and its causes, with what the store said.
    pub message: String,
    /// HTTP status of the store's answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Error code in the store's answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What the store's operator finds the request by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What can be done about it.
    pub remedy: String,
}

impl FeedReport {
    /// Whether uploads of events fail.
    pub fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Relaxed)
    }

    /// The last object that was delivered by this process.
    pub fn last_delivered(&self) -> Option<Delivered> {
        self.last().delivered.clone()
    }

    /// The last failure, whether uploads succeed by now or not.
    pub fn last_failure(&self) -> Option<Failure> {
        self.last().failure.clone()
    }

    pub(super) fn set_failing(&self, is_failing: bool) {
        self.is_failing.store(is_failing, Ordering::Relaxed);
    }

    /// Records an upload of events that has failed.
    pub(super) fn failed(&self, object: &Object, error: &SinkError) {
        self.set_failing(true);
        self.set_aside(object, error);
    }

    /// Records an upload of a manifest or rollup that has failed.
    pub(super) fn set_aside(&self, object: &Object, error: &SinkError) {
        let details = error.details();
        let failure = Failure {
            at: UnixTime::now(),
            key: object.key.clone(),
            message: shortened(error.chain()),
            status: details.status,
            code: details.code.clone().map(shortened),
            request_id: details.request_id.clone().map(shortened),
            remedy: error.remedy().into_owned(),
        };
        self.last().failure = Some(failure);
    }

    /// Records an object that the sink has acknowledged.
    pub(super) fn delivered(&self, object: &Object, events: u64) {
        let delivered = Delivered { at: UnixTime::now(), key: object.key.clone(), bytes: object.bytes, events };
        self.last().delivered = Some(delivered);
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{deliver::error::Details, object::ObjectKind};

    #[test]
    fn the_last_failure_keeps_the_words_of_the_store_and_is_bounded() {
        let report = FeedReport::default();
        let object = Object {
            key: "dt=2026-11-28/a".into(),
            path: "a".into(),
            bytes: 7,
            kind: ObjectKind::Events,
            summary: None,
            finished_at: 7,
        };
        let details =
            Details { status: Some(403), code: Some("AccessDenied".into()), ..Details::new("Access Denied") };
        report.failed(&object, &SinkError::rejected(details));
        let failure = report.last_failure().unwrap();
        assert_eq!((failure.status, failure.code.as_deref()), (Some(403), Some("AccessDenied")));
        assert!(failure.message == "Access Denied" && failure.remedy.contains("s3:PutObject"), "{failure:?}");
        assert!(report.is_failing());

        report.set_failing(false);
        report.delivered(&object, 3);
        assert_eq!(report.last_delivered().map(|last| (last.events, last.bytes)), Some((3, 7)));
        report.failed(&object, &SinkError::retry("é".repeat(LONGEST)));
        let message = report.last_failure().unwrap().message;
        assert!(message.len() <= LONGEST + '…'.len_utf8() && message.ends_with('…'));
    }
}
