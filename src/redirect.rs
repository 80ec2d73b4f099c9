//! The redirect: answers a click on a branded link, and captures it before the answer is written.
//!
//! The stage is a plugin: any Pingora proxy calls [`Redirector::handle`] from its own `request_filter`. The manual's
//! chapter [embedding](crate::manual::embedding) has a whole example.
//!
//! What a request gets is decided by [`decide()`], without any input or output. [`Redirector::answer`] adds what an
//! answer does on the way: the block policy and the capture of the click. Both work on neutral types, [`Head`] and
//! [`Answer`]; an adapter ([`proxy`]) reads the one from a connection and writes the other to it. The path from the head into the
//! ring takes no lock and makes no allocation.

pub mod answer;
pub mod asker;
pub mod click_limits;
pub mod client;
pub mod decide;
pub mod forward;
pub mod head;
mod lane;
pub mod metrics;
pub mod proxy;
pub mod untracked;

use std::{net::IpAddr, sync::Arc, time::Instant};

use arc_swap::{ArcSwap, Guard};

pub use answer::{Answer, Answers};
use asker::Visitors;
pub use client::TrustedProxies;
use decide::Context;
pub use decide::{Decision, Target, decide};
pub use head::{Head, Signature};
use metrics::RedirectMetrics;

use crate::{
    capture::{Capture, Pushed},
    catalog::CatalogStore,
    click::{ClientAddr, EventId, Facts, Flags, Protocol, Texts},
    config,
    event::Reason,
    quality::{
        self,
        block::{BlockPolicy, Listed},
        enumeration::Enumeration,
    },
    runtime::{clock, failpoint::fail_point},
    telemetry::drops::DropReason,
    visitor::network::Network,
};

/// The redirect stage. Cheap to clone; share it between threads and proxies.
#[derive(Clone)]
pub struct Redirector {
    catalog: Arc<CatalogStore>,
    capture: Capture,
    metrics: Arc<RedirectMetrics>,
    /// For rules, and for what is blocked by the operator's lists.
    visitors: Arc<Visitors>,
    /// Read once a request.
    settings: Arc<ArcSwap<Settings>>,
}

/// What a change of the configuration replaces.
pub struct Settings {
    trusted: TrustedProxies,
    answers: Answers,
    keepalive_secs: Option<u64>,
    /// Which addresses request many unknown slashtags; `None` when that is not counted.
    enumeration: Option<Arc<Enumeration>>,
    /// What is blocked; `None` when nothing is.
    block: Option<BlockPolicy>,
}

impl Settings {
    fn new(
        config: &config::Redirect,
        trusted: TrustedProxies,
        quality: &Arc<quality::State>,
        former: Option<&Self>,
    ) -> Self {
        let enumeration = |former: &Self| former.enumeration.clone().filter(|table| table.is_of(&quality.config()));
        let enumeration = former.and_then(enumeration);
        Self {
            trusted,
            answers: Answers::new(config),
            keepalive_secs: (config.keepalive_secs > 0).then_some(config.keepalive_secs),
            enumeration: enumeration
                .or_else(|| Enumeration::new(&quality.config(), clock::monotonic()).map(Arc::new)),
            block: BlockPolicy::new(quality),
        }
    }
}

impl Redirector {
    pub(crate) fn new(
        config: &config::Redirect,
        catalog: Arc<CatalogStore>,
        capture: Capture,
        trusted: TrustedProxies,
        metrics: Arc<RedirectMetrics>,
        quality: &Arc<quality::State>,
        visitors: Arc<Visitors>,
    ) -> Self {
        visitors.configure(config);
        let settings = Arc::new(ArcSwap::from_pointee(Settings::new(config, trusted, quality, None)));
        Self { catalog, capture, metrics, visitors, settings }
    }

    /// Takes the settings of another configuration, for requests from now on. `quality` has its thresholds already.
    pub(crate) fn configure(
        &self,
        config: &config::Redirect,
        trusted: TrustedProxies,
        quality: &Arc<quality::State>,
    ) {
        self.visitors.configure(config);
        let settings = Settings::new(config, trusted, quality, Some(&self.settings.load()));
        self.settings.store(Arc::new(settings));
    }

    fn settings(&self) -> Guard<Arc<Settings>> {
        self.settings.load()
    }

    /// The answer to a request from `peer`; `None`, without any trace, when the host is not a branded domain. A click
    /// is captured before this returns.
    pub fn answer(&self, head: &Head<'_>, peer: Option<IpAddr>, now: Instant) -> Option<Answer> {
        self.answer_with(&self.settings(), head, peer, now)
    }

    fn answer_with(
        &self,
        settings: &Settings,
        head: &Head<'_>,
        peer: Option<IpAddr>,
        now: Instant,
    ) -> Option<Answer> {
        let answers = &settings.answers;
        let catalog = self.catalog.load();
        let mut moment = Moment::default();
        let answer = match decide(&catalog, head, &mut moment) {
            Decision::Pass => return None,
            Decision::Redirect(target) => {
                let facts = settings.facts(head, peer, &target, &mut moment, now);
                let link = target.link;
                let answer = if let Some(reason) = self.blocked_for(settings, &facts) {
                    self.metrics.blocked(reason);
                    answers.blocked(reason)
                } else {
                    self.click(head, &facts);
                    answers.redirect(link.status(), target.location).unwrap_or_else(|| answers.not_found())
                };
                answer.without_index(link.policy().is_some_and(|policy| policy.no_index))
            }
            Decision::Preview(_) => answers.not_found(),
            Decision::Fallback { location, is_gone } => {
                if !is_gone {
                    self.note_unknown(settings, head, peer, now);
                }
                answers.fallback(location).unwrap_or_else(|| answers.not_found())
            }
            Decision::NotFound => {
                self.note_unknown(settings, head, peer, now);
                answers.not_found()
            }
            Decision::Gone => answers.gone(),
            Decision::MethodNotAllowed => answers.method_not_allowed(),
            Decision::BadRequest => answers.bad_request(),
        };
        let answer =
            if head.flags.has(Flags::TLS) { answer.with_hsts(catalog.hsts(|| head.host().ok())) } else { answer };
        Some(if head.flags.has(Flags::HEAD) { answer.without_body() } else { answer })
    }

