//! All listening sockets of the process, under control: paused and resumed for a hand-over, added and removed by a
//! reload, while their threads accept and answer.
//!
//! The threads own their accept loops; this handle sends them sockets, and each loop its orders.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;
use tokio::sync::mpsc::{self, Receiver, Sender, UnboundedReceiver, UnboundedSender};

use super::{
    accept::{OpenSocket, Order, Socket},
    socket::{self, Inherited, Settings},
};
use crate::{
    config::{self, Config},
    listener::ListenError,
    tls::{CertificateStore, Tickets},
};

/// The listening sockets of all threads. They close when it is dropped.
pub struct Listeners {
    tickets: Arc<Tickets>,
    threads: Vec<UnboundedSender<Socket>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Where each thread takes its sockets from, until it starts.
    waiting: Vec<UnboundedReceiver<Socket>>,
    listeners: Vec<Listener>,
    is_paused: bool,
}

/// An address that is listened on.
struct Listener {
    address: SocketAddr,
    settings: Arc<ArcSwap<Settings>>,
    loops: Vec<(Arc<OpenSocket>, UnboundedSender<Order>)>,
}

/// A change of the listeners that can be made without an error.
pub struct PreparedListeners {
    /// In the order of the configuration.
    wanted: Vec<(SocketAddr, Arc<Settings>)>,
    added: Vec<(SocketAddr, Vec<TcpListener>)>,
}

/// What was asked of the accept loops, each of which does it as soon as its thread is free.
#[must_use = "the accept loops take a moment"]
pub struct Settled(Receiver<()>);

impl Settled {
    /// Returns when all have done it.
    pub async fn wait(mut self) {
        _ = self.0.recv().await;
    }

    /// [`wait`](Self::wait) for a thread that runs no asynchronous tasks.
    pub fn wait_blocking(mut self) {
        _ = self.0.blocking_recv();
    }
}

/// Opens the configured sockets, at least one for each listener thread and address: those that were inherited, or new
/// ones. Inherited ones of other addresses are closed.
///
/// # Errors
/// When an address is taken or not of this machine, or TLS cannot be set up.
pub fn bind(
    config: &Config,
    certificates: &[Arc<CertificateStore>],
    tickets: &Arc<Tickets>,
    inherited: &mut Inherited,
) -> Result<Arc<Listeners>, ListenError> {
    let (threads, waiting) = (0..config.listener_threads()).map(|_| mpsc::unbounded_channel()).unzip();
    let state = State { waiting, ..State::default() };
    let listeners = Listeners { tickets: Arc::clone(tickets), threads, state: Mutex::new(state) };
    let prepared = listeners.prepare_with(&config.listeners, &config.tls, certificates, inherited)?;
    inherited.close();
    _ = listeners.publish(prepared);
    Ok(Arc::new(listeners))
}

impl Listeners {
    /// Stops accepting: what has connected since waits for [`resume`](Self::resume), or for another process that has
    /// the same sockets. Once it is [`Settled`], this process accepts no connection.
    pub fn pause(&self) -> Settled {
        let mut state = self.state();
        state.is_paused = true;
        state.order(|done| Order::Pause(done.clone()))
    }

    /// Accepts again.
    pub fn resume(&self) {
        let mut state = self.state();
        state.is_paused = false;
        _ = state.order(|_| Order::Resume);
    }

    /// Takes what the kernel has accepted already, unless paused, and closes all sockets; [`Settled`] once they are.
    pub fn close(&self) -> Settled {
        let mut state = self.state();
        let settled = state.order(|done| Order::Close(done.clone()));
        state.listeners.clear();
        settled
    }

    /// A descriptor of each open socket, for another process that shall accept from them.
    ///
    /// # Errors
    /// When the process may open no more files.
    pub fn sockets(&self) -> io::Result<Vec<(SocketAddr, OwnedFd)>> {
        let mut sockets = Vec::new();
        for listener in &self.state().listeners {
            for (open, _) in &listener.loops {
                sockets.extend(open.duplicate()?.map(|socket| (listener.address, socket.into())));
            }
        }
        Ok(sockets)
    }

