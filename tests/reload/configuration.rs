//! The whole configuration, taken up by a running edge.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use serde_json::{Value, json};

use super::{HOST, logged, reloads};
use crate::{
    certificates::leaf,
    common::{
        Answer, Builder, Edge, TIMEOUT, clicks::parameter, connect, exchange, free_address, link, objects_below,
    },
};

/// `POST /v1/reload`, with these lines in its header.
fn post(edge: &Edge, lines: &str) -> Answer {
    let request = format!("POST /v1/reload HTTP/1.1\r\nHost: localhost\r\n{lines}Connection: close\r\n\r\n");
    exchange(connect(None, edge.admin).unwrap(), request.as_bytes()).unwrap()
}

/// A reload that succeeds.
#[track_caller]
fn reload(edge: &Edge) -> Value {
    let answer = post(edge, "");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{}", answer.body);
    let answer: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(answer["result"], "ok");
    answer
}

/// A reload that fails. Returns what is wrong.
#[track_caller]
fn reload_fails(edge: &Edge) -> Vec<Value> {
    let answer = post(edge, "");
    assert_eq!((answer.status, answer.header("content-type")), (422, Some("application/problem+json")));
    let answer: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((&answer["status"], &answer["title"]), (&json!(422), &json!("reload failed")));
    answer["errors"].as_array().unwrap().clone()
}

/// Changes the configuration of a running edge.
fn edit(edge: &Edge, change: impl FnOnce(String) -> String) {
    let path = edge.dir().join("clickedge.toml");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(path, change(config)).unwrap();
}

fn replace(edge: &Edge, from: &str, to: &str) {
    edit(edge, |config| {
        assert!(config.contains(from), "{from:?} is missing");
        config.replacen(from, to, 1)
    });
}

fn keys(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect()
}

/// A connection that stays open.
struct Client(TcpStream);

impl Client {
    fn of(address: SocketAddr) -> Self {
        Self(connect(None, address).unwrap())
    }

    /// The head of the answer to a request without a body.
    fn get(&mut self, target: &str) -> String {
        self.try_get(target).expect("an answer")
    }

    fn try_get(&mut self, target: &str) -> Option<String> {
        write!(self.0, "GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n").ok()?;
        let (mut head, mut byte) = (String::new(), [0]);
        while !head.ends_with("\r\n\r\n") {
            if self.0.read(&mut byte).ok()? == 0 {
                return None;
            }
            head.push(byte[0] as char);
        }
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap().parse().unwrap();
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).ok()?;
        Some(head)
    }
}

fn is_listening(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, TIMEOUT).is_ok()
}

fn edge(sections: &str) -> Edge {
    Edge::builder().section(sections).feed("all", &["*"]).start()
}

#[test]
fn an_invalid_configuration_changes_nothing() {
    let edge = edge("[limits]\nheader_secs = 5");
    edge.write_links(&[link(HOST, "summer", "https://www.example.com/summer")]);
    replace(&edge, "header_secs = 5", "header_secs = 5\ntarget_byte = 100\nrequest_burst = \"many\"");
    let errors = reload_fails(&edge);
    let config = fs::read_to_string(edge.dir().join("clickedge.toml")).unwrap();
    let line = config.lines().position(|line| line.starts_with("target_byte")).unwrap() + 1;
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert_eq!(errors[0]["line"], line);
    assert!(errors[0]["file"].as_str().unwrap().ends_with("/clickedge.toml"));
    assert!(errors[0]["message"].as_str().unwrap().contains("target_byte"), "{errors:?}");
    assert!(!errors[0]["remedy"].as_str().unwrap().is_empty());
    assert_eq!(edge.get(HOST, "/summer").status, 404, "the catalog is the previous one");
    assert_eq!(edge.metric("clickedge_config_last_reload_successful"), 0);
    assert_eq!((reloads(&edge, "config", "failed"), reloads(&edge, "catalog", "ok")), (1, 0));
    let errors = logged(&edge, "ERROR");
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert_eq!(
        (&errors[0]["line"], errors[0]["message"].as_str().unwrap()),
        (&json!(line), "reload failed; the previous version of everything stays active")
    );

    // The signal does the same.
    edge.signal("HUP");
    edge.wait_until("failed again", |edge| reloads(edge, "config", "failed") == 2);
    replace(&edge, "target_byte = 100\nrequest_burst = \"many\"", "");
    edge.signal("HUP");
    edge.wait_until("reloaded", |edge| reloads(edge, "config", "ok") == 1);
    assert_eq!(edge.get(HOST, "/summer").status, 302);
    assert_eq!(edge.metric("clickedge_config_last_reload_successful"), 1);
}

