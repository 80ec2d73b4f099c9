//! Certificates of many domains: a folder that is watched, two kinds of keys, expiry, the secret of tickets, and what
//! else a connection is bound to: the hosts of its certificate, and HSTS.

use std::{
    fs,
    io::{Read, Write},
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::{HandshakeKind, SignatureScheme};
use serde_json::json;

use crate::common::{
    Answer, Builder, CHROME, Edge, cli, connect, free_address, link,
    tls::{self, RSA_KEY, Verifies},
};

/// Writes a pair for these names, the way that renewals do: aside, and renamed. Returns the leaf.
fn write(dir: &Path, certificate: &str, private: &str, names: &[&str], key: &KeyPair, ends_in: Duration) -> Vec<u8> {
    let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(1970, 1, 1) + now + ends_in;
    let made = params.self_signed(key).unwrap();
    for (name, text) in [(certificate, made.pem()), (private, key.serialize_pem())] {
        let (path, aside) = (dir.join(name), dir.join(format!(".{}", name.replace('/', "-"))));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&aside, text).unwrap();
        fs::rename(aside, path).unwrap();
    }
    made.der().to_vec()
}

const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// A pair `label.pem` and `label.key` with an ECDSA key, good for a year.
fn pair(dir: &Path, label: &str, names: &[&str]) -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    write(dir, &format!("{label}.pem"), &format!("{label}.key"), names, &key, YEAR)
}

fn rsa_pair(dir: &Path, label: &str, names: &[&str]) -> Vec<u8> {
    let key = KeyPair::from_pem(RSA_KEY).unwrap();
    write(dir, &format!("{label}.pem"), &format!("{label}.key"), names, &key, YEAR)
}

/// An edge whose second socket has the certificates in `certs`.
fn start(builder: Builder, tls: &str) -> (Edge, SocketAddr) {
    let address = free_address();
    let listener = format!("[[listeners]]\naddress = \"{address}\"\ncertificates_dir = \"certs\"\n[tls]\n{tls}");
    (builder.section(&listener).start(), address)
}

/// The leaf that a client gets which names this server.
pub(crate) fn leaf(address: SocketAddr, name: &str) -> Vec<u8> {
    leaf_of(address, name, &Verifies::default()).expect("a handshake")
}

fn leaf_of(address: SocketAddr, name: &str, verifies: &Verifies) -> Option<Vec<u8>> {
    let mut stream = tls::with(Arc::new(tls::verifying(verifies)), connect(None, address).unwrap(), name);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).ok()?;
    }
    stream.conn.peer_certificates().map(|chain| chain[0].to_vec())
}

/// What comes back for a request over TLS, without its date.
fn ask(address: SocketAddr, server: Option<&str>, request: &str) -> String {
    let mut stream = tls::client(connect(None, address).unwrap(), server);
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    let text = String::from_utf8(text).unwrap();
    text.split("\r\n").filter(|line| !line.starts_with("Date: ")).collect::<Vec<_>>().join("\r\n")
}

fn reloads(edge: &Edge, result: &str) -> i64 {
    edge.metric(&format!("clickedge_reloads_total{{result=\"{result}\",what=\"certificates\"}}"))
}

/// Sends SIGHUP, and waits for what came of the certificates.
#[track_caller]
fn reload(edge: &Edge, result: &str) {
    let before = reloads(edge, result);
    edge.signal("HUP");
    edge.wait_until(&format!("reloaded: {result}"), |edge| reloads(edge, result) > before);
}

