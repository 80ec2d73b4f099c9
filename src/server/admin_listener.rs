//! The admin listener's socket: bound before the server starts, passed on to a successor, and answered until the
//! process ends, so that `/readyz` says why the edge accepts no clicks.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    sync::Arc,
};

use async_trait::async_trait;
use pingora::{
    apps::ServerApp,
    protocols::l4::stream::Stream,
    server::{ListenFds, ShutdownWatch},
    services::Service,
};
use tokio::sync::{oneshot, watch};

use crate::{
    admin::Admin,
    listener::{ListenError, front::Inherited, probe},
};

/// The socket, and whether this process accepts from it.
pub struct AdminListener {
    address: SocketAddr,
    listener: TcpListener,
    accepts: watch::Sender<bool>,
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
        Ok(Self { address, listener, accepts: watch::Sender::new(true) })
    }

    /// The socket for a successor.
    ///
    /// # Errors
    /// When there are too many open files.
    pub fn duplicate(&self) -> io::Result<(SocketAddr, OwnedFd)> {
        Ok((self.address, self.listener.try_clone()?.into()))
    }

    /// Leaves what connects from now on to a successor.
    pub fn close(&self) {
        self.accepts.send_replace(false);
    }

    /// The service that answers, once `admin` is there.
    ///
    /// # Errors
    /// When there are too many open files.
    pub fn service(&self, admin: oneshot::Receiver<Admin>) -> io::Result<AdminService> {
        let (listener, accepts) = (self.listener.try_clone()?, self.accepts.subscribe());
        Ok(AdminService { parts: Some((listener, admin)), accepts })
    }
}

/// Accepts and answers, as a Pingora service.
pub struct AdminService {
    /// Taken at the start.
    parts: Option<(TcpListener, oneshot::Receiver<Admin>)>,
    accepts: watch::Receiver<bool>,
}

#[async_trait]
impl Service for AdminService {
    async fn start_service(&mut self, _: Option<ListenFds>, mut shutdown: ShutdownWatch, _: usize) {
        let Some((listener, admin)) = self.parts.take() else { return };
        let admin = tokio::select! {
            admin = admin => admin,
            _ = shutdown.changed() => return,
        };
        let Ok(admin) = admin.map(Arc::new) else { return };
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "cannot accept connections of operators"),
        };
        let mut accepts = self.accepts.clone();
        loop {
            tokio::select! {
                _ = shutdown.changed() => return,
                _ = accepts.wait_for(|accepts| !accepts) => return,
                Ok((tcp, _)) = listener.accept() => {
                    let (admin, shutdown) = (Arc::clone(&admin), shutdown.clone());
                    tokio::spawn(async move {
                        let mut stream = admin.process_new(Box::new(Stream::from(tcp)), &shutdown).await;
                        while let Some(reused) = stream {
                            stream = admin.process_new(reused, &shutdown).await;
                        }
                    });
                }
            }
        }
    }

    fn name(&self) -> &'static str {
        "admin"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}
