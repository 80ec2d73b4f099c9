//! The redirect: answers a click on a branded link, and captures it before the answer is written.
//!
//! The stage is a plugin: any Pingora proxy calls [`Redirector::handle`] from its own `request_filter`. The manual's
//! chapter [embedding](crate::manual::embedding) has a whole example.
//!
//! What a request gets is decided in [`decide`], without any input or output. [`Redirector::answer`] adds what an
//! answer does on the way: the block policy and the capture of the click. Both work on neutral types, [`Head`] and
//! [`Answer`]; an adapter ([`proxy`]) reads the one from a connection and writes the other to it. The path from the
//! head into the ring takes no lock and makes no allocation; a [`Hook`] of an embedding program may.

pub mod answer;
pub mod asker;
pub mod click_limits;
pub mod client;
pub mod decide;
pub mod explain;
mod facts;
mod form;
pub mod forward;
pub mod head;
pub mod hook;
#[cfg(feature = "server")]
mod lane;
mod lookup;
pub mod metrics;
pub mod password;
pub mod proxy;
pub mod untracked;

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, Guard};

pub use answer::{Answer, Answers};
use asker::Visitors;
use click_limits::{ClickLimits, LinkKey};
pub use client::{Client, TrustedProxies};
use decide::{Circumstances, Found, LinkPage, Step, Trace, Untraced};
pub use decide::{Decision, Target};
use facts::Moment;
pub use head::{Head, Signature};
use hook::Hooked;
pub use hook::{AnswerHeaders, Hook, PendingClick, Veto};
use metrics::{Outcome, RedirectMetrics};
use password::Passwords;
use untracked::{Untracked, UntrackedRequests};

use crate::{
    capture::{Capture, Pushed},
    catalog::{Catalog, CatalogStore, Domain, Link},
    click::{Facts, Flags},
    config,
    event::Reason,
    link::{
        self,
        page::{self, Asked, Nonce, Page},
        password::PasswordHash,
    },
    quality::{
        self,
        block::{BlockPolicy, Listed},
        enumeration::{Enumeration, is_well_known},
    },
    runtime::{clock, failpoint::fail_point},
    stats::unknown::UnknownSlashtags,
    telemetry::drops::DropReason,
    visitor::network::Network,
};

/// The redirect stage. Cheap to clone; share it between threads and proxies.
#[derive(Clone)]
pub struct Redirector {
    catalog: Arc<CatalogStore>,
    /// `None` when requests are only looked up.
    capture: Option<Capture>,
    metrics: Arc<RedirectMetrics>,
    /// For rules, and for what is blocked by the operator's lists.
    visitors: Arc<Visitors>,
    /// The counts of links that may have only so many clicks.
    limits: Arc<ClickLimits>,
    unknown: Arc<UnknownSlashtags>,
    passwords: Passwords,
    hook: Option<Arc<Hooked>>,
    /// Read once a request.
    settings: Arc<ArcSwap<Settings>>,
}

/// What a redirect stage is made of.
pub(crate) struct Parts {
    pub catalog: Arc<CatalogStore>,
    /// `None` to answer without capturing clicks.
    pub capture: Option<Capture>,
    pub metrics: Arc<RedirectMetrics>,
    pub visitors: Arc<Visitors>,
    pub limits: Arc<ClickLimits>,
    pub unknown: Arc<UnknownSlashtags>,
    pub passwords: Passwords,
    pub hook: Option<Arc<Hooked>>,
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
    untracked: UntrackedRequests,
    scripts_timeout: Duration,
}

impl Settings {
    fn new(
        config: &config::Redirect,
        trusted: TrustedProxies,
        quality: &Arc<quality::State>,
        former: Option<&Self>,
    ) -> Self {
        let table = former.and_then(|former| former.enumeration.clone());
        let enumeration = table.filter(|table| table.is_of(&quality.config()));
        Self {
            trusted,
            answers: Answers::new(config),
            keepalive_secs: (config.keepalive_secs > 0).then_some(config.keepalive_secs),
            enumeration: enumeration
                .or_else(|| Enumeration::new(&quality.config(), clock::monotonic()).map(Arc::new)),
            block: BlockPolicy::new(quality),
            untracked: UntrackedRequests::new(config),
            scripts_timeout: Duration::from_millis(config.scripts_timeout_millis),
        }
    }
}

