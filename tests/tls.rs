//! TLS: one socket, many branded domains, each with its own certificate.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use crate::common::{
    Answer, CHROME, Edge, TIMEOUT, connect, free_address,
    tls::{self, certificate},
};

/// Asks for `/spring` over TLS; returns the leaf that the edge showed, and the answer.
fn get(address: SocketAddr, sni: Option<&str>, host: &str) -> (Vec<u8>, Answer) {
    get_with(address, sni, host, "")
}

/// [`get`] with these lines in the header.
fn get_with(address: SocketAddr, sni: Option<&str>, host: &str, lines: &str) -> (Vec<u8>, Answer) {
    let mut stream = tls::client(connect(None, address).unwrap(), sni);
    write!(stream, "GET /spring HTTP/1.1\r\nHost: {host}\r\n{lines}Connection: close\r\n\r\n").unwrap();
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    let leaf = stream.conn.peer_certificates().unwrap()[0].to_vec();
    (leaf, Answer::parse(std::str::from_utf8(&text).unwrap()).unwrap())
}

#[test]
fn each_server_name_gets_its_certificate_and_all_others_the_first() {
    let builder = Edge::builder();
    let (first_section, first) = certificate(builder.dir(), "first", &["go.brand.com", "go2.brand.com"]);
    let (wild_section, wild) = certificate(builder.dir(), "wild", &["*.links.example"]);
    let address = free_address();
    let edge = builder
        .section(&format!("[[listeners]]\naddress = \"{address}\"\n{first_section}{wild_section}"))
        .feed("all", &["*"])
        .start();

    let (leaf, answer) = get(address, Some("a.links.example"), "go.brand.com");
    assert!(leaf == wild && answer.status == 421, "a host of another certificate");
    for sni in [
        Some("go.brand.com"),
        Some("GO.Brand.com"),
        Some("go2.brand.com"),
        Some("a.b.links.example"),
        Some("links.example"),
        Some("unknown.example"),
        None,
    ] {
        let (leaf, answer) = get(address, sni, "go.brand.com");
        assert!(leaf == first, "the certificate for {sni:?}");
        assert_eq!(answer.status, 302, "{sni:?}");
        assert_eq!(answer.header("location"), Some("https://www.example.com/spring?utm_source=go"), "{sni:?}");
    }
    assert_eq!(
        get(address, Some("go.brand.com"), "other.example").1.status,
        404,
        "a host without a certificate here"
    );
    assert_eq!(edge.get("go.brand.com", "/spring").status, 302, "the plain socket answers next to it");

    let plain = TcpStream::connect(address).unwrap();
    plain.set_read_timeout(Some(TIMEOUT)).unwrap();
    (&plain).write_all(b"GET /spring HTTP/1.1\r\nHost: go.brand.com\r\n\r\n").unwrap();
    let mut text = Vec::new();
    let _ = (&plain).read_to_end(&mut text);
    assert!(!text.starts_with(b"HTTP/1.1 3"), "plain HTTP on the TLS socket is not answered");

    assert_eq!(edge.stop().events("all").len(), 8, "clicks over TLS are clicks");
}

#[test]
fn a_browser_without_fetch_metadata_over_tls_is_suspicious() {
    let builder = Edge::builder();
    let (section, _) = certificate(builder.dir(), "first", &["go.brand.com"]);
    let tls = free_address();
    let edge = builder.section(&format!("[[listeners]]\naddress = \"{tls}\"\n{section}")).feed("all", &["*"]).start();
    for metadata in ["", "Sec-Fetch-Mode: navigate\r\n"] {
        let accept = "Accept: text/html\r\nAccept-Language: en\r\nAccept-Encoding: gzip\r\n";
        let lines = format!("User-Agent: {CHROME}\r\n{accept}{metadata}");
        assert_eq!(get_with(tls, Some("go.brand.com"), "go.brand.com", &lines).1.status, 302);
    }
    let mut events = edge.stop().events("all");
    events.sort_by(|one, other| one["id"].as_str().cmp(&other["id"].as_str()));
    let qualities: Vec<_> = events.into_iter().map(|mut event| event["quality"].take()).collect();
    let impossible =
        serde_json::json!({"verdict": "suspicious", "reasons": ["impossible-headers"], "invalid": "sophisticated"});
    assert_eq!(qualities, [impossible, serde_json::json!({"verdict": "clean"})]);
}