#[test]
fn a_folder_is_read_at_start_and_again_at_sighup() {
    let builder = Edge::builder();
    let certs = builder.dir().join("certs");
    let a = pair(&certs, "a", &["a.example"]);
    let (edge, address) = start(builder, "watch_secs = 0");
    assert!(leaf(address, "a.example") == a && leaf(address, "b.example") == a, "the first one is the default");
    let b = write(
        &certs,
        "b/fullchain.pem",
        "b/privkey.pem",
        &["b.example", "*.b.example"],
        &KeyPair::generate().unwrap(),
        YEAR,
    );
    assert!(leaf(address, "b.example") == a, "nothing changes before the signal");
    reload(&edge, "ok");
    assert!(leaf(address, "b.example") == b && leaf(address, "x.b.example") == b && leaf(address, "a.example") == a);
    assert_eq!(edge.metric("clickedge_tls_certificates"), 2);

    // A pair that breaks keeps its previous version, and no other from being renewed or from disappearing.
    let default = pair(&certs, "default", &["default.example"]);
    let new_b = pair(&certs, "b-2", &["b.example"]);
    fs::remove_dir_all(certs.join("b")).unwrap();
    fs::write(certs.join("a.pem"), "half").unwrap();
    pair(&certs, "c", &["c.example"]);
    fs::copy(certs.join("b-2.key"), certs.join("c.key")).unwrap();
    reload(&edge, "failed");
    assert!(leaf(address, "a.example") == a && leaf(address, "b.example") == new_b);
    assert!(leaf(address, "x.b.example") == default && leaf(address, "c.example") == default);
    assert_eq!(edge.metric("clickedge_resource_last_reload_successful{resource=\"certificates\"}"), 0);
    let log = edge.log();
    for said in ["the pair `a` is rejected: ", "its previous version stays active", "the pair `c` is rejected: "] {
        assert!(log.contains(said), "{said}");
    }

    // A folder that is suddenly empty, or gone, changes nothing.
    let aside = certs.with_extension("aside");
    fs::rename(&certs, &aside).unwrap();
    reload(&edge, "failed");
    fs::create_dir(&certs).unwrap();
    reload(&edge, "failed");
    assert!(leaf(address, "a.example") == a && leaf(address, "b.example") == new_b);
    fs::remove_dir(&certs).unwrap();
    fs::rename(&aside, &certs).unwrap();
    for name in ["a.pem", "a.key", "c.pem", "c.key"] {
        fs::remove_file(certs.join(name)).unwrap();
    }
    reload(&edge, "ok");
    assert!(leaf(address, "a.example") == default, "a removed pair has disappeared");
    // Set after the counter that `reload` waits for.
    edge.wait_until("all is well", |edge| {
        edge.metric("clickedge_resource_last_reload_successful{resource=\"certificates\"}") == 1
            && edge.metric("clickedge_config_last_reload_successful") == 1
    });
}

#[test]
fn a_watched_folder_is_read_when_it_changes_and_logged_once() {
    let builder = Edge::builder();
    let certs = builder.dir().join("certs");
    pair(&certs, "a", &["a.example"]);
    let (edge, address) = start(builder, "watch_secs = 1");
    let renewed = pair(&certs, "a", &["a.example"]);
    edge.wait_until("renewed", |_| leaf(address, "a.example") == renewed);
    fs::write(certs.join("bad.pem"), "x").unwrap();
    let wait = |name: &str, result: &str, times: i64| {
        edge.wait_until(name, |edge| reloads(edge, result) == times);
    };
    wait("rejected", "failed", 1);
    let b = pair(&certs, "b", &["b.example"]);
    edge.wait_until("the next one is taken", |_| leaf(address, "b.example") == b);
    wait("rejected again", "failed", 2);
    fs::remove_file(certs.join("bad.pem")).unwrap();
    wait("all is well", "ok", 2);
    assert_eq!(edge.log().matches("the pair `bad` is rejected").count(), 2, "once for each reading");
}

#[test]
fn handshakes_go_on_while_hundreds_of_certificates_are_replaced() {
    let builder = Edge::builder();
    let certs = builder.dir().join("certs");
    let key = KeyPair::generate().unwrap();
    let write_all = |generation: usize| {
        for n in 0..300 {
            let names = [format!("d{n}.example"), format!("g{generation}.example")];
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            write(&certs, &format!("{n}.pem"), &format!("{n}.key"), &names, &key, YEAR);
        }
    };
    write_all(0);
    let (edge, address) = start(builder, "watch_secs = 0");
    assert_eq!(edge.metric("clickedge_tls_certificates"), 300);
    let (done, shaken) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for n in (0..300).cycle() {
                    if done.load(Relaxed) {
                        return;
                    }
                    leaf(address, &format!("d{n}.example"));
                    shaken.fetch_add(1, Relaxed);
                }
            });
        }
        for generation in 1..4 {
            write_all(generation);
            let before = shaken.load(Relaxed);
            reload(&edge, "ok");
            edge.wait_until("handshakes go on", |_| shaken.load(Relaxed) > before + 2);
        }
        done.store(true, Relaxed);
    });
    assert_eq!(edge.metric("clickedge_connections_ended_total{reason=\"handshake_failed\"}"), 0);
}

