//! The hook of a program that embeds the redirect: it can veto what a link would lead to, and add headers to answers.
//!
//! What a hook cannot break, by the types that it gets:
//! - The account: a veto comes before the click is captured or takes one of a link's clicks, and is counted under one
//!   of the reasons that the hook has named at the start.
//! - The order: it is called between decision and capture, and between capture and answer. It writes nothing itself.
//! - The answer: names and values of headers are typed, so that none can begin another header; those that frame the
//!   answer cannot be set, nor `Location`, as the event says where the visitor was sent.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use prometheus::IntCounter;

use super::{Answer, Answers, Head, Target, answer::Put, metrics::RedirectMetrics};
use crate::catalog::Link;

/// Most reasons of a hook.
const MAX_REASONS: usize = 32;

/// Longest reason, in bytes.
const MAX_REASON: usize = 32;

/// The reason of a veto with a reason that the hook has not named.
const OTHER: &str = "other";

/// Code of the embedding program that takes part in answers.
///
/// Both methods are called on the thread that answers the request, once for each, with every other request of that
/// thread waiting: they may compute for microseconds, and neither block nor wait. A panic ends the connection of that
/// request without an answer; no click is captured if it was in [`before_click`](Self::before_click).
pub trait Hook: Send + Sync + 'static {
    /// The reasons of this hook's vetoes, the values of the label `reason` of `clickedge_vetoed_total`: at most 32,
    /// each 1 to 32 lower-case letters, digits and `_`. Asked for once, at the start. Vetoes with another reason are
    /// counted as `other`.
    fn reasons(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// Called when a request is about to be answered with where a link leads, after the block policy and before the
    /// click is captured.
    ///
    /// # Errors
    /// A veto: it is the answer, and the request is no click.
    fn before_click(&self, click: &PendingClick<'_>) -> Result<(), Veto> {
        let _ = click;
        Ok(())
    }

    /// Called with each answer to a request for a branded domain, also with those that are no redirect, before it is
    /// written. A click has been captured by then. `link` is the link that the answer is about, if it is one.
    fn before_answer(&self, head: &Head<'_>, link: Option<&Link<'_>>, answer: &mut AnswerHeaders<'_>) {
        let _ = (head, link, answer);
    }
}

/// A request that is about to follow a link.
#[non_exhaustive]
pub struct PendingClick<'a> {
    /// The request.
    pub head: &'a Head<'a>,
    /// The link, as it is now.
    pub link: &'a Link<'a>,
    /// Where it leads: the value of `Location`, or the destination of the page.
    pub location: &'a [u8],
    /// The rule that chose it; empty for none.
    pub rule: &'a str,
    /// The variant that was chosen; empty for none.
    pub variant: &'a str,
    /// HTTP status of the answer: 200 for a page.
    pub status: u16,
}

/// The answer in place of the one that a hook has vetoed. Cheap to clone: make it once.
#[derive(Clone, Debug)]
pub struct Veto {
    reason: &'static str,
    status: u16,
    content_type: HeaderValue,
    body: Bytes,
}

/// A status with which no veto can be answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a veto cannot be answered with the status {0}: use 200, or one of 400 to 599")]
pub struct BadStatus(pub StatusCode);

impl Veto {
    /// 403 with a short text, for one of the hook's reasons.
    pub fn new(reason: &'static str) -> Self {
        Self {
            reason,
            status: 403,
            content_type: HeaderValue::from_static("text/plain; charset=utf-8"),
            body: Bytes::from_static(b"This link cannot be followed.\n"),
        }
    }

    /// With another status.
    ///
    /// # Errors
    /// When it is neither 200 nor an error: others have no body, need a header that is missing, or end no request.
    pub fn with_status(self, status: StatusCode) -> Result<Self, BadStatus> {
        let is_possible = status == StatusCode::OK || status.is_client_error() || status.is_server_error();
        if is_possible { Ok(Self { status: status.as_u16(), ..self }) } else { Err(BadStatus(status)) }
    }

    /// With another body, sent whole: keep it small.
    pub fn with_body(self, content_type: HeaderValue, body: impl Into<Bytes>) -> Self {
        Self { content_type, body: body.into(), ..self }
    }

