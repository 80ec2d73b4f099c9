//! Metrics of the redirect: answers by outcome, their duration, and what became of each click.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use prometheus::{Histogram, IntCounter, IntCounterVec, core::Metric};

use super::untracked::Untracked;
use crate::{
    event::Reason,
    telemetry::{
        drops::{DropReason, Drops},
        metrics::Registry,
    },
};

/// What a request is answered with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    Redirect,
    NotFound,
    Gone,
    MethodNotAllowed,
    BadRequest,
    /// Not redirected, see `quality.block`.
    Blocked,
    /// Left to the next filter or the upstream.
    Passed,
    /// A target or header beyond its limit.
    TooLarge,
    /// A client that makes more requests than it may.
    TooMany,
    /// Sent to the same address over HTTPS.
    Https,
    /// `OPTIONS *`.
    Options,
    /// For a host that another certificate covers than that of the connection.
    Misdirected,
    /// A redirect to where a link or domain sends visitors that it has no destination for.
    Fallback,
    /// A page in place of a redirect: scripts, or a card. A click.
    Page,
    /// A page that shows where a link leads.
    Preview,
    /// A page that asks for a link's password.
    Password,
    /// A file of a domain, such as `robots.txt`.
    File,
    /// What the hook of an embedding program has answered in place of a link.
    Vetoed,
}

impl Outcome {
    const ALL: [Self; 18] = [
        Self::Redirect,
        Self::NotFound,
        Self::Gone,
        Self::MethodNotAllowed,
        Self::BadRequest,
        Self::Blocked,
        Self::Passed,
        Self::TooLarge,
        Self::TooMany,
        Self::Https,
        Self::Options,
        Self::Misdirected,
        Self::Fallback,
        Self::Page,
        Self::Preview,
        Self::Password,
        Self::File,
        Self::Vetoed,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Redirect => "redirect",
            Self::NotFound => "not_found",
            Self::Gone => "gone",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::BadRequest => "bad_request",
            Self::Blocked => "blocked",
            Self::Passed => "passed",
            Self::TooLarge => "too_large",
            Self::TooMany => "too_many",
            Self::Https => "https",
            Self::Options => "options",
            Self::Misdirected => "misdirected",
            Self::Fallback => "fallback",
            Self::Page => "page",
            Self::Preview => "preview",
            Self::Password => "password",
            Self::File => "file",
            Self::Vetoed => "vetoed",
        }
    }
}

/// Requests so far, for a look at how the edge is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RequestTotals {
    pub requests: u64,
    pub clicks: u64,
    pub not_found: u64,
    pub blocked: u64,
    /// Answered requests that took at most as long as each bound of [`duration_bounds`]; all of them at the end.
    pub durations: Vec<u64>,
}

/// Metrics of the redirect. Updating one is a relaxed atomic addition.
pub struct RedirectMetrics {
    requests: [IntCounter; Outcome::ALL.len()],
    duration: Histogram,
    blocked: [IntCounter; Reason::ALL.len()],
    untracked: [IntCounter; Untracked::ALL.len()],
    vetoed: IntCounterVec,
    answered: IntCounter,
    captured: IntCounter,
    dropped: Drops,
    /// Dropped clicks that were logged already, by reason.
    reported: Mutex<[u64; DropReason::ALL.len()]>,
}

impl RedirectMetrics {
    /// Registers the metrics, at zero. `dropped` is where all stages count lost clicks.
    pub fn new(registry: &Registry, dropped: Drops) -> Self {
        let requests = registry.counters("requests_total", "Requests by outcome.", &["outcome"]);
        let blocked = registry.counters("blocked_total", "Blocked requests, by reason.", &["reason"]);
        let help = "Requests that the hook of an embedding program has vetoed, by reason.";
        let vetoed = registry.counters("vetoed_total", help, &["reason"]);
        vetoed.with_label_values(&["other"]);
        let help = "Requests that were redirected without being clicks, by reason.";
        let untracked = registry.counters("clicks_untracked_total", help, &["reason"]);
        Self {
            requests: Outcome::ALL.map(|outcome| requests.with_label_values(&[outcome.label()])),
            duration: registry.histogram(
                "request_duration_seconds",
                "Time from the request header to the end of the response, in seconds.",
                duration_bounds().collect(),
            ),
            blocked: Reason::ALL.map(|reason| blocked.with_label_values(&[reason.slug()])),
            untracked: Untracked::ALL.map(|reason| untracked.with_label_values(&[reason.label()])),
            vetoed,
            answered: registry.counter("clicks_answered_total", "Clicks that were answered with a redirect."),
            captured: registry.counter("clicks_captured_total", "Answered clicks written to a ring."),
            dropped,
            reported: Mutex::default(),
        }
    }

