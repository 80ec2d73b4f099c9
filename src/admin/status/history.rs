//! Requests of the last hour: one reading of the counters every ten seconds, on a thread of its own.
//!
//! A reading is some 200 bytes, and there are 361 of them. What happened between two of them is their difference, so
//! nothing is counted twice, and the redirect notices nothing. Times are those of the bounds of the histogram,
//! interpolated within it: good for a graph, not for a proof.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{
    pipeline::{
        Gauges,
        status::{RequestTotals, duration_bounds},
    },
    runtime::{UnixTime, clock},
};

/// Time between two readings.
const EVERY: Duration = Duration::from_secs(10);

/// Readings in an hour, with the one that it begins with.
const READINGS: usize = 361;

/// Most points of a series.
const POINTS: usize = 60;

/// The readings of the last hour. Cheap to clone.
#[derive(Clone)]
pub struct History {
    gauges: Gauges,
    readings: Arc<Mutex<VecDeque<Reading>>>,
    started: (UnixTime, Instant),
}

#[derive(Clone)]
struct Reading {
    at: Instant,
    time: UnixTime,
    totals: RequestTotals,
}

/// Requests now, in the last hour, and in the minutes of it.
#[derive(Debug, Serialize)]
pub struct Traffic {
    /// The last ten to twenty seconds.
    pub now: Window,
    /// The last hour, or since the start.
    pub hour: Window,
    /// Intervals of that hour, the newest last: minutes, or ten seconds each in the first ten minutes of the process.
    pub series: Vec<Window>,
}

/// What was requested in an interval.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// Its end.
    pub until: UnixTime,
    /// Its length.
    pub secs: f64,
    pub requests: u64,
    pub clicks: u64,
    /// Requests for unknown links.
    pub not_found: u64,
    pub blocked: u64,
    pub clicks_per_sec: f64,
    /// Half of the answers took at most this long; absent without answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_millis: Option<f64>,
    /// 99 of 100 answers took at most this long; absent without answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_millis: Option<f64>,
}

impl History {
    /// Reads the counters from now on, until the last clone is dropped. Without a thread, there is no history.
    pub fn start(gauges: Gauges) -> Self {
        let first = Reading::take(&gauges);
        let started = (first.time, first.at);
        let readings = Arc::new(Mutex::new(VecDeque::from([first])));
        let (kept, read) = (Arc::downgrade(&readings), gauges.clone());
        let run = move || {
            loop {
                thread::sleep(EVERY);
                let Some(readings) = kept.upgrade() else { return };
                push(&mut lock(&readings), Reading::take(&read));
            }
        };
        if let Err(error) = thread::Builder::new().name("history".into()).spawn(run) {
            tracing::warn!(%error, "no thread for the history of requests: the status page shows no graphs");
        }
        Self { gauges, readings, started }
    }

    /// When it began: with the process, but for the time that the process took to start.
    pub fn started(&self) -> UnixTime {
        self.started.0
    }

    /// Seconds since then, whatever the clock has done.
    pub fn uptime_secs(&self) -> u64 {
        self.started.1.elapsed().as_secs()
    }

    /// The traffic up to now.
    pub fn traffic(&self) -> Traffic {
        let now = Reading::take(&self.gauges);
        traffic(&lock(&self.readings), &now)
    }
}

impl Reading {
    fn take(gauges: &Gauges) -> Self {
        Self { at: clock::monotonic(), time: UnixTime::now(), totals: gauges.requests() }
    }
}

impl Window {
    fn between(from: &Reading, until: &Reading) -> Self {
        let (before, after) = (&from.totals, &until.totals);
        let durations = after.durations.iter().zip(&before.durations).map(|(after, before)| after - before);
        let durations: Vec<u64> = durations.collect();
        let (secs, clicks) = (until.at.duration_since(from.at).as_secs_f64(), after.clicks - before.clicks);
        Self {
            until: until.time,
            secs: rounded(secs),
            requests: after.requests - before.requests,
            clicks,
            not_found: after.not_found - before.not_found,
            blocked: after.blocked - before.blocked,
            clicks_per_sec: if secs > 0.0 { rounded(clicks as f64 / secs) } else { 0.0 },
            p50_millis: quantile(&durations, 0.5),
            p99_millis: quantile(&durations, 0.99),
        }
    }
}

