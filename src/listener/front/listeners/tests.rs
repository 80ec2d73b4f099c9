use std::{
    collections::BTreeSet,
    net::TcpStream,
    sync::mpsc::{Receiver as StdReceiver, Sender as StdSender, channel},
    thread,
    time::Duration,
};

use tokio::sync::watch;

use super::{super::accept::accept_all, *};
use crate::{listener::front::metrics::FrontMetrics, telemetry::metrics::Registry};

/// How long what must happen may take.
const SOON: Duration = Duration::from_secs(10);

/// A connection that was accepted: by which thread, and with `redirect_to_https`.
type Taken = (thread::ThreadId, bool);

/// Listeners whose threads count connections.
struct Edge {
    listeners: Arc<Listeners>,
    taken: StdReceiver<Taken>,
    sender: StdSender<Taken>,
    stop: watch::Sender<bool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Edge {
    fn bind(config: &Config, mut inherited: Inherited) -> Result<Self, ListenError> {
        let listeners = bind(config, &stores(config), &Arc::default(), &mut inherited)?;
        let (sender, taken) = channel();
        Ok(Self { listeners, taken, sender, stop: watch::channel(false).0, threads: Vec::new() })
    }

    fn start(mut self) -> Self {
        let metrics = FrontMetrics::new(&Registry::new());
        for mut sockets in self.listeners.take_threads() {
            let (stop, metrics, sender) = (self.stop.subscribe(), Arc::clone(&metrics), self.sender.clone());
            self.threads.push(thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let serve = move |_, _, settings: Arc<Settings>| {
                    sender.send((thread::current().id(), settings.redirect_to_https)).unwrap();
                };
                runtime.block_on(accept_all(&mut sockets, &stop, &metrics, serve));
            }));
        }
        self
    }

    fn apply(&self, config: &Config) -> Result<(), ListenError> {
        self.listeners.apply(config, &stores(config))
    }

    fn accepted(&self) -> Taken {
        self.taken.recv_timeout(SOON).expect("a connection was not accepted")
    }

    fn stop(&mut self) {
        self.stop.send_replace(true);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

fn config(listeners: &[(SocketAddr, bool)]) -> Config {
    let listener = |(address, redirect): &(SocketAddr, bool)| {
        format!("[[listeners]]\naddress = \"{address}\"\nredirect_to_https = {redirect}\n")
    };
    let listeners: Vec<_> = listeners.iter().map(listener).collect();
    let text = "[edge]\npop = \"ams1\"\nthreads = 2\n[catalog]\nfile = \"links\"\n";
    toml::from_str(&[text, &listeners.concat()].concat()).unwrap()
}

fn stores(config: &Config) -> Vec<Arc<CertificateStore>> {
    config.listeners.iter().map(|_| Arc::new(CertificateStore::new(0))).collect()
}

/// A listening socket of a port that the system chooses.
fn socket(reuse_port: bool) -> (TcpListener, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_port(reuse_port).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(128).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket.into(), address)
}

/// One more socket of an address that is shared.
fn another(address: SocketAddr) -> TcpListener {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(128).unwrap();
    socket.into()
}

fn inherited(sockets: impl IntoIterator<Item = TcpListener>) -> Inherited {
    let mut inherited = Inherited::default();
    sockets.into_iter().for_each(|socket| inherited.add(socket).unwrap());
    inherited
}

fn free_address() -> SocketAddr {
    socket(false).1
}

fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).expect("a connection was refused")
}

/// Whether no socket listens on the address.
fn is_closed(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, SOON).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Accepts what waits in the queues of these sockets.
fn take(sockets: Vec<(SocketAddr, OwnedFd)>) -> usize {
    let mut taken = 0;
    for (_, socket) in sockets {
        let socket = TcpListener::from(socket);
        socket.set_nonblocking(true).unwrap();
        while socket.accept().is_ok() {
            taken += 1;
        }
    }
    taken
}

#[test]
fn inherited_sockets_are_all_used_and_shared_where_there_are_more_threads() {
    for count in [1, 2, 3] {
        let (first, address) = socket(true);
        // In the queue of a predecessor's socket.
        let waiting = connect(address);
        let all: Vec<_> = [first].into_iter().chain((1..count).map(|_| another(address))).collect();
        let mut edge = Edge::bind(&config(&[(address, false)]), inherited(all)).unwrap().start();
        assert_eq!(edge.listeners.sockets().unwrap().len(), count.max(2));
        edge.accepted();
        let mut threads = BTreeSet::new();
        let clients: Vec<_> = (0..64).map(|_| connect(address)).collect();
        for _ in &clients {
            threads.insert(format!("{:?}", edge.accepted().0));
        }
        // Who is faster takes it from a socket that is shared.
        assert!(threads.len() == 2 || count == 1, "both threads accept");
        edge.stop();
        drop(waiting);
        assert!(is_closed(address));
    }
}

#[test]
fn threads_share_an_inherited_socket_that_allows_no_other() {
    let (first, address) = socket(false);
    let mut edge = Edge::bind(&config(&[(address, false)]), inherited([first])).unwrap().start();
    let clients: Vec<_> = (0..16).map(|_| connect(address)).collect();
    for _ in &clients {
        edge.accepted();
    }
    edge.stop();
    assert!(is_closed(address));
}