#[test]
fn one_bad_file_keeps_everything_as_it_was() {
    let builder =
        Edge::builder().section("[quality]\nblocked_domains_file = \"domains\"\nblock = [\"blocked-destination\"]");
    fs::write(builder.dir().join("domains"), "bad.example\n").unwrap();
    let edge = builder.link(link(HOST, "bad", "https://bad.example/")).start();
    assert_eq!(edge.get(HOST, "/bad").status, 403);
    let added = free_address();
    edge.write_links(&[
        link(HOST, "summer", "https://www.example.com/summer"),
        link(HOST, "bad", "https://bad.example/"),
    ]);
    fs::write(edge.dir().join("domains"), "bad.example\nhttps://worse.example/\n").unwrap();
    edit(&edge, |config| format!("{config}\n[limits]\ntarget_bytes = 64\n[[listeners]]\naddress = \"{added}\"\n"));
    let errors = reload_fails(&edge);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0]["message"].as_str().unwrap().contains("/domains, line 2: "), "{errors:?}");
    let long = format!("/spring?{}", "x".repeat(100));
    assert_eq!((edge.get(HOST, "/summer").status, edge.get(HOST, &long).status), (404, 302));
    assert!(!is_listening(added));

    fs::write(edge.dir().join("domains"), "worse.example\n").unwrap();
    let answer = reload(&edge);
    assert_eq!(keys(&answer["applied"]), ["limits.target_bytes", "listeners[1]"]);
    assert_eq!((edge.get(HOST, "/summer").status, edge.get(HOST, &long).status), (302, 414));
    assert_eq!(edge.get(HOST, "/bad").status, 302);
    assert!(is_listening(added));

    // A file that is no longer named is forgotten, and so is what is no longer blocked.
    fs::write(edge.dir().join("domains"), "bad.example\n").unwrap();
    reload(&edge);
    assert_eq!(edge.get(HOST, "/bad").status, 403);
    replace(&edge, "blocked_domains_file = \"domains\"\n", "");
    assert_eq!(keys(&reload(&edge)["applied"]), ["quality.blocked_domains_file"]);
    assert_eq!(edge.get(HOST, "/bad").status, 302);
    assert_eq!(edge.metric("clickedge_config_last_reload_successful"), 1);
}

#[test]
fn listeners_come_and_go_while_clients_are_connected() {
    let (second, third) = (free_address(), free_address());
    let edge = edge(&format!("[[listeners]]\naddress = \"{second}\""));
    let (mut one, mut two) = (Client::of(edge.address), Client::of(second));
    assert!(one.get("/spring").contains(" 302 ") && two.get("/spring").contains(" 302 "));
    let certs = edge.dir().join("certs");
    fs::create_dir(&certs).unwrap();
    let pair = rcgen::generate_simple_self_signed(["go.brand.com".to_owned()]).unwrap();
    fs::write(certs.join("a.pem"), pair.cert.pem()).unwrap();
    fs::write(certs.join("a.key"), pair.signing_key.serialize_pem()).unwrap();
    replace(
        &edge,
        &format!("address = \"{second}\""),
        &format!("address = \"{third}\"\ncertificates_dir = \"certs\""),
    );
    assert_eq!(keys(&reload(&edge)["applied"]), ["listeners", "listeners[1]"]);
    assert!(!is_listening(second));
    assert_eq!(leaf(third, "go.brand.com"), pair.cert.der().to_vec());
    assert!(one.get("/spring").contains(" 302 "), "a connection of a listener that stays");
    assert!(two.get("/spring").contains(" 302 "), "a connection of a listener that was removed");
    let mut three = Client::of(edge.address);
    assert!(three.get("/spring").contains(" 302 "));
    replace(
        &edge,
        &format!("address = \"{}\"", edge.address),
        &format!("address = \"{}\"\nredirect_to_https = true", edge.address),
    );
    assert_eq!(keys(&reload(&edge)["applied"]), ["listeners[0].redirect_to_https"]);
    assert!(three.get("/spring").contains("://www.example.com/"), "a connection keeps its settings");
    assert_eq!(edge.get(HOST, "/spring").header("location"), Some("https://go.brand.com/spring"));

    // An address that another process has.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    edit(&edge, |config| format!("{config}\n[[listeners]]\naddress = \"{}\"\n", taken.local_addr().unwrap()));
    let errors = reload_fails(&edge);
    assert!(
        errors[0]["message"].as_str().unwrap().starts_with("`listeners[2].address` cannot be opened"),
        "{errors:?}"
    );
    assert!(edge.stop().status.success());
}