    /// Logs the clicks that were dropped since the last report, one line a reason.
    pub fn report(&self) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        for (reason, reported) in DropReason::ALL.into_iter().zip(reported.iter_mut()) {
            let total = self.dropped.of(reason);
            let clicks = total - std::mem::replace(reported, total);
            // What no feed takes is dropped because it is configured so.
            if clicks > 0 && reason != DropReason::NoFeed {
                tracing::error!(reason = reason.label(), clicks, "clicks dropped");
            }
        }
    }

    /// Counts a request that is left to the next filter.
    pub fn request(&self, outcome: Outcome) {
        self.requests[outcome as usize].inc();
    }

    /// Counts an answered request.
    pub fn answered(&self, outcome: Outcome, took: Duration) {
        self.request(outcome);
        self.duration.observe(took.as_secs_f64());
    }

    /// Counts a blocked request.
    pub fn blocked(&self, reason: Reason) {
        self.blocked[reason as usize].inc();
    }

    /// The counter of a hook's vetoes with a reason. Call it for a bounded set of them.
    pub(super) fn vetoed(&self, reason: &str) -> IntCounter {
        self.vetoed.with_label_values(&[reason])
    }

    /// Counts a redirect that is not a click.
    pub fn untracked(&self, reason: Untracked) {
        self.untracked[reason as usize].inc();
    }

    /// Counts an answered click, and whether it was captured.
    pub fn click_answered(&self, captured: bool) {
        self.answered.inc();
        if captured {
            self.captured.inc();
        }
    }

    /// Counts an answered click that no ring took.
    pub fn click_dropped(&self, reason: DropReason) {
        self.dropped.count(reason);
    }

    /// Requests of branded domains so far: all, and those without a destination of their own.
    pub fn of_links(&self) -> (u64, u64) {
        let count = |outcomes: &[Outcome]| outcomes.iter().map(|of| self.requests[*of as usize].get()).sum::<u64>();
        let unknown = count(&[Outcome::NotFound, Outcome::Fallback]);
        let known = [Outcome::Redirect, Outcome::Gone, Outcome::Page, Outcome::Preview, Outcome::Password];
        (unknown + count(&known), unknown)
    }

    /// Requests so far.
    pub fn totals(&self) -> RequestTotals {
        let count = |outcome: Outcome| self.requests[outcome as usize].get();
        let histogram = self.duration.metric();
        let histogram = histogram.get_histogram();
        let buckets = histogram.get_bucket().iter().map(prometheus::proto::Bucket::cumulative_count);
        RequestTotals {
            requests: self.requests.iter().map(IntCounter::get).sum(),
            clicks: self.answered.get(),
            not_found: count(Outcome::NotFound),
            blocked: count(Outcome::Blocked),
            durations: buckets.chain([histogram.get_sample_count()]).collect(),
        }
    }

    /// Clicks answered so far.
    pub fn clicks_answered(&self) -> u64 {
        self.answered.get()
    }
}

/// Upper bounds of the durations that are distinguished, in seconds: from 10 us to 1.3 s, doubling.
pub fn duration_bounds() -> impl Iterator<Item = f64> {
    (0..18).map(|n| 1e-5 * f64::from(1 << n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_is_counted_under_its_own_label() {
        let registry = Registry::new();
        let metrics = RedirectMetrics::new(&registry, Drops::of_clicks(&registry));
        for outcome in Outcome::ALL {
            metrics.request(outcome);
        }
        let text = registry.text();
        for outcome in Outcome::ALL {
            assert!(text.contains(&format!("requests_total{{outcome=\"{}\"}} 1", outcome.label())), "{text}");
        }
    }
}
