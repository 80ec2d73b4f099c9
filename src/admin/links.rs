//! The API that reads and changes links and domains, on the admin listener, for programs with a token.
//!
//! | route | answer |
//! |---|---|
//! | `GET /v1/links/{domain}/{slashtag}` | a link in the form of the catalog file, with its entity tag |
//! | `PUT /v1/links/{domain}/{slashtag}` | makes the link what the body says: 201 if there was none, else 200 |
//! | `DELETE /v1/links/{domain}/{slashtag}` | deletes the link: 204 |
//! | `GET`, `PUT`, `DELETE /v1/domains/{domain}` | the same for what the catalog says of a domain |
//! | `POST /v1/links:batch` | many changes, one a line, see [`batch`] |
//! | `GET /v1/links?domain=&after=&limit=` | the links of a domain, page by page |
//! | `GET /v1/openapi.json` | the description of the API (`OpenAPI` 3.1), without a token |
//!
//! Every `GET` route also answers `HEAD`. A change is durable, and seen by the next request, before it is answered. Its
//! `If-Match` and `If-None-Match: *` are kept; `Clickedge-Revision` is the number of the change. Errors are problem
//! details ([`problem`]).
//!
//! A token ([`crate::catalog::tokens`]) has workspaces: what belongs to another one is unknown to it, and it cannot put
//! anything there. Each change is logged with the name of its token (`apply`), and neither token nor destination.

mod address;
mod apply;
pub mod batch;
mod bodies;
mod body;
mod condition;
mod entity;
mod list;
mod metrics;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, request};
use pingora::protocols::http::ServerSession;
use tokio::sync::Semaphore;

use address::{Address, Route};
use apply::Applier;
use batch::Batch;
use bodies::Bodies;
use body::{Body, MAX_BATCH, MAX_ITEM, SessionBody};
use entity::Planned;
pub use metrics::ApiMetrics;

use super::{
    Admin,
    problem::{self, Kind, Problem},
    router::{Answering, Call},
};
use crate::{
    catalog::{
        CatalogStore,
        change::{Accepted, BadCursor, Changes, Page, Shown},
        tokens::{Grant, Right},
    },
    link::key::Host,
};

/// The description of the API.
pub const OPENAPI: &str = include_str!("../../conf/openapi.json");

/// Most batches that are made at a time.
const BATCHES: usize = 4;

/// The number of a change.
const REVISION: HeaderName = HeaderName::from_static("clickedge-revision");

const JSON: HeaderValue = HeaderValue::from_static(super::JSON);

const NDJSON: &str = "application/x-ndjson";

/// What the API reads of the catalog.
pub trait View: Send + Sync {
    /// A link, by domain and slashtag.
    fn show_link(&self, domain: &str, slashtag: &str) -> Option<Shown>;

    /// A domain, by its host or an alias.
    fn show_domain(&self, domain: &str) -> Option<Shown>;

    /// Id of the workspace of the domain that a host leads to, by a wildcard, too. Empty if it has none.
    fn owner(&self, host: &str) -> Option<String>;

    /// A page of the links of a domain, by its host or an alias, and the cursor of the next one.
    ///
    /// # Errors
    /// When the cursor is of an earlier catalog, or none.
    fn list(&self, domain: &str, page: Page<'_>) -> Result<(Vec<Shown>, Option<String>), BadCursor>;
}

impl dyn View + '_ {
    /// The link or domain of an address.
    fn show(&self, address: &Address) -> Option<Shown> {
        match &address.slashtag {
            Some(slashtag) => self.show_link(&address.host, slashtag),
            None => self.show_domain(&address.host),
        }
    }
}

/// The API.
pub struct LinksApi {
    view: Arc<dyn View>,
    changes: Arc<dyn Changes>,
    metrics: ApiMetrics,
    bodies: Bodies,
    batches: Semaphore,
}

impl View for CatalogStore {
    fn show_link(&self, domain: &str, slashtag: &str) -> Option<Shown> {
        self.show_link(domain, slashtag)
    }