#[test]
fn limits_and_redirect_settings_change_under_open_connections() {
    let moved = |builder: Builder| {
        let mut link = link(HOST, "moved", "https://www.example.com/moved");
        link["httpStatus"] = json!(301);
        builder.link(link)
    };
    let edge = moved(Edge::builder())
        .section("[redirect]\npermanent_max_age_secs = 90\n[limits]\nrequests_per_second = 0")
        .start();
    let mut client = Client::of(edge.address);
    assert!(client.get("/moved").contains("max-age=90\r\n"));
    replace(&edge, "permanent_max_age_secs = 90", "permanent_max_age_secs = 7\nkeepalive_secs = 0");
    replace(&edge, "requests_per_second = 0", "requests_per_second = 1\nrequest_burst = 4");
    let expected = [
        "limits.request_burst",
        "limits.requests_per_second",
        "redirect.keepalive_secs",
        "redirect.permanent_max_age_secs",
    ];
    assert_eq!(keys(&reload(&edge)["applied"]), expected);
    let answer = client.get("/moved");
    assert!(answer.contains("max-age=7\r\n") && answer.contains("keep-alive"), "{answer}");
    assert_eq!(edge.request("GET", HOST, "/moved", &[]).header("connection"), Some("close"));
    let statuses: Vec<_> = (0..10).map(|_| edge.get(HOST, "/spring").status).collect();
    assert!(statuses.contains(&429), "{statuses:?}");
    replace(&edge, "requests_per_second = 1", "requests_per_second = 0");
    reload(&edge);
    assert!((0..10).all(|_| edge.get(HOST, "/spring").status == 302));
}

