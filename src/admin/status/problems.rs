//! What is wrong with the edge, in the words of the runbook: the alerts of `conf/prometheus/alerts.yml` whose cause the
//! edge sees itself, from the same metrics, without the time that an alert waits.
//!
//! `ClickedgeDown` and a clock that differs from that of Prometheus are seen from outside only. What an alert derives
//! with `increase()` is a problem for as long: ten minutes from the look at the status that has first seen it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};
use serde::Serialize;

use crate::runtime::clock;

/// Most names that a problem lists.
const MOST_NAMES: usize = 10;

/// How long something that was counted is a problem.
const RECENT: Duration = Duration::from_secs(600);

const DAY: f64 = 86_400.0;

/// Something that an operator should look at.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Problem {
    /// Name of the alert, and of the section of the runbook.
    pub alert: &'static str,
    pub severity: Severity,
    /// What is wrong, as in the alert.
    pub summary: &'static str,
    /// What it is about: feeds, reasons, names of certificates. Empty when it is about the whole edge.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub of: Vec<String>,
}

/// How urgent it is, as in the alert.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Clicks or events are lost, or are soon, or visitors get errors.
    Critical,
    /// It gets worse by itself.
    Warning,
    /// Nothing breaks.
    Info,
}

use Severity::{Critical, Info, Warning};

/// What a problem is about, one for each series that shows it; `""` for a series without labels.
type Found = Vec<String>;

