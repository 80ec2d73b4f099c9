//! The accept loops: one a socket, on the thread that answers its connections.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora::{
    apps::HttpServerApp,
    server::{ListenFds, ShutdownWatch},
    services::Service,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc::{Sender, UnboundedReceiver},
    task::JoinSet,
};

use super::{
    Connections, Lane, Listeners, LiveFront,
    connection::{self, Accepted},
    metrics::FrontMetrics,
    socket::Settings,
};
use crate::telemetry::logs;

/// Wait after an accept that failed because the process or the machine has no more descriptors or memory.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// Time between two reports of what went wrong.
const REPORTS: Duration = Duration::from_secs(60);

/// A listening socket of one thread.
pub struct Socket {
    pub(super) open: Arc<OpenSocket>,
    /// Read once a connection.
    pub(super) settings: Arc<ArcSwap<Settings>>,
    pub(super) orders: UnboundedReceiver<Order>,
}

/// What an accept loop is asked to do. Who asks waits until all senders of `()` are dropped.
pub(super) enum Order {
    /// Accept no more, for now.
    Pause(Sender<()>),
    Resume,
    /// Take what the kernel has accepted already, unless it is paused, then close the socket.
    Close(Sender<()>),
}

/// The socket of an accept loop, for as long as that runs.
pub(super) struct OpenSocket(Mutex<Option<StdListener>>);

impl OpenSocket {
    pub fn new(listener: StdListener) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(listener))))
    }

    /// One more descriptor of it; `None` once it is closed.
    pub fn duplicate(&self) -> io::Result<Option<StdListener>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(StdListener::try_clone).transpose()
    }

    fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// One thread that accepts and answers, as a Pingora service.
pub struct FrontThread<L, P> {
    name: String,
    front: Arc<LiveFront<L, P>>,
    /// Those that are open at the start, and later ones.
    sockets: UnboundedReceiver<Socket>,
    /// Keeps them open.
    _listeners: Arc<Listeners>,
    /// The first thread logs for all.
    reports: bool,
}

impl<L, P> FrontThread<L, P> {
    /// One for each thread of `listeners`.
    pub fn all(listeners: &Arc<Listeners>, front: &Arc<LiveFront<L, P>>) -> Vec<Self> {
        let thread = |(number, sockets)| Self {
            name: format!("clicks-{number}"),
            front: Arc::clone(front),
            sockets,
            _listeners: Arc::clone(listeners),
            reports: number == 0,
        };
        listeners.take_threads().into_iter().enumerate().map(thread).collect()
    }
}

#[async_trait]
impl<L: Lane, P: HttpServerApp + Send + Sync + 'static> Service for FrontThread<L, P> {
    async fn start_service(&mut self, _: Option<ListenFds>, shutdown: ShutdownWatch, _: usize) {
        let reports = self.reports.then(|| tokio::spawn(report(Arc::clone(&self.front), shutdown.clone())));
        let serve = {
            let front = Arc::clone(&self.front);
            move |tcp, address, settings| serve(&front, tcp, address, settings)
        };
        let front = self.front.current.load_full();
        accept_all(&mut self.sockets, &shutdown, &front.metrics, serve).await;
        if let Some(reports) = reports {
            _ = reports.await;
        }
        self.front.begin_stop(Duration::ZERO);
        front.proxy.http_cleanup().await;
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}

fn serve<L: Lane, P: HttpServerApp + Send + Sync + 'static>(
    front: &LiveFront<L, P>,
    tcp: TcpStream,
    address: SocketAddr,
    settings: Arc<Settings>,
) {
    let front = front.current.load_full();
    let mut open = front.metrics.accepted();
    match front.admit(address.ip()) {
        Ok(admitted) => {
            let connection = Accepted { tcp, address, admitted, open };
            let shutdown = front.shutdown.subscribe();
            tokio::spawn(connection::serve(front, settings, connection, shutdown));
        }
        Err(ended) => open.ended = ended,
    }
}