fn traffic(readings: &VecDeque<Reading>, now: &Reading) -> Traffic {
    let recent = readings.iter().rev().find(|reading| now.at.duration_since(reading.at) >= EVERY);
    let first = readings.front().unwrap_or(now);
    // Ten seconds a point until there are more than fit, then a minute.
    let step = if readings.len() <= POINTS + 1 { 1 } else { 6 };
    let mut ends: Vec<&Reading> = readings.iter().rev().step_by(step).take(POINTS + 1).collect();
    ends.reverse();
    Traffic {
        now: Window::between(recent.unwrap_or(first), now),
        hour: Window::between(first, now),
        series: ends.windows(2).map(|pair| Window::between(pair[0], pair[1])).collect(),
    }
}

fn push(readings: &mut VecDeque<Reading>, reading: Reading) {
    if readings.len() == READINGS {
        readings.pop_front();
    }
    readings.push_back(reading);
}

/// The duration that a share of the answers keeps, in milliseconds. `counts` are cumulative, the last one of all.
fn quantile(counts: &[u64], share: f64) -> Option<f64> {
    let all = counts.last().copied().filter(|all| *all > 0)? as f64;
    let (mut below, mut lower) = (0, 0.0);
    for (bound, count) in duration_bounds().zip(counts) {
        if *count as f64 >= share * all {
            let within = (share * all - below as f64) / (count - below).max(1) as f64;
            return Some(rounded(1_000.0 * (lower + within * (bound - lower))));
        }
        (below, lower) = (*count, bound);
    }
    // Longer than the last bound.
    Some(rounded(1_000.0 * lower))
}

/// To three decimals, as more would only look exact.
fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

fn lock(readings: &Mutex<VecDeque<Reading>>) -> MutexGuard<'_, VecDeque<Reading>> {
    readings.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(start: Instant, secs: u64, clicks: u64) -> Reading {
        let mut durations = vec![clicks; duration_bounds().count() + 1];
        // Half of them take 20 to 40 us, the others up to 80 us.
        durations[..2].fill(0);
        durations[2] = clicks / 2;
        let totals = RequestTotals { requests: clicks + 1, clicks, not_found: 1, blocked: 0, durations };
        Reading { at: start + Duration::from_secs(secs), time: UnixTime(1_800_000_000 + secs), totals }
    }

    #[test]
    fn an_hour_of_readings_gives_minutes_and_never_more() {
        let start = Instant::now();
        let mut readings = VecDeque::new();
        for n in 0..1_000 {
            push(&mut readings, reading(start, 10 * n, 50 * n));
        }
        assert_eq!(readings.len(), READINGS);
        let Traffic { now, hour, series } = traffic(&readings, &reading(start, 9_995, 50_000));
        assert_eq!((now.secs, now.clicks), (15.0, 100), "the last whole interval and what followed");
        assert_eq!((hour.secs, hour.requests, hour.not_found), (3_605.0, 18_050, 0));
        assert_eq!((series.len(), series[0].secs, series[59].clicks), (POINTS, 60.0, 300));
        assert!(series.windows(2).all(|pair| pair[0].until < pair[1].until));
    }

    #[test]
    fn a_process_that_has_just_started_has_no_division_by_zero() {
        let first = reading(Instant::now(), 0, 0);
        let Traffic { now, hour, series } = traffic(&VecDeque::from([first.clone()]), &first);
        assert_eq!((now.clicks_per_sec, hour.p99_millis, series.len()), (0.0, None, 0));
    }

    #[test]
    fn a_quantile_lies_within_its_bounds() {
        let counts = reading(Instant::now(), 0, 1_000).totals.durations;
        assert_eq!(quantile(&counts, 0.5), Some(0.04));
        assert_eq!(quantile(&counts, 0.25), Some(0.03));
        let p99 = quantile(&counts, 0.99).unwrap();
        assert!(p99 > 0.078 && p99 < 0.08, "{p99}");
        let mut slow = vec![0; counts.len()];
        *slow.last_mut().unwrap() = 3;
        assert_eq!(quantile(&slow, 0.5), Some(1_310.72), "at least that long");
    }
}
