//! The links with the most clicks of the last day, for each of the largest workspaces, from the counts.
//!
//! The page asks every other second, and the answer changes slowly: it is kept for a while, and one query runs at a
//! time.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{
    catalog::CatalogStore,
    runtime::{Hour, clock},
    stats::{
        StatsHandle,
        store::{Order, Scope, StoreError},
    },
};

/// Hours that are counted, the current one included.
const HOURS: u64 = 24;

/// Most workspaces.
const WORKSPACES: usize = 10;

/// Most links of a workspace.
const LINKS: usize = 5;

/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(10);

/// Longest query.
const LIMIT: Duration = Duration::from_millis(500);

/// The links with the most clicks, by workspace. Cheap to clone.
#[derive(Clone)]
pub struct TopLinks {
    counts: Option<StatsHandle>,
    catalog: Arc<CatalogStore>,
    kept: Arc<Mutex<Option<(Instant, Counted)>>>,
}

/// What the counts say.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counted {
    /// Hours that are counted, the current one included.
    pub hours: u64,
    /// The workspaces with the most clicks.
    pub workspaces: Vec<Workspace>,
    /// Why there are no counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// A workspace.
#[derive(Clone, Debug, Serialize)]
pub struct Workspace {
    pub id: String,
    pub clicks: u64,
    pub links: Vec<Link>,
}

/// A link with its clicks.
#[derive(Clone, Debug, Serialize)]
pub struct Link {
    pub domain: String,
    pub slashtag: String,
    pub clicks: u64,
    pub humans: u64,
}

impl TopLinks {
    pub fn new(counts: Option<StatsHandle>, catalog: Arc<CatalogStore>) -> Self {
        Self { counts, catalog, kept: Arc::default() }
    }

    /// The answer of now, or of some seconds ago. It may read the disk: not for a thread that runs asynchronous tasks.
    pub fn get(&self) -> Counted {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, counted)) = &*kept
            && at.elapsed() < KEPT
        {
            return counted.clone();
        }
        let counted = self.count();
        *kept = Some((clock::monotonic(), counted.clone()));
        counted
    }

    fn count(&self) -> Counted {
        let (workspaces, missing) = match &self.counts {
            None => (Vec::new(), Some("counts are disabled: set `stats.enabled = true`".into())),
            Some(counts) => match self.query(counts) {
                Ok(workspaces) => (workspaces, None),
                Err(error) => (Vec::new(), Some(error.to_string())),
            },
        };
        Counted { hours: HOURS, workspaces, missing }
    }

    fn query(&self, counts: &StatsHandle) -> Result<Vec<Workspace>, StoreError> {
        // Nothing is counted yet.
        if !counts.file().exists() {
            return Ok(Vec::new());
        }
        let mut reader = counts.reader()?;
        let snapshot = reader.snapshot(LIMIT)?;
        let now = Hour::of_micros(clock::unix_micros()).since_epoch();
        let covered = snapshot.cover(now.saturating_sub(HOURS - 1)..now + 1);
        let owner = |domain: &str, slashtag: &str| self.catalog.workspace_of(domain, slashtag);
        let mut workspaces = Vec::new();
        for row in snapshot.top(Scope::Workspaces, &covered, Order::Clicks, WORKSPACES)? {
            let links = snapshot.top_links_of(&row.scope, &covered, Order::Clicks, LINKS, &owner)?;
            let links = links.into_iter().map(|link| Link {
                domain: link.scope,
                slashtag: link.name,
                clicks: link.counts.clicks,
                humans: link.counts.humans,
            });
            let links = links.collect();
            workspaces.push(Workspace { id: row.scope, clicks: row.counts.clicks, links });
        }
        Ok(workspaces)
    }
}
