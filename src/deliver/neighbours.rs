//! Edges that deliver under the name of this one: two edges that were given one name, or a spool that was replaced.
//!
//! Manifests of the last three hours show them, in both layouts. Three: the first manifest of the running hour may be
//! an hour away, and the hour before is not closed until its late objects are collected. Each feed looks once, after
//! the start, next to its deliveries: with three bounded listings, of a few feeds at a time. Nothing waits for the
//! answers. Listing is a permission that deliveries do not need, so a sink that denies it, or has no listings, says
//! nothing about neighbours.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use super::sink::Sink;
use crate::{
    object::Maker,
    runtime::{Hour, clock},
};

/// The current hour and those before it.
const HOURS: u64 = 3;

/// Feeds that look at a time.
pub const CONCURRENT: usize = 4;

/// Longest wait for a listing.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Logs the other spools that have delivered manifests of this feed under the name of this edge.
pub async fn report(feed: String, edge: Arc<(String, String)>, sink: Arc<dyn Sink>, limit: Arc<Semaphore>) {
    let _permit = limit.acquire().await;
    let (pop, spool) = &*edge;
    let now = clock::unix_micros();
    let Ok(others) = tokio::time::timeout(TIMEOUT, find(Maker { feed: &feed, pop, spool }, now, &*sink)).await else {
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
            "another spool has delivered under the name of this edge within three hours"
        );
    }
}

async fn find(own: Maker<'_>, now: u64, sink: &dyn Sink) -> BTreeSet<String> {
    let mut others = BTreeSet::new();
    for before in 0..HOURS {
        let hour = Hour::of_micros(now.saturating_sub(before * 3_600_000_000));
        match sink.list(&own.manifests_of_all_spools(hour)).await {
            Ok(keys) => {
                let makers = keys.iter().filter_map(|key| Maker::of(key, own.feed));
                let other = makers.filter(|maker| maker.pop == own.pop && maker.spool != own.spool);
                others.extend(other.map(|maker| maker.spool.to_owned()));
            }
            Err(error) => tracing::debug!(feed = own.feed, error = error.chain(), "cannot list manifests"),
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
        object::Object,
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
        // The first minute of an hour: a neighbour with a manifest an hour has closed the last but one.
        let now: u64 = 500_000 * 3_600_000_000 + 30_000_000;
        let key = |feed, pop, spool, before: u64| {
            let hour = Hour::of_micros(now - before * 3_600_000_000);
            Maker { feed, pop, spool }.manifest_key(hour, 7, 3)
        };
        let keys = vec![
            key("all", "fra1", "ownspool", 0),
            key("all", "fra1", "neighbor", 0),
            key("all", "fra1", "slowedge", 2),
            key("all", "fra1", "longgone", 3),
            key("all", "fra1-b", "otheredg", 0),
            key("all-fra1", "b", "otherfee", 0),
            "_manifest/x.json".into(),
        ];
        let own = Maker { feed: "all", pop: "fra1", spool: "ownspool" };
        let found = find(own, now, &Listed(Some(keys))).await;
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["neighbor", "slowedge"]);
        assert!(find(own, now, &Listed(None)).await.is_empty(), "a denied listing says nothing");
    }
}
