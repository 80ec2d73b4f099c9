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

pub mod feeds;
pub mod links;
pub mod reload;
pub mod stats;

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use async_trait::async_trait;
use http::{Method, Response, header};
use pingora::{apps::http_app::ServeHttp, protocols::http::ServerSession};
use prometheus::IntGauge;

use crate::{
    config::{self, admin::Degraded},
    pipeline::{Gauges, Pipeline, Reloader},
    telemetry::metrics::Registry,
};
use feeds::{Feeds, retried_feed};
use links::{ApiMetrics, LinksApi};
use stats::{ROOT, Stats};

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
    gauges: Gauges,
    readiness: Readiness,
    not_ready_when: Vec<Degraded>,
    stats: Stats,
    feeds: Feeds,
    reloader: Reloader,
    links: LinksApi,
}

/// Status, content type and body.
type Reply = (u16, &'static str, String);

const JSON: &str = "application/json";

const TEXT: &str = "text/plain; charset=utf-8";

impl Admin {
    pub fn new(pipeline: &Pipeline, readiness: Readiness, config: &config::Admin) -> Self {
        let stats = Stats::new(pipeline.counts(), pipeline.catalog(), pipeline.unknown_slashtags());
        let (feeds, not_ready_when) = (Feeds::new(pipeline.retries()), config.not_ready_when.clone());
        let metrics = ApiMetrics::new(&pipeline.registry());
        let links = LinksApi::new(pipeline.catalog(), pipeline.changes(), pipeline.tokens(), metrics);
        let (gauges, reloader) = (pipeline.gauges(), pipeline.reloader());
        Self { gauges, readiness, not_ready_when, stats, feeds, reloader, links }
    }

    fn readiness(&self) -> Reply {
        match self.readiness.phase() {
            Phase::Starting => return (503, TEXT, "starting\n".into()),
            Phase::Draining => return (503, TEXT, "draining\n".into()),
            Phase::Ready => {}
        }
        let degraded = self.gauges.degraded();
        if degraded.is_empty() {
            return (200, TEXT, "ready\n".into());
        }
        let status = if degraded.iter().any(|state| self.not_ready_when.contains(state)) { 503 } else { 200 };
        let names = degraded.into_iter().map(Degraded::name).collect::<Vec<_>>().join(", ");
        (status, TEXT, format!("degraded: {names}\n"))
    }

    async fn answer(&self, method: &Method, path: &str, query: &str, has_origin: bool) -> Reply {
        if is_order(path) {
            return match *method {
                Method::POST if has_origin => (403, TEXT, "requests of web pages are blocked\n".into()),
                Method::POST => match retried_feed(path) {
                    Some(feed) => self.feeds.retry(feed),
                    None => reload::reload(self.reloader.clone()).await,
                },
                _ => (405, TEXT, "POST only\n".into()),
            };
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            return (405, TEXT, "GET and HEAD only\n".into());
        }
        match path {
            "/livez" => (200, TEXT, "alive\n".into()),
            "/readyz" => self.readiness(),
            "/metrics" => (200, prometheus::TEXT_FORMAT, self.gauges.text()),
            path if path.starts_with(ROOT) => match self.stats.answer(path, query).await {
                Ok(json) => (200, JSON, json),
                Err(error) => (error.status(), TEXT, format!("{error}\n")),
            },
            _ => (
                404,
                TEXT,
                format!(
                    "routes: /livez /readyz /metrics {ROOT} /v1/feeds/{{feed}}/retry {} /v1/links /v1/domains\n",
                    reload::ROUTE
                ),
            ),
        }
    }
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        if links::is_of_api(session.req_header().uri.path()) {
            return self.links.respond(session).await;
        }
        let request = session.req_header();
        let (status, kind, body) = {
            let (path, query) = (request.uri.path(), request.uri.query().unwrap_or_default());
            let has_origin = request.headers.contains_key(header::ORIGIN);
            self.answer(&request.method, path, query, has_origin).await
        };
        let head = request.method == Method::HEAD;
        let mut response = Response::builder()
            .status(status)
            .header(header::CONTENT_TYPE, kind)
            .header(header::CONTENT_LENGTH, body.len());
        if status == 405 {
            let allowed = if is_order(request.uri.path()) { "POST" } else { "GET, HEAD" };
            response = response.header(header::ALLOW, allowed);
        }
        response.body(if head { Vec::new() } else { body.into_bytes() }).unwrap_or_default()
    }
}

/// Whether a route changes something.
fn is_order(path: &str) -> bool {
    path == reload::ROUTE || retried_feed(path).is_some()
}
