//! The accept loops: one a socket, on the thread that answers its connections.

use std::{io, net::SocketAddr, sync::Arc, task::Poll, time::Duration};

use async_trait::async_trait;
use pingora::{
    apps::HttpServerApp,
    server::{ListenFds, ShutdownWatch},
    services::Service,
};
use tokio::net::{TcpListener, TcpStream};

use super::{
    Front, Lane, connection,
    metrics::{FrontMetrics, Reported},
    socket::Socket,
};

/// Wait after an accept that failed because the process or the machine has no more descriptors or memory.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// Time between two reports of what went wrong.
const REPORTS: Duration = Duration::from_secs(60);

/// One thread that accepts and answers, as a Pingora service.
pub struct FrontThread<L, P> {
    name: String,
    front: Arc<Front<L, P>>,
    sockets: Vec<Arc<Socket>>,
    /// The first thread logs for all.
    reports: Option<Arc<FrontMetrics>>,
}

impl<L, P> FrontThread<L, P> {
    pub fn new(number: usize, front: Arc<Front<L, P>>, sockets: Vec<Socket>) -> Self {
        let reports = (number == 0).then(|| Arc::clone(&front.metrics));
        Self {
            name: format!("clicks-{number}"),
            front,
            sockets: sockets.into_iter().map(Arc::new).collect(),
            reports,
        }
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
        if let Some(metrics) = self.reports.take() {
            tokio::spawn(report(metrics));
        }
        for accept in loops {
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
    socket: Arc<Socket>,
    shutdown: ShutdownWatch,
) {
    let listener = match socket.listener.try_clone().and_then(TcpListener::from_std) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "cannot accept connections");
            return;
        }
    };
    let serve = |(tcp, address): (TcpStream, SocketAddr)| {
        front.metrics.accepted();
        tokio::spawn(connection::serve(Arc::clone(&front), Arc::clone(&socket), tcp, address, shutdown.clone()));
    };
    let mut stopped = std::pin::pin!(stopped(shutdown.clone()));
    loop {
        tokio::select! {
            biased;
            () = &mut stopped => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => serve(accepted),
                Err(error) => failed(&front, &error).await,
            },
        }
    }
    // Their clients have a connection, as far as they know.
    while let Some(accepted) = waiting(&listener).await {
        serve(accepted);
    }
}

/// Logs what went wrong, one line a kind and minute.
async fn report(metrics: Arc<FrontMetrics>) {
    let mut reported = Reported::default();
    loop {
        tokio::time::sleep(REPORTS).await;
        metrics.report(&mut reported);
    }
}

async fn stopped(mut shutdown: ShutdownWatch) {
    while !*shutdown.borrow_and_update() {
        if shutdown.changed().await.is_err() {
            return;
        }
    }
}

/// A connection that is there.
async fn waiting(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    std::future::poll_fn(|cx| match listener.poll_accept(cx) {
        Poll::Ready(accepted) => Poll::Ready(accepted.ok()),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// A connection that was reset before it was accepted is nothing; without descriptors there is nothing to do but wait.
async fn failed<L, P>(front: &Front<L, P>, error: &io::Error) {
    if matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    ) {
        return;
    }
    front.metrics.accept_failed();
    tokio::time::sleep(EXHAUSTED).await;
}
