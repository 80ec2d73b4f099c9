//! Verifies bots that sign their requests: HTTP message signatures (RFC 9421) with the profile of
//! `draft-ietf-webbotauth-httpsig-protocol`, "Web Bot Auth".
//!
//! A bot names itself in `Signature-Agent` by the address at which it publishes its keys, and signs a few components of
//! the request. The keys come from a file of the operator (`signature/agents.rs`); nothing here uses the network. The
//! redirect copies the three headers into the click, a worker verifies the signature:
//!
//! | result | meaning |
//! |---|---|
//! | `verified` | the signature is that of a known key, and in its time |
//! | `unknown-agent` | no `Signature-Agent` of the request is in the file |
//! | `unknown-key` | the agent is, the key of the signature is not, or is not valid at that time |
//! | `outside-window` | created later than the click, expired, or valid for longer than [`MAX_VALIDITY_SECS`] |
//! | `uncovered` | it covers a component that a click does not hold |
//! | `malformed` | the headers are not as the profile says, or longer than a click keeps |
//! | `invalid` | the signature is not that of the key over this request |
//! | `skipped` | too many failed before in the same second |
//!
//! Everything but the first leaves the click to the other evidence.
//!
//! A click holds `@authority` (its host, so of the default port only), `@path`, `@query`, `Signature-Agent`,
//! `User-Agent`, `Referer` and `Accept-Language`. A signature that covers any other component, `@method` or `Cookie`,
//! is not verified. Within its validity a signature that others have seen may be sent again to the same host: no nonces
//! are kept. Of a header that occurs several times, the last is read.
//!
//! Cost: one comparison for a click without the header. Agent and key are looked up before anything is parsed; parsing
//! and Ed25519 take about 0.1 ms. Who sends the name of a known agent and key with a wrong signature can cause that
//! cost, [`MAX_FAILURES`] times for the clicks of one second in each worker, and no more often: 2 % of its time.

mod agents;
mod message;

use std::borrow::Cow;

use web_bot_auth::{ImplementationError, SignatureAgentLink, WebBotAuthVerifier, keyring::Algorithm};

pub use self::agents::{SignedAgents, SignedAgentsError};
use self::message::ClickMessage;
use crate::{
    click::Facts,
    event::{Bot, BotReason},
};

/// Longest time between `created` and `expires`, as the profile advises.
pub const MAX_VALIDITY_SECS: i64 = 24 * 60 * 60;

/// How far the clock of a bot may be ahead of ours.
const MAX_SKEW_SECS: i64 = 60;

/// Signatures that may fail for the clicks of one second, in each worker.
pub const MAX_FAILURES: u32 = 200;

/// What came of a signature.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SignatureResult {
    Verified,
    UnknownAgent,
    UnknownKey,
    OutsideWindow,
    Uncovered,
    Malformed,
    Invalid,
    Skipped,
}

impl SignatureResult {
    pub const ALL: [Self; 8] = [
        Self::Verified,
        Self::UnknownAgent,
        Self::UnknownKey,
        Self::OutsideWindow,
        Self::Uncovered,
        Self::Malformed,
        Self::Invalid,
        Self::Skipped,
    ];

    /// The value of the label in the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::UnknownAgent => "unknown-agent",
            Self::UnknownKey => "unknown-key",
            Self::OutsideWindow => "outside-window",
            Self::Uncovered => "uncovered",
            Self::Malformed => "malformed",
            Self::Invalid => "invalid",
            Self::Skipped => "skipped",
        }
    }
}

/// Verifies the signatures of one worker's clicks.
#[derive(Default)]
pub struct SignatureVerifier {
    /// The second of the clicks in which signatures failed, and how many.
    second: u64,
    failed: u32,
}

impl SignatureVerifier {
    /// The bot that has signed this click, and what came of the signature; `None` without `Signature-Agent`.
    pub fn verify(&mut self, facts: &Facts<'_>, agents: &SignedAgents) -> Option<Result<Bot, SignatureResult>> {
        if facts.texts.signature_agent.is_empty() {
            return None;
        }
        let second = facts.micros / 1_000_000;
        if second != self.second {
            (self.second, self.failed) = (second, 0);
        }
        let result = self.check(facts, agents, second as i64);
        let is_cheap = matches!(
            result,
            Ok(_) | Err(SignatureResult::UnknownAgent | SignatureResult::UnknownKey | SignatureResult::Skipped)
        );
        self.failed += u32::from(!is_cheap);
        Some(result)
    }

    fn check(&self, facts: &Facts<'_>, agents: &SignedAgents, now: i64) -> Result<Bot, SignatureResult> {
        let message = ClickMessage::of(&facts.texts).ok_or(SignatureResult::Malformed)?;
        let mut named = message.agents().filter_map(|url| agents.find(url)).peekable();
        named.peek().ok_or(SignatureResult::UnknownAgent)?;
        if !named.any(|agent| message.key_ids().any(|id| agent.has_key(id))) {
            return Err(SignatureResult::UnknownKey);
        }
        if self.failed >= MAX_FAILURES {
            return Err(SignatureResult::Skipped);
        }
        let verifier = WebBotAuthVerifier::parse(&message).map_err(|error| match error {
            ImplementationError::LookupError(_) => SignatureResult::Uncovered,
            _ => SignatureResult::Malformed,
        })?;
        let agent = verifier.get_signature_agents().iter().find_map(|link| match link {
            SignatureAgentLink::External(url) => agents.find(url),
            // It vouches for nothing but itself.
            SignatureAgentLink::Inline(_) => None,
        });
        let agent = agent.ok_or(SignatureResult::UnknownAgent)?;
        let details = verifier.get_parsed_label().base.parameters.details.clone();
        let (Some(id), Some(created), Some(expires)) = (details.keyid, details.created, details.expires) else {
            return Err(SignatureResult::Malformed);
        };
        if details.algorithm.is_some_and(|algorithm| algorithm != Algorithm::Ed25519) {
            return Err(SignatureResult::Malformed);
        }
        let keys = agent.keys_at(&id, now).ok_or(SignatureResult::UnknownKey)?;
        let is_in_time = created <= now.saturating_add(MAX_SKEW_SECS) && now < expires;
        if !is_in_time || expires.saturating_sub(created) > MAX_VALIDITY_SECS {
            return Err(SignatureResult::OutsideWindow);
        }
        verifier.verify(keys, Some(id)).map_err(|_| SignatureResult::Invalid)?;
        let name = Some(Cow::Owned(agent.name.clone()));
        Ok(Bot { reason: BotReason::Agent, class: agent.class, name, verified: true })
    }
}

#[cfg(test)]
mod tests;