impl Redirector {
    pub(crate) fn new(
        config: &config::Redirect,
        trusted: TrustedProxies,
        quality: &Arc<quality::State>,
        parts: Parts,
    ) -> Self {
        let Parts { catalog, capture, metrics, visitors, limits, unknown, passwords, hook } = parts;
        visitors.configure(config);
        let settings = Arc::new(ArcSwap::from_pointee(Settings::new(config, trusted, quality, None)));
        Self { catalog, capture, metrics, visitors, limits, unknown, passwords, hook, settings }
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

    /// Stores what outlives the process and is no click, as the process ends.
    pub(crate) fn save(&self) {
        self.limits.save();
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
        self.answer_at(settings, head, peer, (Moment::default(), now), &mut Untraced)
    }

    fn answer_at(
        &self,
        settings: &Settings,
        head: &Head<'_>,
        peer: Option<IpAddr>,
        (moment, now): (Moment, Instant),
        trace: &mut impl Trace,
    ) -> Option<Answer> {
        self.answer_request(settings, &Request { head, peer, now, untracked: None, unlocked: None }, moment, trace)
    }

    fn answer_request(
        &self,
        settings: &Settings,
        request: &Request<'_, '_>,
        moment: Moment,
        trace: &mut impl Trace,
    ) -> Option<Answer> {
        let head = request.head;
        match settings.untracked.without_parameter(head.query) {
            None => self.answer_to(settings, request, moment, trace),
            Some(query) => {
                let head = &head.with_query(&query);
                let request = Request { head, untracked: Some(Untracked::Parameter), ..*request };
                self.answer_to(settings, &request, moment, trace)
            }
        }
    }

    fn answer_to(
        &self,
        settings: &Settings,
        request: &Request<'_, '_>,
        mut moment: Moment,
        trace: &mut impl Trace,
    ) -> Option<Answer> {
        let Request { head, .. } = *request;
        let catalog = self.catalog.load();
        let mut location = Vec::new();
        let decision = match decide::look_up(&catalog, head, trace) {
            Step::Decided(decision) => decision,
            Step::Policy(found) => self.apply(settings, request, &found, (&mut moment, &mut location), trace),
        };
        let link = if self.hook.is_some() { decision.link() } else { None };
        let answer = match decision {
            Decision::Pass => return None,
            Decision::Click(target) => self.follow(settings, request, target, (&mut moment, &location), trace),
            other => {
                trace.step("answer", || explain::of(&other));
                self.answer_without_click(settings, request, other)
            }
        };
        let answer = self.finish(answer, &catalog, head, link);
        Some(if head.flags.has(Flags::HEAD) { answer.without_body() } else { answer })
    }

    /// Adds what depends on the connection, and what the hook adds.
    fn finish(&self, answer: Answer, catalog: &Catalog, head: &Head<'_>, link: Option<Link<'_>>) -> Answer {
        let mut answer =
            if head.flags.has(Flags::TLS) { answer.with_hsts(catalog.hsts(|| head.host().ok())) } else { answer };
        if let Some(hook) = &self.hook {
            hook.amend(head, link.as_ref(), &mut answer);
        }
        answer
    }

    /// Decides by the policy of a link. `location` gets what was looked up of the visitor's place.
    fn apply<'a>(
        &self,
        settings: &Settings,
        request: &Request<'_, '_>,
        found: &Found<'a>,
        (moment, location): (&mut Moment, &mut Vec<u8>),
        trace: &mut impl Trace,
    ) -> Decision<'a> {
        let Request { head, peer, .. } = *request;
        let is_unlocked = request.unlocks(&found.link);
        let (micros, id) = moment.get();
        let client = || settings.trusted.client(peer, &head.forwarded);
        let (_, flags) = settings.seen(head, peer);
        let mut visitor = self.visitors.of(head, &found.link, micros, flags, &client);
        let limit = found.policy.max_clicks;
        let used = limit.map_or(0, |_| self.limits.used(key(&found.link)));
        let is_used_up = limit.is_some_and(|max| used >= max);
        if let Some(max) = limit {
            trace.step("maxClicks", || format!("{used} of {max} clicks are taken"));
        }
        let decision = decide::apply(found, head, &mut visitor, Circumstances { id, is_used_up, is_unlocked }, trace);
        *location = visitor.found();
        decision
    }

    /// Answers with where a link leads, and captures the click.
    fn follow(
        &self,
        settings: &Settings,
        request: &Request<'_, '_>,
        target: Target<'_>,
        (moment, location): (&mut Moment, &[u8]),
        trace: &mut impl Trace,
    ) -> Answer {
        let (answers, Request { head, .. }) = (&settings.answers, *request);
        let is_unlocked = request.unlocks(&target.link);
        let page = target.page.and_then(|page| settings.page(page, &target));
        let status = match page {
            _ if is_unlocked => 303,
            Some(_) => 200,
            None => target.link.status(),
        };
        let mut room = [0; 24];
        let created_at = target.link.created_at().render(&mut room);
        let facts = Facts { status, ..settings.facts(request, &target, moment, (created_at, location)) };
        if let Some(reason) = self.blocked_for(settings, &facts) {
            self.metrics.blocked(reason);
            trace.step("block", || reason.slug().into());
            return answers.blocked(reason);
        }
        if let Some(veto) = self.hook.as_ref().and_then(|hook| hook.veto(head, &target, status)) {
            return veto.answer();
        }
        let untracked = request.untracked.or_else(|| {
            let networks = &settings.untracked;
            (networks.has_networks() && networks.has_client(facts.client.ip())).then_some(Untracked::Network)
        });
        if let Some(max) = target.max_clicks.filter(|_| untracked.is_none())
            && !self.limits.take(key(&target.link), max)
        {
            trace.step("maxClicks", || "another visitor took the last one".into());
            let Ok(host) = head.host() else { return answers.bad_request() };
            return self.answer_without_click(settings, request, decide::used_up(&target.link, head, &host));
        }
        trace.leads(&target, page.is_some(), untracked, head);
        match untracked {
            None => self.click(request, &facts),
            Some(untracked) => self.metrics.untracked(untracked),
        }
        let policy = target.link.policy();
        let answer = match page {
            Some(page) => answers.page(200, Outcome::Page, page),
            None => answers.redirect(status, target.location).unwrap_or_else(|| answers.not_found()),
        };
        let Some(policy) = policy else { return answer };
        let answer = if policy.is_personal() { answer.never_stored() } else { answer };
        if policy.no_index { answer.without_index() } else { answer }
    }

    fn answer_without_click(&self, settings: &Settings, request: &Request<'_, '_>, decision: Decision<'_>) -> Answer {
        let (answers, head) = (&settings.answers, request.head);
        match decision {
            Decision::Fallback { location, unknown_of } => {
                if let Some(domain) = unknown_of {
                    self.note_unknown(settings, request, domain);
                }
                answers.fallback(location).unwrap_or_else(|| answers.not_found())
            }
            Decision::NotFound(domain) => {
                self.note_unknown(settings, request, domain);
                let page = page::of(domain.policy(), |pages| pages.not_found(&asked(head, domain.host())));
                answers.page(404, Outcome::NotFound, page)
            }
            Decision::Gone(domain) => {
                let page = page::of(domain.policy(), |pages| pages.gone(&asked(head, domain.host())));
                answers.page(410, Outcome::Gone, page)
            }
            Decision::Preview(link) => {
                let short = [link.host().as_bytes(), b"/", link.slashtag()].concat();
                let page = page::preview(&String::from_utf8_lossy(&short), link.destination());
                answers.page(200, Outcome::Preview, page)
            }
            Decision::Password(link) => settings.form(head, &link, None),
            Decision::File(file) => answers.file(file).unwrap_or_else(|| answers.not_found()),
            Decision::MethodNotAllowed => answers.method_not_allowed(),
            Decision::BadRequest => answers.bad_request(),
            // Answered elsewhere.
            Decision::Pass | Decision::Click(_) => answers.not_found(),
        }
    }

    fn note_unknown(&self, settings: &Settings, request: &Request<'_, '_>, domain: &Domain) {
        let Request { head, peer, now, .. } = *request;
        let is_enumerating = settings.enumeration.as_ref().is_some_and(|enumeration| {
            let client = settings.trusted.client(peer, &head.forwarded);
            enumeration.note(&client, head.path, now);
            enumeration.is_enumerating(&client, now)
        });
        if !is_enumerating
            && !is_well_known(head.path)
            && let Ok(slashtag) = link::key::slashtag(head.path)
        {
            self.unknown.note(domain.host(), &slashtag, clock::coarse_secs());
        }
    }

    /// The answer to a request for a host that is not a branded domain, where there is no upstream.
    pub fn unclaimed(&self, head: &Head<'_>) -> Answer {
        let answer = self.settings().answers.not_found();
        if head.flags.has(Flags::HEAD) { answer.without_body() } else { answer }
    }

    /// Captures the click. A click is a `GET`, or a form with the right password; `HEAD` is kept as a bot's. Other
    /// methods (to 307 and 308 links) are redirected, but are not clicks.
    fn click(&self, request: &Request<'_, '_>, facts: &Facts<'_>) {
        if !decide::is_read(request.head.method) && request.unlocked.is_none() {
            return;
        }
        let Some(capture) = &self.capture else { return };
        let pushed = capture.push(facts);
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
    /// The page in place of a redirect; `None` when a redirect has to do.
    fn page(&self, page: LinkPage<'_>, target: &Target<'_>) -> Option<Page> {
        let destination = std::str::from_utf8(&target.location).ok()?;
        match page {
            LinkPage::Scripts(scripts) => scripts.page(destination, self.scripts_timeout, Nonce::random().ok()?),
            LinkPage::Card(card) => {
                let short = [b"https://", target.link.host().as_bytes(), b"/", target.link.slashtag()].concat();
                card.page(&String::from_utf8_lossy(&short), destination)
            }
        }
    }
}

/// A request on its way to an answer.
#[derive(Clone, Copy)]
struct Request<'a, 'r> {
    head: &'r Head<'a>,
    peer: Option<IpAddr>,
    now: Instant,
    /// Why it is no click, as far as that is known before the look-up.
    untracked: Option<Untracked>,
    /// The hash of the password that the visitor has sent.
    unlocked: Option<&'r PasswordHash>,
}

impl Request<'_, '_> {
    /// Whether the visitor has sent the password of this link, as it is now.
    fn unlocks(&self, link: &Link<'_>) -> bool {
        self.unlocked.is_some_and(|hash| link.policy().is_some_and(|policy| policy.password.as_ref() == Some(hash)))
    }
}

fn key(link: &Link<'_>) -> LinkKey {
    LinkKey::new(link.host(), link.id())
}

fn asked<'a>(head: &Head<'a>, domain: &'a str) -> Asked<'a> {
    Asked { path: head.path, domain, title: None, accept_language: head.accept_language }
}