#[test]
fn check_reads_the_folder_and_starts_without_what_is_bad() {
    let builder = Edge::builder();
    let certs = builder.dir().join("certs");
    let a = pair(&certs, "a", &["a.example"]);
    let over = Duration::from_secs(3 * 86_400);
    write(&certs, "soon.pem", "soon.key", &["soon.example"], &KeyPair::generate().unwrap(), over);
    fs::write(certs.join("bad.pem"), "x").unwrap();
    let (edge, address) = start(builder, "watch_secs = 0");
    assert!(leaf(address, "a.example") == a);
    let config = edge.dir().join("clickedge.toml");
    let check = || cli::clickedge(&["check", config.to_str().unwrap()]);
    let found = check();
    assert_eq!(found.code, 0, "{}", found.stderr);
    for said in ["the pair `bad` is rejected: ", "1 certificates expire within 14 days", "2 private keys"] {
        assert!(found.stdout.contains(said), "{}", found.stdout);
    }
    fs::remove_dir_all(&certs).unwrap();
    check().fails(66, "`listeners[1].certificates_dir` is rejected: cannot read the folder of certificates");
    fs::create_dir(&certs).unwrap();
    check().fails(66, "has no pair");
    fs::write(certs.join("bad.pem"), "x").unwrap();
    fs::write(certs.join("bad.key"), "x").unwrap();
    check().fails(65, "none of the 1 pairs");
}

#[test]
fn a_client_gets_the_kind_of_key_that_it_can_verify() {
    let builder = Edge::builder();
    let certs = builder.dir().join("certs");
    let (rsa, ecdsa) = (rsa_pair(&certs, "a.rsa", &["a.example"]), pair(&certs, "a.ecdsa", &["a.example"]));
    let (wild, only_rsa) = (pair(&certs, "wild", &["*.brand.example"]), rsa_pair(&certs, "b", &["b.brand.example"]));
    let (_edge, address) = start(builder, "watch_secs = 0");
    let only = |schemes: &[SignatureScheme]| Verifies { schemes: Some(schemes.to_vec()), ..Verifies::default() };
    let old = only(&[SignatureScheme::RSA_PSS_SHA256, SignatureScheme::RSA_PKCS1_SHA256]);
    let both = only(&[SignatureScheme::RSA_PSS_SHA256, SignatureScheme::ECDSA_NISTP256_SHA256]);
    // TLS 1.2 says it with its suites, too.
    let suites = Verifies { rsa_suites: true, ..Verifies::default() };
    for (name, verifies, expected) in [
        ("a.example", &both, &ecdsa),
        ("a.example", &old, &rsa),
        ("a.example", &suites, &rsa),
        ("unknown.example", &both, &ecdsa),
        ("unknown.example", &old, &rsa),
        ("x.brand.example", &both, &wild),
        ("b.brand.example", &both, &only_rsa),
        ("b.brand.example", &old, &only_rsa),
    ] {
        assert!(leaf_of(address, name, verifies).as_ref() == Some(expected), "{name} {verifies:?}");
    }
    assert_eq!(leaf_of(address, "x.brand.example", &old), None, "it can verify no certificate of that name");
}

