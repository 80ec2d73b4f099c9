//! The admin listener: its socket is bound before the server starts and passed on to a successor, and a thread of its
//! own answers until the process ends, so that `/readyz` and `/metrics` show a stop that is under way. The same thread
//! answers at the Unix socket ([`mod@super::admin_socket`]).

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::{fd::OwnedFd, unix::net::UnixListener},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender};
use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpStream, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    admin::{
        Admin,
        access::Via,
        connection::{Connection, Transport},
    },
    listener::{ListenError, front::Inherited, probe},
    runtime::{clock, priority},
};

/// How long what was asked may be answered once a successor answers.
const LAST: Duration = Duration::from_secs(2);

/// Most connections of clients, so that they never take the open files of clicks. As many again may be local.
const CONNECTIONS: usize = 96;

/// After so long without a byte, clients are asked whether they are still there.
const ALIVE: Duration = Duration::from_secs(15);

/// Between two log lines that all of them are taken.
const REPEATED: Duration = Duration::from_secs(60);

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Wait after an accept that failed because the process or the machine has no more descriptors.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// The socket, and whether this process accepts from it.
pub struct AdminListener {
    address: SocketAddr,
    /// `None` once it is a successor's.
    listener: Mutex<Option<TcpListener>>,
    closed: watch::Sender<bool>,
    /// Closed once the thread has ended.
    ended: (Mutex<Option<Sender<()>>>, Receiver<()>),
}

impl AdminListener {
    /// Takes the inherited socket, or binds one.
    ///
    /// # Errors
    /// When the address is taken or not of this machine.
    pub fn bind(address: SocketAddr, inherited: &mut Inherited) -> Result<Self, ListenError> {
        let failed = |source| ListenError::Bind { address, source };
        let listener = if let Some(listener) = inherited.take(address).into_iter().next() {
            listener
        } else {
            probe(address)?;
            TcpListener::bind(address).map_err(failed)?
        };
        listener.set_nonblocking(true).map_err(failed)?;
        let (end, ended) = crossbeam_channel::bounded(0);
        let ended = (Mutex::new(Some(end)), ended);
        Ok(Self { address, listener: Mutex::new(Some(listener)), closed: watch::Sender::new(false), ended })
    }

    /// The socket for a successor.
    ///
    /// # Errors
    /// When there are too many open files.
    pub fn duplicate(&self) -> io::Result<(SocketAddr, OwnedFd)> {
        Ok((self.address, self.descriptor()?.into()))
    }

    /// Leaves operators to a successor: their connections close after a moment.
    pub fn close(&self) {
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.closed.send_replace(true);
    }

    /// Waits until what was asked before [`close`](Self::close) is answered, for a moment at most.
    pub fn wait(&self) {
        // Without a thread nothing was asked.
        drop(self.ended.0.lock().unwrap_or_else(PoisonError::into_inner).take());
        _ = self.ended.1.recv_timeout(LAST + LAST);
    }

    fn descriptor(&self) -> io::Result<TcpListener> {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        listener.as_ref().map_or_else(|| Err(io::ErrorKind::NotConnected.into()), TcpListener::try_clone)
    }

    /// Answers, on a thread of its own, also at the Unix socket.
    ///
    /// # Errors
    /// When there are too many open files or threads.
    pub fn serve(
        &self,
        admin: Admin,
        tls: Option<Arc<ServerConfig>>,
        socket: Option<UnixListener>,
    ) -> io::Result<()> {
        let (listener, closed) = (self.descriptor()?, self.closed.subscribe());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let [room, local_room] = [(); 2].map(|()| Arc::new(Semaphore::new(CONNECTIONS)));
        let tls = tls.map(TlsAcceptor::from);
        let answering = Answering { admin: Arc::new(admin), closed, tls, room, local_room };
        let end = self.ended.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let serve = move || {
            let _end = end;
            priority::lower(priority::LOW);
            if let Err(error) = runtime.block_on(accept(listener, socket, answering)) {
                tracing::error!(%error, "cannot accept connections of operators");
            }
        };
        thread::Builder::new().name("admin".into()).spawn(serve)?;
        Ok(())
    }
}

