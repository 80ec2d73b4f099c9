//! Certificates that the edge obtains by itself, from a real CA of tests (`apt-get install pebble`).

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivateKeyDer};
use serde_json::json;

use crate::common::{
    Answer, Builder, Edge, connect, exchange, free_address, link,
    pebble::{self, Pebble, Settings},
    tls,
};

/// Seconds of a life in which no test sees a renewal.
const LONG: u64 = 86_400;

/// A CA, and the two addresses of an edge that it asks.
struct Site {
    ca: Pebble,
    http: SocketAddr,
    tls: SocketAddr,
}

impl Site {
    /// `None` where there is no CA. It is not running yet.
    fn new(validity: u64) -> Option<Self> {
        let binary = pebble::binary()?;
        let (http, tls) = (free_address(), free_address());
        Some(Self { ca: Pebble::prepare(binary, &Settings { http, tls, validity }), http, tls })
    }

    fn running(validity: u64) -> Option<Self> {
        let mut site = Self::new(validity)?;
        site.ca.start();
        Some(site)
    }

    /// An edge at these addresses, with more lines in its section.
    fn edge(&self, builder: Builder, more: &str) -> Builder {
        let dir = builder.dir().join("acme");
        edge(builder, self.http, self.tls, &self.ca.section(&dir, more))
    }
}

fn edge(builder: Builder, http: SocketAddr, tls: SocketAddr, section: &str) -> Builder {
    let listeners = format!(
        "[[listeners]]\naddress = \"{http}\"\nredirect_to_https = true\n\
         [[listeners]]\naddress = \"{tls}\"\nacme = true\n"
    );
    builder.section(&listeners).section(section)
}

/// The leaf that a client gets which names this server; `None` when the handshake fails.
fn leaf(address: SocketAddr, name: &str) -> Option<Vec<u8>> {
    let mut stream = tls::client(connect(None, address).ok()?, Some(name));
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).ok()?;
    }
    stream.conn.peer_certificates().map(|chain| chain[0].to_vec())
}

fn names_of(leaf: &[u8]) -> Vec<String> {
    let leaf = leaf.into();
    let leaf = webpki::EndEntityCert::try_from(&leaf).unwrap();
    leaf.valid_dns_names().map(str::to_owned).collect()
}

fn issued(edge: &Edge) -> i64 {
    edge.metric("clickedge_acme_orders_total{result=\"issued\"}")
}

#[track_caller]
fn wait_for(edge: &Edge, address: SocketAddr, name: &str) -> Vec<u8> {
    edge.wait_until(&format!("a certificate for {name}"), |_| leaf(address, name).is_some());
    leaf(address, name).unwrap()
}

/// All files below a folder, with their modes.
fn files_below(dir: &Path) -> Vec<(PathBuf, u32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let mode = path.metadata().unwrap().permissions().mode() & 0o777;
        if path.is_dir() {
            assert_eq!(mode, 0o700, "{}", path.display());
            found.extend(files_below(&path));
        } else {
            found.push((path, mode));
        }
    }
    found
}

/// What there is of a domain's certificate and of the edge's account, all of it private.
fn assert_private(dir: &Path, certificates: usize) {
    let files = files_below(dir);
    assert!(files.iter().all(|(_, mode)| *mode == 0o600), "{files:?}");
    let pem = files.iter().filter(|(path, _)| path.extension().is_some_and(|extension| extension == "pem"));
    assert_eq!(pem.count(), certificates, "{files:?}");
    assert!(files.iter().any(|(path, _)| path.ends_with("account.json")), "{files:?}");
    assert!(!files.iter().any(|(path, _)| path.ends_with("lock")), "the lock is open: {files:?}");
}