    fn show_domain(&self, domain: &str) -> Option<Shown> {
        self.show_domain(domain)
    }

    fn owner(&self, host: &str) -> Option<String> {
        let domain = self.domain_of(&Host::parse(host.as_bytes()).ok()?)?;
        self.show_domain(&domain).map(|shown| shown.workspace)
    }

    fn list(&self, domain: &str, page: Page<'_>) -> Result<(Vec<Shown>, Option<String>), BadCursor> {
        self.list(domain, page)
    }
}

/// A request without its body.
struct Request {
    head: request::Parts,
    grant: Result<Arc<Grant>, Problem>,
}

type Answer = Result<Response<Vec<u8>>, Problem>;

/// Answers a request of one of the routes.
pub(super) fn answer<'c>(admin: &'c Admin, call: Call<'c>) -> Answering<'c> {
    Box::pin(async move {
        let Call { head, grant, session, .. } = call;
        let request = Request { head, grant };
        Ok(admin.links.answer(&request, &mut SessionBody(session)).await.into())
    })
}

/// Drops what was not read of a request's body.
pub(super) async fn discard(session: &mut ServerSession) {
    SessionBody(session).discard().await;
}

impl LinksApi {
    pub fn new(view: Arc<dyn View>, changes: Arc<dyn Changes>, metrics: ApiMetrics) -> Self {
        let (bodies, batches) = (Bodies::default(), Semaphore::new(BATCHES));
        Self { view, changes, metrics, bodies, batches }
    }

    async fn answer(&self, request: &Request, body: &mut dyn Body) -> Response<Vec<u8>> {
        let route = Route::of(request.path());
        let answer = match route {
            Some(route) => self.route(route, request, body).await,
            None => Err(unknown_route()),
        };
        let mut response = answer.unwrap_or_else(|problem| problem.response());
        self.metrics.answered(route.map(Route::name), response.status());
        let length = response.body().len();
        if !matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        }
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if request.head.method == Method::HEAD {
            response.body_mut().clear();
        }
        response
    }

    async fn route(&self, route: Route<'_>, request: &Request, body: &mut dyn Body) -> Answer {
        let method = &request.head.method;
        if !route.allows(method) {
            let allowed = route.methods();
            let problem = Problem::new(Kind::MethodNotAllowed, format!("the methods of this route are {allowed}"));
            return Err(problem.with_header(allowed));
        }
        if route == Route::OpenApi {
            return Ok(json(StatusCode::OK, OPENAPI.into()));
        }
        let grant = Self::admit(request)?;
        match (route, method) {
            (Route::List, _) => {
                list::page(&*self.view, &grant.scope, request.query()).map(|page| json(StatusCode::OK, page))
            }
            (Route::Batch, _) => self.batch(grant, request, body).await,
            (Route::Link(domain, path), _) => self.item(grant, Address::link(domain, path)?, request, body).await,
            (Route::Domain(domain), _) => self.item(grant, Address::domain(domain)?, request, body).await,
            (Route::OpenApi, _) => Err(unknown_route()),
        }
    }

    /// What the token of a request may do.
    fn admit(request: &Request) -> Result<&Grant, Problem> {
        let grant = request.grant.as_deref().map_err(Clone::clone)?;
        if grant.right < Right::Write && !matches!(request.head.method, Method::GET | Method::HEAD) {
            let detail = format!("token {:?} only reads: its line ends in `read`; use another token", grant.name);
            return Err(Problem::new(Kind::ReadOnly, detail));
        }
        Ok(grant)
    }

    /// Reads or changes a link or a domain.
    async fn item(&self, grant: &Grant, address: Address, request: &Request, body: &mut dyn Body) -> Answer {
        let headers = &request.head.headers;
        let planned = match request.head.method {
            Method::PUT => {
                let condition = condition::of_headers(headers)?;
                body::require_type(headers, super::JSON)?;
                let body = body.read(MAX_ITEM).await?;
                Planned::put(&address, &body, condition, |one, other| self.is_same(one, other))?
            }
            Method::DELETE => Planned::delete(address, condition::of_headers(headers)?),
            _ => return self.show(grant, &address, headers),
        };
        let results = self.applier(grant).apply(std::slice::from_ref(&planned)).await?;
        let accepted = results.into_iter().next().ok_or_else(|| Problem::new(Kind::Unavailable, "try again"))??;
        Ok(changed(&accepted))
    }

    fn show(&self, grant: &Grant, address: &Address, headers: &HeaderMap) -> Answer {
        let shown = self.view.show(address).filter(|shown| grant.scope.has(&shown.workspace));
        let shown = shown.ok_or_else(|| {
            let noun = address.noun();
            Problem::new(
                Kind::NotFound,
                format!("there is no {noun} {address}, or none that the token has access to"),
            )
        })?;
        let mut response = if condition::has_current(headers, &shown.etag) {
            empty(StatusCode::NOT_MODIFIED)
        } else {
            json(StatusCode::OK, shown.json + "\n")
        };
        insert(&mut response, header::ETAG, &shown.etag);
        Ok(response)
    }

    async fn batch(&self, grant: &Grant, request: &Request, body: &mut dyn Body) -> Answer {
        body::require_type(&request.head.headers, NDJSON)?;
        let _room = self.bodies.admit(&grant.name)?;
        let body = body.read(MAX_BATCH).await?;
        // Only now: one that comes slowly keeps no other from being made.
        let _permit = self.batches.acquire().await.map_err(|_| Problem::new(Kind::Unavailable, "the edge stops"))?;
        // Other requests do not wait for the parser.
        let batch = tokio::task::spawn_blocking(move || Batch::read(&body)).await;
        let batch =
            batch.map_err(|_| Problem::new(Kind::Unavailable, "internal error; please report this bug"))??;
        let applied = self.applier(grant).apply(&batch.planned).await?;
        let mut response = Response::new(batch.answer(applied));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON));
        Ok(response)
    }

    fn applier<'a>(&'a self, grant: &'a Grant) -> Applier<'a> {
        Applier { view: &*self.view, changes: &*self.changes, metrics: &self.metrics, grant }
    }

    /// Whether two addresses are one in the catalog: by an alias of the domain, or as it ignores case.
    fn is_same(&self, one: &Address, other: &Address) -> bool {
        let shown = self.view.show(one);
        shown.is_some() && shown == self.view.show(other)
    }
}