#[test]
fn certificates_that_expire_are_counted_and_stay_until_they_are_replaced() {
    let builder = Edge::builder();
    let certs = builder.dir().join("certs");
    let seconds = Duration::from_secs;
    let write = |label: &str, ends_in: Duration| {
        let name = format!("{label}.example");
        let key = KeyPair::generate().unwrap();
        write(&certs, &format!("{label}.pem"), &format!("{label}.key"), &[&name], &key, ends_in)
    };
    write("year", YEAR);
    write("week", seconds(7 * 86_400));
    let old = write("moment", seconds(12));
    let end = (SystemTime::now() + seconds(12)).duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let (edge, address) = start(builder, "watch_secs = 0");
    let metric = |name: &str| edge.metric(&format!("clickedge_tls_certificate{name}"));
    assert_eq!(metric("s"), 3);
    assert!((end - 3..=end).contains(&metric("_expiry_timestamp_seconds")), "{end}");
    assert_eq!(metric("s_expiring") + metric("s_expired"), 2);
    edge.wait_until("one has expired", |_| metric("s_expired") == 1);
    assert_eq!(metric("s_expiring"), 1);
    assert!(leaf(address, "moment.example") == old);
    reload(&edge, "ok");
    assert!(leaf(address, "moment.example") == old, "no file has changed");
    assert!(edge.log().contains("1 certificates have expired; renew them: "));
    let new = write("moment", YEAR);
    reload(&edge, "ok");
    assert!(leaf(address, "moment.example") == new);
    assert_eq!((metric("s"), metric("s_expired"), metric("s_expiring")), (3, 0, 1));
}

#[test]
fn a_client_that_prefers_chacha20_gets_it() {
    let builder = Edge::builder();
    pair(&builder.dir().join("certs"), "a", &["a.example"]);
    let (_edge, address) = start(builder, "watch_secs = 0");
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        for (first, expected) in [("CHACHA20", "CHACHA20"), ("AES_128", "AES_128"), ("AES_256", "AES_128")] {
            let config = Arc::new(tls::preferring(version, first));
            for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
                let mut stream = tls::with(Arc::clone(&config), connect(None, address).unwrap(), "a.example");
                write!(stream, "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n").unwrap();
                let _ = stream.read_to_end(&mut Vec::new());
                let suite = format!("{:?}", stream.conn.negotiated_cipher_suite().unwrap().suite());
                assert!(suite.contains(expected), "{version:?} {first}: {suite}");
                assert_eq!(stream.conn.handshake_kind(), Some(kind), "{suite}");
            }
        }
    }
}

/// One click over TLS with a client that remembers sessions. Returns how it shook hands.
fn shake(address: SocketAddr, config: &Arc<rustls::ClientConfig>) -> HandshakeKind {
    let mut stream = tls::with(Arc::clone(config), connect(None, address).unwrap(), "go.brand.com");
    write!(stream, "GET /spring HTTP/1.1\r\nHost: go.brand.com\r\nConnection: close\r\n\r\n").unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
    stream.conn.handshake_kind().unwrap()
}

#[test]
fn a_session_is_resumed_after_ten_thousand_others() {
    let builder = Edge::builder();
    pair(&builder.dir().join("certs"), "a", &["go.brand.com"]);
    let (edge, address) = start(builder, "");
    let config = Arc::new(tls::remembering(&[&rustls::version::TLS13]));
    assert_eq!(shake(address, &config), HandshakeKind::Full);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2_500 {
                    let stranger = Arc::new(tls::remembering(&[&rustls::version::TLS13]));
                    assert_eq!(shake(address, &stranger), HandshakeKind::Full);
                }
            });
        }
    });
    assert_eq!(shake(address, &config), HandshakeKind::Resumed);
    let handshakes = |kind| edge.metric(&format!("clickedge_tls_handshakes_total{{result=\"{kind}\"}}"));
    assert_eq!((handshakes("full"), handshakes("resumed")), (10_001, 1));
}

