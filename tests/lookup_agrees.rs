//! `clickedge lookup` and the running edge: the same answer to thousands of random requests for random links.
//!
//! The requests come through a trusted proxy, over connections that stay open, by either way of the front
//! (`FAST_LANE=false` takes the other one). `HOSTILE_SEED` repeats a run.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, Ipv4Addr, TcpStream},
    process::Command,
};

use clickedge::pipeline::lookup::{Lookup, Request};
use fastrand::Rng;
use serde_json::{Value, json};

use crate::common::{Answer, CHROME, Edge, connect, hostile_seed};

const REQUESTS: usize = 10_000;

/// Requests on one connection.
const ROW: usize = 250;

const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                      Version/17.5 Mobile/15E148 Safari/604.1";
const ANDROID: &str = "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) \
                       Chrome/126.0.0.0 Mobile Safari/537.36";
const AGENTS: &[&str] = &[CHROME, IPHONE, ANDROID, "facebookexternalhit/1.1", "curl/8.5.0", "Slackbot 1.0", ""];
const LANGUAGES: &[&str] = &["de", "en-GB,en;q=0.9", "fr;q=0.1, it", "*", "x", "en;q=0.4, en-GB;q=0.8"];
const REFERERS: &[&str] =
    &["https://www.facebook.com/", "https://www.google.com/", "https://news.example.com/a", "-"];
const ADDRESSES: &[&str] =
    &["192.0.2.7", "198.51.100.9", "203.0.113.200", "2001:db8::1", "127.0.0.1", "10.1.2.3", "unknown"];
const SLASHTAGS: &[&str] = &[
    "",
    "a",
    "a/b",
    "A",
    "spring",
    "summer/sale",
    "caf\u{e9}",
    "\u{2764}\u{fe0f}",
    "x y",
    "1",
    "v1.2",
    "robots.txt",
];
const HOSTS: &[&str] = &["go.brand.com", "low.example", "b\u{fc}cher.example"];
const TRUST: &str = "[client_address]\ntrusted_proxies = [\"127.0.0.0/8\"]\n";
const SETTINGS: &str = "[redirect]\nno_track_parameter = \"notrack\"\nuntracked_networks = [\"203.0.113.0/24\"]\n\
                        [enrich]\nsession_key_file = \"session.key\"\nhonour_opt_out = false\n\
                        [quality]\nenumeration_links = 0\n\
                        [limits]\nrequests_per_connection = 0\n";

#[test]
fn a_lookup_and_the_edge_agree_on_random_requests() {
    let mut rng = Rng::with_seed(hostile_seed());
    let mut builder = Edge::builder().section(TRUST).section(SETTINGS);
    fs::write(builder.dir().join("session.key"), "0123456789abcdef0123456789abcdef").unwrap();
    for line in domains() {
        builder = builder.link(line);
    }
    let mut id = 0;
    for host in HOSTS {
        for slashtag in SLASHTAGS {
            // The one is there already, and the other is another one's in a domain without case.
            let is_there = matches!((*host, *slashtag), ("go.brand.com", "spring") | ("low.example", "A"));
            if is_there || rng.u8(..) > 220 {
                continue;
            }
            id += 1;
            builder = builder.link(random_link(&mut rng, host, slashtag, id));
        }
    }
    let edge = builder.start();
    let config = clickedge::config::load(&edge.dir().join("clickedge.toml")).unwrap();
    let (lookup, unread) = Lookup::open(&config).unwrap();
    assert!(unread.is_empty(), "{unread:?}");
    let mut kinds = std::collections::BTreeMap::<u16, usize>::new();
    for _ in 0..REQUESTS / ROW {
        let requests: Vec<_> = (0..ROW).map(|_| random_request(&mut rng)).collect();
        let mut connection = BufReader::new(connect(None, edge.address).unwrap());
        for head in requests {
            let answered = exchange(&mut connection, &head);
            let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let now = jiff::Timestamp::now().as_microsecond() as u64;
            let found = lookup.answer(&Request { head: head.as_bytes(), tls: false, peer, at: now });
            let body = String::from_utf8(found.body.clone()).unwrap();
            let expected = Answer { status: found.status, headers: found.headers.clone(), body };
            *kinds.entry(answered.status).or_default() += 1;
            let (answered, expected) = (comparable(&answered), comparable(&expected));
            assert_eq!(answered, expected, "\n{head}\n{:#?}\n{}", found.steps, edge.log());
        }
    }
    println!("{kinds:?}");
    assert!(kinds.len() > 5 && kinds[&302] > REQUESTS / 10, "{kinds:?}");
}

