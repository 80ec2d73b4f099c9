//! What clients do on the TLS port: handshakes that fail in every way, and some that do not.

use std::{
    io::{Read, Write},
    net::SocketAddr,
};

use super::visits::{Visits, hang_up};
use crate::common::{connect, tls};

/// A handshake in TLS 1.1, which is not supported: no session, two suites.
const OLD: &[u8] =
    b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x02................................\x00\x00\x04\x00\x2f\x00\x35\x01\x00";

/// The beginning of a handshake.
const HALF: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

/// Comes to the TLS port in every way.
pub fn all(visits: &mut Visits<'_>, to: SocketAddr) {
    let plain = b"GET /spring HTTP/1.1\r\nHost: go.brand.com\r\n\r\n";
    for (path, bytes) in [
        ("TLS, plain HTTP", &plain[..]),
        ("TLS, a broken record", b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\xff"),
        ("TLS, an old version", OLD),
        ("TLS, half a handshake", HALF),
        ("TLS, noise", &[0xa5; 600]),
        ("TLS, silence", b""),
    ] {
        let from = visits.client(path);
        visits.say(path, from, to, bytes);
        visits.reported();
    }
    let from = visits.client("TLS, a reset during the handshake");
    let mut stream = connect(Some(from), to).unwrap();
    stream.write_all(HALF).unwrap();
    hang_up(stream, true);
    visits.reported();

    let from = visits.client("TLS, the certificate is rejected");
    let mut stream = tls::distrustful(connect(Some(from), to).unwrap(), "go.brand.com");
    assert!(stream.write_all(plain).is_err());
    let _ = stream.sock.read_to_end(&mut Vec::new());
    visits.reported();

    for (path, sni) in
        [("TLS, 302", Some("go.brand.com")), ("TLS, unknown name", Some("unknown.example")), ("TLS, no name", None)]
    {
        let (from, claimed) = (visits.client(path), visits.cast.v4(path, "claimed"));
        let mut stream = tls::client(connect(Some(from), to).unwrap(), sni);
        let host = "Host: go.brand.com\r\nConnection: close";
        write!(stream, "GET /spring HTTP/1.1\r\n{host}\r\nX-Forwarded-For: {claimed}\r\n\r\n").unwrap();
        let answer = visits.hear(path, &mut stream);
        assert!(answer.starts_with("HTTP/1.1 302 "), "{path}: {answer}");
    }
    // Closed without the words that end it.
    let from = visits.client("TLS, cut off");
    let mut stream = tls::client(connect(Some(from), to).unwrap(), None);
    stream.write_all(b"GET /spr").unwrap();
    hang_up(stream.sock, true);
    visits.reported();
}
