//! The edge's own proxy: the redirect stage, and an upstream for everything else.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use ipnet::IpNet;
use pingora::{
    Error, ErrorSource, ErrorType, apps::HttpServerOptions, http::RequestHeader, modules::http::HttpModules,
    prelude::HttpPeer,
};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};

use crate::{
    click::ClientAddr,
    config::{self, Config},
    listener::front::{
        Admission, Named,
        metrics::{FrontMetrics, Limited},
    },
    redirect::Redirector,
    runtime::clock,
};

/// What Pingora does with connections.
pub fn server_options() -> HttpServerOptions {
    let mut options = HttpServerOptions::default();
    // It is answered here, so that it is counted: see `EdgeProxy::excess`.
    options.allow_connect_method_proxying = true;
    options
}

/// The proxy around the redirect stage: requests for other than branded domains go to the upstream.
pub struct EdgeProxy {
    redirector: Redirector,
    /// Requests that the upstream answers now.
    busy: Arc<AtomicUsize>,
    admission: Arc<Admission>,
    metrics: Arc<FrontMetrics>,
    /// Read at each step of a request.
    settings: Arc<ArcSwap<Settings>>,
}

/// What a change of the configuration replaces.
pub struct Settings {
    upstream: Option<config::Upstream>,
    /// Load balancers in front of this edge, which name the client truly.
    trusted: Vec<IpNet>,
    /// Requests that the upstream may answer at a time.
    requests: usize,
    limits: config::Limits,
    /// Headers in which clients are named, in lower case.
    naming: Vec<String>,
}

/// Headers in which proxies name the client, here or elsewhere.
const NAMING: [&str; 11] = [
    "cf-connecting-ip",
    "fastly-client-ip",
    "forwarded",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
];

/// Bytes of an HTTP/1 field besides name and value: a colon, a space and the end of the line.
const FIELD: usize = 4;

/// How long a client may take to accept a part of an answer.
const SENDING: Duration = Duration::from_secs(10);

/// A request on its way to the upstream.
pub struct Busy(Arc<AtomicUsize>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Settings {
    /// `requests` to the upstream at a time.
    pub fn new(config: &Config, requests: usize) -> Self {
        let configured = config.client_address.header.to_ascii_lowercase();
        Self {
            requests,
            limits: config.limits.clone(),
            naming: NAMING.map(str::to_owned).into_iter().chain([configured]).collect(),
            upstream: config.upstream.clone(),
            trusted: config.client_address.trusted_proxies.clone(),
        }
    }

    fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&peer))
    }

    /// Whether a request belongs on another connection. Those of HTTP/1 were asked the same before.
    fn is_misdirected(&self, session: &Session) -> bool {
        let named = session.digest().and_then(|digest| Named::of(digest.proxy_digest.as_ref()?));
        let head = session.req_header();
        let authority = head.uri.authority().map(|authority| authority.as_str().as_bytes());
        let host = || head.headers.get(http::header::HOST).map(http::HeaderValue::as_bytes);
        let (Some(named), Some(authority)) = (named, authority.or_else(host)) else { return false };
        !peer(session).is_some_and(|peer| self.trusts(peer)) && named.is_misdirected(authority)
    }
}

impl EdgeProxy {
    /// `requests` to the upstream at a time.
    pub fn new(
        redirector: Redirector,
        config: &Config,
        requests: usize,
        admission: Arc<Admission>,
        metrics: Arc<FrontMetrics>,
    ) -> Self {
        let settings = Arc::new(ArcSwap::from_pointee(Settings::new(config, requests)));
        Self { redirector, busy: Arc::default(), admission, metrics, settings }
    }

    /// What a change of the configuration replaces.
    pub fn settings(&self) -> Arc<ArcSwap<Settings>> {
        Arc::clone(&self.settings)
    }

    /// The status for an HTTP/2 request that is beyond a limit, on the wrong connection, or asks for a tunnel, and the
    /// limit. HTTP/1 requests have met the same limits before.
    fn excess(&self, session: &Session) -> Option<(Option<Limited>, u16)> {
        if !session.as_downstream().is_http2() {
            return None;
        }
        let settings = self.settings.load();
        let (head, limits) = (session.req_header(), &settings.limits);
        let allows = |peer: IpAddr| {
            let places = self.admission.places(&ClientAddr::from_ip(peer));
            settings.trusts(peer) || self.admission.allows_request(places, clock::monotonic())
        };
        let bytes =
            || head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD).sum::<usize>();
        if peer(session).is_some_and(|peer| !allows(peer)) {
            Some((Some(Limited::Rate), 429))
        } else if head.method == http::Method::CONNECT {
            Some((None, 405))
        } else if head.raw_path().len() > limits.target_bytes {
            Some((Some(Limited::Target), 414))
        } else if head.headers.len() > limits.header_fields || head.raw_path().len() + bytes() > limits.header_bytes {
            Some((Some(Limited::Header), 431))
        } else if settings.is_misdirected(session) {
            Some((None, 421))
        } else {
            None
        }
    }

    /// A place among the requests to the upstream.
    fn enter(&self) -> Option<Busy> {
        let busy = Busy(Arc::clone(&self.busy));
        (busy.0.fetch_add(1, Relaxed) < self.settings.load().requests).then_some(busy)
    }
}

#[async_trait]
impl ProxyHttp for EdgeProxy {
    /// Held as long as the upstream is busy with the request.
    type CTX = Option<Busy>;

    fn new_ctx(&self) -> Self::CTX {
        None
    }

