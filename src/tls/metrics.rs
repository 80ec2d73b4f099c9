//! Metrics of certificates. There may be thousands: only those that expire first have a series each.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use jiff::Timestamp;
use prometheus::{IntGauge, IntGaugeVec};

use super::{CertificateStore, certificates::pair::EXPIRY_WARNING_DAYS};
use crate::telemetry::metrics::Registry;

/// Certificates that have a series each.
const NAMED: usize = 20;

/// Metrics of the current certificates.
pub struct CertificateMetrics {
    loaded: IntGauge,
    soonest: IntGauge,
    expiring: IntGauge,
    expired: IntGauge,
    /// Its labels are those of the certificates that expire first.
    first: IntGaugeVec,
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
            first: registry.gauges(
                "tls_certificate_not_after_timestamp_seconds",
                "When a certificate expires, by the first of its names; the 20 certificates that expire first.",
                "name",
            ),
        }
    }

    /// Sets the gauges.
    pub fn update(&self, stores: &[Arc<CertificateStore>], now: Timestamp) {
        // Listeners may share a folder.
        let mut counted = HashSet::new();
        let (mut first, mut expiring, mut expired) = (BTreeSet::new(), 0, 0);
        for store in stores {
            store.each(|pair| {
                if !counted.insert(Arc::as_ptr(pair)) {
                    return;
                }
                let end = pair.inspected.not_after;
                let name = pair.inspected.names.first();
                first.insert((end.as_second(), name.cloned().unwrap_or_default()));
                if first.len() > NAMED {
                    first.pop_last();
                }
                if end < now {
                    expired += 1;
                } else if end.as_second() - now.as_second() < EXPIRY_WARNING_DAYS * 86_400 {
                    expiring += 1;
                }
            });
        }
        self.loaded.set(counted.len() as i64);
        self.soonest.set(first.first().map_or(0, |(end, _)| *end));
        self.first.reset();
        // The last one set is the first to expire: a name may have several certificates, one for each kind of key.
        for (end, name) in first.iter().rev() {
            self.expires(name, *end);
        }
        self.expiring.set(expiring);
        self.expired.set(expired);
    }

    /// Sets when a certificate expires that has a series of its own, in seconds since the Unix epoch.
    pub(crate) fn expires(&self, name: &str, end: i64) {
        self.first.with_label_values(&[name]).set(end);
    }
}