/// An alert, and how its cause is seen.
struct Rule(&'static str, Severity, &'static str, fn(&Samples<'_>) -> Found);

/// In the order of the alerts.
const RULES: &[Rule] = &[
    Rule("ClickedgeNotReady", Critical, "the edge accepts no clicks", |now| now.of("ready", |value| value < 1.0)),
    Rule("ClickedgeClicksDropped", Critical, "clicks are dropped", |now| {
        let mut reasons = now.increased("clicks_dropped_total");
        reasons.retain(|reason| reason != "no_feed");
        reasons
    }),
    Rule("ClickedgeEventsDropped", Critical, "events are dropped", |now| now.increased("events_dropped_total")),
    Rule("ClickedgeRingsFilling", Critical, "the rings fill up", |now| now.above("ring_fullest_ratio", 0.5)),
    Rule("ClickedgeDiskFull", Critical, "the disk of the spool is full", |now| now.above("spool_disk_full", 0.0)),
    Rule("ClickedgeDiskFilling", Warning, "the disk of the spool fills up", |now| {
        now.share("spool_disk_free_bytes", "spool_disk_capacity_bytes", |share| share < 0.1)
    }),
    Rule("ClickedgeSpoolStalled", Critical, "the spool cannot be written", |now| {
        if now.is("spool_disk_full") { Found::new() } else { now.above("spool_stalled", 0.0) }
    }),
    Rule("ClickedgeSpoolDamaged", Critical, "the spool was damaged", |now| {
        let is_recent = now.value("process_start_time_seconds").is_none_or(|start| now.secs - start < 3_600.0);
        let damage =
            ["spool_state_damaged_total", "journal_damaged_events_total"].map(|name| now.above(name, 0.0)).concat();
        let doubtful = now.above("events_doubtful_total", 0.0);
        if is_recent { [damage, doubtful].concat() } else { Found::new() }
    }),
    Rule("ClickedgeFeedParked", Critical, "a feed is parked, its sink rejects uploads", |now| {
        now.above("feed_parked", 0.0)
    }),
    Rule("ClickedgeFeedLate", Warning, "deliveries are late", |now| {
        let parked = now.above("feed_parked", 0.0);
        let mut late = now.above("feed_oldest_waiting_seconds", 600.0);
        late.retain(|feed| !parked.contains(feed));
        late
    }),
    Rule("ClickedgeSpoolFilling", Warning, "the spool fills up", |now| {
        let outbox = now.share("spool_bytes", "spool_limit_bytes", |share| share > 0.7);
        [outbox, now.share("journal_bytes", "journal_limit_bytes", |share| share > 0.7)].concat()
    }),
    Rule("ClickedgeSetAside", Warning, "manifests or rollups are not accepted", |now| {
        now.above("feed_set_aside", 0.0)
    }),
    Rule("ClickedgeObjectsUnclaimed", Warning, "objects wait for a feed that is not configured", |now| {
        now.above("outbox_unclaimed_objects", 0.0)
    }),
    Rule("ClickedgeCatalogRejected", Warning, "the catalog is rejected", |now| {
        now.rejected(|resource| resource == "catalog").into_iter().map(|_| String::new()).collect()
    }),
    Rule("ClickedgeCatalogDamaged", Critical, "the copy of the catalog is damaged", |now| {
        now.above("catalog_damaged", 0.0)
    }),
    Rule("ClickedgeReloadRejected", Warning, "a reload is rejected", |now| {
        if now.value("config_last_reload_successful") == Some(0.0) {
            now.rejected(|resource| resource != "catalog")
        } else {
            Found::new()
        }
    }),
    Rule("ClickedgeRestartPending", Info, "keys of the configuration wait for an upgrade", |now| {
        now.above("config_restart_keys", 0.0)
    }),
    Rule("ClickedgeGeoipOld", Warning, "the GeoIP database is old", |now| {
        now.of("geoip_build_timestamp_seconds", |built| built > 0.0 && now.secs - built > 60.0 * DAY)
    }),
    Rule("ClickedgeCertificateExpiring", Warning, "a certificate expires soon", |now| {
        let is_soon = |end: f64| end > now.secs && end - now.secs < 14.0 * DAY;
        now.of("tls_certificate_not_after_timestamp_seconds", is_soon)
    }),
    Rule("ClickedgeCertificateExpired", Critical, "a certificate has expired", |now| {
        now.above("tls_certificates_expired", 0.0)
    }),
    Rule("ClickedgeCertificateMissing", Warning, "certificates cannot be obtained", |now| {
        let is_over = |next: f64| next > 0.0 && now.secs - next > 600.0;
        let orders = now.of("acme_next_order_timestamp_seconds", is_over);
        [now.above("acme_names_missing", 0.0), now.above("acme_names_failing", 0.0), orders].concat()
    }),
    Rule("ClickedgeFleetBehind", Warning, "the edge is behind the fleet", |now| {
        if now.is("fleet_halted") { Found::new() } else { now.above("fleet_lag_seconds", 60.0) }
    }),
    Rule("ClickedgeFleetHalted", Critical, "the edge does not take the catalog of the fleet", |now| {
        let waits_long = now.value("fleet_lag_seconds").is_some_and(|lag| lag > 3_600.0);
        let mut reasons = now.above("fleet_halted", 0.0);
        reasons.retain(|reason| waits_long || reason != "canary");
        reasons
    }),
    Rule("ClickedgeClockOff", Warning, "the clock is off", |now| {
        now.of("feed_clock_skew_seconds", |skew| skew.abs() > 30.0)
    }),
    Rule("ClickedgeConnectionsFull", Critical, "the connections are used up", |now| {
        now.share("connections_open", "connections_limit", |share| share > 0.9)
    }),
    Rule("ClickedgeFilesFull", Critical, "the open files are used up", |now| {
        let open = now.share("process_open_fds", "process_max_fds", |share| share > 0.9);
        [open, now.increased("accept_failures_total")].concat()
    }),
    Rule("ClickedgeUpstreamBusy", Warning, "the upstream is too slow", |now| {
        let mut limits = now.increased("requests_limited_total");
        limits.retain(|limit| limit == "upstream");
        limits.iter().map(|_| String::new()).collect()
    }),
    Rule("ClickedgeCountsFailing", Warning, "the counts cannot be written", |now| now.above("stats_failing", 0.0)),
];

/// Names and words of the alerts that are seen here.
#[cfg(test)]
pub fn words() -> impl Iterator<Item = (&'static str, &'static str)> {
    RULES.iter().map(|Rule(alert, _, summary, _)| (*alert, *summary))
}

/// Remembers counters between two looks.
#[derive(Default)]
pub struct Problems(Mutex<HashMap<String, Counted>>);

/// A counter at the last look, and when it was last seen to have grown.
struct Counted {
    value: f64,
    grew: Option<Instant>,
}

impl Problems {
    /// The problems that these metrics show.
    pub fn of(&self, families: &[MetricFamily]) -> Vec<Problem> {
        let by_name = families.iter().map(|family| (short(family.name()), family)).collect();
        let now = Samples { by_name, secs: clock::unix_secs() as f64, counted: &self.0 };
        let problem = |Rule(alert, severity, summary, cause): &Rule| {
            let mut of = cause(&now);
            if of.is_empty() {
                return None;
            }
            of.retain(|name| !name.is_empty());
            of.dedup();
            of.truncate(MOST_NAMES);
            Some(Problem { alert, severity: *severity, summary, of })
        };
        RULES.iter().filter_map(problem).collect()
    }
}

/// Metrics of a moment.
struct Samples<'m> {
    /// Without the prefix of our own.
    by_name: HashMap<&'m str, &'m MetricFamily>,
    /// Seconds since the Unix epoch.
    secs: f64,
    counted: &'m Mutex<HashMap<String, Counted>>,
}

impl Samples<'_> {
    /// The series of a metric with their values.
    fn series(&self, name: &str) -> impl Iterator<Item = (String, f64)> {
        let family = self.by_name.get(name).copied();
        let kind = family.map(MetricFamily::get_field_type);
        let series = family.into_iter().flat_map(MetricFamily::get_metric);
        series.map(move |metric| (label(metric), value(metric, kind)))
    }

    /// What the series are about whose value is like this.
    fn of(&self, name: &str, is: impl Fn(f64) -> bool) -> Found {
        self.series(name).filter(|(_, value)| is(*value)).map(|(label, _)| label).collect()
    }

    fn above(&self, name: &str, least: f64) -> Found {
        self.of(name, |value| value > least)
    }

    /// Whether any series is above zero.
    fn is(&self, name: &str) -> bool {
        !self.above(name, 0.0).is_empty()
    }

    /// The value of a metric without labels.
    fn value(&self, name: &str) -> Option<f64> {
        self.series(name).next().map(|(_, value)| value)
    }

    /// Whether the share of one metric in another is like this.
    fn share(&self, part: &str, whole: &str, is: fn(f64) -> bool) -> Found {
        let share = self.value(part).zip(self.value(whole)).filter(|(_, whole)| *whole > 0.0);
        share.filter(|(part, whole)| is(part / whole)).map(|_| String::new()).into_iter().collect()
    }

    /// The files whose last read was rejected.
    fn rejected(&self, is: fn(&str) -> bool) -> Found {
        let mut resources = self.of("resource_last_reload_successful", |value| value < 1.0);
        resources.retain(|resource| is(resource));
        resources
    }

    /// What the series of a counter are about that have grown a short while ago.
    fn increased(&self, name: &str) -> Found {
        let now = clock::monotonic();
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let mut grown = Found::new();
        for (label, value) in self.series(name).filter(|(_, value)| *value > 0.0) {
            let known = counted.entry(format!("{name} {label}")).or_insert(Counted { value: 0.0, grew: None });
            if value > known.value {
                *known = Counted { value, grew: Some(now) };
            }
            if known.grew.is_some_and(|at| now.duration_since(at) < RECENT) {
                grown.push(label);
            }
        }
        grown
    }
}