    fn note_unknown(&self, settings: &Settings, head: &Head<'_>, peer: Option<IpAddr>, now: Instant) {
        if let Some(enumeration) = &settings.enumeration {
            enumeration.note(&settings.trusted.client(peer, &head.forwarded), head.path, now);
        }
    }

    /// The answer to a request for a host that is not a branded domain, where there is no upstream.
    pub fn unclaimed(&self, head: &Head<'_>) -> Answer {
        let answer = self.settings().answers.not_found();
        if head.flags.has(Flags::HEAD) { answer.without_body() } else { answer }
    }

    /// Captures the click. A click is a `GET`; `HEAD` is kept as a bot's. Other methods (to 307 and 308 links) are
    /// redirected, but are not clicks.
    fn click(&self, head: &Head<'_>, facts: &Facts<'_>) {
        if !decide::is_read(head.method) {
            return;
        }
        let pushed = self.capture.push(facts);
        fail_point("captured");
        self.metrics.click_answered(pushed == Pushed::Captured);
        match pushed {
            Pushed::Captured => {}
            Pushed::Full => self.metrics.click_dropped(DropReason::RingFull),
            Pushed::TooLarge => self.metrics.click_dropped(DropReason::TooLarge),
        }
    }

    /// Why the click is blocked, if it is.
    fn blocked_for(&self, settings: &Settings, facts: &Facts<'_>) -> Option<Reason> {
        let policy = settings.block.as_ref()?;
        let mut listed = Listed::default();
        if policy.names(Reason::DataCenterNetwork) || policy.names(Reason::AnonymizerNetwork) {
            let network = self.visitors.sources.network(facts.client.ip());
            listed.hosting_network = network == Some(Network::Hosting);
            listed.anonymizer_network = network == Some(Network::Anonymizer);
        }
        listed.spam_referrer =
            policy.names(Reason::SpamReferrer) && self.visitors.sources.is_spam(facts.texts.referer);
        policy.check(facts, listed)
    }
}

impl Settings {
    fn facts<'a>(
        &self,
        head: &Head<'a>,
        peer: Option<IpAddr>,
        target: &'a Target<'_>,
        moment: &mut Moment,
        now: Instant,
    ) -> Facts<'a> {
        let client = self.trusted.client(peer, &head.forwarded);
        let (mut flags, mut protocol) = (head.flags, head.protocol);
        if self.trusted.is_proxy(peer) {
            flags.set(Flags::PROXIED, true);
            flags.clear(Flags::TLS);
            protocol = Protocol::Unknown;
        }
        let is_enumerating = self.enumeration.as_ref().is_some_and(|table| table.is_enumerating(&client, now));
        flags.set(Flags::ENUMERATION, is_enumerating);
        facts(moment.get(), client, (protocol, flags), head, target)
    }
}

/// When a click is answered, and its id; read from the clock when they are first asked for.
#[derive(Default)]
struct Moment(Option<(u64, EventId)>);

impl Moment {
    fn get(&mut self) -> (u64, EventId) {
        *self.0.get_or_insert_with(|| {
            let micros = clock::unix_micros();
            (micros, EventId::at(micros))
        })
    }
}

impl Context for Moment {
    fn now(&mut self) -> i64 {
        (self.get().0 / 1_000_000).cast_signed()
    }

    fn click_id(&mut self) -> EventId {
        self.get().1
    }
}

fn facts<'a>(
    (micros, id): (u64, EventId),
    client: ClientAddr,
    (protocol, flags): (Protocol, Flags),
    head: &Head<'a>,
    target: &'a Target<'_>,
) -> Facts<'a> {
    let Target { link, location, rule, variant } = target;
    // Of use to no one without the name of the bot.
    let signature = if head.signature.agent.is_empty() { Signature::default() } else { head.signature };
    Facts {
        id,
        micros,
        client,
        status: link.status(),
        protocol,
        flags,
        texts: Texts {
            user_agent: head.user_agent,
            referer: head.referer,
            accept_language: head.accept_language,
            hint_brands: head.hints.brands,
            hint_platform: head.hints.platform,
            hint_platform_version: head.hints.platform_version,
            hint_form_factors: head.hints.form_factors,
            requested_with: head.requested_with,
            query: head.query,
            path: head.path,
            destination: location,
            link_id: link.id(),
            slashtag: link.slashtag(),
            created_at: link.created_at(),
            workspace: link.workspace().as_bytes(),
            host: link.host().as_bytes(),
            creator_json: link.creator_json().as_bytes(),
            domain_json: link.domain_json().as_bytes(),
            tags_json: link.tags_json().as_bytes(),
            scripts_json: link.scripts_json().as_bytes(),
            rule: rule.as_bytes(),
            variant: variant.as_bytes(),
            signature_agent: signature.agent,
            signature_input: signature.input,
            signature: signature.signature,
            location: b"",
        },
    }
}