#[test]
fn the_secret_of_tickets_is_replaced_at_sighup() {
    let edge = |secret: &str| {
        let builder = Edge::builder();
        pair(&builder.dir().join("certs"), "a", &["go.brand.com"]);
        fs::write(builder.dir().join("secret"), secret.repeat(32)).unwrap();
        start(builder, "ticket_secret_file = \"secret\"")
    };
    let ((edge, address), (_second, other)) = (edge("s"), edge("t"));
    let remembering = || Arc::new(tls::remembering(&[&rustls::version::TLS13]));
    let (old, new) = (remembering(), remembering());
    assert_eq!(shake(address, &old), HandshakeKind::Full);
    assert_eq!(shake(other, &new), HandshakeKind::Full);
    let before = remembering();
    shake(other, &before);
    assert_eq!(shake(address, &before), HandshakeKind::Full, "another secret");
    let secret = |text: &str, result: &str| {
        let name = format!("clickedge_reloads_total{{result=\"{result}\",what=\"ticket_secret\"}}");
        fs::write(edge.dir().join("secret"), text).unwrap();
        let before = edge.metric(&name);
        edge.signal("HUP");
        edge.wait_until(&name, |edge| edge.metric(&name) > before);
    };
    secret("short", "failed");
    assert!(edge.log().contains("must have 32 to 4096"));
    assert_eq!(shake(address, &old), HandshakeKind::Resumed, "the previous secret stays");
    secret(&"t".repeat(32), "ok");
    assert_eq!(shake(address, &new), HandshakeKind::Resumed, "a session of the other edge");
    assert_eq!(shake(address, &old), HandshakeKind::Resumed, "tickets of the former secret stay good");
    assert_eq!(shake(other, &old), HandshakeKind::Resumed, "the new ticket is of the new secret");
}

/// An edge with two links on domains of two certificates, and HSTS for one of them.
fn two_domains(fast_lane: bool) -> (Edge, SocketAddr) {
    let to = |domain: &str, slashtag: &str| link(domain, slashtag, "https://www.example.com/");
    let mut old = to("go.brand.com", "old");
    old["status"] = json!("expired");
    let builder = Edge::builder()
        .fast_lane(fast_lane)
        .link(to("acme.link", "spring"))
        .link(old)
        .section("[catalog.domains.\"go.brand.com\"]\nhsts = \"max-age=31536000; includeSubDomains\"")
        .section("[client_address]\ntrusted_proxies = [\"127.0.0.9/32\"]")
        .feed("all", &["*"]);
    let certs = builder.dir().join("certs");
    pair(&certs, "a", &["go.brand.com", "go2.brand.com"]);
    pair(&certs, "b", &["acme.link", "*.acme.link"]);
    start(builder, "watch_secs = 0")
}