/// Runs an accept loop for each socket, until the server stops and all have ended.
pub(super) async fn accept_all<S>(
    sockets: &mut UnboundedReceiver<Socket>,
    shutdown: &ShutdownWatch,
    metrics: &Arc<FrontMetrics>,
    serve: S,
) where
    S: Fn(TcpStream, SocketAddr, Arc<Settings>) + Clone + Send + 'static,
{
    let run = |socket| run(socket, shutdown.clone(), Arc::clone(metrics), serve.clone());
    let mut loops = JoinSet::new();
    let mut stopped = std::pin::pin!(stopped(shutdown.clone()));
    loop {
        tokio::select! {
            biased;
            () = &mut stopped => break,
            Some(socket) = sockets.recv() => {
                loops.spawn(run(socket));
            }
            Some(_) = loops.join_next() => {}
        }
    }
    // Those that nothing was accepted from so far may have a queue, too.
    sockets.close();
    while let Ok(socket) = sockets.try_recv() {
        loops.spawn(run(socket));
    }
    while loops.join_next().await.is_some() {}
}

/// Accepts until the server stops or the socket is closed, and then what the kernel has accepted already. A socket that
/// is paused at that moment leaves it to the process that has the socket, too.
async fn run<S>(socket: Socket, shutdown: ShutdownWatch, metrics: Arc<FrontMetrics>, serve: S)
where
    S: Fn(TcpStream, SocketAddr, Arc<Settings>) + Send + 'static,
{
    let Socket { open, settings, mut orders } = socket;
    let open = CloseOnDrop(open);
    let listener = open.0.duplicate().and_then(|listener| listener.map(TcpListener::from_std).transpose());
    let listener = match listener {
        Ok(Some(listener)) => listener,
        Ok(None) => return,
        Err(error) => {
            tracing::error!(%error, "cannot accept connections");
            return;
        }
    };
    let mut stopped = std::pin::pin!(stopped(shutdown));
    let mut is_paused = false;
    // Dropped at the end of this function, after the socket.
    let mut closing = None;
    loop {
        tokio::select! {
            biased;
            () = &mut stopped => break,
            order = orders.recv() => match order {
                Some(Order::Pause(_done)) => is_paused = true,
                Some(Order::Resume) => is_paused = false,
                Some(Order::Close(done)) => {
                    closing = Some(done);
                    break;
                }
                None => break,
            },
            accepted = listener.accept(), if !is_paused => match accepted {
                Ok((tcp, address)) => serve(tcp, address, settings.load_full()),
                Err(error) => failed(&metrics, &error).await,
            },
        }
    }
    if is_paused {
        drop(listener);
    } else if let Ok(listener) = listener.into_std() {
        // The clients in the queue have a connection, as far as they know.
        loop {
            match listener.accept() {
                Ok((tcp, address)) => {
                    if let Ok(tcp) = tcp.set_nonblocking(true).and_then(|()| TcpStream::from_std(tcp)) {
                        serve(tcp, address, settings.load_full());
                    }
                }
                Err(error) if is_reset(&error) => {}
                Err(_) => break,
            }
        }
    }
    drop(open);
    drop(closing);
}

/// Closes a socket at the end of its accept loop, however that ends.
struct CloseOnDrop(Arc<OpenSocket>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Logs what went wrong, one line a kind and minute, until the server stops.
async fn report<L: Lane, P: Send + Sync>(front: Arc<LiveFront<L, P>>, shutdown: ShutdownWatch) {
    let mut stopped = std::pin::pin!(stopped(shutdown));
    while tokio::time::timeout(REPORTS, &mut stopped).await.is_err() {
        front.report();
        logs::report_suppressed();
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
async fn failed(metrics: &FrontMetrics, error: &io::Error) {
    if !is_reset(error) {
        metrics.accept_failed();
        tokio::time::sleep(EXHAUSTED).await;
    }
}

/// Whether a connection was reset before it was accepted.
fn is_reset(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}