    /// Changes to the listeners of another configuration: opens those that are new, closes those that are not in it
    /// after what the kernel has accepted for them already, and gives the others their settings for connections from
    /// now on. Open connections go on. Not for a thread that runs asynchronous tasks.
    ///
    /// # Errors
    /// As for [`bind`]; nothing changes then.
    pub fn apply(&self, config: &Config, certificates: &[Arc<CertificateStore>]) -> Result<(), ListenError> {
        self.publish(self.prepare(config, certificates)?).wait_blocking();
        Ok(())
    }

    /// The first half of [`apply`](Self::apply): all that can fail.
    ///
    /// # Errors
    /// As for [`bind`].
    pub fn prepare(
        &self,
        config: &Config,
        certificates: &[Arc<CertificateStore>],
    ) -> Result<PreparedListeners, ListenError> {
        self.prepare_with(&config.listeners, &config.tls, certificates, &mut Inherited::default())
    }

    fn prepare_with(
        &self,
        listeners: &[config::Listener],
        tls: &config::Tls,
        certificates: &[Arc<CertificateStore>],
        inherited: &mut Inherited,
    ) -> Result<PreparedListeners, ListenError> {
        let settings = |(listener, certificates): (&config::Listener, _)| {
            let settings = Settings::new(listener, tls, certificates, &self.tickets)?;
            Ok((listener.address, Arc::new(settings)))
        };
        let wanted = listeners.iter().zip(certificates).map(settings).collect::<Result<_, _>>()?;
        let open: Vec<_> = self.state().listeners.iter().map(|listener| listener.address).collect();
        let added = socket::open(listeners, self.threads.len(), &open, inherited)?;
        Ok(PreparedListeners { wanted, added })
    }

    /// The second half of [`apply`](Self::apply). [`Settled`] once the removed sockets are closed.
    pub fn publish(&self, prepared: PreparedListeners) -> Settled {
        let PreparedListeners { wanted, mut added } = prepared;
        let mut state = self.state();
        let mut current = std::mem::take(&mut state.listeners);
        for (address, settings) in wanted {
            let known = current.iter().position(|listener| listener.address == address);
            if let Some(known) = known {
                let listener = current.remove(known);
                listener.settings.store(settings);
                state.listeners.push(listener);
            } else if let Some(new) = added.iter().position(|(added, _)| *added == address) {
                let (_, sockets) = added.remove(new);
                let listener = self.start(address, settings, sockets, state.is_paused);
                state.listeners.push(listener);
            }
        }
        drop(state);
        State { listeners: current, ..State::default() }.order(|done| Order::Close(done.clone()))
    }

    /// Spreads the sockets of an address over the threads.
    fn start(
        &self,
        address: SocketAddr,
        settings: Arc<Settings>,
        sockets: Vec<TcpListener>,
        is_paused: bool,
    ) -> Listener {
        let settings = Arc::new(ArcSwap::from(settings));
        let start = |(socket, thread): (TcpListener, &UnboundedSender<Socket>)| {
            let open = OpenSocket::new(socket);
            let (order, orders) = mpsc::unbounded_channel();
            if is_paused {
                _ = order.send(Order::Pause(mpsc::channel(1).0));
            }
            // A thread that is not there any more drops it, which closes it.
            _ = thread.send(Socket { open: Arc::clone(&open), settings: Arc::clone(&settings), orders });
            (open, order)
        };
        let loops = sockets.into_iter().zip(self.threads.iter().cycle()).map(start).collect();
        Listener { address, settings, loops }
    }

    /// Where each thread takes its sockets from; none at the second time.
    pub(super) fn take_threads(&self) -> Vec<UnboundedReceiver<Socket>> {
        std::mem::take(&mut self.state().waiting)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn order(&self, order: impl Fn(&Sender<()>) -> Order) -> Settled {
        let (done, settled) = mpsc::channel(1);
        for (_, orders) in self.listeners.iter().flat_map(|listener| &listener.loops) {
            // One that has ended does nothing any more.
            _ = orders.send(order(&done));
        }
        Settled(settled)
    }
}

#[cfg(test)]
mod tests;
