//! Changes of the current catalog: checked, written to the change log, then visible to every look-up.

use std::{collections::HashSet, io, path::Path, sync::Arc};

use super::{CatalogStore, Turn};
use crate::{
    catalog::{
        Catalog,
        change::{Accepted, Change, Condition, Entry, Operation, Position, Refused},
        change_log::{ChangeLog, Identity, Logged},
        limits::Excess,
        snapshot::file::{self, FileError},
    },
    config,
    runtime::{clock, priority},
};

/// Changes that were checked against a catalog. Nothing has changed yet.
pub struct Prepared {
    /// What becomes of each change, if they are made.
    pub outcomes: Vec<Result<Accepted, Refused>>,
    /// The changes that were accepted and change something, numbered.
    pub entries: Vec<Entry>,
    /// The state that they change, and the one that they result in.
    pub from: Position,
    pub to: Position,
    next: Catalog,
}

/// Why changes of another edge were not taken. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// There are changes between ours and these.
    #[error("the changes begin with revision {first}, and the catalog is at {ours}: some are missing")]
    Gap { ours: u64, first: u64 },
    /// They would result in another catalog than where they were made.
    #[error("the changes result in the hash {found} at revision {revision}, expected {expected}")]
    Hash { revision: u64, expected: String, found: String },
    /// A change is refused here.
    #[error("the change {revision} is refused: {reason}")]
    Refused { revision: u64, reason: Refused },
    /// The change log cannot be written.
    #[error("the change log cannot be written: {0}")]
    Log(#[from] io::Error),
}