/// The values of the labels.
fn label(metric: &Metric) -> String {
    metric.get_label().iter().map(LabelPair::value).collect::<Vec<_>>().join(": ")
}

fn value(metric: &Metric, kind: Option<MetricType>) -> f64 {
    match kind {
        Some(MetricType::COUNTER) => metric.get_counter().get_value(),
        Some(MetricType::GAUGE) => metric.get_gauge().get_value(),
        _ => 0.0,
    }
}

fn short(name: &str) -> &str {
    name.strip_prefix("clickedge_").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Registry;

    const ALERTS: &str = include_str!("../../../conf/prometheus/alerts.yml");

    #[test]
    fn problems_are_the_alerts_in_their_order_and_words() {
        let summaries = ALERTS.lines().filter_map(|line| line.trim().strip_prefix("summary: "));
        let names = ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
        let alerts: Vec<_> = names.zip(summaries).filter(|(name, _)| *name != "ClickedgeDown").collect();
        assert_eq!(words().collect::<Vec<_>>(), alerts);
        for Rule(alert, severity, ..) in RULES {
            let rule = ALERTS.split("- alert: ").find(|rule| rule.starts_with(&format!("{alert}\n"))).unwrap();
            let severity = serde_json::to_value(severity).unwrap();
            assert!(rule.contains(&format!("severity: {}\n", severity.as_str().unwrap())), "{alert}");
        }
    }

    #[test]
    fn each_rule_reads_metrics_of_its_alert() {
        let source = include_str!("problems.rs");
        for Rule(alert, ..) in RULES {
            let rule = ALERTS.split("- alert: ").find(|rule| rule.starts_with(&format!("{alert}\n"))).unwrap();
            let expr = rule.split("labels:").next().unwrap();
            let code = source.split(&format!("Rule(\"{alert}\"")).nth(1).unwrap();
            let code = code.split("Rule(\"").next().unwrap().split("\n];").next().unwrap();
            let names =
                code.split('"').filter(|text| text.contains('_') && !text.contains(' ') && *text != "no_feed");
            let mut read = 0;
            for name in names.filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_')) {
                assert!(expr.contains(name), "{alert} reads {name}, and its alert does not");
                read += 1;
            }
            assert!(read > 0 || ["ClickedgeNotReady", "ClickedgeCatalogRejected"].contains(alert), "{alert}");
        }
    }

    #[test]
    fn a_problem_names_what_it_is_about_and_ends_with_its_cause() {
        let registry = Registry::new();
        let parked = registry.gauges("feed_parked", "x", "feed");
        let full = registry.gauge("spool_disk_full", "x");
        let dropped = registry.counters("events_dropped_total", "x", &["feed", "reason"]);
        let problems = Problems::default();
        let now = || {
            let found = problems.of(&registry.families());
            found.into_iter().map(|problem| (problem.alert, problem.of)).collect::<Vec<_>>()
        };
        parked.with_label_values(&["fine"]).set(0);
        assert_eq!(now(), []);
        parked.with_label_values(&["brand"]).set(1);
        full.set(1);
        dropped.with_label_values(&["brand", "spool_quota"]).inc_by(3);
        let expected = [
            ("ClickedgeEventsDropped", vec!["brand: spool_quota".to_owned()]),
            ("ClickedgeDiskFull", vec![]),
            ("ClickedgeFeedParked", vec!["brand".to_owned()]),
        ];
        assert_eq!(now(), expected);
        parked.with_label_values(&["brand"]).set(0);
        full.set(0);
        assert_eq!(now(), expected[..1], "what was dropped is a problem for a while");
    }
}
