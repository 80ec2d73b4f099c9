//! Requests of hostile visitors: a seeded generator of queries, and a client that sends them.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
};

use crate::common::{CHROME, connect};

/// Names and values that engines mistake for something else, or that break their schemas: texts like dates, numbers,
/// truths and identifiers, names that differ in case only, names of the event's own fields, and what ends a text.
const TEXTS: [&str; 58] = [
    "",
    "a",
    "A",
    "ref",
    "Ref",
    "REF",
    "utm_source",
    "UTM_Source",
    "Utm_source",
    "utm_term",
    "id",
    "ID",
    "name",
    "value",
    "schema",
    "timestamp",
    "dt",
    "hour",
    "route",
    "client",
    "__proto__",
    "constructor",
    "$ref",
    "$id",
    "@type",
    "_id",
    "a.b",
    "a..b",
    ".",
    "a[b]",
    "a[]",
    "a[0]",
    "[0]",
    "a b",
    "a\"b",
    "\"",
    "\\",
    "\\u0000",
    "`",
    "'",
    "a:b",
    "a,b",
    "{}",
    "[1,2]",
    "null",
    "NULL",
    "NaN",
    "true",
    "1",
    "-0",
    "1e999",
    "99999999999999999999",
    "2026-11-27",
    "13:33:53",
    "2026-11-27T13:33:53Z",
    "01a21d36-651f-7f1e-a1e8-71d9c93e5757",
    "é",
    "\u{130}",
];

/// What is sent as it is: percent-encoded bytes that are no text, characters that end lines or directions, half an
/// encoding.
const RAW: [&str; 20] = [
    "%ff",
    "%C3",
    "%C3%28",
    "%ED%A0%80",
    "%F4%90%80%80",
    "%EF%BB%BF",
    "%E2%80%A8",
    "%E2%80%AE",
    "%F0%9F%98%80",
    "%",
    "%z",
    "%2",
    "+",
    "%2B",
    "%26",
    "%3D",
    "%25",
    "'+OR+'1'='1",
    "%0A",
    "%00",
];

/// The headers of the visitors who send them, one after the other, so that an object has every field.
const VISITORS: [&str; 7] = [
    "X-Forwarded-For: 203.0.113.7\r\nReferer: https://www.facebook.com/feed\r\nAccept-Language: it,en;q=0.5",
    "X-Forwarded-For: 198.51.100.9\r\nReferer: android-app://com.google.android.gm\r\nSec-GPC: 1",
    "User-Agent: Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "User-Agent: curl/8.5.0",
    "User-Agent: Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
     Version/17.5.1 Mobile/15E148 Safari/604.1",
    "Sec-Purpose: prefetch",
    "DNT: 1",
];

/// The head of the `n`-th request.
pub fn request(n: usize, random: &mut fastrand::Rng) -> String {
    let mut query = query(random);
    if n.is_multiple_of(11) {
        query += "&utm_source=poster";
    }
    if n.is_multiple_of(23) {
        query += "&id=1'+OR+'1'='1";
    }
    let visitor = VISITORS[n % VISITORS.len()];
    let agent = if visitor.contains("User-Agent") { String::new() } else { format!("User-Agent: {CHROME}\r\n") };
    format!(
        "GET /spring?{query} HTTP/1.1\r\nHost: go.brand.com\r\nAccept: text/html\r\nAccept-Encoding: gzip\r\n{agent}{visitor}\r\n\r\n"
    )
}

fn query(random: &mut fastrand::Rng) -> String {
    let mut query = String::new();
    for n in 0..random.usize(0..6) {
        if n > 0 {
            query.push('&');
        }
        query += &text(random);
        if random.u8(..) > 16 {
            query.push('=');
            query += &text(random);
        }
    }
    query
}

fn text(random: &mut fastrand::Rng) -> String {
    match random.u8(..) {
        0..120 => encoded(random.choice(TEXTS).unwrap().as_bytes()),
        120..160 => (*random.choice(&RAW[..RAW.len() - 2]).unwrap()).to_owned(),
        // Names of which each is another: what a map would make columns of.
        160..250 => (0..random.usize(1..16)).map(|_| random.alphanumeric()).collect(),
        250..252 => encoded(&(0..random.usize(1..24)).map(|_| random.u8(0x20..)).collect::<Vec<_>>()),
        252..254 => "x".repeat(random.usize(1..3_000)),
        // Control characters, which not every request line may have.
        _ => (*random.choice(&RAW).unwrap()).to_owned(),
    }
}

fn encoded(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' => text.push(char::from(*byte)),
            _ => text += &format!("%{byte:02X}"),
        }
    }
    text
}

/// A client that keeps its connection while the other side does.
pub struct Client {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    /// The status of the answer.
    pub fn send(&mut self, request: &str) -> u16 {
        let address = self.address;
        let stream = self.stream.get_or_insert_with(|| {
            let stream = connect(None, address).unwrap();
            stream.set_nodelay(true).unwrap();
            BufReader::new(stream)
        });
        stream.get_mut().write_all(request.as_bytes()).unwrap();
        let (mut status, mut length, mut keep) = (0, 0, true);
        for n in 0.. {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            let line = line.trim_end().to_ascii_lowercase();
            if n == 0 {
                status =
                    line.split(' ').nth(1).unwrap_or_else(|| panic!("an answer to {request:?}")).parse().unwrap();
            } else if let Some(bytes) = line.strip_prefix("content-length: ") {
                length = bytes.parse().unwrap();
            } else if line == "connection: close" {
                keep = false;
            } else if line.is_empty() {
                break;
            }
        }
        stream.read_exact(&mut vec![0; length]).unwrap();
        if !keep || status == 400 {
            self.stream = None;
        }
        status
    }
}