#[test]
fn a_request_for_the_host_of_another_certificate_is_misdirected_on_both_ways() {
    let ((fast, fast_tls), (slow, slow_tls)) = (two_domains(true), two_domains(false));
    let mut misdirected = 0;
    for (server, host, status) in [
        (Some("go.brand.com"), "go.brand.com", 302),
        (Some("go.brand.com"), "GO.brand.com.:443", 302),
        (Some("go.brand.com"), "acme.link", 421),
        (Some("go.brand.com"), "ACME.link:443", 421),
        (Some("go.brand.com"), "x.acme.link", 421),
        (Some("go.brand.com"), "go2.brand.com", 404),
        (Some("go.brand.com"), "unknown.example", 404),
        (Some("acme.link"), "acme.link", 302),
        (Some("x.acme.link"), "acme.link", 302),
        (Some("acme.link"), "go.brand.com", 421),
        // The default, which covers it or not.
        (Some("unknown.example"), "go.brand.com", 302),
        (Some("unknown.example"), "unknown.example", 404),
        (Some("unknown.example"), "acme.link", 421),
        // Another connection would be no better.
        (None, "acme.link", 302),
    ] {
        for method in ["GET", "HEAD", "POST"] {
            let request = format!("{method} /spring HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            let (one, two) = (ask(fast_tls, server, &request), ask(slow_tls, server, &request));
            assert_eq!(one, two, "{server:?} {request}");
            let status = if method == "POST" && status == 302 { 405 } else { status };
            assert!(one.starts_with(&format!("HTTP/1.1 {status} ")), "{server:?} {request}{one}");
            misdirected += i64::from(status == 421);
        }
    }
    let absolute = "GET https://acme.link/spring HTTP/1.1\r\nHost: go.brand.com\r\nConnection: close\r\n\r\n";
    let two = "GET /spring HTTP/1.1\r\nHost: acme.link\r\n\r\nGET /spring HTTP/1.1\r\nHost: go.brand.com\r\nConnection: close\r\n\r\n";
    for (edge, address) in [(&fast, fast_tls), (&slow, slow_tls)] {
        assert!(ask(address, Some("go.brand.com"), absolute).starts_with("HTTP/1.1 421 "));
        let text = ask(address, Some("go.brand.com"), two);
        assert!(
            text.starts_with("HTTP/1.1 421 ") && text.contains("HTTP/1.1 302 "),
            "the connection goes on: {text}"
        );
        let metric = || edge.metric("clickedge_requests_total{outcome=\"misdirected\"}");
        assert_eq!(metric(), misdirected + 2);
        // HTTP/2: the bytes of the status are those of a fresh connection's first answer (RFC 7541).
        assert!(http2(address, "go.brand.com", "acme.link").contains("\x48\u{82}\x68\x41"));
        assert!(http2(address, "go.brand.com", "go.brand.com").contains("\x48\u{82}\x64\x02"));
        assert_eq!(metric(), misdirected + 3);
        assert_eq!(edge.get("acme.link", "/spring").status, 302, "plain sockets have no certificate");
        // A load balancer carries the requests of many hosts on one connection.
        let socket = connect(Some("127.0.0.9".parse().unwrap()), address).unwrap();
        let mut stream = tls::client(socket, Some("go.brand.com"));
        stream.write_all(b"GET /spring HTTP/1.1\r\nHost: acme.link\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        assert!(text.starts_with("HTTP/1.1 302 "), "{text}");
    }
    let (fast, slow) = (fast.stop().events("all").len(), slow.stop().events("all").len());
    assert_eq!(fast, slow, "what is misdirected is no click");
}

/// `GET /spring` over HTTP/2, as the only request of a connection. Returns everything that came back, a character for
/// each byte.
fn http2(address: SocketAddr, server: &str, host: &str) -> String {
    let mut config = tls::remembering(&[&rustls::version::TLS13]);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut stream = tls::with(Arc::new(config), connect(None, address).unwrap(), server);
    let text = |name: u8, value: &str| [&[name, value.len() as u8][..], value.as_bytes()].concat();
    // Indexed `:method: GET` and `:scheme: https`; `:path` and `:authority` with values of their own.
    let block = [&[0x82, 0x87][..], &text(0x04, "/spring"), &text(0x01, host)].concat();
    let headers = [&[0, 0, block.len() as u8, 1, 5, 0, 0, 0, 1][..], &block].concat();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    stream.write_all(&[&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings, &headers].concat()).unwrap();
    let mut all = Vec::new();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).unwrap();
        let mut frame = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        stream.read_exact(&mut frame).unwrap();
        all.extend(frame);
        // The headers of the answer.
        if head[3] == 1 {
            return all.into_iter().map(char::from).collect();
        }
    }
}

#[test]
fn hsts_is_sent_with_every_answer_of_its_domain_over_tls_and_with_no_other() {
    let ((fast, fast_tls), (_slow, slow_tls)) = (two_domains(true), two_domains(false));
    let line = "\r\nstrict-transport-security: max-age=31536000; includeSubDomains\r\n";
    for (target, method, status) in [
        ("/spring", "GET", 302),
        ("/spring", "HEAD", 302),
        ("/nothing", "GET", 404),
        ("/old", "GET", 410),
        ("/spring", "POST", 405),
        ("/%00", "GET", 400),
        ("/spring?%1b", "GET", 400),
    ] {
        let request = |host: &str| format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = ask(fast_tls, Some("go.brand.com"), &request("go.brand.com"));
        assert_eq!(answer, ask(slow_tls, Some("go.brand.com"), &request("go.brand.com")));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(line), "{answer}");
        for (server, host) in [("acme.link", "acme.link"), ("go.brand.com", "unknown.example")] {
            let (one, two) =
                (ask(fast_tls, Some(server), &request(host)), ask(slow_tls, Some(server), &request(host)));
            assert!(one == two && !one.contains("strict-transport"), "{one}");
        }
        let plain: Answer = fast.request(method, "go.brand.com", target, &[("User-Agent", CHROME)]);
        assert_eq!((plain.status, plain.header("strict-transport-security")), (status, None));
    }
}
