//! What a feed's lane is to do: deliver to a sink, or rest.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{
    custom::CustomSinks,
    dir::DirSink,
    metrics::{ClockSkew, FeedMetrics},
    secrets::SecretStore,
    sink::Sink,
};
use crate::config::{self, feeds::Layout};

/// A feed as delivery knows it.
pub struct FeedSink {
    /// The number by which the spool names the feed.
    pub number: u16,
    pub name: String,
    pub metrics: Arc<FeedMetrics>,
    sink: config::Sink,
    secrets: Arc<SecretStore>,
    custom: CustomSinks,
    /// Most uploads of events at a time.
    pub uploads: usize,
    pub has_manifests: bool,
}

impl FeedSink {
    /// A feed of the configuration. `secrets` are those of its webhook, `custom` the sinks that it may name.
    pub fn new(
        number: u16,
        feed: &config::Feed,
        metrics: Arc<FeedMetrics>,
        secrets: Arc<SecretStore>,
        custom: &CustomSinks,
    ) -> Self {
        Self {
            number,
            name: feed.name.clone(),
            metrics,
            sink: feed.sink.clone(),
            secrets,
            custom: custom.clone(),
            // In a sequence, the next object only after the one before is acknowledged.
            uploads: if feed.layout == Layout::Sequence { 1 } else { feed.sink.uploads() },
            has_manifests: feed.manifest_secs > 0,
        }
    }

    /// Whether two configurations of a feed are the same to its delivery.
    pub fn is_same(one: &config::Feed, other: &config::Feed) -> bool {
        let of = |feed: &config::Feed| (feed.layout, feed.manifest_secs > 0);
        of(one) == of(other) && one.sink == other.sink
    }

    /// Opens the configured sink.
    pub async fn open(&self) -> Arc<dyn Sink> {
        let clock = self.metrics.clock_skew.clone();
        open(&self.name, &self.sink, Arc::clone(&self.secrets), &self.custom, clock).await
    }
}

/// Opens the configured sink of a feed. `secrets` are those of its webhook, `custom` the sinks that it may name;
/// `clock` notes what answers say of the clock.
#[cfg_attr(
    not(feature = "full"),
    allow(clippy::unused_async, unused_variables, reason = "each sink takes what it needs")
)]
pub async fn open(
    feed: &str,
    config: &config::Sink,
    secrets: Arc<SecretStore>,
    custom: &CustomSinks,
    clock: ClockSkew,
) -> Arc<dyn Sink> {
    match config {
        config::Sink::Dir(config) => Arc::new(DirSink::new(&config.path)),
        config::Sink::Custom(config) => custom.open(config),
        #[cfg(feature = "s3")]
        config::Sink::S3(config) => Arc::new(super::s3::S3Sink::new(feed, config, clock).await),
        #[cfg(feature = "webhook")]
        config::Sink::Webhook(config) => Arc::new(super::webhook::WebhookSink::new(feed, config, secrets, clock)),
        #[cfg(feature = "nats")]
        config::Sink::Nats(config) => Arc::new(super::nats::NatsSink::new(feed, config)),
        #[cfg(not(all(feature = "nats", feature = "s3", feature = "webhook")))]
        config => Arc::new(super::absent::AbsentSink::new(config)),
    }
}

/// What a lane is to do.
pub enum Order {
    Deliver(Box<FeedSink>),
    Rest,
}

/// The orders of a lane are counted from 1.
pub type NumberedOrder = (u64, Order);

/// Where orders come in.
pub type Orders = mpsc::UnboundedReceiver<NumberedOrder>;
