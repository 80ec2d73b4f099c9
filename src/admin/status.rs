//! How the edge is, for people and programs.
//!
//! | route | answer |
//! |---|---|
//! | `GET /` | the status page: readable without scripts, and live with them |
//! | `GET /?url=...` | the page, with what the edge answers to a URL and why, as `clickedge lookup --explain` |
//! | `GET /v1/status` | the same numbers as JSON, see `conf/status.schema.json` |
//! | `GET /status.css`, `GET /status.js` | what the page is shown with |
//!
//! Names of links, hosts, keys and what stores answer are chosen by others: the page escapes each text, its policy
//! allows no script but its own, and no other page may frame it. It loads nothing from elsewhere.

mod gather;
mod history;
mod page;
mod problems;
mod top_links;

use http::header;

pub use gather::{Report, State};
pub use history::{Traffic, Window};
pub use problems::{Problem, Severity};

use super::router::Reply;
use crate::{
    config::admin::Degraded,
    pipeline::{
        Pipeline,
        lookup::{Answered, LiveLookup},
    },
};
use gather::Sources;

/// The JSON schema of `/v1/status`.
pub const JSON_SCHEMA: &str = include_str!("../../conf/status.schema.json");

/// What the page is shown with.
pub const STYLE: &str = include_str!("status/page.css");

/// What keeps the page live.
pub const SCRIPT: &str = include_str!("status/page.js");

/// What the page may load and do: its own style and script, requests and forms to this listener alone.
pub const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
                          img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Longest URL that is tried, in bytes.
const LONGEST_URL: usize = 8_192;

/// The status of a running edge. Cheap to clone.
#[derive(Clone)]
pub struct Status {
    sources: Sources,
    lookup: LiveLookup,
}

/// A URL that was tried.
struct Tried {
    url: String,
    answer: Result<Answered, String>,
}

impl Status {
    pub fn new(pipeline: &Pipeline, readiness: super::Readiness, not_ready_when: &[Degraded]) -> Self {
        Self { sources: Sources::new(pipeline, readiness, not_ready_when), lookup: pipeline.lookup() }
    }

    /// The page, with what it may do.
    pub(super) async fn page_reply(&self, query: &str) -> Reply {
        Reply::new(200, "text/html; charset=utf-8", self.page(query).await)
            .with_header(header::CONTENT_SECURITY_POLICY, POLICY)
            // With `no-referrer`, a form of the page would come from the origin `null`.
            .with_header(header::REFERRER_POLICY, "same-origin")
    }

    /// The status as JSON.
    pub async fn json(&self) -> String {
        let status = self.clone();
        blocking(move || serde_json::to_string(&status.sources.gather()).unwrap_or_default() + "\n").await
    }

    /// The page. `query` may have a URL to try.
    pub async fn page(&self, query: &str) -> String {
        let (status, url) = (self.clone(), url_of(query));
        blocking(move || {
            let tried = url.map(|url| {
                let answer = if url.len() > LONGEST_URL {
                    Err(format!("the URL has more than {LONGEST_URL} bytes"))
                } else {
                    status.lookup.look_up(&url)
                };
                Tried { url, answer }
            });
            page::render(&status.sources.gather(), tried.as_ref())
        })
        .await
    }
}

/// A file of the page. Its address has the version.
pub(super) fn asset(kind: &'static str, text: &'static str) -> Reply {
    Reply::new(200, kind, text).with_header(header::CACHE_CONTROL, "private, max-age=86400")
}

/// The URL in a query, if there is one.
fn url_of(query: &str) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    let url = pairs.find(|(name, _)| name == "url")?.1.trim().to_owned();
    (!url.is_empty()).then_some(url)
}

/// Runs what may read the disk on another thread, so that no other route waits for it.
async fn blocking(run: impl FnOnce() -> String + Send + 'static) -> String {
    let running = tokio::task::spawn_blocking(run).await;
    running.unwrap_or_else(|failure| format!("internal error: {failure}; please report this bug\n"))
}

#[cfg(test)]
mod tests;
