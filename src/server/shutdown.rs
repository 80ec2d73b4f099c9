//! Readiness and shutdown: waits until the listeners are open, reports it, and ends when a signal, an operator or a
//! failed thread asks for a stop.
//!
//! | stop | listeners | open connections | spool |
//! |---|---|---|---|
//! | [`Stop::Now`] | close; those of systemd stay open | are answered for `shutdown.grace_secs` | waits for the next start |
//! | [`Stop::Drain`] | the same | the same | is delivered for `shutdown.drain_secs` |
//! | [`Stop::HandedOver`] | are the successor's | are answered for `shutdown.upgrade_grace_secs` | is the successor's |
//!
//! A keep-alive connection is not closed while a request may be on its way: it is answered once more, with
//! `Connection: close`.

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::sync::watch;

use super::Running;
use crate::{
    admin::Readiness,
    config,
    listener::front::Connections,
    runtime::{PanicWatch, systemd},
    telemetry::logs,
};

/// How long the listeners may take to open.
pub const OPENING: Duration = Duration::from_secs(10);

/// Time between two checks of whether a thread has failed.
const HEALTH: Duration = Duration::from_millis(500);

/// Time between two checks of whether all connections are closed.
const CONNECTIONS: Duration = Duration::from_millis(10);

/// How long a connection that has been answered may stay idle after a stop has begun.
const IDLE: Duration = Duration::from_millis(250);

/// How the process ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stop {
    /// At once.
    Now,
    /// For good: what waits is delivered first.
    Drain,
    /// Another process has taken over.
    HandedOver,
}

/// Asks for a stop, and waits for one.
pub type StopRequest = watch::Sender<Option<Stop>>;

/// Signals Pingora when to stop, and reports to operators when clicks are answered and when no more are accepted.
pub struct Shutdown {
    pub running: Arc<Running>,
    pub connections: Arc<dyn Connections>,
    pub config: config::Shutdown,
    pub readiness: Readiness,
    pub panics: PanicWatch,
    /// All addresses that must accept connections before the edge is ready. Empty for a successor, which reports it
    /// itself.
    pub addresses: Vec<SocketAddr>,
    /// Whether the sockets stay open without this process.
    pub sockets_stay: bool,
    /// Set when the listeners do not open in time.
    pub never_opened: Arc<AtomicBool>,
}

#[async_trait]
impl ShutdownSignalWatch for Shutdown {
    async fn recv(&self) -> ShutdownSignal {
        let stop = tokio::select! {
            stop = self.run() => stop,
            stop = self.requested() => stop,
        };
        match stop {
            Stop::HandedOver => {
                tracing::info!("handed over; answering what was accepted");
                self.finish(None, self.config.upgrade_grace_secs).await;
            }
            Stop::Now | Stop::Drain => self.stop().await,
        }
        self.connections.report();
        logs::report_suppressed();
        ShutdownSignal::GracefulTerminate
    }
}

impl Shutdown {
    /// Returns when a thread has failed, or the listeners do not open.
    async fn run(&self) -> Stop {
        if !self.addresses.is_empty() {
            if !self.opened().await {
                tracing::error!("listeners did not open; stopping");
                self.never_opened.store(true, Ordering::Release);
                return Stop::Now;
            }
            self.readiness.set_ready();
            systemd::ready();
        }
        for address in &self.addresses {
            tracing::info!(%address, "listening");
        }
        while !self.panics.has_panicked() {
            tokio::time::sleep(HEALTH).await;
        }
        tracing::error!(
            "internal error: a thread has failed; stopping so that another process takes over; please report this bug"
        );
        Stop::Now
    }

    async fn stop(&self) {
        self.readiness.set_draining();
        systemd::stopping();
        tracing::info!("stopping");
        if self.config.lame_duck_secs > 0 {
            tokio::time::sleep(Duration::from_secs(self.config.lame_duck_secs)).await;
        }
        // What waits in the backlog of a socket that stays is answered by the next process.
        if self.sockets_stay {
            self.running.listeners.pause().wait().await;
        } else {
            self.running.listeners.close().wait().await;
        }
        self.finish(Some(IDLE), self.config.grace_secs).await;
    }

    /// Answers what was accepted.
    async fn finish(&self, idle: Option<Duration>, grace_secs: u64) {
        let until = Instant::now() + Duration::from_secs(grace_secs);
        self.connections.begin_stop(idle.unwrap_or(Duration::from_secs(grace_secs)));
        let stopped_again = async {
            if idle.is_none() {
                self.stopped_again().await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        let closed = async {
            while self.connections.open() > 0 && Instant::now() < until {
                tokio::time::sleep(CONNECTIONS).await;
            }
        };
        tokio::select! {
            () = closed => {}
            () = stopped_again => {}
        }
        let open = self.connections.open();
        if open > 0 {
            tracing::info!(open, "connections closed that were not answered in time");
        }
    }

    async fn requested(&self) -> Stop {
        self.wait_for(Option::is_some).await.unwrap_or(Stop::Now)
    }

    /// A signal after the hand-over ends the wait for connections.
    async fn stopped_again(&self) {
        self.wait_for(|stop| *stop != Some(Stop::HandedOver)).await;
    }

    fn wait_for(&self, wanted: impl FnMut(&Option<Stop>) -> bool) -> impl Future<Output = Option<Stop>> {
        let mut requests = self.running.stop.subscribe();
        async move { requests.wait_for(wanted).await.ok().and_then(|stop| *stop) }
    }

    /// Whether every address accepts connections; returns as soon as all do.
    async fn opened(&self) -> bool {
        let all = async {
            for address in &self.addresses {
                while tokio::net::TcpStream::connect(reachable(*address)).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        };
        tokio::time::timeout(OPENING, all).await.is_ok()
    }
}

/// An address that a client on this machine can connect to.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}
