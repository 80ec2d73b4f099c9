//! Reload: reads the operator files again. A file that is rejected leaves the previous version active.
//!
//! Each resource has its series from the start: `increase()` over a series that appears with the first failure would
//! miss that failure. `config_last_reload_successful` is for all of them together.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus::{IntCounter, IntGauge};

use super::files::{CERTIFICATES, OperatorFiles};
use crate::{
    files::{Description, Warning},
    runtime::{Classified, clock},
    telemetry::metrics::Registry,
};

/// Reads all operator files of a running pipeline again. Cheap to clone.
#[derive(Clone)]
pub struct Reloader {
    files: Arc<OperatorFiles>,
    /// One reload at a time: the later one publishes last.
    turn: Arc<Mutex<()>>,
    metrics: Arc<ReloadMetrics>,
}

/// What came of the last reload, together and for each resource.
pub(super) struct ReloadMetrics {
    successful: IntGauge,
    successful_at: IntGauge,
    resources: BTreeMap<&'static str, ResourceMetrics>,
}

struct ResourceMetrics {
    ok: IntCounter,
    failed: IntCounter,
    successful: IntGauge,
    successful_at: IntGauge,
}

impl Reloader {
    /// For files that were all read without an error just now.
    pub(super) fn new(files: Arc<OperatorFiles>, registry: &Registry) -> Self {
        let metrics = Arc::new(ReloadMetrics::new(&files.registry.names(), registry));
        Self { files, turn: Arc::default(), metrics }
    }

    /// Reads everything again, one resource after the other. A failure of one does not affect the others. Returns
    /// whether all succeeded.
    pub fn reload(&self) -> bool {
        self.reload_those(|_| true)
    }

    /// Reads certificates again if a folder of them has changed.
    pub fn watch(&self) {
        if self.files.has_changed_certificates() {
            self.reload_those(|resource| resource == CERTIFICATES);
        }
    }

    fn reload_those(&self, wanted: fn(&str) -> bool) -> bool {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut results: BTreeMap<&'static str, bool> = BTreeMap::new();
        for read in self.files.registry.read(wanted) {
            let (resource, file) = (read.name, read.file);
            let is_ok = results.entry(resource).or_insert(true);
            match read.result {
                Ok(staged) => {
                    let Description { summary, warnings, rejected } = staged.publish();
                    *is_ok &= rejected.is_empty();
                    tracing::info!(resource, file, summary, "reloaded");
                    for Warning { message, .. } in rejected {
                        tracing::error!(resource, file, "{message}");
                    }
                    for Warning { line, message } in warnings {
                        tracing::warn!(resource, file, line = (line > 0).then_some(line), "{message}");
                    }
                }
                Err(error) => {
                    *is_ok = false;
                    let (key, class, remedy) = (&error.key, error.class().name(), error.remedy());
                    tracing::error!(
                        resource, key, class, %error, remedy,
                        "reload failed; the previous version stays active"
                    );
                }
            }
        }
        self.files.commit();
        self.metrics.finished(&results)
    }
}

impl ReloadMetrics {
    pub fn new(resources: &[&'static str], registry: &Registry) -> Self {
        let reloads = registry.counters("reloads_total", "Reloads by resource and result.", &["what", "result"]);
        let successful = registry.gauges(
            "resource_last_reload_successful",
            "1 if the last read of this operator file succeeded, else 0.",
            "resource",
        );
        let successful_at = registry.gauges(
            "resource_last_reload_success_timestamp_seconds",
            "When this operator file was last read with success.",
            "resource",
        );
        let metrics = |name: &'static str| {
            let counter = |result| reloads.with_label_values(&[name, result]);
            let metrics = ResourceMetrics {
                ok: counter("ok"),
                failed: counter("failed"),
                successful: successful.with_label_values(&[name]),
                successful_at: successful_at.with_label_values(&[name]),
            };
            succeeded(&metrics.successful, &metrics.successful_at);
            (name, metrics)
        };
        let all = Self {
            successful: registry.gauge(
                "config_last_reload_successful",
                "1 if all operator files were read with success at the last reload or at start, else 0.",
            ),
            successful_at: registry.gauge(
                "config_last_reload_success_timestamp_seconds",
                "When all operator files were last read with success.",
            ),
            resources: resources.iter().copied().map(metrics).collect(),
        };
        succeeded(&all.successful, &all.successful_at);
        all
    }

    /// Counts the results by resource. Whether all succeeded.
    fn finished(&self, results: &BTreeMap<&'static str, bool>) -> bool {
        for (resource, is_ok) in results {
            let Some(metrics) = self.resources.get(resource) else { continue };
            if *is_ok {
                metrics.ok.inc();
                succeeded(&metrics.successful, &metrics.successful_at);
            } else {
                metrics.failed.inc();
                metrics.successful.set(0);
            }
        }
        // Not all of them may have been read this time.
        if self.resources.values().all(|metrics| metrics.successful.get() == 1) {
            succeeded(&self.successful, &self.successful_at);
        } else {
            self.successful.set(0);
        }
        results.values().all(|is_ok| *is_ok)
    }
}

fn succeeded(successful: &IntGauge, at: &IntGauge) {
    successful.set(1);
    at.set(clock::unix_secs() as i64);
}
