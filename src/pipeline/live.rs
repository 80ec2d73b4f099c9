//! Changes of a running pipeline's feeds, of what its events reveal, and of its spool's limits.
//!
//! ```text
//! prepare   all that can fail: secrets are read, numbers counted; nothing has changed
//! apply     journal ─► packer ─► deliveries ─► routing, each from the next event or round on (crate::spool::change)
//! ```
//! A feed that does not change notices nothing: its uploads go on, its pauses and its order stay. One that changes ends
//! its uploads, for ten seconds at the most, and then delivers what waits by its new configuration. One that is removed
//! gets no more events. Those on their way become objects, which stay in the outbox until the feed is back or an
//! operator drops them (`clickedge spool drop-feed`); its metrics stay, so that the account balances.
//!
//! Of `[enrich]`, the settings of privacy change here (`location`, `honour_opt_out`, `workspaces`), of `[spool]`
//! everything but the folder.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use serde::Serialize;

use super::{
    OperatorFiles,
    gauges::Gauges,
    reload::{Apply, LivePart, PartError},
};
use crate::{
    config::{self, Config, SecretError, Sink},
    deliver::{
        CustomSinks, FeedSink, Lanes,
        custom::UnknownSink,
        secrets::{SecretStore, Secrets},
    },
    enrich::{Router, Routing, metrics::EnrichMetrics},
    files::Reloadable,
    runtime::{Class, Classified},
    spool::{FeedChange, FeedSpec, Limits, change::Input},
    visitor::privacy::Policies,
};

/// Longest wait until a change has reached the routing. After that it is still to come, when the disk works again.
const WAIT: Duration = Duration::from_secs(10);

/// Most feeds that a process can name: 65,536 numbers.
const MOST_FEEDS: usize = 1 << 16;

/// Changes the feeds of a running pipeline. Cheap to clone.
#[derive(Clone)]
pub struct LiveFeeds(Arc<Live>);

struct Live {
    pop: String,
    gauges: Gauges,
    lanes: Lanes,
    routing: Arc<Reloadable<Routing>>,
    /// What the redirect reads of the settings of privacy.
    policies: Arc<Reloadable<Policies>>,
    limits: Arc<Limits>,
    /// Those that the program provides.
    sinks: CustomSinks,
    /// The workers own it: it ends with them.
    journal: Weak<Sender<Input>>,
    current: Mutex<Current>,
}

/// What the pipeline runs with.
struct Current {
    /// The names of all feeds that this process has met, by number.
    names: Arc<[String]>,
    numbers: HashMap<String, u16>,
    /// The secrets of webhooks, by feed.
    secrets: HashMap<String, Arc<SecretStore>>,
    feeds: BTreeMap<String, config::Feed>,
    enrich: config::Enrich,
}

/// The parts of a pipeline that a change reaches.
pub(super) struct Stages<'a> {
    pub gauges: Gauges,
    pub lanes: Lanes,
    pub routing: Arc<Reloadable<Routing>>,
    pub policies: Arc<Reloadable<Policies>>,
    pub limits: Arc<Limits>,
    pub sinks: CustomSinks,
    pub inputs: &'a Arc<Sender<Input>>,
}

/// A change that can be applied.
pub struct Prepared {
    feeds: BTreeMap<String, config::Feed>,
    secrets: HashMap<String, Secrets>,
    enrich: config::Enrich,
    spool: config::Spool,
    changes: FeedChanges,
}

/// The feeds that a change adds, changes and removes, each by its name.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct FeedChanges {
    pub added: Vec<String>,
    pub changed: Vec<String>,
    pub removed: Vec<String>,
}

/// Why a change cannot be applied. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    #[error(
        "the process has named {0} feeds since its start, and can name {MOST_FEEDS}: restart it to use more names of feeds"
    )]
    Names(usize),
    #[error("the secrets of the webhook of feed {feed:?} cannot be used: {source}")]
    Secrets { feed: String, source: SecretError },
    #[error("feed {feed:?} names the sink {name:?}, and the program has {}", listed(known))]
    Sink {
        feed: String,
        name: String,
        /// The names of the sinks that the program has given to the pipeline.
        known: Vec<String>,
    },
}

impl Classified for LiveError {
    fn class(&self) -> Class {
        match self {
            Self::Names(_) | Self::Sink { .. } => Class::Config,
            Self::Secrets { source, .. } => source.class(),
        }
    }
}

impl LiveFeeds {
    /// `names` are those of all feeds by number, the configured ones first; `secrets` those of the configured feeds.
    pub(super) fn new(config: &Config, names: Vec<String>, secrets: &[Arc<SecretStore>], stages: Stages<'_>) -> Self {
        let Stages { gauges, lanes, routing, policies, limits, sinks, inputs } = stages;
        let stores = config.feeds.iter().map(|feed| feed.name.clone()).zip(secrets.iter().map(Arc::clone));
        let current = Current {
            numbers: names.iter().cloned().zip(0..).collect(),
            names: names.into(),
            secrets: stores.collect(),
            feeds: by_name(config),
            enrich: config.enrich.clone(),
        };
        let (pop, journal) = (config.edge.pop.clone(), Arc::downgrade(inputs));
        let current = Mutex::new(current);
        Self(Arc::new(Live { pop, gauges, lanes, routing, policies, limits, sinks, journal, current }))
    }

