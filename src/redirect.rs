//! The redirect: answers a click on a branded link, and captures it before the answer is written.
//!
//! The stage is a plugin. Any Pingora proxy calls it from its own `request_filter`:
//!
//! ```no_run
//! use async_trait::async_trait;
//! use clickedge::{Pipeline, Redirector, config};
//! use pingora::prelude::*;
//!
//! struct MyProxy {
//!     links: Redirector,
//! }
//!
//! #[async_trait]
//! impl ProxyHttp for MyProxy {
//!     type CTX = ();
//!     fn new_ctx(&self) {}
//!
//!     async fn request_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
//!         // True when the request was for a branded domain and is answered; false leaves it untouched.
//!         self.links.handle(session).await
//!     }
//!
//!     async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
//!         Ok(Box::new(HttpPeer::new("127.0.0.1:3000", false, String::new())))
//!     }
//! }
//!
//! # fn main() -> anyhow::Result<()> {
//! let config = config::load("/etc/clickedge/clickedge.toml".as_ref())?;
//! let pipeline = Pipeline::start(&config)?;
//! let mut server = Server::new(None)?;
//! let mut service = http_proxy_service(&server.configuration, MyProxy { links: pipeline.redirector() });
//! service.add_tcp("0.0.0.0:80");
//! server.add_service(service);
//! server.bootstrap();
//! server.run(RunArgs::default()); // Not `run_forever`, which exits before the last clicks are delivered.
//! pipeline.drain(std::time::Duration::from_secs(20));
//! # Ok(())
//! # }
//! # use pingora::server::RunArgs;
//! ```
//!
//! What a request is answered with is decided by [`decide`], which does no input or output and is the reference for
//! every other way to the same answer. The path from there into the ring takes no lock and makes no allocation.

pub mod client;
pub mod forward;
pub mod metrics;
pub mod request;
pub mod response;

use std::{net::IpAddr, sync::Arc, time::Instant};

use bytes::Bytes;
use http::Method;
use pingora_proxy::Session;

pub use client::TrustedProxies;
use metrics::{Outcome, RedirectMetrics};
pub use request::Request;
pub use response::Answers;

use crate::{
    capture::{Capture, Pushed},
    catalog::{Catalog, CatalogStore, Link, Lookup, State},
    click::{ClientAddr, EventId, Facts, Flags, Protocol, Texts},
    event::Reason,
    link::BadKey,
    quality::{
        self,
        block::{BlockPolicy, Listed},
        enumeration::Enumeration,
    },
    runtime::{clock, failpoint::fail_point},
    telemetry::drops::DropReason,
    visitor::{Sources, network::Network},
};

/// The redirect stage. Cheap to clone; share it between threads and proxies as you like.
#[derive(Clone)]
pub struct Redirector {
    catalog: Arc<CatalogStore>,
    capture: Capture,
    trusted: Arc<TrustedProxies>,
    answers: Arc<Answers>,
    metrics: Arc<RedirectMetrics>,
    /// Which addresses request many unknown slashtags; `None` when that is not counted.
    enumeration: Option<Arc<Enumeration>>,
    /// What is blocked; `None` when nothing is.
    block: Option<Arc<BlockPolicy>>,
    /// The operator's lists, for what is blocked by them.
    sources: Arc<Sources>,
}

/// What a request gets.
pub enum Decision<'a> {
    /// A redirect to the link's destination, `Location` ready to send.
    Redirect { link: Link<'a>, location: Bytes },
    /// The host is no branded domain: somebody else answers.
    Pass,
    /// 404: the domain has no such link, or it is switched off.
    NotFound,
    /// 410: the link is over.
    Gone,
    /// 405: only `GET` and `HEAD` are for this link.
    MethodNotAllowed,
    /// 400: no host, more than one, or one that cannot be; or a control character in the target.
    BadRequest,
}

/// Decides what a request gets.
pub fn decide<'a>(catalog: &'a Catalog, request: &Request<'_>) -> Decision<'a> {
    let Ok(host) = request.host() else {
        return Decision::BadRequest;
    };
    let link = match catalog.find(&host, request.path) {
        Err(BadKey::TooLong) | Ok(Lookup::Unknown) => return not_found(request.method),
        Err(_) => return Decision::BadRequest,
        Ok(Lookup::NotBranded) => return Decision::Pass,
        Ok(Lookup::Found(link)) => link,
    };
    if request.has_control_in_query() {
        return Decision::BadRequest;
    }
    match link.state() {
        State::Active => {}
        State::Disabled => return not_found(request.method),
        State::Expired => return Decision::Gone,
    }
    if !readable(request.method) && !matches!(link.status(), 307 | 308) {
        return Decision::MethodNotAllowed;
    }
    let location = forward::location(&link, request.query);
    Decision::Redirect { link, location }
}

fn not_found<'a>(method: &Method) -> Decision<'a> {
    if readable(method) { Decision::NotFound } else { Decision::MethodNotAllowed }
}

