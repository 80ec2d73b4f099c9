//! The block policy: which clicks are answered with 403 instead of the redirect.
//!
//! `quality.block` names reasons. The policy classifies a click with what the redirect has: path, query, referrer,
//! agent, headers, the destination, enumeration by the address, and the penalties that the workers have set for floods.
//! A reason blocks with high confidence only ([`crate::quality`]). What must be looked up in a list is looked up only
//! when a reason that needs it is named ([`BlockPolicy::names`]). Without a named reason there is no policy.
//!
//! A blocked request is no click: nothing is captured, for any method and sender; it is counted in
//! `requests_total{outcome="blocked"}` and `blocked_total{reason}`. A flood is detected in a worker, so that its first
//! clicks are answered, and as many again when the penalty has run out.
//!
//! No lock, and no allocation but a buffer that each thread keeps.

use std::sync::Arc;

use super::{Claims, State, detect, penalty::Penalties};
use crate::{
    click::Facts,
    event::{Reason, Reasons},
};

/// What is blocked, and the state of the detectors.
pub struct BlockPolicy {
    block: Reasons,
    state: Arc<State>,
    penalties: Option<Arc<Penalties>>,
}

/// What the operator's lists say of a click. Only what the policy [names](BlockPolicy::names) needs to be looked up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Listed {
    /// The address belongs to a hosting provider.
    pub hosting_network: bool,
    /// The address is an exit of an anonymising network.
    pub anonymizer_network: bool,
    /// The referrer is a spammer's.
    pub spam_referrer: bool,
}

impl BlockPolicy {
    /// What the current configuration blocks; `None` when nothing is blocked.
    pub fn new(state: &Arc<State>) -> Option<Self> {
        let block = state.config().blocked();
        (!block.is_empty()).then(|| Self { block, penalties: state.penalties(), state: Arc::clone(state) })
    }

    /// Whether this reason blocks.
    pub fn names(&self, reason: Reason) -> bool {
        self.block.contains(reason)
    }

    /// Why the click is blocked, if it is.
    pub fn check(&self, facts: &Facts<'_>, listed: Listed) -> Option<Reason> {
        let texts = &facts.texts;
        let mut evidence = facts.evidence(Claims::read(texts.user_agent));
        evidence.blocked_destination =
            self.names(Reason::BlockedDestination) && self.state.destinations.block(texts.destination);
        evidence.flood = self.penalties.as_ref().is_some_and(|penalties| {
            penalties.has(facts.client.hash_input(), texts.user_agent, facts.micros / 1_000_000)
        });
        evidence.hosting_network = listed.hosting_network;
        evidence.anonymizer_network = listed.anonymizer_network;
        evidence.spam_referrer = listed.spam_referrer;
        detect(&evidence).first_with_high_confidence(self.block)
    }
}
