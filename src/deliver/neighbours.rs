//! Edges that deliver under the name of this one: two edges that were given one name, or a spool that was replaced.
//!
//! Manifests of the current and the last hour show them. Each feed looks once, after the start, next to its deliveries:
//! with two bounded listings, of a few feeds at a time. Nothing waits for the answers. Listing is a permission that
//! deliveries do not need, so a sink that denies it, or has no listings, says nothing about neighbours.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use super::sink::Sink;
use crate::{
    object::ManifestKey,
    runtime::{Hour, clock},
};

/// Feeds that look at a time.
pub const CONCURRENT: usize = 4;

/// Longest wait for a listing.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The names in the keys of a feed's objects.
#[derive(Clone, Debug)]
pub struct Names {
    pub feed: String,
    pub pop: String,
    /// Identity of the spool.
    pub spool: String,
}

/// Logs the other spools that have delivered manifests of this feed under the name of this edge.
pub async fn report(names: Names, sink: Arc<dyn Sink>, limit: Arc<Semaphore>) {
    let _permit = limit.acquire().await;
    let Names { feed, pop, spool } = &names;
    let Ok(others) = tokio::time::timeout(TIMEOUT, find(&names, &*sink)).await else {
        return tracing::debug!(feed, "no answer to a listing; edges of the same name are not looked for");
    };
    if !others.is_empty() {
        let others = others.into_iter().collect::<Vec<_>>().join(", ");
        tracing::warn!(
            feed,
            pop,
            spool,
            others,
            remedy = "give each edge an `edge.pop` of its own; an edge whose spool was replaced needs nothing",
            "another spool has delivered under the name of this edge within two hours"
        );
    }
}

async fn find(names: &Names, sink: &dyn Sink) -> BTreeSet<String> {
    let Names { feed, pop, spool } = names;
    let (series, now) = (format!("{feed}-{pop}"), clock::unix_micros());
    let mut others = BTreeSet::new();
    for hour in [now, now.saturating_sub(3_600_000_000)].map(Hour::of_micros) {
        let prefix = format!("_manifest/{}/{series}-", hour.partition());
        match sink.list(&prefix).await {
            Ok(keys) => {
                let parsed = keys.iter().filter_map(|key| ManifestKey::parse(key));
                let other = parsed.filter(|key| key.series == series && key.spool != spool);
                others.extend(other.map(|key| key.spool.to_owned()));
            }
            Err(error) => tracing::debug!(feed, error = error.chain(), "cannot list manifests"),
        }
    }
    others
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::{
        deliver::{SinkError, Stored},
        object::{Maker, Object},
    };

    struct Listed(Option<Vec<String>>);

    #[async_trait]
    impl Sink for Listed {
        async fn put(&self, _: &Object) -> Result<Stored, SinkError> {
            Ok(Stored::Now)
        }

        async fn list(&self, prefix: &str) -> Result<Vec<String>, SinkError> {
            let keys = self.0.as_ref().ok_or_else(|| SinkError::rejected("access denied"))?;
            Ok(keys.iter().filter(|key| key.starts_with(prefix)).cloned().collect())
        }
    }

    #[tokio::test]
    async fn only_other_spools_of_the_same_feed_and_edge_are_found() {
        let now = Hour::of_micros(clock::unix_micros());
        let earlier = Hour::of_micros((now.since_epoch() - 2) * 3_600_000_000);
        let key = |feed, pop, spool, hour| Maker { feed, pop, spool }.manifest_key(hour, 7, 3);
        let keys = vec![
            key("all", "fra1", "ownspool", now),
            key("all", "fra1", "neighbor", now),
            key("all", "fra1", "longgone", earlier),
            key("all", "fra1-b", "otheredg", now),
            key("all-fra1", "b", "otherfee", now),
            "_manifest/x.json".into(),
        ];
        let names = Names { feed: "all".into(), pop: "fra1".into(), spool: "ownspool".into() };
        let found = find(&names, &Listed(Some(keys))).await;
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["neighbor"]);
        assert!(find(&names, &Listed(None)).await.is_empty(), "a denied listing says nothing");
    }
}
