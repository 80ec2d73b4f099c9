//! The contract with customers: events of the real binary against the schema, the facts of varied requests, and one
//! whole event, byte for byte, in `golden/event.json`.
//!
//! After a wanted change of the event: `UPDATE_GOLDEN=1 cargo test --features full --test integration event::`.

use std::{collections::HashSet, fs, path::Path};

use serde_json::{Value, json};

use crate::common::{CHROME, Edge, contract, link};

const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like \
                      Gecko) Version/17.5.1 Mobile/15E148 Safari/604.1";
const FACEBOOK: &str = "Mozilla/5.0 (iPad; CPU OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                        Mobile/15E148 [FBAN/FBIOS;FBAV/463.0.0;FBDV/iPad13,1;FBMD/iPad]";
const GOOGLEBOT: &str = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";

/// A request, and what its event has at some places. `null` stands for absent.
struct Row {
    request: Vec<u8>,
    expected: Value,
}

/// A `GET` with a browser's headers, and these; a header without a value is left out.
fn get(target: &str, headers: &[(&str, &[u8])], expected: Value) -> Row {
    request("GET", "go.brand.com", target.as_bytes(), headers, expected)
}

fn request(method: &str, host: &str, target: &[u8], headers: &[(&str, &[u8])], expected: Value) -> Row {
    let mut bytes =
        [method.as_bytes(), b" ", target, b" HTTP/1.1\r\nConnection: close\r\nHost: ", host.as_bytes()].concat();
    let browser = [("User-Agent", CHROME.as_bytes()), ("Accept-Language", b"en-GB,en;q=0.9")];
    let given = |name: &str| headers.iter().any(|(given, _)| *given == name);
    for (name, value) in browser.iter().filter(|(name, _)| !given(name)).chain(headers) {
        bytes.extend([b"\r\n", name.as_bytes(), b": ", value].concat());
    }
    bytes.extend(b"\r\n\r\n");
    Row { request: bytes, expected }
}

fn edge() -> Edge {
    let bare = json!({
        "id": "bare", "slashtag": "bare", "destination": "http://[2001:db8::1]:8080", "httpStatus": 301,
        "domain": {"fullName": "Acme.Link"}
    });
    let geoip = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/demo/geoip.mmdb");
    Edge::builder()
        .link(bare)
        .link(link("go.brand.com", "café", "https://www.example.com/menü#top"))
        .section("[client_address]\ntrusted_proxies = [\"127.0.0.0/8\"]")
        // All rows come from one visitor, within a second or a minute.
        .section("[quality]\nflood_clicks = 0")
        .section(&format!("[enrich]\nworkers = 1\ngeoip_file = '{}'", geoip.display()))
        .feed("all", &["*"])
        .start()
}

/// The events of these requests, in their order.
fn events(rows: &[Row]) -> Vec<Value> {
    let edge = edge();
    for row in rows {
        let answer = edge.raw(&row.request).unwrap();
        assert!(matches!(answer.status, 301 | 302), "{}", row.request.escape_ascii());
    }
    let mut events = edge.stop().events("all");
    events.sort_by(|one, other| one["id"].as_str().cmp(&other["id"].as_str()));
    assert_eq!(events.len(), rows.len());
    events
}

/// A query as it stands in an event.
fn pairs(pairs: &[(&str, &str)]) -> Value {
    pairs.iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(values) => values.iter().any(has_null),
        Value::Object(map) => map.values().any(has_null),
        _ => false,
    }
}

fn location_rows() -> Vec<Row> {
    let from = |address: &'static str, expected| get("/spring", &[("X-Forwarded-For", address.as_bytes())], expected);
    vec![
        from(
            "203.0.113.7",
            json!({"/client/location": {
                "country": "jp", "region": "13", "city": "Tokyo", "latitude": 35.6762, "longitude": 139.6503
            }}),
        ),
        from(
            "2001:db8::1",
            json!({"/client/location": {
                "country": "br", "region": "sp", "city": "São Paulo", "latitude": -23.5505, "longitude": -46.6333
            }}),
        ),
        from("192.0.2.1, 198.51.100.9, 127.0.0.2", json!({"/client/location/city": "Berlin"})),
        from("8.8.8.8", json!({"/client/location": null, "/client/session/first": true})),
        from("unknown", json!({"/client/location/city": "Dublin"})),
        get("/spring", &[], json!({"/client/location/city": "Dublin", "/edge": {"pop": "test"}})),
    ]
}

