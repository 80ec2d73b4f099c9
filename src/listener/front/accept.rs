//! The accept loops: one a socket, on the thread that answers its connections.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use pingora::{
    apps::HttpServerApp,
    server::{ListenFds, ShutdownWatch},
    services::Service,
};
use tokio::net::{TcpListener, TcpStream};

use super::{
    Front, Lane,
    connection::{self, Accepted},
    metrics::{FrontMetrics, Reported},
    socket::Socket,
};
use crate::telemetry::logs;

/// Wait after an accept that failed because the process or the machine has no more descriptors or memory.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// Time between two reports of what went wrong.
const REPORTS: Duration = Duration::from_secs(60);

/// One thread that accepts and answers, as a Pingora service.
pub struct FrontThread<L, P> {
    name: String,
    front: Arc<Front<L, P>>,
    sockets: Vec<Socket>,
    /// The first thread logs for all.
    reports: Option<Arc<FrontMetrics>>,
}

impl<L, P> FrontThread<L, P> {
    pub fn new(number: usize, front: Arc<Front<L, P>>, sockets: Vec<Socket>) -> Self {
        let reports = (number == 0).then(|| Arc::clone(&front.metrics));
        Self { name: format!("clicks-{number}"), front, sockets, reports }
    }
}

#[async_trait]
impl<L: Lane, P: HttpServerApp + Send + Sync + 'static> Service for FrontThread<L, P> {
    async fn start_service(&mut self, _: Option<ListenFds>, shutdown: ShutdownWatch, _: usize) {
        let loops: Vec<_> = self
            .sockets
            .drain(..)
            .map(|socket| tokio::spawn(run(Arc::clone(&self.front), socket, shutdown.clone())))
            .collect();
        let reports = self.reports.take().map(|metrics| tokio::spawn(report(metrics, shutdown)));
        for accept in loops.into_iter().chain(reports) {
            _ = accept.await;
        }
        self.front.begin_stop();
        self.front.proxy.http_cleanup().await;
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}

/// Accepts until the server stops, and then what the kernel has accepted already.
async fn run<L: Lane, P: HttpServerApp + Send + Sync + 'static>(
    front: Arc<Front<L, P>>,
    socket: Socket,
    shutdown: ShutdownWatch,
) {
    let Socket { listener, settings } = socket;
    let serve = |tcp: TcpStream, address: SocketAddr| {
        let mut open = front.metrics.accepted();
        match front.admit(address.ip()) {
            Ok(admitted) => {
                let connection = Accepted { tcp, address, admitted, open };
                tokio::spawn(connection::serve(
                    Arc::clone(&front),
                    Arc::clone(&settings),
                    connection,
                    shutdown.clone(),
                ));
            }
            Err(ended) => open.ended = ended,
        }
    };
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "cannot accept connections");
            return;
        }
    };
    let mut stopped = std::pin::pin!(stopped(shutdown.clone()));
    loop {
        tokio::select! {
            biased;
            () = &mut stopped => break,
            accepted = listener.accept() => match accepted {
                Ok((tcp, address)) => serve(tcp, address),
                Err(error) => failed(&front, &error).await,
            },
        }
    }
    // The clients in the backlog have a connection, as far as they know. The socket closes with this function.
    let Ok(listener) = listener.into_std() else { return };
    loop {
        match listener.accept() {
            Ok((tcp, address)) => {
                if let Ok(tcp) = tcp.set_nonblocking(true).and_then(|()| TcpStream::from_std(tcp)) {
                    serve(tcp, address);
                }
            }
            Err(error) if is_reset(&error) => {}
            Err(_) => return,
        }
    }
}

/// Logs what went wrong, one line a kind and minute, and once more when the server stops.
async fn report(metrics: Arc<FrontMetrics>, shutdown: ShutdownWatch) {
    let mut reported = Reported::default();
    let mut stopped = std::pin::pin!(stopped(shutdown));
    loop {
        let is_last = tokio::time::timeout(REPORTS, &mut stopped).await.is_ok();
        metrics.report(&mut reported);
        logs::report_suppressed();
        if is_last {
            return;
        }
    }
}

async fn stopped(mut shutdown: ShutdownWatch) {
    while !*shutdown.borrow_and_update() {
        if shutdown.changed().await.is_err() {
            return;
        }
    }
}

/// Without descriptors or memory there is nothing to do but wait.
async fn failed<L, P>(front: &Front<L, P>, error: &io::Error) {
    if !is_reset(error) {
        front.metrics.accept_failed();
        tokio::time::sleep(EXHAUSTED).await;
    }
}

/// Whether a connection was reset before it was accepted.
fn is_reset(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}
