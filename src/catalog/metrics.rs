//! Metrics of the catalog.

use prometheus::IntGauge;

use super::CatalogStore;
use crate::telemetry::metrics::Registry;

/// Metrics of the catalog.
pub struct CatalogMetrics {
    links: IntGauge,
    domains: IntGauge,
    bytes: IntGauge,
    loaded: IntGauge,
}

impl CatalogMetrics {
    /// Registers the metrics, at zero.
    pub fn new(registry: &Registry) -> Self {
        Self {
            links: registry.gauge("catalog_links", "Links in the current catalog."),
            domains: registry.gauge("catalog_domains", "Branded domains in the current catalog."),
            bytes: registry.gauge("catalog_bytes", "Memory of the current catalog."),
            loaded: registry.gauge("catalog_loaded_timestamp_seconds", "When the current catalog was loaded."),
        }
    }

    /// Sets the gauges.
    pub fn update(&self, store: &CatalogStore) {
        let catalog = store.load();
        self.links.set(catalog.links() as i64);
        self.domains.set(catalog.domains() as i64);
        self.bytes.set(catalog.memory_bytes() as i64);
        self.loaded.set(store.loaded_at_secs() as i64);
    }
}
