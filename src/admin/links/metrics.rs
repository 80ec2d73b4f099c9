//! Metrics of the API.

use http::StatusCode;
use prometheus::IntCounterVec;

use super::problem::{Kind, Problem};
use crate::{catalog::change::Accepted, telemetry::metrics::Registry};

/// The routes, as labels.
const ROUTES: [&str; 6] = ["link", "domain", "batch", "list", "openapi", "other"];

/// The classes of answers.
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// What became of a change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    Created,
    Changed,
    Deleted,
    Unchanged,
    /// The request or its token does not allow it.
    Rejected,
    Unavailable,
}

impl Outcome {
    const ALL: [Self; 6] =
        [Self::Created, Self::Changed, Self::Deleted, Self::Unchanged, Self::Rejected, Self::Unavailable];

    /// `None` if no change could be made.
    pub fn of(applied: Option<&Result<Accepted, Problem>>) -> Self {
        match applied {
            Some(Ok(accepted)) if accepted.unchanged => Self::Unchanged,
            Some(Ok(accepted)) if accepted.etag.is_none() => Self::Deleted,
            Some(Ok(accepted)) if accepted.created => Self::Created,
            Some(Ok(_)) => Self::Changed,
            Some(Err(problem)) if problem.kind != Kind::Unavailable => Self::Rejected,
            None | Some(Err(_)) => Self::Unavailable,
        }
    }

    /// Its name in the log and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Deleted => "deleted",
            Self::Unchanged => "unchanged",
            Self::Rejected => "rejected",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Metrics of the API.
pub struct ApiMetrics {
    requests: IntCounterVec,
    changes: IntCounterVec,
}

impl ApiMetrics {
    /// Registers the metrics, at zero.
    pub fn new(registry: &Registry) -> Self {
        let requests = registry.counters(
            "api_requests_total",
            "Requests to the API that reads and changes links, by route and class of the status.",
            &["route", "status"],
        );
        for route in ROUTES {
            for class in CLASSES {
                requests.with_label_values(&[route, class]);
            }
        }
        let changes = registry.counters(
            "catalog_changes_total",
            "Changes of links and domains that were asked for through the API of this edge, by result.",
            &["result"],
        );
        for outcome in Outcome::ALL {
            changes.with_label_values(&[outcome.name()]);
        }
        Self { requests, changes }
    }

    /// A request was answered. `route` is one of the routes, or none.
    pub fn answered(&self, route: Option<&'static str>, status: StatusCode) {
        let class = match status.as_u16() {
            ..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            500.. => "5xx",
        };
        self.requests.with_label_values(&[route.unwrap_or("other"), class]).inc();
    }

    /// This became of a change.
    pub fn changed(&self, outcome: Outcome) {
        self.changes.with_label_values(&[outcome.name()]).inc();
    }
}
