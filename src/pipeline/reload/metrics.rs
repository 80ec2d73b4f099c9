//! Metrics of reloads.
//!
//! Each resource has its series from the start: `increase()` over a series that appears with the first failure would
//! miss that failure. `config_last_reload_successful` is for all of them together.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::{runtime::clock, telemetry::metrics::Registry};

/// Name of the configuration file among the resources.
pub const CONFIG: &str = "config";

/// What came of the last reload, together and for each resource.
pub struct ReloadMetrics {
    reloads: IntCounterVec,
    resource_successful: IntGaugeVec,
    resource_successful_at: IntGaugeVec,
    successful: IntGauge,
    successful_at: IntGauge,
    restart_keys: IntGauge,
    resources: Mutex<BTreeMap<&'static str, ResourceMetrics>>,
}

struct ResourceMetrics {
    ok: IntCounter,
    failed: IntCounter,
    successful: IntGauge,
    successful_at: IntGauge,
}

impl ReloadMetrics {
    /// For resources that were all read without an error just now.
    pub fn new(resources: &[&'static str], registry: &Registry) -> Self {
        let metrics = Self {
            reloads: registry.counters("reloads_total", "Reloads by resource and result.", &["what", "result"]),
            resource_successful: registry.gauges(
                "resource_last_reload_successful",
                "1 if the last read of this operator file succeeded, else 0.",
                "resource",
            ),
            resource_successful_at: registry.gauges(
                "resource_last_reload_success_timestamp_seconds",
                "When this operator file was last read with success.",
                "resource",
            ),
            successful: registry.gauge(
                "config_last_reload_successful",
                "1 if the last reload succeeded, or the start, else 0: then the previous version of everything is active.",
            ),
            successful_at: registry.gauge(
                "config_last_reload_success_timestamp_seconds",
                "When a reload last succeeded, or the start.",
            ),
            restart_keys: registry.gauge(
                "config_restart_keys",
                "Changed keys of the configuration that wait for `clickedge upgrade` or a restart.",
            ),
            resources: Mutex::default(),
        };
        metrics.name(resources);
        succeeded(&metrics.successful, &metrics.successful_at);
        metrics
    }

    /// These are the resources from now on.
    pub fn name(&self, names: &[&'static str]) {
        let mut resources = self.resources.lock().unwrap_or_else(PoisonError::into_inner);
        resources.retain(|resource, _| {
            let stays = names.contains(resource);
            if !stays {
                _ = self.resource_successful.remove_label_values(&[resource]);
                _ = self.resource_successful_at.remove_label_values(&[resource]);
            }
            stays
        });
        for name in names {
            resources.entry(name).or_insert_with(|| {
                let counter = |result: &str| self.reloads.with_label_values(&[*name, result]);
                let metrics = ResourceMetrics {
                    ok: counter("ok"),
                    failed: counter("failed"),
                    successful: self.resource_successful.with_label_values(&[name]),
                    successful_at: self.resource_successful_at.with_label_values(&[name]),
                };
                succeeded(&metrics.successful, &metrics.successful_at);
                metrics
            });
        }
    }

    /// So many keys wait for a restart.
    pub fn set_restart_keys(&self, keys: usize) {
        self.restart_keys.set(keys as i64);
    }

    /// These were read without an error by a reload that was rejected for something else.
    pub fn readable(&self, names: &[&'static str]) {
        let resources = self.resources.lock().unwrap_or_else(PoisonError::into_inner);
        for metrics in names.iter().filter_map(|name| resources.get(name)) {
            metrics.successful.set(1);
        }
    }

    /// Counts the results by resource. A resource that was read, and not published, has none.
    pub fn finished(&self, results: &BTreeMap<&'static str, bool>) {
        let resources = self.resources.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |(resource, is_ok): (&&'static str, &bool)| (!is_ok).then_some(*resource);
        let unknown = results.iter().filter_map(failed).all(|resource| !resources.contains_key(resource));
        // A file that only the rejected configuration names: then that is what failed.
        let of_config = (unknown && results.values().any(|is_ok| !is_ok)).then_some((&CONFIG, &false));
        for (resource, is_ok) in results.iter().chain(of_config) {
            let Some(metrics) = resources.get(resource) else { continue };
            if *is_ok {
                metrics.ok.inc();
                succeeded(&metrics.successful, &metrics.successful_at);
            } else {
                metrics.failed.inc();
                metrics.successful.set(0);
            }
        }
        // Not all of them may have been read this time.
        if resources.values().all(|metrics| metrics.successful.get() == 1) {
            succeeded(&self.successful, &self.successful_at);
        } else {
            self.successful.set(0);
        }
    }
}

fn succeeded(successful: &IntGauge, at: &IntGauge) {
    successful.set(1);
    at.set(clock::unix_secs() as i64);
}
