//! The admin listener, for operators and their monitoring. [`access`] says who may ask for what.
//!
//! | route | answer |
//! |---|---|
//! | `GET /`, `GET /v1/status` | how the edge is, as a page and as JSON, see [`status`] |
//! | `GET /livez` | 200 while the process answers at all |
//! | `GET /readyz` | 200 while the edge accepts clicks, with `degraded` and reasons while clicks may be lost if that lasts; 503 with `starting` before, and what the edge waits for, with `draining` once it stops, and for the reasons of `admin.not_ready_when` |
//! | `GET /metrics` | all metrics in the Prometheus text format |
//! | `GET /v1/stats/links/{domain}/{slashtag}` | counts of a link, see [`stats`] |
//! | `GET /v1/stats/domains/{domain}` | counts of a domain |
//! | `GET /v1/stats/workspaces/{workspace}` | counts of a workspace |
//! | `GET /v1/stats/unknown`, `GET /v1/stats/unknown/{domain}` | unknown slashtags that were requested |
//! | `/v1/links...`, `/v1/domains/...` | links and domains are read and changed by programs with a token, see [`links`] |
//! | `GET /v1/tap` | events as they are made, see [`tap`] |
//! | `POST /v1/feeds/{feed}/retry` | retries a feed now, see [`feeds`] |
//! | `POST /v1/reload` | takes up the configuration and all files again, see [`reload`] |
//!
//! Every `GET` route also answers `HEAD`. Other methods get 405, other paths 404 with a list of the routes.
//!
//! The table of routes is `ROUTES`; [`router`] says what a line of it means.

pub mod access;
pub mod connection;
pub mod feeds;
pub mod links;
pub mod problem;
pub mod reload;
pub mod router;
mod send;
pub mod stats;
pub mod status;
pub mod tap;

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use http::{Method, Version, request};
use pingora::{
    ErrorType::InvalidHTTPHeader,
    protocols::{Stream, http::ServerSession},
    server::ShutdownWatch,
};
use prometheus::IntGauge;

use crate::{
    catalog::tokens::Grant,
    config::{self, admin::Degraded},
    pipeline::{Gauges, Pipeline, Reloader},
    telemetry::{logs::AUDIT, metrics::Registry},
};
use access::{Access, Via, admit};
use feeds::Feeds;
use links::{ApiMetrics, LinksApi};
use problem::{Kind, Problem};
use router::{Call, Needs, Reply, Route};
use stats::Stats;
use status::Status;
use tap::Taps;

/// Every route. The first one that has the path answers.
const ROUTES: &[Route] = &[
    Route::get("/", Needs::Read, |admin, call| {
        Box::pin(async move { Ok(admin.status.page_reply(call.query()).await) })
    }),
    Route::get("/status.css", Needs::Nothing, |_, _| {
        Box::pin(async { Ok(status::asset("text/css", status::STYLE)) })
    }),
    Route::get("/status.js", Needs::Nothing, |_, _| {
        Box::pin(async { Ok(status::asset("text/javascript", status::SCRIPT)) })
    }),
    Route::get("/v1/status", Needs::Read, |admin, _| {
        Box::pin(async { Ok(Reply::new(200, JSON, admin.status.json().await)) })
    }),
    Route::get("/livez", Needs::Nothing, |_, _| Box::pin(async { Ok(Reply::new(200, TEXT, "alive\n")) })),
    Route::get("/readyz", Needs::Nothing, |admin, _| Box::pin(async { Ok(admin.readiness()) })),
    Route::get("/metrics", Needs::Read, |admin, _| {
        Box::pin(async { Ok(Reply::new(200, prometheus::TEXT_FORMAT, admin.gauges.text())) })
    }),
    Route::get("/v1/tap", Needs::Read, |admin, call| Box::pin(async move { admin.taps.watch(call.query()) })),
    Route::get("/v1/stats/*", Needs::Read, |admin, call| {
        Box::pin(async move { Ok(admin.stats.reply(call.path(), call.query()).await) })
    }),
    Route::post("/v1/feeds/{feed}/retry", Needs::Order, |admin, call| {
        Box::pin(async move { Ok(admin.feeds.retry(&call)) })
    }),
    Route::post("/v1/reload", Needs::Order, |admin, _| {
        Box::pin(async { Ok(reload::reload(admin.reloader.clone()).await) })
    }),
    Route::any("/v1/links*", Needs::Grant, links::answer),
    Route::any("/v1/domains/*", Needs::Grant, links::answer),
    Route::any("/v1/openapi.json", Needs::Nothing, links::answer),
];

/// Whether the edge accepts clicks. Cheap to clone.
#[derive(Clone)]
pub struct Readiness {
    phase: Arc<AtomicU8>,
    ready: IntGauge,
}

/// What [`Readiness`] says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Starting,
    Ready,
    /// It stops, or another process takes over.
    Draining,
}

impl Readiness {
    /// Not ready yet.
    pub fn new(registry: &Registry) -> Self {
        let help = "1 while the edge accepts clicks; 0 while it starts, stops or leaves them to another process.";
        Self { phase: Arc::default(), ready: registry.gauge("ready", help) }
    }

    /// Clicks are accepted.
    pub fn set_ready(&self) {
        self.set(Phase::Ready);
    }

    /// The process ends: no more clicks should come.
    pub fn set_draining(&self) {
        self.set(Phase::Draining);
    }

