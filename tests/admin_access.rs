//! Who gets an answer from the admin listener: hosts, web pages, tokens, TLS, and the Unix socket with the commands
//! that use it.

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::Path,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::{
    common::{
        Answer, Builder, Edge, TIMEOUT,
        cli::{Outcome, clickedge},
        connect, exchange, tls,
    },
    links_api::token,
};

const OWN: &str = "Host: 127.0.0.1\r\n";

/// Routes of every kind.
const ROUTES: [&str; 10] = [
    "GET /livez",
    "GET /readyz",
    "GET /metrics",
    "GET /v1/stats/unknown",
    "POST /v1/reload",
    "POST /v1/feeds/all/retry",
    "GET /v1/links?domain=go.brand.com",
    "DELETE /v1/links/go.brand.com/spring",
    "GET /v1/openapi.json",
    "GET /nothing",
];

/// Sends a head; `lines` are its headers.
fn send(edge: &Edge, line: &str, lines: &str) -> Answer {
    let request = format!("{line} HTTP/1.1\r\n{lines}Connection: close\r\n\r\n");
    exchange(connect(None, edge.admin).unwrap(), request.as_bytes()).unwrap_or_else(|| panic!("{line} {lines}"))
}

/// Status and kind of a problem.
fn problem(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    let problem: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(problem["status"], answer.status);
    (answer.status, problem["type"].as_str().unwrap().rsplit(':').next().unwrap().to_owned())
}

fn config(dir: &Path) -> String {
    dir.join("clickedge.toml").display().to_string()
}

