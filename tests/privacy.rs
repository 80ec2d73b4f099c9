//! The privacy promise: a client address is used for location and session, and is found nowhere afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "common/canary.rs"]
mod canary;
mod common;
#[path = "common/s3.rs"]
mod s3;

use std::{
    fs,
    io::Write,
    net::{IpAddr, SocketAddr},
};

use canary::Search;
use common::{Edge, connect, exchange, free_address, link};
use s3::{Fault, S3};

/// How many clients there are of each kind.
const CLIENTS: u8 = 24;

/// Clients that come themselves; they are trusted with nothing.
fn direct(n: u8) -> IpAddr {
    [127, 201, 150 + n, 250 - n].into()
}

/// Trusted proxies.
fn proxy(n: u8) -> IpAddr {
    [127, 198, 213, 200 + n].into()
}

/// What trusted proxies say.
fn forwarded_v4(n: u8) -> IpAddr {
    [203, 199, 188, 200 + n].into()
}

fn forwarded_v6(n: u8) -> IpAddr {
    format!("2001:db8:cafe:f00d:dead:d5c1:abcd:80{:02x}", 0x80 + n).parse().unwrap()
}

/// What clients say that are trusted with nothing.
fn claimed(n: u8) -> IpAddr {
    [198, 218, 177, 200 + n].into()
}

fn canaries() -> Vec<IpAddr> {
    (0..CLIENTS).flat_map(|n| [direct(n), proxy(n), forwarded_v4(n), forwarded_v6(n), claimed(n)]).collect()
}

/// Fails when a canary is found below a folder or in what the admin listener tells.
fn assert_clean(search: &Search, edge: Option<&Edge>, edge_dirs: &[&std::path::Path], s3: &S3) {
    let mut found: Vec<_> = edge_dirs.iter().flat_map(|dir| search.find_below(dir)).collect();
    found.extend(search.find_below(&s3.root()));
    for path in edge.map_or(&[][..], |_| &["/metrics", "/readyz", "/livez", "/nothing"]) {
        found.extend(search.find(path, edge.unwrap().admin(path).body.as_bytes()));
    }
    assert!(found.is_empty(), "{} leaks, such as\n{}", found.len(), found[..found.len().min(5)].join("\n"));
}

/// A certificate for the TLS listener, as configuration.
fn tls_listener(dir: &std::path::Path, address: SocketAddr) -> String {
    let made = rcgen::generate_simple_self_signed(["go.brand.com".to_owned()]).unwrap();
    fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    format!(
        "[[listeners]]\naddress = \"{address}\"\ntls = [{{ certificate_file = \"cert.pem\", key_file = \"key.pem\" }}]"
    )
}

/// Sends bytes from an address, and hangs up after the answer, if there is one.
fn say(from: IpAddr, to: SocketAddr, bytes: &[u8]) {
    let _ = exchange(connect(Some(from), to).unwrap(), bytes);
}