#[test]
fn the_upstream_and_the_trusted_proxies_change() {
    let edge = edge("");
    assert_eq!(edge.get("other.example", "/").status, 404);
    let upstream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = upstream.local_addr().unwrap();
    let served = std::thread::spawn(move || {
        let (mut stream, _) = upstream.accept().unwrap();
        let (mut text, mut part) = (Vec::new(), [0; 1024]);
        while !text.ends_with(b"\r\n\r\n") {
            let read = stream.read(&mut part).unwrap();
            text.extend_from_slice(&part[..read]);
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
        String::from_utf8(text).unwrap()
    });
    edit(&edge, |config| {
        format!(
            "{config}\n[upstream]\naddress = \"{address}\"\n[client_address]\ntrusted_proxies = [\"127.0.0.0/8\"]\n"
        )
    });
    assert_eq!(keys(&reload(&edge)["applied"]), ["client_address.trusted_proxies", "upstream"]);
    let answer = edge.request("GET", "other.example", "/", &[("X-Forwarded-For", "192.0.2.7")]);
    assert_eq!(answer.status, 204);
    let asked = served.join().unwrap().to_ascii_lowercase();
    assert!(asked.contains("x-forwarded-for: 192.0.2.7, 127.0.0.1\r\n"), "{asked}");
}

#[test]
fn the_answer_and_the_log_name_keys_and_no_secret() {
    const SECRETS: [&str; 2] = ["the-first-secret-of-32-bytes-or-more", "the-second-secret-of-32-bytes-or-so"];
    let builder = Edge::builder().section("[enrich]\nsession_key_file = \"key-a\"").feed("all", &["*"]);
    for (name, secret) in ["key-a", "key-b"].into_iter().zip(SECRETS) {
        fs::write(builder.dir().join(name), secret).unwrap();
    }
    let edge = builder.start();
    assert_eq!(edge.metric("clickedge_config_restart_keys"), 0);
    replace(&edge, "key-a", "key-b");
    replace(&edge, "pop = \"test\"", "pop = \"ams1\"");
    replace(&edge, "log_level = \"trace\"", "log_level = \"info\"");
    replace(&edge, "ring_bytes = 16777216", "ring_bytes = 33554432");
    let answer = reload(&edge);
    assert_eq!(keys(&answer["applied"]), ["enrich.session_key_file", "telemetry.log_level"]);
    let restart = answer["needsRestart"].as_array().unwrap();
    assert_eq!([&restart[0]["key"], &restart[1]["key"]], ["capture.ring_bytes", "edge.pop"]);
    assert!(restart[0]["remedy"].as_str().unwrap().contains("clickedge upgrade"), "{restart:?}");
    assert_eq!(edge.metric("clickedge_config_restart_keys"), 2);
    let text = format!("{answer}{}", edge.log());
    for part in ["enrich.session_key_file, telemetry.log_level", "restart required"] {
        assert!(edge.log().contains(part), "{part}");
    }
    assert!(SECRETS.iter().all(|secret| !text.contains(secret)));

    // Keys that wait for a restart are named until it comes, or until they have their first values again.
    let again = reload(&edge);
    assert_eq!((keys(&again["applied"]).len(), again["needsRestart"].as_array().unwrap().len()), (0, 2));
    replace(&edge, "pop = \"ams1\"", "pop = \"test\"");
    assert_eq!(reload(&edge)["needsRestart"].as_array().unwrap().len(), 1);
    fs::write(edge.dir().join("key-b"), "short").unwrap();
    let errors = reload_fails(&edge);
    assert!(errors[0]["message"].as_str().unwrap().contains("`enrich.session_key_file` is rejected"), "{errors:?}");
}

#[test]
fn a_feed_is_added_and_removed_under_its_name() {
    let edge = edge("");
    assert_eq!(edge.get(HOST, "/spring?n=0").status, 302);
    // A click that no worker has read yet would be routed to the new feed, too.
    edge.wait_until("routed", |edge| edge.metric("clickedge_clicks_enriched_total") == 1);
    let config = fs::read_to_string(edge.dir().join("clickedge.toml")).unwrap();
    let more = edge.dir().join("bucket/more");
    edit(&edge, |config| {
        format!(
            "{config}\n[[feeds]]\nname = \"more\"\nworkspaces = [\"w-1\"]\nmax_age_secs = 1\nhold_back_secs = 0\n\
             sink.dir.path = '{}'\n",
            more.display()
        )
    });
    assert_eq!(keys(&reload(&edge)["applied"]), ["feeds[1]"]);
    assert_eq!(edge.get(HOST, "/spring?n=1").status, 302);
    // What waits when its feed is removed stays until the feed is back.
    edge.wait_until("its first click is delivered", |_| !objects_below(&more).is_empty());
    fs::write(edge.dir().join("clickedge.toml"), config).unwrap();
    assert_eq!(keys(&reload(&edge)["applied"]), ["feeds"]);
    assert_eq!(edge.get(HOST, "/spring?n=2").status, 302);
    let stopped = edge.stop();
    let of = |feed| {
        let mut clicks: Vec<_> =
            stopped.events(feed).iter().map(|event| parameter(event, "n").unwrap().to_owned()).collect();
        clicks.sort();
        clicks
    };
    assert_eq!((of("all"), of("more")), (vec!["0".into(), "1".into(), "2".into()], vec!["1".to_owned()]));
}

#[test]
fn only_an_operator_asks_for_a_reload() {
    let edge = edge("");
    assert_eq!(post(&edge, "Origin: https://evil.example\r\n").status, 403);
    let answer = edge.admin("/v1/reload");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    assert_eq!(reloads(&edge, "config", "ok"), 0);
    assert_eq!(edge.get(HOST, "/v1/reload").status, 404, "not on the listener for clicks");
}

#[test]
fn watched_files_are_reloaded_when_they_change() {
    let edge = edge("[reload]\nwatch = true\n[tls]\nwatch_secs = 1\n[redirect]\nkeepalive_secs = 60");
    edge.write_links(&[link(HOST, "summer", "https://www.example.com/summer")]);
    edge.wait_until("the new catalog answers", |edge| edge.get(HOST, "/summer").status == 302);
    // Counted once all of it is taken up.
    edge.wait_until("the reload is counted", |edge| reloads(edge, "config", "ok") == 1);
    replace(&edge, "keepalive_secs = 60", "keepalive_secs = 6");
    edge.wait_until("the configuration is reloaded", |edge| reloads(edge, "config", "ok") == 2);
    replace(&edge, "keepalive_secs = 6", "keepalive_secs = \"six\"");
    edge.wait_until("the configuration is rejected", |edge| reloads(edge, "config", "failed") == 1);
    replace(&edge, "watch = true\n", "");
    replace(&edge, "keepalive_secs = \"six\"", "keepalive_secs = 6");
    edge.wait_until("the watch ends", |edge| reloads(edge, "config", "ok") == 3);
    assert_eq!(reloads(&edge, "config", "failed"), 1, "what is wrong is reported once");
}
