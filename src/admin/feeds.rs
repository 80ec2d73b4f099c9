//! `POST /v1/feeds/{feed}/retry`: retries a feed now, parked or not, instead of after its wait.
//!
//! The answer is 202 with `{"feed":"brand","parked":true,"waiting":3}`: whether the sink was rejecting uploads, and how
//! many objects wait. What comes of it is in the log and in the metrics. An unknown feed gets 404 with the names of
//! all.
//!
//! A browser, which asks for HTML, is sent back to the status page.

use http::{HeaderValue, header};
use percent_encoding::percent_decode_str;

use super::{
    JSON, TEXT,
    router::{Call, Reply},
};
use crate::pipeline::FeedRetries;

/// The routes of feeds.
pub struct Feeds {
    retries: FeedRetries,
}

impl Feeds {
    pub fn new(retries: FeedRetries) -> Self {
        Self { retries }
    }

    pub(super) fn retry(&self, call: &Call<'_>) -> Reply {
        let feed = percent_decode_str(&call.param).decode_utf8_lossy();
        let accept = call.head.headers.get(header::ACCEPT).map_or(&b""[..], HeaderValue::as_bytes);
        let is_browser = accept.starts_with(b"text/html");
        match self.retries.retry(&feed) {
            Ok(_) if is_browser => Reply::new(303, TEXT, "retrying\n").with_header(header::LOCATION, "/#feeds"),
            Ok(retried) => Reply::new(202, JSON, serde_json::to_string(&retried).unwrap_or_default() + "\n"),
            Err(unknown) => Reply::new(404, TEXT, format!("{unknown}\n")),
        }
    }
}
