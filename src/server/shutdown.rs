//! Readiness and shutdown: waits until the listeners are open, reports it, and ends when a signal or a failed thread
//! asks for a stop.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::sync::Notify;

use crate::{
    admin::Readiness,
    runtime::{PanicWatch, systemd},
};

/// How long the listeners may take to open.
pub const OPENING: Duration = Duration::from_secs(10);

/// Time between two checks of whether a thread has failed.
const HEALTH: Duration = Duration::from_millis(500);

/// Signals Pingora when to stop, and reports to operators when clicks are answered and when no more are accepted.
pub struct Shutdown {
    /// Notified when a signal asks for a stop.
    pub wanted: Arc<Notify>,
    pub readiness: Readiness,
    pub panics: PanicWatch,
    /// All addresses that must accept connections before the edge is ready.
    pub addresses: Vec<SocketAddr>,
    /// Set when they do not in time.
    pub never_opened: Arc<AtomicBool>,
}

#[async_trait]
impl ShutdownSignalWatch for Shutdown {
    async fn recv(&self) -> ShutdownSignal {
        tokio::select! {
            opened = self.opened() => {
                if !opened {
                    tracing::error!("listeners did not open; stopping");
                    self.never_opened.store(true, Ordering::Release);
                    return ShutdownSignal::GracefulTerminate;
                }
                self.readiness.set(true);
                systemd::ready();
                for address in &self.addresses {
                    tracing::info!(%address, "listening");
                }
                tokio::select! {
                    () = self.wanted.notified() => {}
                    () = self.failed() => tracing::error!(
                        "internal error: a thread has failed; stopping so that another process takes over; \
                         please report this bug"
                    ),
                }
            }
            () = self.wanted.notified() => {}
        }
        self.readiness.set(false);
        systemd::stopping();
        tracing::info!("stopping");
        ShutdownSignal::GracefulTerminate
    }
}

impl Shutdown {
    /// Returns when a thread of the pipeline has panicked.
    async fn failed(&self) {
        while !self.panics.has_panicked() {
            tokio::time::sleep(HEALTH).await;
        }
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
