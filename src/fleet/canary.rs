//! The canary: one edge takes a new snapshot first, and reports in the bucket whether it is good.
//!
//! A snapshot that lacks links shows in requests for unknown slashtags. The canary compares their share while it
//! observes the new snapshot with the share before. The report is an object next to the head; that the canary observes
//! is in it as well, with the share before, so that a restart does not lose it.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{malformed::Malformed, store::Requests};
use crate::catalog::{change::Position, state_hash::StateHash};

/// Key of the report, below the prefix of the fleet.
pub const KEY: &str = "canary.json";

/// What the canary edge reports.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    kind: Kind,
    /// The generation that it is about.
    pub generation: u64,
    /// The hash of its snapshot.
    pub hash: StateHash,
    pub state: State,
    /// When the canary had installed the snapshot, in seconds since the Unix epoch.
    pub since: u64,
    /// Share of requests for unknown slashtags before; `None` where there were no requests.
    pub before: Option<f64>,
    /// The share while it observes; 0 before the end.
    pub after: f64,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Canary,
}

/// What the canary found.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Observing,
    Ok,
    Failed,
}

impl Report {
    /// The canary begins to observe a snapshot.
    pub fn begin(snapshot: Position, since: u64, before: Option<f64>) -> Self {
        let (generation, hash) = (snapshot.generation, snapshot.hash);
        Self { kind: Kind::Canary, generation, hash, state: State::Observing, since, before, after: 0.0 }
    }

    /// Whether it is about this snapshot.
    pub fn is_about(&self, snapshot: Position) -> bool {
        (self.generation, self.hash) == (snapshot.generation, snapshot.hash)
    }

    /// What the canary found, with this share of requests for unknown slashtags, if there were requests.
    pub fn concluded(self, after: Option<f64>, most_jump: f64) -> Self {
        let after = after.unwrap_or_default();
        let has_jumped = self.before.is_some_and(|before| after - before > most_jump);
        Self { state: if has_jumped { State::Failed } else { State::Ok }, after, ..self }
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Strings and finite numbers always have a form in JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a report.
    ///
    /// # Errors
    /// When it has another form.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        serde_json::from_slice(bytes).map_err(|error| Malformed::new(KEY, error.to_string()))
    }
}

/// The counts of the last while.
pub struct Window {
    span: Duration,
    samples: VecDeque<(Instant, Requests)>,
}

/// Most samples of a window.
const SAMPLES: u32 = 256;

impl Window {
    /// A window of this span.
    pub fn new(span: Duration) -> Self {
        Self { span, samples: VecDeque::new() }
    }

    /// Notes the counts of now, and forgets those that are older than the span.
    pub fn add(&mut self, now: Instant, counts: Requests) {
        let is_soon = self.samples.back().is_some_and(|(at, _)| now.duration_since(*at) < self.span / SAMPLES);
        if !is_soon {
            self.samples.push_back((now, counts));
        }
        // The sample before the span is its beginning.
        while self.samples.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= self.span) {
            self.samples.pop_front();
        }
    }

    /// The share of requests for unknown slashtags within the span up to now; `None` without requests.
    pub fn share(&self, counts: Requests) -> Option<f64> {
        share(self.samples.front()?.1, counts)
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.samples.clear();
    }
}

/// The share of requests for unknown slashtags between two counts; `None` without requests.
pub fn share(from: Requests, to: Requests) -> Option<f64> {
    let all = to.all.saturating_sub(from.all);
    (all > 0).then(|| to.unknown.saturating_sub(from.unknown) as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::fixture::position;

    #[test]
    fn a_jump_of_unknown_slashtags_fails_and_a_steady_share_does_not() {
        let report = |before, after| Report::begin(position(2, 0), 7, before).concluded(after, 0.05).state;
        assert_eq!(report(Some(0.30), Some(0.34)), State::Ok);
        assert_eq!(report(Some(0.30), Some(0.36)), State::Failed);
        assert_eq!(report(Some(0.30), Some(0.01)), State::Ok, "fewer");
        assert_eq!(report(Some(0.30), None), State::Ok, "no requests");
        assert_eq!(report(None, Some(0.9)), State::Ok, "nothing to compare with");
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let report = Report::begin(position(2, 9), 7, Some(0.25));
        assert_eq!(Report::parse(&report.to_bytes()).unwrap(), report);
        assert!(report.is_about(position(2, 9)) && !report.is_about(position(3, 9)));
        assert!(Report::parse(b"{\"kind\":\"head\"}").unwrap_err().to_string().contains(KEY));
    }

    #[test]
    fn the_share_is_that_of_the_span() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let counts = |all, unknown| Requests { all, unknown };
        let mut window = Window::new(10 * second);
        assert_eq!(window.share(counts(5, 5)), None);
        for i in 0..=30_u32 {
            // All are unknown in the first ten seconds, none later.
            window.add(start + i * second, counts(u64::from(i) * 10, u64::from(i.min(10)) * 10));
        }
        assert_eq!(window.share(counts(300, 100)), Some(0.0));
        assert_eq!(window.share(counts(400, 150)), Some(0.25));
        assert!(window.samples.len() < 13, "{}", window.samples.len());
    }
}
