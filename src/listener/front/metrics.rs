//! Metrics of the front: connections, and how they end. None is labelled with an address.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus::{IntCounter, IntGauge};

use super::admission::Refused;
use crate::{listener::request::Malformed, telemetry::metrics::Registry};

/// How a connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// By the client, or after an answer that was the last one.
    Closed,
    /// Nothing was asked for too long.
    Idle,
    /// The head of a request took too long.
    HeaderTimeout,
    /// The client did not accept its answer.
    SendTimeout,
    HandshakeTimeout,
    HandshakeFailed,
    /// A trusted peer sent no PROXY header, or a malformed one.
    ProxyHeader,
    /// The client broke the rules of HTTP/2.
    Http2,
    /// Not accepted: as many connections as there may be.
    TooMany,
    /// Not accepted: as many of this address as there may be.
    TooManyOfAddress,
}

impl From<Refused> for Ended {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Total => Self::TooMany,
            Refused::Address => Self::TooManyOfAddress,
        }
    }
}

impl Ended {
    const ALL: [Self; 10] = [
        Self::Closed,
        Self::Idle,
        Self::HeaderTimeout,
        Self::SendTimeout,
        Self::HandshakeTimeout,
        Self::HandshakeFailed,
        Self::ProxyHeader,
        Self::Http2,
        Self::TooMany,
        Self::TooManyOfAddress,
    ];

    /// Which failed handshakes are a client's change of mind: it hung up, as probes and browsers that race several
    /// addresses do.
    pub fn of_handshake(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData => Self::HandshakeFailed,
            _ => Self::Closed,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Idle => "idle",
            Self::HeaderTimeout => "header_timeout",
            Self::SendTimeout => "send_timeout",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::HandshakeFailed => "handshake_failed",
            Self::ProxyHeader => "proxy_header",
            Self::Http2 => "http2",
            Self::TooMany => "too_many",
            Self::TooManyOfAddress => "too_many_of_address",
        }
    }

    /// What a log line says; `None` for what happens all day.
    fn message(self) -> Option<&'static str> {
        Some(match self {
            Self::Closed | Self::Idle => return None,
            Self::HeaderTimeout => "connections closed: a request header took too long",
            Self::SendTimeout => "connections closed: the client did not read its answer",
            Self::HandshakeTimeout => "connections closed: a handshake took too long",
            Self::HandshakeFailed => "TLS handshakes failed",
            Self::ProxyHeader => "connections closed: a trusted peer sent no valid PROXY header",
            Self::Http2 => "connections closed: the client broke the rules of HTTP/2",
            Self::TooMany => "connections rejected: `limits.connections` is reached",
            Self::TooManyOfAddress => "connections rejected: `limits.connections_per_address` is reached",
        })
    }
}

/// A limit that a request met.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Limited {
    /// 429: too many of this address.
    Rate,
    /// 414: the target is too long.
    Target,
    /// 431: the header is too long.
    Header,
    /// 503: the upstream is busy with as many as it may have.
    Upstream,
}

impl Limited {
    const ALL: [Self; 4] = [Self::Rate, Self::Target, Self::Header, Self::Upstream];

    /// `None` for what no limit forbids.
    pub fn of(malformed: Malformed) -> Option<Self> {
        match malformed {
            Malformed::Target => Some(Self::Target),
            Malformed::Fields => Some(Self::Header),
            Malformed::Syntax | Malformed::Coding | Malformed::Version => None,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Target => "target",
            Self::Header => "header",
            Self::Upstream => "upstream",
        }
    }

    /// What a log line says.
    fn message(self) -> &'static str {
        match self {
            Self::Rate => "requests answered with 429: `limits.requests_per_second` is reached",
            Self::Target => "requests answered with 414: the target is longer than `limits.target_bytes`",
            Self::Header => {
                "requests answered with 431: the header is larger than `limits.header_bytes` or `limits.header_fields`"
            }
            Self::Upstream => "requests answered with 503: `upstream.requests` is reached",
        }
    }
}

/// What came of a TLS handshake.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Handshake {
    Full,
    /// With a ticket: without a signature.
    Resumed,
    /// The client and this edge have nothing in common, or the client broke the protocol.
    Failed,
    TimedOut,
    /// The client hung up.
    Closed,
}

impl Handshake {
    const ALL: [Self; 5] = [Self::Full, Self::Resumed, Self::Failed, Self::TimedOut, Self::Closed];

    fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Resumed => "resumed",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Closed => "closed",
        }
    }
}