#[test]
fn a_lookup_prints_the_answer_and_its_steps() {
    let mut link = crate::common::link("go.brand.com", "app", "https://www.example.com/app");
    link["scripts"] = json!([]);
    link["rules"] = json!([
        {"name": "german", "when": {"language": ["de"]}, "destination": "https://www.example.com/de"},
        {"name": "store", "when": {"os": ["ios"]}, "destination": "https://apps.example.com/1"},
    ]);
    let edge = Edge::builder().link(link).start();
    let lookup = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_clickedge"))
            .args(["lookup", "--config"])
            .arg(edge.dir().join("clickedge.toml"))
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let agent = format!("User-Agent: {IPHONE}");
    let url = "https://go.brand.com/app";
    let text = lookup(&[url, "--header", &agent]);
    assert!(text.starts_with("302 https://apps.example.com/1\n"), "{text}");
    assert!(text.contains("store") && !text.contains("language"), "{text}");
    let text = lookup(&[url, "--header", &agent, "--explain"]);
    for step in ["go.brand.com", "app", "language", "store"] {
        assert!(text.contains(step), "{step}: {text}");
    }
    let json: Value = serde_json::from_str(&lookup(&[url, "--header", &agent, "--explain", "--json"])).unwrap();
    assert_eq!((&json["status"], &json["link"]["rule"]), (&json!(302), &json!("store")));
    assert_eq!(json["location"], "https://apps.example.com/1");
    assert!(json["steps"].as_array().unwrap().len() > 4, "{json}");
    assert!(lookup(&["https://other.example/x"]).contains("404"));
    assert_eq!(edge.metric("clickedge_clicks_answered_total"), 0, "a lookup is no click");
}

fn domains() -> Vec<Value> {
    vec![
        json!({
            "kind": "domain", "fullName": "go.brand.com", "aliases": ["www.go.brand.com", "*.brand.example"],
            "root": "https://www.example.com/base", "notFound": "https://www.example.com/{path}?from={domain}",
            "expired": "https://www.example.com/expired", "schemes": ["tel", "android"], "previewSuffix": "+",
            "trimPunctuation": true, "robots": "User-agent: *\nDisallow:\n",
        }),
        json!({"kind": "domain", "fullName": "low.example", "case": "insensitive", "httpStatus": 301}),
    ]
}

fn random_link(rng: &mut Rng, host: &str, slashtag: &str, id: u32) -> Value {
    let mut link = json!({
        "id": format!("l-{id}"), "slashtag": slashtag, "destination": random_destination(rng, host),
        "domain": {"fullName": host}, "workspace": {"id": "w-1"},
    });
    let mut maybe = |rng: &mut Rng, name: &str, values: &[Value]| {
        if rng.u8(..) < 60 {
            link[name] = values[rng.usize(..values.len())].clone();
        }
    };
    let times = [json!("2020-01-01T00:00:00Z"), json!("2090-01-01T00:00:00Z")];
    maybe(rng, "httpStatus", &[json!(301), json!(302), json!(307), json!(308)]);
    maybe(rng, "status", &[json!("active"), json!("disabled"), json!("expired")]);
    let forward = [json!(true), json!("incoming"), json!("destination"), json!("both"), json!(false), json!(["a"])];
    maybe(rng, "forwardParameters", &forward);
    maybe(rng, "forwardPath", &[json!("append"), json!("ignore"), json!(false)]);
    match rng.u8(..8) {
        0 => link["activeFrom"] = times[rng.usize(..2)].clone(),
        1 => link["activeUntil"] = times[rng.usize(..2)].clone(),
        _ => {}
    }
    let mut maybe = |rng: &mut Rng, name: &str, values: &[Value]| {
        if rng.u8(..) < 60 {
            link[name] = values[rng.usize(..values.len())].clone();
        }
    };
    maybe(rng, "fallback", &[json!("https://www.example.com/fallback?p={path}")]);
    maybe(rng, "maxClicks", &[json!(1_000_000)]);
    maybe(rng, "noIndex", &[json!(true)]);
    maybe(rng, "card", &[json!({"title": "Spring <sale>", "description": "d"})]);
    maybe(rng, "scripts", &[json!([{"id": "s", "name": "Pixel", "uri": "https://static.example.com/p.js"}])]);
    let variants = json!([
        {"name": "one", "weight": 1, "destination": "https://one.example/?v=1"},
        {"name": "two", "weight": 3, "destination": "https://two.example/"},
    ]);
    maybe(rng, "variants", std::slice::from_ref(&variants));
    if rng.bool() {
        let rules: Vec<_> = (0..rng.usize(1..4)).map(|n| random_rule(rng, n, &variants)).collect();
        link["rules"] = json!(rules);
    }
    link
}

fn random_destination(rng: &mut Rng, host: &str) -> &'static str {
    let all = [
        "https://www.example.com/",
        "https://www.example.com/foo/bar?some=thing&a=1#top",
        "http://www.example.com",
        "https://www.example.com/?a=1&b=%20c",
        "tel:+15550100",
        "android://foo/bar",
    ];
    // Only one of the domains has other schemes.
    all[rng.usize(..if host == HOSTS[0] { 6 } else { 4 })]
}

