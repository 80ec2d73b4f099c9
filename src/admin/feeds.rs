//! `POST /v1/feeds/{feed}/retry`: retries a feed now, parked or not, instead of after its wait.
//!
//! The answer is 202 with `{"feed":"brand","parked":true,"waiting":3}`: whether the sink was rejecting uploads, and how
//! many objects wait. What comes of it is in the log and in the metrics. An unknown feed gets 404 with the names of
//! all.

use percent_encoding::percent_decode_str;

use super::{JSON, TEXT, router::Reply};
use crate::pipeline::FeedRetries;

/// The routes of feeds.
pub struct Feeds {
    retries: FeedRetries,
}

impl Feeds {
    pub fn new(retries: FeedRetries) -> Self {
        Self { retries }
    }

    pub(super) fn retry(&self, feed: &str) -> Reply {
        let feed = percent_decode_str(feed).decode_utf8_lossy();
        match self.retries.retry(&feed) {
            Ok(retried) => Reply::new(202, JSON, serde_json::to_string(&retried).unwrap_or_default() + "\n"),
            Err(unknown) => Reply::new(404, TEXT, format!("{unknown}\n")),
        }
    }
}
