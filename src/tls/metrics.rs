//! Metrics of certificates. None is labelled with a name: there may be thousands.

use std::{collections::HashSet, sync::Arc};

use jiff::Timestamp;
use prometheus::IntGauge;

use super::{CertificateStore, certificates::pair::EXPIRY_WARNING_DAYS};
use crate::telemetry::metrics::Registry;

/// Metrics of the current certificates.
pub struct CertificateMetrics {
    loaded: IntGauge,
    soonest: IntGauge,
    expiring: IntGauge,
    expired: IntGauge,
}

impl CertificateMetrics {
    /// Registers the metrics, at zero.
    pub fn new(registry: &Registry) -> Self {
        Self {
            loaded: registry.gauge("tls_certificates", "Certificates of listeners that are loaded."),
            soonest: registry.gauge(
                "tls_certificate_expiry_timestamp_seconds",
                "When the first of the loaded certificates expires, or has expired; 0 without one.",
            ),
            expiring: registry
                .gauge("tls_certificates_expiring", "Loaded certificates that expire within 14 days."),
            expired: registry.gauge(
                "tls_certificates_expired",
                "Loaded certificates that have expired since they were read. They stay active until they are replaced.",
            ),
        }
    }

    /// Sets the gauges.
    pub fn update(&self, stores: &[Arc<CertificateStore>], now: Timestamp) {
        // Listeners may share a folder.
        let mut counted = HashSet::new();
        let (mut soonest, mut expiring, mut expired) = (None::<Timestamp>, 0, 0);
        for store in stores {
            store.each(|pair| {
                if !counted.insert(Arc::as_ptr(pair)) {
                    return;
                }
                let end = pair.inspected.not_after;
                soonest = Some(soonest.map_or(end, |soonest| soonest.min(end)));
                if end < now {
                    expired += 1;
                } else if end.as_second() - now.as_second() < EXPIRY_WARNING_DAYS * 86_400 {
                    expiring += 1;
                }
            });
        }
        self.loaded.set(counted.len() as i64);
        self.soonest.set(soonest.map_or(0, Timestamp::as_second));
        self.expiring.set(expiring);
        self.expired.set(expired);
    }
}
