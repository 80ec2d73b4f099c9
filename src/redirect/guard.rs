//! Refusing: what `quality.block` names is answered with 403 instead of the redirect.
//!
//! The guard runs the judge with what the redirect has: path, query, referrer, agent, headers, the destination, the
//! address's guesses, and the penalties that the workers have set for floods. A reason is refused at its full weight
//! only ([`crate::quality`]). Without anything to refuse there is no guard.
//!
//! A refused request is no click: nothing is captured, whoever sent it, by whichever method; it is counted in
//! `requests_total{outcome="blocked"}` and `blocked_total{reason}`. A flood is found in a worker, so that its first clicks
//! are answered, and when the penalty has run out, as many again.
//!
//! No lock, and no allocation but a buffer that each thread keeps.

use std::sync::Arc;

use crate::{
    capture::Facts,
    quality::{self, Reason, Reasons, Watch},
};

/// What is refused, and what is known.
pub struct Guard {
    block: Reasons,
    watch: Arc<Watch>,
}

impl Guard {
    /// `None` when nothing is to be refused.
    pub fn new(watch: &Arc<Watch>) -> Option<Self> {
        let block = watch.config.blocked();
        (!block.is_empty()).then(|| Self { block, watch: Arc::clone(watch) })
    }

    /// Why the click is to be refused, if it is.
    pub fn refuses(&self, facts: &Facts<'_>) -> Option<Reason> {
        let texts = &facts.texts;
        let mut evidence = facts.evidence();
        evidence.blocked_destination =
            self.block.contains(Reason::BlockedDestination) && self.watch.destinations.block(texts.destination);
        evidence.flood = self.watch.penalties.as_ref().is_some_and(|penalties| {
            penalties.has(facts.client.hash_input(), texts.user_agent, facts.micros / 1_000_000)
        });
        // Here is the place to ask for the address's network and for the referrer, once the redirect may:
        // `evidence.network`, `evidence.spam_referrer`, and `Reason::is_found_by_workers_only`.
        quality::find(&evidence).first_in_full_weight(self.block)
    }
}
