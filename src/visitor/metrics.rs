//! Metrics of the databases that visitors are looked up in.

use prometheus::IntGauge;

use super::{Sources, geo::GeoStore};
use crate::telemetry::metrics::Registry;

/// Metrics of the databases.
pub struct DatabaseMetrics {
    geoip_built: IntGauge,
    asn_built: IntGauge,
}

impl DatabaseMetrics {
    /// Registers the metrics, at zero.
    pub fn new(registry: &Registry) -> Self {
        Self {
            geoip_built: registry
                .gauge("geoip_build_timestamp_seconds", "When the current GeoIP database was built; 0 without one."),
            asn_built: registry
                .gauge("asn_build_timestamp_seconds", "When the current ASN database was built; 0 without one."),
        }
    }

    /// Sets the gauges.
    pub fn update(&self, geo: &GeoStore, sources: &Sources) {
        self.geoip_built.set(geo.built_at_secs() as i64);
        self.asn_built.set(sources.networks.load().asn_built_secs() as i64);
    }
}
