//! The admin listener, for operators and their monitoring. Only links and domains are protected by tokens: keep it off
//! the open internet.
//!
//! | route | answer |
//! |---|---|
//! | `GET /livez` | 200 while the process answers at all |
//! | `GET /readyz` | 200 while the edge accepts clicks, with `degraded` and reasons while clicks may be lost if that lasts; 503 with `starting` before, with `draining` once it stops, and for the reasons of `admin.not_ready_when` |
//! | `GET /metrics` | all metrics in the Prometheus text format |
//! | `GET /v1/stats/links/{domain}/{slashtag}` | counts of a link, see [`stats`] |
//! | `GET /v1/stats/domains/{domain}` | counts of a domain |
//! | `GET /v1/stats/workspaces/{workspace}` | counts of a workspace |
//! | `GET /v1/stats/unknown`, `GET /v1/stats/unknown/{domain}` | unknown slashtags that were requested |
//! | `/v1/links...`, `/v1/domains/...` | links and domains are read and changed by programs with a token, see [`links`] |
//! | `POST /v1/feeds/{feed}/retry` | retries a feed now, see [`feeds`] |
//! | `POST /v1/reload` | takes up the configuration and all files again, see [`reload`] |
//!
//! Every `GET` route also answers `HEAD`. Other methods get 405, other paths 404 with a list of the routes.
//!
//! The table of routes is `ROUTES`; [`router`] says what a line of it means.

mod access;
pub mod feeds;
pub mod links;
pub mod problem;
pub mod reload;
pub mod router;
mod send;
pub mod stats;

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use async_trait::async_trait;
use http::{Method, header};
use pingora::{
    apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream},
    protocols::http::ServerSession,
    server::ShutdownWatch,
};

use crate::{
    config::{self, admin::Degraded},
    pipeline::{Gauges, Pipeline, Reloader},
};
use access::Access;
use feeds::Feeds;
use links::{ApiMetrics, LinksApi};
use problem::{Kind, Problem};
use router::{Call, Needs, Reply, Route};
use stats::Stats;

/// Every route. The first one that has the path answers.
const ROUTES: &[Route] = &[
    Route::get("/livez", Needs::Nothing, |_, _| Box::pin(async { Ok(Reply::new(200, TEXT, "alive\n")) })),
    Route::get("/readyz", Needs::Nothing, |admin, _| Box::pin(async { Ok(admin.readiness()) })),
    Route::get("/metrics", Needs::Read, |admin, _| {
        Box::pin(async { Ok(Reply::new(200, prometheus::TEXT_FORMAT, admin.gauges.text())) })
    }),
    Route::get("/v1/stats/*", Needs::Read, |admin, call| {
        Box::pin(async move { Ok(admin.stats.reply(call.path(), call.query()).await) })
    }),
    Route::post("/v1/feeds/{feed}/retry", Needs::Order, |admin, call| {
        Box::pin(async move { Ok(admin.feeds.retry(&call.param)) })
    }),
    Route::post("/v1/reload", Needs::Order, |admin, _| {
        Box::pin(async { Ok(reload::reload(admin.reloader.clone()).await) })
    }),
    Route::any("/v1/links*", Needs::Grant, links::answer),
    Route::any("/v1/domains/*", Needs::Grant, links::answer),
    Route::any("/v1/openapi.json", Needs::Nothing, links::answer),
];

/// For how many seconds a connection may stay idle between two requests.
const KEEPALIVE: u64 = 60;

/// Whether the edge accepts clicks. Cheap to clone.
#[derive(Clone, Default)]
pub struct Readiness(Arc<AtomicU8>);

/// What [`Readiness`] says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Starting,
    Ready,
    /// It stops, or another process takes over.
    Draining,
}

impl Readiness {
    /// Clicks are accepted.
    pub fn set_ready(&self) {
        self.set(Phase::Ready);
    }

    /// The process ends: no more clicks should come.
    pub fn set_draining(&self) {
        self.set(Phase::Draining);
    }

    fn set(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Release);
    }

    fn phase(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
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
        let access = Access::new(pipeline.tokens());
        let (gauges, reloader) = (pipeline.gauges(), pipeline.reloader());
        Self { access, gauges, readiness, not_ready_when, stats, feeds, reloader, links }
    }

    fn readiness(&self) -> Reply {
        match self.readiness.phase() {
            Phase::Starting => return Reply::new(503, TEXT, "starting\n"),
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

    /// Answers a request whose head is read.
    async fn answer(&self, session: &mut ServerSession) -> Reply {
        let head = session.req_header().as_owned_parts();
        let answer = match router::route(ROUTES, head.method.as_str(), head.uri.path()) {
            Ok((route, param)) => {
                let (param, grant) = (param.to_owned(), self.access.grant(&head.headers));
                if matches!(route.needs, Needs::Order | Needs::Grant) && head.headers.contains_key(header::ORIGIN) {
                    Err(Problem::new(Kind::WebPage, "send the request from a program, without `Origin`"))
                } else {
                    (route.handler)(self, Call { head, param, grant, session }).await
                }
            }
            Err(problem) => Err(problem),
        };
        answer.unwrap_or_else(|problem| problem.response().into())
    }
}

#[async_trait]
impl HttpServerApp for Admin {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if !session.read_request().await.ok()? {
            return None;
        }
        session.set_keepalive((!*shutdown.borrow()).then_some(KEEPALIVE));
        let is_head = session.req_header().method == Method::HEAD;
        let reply = self.answer(&mut session).await;
        links::discard(&mut session).await;
        // A client that hangs up does not get its answer, and that is all.
        send::send(&mut session, reply, is_head, shutdown).await.ok()?;
        let settings = HttpPersistentSettings::for_session(&session);
        let stream = session.finish().await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(stream, settings))
    }
}