fn agent_rows() -> Vec<Row> {
    let agent = |agent: &[u8], expected| get("/spring", &[("User-Agent", agent)], json!({"/client/agent": expected}));
    let chrome = json!({"name": "chrome", "version": "131.0.0.0"});
    let bot = |bot: Value| {
        json!({"/client/agent": {
            "type": "bot", "bot": bot, "browser": chrome, "os": {"name": "windows", "version": "10"},
            "device": {"name": "pc"}
        }, "/client/session": null})
    };
    vec![
        agent(
            IPHONE.as_bytes(),
            json!({
                "type": "human", "browser": {"name": "safari", "version": "17.5.1"},
                "os": {"name": "ios", "version": "17.5.1"}, "device": {"name": "smartphone"}
            }),
        ),
        agent(
            FACEBOOK.as_bytes(),
            json!({
                "type": "human", "browser": {"name": "facebook-app", "version": "463.0.0"},
                "os": {"name": "ipados", "version": "17.4"}, "device": {"name": "tablet"}
            }),
        ),
        agent(
            GOOGLEBOT.as_bytes(),
            json!({"type": "bot", "bot": {"reason": "agent", "class": "search", "name": "googlebot"}}),
        ),
        agent(
            b"curl/8.5.0",
            json!({"type": "bot", "bot": {"reason": "library", "class": "library", "name": "curl"}}),
        ),
        agent(b"", json!({"type": "bot", "bot": {"reason": "empty-agent"}})),
        agent(b"\xff\xfe \"quoted\\\" \t\x80", json!({"type": "bot", "bot": {"reason": "agent", "class": "other"}})),
        agent(&[b'x'; 5_000], json!({"type": "bot", "bot": {"reason": "agent", "class": "other"}})),
        get(
            "/spring",
            &[("Sec-CH-UA", br#""HeadlessChrome";v="131", "Not_A Brand";v="24""#)],
            bot(json!({"reason": "agent", "class": "library", "name": "headless-chrome"})),
        ),
        request("HEAD", "go.brand.com", b"/spring", &[], bot(json!({"reason": "head"}))),
        get("/spring", &[("Sec-Purpose", b"prefetch;prerender")], bot(json!({"reason": "prefetch"}))),
        get("/spring", &[("X-Purpose", b"preview")], bot(json!({"reason": "preview"}))),
        request(
            "HEAD",
            "go.brand.com",
            b"/spring",
            &[("User-Agent", b"Wget/1.21.4"), ("Purpose", b"prefetch")],
            json!({"/client/agent/bot/name": "wget", "/client/agent/bot/reason": "library"}),
        ),
    ]
}

fn quality_rows() -> Vec<Row> {
    // A visitor of their own: many clicks of one are a flood.
    let from: (&str, &[u8]) = ("X-Forwarded-For", b"8.8.8.8");
    let class = |headers: &[(&str, &[u8])], expected: Value| {
        get("/spring", &[headers, &[from]].concat(), json!({"/quality/invalid": expected}))
    };
    let (general, sophisticated) = (json!("general"), json!("sophisticated"));
    let headless = br#""HeadlessChrome";v="131""#;
    vec![
        class(&[], Value::Null),
        class(&[("User-Agent", GOOGLEBOT.as_bytes())], general.clone()),
        class(&[("User-Agent", b"curl/8.5.0")], general.clone()),
        class(&[("User-Agent", b"")], general.clone()),
        class(&[("Sec-Purpose", b"prefetch")], general.clone()),
        class(&[("X-Purpose", b"preview")], general.clone()),
        request("HEAD", "go.brand.com", b"/spring", &[from], json!({"/quality/invalid": "general"})),
        class(&[("Sec-CH-UA", headless)], sophisticated.clone()),
        class(&[("User-Agent", GOOGLEBOT.as_bytes()), ("Sec-CH-UA", headless)], general),
        // Weak evidence alone.
        get("/spring?q=union+select", &[from], json!({"/quality/verdict": "suspicious", "/quality/invalid": null})),
        get(
            "/spring?q=%24%7Bjndi:ldap://x%7D",
            &[("User-Agent", b"curl/8.5.0"), from],
            json!({"/client/agent/type": "bot", "/quality/invalid": "sophisticated"}),
        ),
    ]
}

fn header_rows() -> Vec<Row> {
    let opted_out = |signal: &str| {
        json!({
            "/client/optOut": signal,
            "/client/location": {"country": "ie", "region": "l"}, "/client/session": null, "/route/scripts": null,
            "/route/tags": [{"id": "t-1", "name": "Print"}], "/client/agent/type": "human", "/client/language": "en"
        })
    };
    let referer =
        |target: &str, referer: &[u8], expected| get(target, &[("Referer", referer)], json!({"/referral": expected}));
    let language = |header: &[u8], expected: Option<&str>| {
        get("/spring", &[("Accept-Language", header)], json!({"/client/language": expected}))
    };
    vec![
        get("/spring", &[("Sec-GPC", b"1")], opted_out("gpc")),
        get("/spring", &[("DNT", b"1")], opted_out("dnt")),
        get("/spring", &[("DNT", b"1"), ("Sec-GPC", b"1")], opted_out("gpc")),
        get(
            "/spring",
            &[("DNT", b"0")],
            json!({
                "/client/location/city": "Dublin", "/client/session/first": false, "/client/optOut": null
            }),
        ),
        get(
            "/spring",
            &[("Sec-GPC", b"1"), ("User-Agent", b"curl/8.5.0")],
            json!({
                "/client/optOut": "gpc", "/client/agent/type": "bot"
            }),
        ),
        referer(
            "/spring",
            b"https://user:secret@L.Facebook.com:443/l.php?u=secret#secret",
            json!({
                "hostname": "l.facebook.com", "protocol": "https", "path": "/l.php",
                "origin": {"type": "social", "name": "facebook"}
            }),
        ),
        referer(
            "/spring?gclid=x1",
            b"https://www.google.co.uk/",
            json!({
                "hostname": "www.google.co.uk", "protocol": "https", "path": "/",
                "origin": {"type": "paid", "name": "google"}
            }),
        ),
        referer(
            "/spring",
            b"android-app://com.google.android.gm",
            json!({
                "hostname": "com.google.android.gm", "protocol": "android-app",
                "origin": {"type": "email", "name": "gmail"}
            }),
        ),
        referer(
            "/spring",
            b"http://GO.brand.com/other",
            json!({
                "hostname": "go.brand.com", "protocol": "http", "path": "/other", "origin": {"type": "internal"}
            }),
        ),
        referer("/spring", b"", Value::Null),
        referer("/spring", b"\xff\xfe://\x80", Value::Null),
        language(b"de-CH;q=0.7, fr;q=0.9, *", Some("fr")),
        language(b"*", None),
        language(b"", None),
        language(b"\xff\xff, e\xcc\x81n", None),
    ]
}

fn route_rows() -> Vec<Row> {
    vec![
        get(
            "/spring?a=1&b=%C3%A9+x&a=2&flag",
            &[],
            json!({
                "/route/params/query": pairs(&[("a", "1"), ("b", "é x"), ("a", "2"), ("flag", "")]),
                "/route/destination/raw": "https://www.example.com/spring?utm_source=go&a=1&b=%C3%A9+x&a=2&flag",
                "/route/destination/params/query":
                    pairs(&[("utm_source", "go"), ("a", "1"), ("b", "é x"), ("a", "2"), ("flag", "")]),
                "/quality": {"verdict": "clean"}
            }),
        ),
        request(
            "GET",
            "go.brand.com",
            "/spring?a=é'&b=%ff%0a%zz".as_bytes(),
            &[],
            json!({
                "/route/params/query": pairs(&[("a", "é'"), ("b", "\u{fffd}\n%zz")]),
                "/route/destination/raw": "https://www.example.com/spring?utm_source=go&a=%C3%A9'&b=%ff%0a%zz"
            }),
        ),
        get(
            "/spring?id=1'+OR+'1'='1&q=%3Cscript%3E",
            &[],
            json!({"/quality": {
                "verdict": "malicious", "reasons": ["sql-injection", "cross-site-scripting"], "invalid": "sophisticated"
            }}),
        ),
        get(
            "/cafe%CC%81/?",
            &[],
            json!({
                "/route/slashtag": "café", "/route/id": "id-café", "/route/params": null,
                "/route/destination": {
                    "raw": "https://www.example.com/men%C3%BC#top", "protocol": "https",
                    "hostname": "www.example.com", "path": "/men%C3%BC"
                }
            }),
        ),
        request(
            "GET",
            "ACME.link:8080",
            b"/bare?dropped=1",
            &[],
            json!({"/route": {
                "id": "bare", "slashtag": "bare", "params": {"query": pairs(&[("dropped", "1")])},
                "domain": {"raw": "acme.link", "zone": "link.acme"}, "status": 301,
                "destination": {
                    "raw": "http://[2001:db8::1]:8080/", "protocol": "http", "hostname": "[2001:db8::1]", "path": "/"
                }
            }}),
        ),
    ]
}

#[test]
fn every_request_becomes_a_valid_event_with_its_facts() {
    let rows: Vec<Row> =
        [location_rows(), agent_rows(), quality_rows(), header_rows(), route_rows()].into_iter().flatten().collect();
    let schema = contract::strict();
    let events = events(&rows);
    for (row, event) in rows.iter().zip(&events) {
        let request = row.request.escape_ascii();
        let problems: Vec<_> = schema.iter_errors(event).map(|problem| problem.to_string()).collect();
        assert!(problems.is_empty(), "{request}: {problems:?} in {event}");
        assert!(!has_null(event), "absent means absent: {request}: {event}");
        for (place, expected) in row.expected.as_object().unwrap() {
            let actual = event.pointer(place).unwrap_or(&Value::Null);
            assert_eq!(actual, expected, "{place} of {request}");
        }
        let (time, started) = (event["timestamp"].as_str().unwrap(), event["client"]["session"]["started"].as_str());
        assert_eq!(time.len(), "2026-11-23T09:01:02.000042Z".len());
        assert!(started.is_none_or(|started| started <= time));
    }
    let text = serde_json::to_string(&events).unwrap();
    for private in ["203.0.113", "198.51.100", "8.8.8.8", "127.0.0", "secret"] {
        assert!(!text.contains(private), "{private} is in an event");
    }
    let ids: HashSet<_> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), events.len());
}