    /// The secrets of a feed's webhook, now or when it gets one: what is published there is signed with from then on.
    pub fn secrets(&self, feed: &str) -> Arc<SecretStore> {
        self.current().secrets_of(feed)
    }

    /// The number of a configured feed in events on their way.
    ///
    /// # Errors
    /// The names of all configured feeds, if it is not one of them.
    pub fn number(&self, feed: &str) -> Result<u16, Vec<String>> {
        let current = self.current();
        let number = current.numbers.get(feed).copied().filter(|_| current.feeds.contains_key(feed));
        number.ok_or_else(|| current.feeds.keys().cloned().collect())
    }

    /// Prepares a change to the feeds, the privacy and the spool's limits of a configuration. Changes nothing.
    ///
    /// # Errors
    /// When the secrets of a webhook cannot be read, a feed names a sink that the program has not given to the
    /// pipeline, or the process has no numbers for more feeds.
    pub fn prepare(&self, config: &Config) -> Result<Prepared, LiveError> {
        let current = self.current();
        let feeds = by_name(config);
        let changes = FeedChanges::between(&current.feeds, &feeds);
        let names =
            current.names.len() + changes.added.iter().filter(|name| !current.numbers.contains_key(*name)).count();
        if names > MOST_FEEDS {
            return Err(LiveError::Names(names));
        }
        let mut secrets = HashMap::new();
        for feed in feeds.values() {
            self.0.sinks.check(&feed.sink).map_err(|UnknownSink { name, known }| LiveError::Sink {
                feed: feed.name.clone(),
                name,
                known,
            })?;
            if let Sink::Webhook(webhook) = &feed.sink {
                let read = Secrets::read(&webhook.secret_files);
                let read = read.map_err(|source| LiveError::Secrets { feed: feed.name.clone(), source })?;
                secrets.insert(feed.name.clone(), read);
            }
        }
        Ok(Prepared { feeds, secrets, enrich: config.enrich.clone(), spool: config.spool.clone(), changes })
    }

    /// Applies a change, and returns what has changed. Events of clicks that are captured from then on are routed by
    /// it. Waits for the round of packing that is under way, and ten seconds at the most: while the disk takes nothing,
    /// the change is still to come, and is logged as such. Call it from a thread that may wait.
    pub fn apply(&self, prepared: Prepared) -> FeedChanges {
        let Prepared { feeds, secrets, enrich, spool, .. } = prepared;
        let mut current = self.current();
        // First: more space may be what the journal waits for.
        self.0.limits.set(&spool);
        // Another change may have come between.
        let changes = FeedChanges::between(&current.feeds, &feeds);
        for (feed, secrets) in secrets {
            current.secrets_of(&feed).publish(secrets);
        }
        if changes.is_empty() && privacy(&current.enrich) == privacy(&enrich) {
            return changes;
        }
        current.name(changes.added.iter().filter_map(|name| feeds.get(name)));
        let Some(journal) = self.0.journal.upgrade() else {
            tracing::warn!("the pipeline stops; its feeds are not changed");
            return FeedChanges::default();
        };
        let (applied, wait) = bounded(1);
        let change = self.change(&mut current, &changes, feeds, enrich, applied);
        let sent = journal.send(Input::Feeds(change)).is_ok();
        drop((journal, current));
        let FeedChanges { added, changed, removed } = &changes;
        match wait.recv_timeout(WAIT) {
            Ok(()) => tracing::info!(?added, ?changed, ?removed, "feeds changed"),
            Err(RecvTimeoutError::Timeout) if sent => {
                tracing::warn!(
                    ?added,
                    ?changed,
                    ?removed,
                    "the spool is busy or waits for its disk; feeds change later"
                );
            }
            Err(_) => tracing::error!(?added, ?changed, ?removed, "the spool has ended; its feeds are not changed"),
        }
        changes
    }