/// The request of a browser over TLS.
fn click(address: SocketAddr, name: &str) -> Answer {
    let mut stream = tls::client(connect(None, address).unwrap(), Some(name));
    let request = format!("GET /spring HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    Answer::parse(&String::from_utf8(text).unwrap()).unwrap()
}

fn obtains_by(challenge: &str) {
    let Some(site) = Site::running(LONG) else { return };
    let builder = Edge::builder().feed("all", &["*"]);
    let edge = site.edge(builder, &format!("catalog = true\nchallenge = \"{challenge}\"")).start();
    let first = wait_for(&edge, site.tls, "go.brand.com");
    assert_eq!(names_of(&first), ["go.brand.com"]);
    assert_eq!(click(site.tls, "go.brand.com").status, 302);
    edge.wait_until("the metrics", |edge| issued(edge) == 1);
    assert!(edge.metric(&format!("clickedge_acme_challenges_total{{type=\"{challenge}\"}}")) >= 1);
    assert_eq!((edge.metric("clickedge_acme_certificates"), edge.metric("clickedge_acme_names_missing")), (1, 0));
    assert_eq!(edge.metric("clickedge_tls_certificates"), 1);
    assert!(edge.metric("clickedge_acme_next_order_timestamp_seconds") > 0);
    assert_private(&edge.dir().join("acme"), 1);
    assert!(leaf(site.tls, "other.brand.com").is_none(), "no certificate of another name");

    // A new domain of the catalog gets one without a restart.
    edge.write_links(&[
        link("go.brand.com", "spring", "https://a.example/"),
        link("new.brand.com", "x", "https://b.example/"),
    ]);
    edge.signal("HUP");
    assert_eq!(names_of(&wait_for(&edge, site.tls, "new.brand.com")), ["new.brand.com"]);
    edge.wait_until("both", |edge| issued(edge) == 2);

    // Handshakes without a certificate failed until there was one.
    let bad =
        |line: &&str| (line.contains("WARN") || line.contains("ERROR")) && !line.contains("TLS handshakes failed");
    assert_eq!(edge.log().lines().find(bad), None);
    let stopped = edge.stop();
    assert_eq!(stopped.events("all").len(), 1, "a challenge is no click");

    // A restart has them at once, and orders nothing.
    let edge = stopped.restart();
    assert_eq!(leaf(site.tls, "go.brand.com"), Some(first));
    assert!(leaf(site.tls, "new.brand.com").is_some());
    assert_eq!((issued(&edge), edge.metric("clickedge_acme_names_missing")), (0, 0));
    assert_private(&edge.dir().join("acme"), 2);
}

#[test]
fn a_domain_of_the_catalog_gets_a_certificate_by_http_01() {
    obtains_by("http-01");
}

#[test]
fn a_domain_of_the_catalog_gets_a_certificate_by_tls_alpn_01() {
    obtains_by("tls-alpn-01");
}

#[test]
fn a_name_that_only_a_client_sends_is_never_ordered() {
    let Some(site) = Site::running(LONG) else { return };
    let builder = Edge::builder().link(link("parked.brand.com", "x", "https://a.example/")).link(link(
        "under_score.brand.com",
        "x",
        "https://a.example/",
    ));
    let more = "catalog = true\nexclude = [\"parked.brand.com\"]\ndomains = [\"listed.brand.com\"]";
    let edge = site.edge(builder, more).start();
    for name in ["foreign.example", "parked.brand.com", "under_score.brand.com"] {
        assert!(leaf(site.tls, name).is_none());
        let request =
            format!("GET /.well-known/acme-challenge/made-up HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
        let answer = exchange(connect(None, site.http).unwrap(), request.as_bytes()).unwrap();
        assert_eq!(answer.status, 301, "{name}: it goes on as any other request");
    }
    wait_for(&edge, site.tls, "go.brand.com");
    wait_for(&edge, site.tls, "listed.brand.com");
    edge.wait_until("two orders", |edge| issued(edge) == 2);
    assert_eq!(edge.metric("clickedge_acme_names_missing"), 0);
    let log = site.ca.log();
    for name in ["foreign.example", "parked.brand.com", "under_score"] {
        assert!(leaf(site.tls, name).is_none() && !log.contains(name), "{name}\n{log}");
    }
    assert!(log.contains("listed.brand.com"));
    // A token that the CA has not given is no answer, on both ways.
    let request =
        "GET /.well-known/acme-challenge/made-up HTTP/1.1\r\nHost: go.brand.com\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(connect(None, site.http).unwrap(), request.as_bytes()).unwrap().status, 301);
    assert_eq!(edge.raw(request.as_bytes()).unwrap().status, 404);
}

#[test]
fn a_certificate_is_renewed_before_it_ends_and_swapped_without_a_restart() {
    let Some(site) = Site::running(20) else { return };
    let edge = site.edge(Edge::builder(), "catalog = true").start();
    let first = wait_for(&edge, site.tls, "go.brand.com");
    let began = Instant::now();
    edge.wait_until("renewed", |_| leaf(site.tls, "go.brand.com").expect("a certificate all the time") != first);
    let after = began.elapsed();
    assert!((Duration::from_secs(8)..Duration::from_secs(19)).contains(&after), "{after:?}");
    edge.wait_until("two orders", |edge| issued(edge) >= 2);
    assert_private(&edge.dir().join("acme"), 1);
}

#[test]
fn an_operators_own_certificate_wins_and_is_not_ordered() {
    let Some(site) = Site::running(LONG) else { return };
    let builder = Edge::builder().link(link("own.brand.com", "x", "https://a.example/"));
    let (pair, own) = tls::certificate(builder.dir(), "own", &["own.brand.com"]);
    let dir = builder.dir().join("acme");
    let listeners = format!("[[listeners]]\naddress = \"{}\"\nacme = true\n{pair}", site.tls);
    let plain = format!("[[listeners]]\naddress = \"{}\"\n", site.http);
    let edge = builder.section(&plain).section(&listeners).section(&site.ca.section(&dir, "catalog = true")).start();
    edge.wait_until("the other one", |edge| issued(edge) == 1);
    // It is taken up a moment after it is counted.
    edge.wait_until("taken up", |_| names_of(&leaf(site.tls, "go.brand.com").unwrap()) == ["go.brand.com"]);
    assert_eq!(leaf(site.tls, "own.brand.com"), Some(own));
    assert!(!site.ca.log().contains("own.brand.com"));
}

#[test]
fn a_ca_that_is_down_is_asked_again_and_one_that_forgot_the_account_gets_a_new_one() {
    let Some(mut site) = Site::new(LONG) else { return };
    let edge = site.edge(Edge::builder(), "catalog = true").start();
    let unreachable = |edge: &Edge| edge.metric("clickedge_acme_orders_total{result=\"unreachable\"}");
    edge.wait_until("it has tried", |edge| unreachable(edge) >= 1);
    assert_eq!(edge.get("go.brand.com", "/spring").status, 302, "redirects go on");
    let log = edge.log();
    assert!(
        log.contains("a certificate could not be obtained") && log.contains("\"domain\":\"go.brand.com\""),
        "{log}"
    );
    assert_eq!(edge.metric("clickedge_acme_names_missing"), 1);
    site.ca.start();
    wait_for(&edge, site.tls, "go.brand.com");
    // It has lost everything when it starts again.
    site.ca.stop();
    site.ca.start();
    edge.write_links(&[
        link("go.brand.com", "spring", "https://a.example/"),
        link("new.brand.com", "x", "https://b.example/"),
    ]);
    edge.signal("HUP");
    wait_for(&edge, site.tls, "new.brand.com");
    assert!(edge.log().contains("accountDoesNotExist"), "{}", edge.log());
}

#[test]
fn a_name_that_the_ca_rejects_waits_and_holds_up_no_other() {
    let Some(site) = Site::running(LONG) else { return };
    // Of the two names, one leads to a server that knows no challenge.
    let builder = Edge::builder();
    let dir = builder.dir().join("acme");
    let (http, tls) = (free_address(), free_address());
    let gate =
        Gate::open(site.http, move |request| if request.contains("Host: bad.brand.com") { None } else { Some(http) });
    let builder = builder.link(link("bad.brand.com", "x", "https://a.example/"));
    let edge = edge(builder, http, tls, &site.ca.section(&dir, "catalog = true")).start();
    wait_for(&edge, tls, "go.brand.com");
    edge.wait_until("rejected", |edge| edge.metric("clickedge_acme_orders_total{result=\"rejected\"}") == 1);
    assert_eq!((edge.metric("clickedge_acme_names_failing"), edge.metric("clickedge_acme_names_missing")), (1, 1));
    let log = edge.log();
    let line = log.lines().find(|line| line.contains("the CA rejected an order")).unwrap();
    for said in ["\"domain\":\"bad.brand.com\"", "\"remedy\":\"", "\"retry_secs\":"] {
        assert!(line.contains(said), "{line}");
    }
    assert!(gate.passed.load(Relaxed) > 0);
    // The wait outlives the process.
    let edge = edge.stop().restart();
    assert_eq!(edge.metric("clickedge_acme_names_failing"), 1);
    let next = edge.metric("clickedge_acme_next_order_timestamp_seconds");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    assert!(next > now, "{next} {now}");
}

#[test]
fn a_ca_that_limits_orders_is_left_alone_for_as_long_as_it_says() {
    let ca = limiting_ca("7200");
    let builder = Edge::builder().link(link("b.brand.com", "x", "https://a.example/"));
    let (root, dir) = (builder.dir().join("ca.pem"), builder.dir().join("acme"));
    fs::write(&root, &ca.certificate).unwrap();
    let section = format!(
        "[acme]\naccept_terms = true\ndirectory_url = \"https://{}/dir\"\nroot_file = '{}'\ndir = '{}'\ncatalog = true\n",
        ca.address,
        root.display(),
        dir.display()
    );
    let edge = edge(builder, free_address(), free_address(), &section).start();
    let rejected = |edge: &Edge| edge.metric("clickedge_acme_orders_total{result=\"rejected\"}");
    edge.wait_until("rejected", |edge| rejected(edge) == 1);
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let next = |edge: &Edge| edge.metric("clickedge_acme_next_order_timestamp_seconds") - now();
    // The other name waits an hour, and this one for two.
    edge.wait_until("the next order is in an hour", |edge| (3_500..=3_600).contains(&next(edge)));
    let log = edge.log();
    let line = log.lines().find(|line| line.contains("the CA rejected an order")).unwrap();
    for said in ["too many orders (rateLimited)", "\"remedy\":\"wait", "\"retry_secs\":7200"] {
        assert!(line.contains(said), "{line}");
    }
    let edge = edge.stop().restart();
    edge.wait_until("it still waits", |edge| (3_400..=3_600).contains(&next(edge)));
    assert_eq!((rejected(&edge), ca.orders.load(Relaxed)), (0, 1));
}

#[test]
fn a_stop_does_not_wait_for_a_ca_that_does_not_answer() {
    let ca = TcpListener::bind("127.0.0.1:0").unwrap();
    let builder = Edge::builder();
    tls::certificate(builder.dir(), "ca", &["127.0.0.1"]);
    let section = format!(
        "[acme]\naccept_terms = true\ndirectory_url = \"https://{}/\"\nroot_file = \"ca.pem\"\ndir = \"acme\"\n\
         catalog = true\n",
        ca.local_addr().unwrap()
    );
    let edge = edge(builder, free_address(), free_address(), &section).start();
    let _asked = ca.accept().unwrap();
    let lock = |dir: &Path| files_below(&dir.join("acme")).iter().any(|(path, _)| path.ends_with("lock"));
    assert!(lock(edge.dir()), "an order is under way");
    let began = Instant::now();
    let stopped = edge.stop();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(!lock(stopped.dir()), "the next process need not wait");
}

#[test]
fn edges_that_share_a_folder_share_the_order_and_each_answers_the_ca() {
    for challenge in ["http-01", "tls-alpn-01"] {
        let Some(mut site) = Site::new(LONG) else { return };
        let shared = tempfile::tempdir().unwrap();
        let names = ["a.brand.com", "b.brand.com", "c.brand.com"];
        let edges: Vec<_> = (0..2)
            .map(|_| {
                let (http, tls) = (free_address(), free_address());
                let builder = names
                    .iter()
                    .fold(Edge::builder(), |builder, name| builder.link(link(name, "x", "https://a.example/")));
                let more = format!("domains = {names:?}\nchallenge = \"{challenge}\"");
                (edge(builder, http, tls, &site.ca.section(shared.path(), &more)), http, tls)
            })
            .collect();
        // As an address behind which either of them may be asked.
        let turn = AtomicUsize::new(0);
        let targets: Vec<_> =
            edges.iter().map(|(_, http, tls)| if challenge == "http-01" { *http } else { *tls }).collect();
        let at = if challenge == "http-01" { site.http } else { site.tls };
        let gate = Gate::open(at, move |_| Some(targets[turn.fetch_add(1, Relaxed) % 2]));
        let edges: Vec<_> = edges.into_iter().map(|(builder, _, tls)| (builder.start(), tls)).collect();
        site.ca.start();
        for name in names {
            let leaves: Vec<_> = edges.iter().map(|(edge, tls)| wait_for(edge, *tls, name)).collect();
            assert_eq!(leaves[0], leaves[1], "{challenge}: one certificate for both");
        }
        edges[0].0.wait_until("the metrics", |_| edges.iter().map(|(edge, _)| issued(edge)).sum::<i64>() == 3);
        for (edge, _) in &edges {
            let answered = edge.metric(&format!("clickedge_acme_challenges_total{{type=\"{challenge}\"}}"));
            assert!(answered > 0, "{challenge}: each has answered\n{}", edge.log());
            assert_eq!(edge.metric("clickedge_acme_orders_total{result=\"rejected\"}"), 0);
        }
        assert!(gate.passed.load(Relaxed) >= 3);
        assert_private(shared.path(), 3);
    }
}

/// A CA that has accounts and no orders.
struct LimitingCa {
    address: SocketAddr,
    /// PEM.
    certificate: String,
    orders: Arc<AtomicUsize>,
}

fn limiting_ca(retry_after: &'static str) -> LimitingCa {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
    let (address, orders) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&orders);
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = BufReader::new(StreamOwned::new(tls, socket));
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).is_ok_and(|read| read > 0) {}
            let lines = head.lines().filter_map(|line| line.split_once(": "));
            let length =
                lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-length")).map(|(_, value)| value);
            let mut body = vec![0; length.map(|length| length.parse::<usize>().unwrap()).sum()];
            _ = stream.read_exact(&mut body);
            let url = |path: &str| format!("https://{address}/{path}");
            let (status, more, body) = match head.split(' ').nth(1).unwrap_or_default() {
                "/dir" => {
                    let urls =
                        json!({"newNonce": url("nonce"), "newAccount": url("account"), "newOrder": url("order")});
                    ("200 OK", String::new(), urls)
                }
                "/account" => ("201 Created", format!("Location: {}\r\n", url("me")), json!({"status": "valid"})),
                "/order" => {
                    count.fetch_add(1, Relaxed);
                    let kind = "urn:ietf:params:acme:error:rateLimited";
                    let problem = json!({"type": kind, "detail": "too many orders", "status": 429});
                    ("429 Too Many Requests", format!("Retry-After: {retry_after}\r\n"), problem)
                }
                _ => ("200 OK", String::new(), json!({})),
            };
            let body = if head.starts_with("HEAD") { String::new() } else { body.to_string() };
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\nReplay-Nonce: n\r\n{more}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            let stream = stream.get_mut();
            _ = stream.write_all(answer.as_bytes());
            stream.conn.send_close_notify();
            _ = stream.flush();
        }
    });
    LimitingCa { address, certificate: made.cert.pem(), orders }
}

/// A gate in front of edges, which decides by the first bytes where a connection leads.
struct Gate {
    passed: Arc<AtomicUsize>,
}

impl Gate {
    fn open(at: SocketAddr, target: impl Fn(&str) -> Option<SocketAddr> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(at).unwrap();
        let passed = Arc::new(AtomicUsize::new(0));
        let (count, target) = (Arc::clone(&passed), Arc::new(target));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (count, target) = (Arc::clone(&count), Arc::clone(&target));
                thread::spawn(move || {
                    let mut first = [0; 4_096];
                    let Ok(length) = (&client).read(&mut first) else { return };
                    let Some(to) = target(&String::from_utf8_lossy(&first[..length])) else { return };
                    let Ok(mut server) = TcpStream::connect(to) else { return };
                    count.fetch_add(1, Relaxed);
                    _ = server.write_all(&first[..length]);
                    let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                    thread::spawn(move || {
                        _ = std::io::copy(&mut from, &mut to);
                        _ = to.shutdown(std::net::Shutdown::Write);
                    });
                    _ = std::io::copy(&mut &server, &mut &client);
                    _ = client.shutdown(std::net::Shutdown::Both);
                });
            }
        });
        Self { passed }
    }
}