    pub(super) fn answer(self) -> Answer {
        Answers::vetoed(self.status, self.content_type, self.body)
    }
}

/// The headers of an answer, which can be added and replaced.
pub struct AnswerHeaders<'a> {
    answer: &'a mut Answer,
}

/// A header that a hook cannot set.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a hook cannot set the header `{0}`: it frames the answer, or leads elsewhere than the event says")]
pub struct ReservedHeader(pub HeaderName);

impl AnswerHeaders<'_> {
    /// HTTP status of the answer.
    pub fn status(&self) -> u16 {
        self.answer.status
    }

    /// Where a redirect leads: the value of `Location`.
    pub fn location(&self) -> Option<&HeaderValue> {
        self.answer.location()
    }

    /// Sets a header, in place of those of that name.
    ///
    /// # Errors
    /// When it is reserved. Nothing has changed then.
    pub fn set(&mut self, name: HeaderName, value: HeaderValue) -> Result<(), ReservedHeader> {
        self.answer.put(allowed(name)?, value, Put::Alone);
        Ok(())
    }

    /// Adds a header, such as `Set-Cookie`, next to those of that name that were set before. One that the answer had of
    /// its own is replaced.
    ///
    /// # Errors
    /// When it is reserved. Nothing has changed then.
    pub fn append(&mut self, name: HeaderName, value: HeaderValue) -> Result<(), ReservedHeader> {
        self.answer.put(allowed(name)?, value, Put::More);
        Ok(())
    }
}

/// Rejects headers that frame the answer, that the server adds, and that lead elsewhere.
fn allowed(name: HeaderName) -> Result<HeaderName, ReservedHeader> {
    match name.as_str() {
        "connection" | "content-encoding" | "content-length" | "date" | "keep-alive" | "location"
        | "proxy-connection" | "refresh" | "te" | "trailer" | "transfer-encoding" | "upgrade" => {
            Err(ReservedHeader(name))
        }
        _ => Ok(name),
    }
}

/// Why a hook cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HookError {
    /// A reason cannot be the value of a label.
    #[error("the hook names the reason {0:?}: use 1 to {MAX_REASON} lower-case letters, digits and `_`")]
    Reason(&'static str),
    /// There are too many of them.
    #[error("the hook names {0} reasons: at most {MAX_REASONS} are possible")]
    TooMany(usize),
}

/// A hook with the counters of its vetoes.
pub(crate) struct Hooked {
    hook: Arc<dyn Hook>,
    vetoed: Vec<(&'static str, IntCounter)>,
    other: IntCounter,
}

impl Hooked {
    pub(crate) fn new(hook: Arc<dyn Hook>, metrics: &RedirectMetrics) -> Result<Self, HookError> {
        let reasons = hook.reasons();
        if reasons.len() > MAX_REASONS {
            return Err(HookError::TooMany(reasons.len()));
        }
        let is_name = |reason: &str| {
            let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            (1..=MAX_REASON).contains(&reason.len()) && reason.bytes().all(is_part)
        };
        if let Some(bad) = reasons.iter().find(|reason| !is_name(reason)) {
            return Err(HookError::Reason(bad));
        }
        let vetoed = reasons.into_iter().map(|reason| (reason, metrics.vetoed(reason))).collect();
        Ok(Self { hook, vetoed, other: metrics.vetoed(OTHER) })
    }

    /// The veto of a request to follow a link, counted.
    #[cold]
    pub(super) fn veto(&self, head: &Head<'_>, target: &Target<'_>, status: u16) -> Option<Veto> {
        let Target { link, location, rule, variant, .. } = target;
        let click = PendingClick { head, link, location, rule, variant, status };
        let veto = self.hook.before_click(&click).err()?;
        let counter = self.vetoed.iter().find(|(reason, _)| *reason == veto.reason);
        counter.map_or(&self.other, |(_, counter)| counter).inc();
        Some(veto)
    }

    /// Lets the hook amend an answer.
    #[cold]
    pub(super) fn amend(&self, head: &Head<'_>, link: Option<&Link<'_>>, answer: &mut Answer) {
        self.hook.before_answer(head, link, &mut AnswerHeaders { answer });
    }
}
