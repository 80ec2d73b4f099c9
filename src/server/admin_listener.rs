//! The admin listener: its socket is bound before the server starts and passed on to a successor, and a thread of its
//! own answers until the process ends, so that `/readyz` and `/metrics` show a stop that is under way.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use pingora::{apps::ServerApp, protocols::l4::stream::Stream};
use tokio::sync::watch;

use crate::{
    admin::Admin,
    listener::{ListenError, front::Inherited, probe},
    runtime::priority,
};

/// How long what was asked may be answered once a successor answers.
const LAST: Duration = Duration::from_millis(500);

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

    /// Answers, on a thread of its own.
    ///
    /// # Errors
    /// When there are too many open files or threads.
    pub fn serve(&self, admin: Admin) -> io::Result<()> {
        let (listener, closed) = (self.descriptor()?, self.closed.subscribe());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serve = move || {
            priority::lower(priority::LOW);
            if let Err(error) = runtime.block_on(accept(listener, Arc::new(admin), closed)) {
                tracing::error!(%error, "cannot accept connections of operators");
            }
        };
        thread::Builder::new().name("admin".into()).spawn(serve)?;
        Ok(())
    }
}

async fn accept(listener: TcpListener, admin: Arc<Admin>, mut closed: watch::Receiver<bool>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let connections = closed.clone();
    loop {
        tokio::select! {
            _ = closed.wait_for(|closed| *closed) => break,
            Ok((tcp, _)) = listener.accept() => {
                // Head and body of an answer are two writes: the second would wait 40 ms for the client's delayed
                // acknowledgement of the first. It matters on connections that are kept.
                if let Err(error) = tcp.set_nodelay(true) {
                    tracing::debug!(%error, "answers of the admin listener may be delayed");
                }
                let (admin, closed) = (Arc::clone(&admin), connections.clone());
                tokio::spawn(async move {
                    let mut stream = admin.process_new(Box::new(Stream::from(tcp)), &closed).await;
                    while let Some(reused) = stream {
                        stream = admin.process_new(reused, &closed).await;
                    }
                });
            }
        }
    }
    drop(listener);
    tokio::time::sleep(LAST).await;
    Ok(())
}
