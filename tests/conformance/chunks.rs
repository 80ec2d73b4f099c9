//! Chunked bodies on their way to the upstream: passed on as what they are, or not to their end.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use super::{SMUGGLED, statuses};
use crate::common::{Edge, TIMEOUT, connect};

/// A server that reports what each of its connections sent, and answers once a chunked body is whole.
fn upstream() -> (SocketAddr, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, (sent, received)) = (listener.local_addr().unwrap(), channel());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let sent = sent.clone();
            thread::spawn(move || sent.send(serve(stream.unwrap())));
        }
    });
    (address, received)
}

fn serve(mut stream: TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let (mut bytes, mut buffer, mut answered) = (Vec::new(), [0; 4_096], false);
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..read]);
        if !answered && matches!(body(&bytes), Body::Whole(_)) {
            answered = true;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            // What follows the body would arrive now.
            stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        }
    }
    bytes
}

/// What a strict reader makes of a request with a chunked body.
#[derive(Debug, Eq, PartialEq)]
enum Body {
    Partial,
    Whole(Vec<u8>),
    Malformed,
}

fn body(bytes: &[u8]) -> Body {
    let Some(at) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return Body::Partial };
    let (mut rest, mut whole) = (&bytes[at + 4..], Vec::new());
    loop {
        let Some(end) = memchr::memmem::find(rest, b"\r\n") else { return Body::Partial };
        let digits = str::from_utf8(&rest[..end]).unwrap_or("?");
        let Ok(size) = usize::from_str_radix(digits, 16) else { return Body::Malformed };
        rest = &rest[end + 2..];
        if size == 0 {
            return match rest {
                b"\r\n" => Body::Whole(whole),
                b"" | b"\r" => Body::Partial,
                _ => Body::Malformed,
            };
        }
        let Some((chunk, more)) = rest.split_at_checked(size) else { return Body::Partial };
        whole.extend_from_slice(chunk);
        match more.split_at_checked(2) {
            Some((b"\r\n", more)) => rest = more,
            Some(_) => return Body::Malformed,
            None => return Body::Partial,
        }
    }
}

/// What the client gets and what the upstream reads for a chunked body that these bytes follow.
fn pass(edge: &Edge, upstream: &Receiver<Vec<u8>>, chunks: &[u8]) -> (Vec<u16>, Body) {
    let head = b"POST / HTTP/1.1\r\nHost: www.brand.com\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut stream = connect(None, edge.address).unwrap();
    let _ = stream.write_all(&[&head[..], chunks, SMUGGLED].concat());
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    let statuses = statuses(&String::from_utf8_lossy(&text));
    // A body that is malformed from its start may never get a connection.
    let wait = if statuses == [400] { Duration::from_millis(200) } else { TIMEOUT };
    let read = upstream.recv_timeout(wait).map_or(Body::Partial, |bytes| body(&bytes));
    (statuses, read)
}

#[test]
fn chunks_are_passed_on_as_what_they_are_or_not_to_their_end() {
    let (address, received) = upstream();
    let edge = Edge::builder().section(&format!("[upstream]\naddress = \"{address}\"\n")).start();
    let mut wrong = Vec::new();
    for (chunks, whole) in [
        ("0\r\n\r\n", ""),
        ("5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("005\r\nhello\r\n000\r\n\r\n", "hello"),
        ("a\r\nhellohello\r\n0\r\n\r\n", "hellohello"),
        ("A\r\nhellohello\r\n0\r\n\r\n", "hellohello"),
        ("1\r\nh\r\n4\r\nello\r\n0\r\n\r\n", "hello"),
        ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n"),
        ("5;a\r\nhello\r\n0;b\r\n\r\n", "hello"),
        ("5;a=b;c=\"d\"\r\nhello\r\n0\r\n\r\n", "hello"),
        ("5\r\nhello\r\n0\r\nX: y\r\n\r\n", "hello"),
        ("5\r\nhello\r\n0\r\nX: y\r\nContent-Length: 7\r\n\r\n", "hello"),
        // Not well-formed, and read by Pingora all the same: the upstream gets it well-formed, and the connection ends.
        ("\r\n5\r\nhello\r\n0\r\n\r\n", ""),
        (";a\r\nhello\r\n0\r\n\r\n", ""),
        ("5;a\nb\r\nhello\r\n0\r\n\r\n", "hello"),
        ("5;a\0b\r\nhello\r\n0\r\n\r\n", "hello"),
    ] {
        let found = pass(&edge, &received, chunks.as_bytes());
        let good = found.0 == [200] && found.1 == Body::Whole(whole.into());
        if !good {
            wrong.push(format!("{chunks:?}: {found:?}"));
        }
    }
    for chunks in [
        " 5\r\nhello\r\n0\r\n\r\n",
        "\t5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5_0\r\nhello\r\n0\r\n\r\n",
        "5.0\r\nhello\r\n0\r\n\r\n",
        "5,5\r\nhello\r\n0\r\n\r\n",
        "\"5\"\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "hello\r\n0\r\n\r\n",
        "\0\r\nhello\r\n0\r\n\r\n",
        "5\0\r\nhello\r\n0\r\n\r\n",
        "5\x0b\r\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhellohello\r\n0\r\n\r\n",
        "5\r\nhell\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5;a=\"\r\n0\r\n\r\n",
        "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffffffffffffffffffb\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\r\n0\r\r\n\r\n",
        "5\r\nhello\r\n00x\r\n\r\n",
        "5\r\nhello\r\n-0\r\n\r\n",
        "5\r\nhello\r\n",
        "",
    ] {
        let (statuses, read) = pass(&edge, &received, chunks.as_bytes());
        if statuses.len() > 1 || statuses.first().is_some_and(|status| *status < 400) || read != Body::Partial {
            wrong.push(format!("{chunks:?}: {statuses:?} {read:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(edge.metric("clickedge_clicks_answered_total"), 0, "none of the bodies was taken for a request");
    assert_eq!(edge.get("go.brand.com", "/spring").status, 302);
}
