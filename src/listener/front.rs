//! The front: every connection on the open internet, from accept to close.
//!
//! ```text
//! accept ─► limits ─► PROXY header ─► TLS ─► head of a request ─┬─► lane: answered in the same poll
//!             ▲                                  ▲              └─► proxy (Pingora) ─┐
//!             └── one thread, its own sockets    └──────────── next request ◄────────┘
//! ```
//! One Pingora service a thread, each with sockets of its own (`SO_REUSEPORT`), so that a connection stays on the
//! thread that accepted it. The head of each HTTP/1 request is read here, with limits and a deadline, and checked once
//! ([`request`](super::request)). What is plain goes to the [`Lane`], which answers without waiting for anything;
//! everything else, and all of HTTP/2, goes to Pingora's proxy with the bytes that were read.

mod accept;
pub mod admission;
mod buffer;
mod challenge;
mod connection;
mod http2;
mod listeners;
pub mod metrics;
mod named;
mod proxy_header;
mod socket;
mod stream;
mod timer;
mod tls_stream;
mod transport;

use std::{
    net::IpAddr,
    ops::Deref,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use pingora::protocols::http::v2::server::H2Options;
use tokio::sync::{Notify, watch};

pub use accept::FrontThread;
pub use admission::{Admission, Quota};
use admission::{Admitted, Places};
pub use listeners::{Listeners, PreparedListeners, Settled, bind};
use metrics::{Ended, FrontMetrics};
pub use named::Named;
pub use socket::{BACKLOG, Inherited};

use super::request::{HeadLimits, Malformed, Request};
use crate::{click::ClientAddr, config, tls::acme::challenge::Challenges};

/// Who asks.
#[derive(Clone, Copy)]
pub struct Peer {
    pub ip: IpAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

/// What the lane made of a request.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// Whether the connection stays open.
    pub keep_alive: bool,
}

/// Answers plain requests: from bytes to bytes, without waiting.
pub trait Lane: Send + Sync + 'static {
    /// Appends the answer to a `GET` or `HEAD` without a body; `None` when the request is for the proxy.
    fn answer(
        &self,
        request: &Request<'_, '_>,
        peer: &Peer,
        keep_alive: bool,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Option<Answered>;

    /// Appends a redirect to the same target over HTTPS. Returns whether the request names a host.
    fn to_https(&self, request: &Request<'_, '_>, keep_alive: bool, out: &mut Vec<u8>) -> bool;

    /// Appends the answer to a certificate authority that checks a name.
    fn challenge(&self, key_authorization: &str, is_head: bool, keep_alive: bool, out: &mut Vec<u8>);

    /// Appends the answer to `OPTIONS *`.
    fn options(&self, keep_alive: bool, out: &mut Vec<u8>);

    /// Appends the answer to a request that is malformed, or beyond a limit.
    fn malformed(&self, why: Malformed, is_head: bool, out: &mut Vec<u8>);

    /// Counts a request of HTTP/2 that was rejected before anything could be asked.
    fn rejected(&self);

    /// Appends the answer to `CONNECT`.
    fn connect(&self, out: &mut Vec<u8>);

    /// Appends the answer to a request for a host whose certificate is not that of the connection.
    fn misdirected(&self, is_head: bool, keep_alive: bool, out: &mut Vec<u8>);

    /// Appends the answer to a client that makes too many requests.
    fn too_many(&self, is_head: bool, out: &mut Vec<u8>);

    /// Logs what went wrong since the last report.
    fn report(&self);
}

/// Limits of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub head: HeadLimits,
    /// For PROXY header and TLS handshake.
    pub handshake: Duration,
    /// From the first byte of a head to its last.
    pub header: Duration,
    /// Between two requests; zero closes the connection after each answer.
    pub idle: Duration,
    /// 0 for any number.
    pub requests_per_connection: u32,
}

/// What addresses may use, as configured, with so many connections in total.
pub fn quota(limits: &config::Limits, connections: usize) -> Quota {
    // With half of them, no address keeps all others out.
    let half = u32::try_from(connections / 2).unwrap_or(u32::MAX).max(1);
    Quota {
        connections,
        per_address: limits.connections_per_address.min(half),
        requests: limits.requests_per_second,
        burst: limits.request_burst,
    }
}

/// The open connections, for a stop.
pub trait Connections: Send + Sync {
    /// Closes connections after their next answer. Those that are idle may be so for this long.
    fn begin_stop(&self, idle: Duration);

