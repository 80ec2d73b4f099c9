//! The table of routes: which methods and which path lead to which handler, and the right that a client needs.
//!
//! A route is one line of `ROUTES` in [`super`]: `Route::get("/v1/status", Needs::Read, |admin, call| ...)`. Its
//! handler gets the [`Call`] and makes a [`Reply`], a whole one or a stream. What no handler has to know happens around
//! it: rejecting malformed and foreign requests, rights, 404 and 405, `HEAD`, and the headers that all answers have.

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header, request};
use pingora::protocols::http::ServerSession;
use tokio::sync::mpsc;

use super::{
    Admin,
    problem::{Kind, Problem},
};
use crate::catalog::tokens::Grant;

/// A route.
pub struct Route {
    /// As in `Allow`. Empty if the handler checks the method itself.
    methods: &'static str,
    /// `/v1/reload`, or with a part of the path that is not empty, `/v1/feeds/{feed}/retry`, or a beginning,
    /// `/v1/stats/*`.
    path: &'static str,
    pub needs: Needs,
    pub handler: Handler,
}

/// What a client needs for a route.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// A token for all workspaces. None while the edge has no tokens.
    Read,
    /// A token that orders the edge, `admin`. None while the edge has no tokens.
    Order,
    /// What the handler makes of [`Call::grant`].
    Grant,
}

/// Answers the calls of a route.
pub type Handler = for<'c> fn(&'c Admin, Call<'c>) -> Answering<'c>;

/// An answer on its way.
pub type Answering<'c> = Pin<Box<dyn Future<Output = Result<Reply, Problem>> + Send + 'c>>;

/// A request on its way to a handler.
pub struct Call<'c> {
    pub head: request::Parts,
    /// The `{...}` or `*` of the route's path, as it was sent: percent-encoded.
    pub param: String,
    /// Who asks, or why that client may not use what tokens protect.
    pub grant: Result<Arc<Grant>, Problem>,
    /// For the body, if the route takes one.
    pub session: &'c mut ServerSession,
}

impl Call<'_> {
    pub fn path(&self) -> &str {
        self.head.uri.path()
    }

    /// Empty without one.
    pub fn query(&self) -> &str {
        self.head.uri.query().unwrap_or_default()
    }
}

/// An answer.
pub struct Reply {
    pub head: Response<()>,
    pub body: Body,
}

/// The body of an answer.
pub enum Body {
    Whole(Vec<u8>),
    /// Each message is sent as it comes. The answer ends when the sender is dropped; the receiver is dropped when the
    /// client hangs up, accepts nothing for too long, or the process stops.
    Stream(mpsc::Receiver<Bytes>),
}

impl Reply {
    /// `kind` is the content type.
    pub fn new(status: u16, kind: &'static str, body: impl Into<Vec<u8>>) -> Self {
        let mut reply = Self { head: Response::new(()), body: Body::Whole(body.into()) };
        *reply.head.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        reply.with_header(header::CONTENT_TYPE, kind)
    }

    /// `kind` is the content type.
    pub fn stream(kind: &'static str, body: mpsc::Receiver<Bytes>) -> Self {
        Self { head: Response::new(()), body: Body::Stream(body) }.with_header(header::CONTENT_TYPE, kind)
    }

    /// With this header instead of the one that all answers have.
    pub fn with_header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.head.headers_mut().insert(name, HeaderValue::from_static(value));
        self
    }
}

impl From<Response<Vec<u8>>> for Reply {
    fn from(response: Response<Vec<u8>>) -> Self {
        let (head, body) = response.into_parts();
        Self { head: Response::from_parts(head, ()), body: Body::Whole(body) }
    }
}

impl Route {
    /// Answers `GET` and `HEAD`; the body that it makes is not sent to the latter.
    pub const fn get(path: &'static str, needs: Needs, handler: Handler) -> Self {
        Self { methods: "GET, HEAD", path, needs, handler }
    }

    pub const fn post(path: &'static str, needs: Needs, handler: Handler) -> Self {
        Self { methods: "POST", path, needs, handler }
    }

    /// Whose handler checks the method itself.
    pub const fn any(path: &'static str, needs: Needs, handler: Handler) -> Self {
        Self { methods: "", path, needs, handler }
    }

    /// The part of the path that varies; `None` if the path does not belong to the route.
    fn param<'p>(&self, path: &'p str) -> Option<&'p str> {
        if let Some(start) = self.path.strip_suffix('*') {
            return path.strip_prefix(start);
        }
        let Some((start, rest)) = self.path.split_once('{') else { return (self.path == path).then_some("") };
        let end = rest.split_once('}').map_or("", |(_, end)| end);
        let param = path.strip_prefix(start)?.strip_suffix(end)?;
        (!param.is_empty() && !param.contains('/')).then_some(param)
    }
}

/// The route of a request, and the part of its path that varies.
///
/// # Errors
/// When the path belongs to no route, or the route does not have the method.
pub fn route<'r, 'p>(routes: &'r [Route], method: &str, path: &'p str) -> Result<(&'r Route, &'p str), Problem> {
    let found = routes.iter().find_map(|route| Some((route, route.param(path)?)));
    let (route, param) = found.ok_or_else(|| {
        let paths: Vec<_> = routes.iter().map(|route| route.path).collect();
        Problem::new(Kind::NotFound, format!("routes: {}", paths.join(" ")))
    })?;
    if !route.methods.is_empty() && !route.methods.split(", ").any(|allowed| allowed == method) {
        let problem =
            Problem::new(Kind::MethodNotAllowed, format!("the methods of this route are {}", route.methods));
        return Err(problem.with_header(route.methods));
    }
    Ok((route, param))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none<'c>(_: &'c Admin, _: Call<'c>) -> Answering<'c> {
        Box::pin(async { Ok(Reply::new(200, "text/plain", "")) })
    }

    const ROUTES: &[Route] = &[
        Route::get("/", Needs::Read, none),
        Route::post("/v1/feeds/{feed}/retry", Needs::Order, none),
        Route::get("/v1/stats/*", Needs::Read, none),
        Route::any("/v1/links*", Needs::Grant, none),
    ];

    #[test]
    fn a_path_leads_to_one_route_and_its_varying_part() {
        let found = |method: &str, path: &str| {
            route(ROUTES, method, path).map(|(route, param)| (route.path, param.to_owned())).map_err(|p| p.kind)
        };
        let at = |path: &'static str, param: &str| Ok((path, param.to_owned()));
        assert_eq!(found("HEAD", "/"), at("/", ""));
        assert_eq!(found("POST", "/v1/feeds/a%20b/retry"), at("/v1/feeds/{feed}/retry", "a%20b"));
        assert_eq!(found("GET", "/v1/stats/links/a/b"), at("/v1/stats/*", "links/a/b"));
        assert_eq!(found("PATCH", "/v1/links:batch"), at("/v1/links*", ":batch"));
        assert_eq!(found("get", "/"), Err(Kind::MethodNotAllowed));
        assert_eq!(found("GET", "/v1/feeds/a/retry"), Err(Kind::MethodNotAllowed));
        for path in ["", "//", "/v1/feeds//retry", "/v1/feeds/retry", "/v1/feeds/a/b/retry", "/v1/feeds/a/retry/"] {
            assert_eq!(found("POST", path), Err(Kind::NotFound), "{path}");
        }
    }

    #[test]
    fn the_answer_to_a_wrong_method_names_the_right_ones() {
        let problem = route(ROUTES, "PUT", "/v1/stats/x").map(drop).unwrap_err();
        assert_eq!(problem.response().headers()[header::ALLOW], "GET, HEAD");
    }
}
