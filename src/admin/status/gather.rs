//! Gathers what the status page and `/v1/status` show.

use std::sync::Arc;

use serde::Serialize;

use super::{
    super::{Phase, Readiness},
    history::{History, Traffic},
    problems::{Problem, Problems},
    top_links::{Counted, TopLinks},
};
use crate::{
    config::admin::Degraded,
    pipeline::{Gauges, LastReload, Pipeline, Reloader, status::Facts},
    runtime::UnixTime,
};

/// What the status is gathered from. Cheap to clone.
#[derive(Clone)]
pub struct Sources {
    gauges: Gauges,
    reloader: Reloader,
    readiness: Readiness,
    not_ready_when: Arc<[Degraded]>,
    history: History,
    problems: Arc<Problems>,
    top_links: TopLinks,
}

/// How the edge is. `conf/status.schema.json` describes it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub version: &'static str,
    pub pop: String,
    /// When this was gathered.
    pub at: UnixTime,
    pub started_at: UnixTime,
    pub uptime_secs: u64,
    pub state: State,
    /// Whether `/readyz` answers 200.
    pub ready: bool,
    /// What is wrong although clicks are answered: `spool_stalled`, `rings_full`.
    pub degraded: Vec<&'static str>,
    /// What is wrong, in the words of the runbook.
    pub problems: Vec<Problem>,
    pub traffic: Traffic,
    #[serde(flatten)]
    pub facts: Facts,
    /// Absent before the first reload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_reload: Option<LastReload>,
    pub top_links: Counted,
}

/// State of the process.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Starting,
    Ready,
    /// Clicks are answered, and may be lost if it lasts.
    Degraded,
    /// The process stops, or another one takes over.
    Draining,
}

impl Sources {
    pub fn new(pipeline: &Pipeline, readiness: Readiness, not_ready_when: &[Degraded]) -> Self {
        Self {
            gauges: pipeline.gauges(),
            reloader: pipeline.reloader(),
            readiness,
            not_ready_when: not_ready_when.into(),
            history: History::start(pipeline.gauges()),
            problems: Arc::default(),
            top_links: TopLinks::new(pipeline.counts(), pipeline.catalog()),
        }
    }

    /// The status of now. It may read the disk: not for a thread that runs asynchronous tasks.
    pub fn gather(&self) -> Report {
        let degraded = self.gauges.degraded();
        let (state, ready) = match self.readiness.phase() {
            Phase::Starting => (State::Starting, false),
            Phase::Draining => (State::Draining, false),
            Phase::Ready if degraded.is_empty() => (State::Ready, true),
            Phase::Ready => (State::Degraded, !degraded.iter().any(|state| self.not_ready_when.contains(state))),
        };
        let (at, started_at) = (UnixTime::now(), self.history.started());
        Report {
            version: env!("CARGO_PKG_VERSION"),
            pop: self.gauges.pop(),
            at,
            started_at,
            uptime_secs: self.history.uptime_secs(),
            state,
            ready,
            degraded: degraded.into_iter().map(Degraded::name).collect(),
            problems: self.problems.of(&self.gauges.families()),
            traffic: self.history.traffic(),
            facts: self.gauges.facts(),
            last_reload: self.reloader.last(),
            top_links: self.top_links.get(),
        }
    }
}

impl State {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Draining => "draining",
        }
    }
}