fn random_rule(rng: &mut Rng, number: usize, variants: &Value) -> Value {
    let conditions = [
        ("language", json!(["de", "en-gb"])),
        ("os", json!(["ios"])),
        ("device", json!(["smartphone"])),
        ("browser", json!(["chrome"])),
        ("bot", json!(true)),
        ("referrer", json!(["social", "news.example.com"])),
        ("network", json!(["192.0.2.0/24", "2001:db8::/32"])),
        ("query", json!({"a": "1"})),
        ("query", json!({"x": null})),
        ("after", json!("2026-01-01T00:00:00Z")),
        ("before", json!("2026-01-01T00:00:00Z")),
    ];
    let mut when = json!({});
    for _ in 0..rng.usize(..3) {
        let (name, value) = &conditions[rng.usize(..conditions.len())];
        when[*name] = value.clone();
    }
    let mut rule = json!({"name": format!("r{number}"), "when": when});
    if rng.bool() {
        rule["destination"] = json!(format!("https://rule{number}.example/p?r=1#f"));
    } else {
        rule["variants"] = variants.clone();
    }
    rule
}

fn random_request(rng: &mut Rng) -> String {
    let mut pick = |of: &[&str]| of[rng.usize(..of.len())].to_owned();
    let method = pick(&["GET", "GET", "GET", "GET", "HEAD", "POST"]);
    let host = pick(&[
        "go.brand.com",
        "GO.Brand.com:80",
        "www.go.brand.com",
        "x.brand.example",
        "low.example",
        "LOW.example.",
        "xn--bcher-kva.example",
        "other.example",
    ]);
    let path = pick(&[
        "",
        "a",
        "a/b",
        "A",
        "spring",
        "SPRING",
        "summer/sale",
        "caf%C3%A9",
        "%E2%9D%A4",
        "x%20y",
        "1",
        "v1.2",
        "robots.txt",
        "unknown",
        "favicon.ico",
        "%73pring",
    ]);
    let tail =
        pick(&["", "", "", "", "/", "/c", "/..", "/%2e%2e/x", "//evil.example", "+", ".", ",", "%22", "%07", "/b/c"]);
    let query = pick(&[
        "",
        "",
        "?",
        "?a=1",
        "?a=2&b=3",
        "?x",
        "?notrack",
        "?notrack=1&a=9",
        "?%6eotrack",
        "?x=%C3%A9&a=\"<>",
        "?utm_source=u&a",
        "?a=%00",
        "?c=[1]",
    ]);
    let mut head = format!("{method} /{path}{tail}{query} HTTP/1.1\r\nHost: {host}\r\n");
    let mut field = |name: &str, values: &[&str], often: u8| {
        if rng.u8(..) < often {
            head += &format!("{name}: {}\r\n", values[rng.usize(..values.len())]);
        }
    };
    field("User-Agent", AGENTS, 240);
    field("Accept", &["text/html", "*/*"], 200);
    field("Accept-Language", LANGUAGES, 200);
    field("Accept-Encoding", &["gzip"], 200);
    field("Referer", REFERERS, 120);
    field("X-Forwarded-For", ADDRESSES, 230);
    field("Sec-GPC", &["1", "0"], 40);
    field("DNT", &["1", "0"], 20);
    field("Sec-Purpose", &["prefetch"], 20);
    field("Sec-Fetch-Mode", &["navigate", "cors"], 60);
    field("Sec-CH-UA-Platform", &["\"Android\"", "\"Windows\""], 40);
    if method == "POST" {
        head += "Content-Length: 0\r\n";
    }
    head + "\r\n"
}

/// Sends a request on a connection that stays open, and opens it again if the edge has closed it.
fn exchange(connection: &mut BufReader<TcpStream>, head: &str) -> Answer {
    let to = connection.get_ref().peer_addr().unwrap();
    connection.get_mut().write_all(head.as_bytes()).unwrap();
    let answer = read(connection, head.starts_with("HEAD "));
    if answer.header("connection") == Some("close") {
        *connection = BufReader::new(connect(None, to).unwrap());
    }
    answer
}

fn read(connection: &mut BufReader<TcpStream>, is_head: bool) -> Answer {
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        assert!(connection.read_line(&mut text).expect("an answer") > 0, "the connection is closed: {text:?}");
    }
    let mut answer = Answer::parse(&text).unwrap();
    let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; if is_head { 0 } else { length }];
    connection.read_exact(&mut body).unwrap();
    answer.body = String::from_utf8(body).unwrap();
    answer
}

/// An answer without what differs each time: its date, and the random part of a page's policy.
fn comparable(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let nonce =
        answer.header("content-security-policy").and_then(|csp| csp.split("'nonce-").nth(1)?.split('\'').next());
    let hide = |text: &str| nonce.map_or_else(|| text.to_owned(), |nonce| text.replace(nonce, "NONCE"));
    let kept = answer
        .headers
        .iter()
        .filter(|(name, _)| !["date", "connection", "transfer-encoding"].contains(&&*name.to_ascii_lowercase()));
    let headers = kept.map(|(name, value)| (name.to_ascii_lowercase(), hide(value))).collect();
    (answer.status, headers, hide(&answer.body))
}
