//! The redirect stage as a plugin: inside another Pingora proxy, with the pipeline behind it.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use clickedge::{Pipeline, Redirector, config};
use pingora::{
    prelude::{HttpPeer, ProxyHttp, Session, http_proxy_service},
    server::{RunArgs, Server, ShutdownSignal, ShutdownSignalWatch, configuration::ServerConf},
};
use tokio::sync::Notify;

use crate::common::{Answer, TIMEOUT, clicks::parameter, events_below, free_address, link};

/// Another project's proxy: the plugin answers links, the rest goes to its own server.
struct TheirProxy {
    links: Redirector,
    upstream: SocketAddr,
}

#[async_trait]
impl ProxyHttp for TheirProxy {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, (): &mut ()) -> pingora::Result<bool> {
        self.links.handle(session).await
    }

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }
}

/// Stops the server when the test says so, instead of at a signal to the whole test process.
struct Stop(Arc<Notify>);

#[async_trait]
impl ShutdownSignalWatch for Stop {
    async fn recv(&self) -> ShutdownSignal {
        self.0.notified().await;
        ShutdownSignal::GracefulTerminate
    }
}

/// Runs their proxy on a thread of its own.
pub fn run(links: Redirector, upstream: SocketAddr) -> (SocketAddr, Arc<Notify>, thread::JoinHandle<()>) {
    let (address, stop) = (free_address(), Arc::new(Notify::new()));
    let shutdown_signal = Box::new(Stop(Arc::clone(&stop)));
    let thread = thread::spawn(move || {
        let conf = ServerConf {
            grace_period_seconds: Some(0),
            graceful_shutdown_timeout_seconds: Some(1),
            ..ServerConf::default()
        };
        let mut server = Server::new_with_opt_and_conf(None, conf);
        server.bootstrap();
        let mut service = http_proxy_service(&server.configuration, TheirProxy { links, upstream });
        service.add_tcp(&address.to_string());
        server.add_service(service);
        server.run(RunArgs { shutdown_signal });
    });
    let until = Instant::now() + TIMEOUT;
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < until, "their proxy does not listen");
        thread::sleep(Duration::from_millis(10));
    }
    (address, stop, thread)
}

fn exchange(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    Answer::parse(&text).unwrap_or_else(|| panic!("{text}"))
}

/// A server that answers one request with the request itself.
fn mirror() -> (SocketAddr, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\nhello") {
            assert_eq!(stream.read(&mut byte).unwrap(), 1, "{}", request.escape_ascii());
            request.push(byte[0]);
        }
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", request.len()).unwrap();
        stream.write_all(&request).unwrap();
    });
    (address, thread)
}

#[test]
fn a_foreign_proxy_answers_links_delivers_their_clicks_and_keeps_its_own_traffic() {
    let (dir, rings) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
    let links = link("go.brand.com", "spring", "https://www.example.com/spring").to_string();
    fs::write(dir.path().join("links.ndjson"), links).unwrap();
    // Without a listener: their own proxy listens.
    let text = format!(
        "[edge]\npop = \"theirs\"\n[catalog]\nfile = \"links.ndjson\"\n\
         [capture]\ndir = '{}/rings'\nring_bytes = 4194304\n\
         [spool]\ndir = \"spool\"\n[[feeds]]\nname = \"all\"\nworkspaces = [\"*\"]\nsink.dir.path = \"bucket\"\n",
        rings.path().display()
    );
    fs::write(dir.path().join("clickedge.toml"), text).unwrap();
    let config = config::load(&dir.path().join("clickedge.toml")).unwrap();
    let pipeline = Pipeline::start(&config).unwrap();
    let (upstream, mirror) = mirror();
    let (address, stop, server) = run(pipeline.redirector(), upstream);

    let answer = exchange(
        address,
        "GET /spring?utm_term=poster HTTP/1.1\r\nHost: GO.brand.com\r\nUser-Agent: curl/8.5.0\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(answer.status, 302);
    assert_eq!(answer.header("location"), Some("https://www.example.com/spring?utm_term=poster"));
    assert_eq!((answer.header("content-length"), &*answer.body), (Some("0"), ""));
    let answer = exchange(address, "GET /nothing HTTP/1.1\r\nHost: go.brand.com\r\nConnection: close\r\n\r\n");
    assert!(answer.status == 404 && answer.body.contains("There is no such link."), "{}", answer.body);

    let request =
        "POST /spring?a=%20b HTTP/1.1\r\nHost: www.theirs.example\r\nContent-Length: 5\r\nX-Mine: 1\r\n\r\nhello";
    let answer = exchange(address, &request.replace("X-Mine", "Connection: close\r\nX-Mine"));
    assert_eq!(answer.status, 200);
    let (seen, sent) = (answer.body.to_ascii_lowercase(), request.to_ascii_lowercase());
    for line in sent.lines().filter(|line| !line.is_empty()) {
        assert!(seen.contains(line), "{line} reaches their server: {seen}");
    }
    mirror.join().unwrap();

    stop.notify_one();
    server.join().unwrap();
    let account = pipeline.drain(TIMEOUT);
    assert_eq!((account.answered, account.delivered, account.pending), (1, 1, 0));
    let events = events_below(&dir.path().join("bucket"));
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["route"]["slashtag"], "spring");
    assert_eq!(parameter(&events[0], "utm_term"), Some("poster"));
    assert_eq!(events[0]["client"]["agent"]["bot"]["name"], "curl");
    assert_eq!(events[0]["edge"]["pop"], "theirs");
}