    /// Connections that are open.
    fn open(&self) -> usize;

    /// Logs what went wrong since the last report.
    fn report(&self);
}

/// The front as it is configured now. A connection keeps the one that it begins with.
pub struct LiveFront<L, P> {
    current: ArcSwap<Front<L, P>>,
}

/// What all connections of one configuration share.
pub struct Front<L, P> {
    shared: Arc<Shared<L, P>>,
    limits: Limits,
    h2: H2Options,
    /// Load balancers in front of this edge: not limited by address, and believed when they send a PROXY header.
    trusted: Vec<IpNet>,
    /// Whether plain requests are answered by the lane.
    fast_lane: bool,
}

/// What all connections share.
pub struct Shared<L, P> {
    pub(super) lane: L,
    pub(super) proxy: Arc<P>,
    admission: Arc<Admission>,
    challenges: Arc<Challenges>,
    metrics: Arc<FrontMetrics>,
    stopping: AtomicBool,
    /// Until when idle connections stay open, once a stop has begun.
    idle_until: OnceLock<tokio::time::Instant>,
    stop: Notify,
    /// True once a stop has begun, for Pingora's part of a connection.
    shutdown: watch::Sender<bool>,
}

impl<L: Lane, P> LiveFront<L, P> {
    /// `admission` is shared with what else answers requests.
    pub fn new(
        config: &config::Config,
        lane: L,
        proxy: P,
        admission: Arc<Admission>,
        challenges: Arc<Challenges>,
        metrics: Arc<FrontMetrics>,
    ) -> Self {
        let shared = Shared {
            lane,
            proxy: Arc::new(proxy),
            admission,
            challenges,
            metrics,
            stopping: AtomicBool::new(false),
            idle_until: OnceLock::new(),
            stop: Notify::new(),
            shutdown: watch::Sender::new(false),
        };
        Self { current: ArcSwap::from_pointee(Front::new(config, Arc::new(shared))) }
    }

    /// Takes the limits of another configuration, for connections from now on.
    pub fn apply(&self, config: &config::Config) {
        let shared = Arc::clone(&self.current.load().shared);
        self.current.store(Arc::new(Front::new(config, shared)));
    }
}

impl<L, P> Front<L, P> {
    fn new(config: &config::Config, shared: Arc<Shared<L, P>>) -> Self {
        let limits = &config.limits;
        Self {
            shared,
            limits: Limits {
                head: HeadLimits {
                    target: limits.target_bytes,
                    bytes: limits.header_bytes,
                    fields: limits.header_fields,
                },
                handshake: Duration::from_secs(limits.handshake_secs),
                header: Duration::from_secs(limits.header_secs),
                idle: Duration::from_secs(config.redirect.keepalive_secs),
                requests_per_connection: limits.requests_per_connection,
            },
            h2: http2::options(limits),
            trusted: config.client_address.trusted_proxies.clone(),
            fast_lane: config.edge.fast_lane,
        }
    }

    fn admit(&self, peer: IpAddr) -> Result<Admitted, Ended> {
        let places = (!self.is_trusted(peer)).then(|| self.places(peer));
        self.admission.admit(places).map_err(Ended::from)
    }

    fn places(&self, address: IpAddr) -> Places {
        self.admission.places(&ClientAddr::from_ip(address))
    }

    fn is_trusted(&self, peer: IpAddr) -> bool {
        !self.trusted.is_empty() && self.trusted.iter().any(|network| network.contains(&peer.to_canonical()))
    }
}

impl<L, P> Shared<L, P> {
    fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    fn idle_until(&self) -> Option<tokio::time::Instant> {
        self.is_stopping().then(|| self.idle_until.get().copied()).flatten()
    }
}

impl<L: Lane, P: Send + Sync> Connections for LiveFront<L, P> {
    fn begin_stop(&self, idle: Duration) {
        let front = self.current.load();
        _ = front.idle_until.set(tokio::time::Instant::now() + idle);
        front.stopping.store(true, Relaxed);
        front.stop.notify_waiters();
        front.shutdown.send_replace(true);
    }

    fn open(&self) -> usize {
        self.current.load().metrics.open()
    }

    fn report(&self) {
        let front = self.current.load();
        front.metrics.report();
        front.lane.report();
    }
}

impl<L, P> Deref for Front<L, P> {
    type Target = Shared<L, P>;

    fn deref(&self) -> &Self::Target {
        &self.shared
    }
}
