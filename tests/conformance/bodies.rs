//! How the body of a request is framed.

use super::{NEXT, SMUGGLED, Ways, assert_rejected, assert_served};

/// Values of `Content-Length` that are no number.
const LENGTHS: &[&str] = &[
    "-1",
    "+3",
    "0x35",
    "3,",
    ",3",
    "3, 3",
    "3,3",
    "3 3",
    "3;3",
    "3.0",
    "3e0",
    "1_0",
    "three",
    "\"3\"",
    "''",
    "99999999999999999999",
    "18446744073709551616",
    "-0",
    "\u{ff11}",
    "3\t3",
    "0 1",
];

/// Codings that no one here knows, or that others may read as `chunked`.
const CODINGS: &[&str] = &[
    "identity",
    "xchunked",
    "chunkedx",
    "chunked, identity",
    "identity, chunked",
    "gzip, chunked",
    "chunked, chunked",
    "chunked,",
    ",chunked",
    ", chunked",
    "chunked;q=1",
    "chunked;",
    "\"chunked\"",
    "'chunked'",
    "chu nked",
    "c hunked",
    "deflate",
    "br",
    "*",
    "",
    "chunk",
    "cow",
    "x-chunked",
    "chunked-",
    "\u{212a}chunked",
    "chunked\u{a0}",
    "chunked, chunked, chunked",
    "trailers",
];

fn framed(method: &str, fields: &str) -> Vec<u8> {
    format!("{method} /spring HTTP/1.1\r\nHost: go.brand.com\r\n{fields}\r\n\r\n").into_bytes()
}

#[test]
fn a_body_has_one_length_or_one_coding() {
    let ways = Ways::start();
    // The body is a whole request, for a parser that takes the length or the coding for another one.
    let size = SMUGGLED.len();
    let mut bad = Vec::new();
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "get"] {
        for length in LENGTHS {
            bad.push(framed(method, &format!("Content-Length: {length}")));
        }
        bad.push(framed(method, "Content-Length:"));
        for both in [
            format!("Content-Length: {size}\r\nTransfer-Encoding: chunked"),
            format!("Transfer-Encoding: chunked\r\nContent-Length: {size}"),
            "content-length: 0\r\nTRANSFER-ENCODING: CHUNKED".into(),
            "Transfer-Encoding: chunked\r\nX: y\r\nContent-Length: 0".into(),
            "Content-Length: 0\r\nContent-Length: 0".into(),
            format!("Content-Length: {size}\r\nContent-Length: {size}"),
            format!("Content-Length: 0\r\nContent-Length: {size}"),
            format!("Content-Length: {size}\r\ncontent-LENGTH: 0"),
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked".into(),
            "Content-Length : 0".into(),
            "Content-Length\t: 0".into(),
            " Content-Length: 0".into(),
            "X: y\r\n Content-Length: 0".into(),
            "Transfer-Encoding : chunked".into(),
            "Transfer-Encoding:\r\n chunked".into(),
            "Transfer-Encoding: chunked\r\n ".into(),
            "Transfer-Encoding:\x0bchunked".into(),
            "Transfer-Encoding: \x0cchunked".into(),
            "Transfer-Encoding: chunked\0".into(),
            "Transfer-Encoding\0: chunked".into(),
            "Content-Length: 0\0".into(),
            "Content-Length: \x0b0".into(),
            "X: y\nTransfer-Encoding: chunked".into(),
            "X: y\rTransfer-Encoding: chunked".into(),
        ] {
            bad.push(framed(method, &both));
        }
    }
    bad.push(b"POST /spring HTTP/1.0\r\nHost: go.brand.com\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec());
    assert_rejected(&ways, 400, bad);
    for method in ["GET", "POST"] {
        let unknown = CODINGS.iter().map(|coding| framed(method, &format!("Transfer-Encoding: {coding}")));
        assert_rejected(&ways, 501, unknown);
    }
    let unknown = ["identity\r\nTransfer-Encoding: chunked", "chunked\r\nTransfer-Encoding: x"];
    assert_rejected(&ways, 501, unknown.map(|coding| framed("POST", &format!("Transfer-Encoding: {coding}"))));
    ways.stop(0);
}

#[test]
fn a_body_that_is_not_read_holds_no_request() {
    let ways = Ways::start();
    let (size, mut clicks) = (SMUGGLED.len(), 0);
    for (method, target, status) in
        [("GET", "/spring", 302), ("HEAD", "/spring", 302), ("POST", "/spring", 405), ("POST", "/upload", 307)]
    {
        let request = |fields: &str| {
            format!("{method} {target} HTTP/1.1\r\nHost: go.brand.com\r\n{fields}\r\n\r\n").into_bytes()
        };
        let bodies = [
            request(&format!("Content-Length: {size}")),
            request(&format!("Content-Length: {}", size + NEXT.len() + 5)),
            request("Content-Length: \t 3 \t"),
            request("Transfer-Encoding: chunked"),
            request("Transfer-Encoding:\tCHUNKED "),
        ];
        let chunks = [
            "3\r\nabc\r\n0\r\n\r\n",
            "0\r\n\r\n",
            "0\r\nX: y\r\n\r\n",
            "3;a=b\r\nabc\r\n0\r\n\r\n",
            "x\r\n",
            "-1\r\n",
            "0x3\r\nabc\r\n",
            "3\nabc\n0\n\n",
            "ffffffffffffffffff\r\n",
            "3 \r\nabc\r\n0\r\n\r\n",
            "\r\n",
            "",
        ]
        .map(|chunks| [request("Transfer-Encoding: chunked"), chunks.into()].concat());
        let all: Vec<_> = bodies.into_iter().chain(chunks).collect();
        clicks += if method == "POST" { 0 } else { all.len() };
        assert_rejected(&ways, status, all);
    }
    // No body is no reason to close.
    assert_served(&ways, 302, [framed("GET", "Content-Length: 0")]);
    assert_served(&ways, 405, [framed("POST", "Content-Length: 0")]);
    ways.stop(clicks + 1);
}