#[test]
fn the_schema_rejects_what_is_no_event() {
    let schema = contract::published();
    let good = &events(&[get("/spring", &[], json!({}))])[0];
    assert!(schema.is_valid(good));
    for (place, value) in [
        ("/timestamp", json!("2026-13-01T00:00:00Z")),
        ("/timestamp", json!("2026-11-23T09:00:00+01:00")),
        ("/client/session/started", json!("yesterday")),
        ("/client/language", json!("EN")),
        ("/client/agent/type", json!("alien")),
        ("/route/createdAt", json!("2026-01-01")),
        ("/schema", json!("click/2")),
        ("/referral", Value::Null),
        ("/route/tags", json!({"t-1": {"value": "Print"}})),
    ] {
        let mut bad = good.clone();
        match bad.pointer_mut(place) {
            Some(old) => *old = value,
            None => drop(bad.as_object_mut().unwrap().insert(place[1..].into(), value)),
        }
        assert!(!schema.is_valid(&bad), "{place}: {bad}");
    }
}

#[test]
fn a_whole_event_equals_the_golden_file() {
    let full = get(
        "/spring?utm_term=poster&x=1&x=2",
        &[("X-Forwarded-For", b"203.0.113.7"), ("Referer", b"https://www.linkedin.com/feed/?trk=a")],
        json!({}),
    );
    let mut event = events(&[full]).remove(0);
    for (place, placeholder) in
        [("/id", "<id>"), ("/timestamp", "<timestamp>"), ("/client/session/started", "<timestamp>")]
    {
        *event.pointer_mut(place).unwrap() = placeholder.into();
    }
    let text = serde_json::to_string_pretty(&event).unwrap() + "\n";
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/event.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(golden.parent().unwrap()).unwrap();
        fs::write(&golden, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&golden).unwrap(), "see this file's header");
}