/// An open connection: counted as ended when dropped, by a panic as well.
pub struct Open {
    metrics: Arc<FrontMetrics>,
    pub ended: Ended,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.ended[self.ended as usize].inc();
        self.metrics.open.dec();
    }
}

/// Counts connections, and requests beyond a limit.
pub struct FrontMetrics {
    accepted: IntCounter,
    ended: [IntCounter; Ended::ALL.len()],
    limited: [IntCounter; Limited::ALL.len()],
    accept_failed: IntCounter,
    open: IntGauge,
    limit: IntGauge,
    handshakes: [IntCounter; Handshake::ALL.len()],
    reported: Mutex<Reported>,
}

impl FrontMetrics {
    pub fn new(registry: &Registry) -> Arc<Self> {
        let ended = registry.counters("connections_ended_total", "Connections that ended, by reason.", &["reason"]);
        let limited = registry.counters("requests_limited_total", "Requests beyond a limit, by limit.", &["limit"]);
        let handshakes = registry.counters("tls_handshakes_total", "TLS handshakes by result.", &["result"]);
        Arc::new(Self {
            accepted: registry.counter("connections_accepted_total", "Connections accepted."),
            ended: Ended::ALL.map(|reason| ended.with_label_values(&[reason.label()])),
            limited: Limited::ALL.map(|limit| limited.with_label_values(&[limit.label()])),
            accept_failed: registry.counter(
                "accept_failures_total",
                "Connections that could not be accepted, mostly because there were no more file descriptors.",
            ),
            open: registry.gauge("connections_open", "Connections that are open."),
            limit: registry.gauge(
                "connections_limit",
                "Connections that may be open: limits.connections, or fewer if there are too few file descriptors.",
            ),
            handshakes: Handshake::ALL.map(|result| handshakes.with_label_values(&[result.label()])),
            reported: Mutex::default(),
        })
    }

    /// Counts an accepted connection, as open until the result is dropped.
    pub fn accepted(self: &Arc<Self>) -> Open {
        self.accepted.inc();
        self.open.inc();
        Open { metrics: Arc::clone(self), ended: Ended::Closed }
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        usize::try_from(self.open.get()).unwrap_or_default()
    }

    /// So many connections may be open from now on.
    pub fn set_limit(&self, connections: usize) {
        self.limit.set(i64::try_from(connections).unwrap_or(i64::MAX));
    }

    pub fn accept_failed(&self) {
        self.accept_failed.inc();
    }

    /// Counts a request beyond a limit.
    pub fn limited(&self, limit: Limited) {
        self.limited[limit as usize].inc();
    }

    /// Counts a handshake that succeeded.
    pub fn handshake(&self, connection: &rustls::ServerConnection) {
        self.count(match connection.handshake_kind() {
            Some(rustls::HandshakeKind::Resumed) => Handshake::Resumed,
            _ => Handshake::Full,
        });
    }

    /// Counts a handshake with which a connection ended, and returns why.
    pub fn handshake_ended(&self, ended: Ended) -> Ended {
        self.count(match ended {
            Ended::HandshakeTimeout => Handshake::TimedOut,
            Ended::HandshakeFailed => Handshake::Failed,
            _ => Handshake::Closed,
        });
        ended
    }

    fn count(&self, result: Handshake) {
        self.handshakes[result as usize].inc();
    }

    /// Logs what went wrong since the last report, one line a kind.
    pub fn report(&self) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let since = |counter: &IntCounter, reported: &mut u64| {
            let total = counter.get();
            total - std::mem::replace(reported, total)
        };
        for (reason, reported) in Ended::ALL.into_iter().zip(&mut reported.ended) {
            let connections = since(&self.ended[reason as usize], reported);
            if connections > 0
                && let Some(message) = reason.message()
            {
                tracing::warn!(connections, "{message}");
            }
        }
        for (limit, reported) in Limited::ALL.into_iter().zip(&mut reported.limited) {
            let requests = since(&self.limited[limit as usize], reported);
            if requests > 0 {
                tracing::warn!(requests, "{}", limit.message());
            }
        }
        let failures = since(&self.accept_failed, &mut reported.accept_failed);
        if failures > 0 {
            tracing::error!(failures, "connections cannot be accepted: no more file descriptors, or no memory");
        }
    }
}

/// What was logged already.
#[derive(Default)]
struct Reported {
    ended: [u64; Ended::ALL.len()],
    limited: [u64; Limited::ALL.len()],
    accept_failed: u64,
}
