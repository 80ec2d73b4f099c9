//! Links that programs change through the API while the edge answers clicks.

mod access;
mod described;
mod log;
mod requests;
mod upgrades;
mod visible;

use std::{
    fs,
    io::{Read, Write},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    process::Command,
};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::common::{Answer, Builder, Edge, connect, exchange, link};

/// Lines of the configuration with which an edge takes changes.
pub const STATE: &str = "state_dir = \"state\"";

/// The tokens that every edge of these tests has.
pub struct Tokens {
    /// Sees all workspaces, and orders the edge.
    pub all: String,
    /// Sees `w-1`.
    one: String,
    /// Reads in `w-1`.
    reads: String,
}

/// An edge that takes changes, and its tokens.
fn edge() -> (Edge, Tokens) {
    let (builder, tokens) = with_tokens(Edge::builder().catalog(STATE));
    (builder.start(), tokens)
}

/// Adds tokens to an edge.
pub fn with_tokens(builder: Builder) -> (Builder, Tokens) {
    let (all, first) = token(&["all", "--admin"]);
    let (one, second) = token(&["one", "--workspace", "w-1"]);
    let (reads, third) = token(&["reads", "--workspace", "w-1", "--read-only"]);
    fs::write(builder.dir().join("tokens"), [first, second, third].join("\n")).unwrap();
    (builder.admin("tokens_file = \"tokens\""), Tokens { all, one, reads })
}

/// A new token, and its line.
pub fn token(arguments: &[&str]) -> (String, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_clickedge")).args(["catalog", "token"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let part = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    (part("token:"), part("line:"))
}

/// A request to the API, on a connection of its own.
pub fn ask(edge: &Edge, token: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    ask_at(edge.admin, token, method, path, headers, body).expect("an answer")
}

/// The same by address. `None` if no answer comes: the edge may be stopped.
pub fn ask_at(
    admin: SocketAddr,
    token: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Option<Answer> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    if !token.is_empty() {
        text += &format!("Authorization: Bearer {token}\r\n");
    }
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    text += &format!("\r\n{body}");
    exchange(connect(None, admin).ok()?, text.as_bytes())
}

/// Puts a link.
pub fn put(edge: &Edge, token: &str, path: &str, body: &Value) -> Answer {
    ask(edge, token, "PUT", &format!("/v1/links/{path}"), &[("Content-Type", "application/json")], &body.to_string())
}

fn read(edge: &Edge, token: &str, path: &str) -> Answer {
    ask(edge, token, "GET", &format!("/v1/links/{path}"), &[], "")
}

fn delete(edge: &Edge, token: &str, path: &str) -> Answer {
    ask(edge, token, "DELETE", &format!("/v1/links/{path}"), &[], "")
}