/// Why a snapshot was not taken. The former one stays in use.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error(transparent)]
    File(#[from] FileError),
    /// `catalog.state_dir` is missing.
    #[error("`catalog.state_dir` is not set: there is no folder for a snapshot")]
    NoFolder,
    #[error("the snapshot has generation {new}, and the current one {current}")]
    Older { new: u64, current: u64 },
    #[error("the snapshot has {new} links, and the largest of the last 24 hours had {largest}: it may be truncated")]
    Shrunk { new: u64, largest: usize },
    #[error("the snapshot has {new} links, and the current one {current}: it may be a mistake")]
    Grown { new: u64, current: usize },
    #[error("the change log cannot be used: {0}")]
    Log(#[from] io::Error),
}

impl CatalogStore {
    /// Which state the catalog is in.
    pub fn position(&self) -> Position {
        self.load().position()
    }

    /// Opens the change log of the state folder, and makes its changes again. Changes can be made from then on.
    ///
    /// # Errors
    /// When the log cannot be read or written, or is damaged.
    pub fn open_log(&self) -> io::Result<()> {
        let config = self.config.load();
        let Some(dir) = &config.state_dir else { return Ok(()) };
        let mut turn = self.turn();
        if turn.log.is_some() {
            return Ok(());
        }
        let (log, logged) = ChangeLog::open(dir, config.fleet.is_some())?;
        let mut next = Catalog::clone(&self.load());
        if next.lacks(&logged, &config) {
            let remedy = "give the snapshot that has them to `clickedge catalog build` as an input, then reload";
            let folded = logged.folded;
            tracing::error!(
                folded,
                remedy,
                "the catalog lacks changes of the API that an earlier snapshot contained"
            );
        }
        next.make_again(&logged, &config);
        turn.log = Some(log);
        self.current.store(Arc::new(next));
        Ok(())
    }

    /// Makes the changes again that another process has logged, which is about to end.
    ///
    /// # Errors
    /// When the log cannot be read, or is damaged.
    pub fn peek_log(&self) -> io::Result<()> {
        let config = self.config.load();
        let Some(dir) = &config.state_dir else { return Ok(()) };
        let logged = ChangeLog::peek(dir)?;
        let _turn = self.turn();
        let mut next = Catalog::clone(&self.load());
        next.make_again(&logged, &config);
        self.current.store(Arc::new(next));
        Ok(())
    }

    /// Takes no changes any more, until the log is opened again.
    pub fn close_log(&self) {
        self.turn().log = None;
    }

    /// Checks changes against the current catalog, and numbers them.
    pub fn prepare(&self, changes: &[Change]) -> Prepared {
        let config = self.config.load();
        let mut next = Catalog::clone(&self.load());
        let from = next.position();
        let mut entries = Vec::new();
        let outcomes = changes.iter().map(|Change { operation, condition }| {
            priority::give_way();
            let revision = next.position().revision + 1;
            let made = next.change(operation, condition, revision, &config)?;
            entries.extend(made.operation.map(|operation| Entry { revision, operation }));
            Ok(made.accepted)
        });
        let outcomes = outcomes.collect();
        Prepared { outcomes, entries, from, to: next.position(), next }
    }

    /// Writes prepared changes to the change log, and makes them. `None` if the catalog has changed since they were
    /// prepared: prepare them again.
    ///
    /// # Errors
    /// When the log cannot be written. Nothing has changed then.
    pub fn commit(&self, prepared: Prepared) -> io::Result<Option<Vec<Result<Accepted, Refused>>>> {
        let mut turn = self.turn();
        if self.position() != prepared.from {
            return Ok(None);
        }
        self.take(&mut turn, &prepared.entries, prepared.next)?;
        Ok(Some(prepared.outcomes))
    }

    /// Makes changes of single links and domains, in their order, those that are refused apart. When it returns, the
    /// next look-up sees them. With `catalog.state_dir` they are durable then; without it they last until the catalog
    /// is replaced ([`publish`](Self::publish)) or the process ends, which is right for a program that has its links
    /// elsewhere. Waits for the disk, and for others who replace or change the catalog: call it from a thread that may
    /// wait. Changes in one call cost less than each by itself.
    ///
    /// # Errors
    /// When the change log cannot be written, or the catalog is that of a fleet, whose bucket takes changes
    /// (`Pipeline::changes`). Nothing has changed then.
    pub fn change(&self, changes: &[Change]) -> io::Result<Vec<Result<Accepted, Refused>>> {
        if self.config.load().fleet.is_some() {
            return Err(io::Error::other("the catalog is that of a fleet: change it through `Pipeline::changes`"));
        }
        loop {
            if let Some(outcomes) = self.commit(self.prepare(changes))? {
                return Ok(outcomes);
            }
        }
    }

    /// Takes changes that were accepted elsewhere. Those that the catalog has already are skipped; the others must
    /// follow it without a gap, and result in the state `to`.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub fn apply(&self, entries: &[Entry], to: Position) -> Result<(), ApplyError> {
        let mut turn = self.turn();
        let config = self.config.load();
        let mut next = Catalog::clone(&self.load());
        let ours = next.position().revision;
        let new = &entries[entries.partition_point(|entry| entry.revision <= ours)..];
        for Entry { revision, operation } in new {
            priority::give_way();
            let ours = next.position().revision;
            if *revision != ours + 1 {
                return Err(ApplyError::Gap { ours, first: *revision });
            }
            let refused = |reason| ApplyError::Refused { revision: *revision, reason };
            next.change(operation, &Condition::Always, *revision, &config).map_err(refused)?;
            // Also a change that changes nothing here has its number.
            next.set_revision(*revision);
        }
        if new.is_empty() {
            return Ok(());
        }
        let found = next.position();
        if (found.revision, found.hash) != (to.revision, to.hash) {
            let (expected, found) = (to.hash.to_string(), found.hash.to_string());
            return Err(ApplyError::Hash { revision: to.revision, expected, found });
        }
        Ok(self.take(&mut turn, new, next)?)
    }

    /// Takes a snapshot: copies it into the state folder, and makes it the current catalog, with the changes that it
    /// does not contain. `accept` takes it whatever its generation and size.
    ///
    /// # Errors
    /// See [`InstallError`].
    pub fn install(&self, path: &Path, accept: bool) -> Result<Position, InstallError> {
        self.install_with(path, accept, true)
    }

    /// Like [`install`](Self::install), and forgets all changes: the catalog is what the snapshot says.
    ///
    /// # Errors
    /// See [`InstallError`].
    pub fn replace(&self, path: &Path, accept: bool) -> Result<Position, InstallError> {
        self.install_with(path, accept, false)
    }

    fn install_with(&self, path: &Path, accept: bool, keep_changes: bool) -> Result<Position, InstallError> {
        let config = self.config.load_full();
        let Some(dir) = &config.state_dir else { return Err(InstallError::NoFolder) };
        let header = file::header(path)?;
        let current = self.load().base.header().position;
        if !accept && header.position.generation < current.generation {
            return Err(InstallError::Older { new: header.position.generation, current: current.generation });
        }
        let (now, new) = (clock::monotonic(), header.links);
        let excess = self.check_size(now, new as usize, &config).err().filter(|_| !accept);
        match excess {
            Some(Excess::Shrunk { largest }) => return Err(InstallError::Shrunk { new, largest }),
            Some(Excess::Grown { current }) => return Err(InstallError::Grown { new, current }),
            None => {}
        }
        let catalog = file::adopt(path, dir, self.damaged_file(), |snapshot| Catalog::open(snapshot, &config))?;
        let mut turn = self.turn();
        if !keep_changes && let Some(log) = &mut turn.log {
            log.replace(&[], 0)?;
        }
        self.publish_in(&mut turn, now, catalog)?;
        drop(turn);
        self.limits_have_changed();
        Ok(self.position())
    }

    fn take(&self, turn: &mut Turn, entries: &[Entry], next: Catalog) -> io::Result<()> {
        match &mut turn.log {
            _ if entries.is_empty() => {}
            Some(log) => {
                log.append(entries)?;
                if log.is_long() {
                    rewrite(log);
                }
            }
            // They live in memory.
            None if self.config.load().state_dir.is_none() => {}
            None => return Err(io::Error::other("the edge starts, stops or is upgraded; try again")),
        }
        self.current.store(Arc::new(next));
        if entries.iter().any(|entry| entry.operation.has_limit()) {
            self.limits_have_changed();
        }
        Ok(())
    }

    /// Calls this whenever changes, or a snapshot, may have added links with a limit of clicks. One at most.
    pub fn on_limits(&self, call: impl Fn(&Catalog) + Send + Sync + 'static) {
        _ = self.on_limits.set(Box::new(call));
    }

    pub(super) fn limits_have_changed(&self) {
        if let Some(call) = self.on_limits.get() {
            call(&self.load());
        }
    }
}