    fn set(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
        self.ready.set((phase == Phase::Ready).into());
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            phase if phase == Phase::Ready as u8 => Phase::Ready,
            phase if phase == Phase::Draining as u8 => Phase::Draining,
            _ => Phase::Starting,
        }
    }
}

/// The admin application.
pub struct Admin {
    access: Access,
    gauges: Gauges,
    readiness: Readiness,
    not_ready_when: Vec<Degraded>,
    stats: Stats,
    status: Status,
    taps: Taps,
    feeds: Feeds,
    reloader: Reloader,
    links: LinksApi,
}

const JSON: &str = "application/json";

const TEXT: &str = "text/plain; charset=utf-8";

impl Admin {
    pub fn new(pipeline: &Pipeline, readiness: Readiness, config: &config::Admin) -> Self {
        let stats = Stats::new(pipeline.counts(), pipeline.catalog(), pipeline.unknown_slashtags());
        let (feeds, not_ready_when) = (Feeds::new(pipeline.retries()), config.not_ready_when.clone());
        let metrics = ApiMetrics::new(&pipeline.registry());
        let links = LinksApi::new(pipeline.catalog(), pipeline.changes(), metrics);
        let access = Access::new(&config.hosts, pipeline.tokens());
        let status = Status::new(pipeline, readiness.clone(), &not_ready_when);
        let taps = Taps::new(pipeline.tap(), pipeline.live_feeds());
        let (gauges, reloader) = (pipeline.gauges(), pipeline.reloader());
        Self { access, gauges, readiness, not_ready_when, stats, status, taps, feeds, reloader, links }
    }

    fn readiness(&self) -> Reply {
        match self.readiness.phase() {
            Phase::Starting => {
                let reason = self.gauges.awaits_catalog().map_or_else(String::new, |reason| format!(": {reason}"));
                return Reply::new(503, TEXT, format!("starting{reason}\n"));
            }
            Phase::Draining => return Reply::new(503, TEXT, "draining\n"),
            Phase::Ready => {}
        }
        let degraded = self.gauges.degraded();
        if degraded.is_empty() {
            return Reply::new(200, TEXT, "ready\n");
        }
        let status = if degraded.iter().any(|state| self.not_ready_when.contains(state)) { 503 } else { 200 };
        let names = degraded.into_iter().map(Degraded::name).collect::<Vec<_>>().join(", ");
        Reply::new(status, TEXT, format!("degraded: {names}\n"))
    }

    /// Answers the next request of a connection, which is returned if it can take another one.
    pub async fn respond(&self, mut session: ServerSession, via: Via, shutdown: &ShutdownWatch) -> Option<Stream> {
        let is_head = match session.read_request().await {
            Ok(true) => session.req_header().method == Method::HEAD,
            Ok(false) => return None,
            Err(error) => {
                // Its text may have parts of the request.
                if *error.etype() == InvalidHTTPHeader {
                    let detail = "the head of the request is malformed, or its parts contradict each other";
                    let answer = Problem::new(Kind::BadRequest, detail).response().into();
                    session.set_keepalive(None);
                    _ = send::send(&mut session, answer, false, shutdown, &|| true).await;
                }
                return None;
            }
        };
        let is_kept = session.req_header().version == Version::HTTP_11 && !*shutdown.borrow();
        session.set_keepalive(is_kept.then_some(connection::IDLE.as_secs()));
        let head = session.req_header().as_owned_parts();
        let reply = self.answer(&mut session, &head, via).await;
        links::discard(&mut session).await;
        // A token that was removed ends what it has begun.
        let may_go_on = || self.route(&head, via).is_ok();
        // A client that hangs up does not get its answer, and that is all.
        send::send(&mut session, reply, is_head, shutdown, &may_go_on).await.ok()?;
        Some(session.finish().await.ok()??.into_parts().0)
    }

    async fn answer(&self, session: &mut ServerSession, head: &request::Parts, via: Via) -> Reply {
        let answer = match self.admitted(head, via) {
            Ok((route, param, grant)) => {
                let call = Call { param: param.to_owned(), head: head.clone(), grant, session };
                (route.handler)(self, call).await
            }
            Err(problem) => Err(problem),
        };
        answer.unwrap_or_else(|problem| problem.response().into())
    }

    /// The route of a request that may use it, the part of its path that varies, and who asks. Orders are recorded.
    fn admitted<'p>(&self, head: &'p request::Parts, via: Via) -> Result<Admitted<'p>, Problem> {
        let (route, param, grant) = self.route(head, via)?;
        if route.needs == Needs::Order {
            if self.readiness.phase() == Phase::Starting {
                return Err(Problem::new(Kind::Unavailable, "the edge is starting; ask again when it is ready"));
            }
            let who = grant.as_ref().map_or("anyone", |grant| &*grant.name);
            tracing::info!(target: AUDIT, who, op = head.uri.path(), "order to the edge");
        }
        Ok((route, param, grant))
    }

    /// The route of a request that may use it, the part of its path that varies, and who asks.
    fn route<'p>(&self, head: &'p request::Parts, via: Via) -> Result<Admitted<'p>, Problem> {
        self.access.check(head, via)?;
        let (route, param) = router::route(ROUTES, head.method.as_str(), head.uri.path())?;
        let grant = self.access.grant(&head.headers, via);
        admit(route.needs, &grant)?;
        Ok((route, param, grant))
    }
}

type Admitted<'p> = (&'static Route, &'p str, Result<Arc<Grant>, Problem>);