fn json(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

/// Status and kind of a problem.
fn problem(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    let problem = json(answer);
    let kind = problem["type"].as_str().unwrap().strip_prefix("urn:clickedge:problem:").unwrap().to_owned();
    (answer.status, kind)
}

/// Where a redirect leads.
fn leads_to(edge: &Edge, path: &str) -> Option<String> {
    let answer = edge.get("go.brand.com", path);
    answer.header("location").map(str::to_owned)
}

fn body(destination: &str) -> Value {
    json!({"id": "l-1", "destination": destination, "workspace": {"id": "w-1"}})
}

#[test]
fn a_change_is_seen_by_the_next_request() {
    let (edge, tokens) = edge();
    for number in 0..20 {
        let (path, destination) = (format!("go.brand.com/new-{}", number % 3), format!("https://e.example/{number}"));
        let answer = put(&edge, &tokens.one, &path, &body(&destination));
        assert_eq!(answer.status, if number < 3 { 201 } else { 200 }, "{answer:?}");
        assert_eq!(leads_to(&edge, &format!("/new-{}", number % 3)), Some(destination.clone()));
        let shown = read(&edge, &tokens.one, &path);
        assert_eq!(json(&shown)["destination"], json!(destination));
        assert_eq!(shown.header("etag"), answer.header("etag"));
    }
    assert_eq!(delete(&edge, &tokens.one, "go.brand.com/new-0").status, 204);
    assert_eq!(leads_to(&edge, "/new-0"), None);
    assert_eq!(read(&edge, &tokens.one, "go.brand.com/new-0").status, 404);
    assert!(leads_to(&edge, "/spring").is_some(), "links of the file stay");
    assert_eq!(delete(&edge, &tokens.one, "go.brand.com/spring").status, 204);
    assert_eq!(leads_to(&edge, "/spring"), None);
}

#[test]
fn changes_survive_a_kill_and_a_stop() {
    let (edge, tokens) = edge();
    let first = put(&edge, &tokens.all, "go.brand.com/kept", &body("https://e.example/kept"));
    assert_eq!(delete(&edge, &tokens.all, "go.brand.com/spring").status, 204);
    let edge = edge.kill().restart();
    assert_eq!(leads_to(&edge, "/kept").as_deref(), Some("https://e.example/kept"));
    assert_eq!(leads_to(&edge, "/spring"), None);
    assert_eq!(read(&edge, &tokens.all, "go.brand.com/kept").header("etag"), first.header("etag"));
    let again = put(&edge, &tokens.all, "go.brand.com/kept", &body("https://e.example/kept"));
    assert_eq!((again.status, again.header("etag")), (200, first.header("etag")), "it is the same");
    let revision = |answer: &Answer| answer.header("clickedge-revision").unwrap().parse::<u64>().unwrap();
    assert_eq!((revision(&first), revision(&again)), (1, 1), "that of its last change");
    let edge = edge.terminate().restart();
    let changed = put(&edge, &tokens.all, "go.brand.com/kept", &body("https://e.example/changed"));
    assert_eq!((changed.status, revision(&changed)), (200, 3));
    assert_eq!(leads_to(&edge, "/kept").as_deref(), Some("https://e.example/changed"));
}

#[test]
fn links_are_addressed_as_the_catalog_file_writes_them() {
    let (edge, tokens) = edge();
    for (path, address) in [
        ("go.brand.com/summer/sale", "/summer/sale"),
        ("GO.brand.com/caf%C3%A9", "/caf%C3%A9"),
        ("go.brand.com/a%20b/", "/a%20b"),
        ("go.brand.com/100%25", "/100%25"),
        ("go.brand.com/%2525", "/%25"),
        ("go.brand.com/%252525", "/%2525"),
        ("go.brand.com/summer%252Fsale", "/summer/sale"),
        ("go.brand.com/", "/"),
    ] {
        assert_eq!(read(&edge, &tokens.all, path).status, 404, "{path}");
        let answer = put(&edge, &tokens.all, path, &body("https://e.example/x"));
        assert_eq!(answer.status, 201, "{path}: {answer:?}");
        assert_eq!(leads_to(&edge, address).as_deref(), Some("https://e.example/x"), "{path}");
        assert_eq!(read(&edge, &tokens.all, path).status, 200, "{path}");
        // What is read can be put again.
        let shown = json(&read(&edge, &tokens.all, path));
        let again = put(&edge, &tokens.all, path, &shown);
        assert_eq!((again.status, again.header("etag")), (200, answer.header("etag")), "{path}: {again:?}");
        assert_eq!(delete(&edge, &tokens.all, path).status, 204, "{path}");
    }
}

#[test]
fn a_listed_slashtag_that_is_encoded_leads_to_that_very_link() {
    let slashtags =
        ["a%2Fb", "a%252Fb", "a b", "a%20c", "caf\u{e9}", "caf%C3%A8", "50%", "100%25", "summer/sale", "/x/"];
    let links = slashtags.map(|slashtag| link("go.brand.com", slashtag, "https://e.example/"));
    let (builder, tokens) = with_tokens(Edge::builder().catalog(STATE));
    let edge = links.into_iter().fold(builder, Builder::link).start();
    let listed = || {
        let page = json(&ask(&edge, &tokens.one, "GET", "/v1/links?domain=go.brand.com", &[], ""));
        page["links"].as_array().unwrap().clone()
    };
    let mut left = listed();
    assert_eq!(left.len(), slashtags.len() + 1, "spring as well: {left:?}");
    for slashtag in slashtags {
        let link = left.iter().position(|link| link["slashtag"] == slashtag).expect("it is as the file writes it");
        let path = format!("go.brand.com/{}", utf8_percent_encode(slashtag, NON_ALPHANUMERIC));
        let shown = read(&edge, &tokens.one, &path);
        assert_eq!((shown.status, json(&shown)), (200, left[link].clone()), "{path}");
        let again = put(&edge, &tokens.one, &path, &left[link]);
        assert_eq!((again.status, again.header("etag")), (200, shown.header("etag")), "{path}: it is the same");
        assert_eq!(delete(&edge, &tokens.one, &path).status, 204, "{path}");
        left.remove(link);
        let mut now = listed();
        let order = |link: &Value| link["slashtag"].as_str().unwrap().to_owned();
        now.sort_by_key(order);
        left.sort_by_key(order);
        assert_eq!(now, left, "{path}: that link and no other");
    }
}

#[test]
fn what_is_read_has_all_that_the_catalog_said() {
    let (edge, tokens) = edge();
    let given = link("go.brand.com", "spring", "https://www.example.com/spring?utm_source=go");
    let shown = json(&read(&edge, &tokens.one, "go.brand.com/spring"));
    for field in ["id", "slashtag", "destination", "workspace", "creator", "tags"] {
        assert_eq!(shown[field], given[field], "{field}");
    }
    let answer = put(&edge, &tokens.one, "go.brand.com/spring", &shown);
    assert_eq!(answer.status, 200);
    assert_eq!(read(&edge, &tokens.one, "go.brand.com/spring").header("etag"), answer.header("etag"));
}

#[test]
fn two_writers_do_not_overwrite_each_other() {
    let (edge, tokens) = edge();
    let path = "/v1/links/go.brand.com/spring";
    let read = read(&edge, &tokens.one, "go.brand.com/spring");
    let etag = read.header("etag").unwrap();
    let first = ask(&edge, &tokens.one, "PUT", path, &[("If-Match", etag)], &body("https://e.example/1").to_string());
    assert_eq!(first.status, 200);
    let second =
        ask(&edge, &tokens.one, "PUT", path, &[("If-Match", etag)], &body("https://e.example/2").to_string());
    assert_eq!(problem(&second), (412, "condition-failed".into()));
    assert_eq!(second.header("etag"), first.header("etag"));
    assert_eq!(leads_to(&edge, "/spring").as_deref(), Some("https://e.example/1"));
    let create =
        ask(&edge, &tokens.all, "PUT", path, &[("If-None-Match", "*")], &body("https://e.example/3").to_string());
    assert_eq!(problem(&create).0, 412);
    let current = ask(&edge, &tokens.one, "GET", path, &[("If-None-Match", first.header("etag").unwrap())], "");
    assert_eq!((current.status, current.body.as_str()), (304, ""));
}

#[test]
fn an_invalid_link_is_rejected_by_field_and_changes_nothing() {
    let (edge, tokens) = edge();
    let valid = body("https://e.example/");
    for (field, value) in [
        ("destination", json!("javascript:alert(1)")),
        ("destination", Value::Null),
        ("id", Value::Null),
        ("httpStatus", json!(200)),
        ("maxClicks", json!(-1)),
        ("slashtag", json!("other")),
        ("domain", json!({"fullName": "other.brand.com"})),
    ] {
        let mut link = valid.clone();
        link[field] = value;
        let answer = put(&edge, &tokens.all, "go.brand.com/new", &link);
        assert_eq!(problem(&answer), (422, "invalid".into()), "{field}: {answer:?}");
        let named = json(&answer)["field"].as_str().unwrap_or_default().to_owned();
        assert!(named.starts_with(field), "{field}: {answer:?}");
    }
    assert_eq!(leads_to(&edge, "/new"), None);
}

#[test]
fn a_domain_is_changed_and_is_not_deleted_before_its_links() {
    let (edge, tokens) = edge();
    let path = "/v1/domains/go.brand.com";
    let domain = json!({"notFound": "https://e.example/lost"}).to_string();
    let answer = ask(&edge, &tokens.all, "PUT", path, &[], &domain);
    assert!([200, 201].contains(&answer.status), "{answer:?}");
    assert_eq!(leads_to(&edge, "/unknown").as_deref(), Some("https://e.example/lost"));
    assert_eq!(json(&ask(&edge, &tokens.all, "GET", path, &[], ""))["notFound"], "https://e.example/lost");
    assert_eq!(problem(&ask(&edge, &tokens.all, "DELETE", path, &[], "")).0, 409);
    assert_eq!(delete(&edge, &tokens.all, "go.brand.com/spring").status, 204);
    assert_eq!(ask(&edge, &tokens.all, "DELETE", path, &[], "").status, 204);
    let owned = json!({"workspace": {"id": "w-1"}}).to_string();
    assert_eq!(ask(&edge, &tokens.one, "PUT", "/v1/domains/new.brand.com", &[], &owned).status, 201);
    let link = json!({"id": "l-1", "destination": "https://e.example/"});
    assert_eq!(put(&edge, &tokens.one, "new.brand.com/a", &link).status, 201, "the workspace is that of the domain");
}

#[test]
fn a_batch_makes_many_changes_at_once() {
    let (edge, tokens) = edge();
    let line = |number: usize| {
        let mut link = body(&format!("https://e.example/{number}"));
        (link["domain"], link["slashtag"]) = ("go.brand.com".into(), format!("b-{number}").into());
        link.to_string()
    };
    let mut lines: Vec<String> = (0..1_000).map(line).collect();
    lines.push(json!({"op": "delete", "domain": "go.brand.com", "slashtag": "spring"}).to_string());
    lines.push("{".into());
    let answer = ask(&edge, &tokens.one, "POST", "/v1/links:batch", &[], &lines.join("\n"));
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/x-ndjson")));
    let results: Vec<Value> = answer.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(results.len(), 1_002);
    for (number, result) in results[..1_000].iter().enumerate() {
        assert_eq!((result["line"].as_u64(), result["status"].as_u64()), (Some(number as u64 + 1), Some(201)));
    }
    assert_eq!((&results[1_000]["status"], &results[1_001]["status"]), (&json!(204), &json!(400)));
    let revisions: Vec<_> = results[..1_001].iter().map(|result| result["revision"].as_u64().unwrap()).collect();
    assert!(revisions.is_sorted_by(|one, next| one + 1 == *next), "{revisions:?}");
    for number in [0, 500, 999] {
        assert_eq!(leads_to(&edge, &format!("/b-{number}")), Some(format!("https://e.example/{number}")));
    }
    assert_eq!(leads_to(&edge, "/spring"), None);
    let mut seen: Vec<String> = Vec::new();
    let mut path = "/v1/links?domain=go.brand.com&limit=300".to_owned();
    loop {
        let page = json(&ask(&edge, &tokens.one, "GET", &path, &[], ""));
        let links = page["links"].as_array().unwrap();
        assert!(links.len() <= 300);
        seen.extend(links.iter().map(|link| link["slashtag"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/links?domain=go.brand.com&limit=300&after={next}");
    }
    seen.sort();
    let mut expected: Vec<_> = (0..1_000).map(|number| format!("b-{number}")).collect();
    expected.sort();
    assert_eq!(seen, expected);
}

#[test]
fn an_edge_without_a_folder_for_changes_takes_none() {
    let (builder, tokens) = with_tokens(Edge::builder());
    let edge = builder.start();
    let answer = put(&edge, &tokens.all, "go.brand.com/a", &body("https://e.example/"));
    assert_eq!(problem(&answer), (403, "no-changes".into()));
    assert!(answer.body.contains("catalog.state_dir") && answer.header("retry-after").is_none(), "{answer:?}");
    assert_eq!(read(&edge, &tokens.all, "go.brand.com/spring").status, 200, "links can be read");
}