/// What connections are answered with.
struct Answering {
    admin: Arc<Admin>,
    closed: watch::Receiver<bool>,
    tls: Option<TlsAcceptor>,
    room: Arc<Semaphore>,
    local_room: Arc<Semaphore>,
}

async fn accept(listener: TcpListener, socket: Option<UnixListener>, answering: Answering) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let socket = socket.map(tokio::net::UnixListener::from_std).transpose()?;
    let (mut closed, mut full) = (answering.closed.clone(), None::<Instant>);
    let mut permit = |room: &Arc<Semaphore>| {
        let permit = Arc::clone(room).try_acquire_owned().ok();
        if permit.is_none() && full.is_none_or(|last| last.elapsed() >= REPEATED) {
            full = Some(clock::monotonic());
            let remedy = "see who holds connections to admin.address, and keep it off networks that are not trusted";
            tracing::warn!(
                limit = CONNECTIONS,
                remedy,
                "all connections of the admin listener are taken; new ones are closed"
            );
        }
        permit
    };
    loop {
        tokio::select! {
            _ = closed.wait_for(|closed| *closed) => break,
            accepted = listener.accept() => match accepted {
                Ok((tcp, _)) => if let Some(permit) = permit(&answering.room) {
                    answering.answer_tcp(tcp, permit);
                },
                Err(_) => tokio::time::sleep(EXHAUSTED).await,
            },
            accepted = accept_local(socket.as_ref()) => match accepted {
                Ok(local) => if let Some(permit) = permit(&answering.local_room) {
                    answering.answer(Box::new(local), Via::Socket, permit);
                },
                Err(_) => tokio::time::sleep(EXHAUSTED).await,
            },
        }
    }
    drop((listener, socket));
    let all = CONNECTIONS as u32;
    let answered = async { tokio::join!(answering.room.acquire_many(all), answering.local_room.acquire_many(all)) };
    _ = tokio::time::timeout(LAST, answered).await;
    Ok(())
}

/// Accepts from the Unix socket, if there is one.
async fn accept_local(socket: Option<&tokio::net::UnixListener>) -> io::Result<UnixStream> {
    let Some(socket) = socket else { return std::future::pending().await };
    loop {
        let (stream, _) = socket.accept().await?;
        // The mode of the file says the same; it may have been changed.
        let user = stream.peer_cred()?.uid();
        if user == 0 || user == rustix::process::geteuid().as_raw() {
            return Ok(stream);
        }
        tracing::warn!("another user has connected to the admin socket; connection closed");
    }
}

impl Answering {
    fn answer(&self, io: Box<dyn Transport>, via: Via, permit: OwnedSemaphorePermit) {
        let (admin, closed) = (Arc::clone(&self.admin), self.closed.clone());
        tokio::spawn(async move {
            Connection::new(io, via).serve(admin, closed).await;
            drop(permit);
        });
    }

    fn answer_tcp(&self, tcp: TcpStream, permit: OwnedSemaphorePermit) {
        // A client that has vanished would keep its connection, and what it watches.
        let alive = TcpKeepalive::new().with_time(ALIVE).with_interval(ALIVE / 3).with_retries(3);
        if let Err(error) = SockRef::from(&tcp).set_tcp_keepalive(&alive) {
            tracing::debug!(%error, "clients of the admin listener that vanish are not noticed");
        }
        // Head and body of an answer are two writes: the second would wait 40 ms for the client's delayed
        // acknowledgement of the first. It matters on connections that are kept.
        if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(%error, "answers of the admin listener may be delayed");
        }
        let Some(tls) = self.tls.clone() else { return self.answer(Box::new(tcp), Via::Tcp, permit) };
        let (admin, closed) = (Arc::clone(&self.admin), self.closed.clone());
        tokio::spawn(async move {
            // A client that does not agree gets the alert from the library.
            if let Ok(Ok(tls)) = tokio::time::timeout(HANDSHAKE, tls.accept(tcp)).await {
                Connection::new(Box::new(tls), Via::Tls).serve(admin, closed).await;
            }
            drop(permit);
        });
    }
}
