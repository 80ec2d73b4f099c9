//! A feed as the spool knows it: how its objects are made, and when.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::metrics::BacklogMetrics;
use crate::{
    config::{self, Format, feeds::Layout},
    event::{Rendering, Shape},
    object::Maker,
    stats::rollup::Workspaces,
};

/// What the receiver of a feed gets: format, keys, and fields of its objects. The state of the spool has it, so that
/// events that wait when the configuration has the feed no longer are not delivered with more than the feed asked for.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Recipe {
    format: Format,
    layout: Layout,
    shape: Shape,
    /// Paths of fields that are left out.
    omit: Vec<String>,
    compression: config::Compression,
}

/// A feed of the configuration, or one that only the journal names.
pub struct FeedSpec {
    pub name: String,
    pub pop: String,
    pub recipe: Recipe,
    pub format: Format,
    pub layout: Layout,
    /// How its events differ from those of the journal.
    pub rendering: Rendering,
    /// In an envelope, what stands for the object's key.
    pub envelope_key: Option<String>,
    pub compression: config::Compression,
    pub max_age: Duration,
    pub max_bytes: u64,
    pub min_bytes: u64,
    /// At least `max_age`.
    pub hold_back: Duration,
    /// Interval of manifests while their hour lasts. `None` for no manifests.
    pub manifest_every: Option<Duration>,
    /// The workspaces whose counts are delivered. `None` for no rollups.
    pub rollups: Option<Workspaces>,
    /// False for a feed that only an earlier configuration had: its objects are made, and stay in the outbox.
    pub configured: bool,
    pub metrics: Arc<BacklogMetrics>,
}

impl FeedSpec {
    /// A feed of the configuration.
    pub fn new(feed: &config::Feed, pop: &str, metrics: Arc<BacklogMetrics>) -> Self {
        let recipe = Recipe {
            format: feed.format,
            layout: feed.layout,
            shape: feed.shape,
            omit: feed.fields.paths(),
            compression: feed.compression,
        };
        Self {
            max_age: Duration::from_secs(feed.max_age_secs),
            max_bytes: feed.max_bytes,
            min_bytes: feed.min_bytes,
            hold_back: Duration::from_secs(feed.hold_back_secs.max(feed.max_age_secs)),
            manifest_every: (feed.manifest_secs > 0 && feed.sink.takes_events_only().is_none())
                .then(|| Duration::from_secs(feed.manifest_secs)),
            rollups: feed.rollups.then(|| Workspaces::new(&feed.workspaces)),
            configured: true,
            ..Self::unconfigured(&feed.name, pop, recipe, metrics)
        }
    }

    /// The names in the keys of its objects, in a spool with this identity.
    pub fn maker<'a>(&'a self, spool: &'a str) -> Maker<'a> {
        Maker { feed: &self.name, pop: &self.pop, spool }
    }

    /// A feed that the configuration no longer has. `recipe` is what it asked for.
    pub(super) fn unconfigured(name: &str, pop: &str, recipe: Recipe, metrics: Arc<BacklogMetrics>) -> Self {
        Self {
            name: name.to_owned(),
            pop: pop.to_owned(),
            format: recipe.format,
            layout: recipe.layout,
            rendering: Rendering::new(recipe.shape, &recipe.omit),
            envelope_key: (recipe.shape == Shape::Clickstream).then(|| name.to_owned()),
            compression: recipe.compression,
            recipe,
            max_age: Duration::ZERO,
            max_bytes: 16 << 20,
            min_bytes: 0,
            hold_back: Duration::ZERO,
            manifest_every: None,
            rollups: None,
            configured: false,
            metrics,
        }
    }
}

/// How the events of a feed differ from those of the journal.
pub(super) fn rendering(feed: &config::Feed) -> Rendering {
    Rendering::new(feed.shape, &feed.fields.paths())
}

/// Receivers of the older shape read the name of their subscription there.
pub(super) fn envelope_key(feed: &config::Feed) -> Option<String> {
    (feed.shape == Shape::Clickstream).then(|| feed.name.clone())
}