#[test]
fn no_route_answers_under_a_foreign_name_or_to_the_page_of_another_site() {
    let edge = Edge::builder().admin("hosts = [\"status.example.com\"]").feed("all", &["*"]).start();
    for line in ROUTES {
        for host in ["evil.example", "localhost.evil.example:9180", "127.0.0.1.nip.io", "[::1].evil.example", ""] {
            let answer = send(&edge, line, &format!("Host: {host}\r\n"));
            assert_eq!(problem(&answer), (421, "misdirected".into()), "{line} {host}");
        }
        for header in [
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Site: same-site",
            "Origin: https://evil.example",
            "Origin: null",
            "Origin: http://127.0.0.1:1",
        ] {
            let answer = send(&edge, line, &format!("{OWN}{header}\r\n"));
            assert_eq!(problem(&answer), (403, "web-page".into()), "{line} {header}");
            assert_eq!(answer.header("access-control-allow-origin"), None);
        }
    }
    let preflight = "Origin: https://evil.example\r\nAccess-Control-Request-Method: POST\r\n";
    assert_eq!(send(&edge, "OPTIONS /v1/reload", &format!("{OWN}{preflight}")).status, 403);
    assert_eq!(edge.metric("clickedge_reloads_total{result=\"ok\",what=\"config\"}"), 0, "no order came through");
    for host in ["localhost", "127.0.0.1:9180", "[::1]", "status.example.com:443", "10.0.0.7"] {
        let answer = send(&edge, "GET /metrics", &format!("Host: {host}\r\n"));
        assert_eq!(answer.status, 200, "{host}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    let page = "Host: localhost:9180\r\nOrigin: http://localhost:9180\r\nSec-Fetch-Site: same-origin\r\n".to_string();
    assert_eq!(send(&edge, "POST /v1/feeds/all/retry", &page).status, 202, "its own page");
}

#[test]
fn what_is_malformed_is_answered_as_such() {
    let edge = Edge::builder().start();
    let own = "Host: 127.0.0.1\r\nConnection: close\r\n";
    let heads: &[&[u8]] = &[
        b"GET /% HTTP/1.1\r\n",
        b"GET /%zz HTTP/1.1\r\n",
        b"GET /metrics%00 HTTP/1.1\r\n",
        b"GET /v1/stats/links/%ff HTTP/1.1\r\n",
        b"GET /v1/links/go.brand.com/%c0%ae%c0%ae HTTP/1.1\r\n",
        b"GET /metrics HTTP/1.1 extra\r\n",
        b"GET /me trics HTTP/1.1\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\n",
        b"GET /\x01 HTTP/1.1\r\n",
        b"GET \\metrics HTTP/1.1\r\n",
        b"GET /<script> HTTP/1.1\r\n",
        b"GET metrics HTTP/1.1\r\n",
        b"GET http://127.0.0.1/metrics HTTP/1.1\r\n",
        b"OPTIONS * HTTP/1.1\r\n",
        b"CONNECT 127.0.0.1:80 HTTP/1.1\r\n",
        b"G@T /metrics HTTP/1.1\r\n",
        b"GET /metrics HTTP/7\r\n",
        b"GET /metrics\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: 10.0.0.1\r\n",
        b"GET /metrics HTTP/1.1\r\nNo colon\r\n",
        b"GET /metrics HTTP/1.1\r\nSpace : x\r\n",
        b"GET /metrics HTTP/1.1\r\n folded\r\n",
        b"GET /metrics HTTP/1.1\r\nX: a\x00b\r\n",
        b"POST /v1/reload HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
        b"POST /v1/reload HTTP/1.1\r\nContent-Length: -1\r\n",
        b"POST /v1/reload HTTP/1.1\r\nTransfer-Encoding: gzip\r\n",
    ];
    for head in heads {
        let request = [head, own.as_bytes(), b"\r\n"].concat();
        let answer = exchange(connect(None, edge.admin).unwrap(), &request);
        let answer = answer.unwrap_or_else(|| panic!("no answer to {}", head.escape_ascii()));
        assert_eq!(problem(&answer), (400, "bad-request".into()), "{}", head.escape_ascii());
        assert_eq!(answer.header("content-length"), Some(&*answer.body.len().to_string()));
    }
    for head in [
        &b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1"[..],
        &vec![b'x'; 70_000],
        &[b"GET / HTTP/1.1\r\n", &b"a: b\r\n".repeat(200)[..]].concat(),
    ] {
        let answer = exchange(connect(None, edge.admin).unwrap(), head).expect("an answer");
        assert_eq!(problem(&answer).0, 400);
    }
    let answer = exchange(connect(None, edge.admin).unwrap(), b"GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert_eq!(answer.unwrap().status, 400, "no host");
    let answer = exchange(connect(None, edge.admin).unwrap(), b"GET /livez HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "alive\n"));
    assert_eq!(edge.admin("/livez").status, 200);
    assert!(!edge.log().contains("panicked"), "{}", edge.log());
}

#[test]
fn a_connection_is_kept_for_the_next_request() {
    let edge = Edge::builder().start();
    let mut stream = connect(None, edge.admin).unwrap();
    for body in ["alive\n", "ready\n"].repeat(5) {
        let path = if body == "alive\n" { "/livez" } else { "/readyz" };
        write!(stream, "GET {path} HTTP/1.1\r\n{OWN}\r\n").unwrap();
        let mut text = Vec::new();
        let mut byte = [0];
        while !text.ends_with(format!("\r\n\r\n{body}").as_bytes()) {
            assert_eq!(stream.read(&mut byte).unwrap(), 1, "{}", text.escape_ascii());
            text.push(byte[0]);
        }
    }
    write!(stream, "GET /% HTTP/1.1\r\n{OWN}\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 400 ") && text.contains("connection: close"), "{text}");
}

/// Tokens that read, change links, order the edge, and read in one workspace.
fn with_tokens(builder: Builder) -> (Builder, [String; 4]) {
    let made = [
        token(&["reads", "--read-only"]),
        token(&["writes"]),
        token(&["orders", "--admin"]),
        token(&["one", "--read-only", "--workspace", "w-1"]),
    ];
    fs::write(builder.dir().join("tokens"), made.each_ref().map(|(_, line)| line.as_str()).join("\n")).unwrap();
    (builder.admin("tokens_file = \"tokens\""), made.map(|(token, _)| token))
}

#[test]
fn with_tokens_each_route_needs_one_that_suffices() {
    let (builder, [reads, writes, orders, one]) = with_tokens(Edge::builder().feed("all", &["*"]));
    let edge = builder.start();
    let status = |line: &str, authorization: &str| {
        send(&edge, line, &format!("{OWN}Authorization: {authorization}\r\n")).status
    };
    for (line, statuses) in [
        ("GET /livez", [200; 5]),
        ("GET /readyz", [200; 5]),
        ("GET /v1/openapi.json", [200; 5]),
        ("GET /metrics", [401, 200, 200, 200, 403]),
        ("HEAD /metrics", [401, 200, 200, 200, 403]),
        ("GET /v1/stats/unknown", [401, 200, 200, 200, 403]),
        ("GET /v1/links?domain=go.brand.com", [401, 200, 200, 200, 200]),
        ("POST /v1/feeds/all/retry", [401, 403, 403, 202, 403]),
        ("POST /v1/reload", [401, 403, 403, 200, 403]),
    ] {
        let tokens = ["clickedge_unknown", &reads, &writes, &orders, &one];
        assert_eq!(tokens.map(|token| status(line, &format!("Bearer {token}"))), statuses, "{line}");
        let basic = |token: &str| format!("Basic {}", STANDARD.encode(format!("operator:{token}")));
        assert_eq!(tokens.map(|token| status(line, &basic(token))), statuses, "{line}");
    }
    let closed = send(&edge, "GET /metrics", OWN);
    assert_eq!(problem(&closed), (401, "unauthorized".into()));
    assert!(closed.header("www-authenticate").unwrap().starts_with("Basic realm="), "{closed:?}");
    assert!(edge.log().contains("\"who\":\"orders\""), "an order is recorded");
    for token in [&reads, &writes, &orders, &one] {
        assert!(!edge.log().contains(token.as_str()));
    }
    assert_eq!(edge.local("GET", "/metrics").status, 200, "the socket needs none");
}

#[test]
fn commands_use_the_socket_or_what_they_are_given() {
    let (builder, [reads, _, orders, _]) = with_tokens(Edge::builder().feed("all", &["*"]));
    let edge = builder.start();
    let config = config(edge.dir());
    let retry = |arguments: &[&str]| -> Outcome {
        clickedge(&[&["feed", "retry", "all", "--config", &config], arguments].concat())
    };
    let file = |name: &str, token: &str| {
        let path = edge.dir().join(name);
        fs::write(&path, format!("{token}\n")).unwrap();
        path.display().to_string()
    };
    let (reads, orders) = (file("reads", &reads), file("orders", &orders));
    let (url, socket) = (format!("http://{}", edge.admin), format!("unix:{}/admin.sock", edge.rings().display()));
    assert!(retry(&[]).ok().contains("retrying now"));
    assert!(retry(&["--admin", &socket]).ok().contains("retrying now"));
    assert!(retry(&["--admin", &url, "--token-file", &orders]).ok().contains("retrying now"));
    retry(&["--admin", &url]).fails(69, "answered 401");
    retry(&["--admin", &url]).fails(69, "--token-file");
    retry(&["--admin", &url, "--token-file", &reads]).fails(69, "orders nothing");
    retry(&["--admin", "127.0.0.1:9180"]).fails(64, "unix:PATH");
    retry(&["--admin", &url, "--token-file", "/does/not/exist"]).fails(66, "/does/not/exist");
    // Without the socket, the address is asked.
    fs::remove_file(edge.rings().join("admin.sock")).unwrap();
    retry(&[]).fails(69, "answered 401");
    assert!(retry(&["--token-file", &orders]).ok().contains("retrying now"));
}

#[test]
fn the_socket_is_private_survives_an_upgrade_and_ends_with_the_service() {
    let mut edge = Edge::builder().feed("all", &["*"]).start();
    let socket = edge.rings().join("admin.sock");
    let metadata = fs::metadata(&socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let foreign = "GET /livez HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    let stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    assert_eq!(exchange(stream, foreign.as_bytes()).unwrap().status, 200, "no web page reaches it");
    let output = edge.upgrade(&[]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(edge.local("GET", "/readyz").body, "ready\n", "the successor has its own in its place");
    let stopped = edge.terminate();
    assert!(!socket.exists());
    let edge = stopped.restart();
    assert_eq!(edge.local("GET", "/livez").status, 200);
    let stopped = edge.kill();
    assert!(socket.exists(), "left by a crash");
    let edge = stopped.restart();
    edge.wait_until("its own socket", |edge| edge.local("GET", "/livez").status == 200);
    drop(edge.stop());
    assert!(!socket.exists());
}

#[test]
fn another_path_is_used_for_the_socket_and_one_that_cannot_be_made_is_reported() {
    let builder = Edge::builder();
    let path = builder.dir().join("own.sock");
    let edge = builder.admin("socket = \"own.sock\"").start();
    let request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    assert_eq!(exchange(stream, request).unwrap().status, 200);
    drop(edge);
    let edge = Edge::builder().admin("socket = \"missing/own.sock\"").start();
    edge.wait_until("a warning", |edge| edge.log().contains("no admin socket"));
    assert!(edge.log().contains("admin.socket"), "with the remedy");
    assert_eq!(edge.admin("/readyz").status, 200, "it works without");
}

#[test]
fn a_listener_with_tls_takes_nothing_else_and_its_certificate_is_reloaded() {
    let builder = Edge::builder();
    let dir = builder.dir().to_owned();
    let (_, first) = tls::certificate(&dir, "admin", &["status.example.com"]);
    let edge = builder
        .admin(
            "hosts = [\"status.example.com\"]\ntls = { certificate_file = \"admin.pem\", key_file = \"admin.key\" }",
        )
        .start();
    let ask = || {
        let socket = connect(None, edge.admin).unwrap();
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        let mut stream = tls::client(socket, Some("status.example.com"));
        let request = "GET /readyz HTTP/1.1\r\nHost: status.example.com\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = Vec::new();
        _ = stream.read_to_end(&mut text);
        let certificate = stream.conn.peer_certificates().unwrap()[0].to_vec();
        (Answer::parse(&String::from_utf8(text).unwrap()).unwrap(), certificate)
    };
    let (answer, certificate) = ask();
    assert_eq!((answer.status, answer.body.as_str(), certificate == first), (200, "ready\n", true));
    let plain = exchange(connect(None, edge.admin).unwrap(), b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(plain.is_none(), "{plain:?}");

    let config = config(&dir);
    let (url, ca) = (format!("https://localhost:{}", edge.admin.port()), dir.join("admin.pem"));
    let retry = |arguments: &[&str]| clickedge(&[&["feed", "retry", "x", "--config", &config], arguments].concat());
    retry(&["--admin", &url, "--ca-file", ca.to_str().unwrap()]).fails(69, "certificate");

    let (_, second) = tls::certificate(&dir, "admin", &["status.example.com", "localhost"]);
    assert_eq!(edge.local("POST", "/v1/reload").status, 200);
    let (answer, certificate) = ask();
    assert_eq!((answer.status, certificate == second), (200, true));
    retry(&["--admin", &url, "--ca-file", ca.to_str().unwrap()]).fails(64, "there is no feed \"x\"");

    fs::write(dir.join("admin.pem"), "no certificate").unwrap();
    assert_eq!(edge.local("POST", "/v1/reload").status, 422);
    assert!(ask().1 == second, "the previous one stays");
    assert_eq!(edge.metric("clickedge_tls_certificates"), 1);
}

#[test]
fn check_warns_of_an_address_that_others_reach_without_tokens_or_tls() {
    let edge = Edge::builder().start();
    let stopped = edge.stop();
    let admin = stopped.admin;
    stopped.reconfigure(|config| config.replace(&admin.to_string(), &format!("0.0.0.0:{}", admin.port())));
    let outcome = clickedge(&["check", &config(stopped.dir())]);
    let text = outcome.stdout + &outcome.stderr;
    assert_eq!(outcome.code, 0, "{text}");
    assert!(text.contains("without a token") && text.contains("in clear text"), "{text}");
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let edge = Edge::builder().feed("all", &["*"]).start();
    let body = "Content-Length: 5\r\n\r\nhello";
    let requests = format!(
        "GET /livez HTTP/1.1\r\n{OWN}\r\nGET /nothing HTTP/1.1\r\n{OWN}\r\n\
         POST /v1/feeds/all/retry HTTP/1.1\r\n{OWN}{body}GET /readyz HTTP/1.1\r\n{OWN}Connection: close\r\n\r\n"
    );
    let mut stream = connect(None, edge.admin).unwrap();
    stream.write_all(requests.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let statuses: Vec<_> = text.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200", "404", "202", "200"], "{text}");
    assert!(text.contains("alive\n") && text.ends_with("ready\n"), "{text}");
}

#[test]
fn a_token_file_that_all_may_write_is_warned_of_and_one_that_all_may_read_is_not() {
    let (builder, _) = with_tokens(Edge::builder());
    let file = builder.dir().join("tokens");
    let edge = builder.start();
    for (mode, warned) in [(0o644, false), (0o666, true)] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let checked = clickedge(&["check", &config(edge.dir())]);
        assert_eq!(checked.code, 0, "{}", checked.stderr);
        assert_eq!(checked.stdout.contains("may write it, and so make tokens"), warned, "{}", checked.stdout);
    }
    let edge = edge.terminate().restart();
    assert!(edge.log().contains("may write it, and so make tokens"), "{}", edge.log());
}

#[test]
fn a_socket_whose_path_is_too_long_is_rejected_before_it_is_bound() {
    let edge = Edge::builder().start();
    let file = config(edge.dir());
    let text = fs::read_to_string(&file).unwrap();
    // Shorter than the limit as it is written, and longer behind the folder of the configuration.
    let socket = "x".repeat(105);
    fs::write(&file, text.replace("[admin]\n", &format!("[admin]\nsocket = \"{socket}\"\n"))).unwrap();
    let checked = clickedge(&["check", &file]);
    assert_eq!(checked.code, 78, "{}", checked.stderr);
    assert!(checked.stderr.contains("at most 107") && checked.stderr.contains("admin.socket"), "{}", checked.stderr);
}

#[test]
fn a_named_pipe_in_the_place_of_a_file_is_rejected_at_once() {
    let edge = Edge::builder().start();
    let file = config(edge.dir());
    let (links, tokens) = (edge.dir().join("links.ndjson"), edge.dir().join("pipe"));
    fs::remove_file(&links).unwrap();
    for pipe in [&links, &tokens] {
        assert!(std::process::Command::new("mkfifo").arg(pipe).status().unwrap().success());
    }
    for (catalog, named) in [("links.ndjson", "catalog.file"), ("pipe", "catalog.file")] {
        let text = fs::read_to_string(&file).unwrap().replace("links.ndjson", catalog);
        fs::write(&file, text).unwrap();
        let checked = clickedge(&["check", &file]);
        assert_eq!(checked.code, 66, "{}", checked.stderr);
        assert!(
            checked.stderr.contains("it is a named pipe") && checked.stderr.contains(named),
            "{}",
            checked.stderr
        );
    }
    let reloaded = clickedge(&["reload", "--config", &file]);
    assert_eq!(reloaded.code, 66, "{}", reloaded.stderr);
    assert!(reloaded.stderr.contains("it is a named pipe"), "{}", reloaded.stderr);
    let pipe = edge.dir().join("pipe").display().to_string();
    clickedge(&["check", &pipe]).fails(66, "it is a named pipe");
}