/// Leaves changes out of the log that later ones replace.
fn rewrite(log: &mut ChangeLog) {
    let rewritten =
        log.read().and_then(|Logged { entries, revision, .. }| log.replace(&last_of_each(entries), revision));
    if let Err(error) = rewritten {
        tracing::warn!(%error, "the change log cannot be written again without them: it grows");
    }
}

/// The last change of each link before the next change of a domain, and all changes of domains: what a link may be
/// depends on the domains as they were. A link that is put also makes its domain known, if nothing else does: one such
/// change of each domain stays, although a later one has deleted the link.
fn last_of_each(changes: Vec<Entry>) -> Vec<Entry> {
    let (mut seen, mut known) = (HashSet::new(), HashSet::new());
    let is_needed = |entry: &Entry| {
        let Some((domain, slashtag)) = entry.operation.link() else {
            seen.clear();
            known.clear();
            return true;
        };
        let makes_known = matches!(entry.operation, Operation::PutLink { .. }) && known.insert(domain.clone());
        seen.insert((domain, slashtag)) || makes_known
    };
    let mut kept: Vec<_> = changes.into_iter().rev().filter(is_needed).collect();
    kept.reverse();
    kept
}

impl Catalog {
    /// Makes changes of the log again, those that the catalog does not contain, and goes on from its number.
    pub(in crate::catalog) fn make_again(&mut self, logged: &Logged, config: &config::Catalog) {
        let contained = self.contained(logged.identity, config).max(self.applied);
        for Entry { revision, operation } in &logged.entries {
            if *revision <= contained {
                continue;
            }
            if let Err(reason) = self.change(operation, &Condition::Always, *revision, config)
                && !matches!(reason, Refused::NotFound { .. })
            {
                tracing::error!(revision, %reason, "a change of the log does not go with the catalog: left out");
            }
            self.set_revision(*revision);
        }
        self.set_revision(self.position().revision.max(logged.revision));
        self.applied = logged.revision;
    }

    /// Whether it lacks changes that are no longer in the log, because a former snapshot contained them. In a fleet
    /// that is checked when a snapshot is published.
    pub(in crate::catalog) fn lacks(&self, logged: &Logged, config: &config::Catalog) -> bool {
        config.fleet.is_none() && self.contained(logged.identity, config) < logged.folded
    }

    /// The last change of this log that the snapshot contains. In a fleet all have the numbers of the bucket.
    pub(in crate::catalog) fn contained(&self, log: Identity, config: &config::Catalog) -> u64 {
        let header = self.base.header();
        if config.fleet.is_some() || header.log == log { header.position.revision } else { 0 }
    }
}
