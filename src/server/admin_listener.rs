//! The admin listener: its socket is bound before the server starts and passed on to a successor, and a thread of its
//! own answers until the process ends, so that `/readyz` and `/metrics` show a stop that is under way. The same thread
//! answers at the Unix socket ([`super::admin_socket`]).

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::{fd::OwnedFd, unix::net::UnixListener},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use rustls::ServerConfig;
use tokio::{
    net::{TcpStream, UnixStream},
    sync::watch,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    admin::{
        Admin,
        access::Via,
        connection::{Connection, Transport},
    },
    listener::{ListenError, front::Inherited, probe},
    runtime::priority,
};

/// How long what was asked may be answered once a successor answers.
const LAST: Duration = Duration::from_millis(500);

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
        Ok(Self { address, listener: Mutex::new(Some(listener)), closed: watch::Sender::new(false) })
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
        let answering = Answering { admin: Arc::new(admin), closed, tls: tls.map(TlsAcceptor::from) };
        let serve = move || {
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
}

async fn accept(listener: TcpListener, socket: Option<UnixListener>, answering: Answering) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let socket = socket.map(tokio::net::UnixListener::from_std).transpose()?;
    let mut closed = answering.closed.clone();
    loop {
        tokio::select! {
            _ = closed.wait_for(|closed| *closed) => break,
            accepted = listener.accept() => match accepted {
                Ok((tcp, _)) => answering.answer_tcp(tcp),
                Err(_) => tokio::time::sleep(EXHAUSTED).await,
            },
            accepted = accept_local(socket.as_ref()) => match accepted {
                Ok(local) => answering.answer(Box::new(local), Via::Socket),
                Err(_) => tokio::time::sleep(EXHAUSTED).await,
            },
        }
    }
    drop((listener, socket));
    tokio::time::sleep(LAST).await;
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
    fn answer(&self, io: Box<dyn Transport>, via: Via) {
        tokio::spawn(Connection::new(io, via).serve(Arc::clone(&self.admin), self.closed.clone()));
    }

    fn answer_tcp(&self, tcp: TcpStream) {
        // Head and body of an answer are two writes: the second would wait 40 ms for the client's delayed
        // acknowledgement of the first. It matters on connections that are kept.
        if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(%error, "answers of the admin listener may be delayed");
        }
        let Some(tls) = self.tls.clone() else { return self.answer(Box::new(tcp), Via::Tcp) };
        let (admin, closed) = (Arc::clone(&self.admin), self.closed.clone());
        tokio::spawn(async move {
            // A client that does not agree gets the alert from the library.
            if let Ok(Ok(tls)) = tokio::time::timeout(HANDSHAKE, tls.accept(tcp)).await {
                Connection::new(Box::new(tls), Via::Tls).serve(admin, closed).await;
            }
        });
    }
}