#[test]
fn an_address_of_another_process_is_an_error_and_an_inherited_one_is_not() {
    let (other, address) = socket(true);
    let error = Edge::bind(&config(&[(address, false)]), Inherited::default()).err().unwrap();
    assert!(matches!(error, ListenError::Bind { address: of, .. } if of == address), "{error}");
    assert!(Edge::bind(&config(&[(address, false)]), inherited([other])).is_ok());
}

#[test]
fn an_inherited_socket_of_an_address_that_is_not_configured_closes() {
    let ((wanted, address), (other, closed)) = (socket(true), socket(true));
    let mut edge = Edge::bind(&config(&[(address, false)]), inherited([wanted, other])).unwrap().start();
    assert!(is_closed(closed));
    drop(connect(address));
    edge.accepted();
    edge.stop();
}

#[test]
fn a_paused_edge_accepts_nothing_and_goes_on_when_resumed() {
    let address = free_address();
    let mut edge = Edge::bind(&config(&[(address, false)]), Inherited::default()).unwrap().start();
    let mut clients = vec![connect(address)];
    edge.accepted();
    edge.listeners.pause().wait_blocking();
    clients.extend((0..20).map(|_| connect(address)));
    assert_eq!(take(edge.listeners.sockets().unwrap()), 20, "another process has them all");
    clients.extend((0..20).map(|_| connect(address)));
    edge.listeners.resume();
    (0..20).for_each(|_| _ = edge.accepted());
    edge.stop();
}

#[test]
fn what_waits_for_a_paused_edge_is_left_to_its_successor() {
    let address = free_address();
    let mut edge = Edge::bind(&config(&[(address, false)]), Inherited::default()).unwrap().start();
    let passed_on = edge.listeners.sockets().unwrap();
    edge.listeners.pause().wait_blocking();
    let clients: Vec<_> = (0..20).map(|_| connect(address)).collect();
    edge.stop();
    assert_eq!(edge.listeners.sockets().unwrap().len(), 0);
    assert_eq!(take(passed_on), clients.len());
    assert!(is_closed(address));
}

#[test]
fn closing_takes_what_the_kernel_has_accepted() {
    let address = free_address();
    let edge = Edge::bind(&config(&[(address, false)]), Inherited::default()).unwrap();
    let clients: Vec<_> = (0..20).map(|_| connect(address)).collect();
    let closed = edge.listeners.close();
    let mut edge = edge.start();
    closed.wait_blocking();
    assert!(is_closed(address));
    for _ in &clients {
        edge.accepted();
    }
    edge.stop();
}

#[test]
fn listeners_are_added_changed_and_removed() {
    let [first, second, third] = [(); 3].map(|()| free_address());
    let mut edge = Edge::bind(&config(&[(first, false), (second, false)]), Inherited::default()).unwrap().start();
    edge.apply(&config(&[(third, false), (second, true)])).unwrap();
    assert!(is_closed(first));
    for (address, redirects) in [(second, true), (third, false)] {
        drop(connect(address));
        assert_eq!(edge.accepted().1, redirects);
    }
    // There again, also while paused.
    edge.listeners.pause().wait_blocking();
    edge.apply(&config(&[(first, true)])).unwrap();
    drop(connect(first));
    assert!(is_closed(second) && is_closed(third));
    assert_eq!(take(edge.listeners.sockets().unwrap()), 1);
    edge.listeners.resume();
    drop(connect(first));
    assert!(edge.accepted().1);
    edge.stop();
}

#[test]
fn a_removed_listener_takes_what_the_kernel_has_accepted() {
    let [first, second] = [(); 2].map(|()| free_address());
    let edge = Edge::bind(&config(&[(first, true), (second, false)]), Inherited::default()).unwrap();
    let clients: Vec<_> = (0..20).map(|_| connect(first)).collect();
    let without = config(&[(second, false)]);
    let removed = edge.listeners.publish(edge.listeners.prepare(&without, &stores(&without)).unwrap());
    let mut edge = edge.start();
    removed.wait_blocking();
    assert!(is_closed(first));
    for _ in &clients {
        assert!(edge.accepted().1);
    }
    edge.stop();
}

#[test]
fn nothing_changes_when_an_added_listener_cannot_open() {
    let [first, second] = [(); 2].map(|()| free_address());
    let mut edge = Edge::bind(&config(&[(first, false)]), Inherited::default()).unwrap().start();
    let (_other, taken) = socket(false);
    let error = edge.apply(&config(&[(first, true), (second, false), (taken, false)])).unwrap_err();
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
    assert!(is_closed(second));
    drop(connect(first));
    assert!(!edge.accepted().1, "it has its settings");
    edge.stop();
}

#[test]
fn an_address_may_overlap_one_that_is_removed_for_it() {
    let loopback = free_address();
    let any = SocketAddr::from(([0, 0, 0, 0], loopback.port()));
    let mut edge = Edge::bind(&config(&[(loopback, false)]), Inherited::default()).unwrap().start();
    edge.apply(&config(&[(any, true)])).unwrap();
    drop(connect(loopback));
    assert!(edge.accepted().1);
    edge.stop();
}