    /// The change as the stages get it. `current` is what runs from then on.
    fn change(
        &self,
        current: &mut Current,
        changes: &FeedChanges,
        feeds: BTreeMap<String, config::Feed>,
        enrich: config::Enrich,
        applied: Sender<()>,
    ) -> FeedChange {
        let metrics = self.0.gauges.metrics();
        let (mut specs, mut sinks) = (BTreeMap::new(), Vec::new());
        for name in changes.added.iter().chain(&changes.changed) {
            let (Some(feed), Some(&number)) = (feeds.get(name), current.numbers.get(name)) else { continue };
            let of_feed = metrics.feed(name);
            metrics.accounts.add(name, metrics.enrich.routed(name), Arc::clone(&of_feed));
            specs.insert(number, FeedSpec::new(feed, &self.0.pop, metrics.spool.feed(name)));
            if current.feeds.get(name).is_none_or(|before| !FeedSink::is_same(before, feed)) {
                sinks.push(FeedSink::new(number, feed, of_feed, current.secrets_of(name), &self.0.sinks));
            }
        }
        let removed: Vec<u16> =
            changes.removed.iter().filter_map(|name| current.numbers.get(name).copied()).collect();
        let numbered = feeds.values().filter_map(|feed| Some((*current.numbers.get(&feed.name)?, feed)));
        let next = routing(numbered, &enrich, &metrics.enrich);
        let (policies, privacy) = (Arc::clone(&self.0.policies), Policies::new(&enrich));
        (current.feeds, current.enrich) = (feeds, enrich);
        let (lanes, routing, names) = (self.0.lanes.clone(), Arc::clone(&self.0.routing), Arc::clone(&current.names));
        let gone = removed.clone();
        let applied = Box::new(move || {
            lanes.change(sinks, &gone);
            // Last: now the first event of a new feed finds its spec and its lane.
            routing.publish(next);
            policies.publish(privacy);
            let _ = applied.send(());
        });
        FeedChange { names, specs, removed, applied }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LivePart for LiveFeeds {
    fn keys(&self) -> &[&'static str] {
        &[
            "enrich.honour_opt_out",
            "enrich.location",
            "enrich.workspaces",
            "feeds",
            "spool.journal_max_bytes",
            "spool.max_bytes",
            "spool.retain_secs",
            "spool.sync_interval_millis",
        ]
    }

    fn prepare<'l>(&'l self, new: &'l Config, _: &'l OperatorFiles) -> Result<Apply<'l>, PartError> {
        let prepared = LiveFeeds::prepare(self, new).map_err(|error| PartError {
            class: error.class(),
            key: "feeds".into(),
            message: format!("cannot change: {error}"),
            remedy: "correct the feed, or restart with `clickedge upgrade`",
        })?;
        Ok(Box::new(move || _ = self.apply(prepared)))
    }
}

impl Prepared {
    /// What the change adds, changes and removes.
    pub fn changes(&self) -> &FeedChanges {
        &self.changes
    }
}

impl FeedChanges {
    /// Whether no feed changes.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn between(old: &BTreeMap<String, config::Feed>, new: &BTreeMap<String, config::Feed>) -> Self {
        let missing = |names: &BTreeMap<String, config::Feed>, of: &BTreeMap<String, config::Feed>| {
            names.keys().filter(|name| !of.contains_key(*name)).cloned().collect()
        };
        let changed = new.iter().filter(|(name, feed)| old.get(*name).is_some_and(|before| before != *feed));
        Self {
            added: missing(new, old),
            changed: changed.map(|(name, _)| name.clone()).collect(),
            removed: missing(old, new),
        }
    }
}

impl Current {
    /// Gives numbers to feeds that have none.
    fn name<'a>(&mut self, feeds: impl Iterator<Item = &'a config::Feed>) {
        let mut names = self.names.to_vec();
        for feed in feeds {
            let Ok(next) = u16::try_from(names.len()) else { break };
            self.numbers.entry(feed.name.clone()).or_insert_with(|| {
                names.push(feed.name.clone());
                next
            });
        }
        self.names = names.into();
    }

    fn secrets_of(&mut self, feed: &str) -> Arc<SecretStore> {
        Arc::clone(self.secrets.entry(feed.to_owned()).or_default())
    }
}

/// The names of sinks, in words.
pub(super) fn listed(names: &[String]) -> String {
    if names.is_empty() { "no sinks of its own".into() } else { format!("only {}", names.join(", ")) }
}

/// What of the settings of enrichment changes in a running process.
fn privacy(enrich: &config::Enrich) -> (config::Precision, bool, &BTreeMap<String, config::Privacy>) {
    (enrich.location, enrich.honour_opt_out, &enrich.workspaces)
}

/// The routing to these feeds, each with its number.
pub(super) fn routing<'a>(
    feeds: impl IntoIterator<Item = (u16, &'a config::Feed)>,
    enrich: &config::Enrich,
    metrics: &EnrichMetrics,
) -> Routing {
    let feeds: Vec<_> = feeds.into_iter().collect();
    let mut routed = Vec::new();
    for (number, feed) in &feeds {
        let (number, counter) = (usize::from(*number), metrics.routed(&feed.name));
        if routed.len() <= number {
            // Those between have no feed, or get theirs below.
            routed.resize(number + 1, counter.clone());
        }
        routed[number] = counter;
    }
    Routing { router: Router::new(feeds), routed, policies: Arc::new(Policies::new(enrich)) }
}

fn by_name(config: &Config) -> BTreeMap<String, config::Feed> {
    config.feeds.iter().map(|feed| (feed.name.clone(), feed.clone())).collect()
}
