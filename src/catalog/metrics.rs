//! Metrics of the catalog.

use prometheus::{IntGauge, IntGaugeVec};

use super::{CatalogStore, change::Position};
use crate::telemetry::metrics::Registry;

/// Metrics of the catalog.
pub struct CatalogMetrics {
    links: IntGauge,
    domains: IntGauge,
    bytes: IntGauge,
    loaded: IntGauge,
    revision: IntGauge,
    changed: IntGauge,
    damaged: IntGauge,
    /// Its labels are those of the current catalog.
    info: IntGaugeVec,
}

impl CatalogMetrics {
    /// Registers the metrics, at zero.
    pub fn new(registry: &Registry) -> Self {
        Self {
            links: registry.gauge("catalog_links", "Links in the current catalog."),
            domains: registry.gauge("catalog_domains", "Branded domains in the current catalog."),
            bytes: registry.gauge("catalog_bytes", "Memory of the current catalog."),
            loaded: registry.gauge("catalog_loaded_timestamp_seconds", "When the current catalog was loaded."),
            revision: registry.gauge("catalog_revision", "Number of the last change of a link or domain."),
            damaged: registry.gauge(
                "catalog_damaged",
                "1 while the private copy of the snapshot in catalog.state_dir is damaged, and some links may be wrong.",
            ),
            changed: registry.gauge("catalog_changed_links", "Links that were changed since the snapshot or file."),
            info: registry.gauges_of(
                "catalog_info",
                "Generation of the current snapshot, and hash of all links and domains: edges that have the same hash \
                 have the same catalog.",
                &["generation", "hash"],
            ),
        }
    }

    /// Sets the gauges.
    pub fn update(&self, store: &CatalogStore) {
        let catalog = store.load();
        self.links.set(catalog.links() as i64);
        self.domains.set(catalog.domains() as i64);
        self.bytes.set(catalog.memory_bytes() as i64);
        self.loaded.set(store.loaded_at_secs() as i64);
        let Position { generation, revision, hash } = catalog.position();
        self.revision.set(revision as i64);
        self.damaged.set(store.is_damaged().into());
        self.changed.set(catalog.changed() as i64);
        self.info.reset();
        self.info.with_label_values(&[&generation.to_string(), &hash.to_string()]).set(1);
    }
}