fn readable(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

impl Redirector {
    pub(crate) fn new(
        catalog: Arc<CatalogStore>,
        capture: Capture,
        trusted: TrustedProxies,
        answers: Answers,
        metrics: Arc<RedirectMetrics>,
        quality: &Arc<quality::State>,
        sources: Arc<Sources>,
    ) -> Self {
        let enumeration = Enumeration::new(&quality.config, clock::monotonic()).map(Arc::new);
        let block = BlockPolicy::new(quality).map(Arc::new);
        let (trusted, answers) = (Arc::new(trusted), Arc::new(answers));
        Self { catalog, capture, trusted, answers, metrics, enumeration, block, sources }
    }

    /// Answers the request if it is for a branded domain, or if it is malformed. Returns whether it did; when not,
    /// the request is untouched. The click is captured before the answer is written.
    ///
    /// # Errors
    /// Only when the answer cannot be written because the client is gone.
    pub async fn handle(&self, session: &mut Session) -> pingora::Result<bool> {
        let started = clock::monotonic();
        // The catalog's guard must not live across an await: everything needed is copied or shared out of it here.
        let (answer, close, outcome) = {
            let mut request = Request::read(session.req_header());
            let tls = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
            request.flags.set(Flags::TLS, tls);
            let catalog = self.catalog.load();
            match decide(&catalog, &request) {
                Decision::Pass => {
                    self.metrics.request(Outcome::Passed);
                    return Ok(false);
                }
                Decision::Redirect { link, location } => {
                    let facts = self.facts(session, &request, &link, &location, started);
                    if let Some(reason) = self.blocked_for(&facts) {
                        self.metrics.blocked(reason);
                        (self.answers.blocked(reason), false, Outcome::Blocked)
                    } else {
                        self.click(&request, &facts);
                        (self.answers.redirect(link.status(), location), false, Outcome::Redirect)
                    }
                }
                Decision::NotFound => {
                    if let Some(enumeration) = &self.enumeration {
                        enumeration.note(
                            &self.trusted.client(peer(session), session.req_header()),
                            request.path,
                            started,
                        );
                    }
                    (self.answers.not_found(), false, Outcome::NotFound)
                }
                Decision::Gone => (self.answers.gone(), false, Outcome::Gone),
                Decision::MethodNotAllowed => (self.answers.method_not_allowed(), false, Outcome::MethodNotAllowed),
                Decision::BadRequest => (self.answers.bad_request(), true, Outcome::BadRequest),
            }
        };
        self.answers.write(session, answer?, close).await?;
        self.metrics.answered(outcome, started.elapsed());
        Ok(true)
    }

    /// Limits how long the connection of a request that goes elsewhere may idle afterwards, as for those that are
    /// answered here.
    pub fn limit_idle(&self, session: &mut Session) {
        self.answers.limit_idle(session);
    }

    /// Answers a request that nobody else takes: 404.
    ///
    /// # Errors
    /// Only when the answer cannot be written because the client is gone.
    pub async fn refuse(&self, session: &mut Session) -> pingora::Result<()> {
        self.answers.write(session, self.answers.not_found()?, false).await
    }

    /// Captures the click. A click is a `GET`; `HEAD` is kept as a bot's. Other methods (to 307 and 308 links) are
    /// redirected, but are no clicks.
    fn click(&self, request: &Request<'_>, facts: &Facts<'_>) {
        if !readable(request.method) {
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
    fn blocked_for(&self, facts: &Facts<'_>) -> Option<Reason> {
        let policy = self.block.as_ref()?;
        let mut listed = Listed::default();
        if policy.names(Reason::DataCenterNetwork) || policy.names(Reason::AnonymizerNetwork) {
            let network = self.sources.network(facts.client.ip());
            listed.hosting_network = network == Some(Network::Hosting);
            listed.anonymizer_network = network == Some(Network::Anonymizer);
        }
        listed.spam_referrer = policy.names(Reason::SpamReferrer) && self.sources.is_spam(facts.texts.referer);
        policy.check(facts, listed)
    }

    fn facts<'a>(
        &self,
        session: &Session,
        request: &Request<'a>,
        link: &Link<'a>,
        location: &'a Bytes,
        now: Instant,
    ) -> Facts<'a> {
        let peer = peer(session);
        let client = self.trusted.client(peer, session.req_header());
        let (mut flags, mut protocol) = (request.flags, request.protocol);
        if self.trusted.is_proxy(peer) {
            flags.set(Flags::PROXIED, true);
            flags.clear(Flags::TLS);
            protocol = Protocol::Unknown;
        }
        flags.set(
            Flags::ENUMERATION,
            self.enumeration.as_ref().is_some_and(|table| table.is_enumerating(&client, now)),
        );
        facts(clock::unix_micros(), client, (protocol, flags), request, link, location)
    }
}

fn peer(session: &Session) -> Option<IpAddr> {
    session.client_addr().and_then(|address| address.as_inet()).map(std::net::SocketAddr::ip)
}

fn facts<'a>(
    micros: u64,
    client: ClientAddr,
    (protocol, flags): (Protocol, Flags),
    request: &Request<'a>,
    link: &Link<'a>,
    location: &'a Bytes,
) -> Facts<'a> {
    Facts {
        id: EventId::at(micros),
        micros,
        client,
        status: link.status(),
        protocol,
        flags,
        texts: Texts {
            user_agent: request.user_agent,
            referer: request.referer,
            accept_language: request.accept_language,
            hint_brands: request.hints.brands,
            hint_platform: request.hints.platform,
            hint_platform_version: request.hints.platform_version,
            hint_form_factors: request.hints.form_factors,
            requested_with: request.requested_with,
            query: request.query,
            path: request.path,
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
            ..Texts::default()
        },
    }
}