    /// No modules: the default ones compress, which answers without a body do not need.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    /// Bounds what the front cannot see: the requests of an HTTP/2 connection.
    async fn early_request_filter(&self, session: &mut Session, _: &mut Self::CTX) -> pingora::Result<()> {
        session.as_downstream_mut().set_write_timeout(Some(SENDING));
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, busy: &mut Self::CTX) -> pingora::Result<bool> {
        if let Some((limit, status)) = self.excess(session) {
            if let Some(limit) = limit {
                self.metrics.limited(limit);
            }
            self.redirector.reject_with(session, status).await?;
            return Ok(true);
        }
        if self.redirector.handle(session).await? {
            return Ok(true);
        }
        if self.settings.load().upstream.is_none() {
            self.redirector.reject(session).await?;
            return Ok(true);
        }
        *busy = self.enter();
        if busy.is_none() {
            self.metrics.limited(Limited::Upstream);
            session.respond_error(503).await?;
            return Ok(true);
        }
        self.redirector.limit_idle(session);
        // A client may have closed its side and wait for the answer.
        session.as_downstream_mut().set_abort_on_close(false);
        Ok(false)
    }

    async fn upstream_peer(&self, session: &mut Session, _: &mut Self::CTX) -> pingora::Result<Box<HttpPeer>> {
        let settings = self.settings.load_full();
        let Some(upstream) = &settings.upstream else {
            return Error::e_explain(ErrorType::InternalError, "no upstream is configured");
        };
        let host = || {
            let host = session.req_header().headers.get(http::header::HOST)?.to_str().ok()?;
            Some(host.rsplit_once(':').map_or(host, |(name, _)| name).to_owned())
        };
        let name = upstream.server_name.clone().or_else(host).unwrap_or_default();
        let mut peer = HttpPeer::new(upstream.address, upstream.tls, name);
        peer.options.connection_timeout = Some(Duration::from_secs(upstream.connect_secs));
        peer.options.total_connection_timeout = Some(Duration::from_secs(upstream.connect_secs));
        // Another protocol, such as WebSocket, may be silent for as long as it likes.
        if !session.as_downstream().is_upgrade_req() {
            peer.options.read_timeout = Some(Duration::from_secs(upstream.response_secs));
            peer.options.write_timeout = Some(Duration::from_secs(upstream.response_secs));
        }
        peer.options.idle_timeout = Some(Duration::from_secs(upstream.idle_secs));
        Ok(Box::new(peer))
    }

    /// Says who the client is. What an untrusted client says about it goes no further.
    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        _: &mut Self::CTX,
    ) -> pingora::Result<()> {
        let (settings, peer) = (self.settings.load_full(), peer(session));
        let is_trusted = peer.is_some_and(|peer| settings.trusts(peer));
        let before = |name: &str| -> Vec<String> {
            let values = session.req_header().headers.get_all(name).iter();
            values.filter(|_| is_trusted).filter_map(|value| value.to_str().ok().map(str::to_owned)).collect()
        };
        let scheme =
            if session.digest().is_some_and(|digest| digest.ssl_digest.is_some()) { "https" } else { "http" };
        let (mut named, mut forwarded) = (before("x-forwarded-for"), before("forwarded"));
        if let Some(peer) = peer {
            named.push(peer.to_string());
            let quoted = if peer.is_ipv6() { format!("\"[{peer}]\"") } else { peer.to_string() };
            forwarded.push(format!("for={quoted};proto={scheme}"));
        }
        let scheme = before("x-forwarded-proto").pop().unwrap_or_else(|| scheme.to_owned());
        // Servers behind may read `X_Real_IP` as `X-Real-IP`.
        let is_naming = |name: &&http::HeaderName| {
            let name = name.as_str().replace('_', "-");
            !is_trusted && settings.naming.contains(&name)
        };
        let naming: Vec<_> = request.headers.keys().filter(is_naming).cloned().collect();
        for name in naming {
            request.remove_header(&name);
        }
        request.insert_header("X-Forwarded-For", named.join(", "))?;
        request.insert_header("X-Forwarded-Proto", scheme)?;
        request.insert_header("Forwarded", forwarded.join(", "))?;
        Ok(())
    }

    /// A client that hangs up or resets its stream is no trouble of ours. Pingora names no source for an answer of ours
    /// that cannot be written.
    fn suppress_error_log(&self, _: &Session, _: &Self::CTX, error: &Error) -> bool {
        match error.esource() {
            ErrorSource::Downstream => true,
            ErrorSource::Upstream => false,
            ErrorSource::Internal | ErrorSource::Unset => *error.etype() == ErrorType::WriteError,
        }
    }

    /// Answers for an upstream that does not. That a client is not there to read it is no line in the log.
    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, _: &mut Self::CTX) -> FailToProxy {
        let error_code = match (error.etype(), error.esource()) {
            (ErrorType::HTTPStatus(code), _) => *code,
            (_, ErrorSource::Upstream) => 502,
            (ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed, ErrorSource::Downstream) => {
                0
            }
            (_, ErrorSource::Downstream) => 400,
            _ => 500,
        };
        if error_code > 0 {
            _ = session.respond_error(error_code).await;
        }
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    /// Errors name the method only, because path and query come from the visitor.
    fn request_summary(&self, session: &Session, _: &Self::CTX) -> String {
        session.req_header().method.to_string()
    }
}

fn peer(session: &Session) -> Option<IpAddr> {
    session.client_addr().and_then(|address| address.as_inet()).map(|peer| peer.ip().to_canonical())
}
