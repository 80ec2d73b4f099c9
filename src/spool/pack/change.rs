//! A change of feeds, between two rounds.

use std::sync::Arc;

use super::{Packer, Setup, pending::Pending};
use crate::spool::{FeedSpec, change::FeedChange};

impl Packer {
    /// Takes up a change of feeds. When the disk has not taken what the feeds ask for by the deadline of a stop,
    /// nothing changes, and no event is routed by what was to come.
    pub(super) fn change(&mut self, change: FeedChange) {
        let FeedChange { names: _, specs, removed, applied } = change;
        let mut state = self.setup.state.clone();
        let (retry, metrics) = (self.setup.retry.clone(), Arc::clone(&self.setup.metrics));
        let changed = state.note_recipes(specs.values());
        if changed
            && let Err(error) =
                retry.retry("note the feeds", &*metrics, || state.commit(&*self.setup.disk, &self.setup.dir))
        {
            return tracing::error!(%error, "feeds not changed; they are after the next start");
        }
        self.setup.state = state;
        for number in removed {
            self.unclaim(number);
        }
        for (number, spec) in specs {
            let known = self.setup.feeds.get(usize::from(number)).is_some();
            metrics.claim(&spec.name);
            if known {
                self.setup.feeds[usize::from(number)] = spec;
            } else {
                self.add(number, spec);
            }
        }
        applied();
    }

    /// Adds a feed with the next number. Of one that an earlier process had, hours and versions continue.
    fn add(&mut self, number: u16, spec: FeedSpec) {
        let Setup { schedule, state, identity, feeds, .. } = &mut self.setup;
        schedule.adopt(&spec.name, number);
        if let Some((_, last)) = schedule.manifests.last().find(|(feed, _)| *feed == number) {
            state.feeds.entry(spec.name.clone()).or_default().continue_chain(last, identity);
        }
        feeds.push(spec);
        self.feeds.push(Pending::default());
    }

    /// From now on the objects of a feed stay in the outbox.
    fn unclaim(&mut self, number: u16) {
        let Some(spec) = self.setup.feeds.get_mut(usize::from(number)) else { return };
        let (feed, objects) = (&spec.name, spec.metrics.waiting_objects());
        let events = self.feeds[usize::from(number)].events();
        if objects + events > 0 {
            tracing::warn!(
                feed,
                objects,
                events,
                "feed removed; its objects wait in the outbox, and its events of the journal become more of them; \
                 configure the feed again to deliver them, or drop them with `clickedge spool drop-feed`"
            );
        }
        self.setup.metrics.unclaim(feed);
        *spec = FeedSpec::unconfigured(feed, &spec.pop, spec.recipe.clone(), Arc::clone(&spec.metrics));
    }
}