impl Request {
    fn path(&self) -> &str {
        self.head.uri.path()
    }

    fn query(&self) -> &str {
        self.head.uri.query().unwrap_or_default()
    }
}

/// The status of a change that was accepted.
fn status_of(accepted: &Accepted) -> StatusCode {
    match accepted {
        Accepted { etag: None, .. } => StatusCode::NO_CONTENT,
        Accepted { created: true, .. } => StatusCode::CREATED,
        Accepted { .. } => StatusCode::OK,
    }
}

fn changed(accepted: &Accepted) -> Response<Vec<u8>> {
    let Accepted { revision, etag, .. } = accepted;
    let status = status_of(accepted);
    let mut response = if let Some(etag) = etag {
        let body = serde_json::json!({ "revision": revision, "etag": etag });
        let mut response = json(status, format!("{body}\n"));
        insert(&mut response, header::ETAG, etag);
        response
    } else {
        empty(status)
    };
    response.headers_mut().insert(REVISION, (*revision).into());
    response
}

fn empty(status: StatusCode) -> Response<Vec<u8>> {
    let mut response = Response::new(Vec::new());
    *response.status_mut() = status;
    response
}

fn json(status: StatusCode, body: String) -> Response<Vec<u8>> {
    let mut response = Response::new(body.into_bytes());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

fn insert(response: &mut Response<Vec<u8>>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn unknown_route() -> Problem {
    let detail = "routes: /v1/links/{domain}/{slashtag} /v1/links /v1/links:batch /v1/domains/{domain} \
                  /v1/openapi.json; the link of a domain itself is /v1/links/{domain}/";
    Problem::new(Kind::NotFound, detail)
}