/// Clicks and near misses from all clients. Returns how many of them are clicks.
fn visit(edge: &Edge, tls: SocketAddr) -> usize {
    let mut clicks = 0;
    for n in 0..CLIENTS {
        let (claim, v4, v6) = (claimed(n).to_string(), forwarded_v4(n).to_string(), forwarded_v6(n).to_string());
        let element = format!("for=\"[{v6}]\", for={v4}");
        let get = |from, host, target, headers: &[(&str, &str)]| {
            edge.request_from(Some(from), "GET", host, target, headers).status
        };
        let claims =
            [("X-Forwarded-For", &*claim), ("X-Real-IP", &claim), ("Forwarded", &element), ("CF-Connecting-IP", &v4)];
        assert_eq!(get(direct(n), "go.brand.com", "/spring", &[]), 302);
        assert_eq!(get(direct(n), "go.brand.com", "/spring?x=1", &claims), 302);
        assert_eq!(edge.request_from(Some(direct(n)), "HEAD", "go.brand.com", "/spring", &claims).status, 302);
        assert_eq!(get(proxy(n), "go.brand.com", "/spring", &[("X-Forwarded-For", &v4)]), 302);
        assert_eq!(get(proxy(n), "go.brand.com", "/spring", &[("X-Forwarded-For", &v6), ("DNT", "1")]), 302);
        let chain = format!("{claim}, [{v6}]:4711, {}", proxy(n));
        assert_eq!(get(proxy(n), "go.brand.com", "/spring", &[("X-Forwarded-For", &chain)]), 302);
        clicks += 6;
        assert_eq!(get(direct(n), "go.brand.com", "/winter", &claims), 404);
        assert_eq!(get(proxy(n), "elsewhere.example", "/", &[("X-Forwarded-For", &v4)]), 404);
        assert_eq!(get(proxy(n), "no host", "/spring", &[("X-Forwarded-For", &v6)]), 400);
        assert_eq!(edge.request_from(Some(proxy(n)), "POST", "go.brand.com", "/spring", &claims).status, 405);

        let malformed = [
            format!("GARBAGE\r\nX-Forwarded-For: {v4}\r\n\r\n"),
            format!("GET /spring HTTP/1.1\r\nHost: go.brand.com\r\nX-Forwarded-For {v6}\r\n\r\n"),
            format!("GET /spring HTTP/9.9\r\nHost: go.brand.com\r\nX-Forwarded-For: {v6}\r\n\r\n"),
            format!("GET /spring HTTP/1.1\r\nX-Forwarded-For: {v4}\r\nConnection: close\r\n\r\n"),
            format!("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nX-Real-IP: {claim}\r\nConnection: close\r\n\r\n"),
            format!("CONNECT {v4}:443 HTTP/1.1\r\nHost: {v4}:443\r\nConnection: close\r\n\r\n"),
            format!("POST / HTTP/1.1\r\nHost: {v4}\r\nContent-Length: x{v4}\r\nConnection: close\r\n\r\n"),
        ];
        for request in &malformed {
            say(proxy(n), edge.address, request.as_bytes());
        }
        // Clients that hang up: amid a header, and before anything.
        connect(Some(direct(n)), edge.address).unwrap().write_all(b"GET /spring HTTP/1.1\r\nX-Real-IP: 1").unwrap();
        drop(connect(Some(direct(n)), edge.address).unwrap());
        // Failed handshakes: no TLS at all, a broken record, and silence.
        say(direct(n), tls, format!("GET / HTTP/1.1\r\nX-Forwarded-For: {v4}\r\n\r\n").as_bytes());
        say(direct(n), tls, b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\xff");
        drop(connect(Some(direct(n)), tls).unwrap());
    }
    clicks
}

#[test]
fn no_client_address_is_left_anywhere() {
    let search = Search::new(&canaries());
    let s3 = S3::start();
    s3.set(Fault::Unavailable);
    let tls = free_address();
    let builder = Edge::builder();
    let listener = tls_listener(builder.dir(), tls);
    let edge = builder
        .feed("local", &["*"])
        .feed_into("bucket", &["*"], &s3.sink_toml("clicks", ""))
        .section(&listener)
        .section("[client_address]\ntrusted_proxies = [\"127.198.0.0/16\"]")
        .section("[shutdown]\ndrain_secs = 1")
        .start();
    let delivered = |feed: &str| format!("clickedge_events_delivered_total{{feed={feed:?}}}");

    let mut clicks = visit(&edge, tls);
    edge.wait_until("delivered locally", |edge| edge.metric(&delivered("local")) == clicks as i64);
    assert_clean(&search, Some(&edge), &[edge.dir()], &s3);

    let refused = "clickedge_reloads_total{result=\"failed\",what=\"catalog\"}";
    fs::write(edge.dir().join("links.ndjson"), "no catalog\n").unwrap();
    edge.signal("HUP");
    edge.wait_until("refused reload", |edge| edge.metric(refused) == 1);
    edge.write_links(&[link("go.brand.com", "spring", "https://www.example.com/new")]);
    edge.signal("HUP");
    edge.wait_until("reloaded", |edge| {
        edge.get("go.brand.com", "/spring").header("location") == Some("https://www.example.com/new")
    });
    clicks += visit(&edge, tls);
    let answered = edge.metric("clickedge_clicks_answered_total");
    assert!(answered >= clicks as i64);
    // At once, so that the search also sees what a stop has to hurry with.
    let stopped = edge.stop();
    assert!(stopped.status.success());
    let outbox = stopped.dir().join("spool/outbox/bucket");
    assert_eq!(common::events_below(&outbox).len() as i64, answered, "the search has something to search");
    assert!(stopped.log().contains("\"target\":\"library\""), "libraries were heard:\n{}", stopped.log());
    assert!(stopped.log().contains("<address>"), "and an address was taken out");
    assert!(stopped.rings().read_dir().unwrap().count() == 2, "the rings are gone, lock and sessions are there");
    assert_clean(&search, None, &[stopped.dir(), stopped.rings()], &s3);

    s3.set(Fault::Healthy);
    let edge = stopped.restart();
    edge.wait_until("delivered", |edge| edge.metric(&delivered("bucket")) == answered);
    assert_eq!(s3.events("clicks").len() as i64, answered);
    assert_clean(&search, Some(&edge), &[edge.dir()], &s3);
}

#[test]
fn sessions_are_told_apart_by_the_address_that_a_trusted_proxy_names() {
    // Without this the search would prove nothing: the addresses must have been in use.
    let edge = Edge::builder()
        .feed("all", &["*"])
        .section("[client_address]\ntrusted_proxies = [\"127.198.0.0/16\"]")
        .start();
    for n in 0..3 {
        for _ in 0..2 {
            edge.request_from(Some(direct(n)), "GET", "go.brand.com", "/spring", &[]);
            let named = [("X-Forwarded-For", &*forwarded_v4(n).to_string())];
            edge.request_from(Some(proxy(0)), "GET", "go.brand.com", "/spring", &named);
        }
    }
    let events = edge.stop().events("all");
    let first = events.iter().filter(|event| event["client"]["session"]["first"] == true).count();
    assert_eq!((events.len(), first), (12, 6), "six visitors clicked twice each");
}

/// The forms of 127.201.213.129 and of an IPv6 address, computed elsewhere.
const FORMS: [&str; 48] = [
    "127.201.213.129",
    "::ffff:127.201.213.129",
    "::ffff:7fc9:d581",
    "[::ffff:127.201.213.129]:4711",
    "129.213.201.127.in-addr.arpa",
    "ip-127-201-213-129.example",
    "7fc9d581",
    "0x7FC9D581",
    "81d5c97f",
    "00000000000000000000ffff7fc9d581",
    "7f:c9:d5:81",
    "7f c9 d5 81",
    "\\x7f\\xc9\\xd5\\x81",
    "[127, 201, 213, 129]",
    "[127,201,213,129]",
    "2143933825",
    "2178271615",
    "f8nVgQ==",
    "AAAAAAAAAAAAAP//f8nVgQ==",
    "AAAAAAAAAAAAAP__f8nVgQ",
    "be4c4c28630cbda0916f5a043517a0af",
    "29add868a0f27f61f494afa9def04423",
    "EC6BE768116FA5AADA650C516B0C4D35",
    "ef97c969b8f0708f4497b58a5dfa5d8571e5e3e5",
    "114de2db8086a140a0528e08d6a5e22127db20d7",
    "903b5ecfa70f8e6810fef6ae8f603a79c701eb0f",
    "35137a2966a6f83ccb5bdc1c5ffe4cfa538f2a0d69d3c368f5fcbe12d2f37b10",
    "85db3907b4bec3b67373b1d3717b234c6f8f58a4dd6931a6ceb1eefd36ca5779",
    "2cc5600220da6f60",
    "6f14e7b0",
    "1863641008",
    "ea9640f5",
    "3935715573",
    "2001:db8:cafe:f00d:dead:d5c1:abcd:8001",
    "2001:0db8:cafe:f00d:dead:d5c1:abcd:8001",
    "2001:DB8:CAFE:F00D:DEAD:D5C1:ABCD:8001",
    "[2001:db8:cafe:f00d:dead:d5c1:abcd:8001]:443",
    "20010db8cafef00ddeadd5c1abcd8001",
    "0180cdabc1d5adde0df0fecab80d0120",
    "20:01:0d:b8:ca:fe:f0:0d:de:ad:d5:c1:ab:cd:80:01",
    "42540766474106765622807082392689147905",
    "IAENuMr+8A3erdXBq82AAQ==",
    "IAENuMr-8A3erdXBq82AAQ",
    "2f41718f261951926750b5953c8baf1b",
    "b707d663cb122f77790b3718c51662e0",
    "fea44af8d9dd681ae615bec88d2b80ce068d9d93",
    "14d9a7dc751f2ce3bbee47486fb1c225ea8e328a296c1a9258c9ada3fcc4ee9b",
    "d6012741",
];

#[test]
fn the_search_finds_a_planted_canary_in_every_form_and_place() {
    let canaries = ["127.201.213.129".parse().unwrap(), "2001:db8:cafe:f00d:dead:d5c1:abcd:8001".parse().unwrap()];
    let search = Search::new(&canaries);
    let raw: [&[u8]; 3] = [
        &[127, 201, 213, 129],
        &[129, 213, 201, 127],
        &[0x20, 0x01, 0x0d, 0xb8, 0xca, 0xfe, 0xf0, 0x0d, 0xde, 0xad, 0xd5, 0xc1, 0xab, 0xcd, 0x80, 0x01],
    ];
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.flush().unwrap();
        let cut = encoder.get_ref().clone();
        (encoder.finish().unwrap(), cut)
    };
    for form in FORMS.map(str::as_bytes).into_iter().chain(raw) {
        let shown = String::from_utf8_lossy(form);
        let text = [b"{\"peer\":\"", form, b"\"}\n"].concat();
        assert!(!search.find("text", &text).is_empty(), "{shown}");
        let (whole, cut) = gzip(&text);
        for (place, bytes) in [("spool/log", &text), ("bucket/a/b.gz", &whole), ("spool/open/b.gz", &cut)] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(place);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
            assert!(!search.find_below(dir.path()).is_empty(), "{shown} in {place}");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("127.201.213.129"), "").unwrap();
    assert_eq!(search.find_below(dir.path()).len(), 1, "in a file's name");
}

#[test]
fn the_search_does_not_take_other_things_for_a_canary() {
    let search = Search::new(&["127.201.213.129".parse().unwrap()]);
    for text in ["127.201.213.12", "1127.201.213.129", "21439338255", "17fc9d581", "7fc9d581a", "127.201.213.1290"] {
        assert_eq!(search.find("text", text.as_bytes()), Vec::<String>::new(), "{text}");
    }
}
