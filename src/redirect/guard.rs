//! Refusing: what `quality.block` names is answered with 403 instead of the redirect.
//!
//! The guard runs the judge with what the redirect has: path, query, referrer, agent, headers, the destination, the
//! address's guesses, and the penalties that the workers have set for floods. A reason is refused at its full weight
//! only ([`crate::quality`]), and lists are looked into for reasons that are to be refused only. Without anything to refuse there is no guard.
//!
//! A refused request is no click: nothing is captured, whoever sent it, by whichever method; it is counted in
//! `requests_total{outcome="blocked"}` and `blocked_total{reason}`. A flood is found in a worker, so that its first clicks
//! are answered, and when the penalty has run out, as many again.
//!
//! No lock, and no allocation but a buffer that each thread keeps.

use std::{net::IpAddr, sync::Arc};

use crate::{
    click::Facts,
    quality::{self, Claims, Reason, Reasons, Watch},
    visitor::network::Network,
};

/// What is refused, and what is known.
pub struct Guard {
    block: Reasons,
    watch: Arc<Watch>,
    lists: Arc<dyn Lists>,
}

/// The operator's lists that workers look into, for a redirect that is to refuse by them. A trait, as the redirect does
/// not know the workers.
pub trait Lists: Send + Sync {
    /// What is known of an address's network.
    fn network(&self, address: IpAddr) -> Option<Network>;

    /// Whether a `Referer` is a spammer's.
    fn is_spam(&self, referer: &[u8]) -> bool;
}

impl Guard {
    /// `None` when nothing is to be refused.
    pub fn new(watch: &Arc<Watch>, lists: Arc<dyn Lists>) -> Option<Self> {
        let block = watch.config.blocked();
        (!block.is_empty()).then(|| Self { block, watch: Arc::clone(watch), lists })
    }

    /// Why the click is to be refused, if it is.
    pub fn refuses(&self, facts: &Facts<'_>) -> Option<Reason> {
        let texts = &facts.texts;
        let mut evidence = facts.evidence(Claims::read(texts.user_agent));
        evidence.blocked_destination =
            self.block.contains(Reason::BlockedDestination) && self.watch.destinations.block(texts.destination);
        evidence.flood = self.watch.penalties.as_ref().is_some_and(|penalties| {
            penalties.has(facts.client.hash_input(), texts.user_agent, facts.micros / 1_000_000)
        });
        if self.block.contains(Reason::DataCenterNetwork) || self.block.contains(Reason::AnonymizerNetwork) {
            evidence.network = self.lists.network(facts.client.ip());
        }
        evidence.spam_referrer = self.block.contains(Reason::SpamReferrer) && self.lists.is_spam(texts.referer);
        quality::find(&evidence).first_in_full_weight(self.block)
    }
}
