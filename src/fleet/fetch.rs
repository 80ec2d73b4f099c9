//! Fetches the catalog of a fleet once, to work with it.

use std::{path::Path, sync::Arc};

use super::{bucket::Bucket, error::SyncError, metrics::FleetMetrics, replica::Replica, store::Requests};
use crate::{
    catalog::{Catalog, CatalogStore, change::Position},
    config,
    telemetry::metrics::Registry,
};

/// Fetches the catalog into an empty folder, as an edge does into its state folder: the snapshot, and the changes
/// since.
///
/// # Errors
/// When the bucket cannot be read, or has no catalog.
pub async fn fetch(bucket: &config::S3, catalog: &config::Catalog, dir: &Path) -> Result<Position, SyncError> {
    let fleet = Some(config::Fleet::of(bucket.clone()));
    let catalog = config::Catalog { state_dir: Some(dir.to_owned()), fleet, ..catalog.clone() };
    let store = Arc::new(CatalogStore::of(Catalog::empty(), &catalog));
    store.open_log().map_err(|error| SyncError::Disk(format!("cannot use {}: {error}", dir.display())))?;
    let metrics = Arc::new(FleetMetrics::new(&Registry::new()));
    let (fleet, requests) = (config::Fleet::of(bucket.clone()), Box::new(Requests::default));
    let bucket = Bucket::new(bucket).await;
    let store_of_replica = Arc::clone(&store) as Arc<_>;
    let mut replica = Replica::new(&fleet, bucket, store_of_replica, dir.to_owned(), metrics, requests);
    replica.sync().await?;
    Ok(store.position())
}
