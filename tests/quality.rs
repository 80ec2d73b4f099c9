//! Abuse detection as customers and visitors see it: each reason in the event, what is blocked, and what is not marked.

use std::{fs, net::IpAddr, process::Command};

use serde_json::{Value, json};

use crate::common::{Builder, CHROME, Edge, Stopped, link};

const HOST: &str = "go.brand.com";

/// An edge with the links `l0` to `l9` (and `spring`), and this in `[quality]`.
fn edge(quality: &str) -> Builder {
    let links = (0..10).map(|n| link(HOST, &format!("l{n}"), &format!("https://www.example.com/{n}")));
    links.fold(Edge::builder(), Builder::link).section(&format!("[quality]\n{quality}")).feed("all", &["*"])
}

/// A click from `127.{of}` with this agent; the status of the answer.
fn click(edge: &Edge, of: [u8; 3], agent: &str, target: &str) -> u16 {
    let source = IpAddr::from([127, of[0], of[1], of[2]]);
    edge.request_from(Some(source), "GET", HOST, target, &[("User-Agent", agent)]).status
}

/// The events, in the order of the clicks.
fn events(stopped: &Stopped) -> Vec<Value> {
    let mut events = stopped.events("all");
    events.sort_by(|one, other| one["id"].as_str().cmp(&other["id"].as_str()));
    events
}

#[track_caller]
fn assert_quality(event: &Value, verdict: &str, reasons: &[&str]) {
    let mut quality = event["quality"].clone();
    quality.as_object_mut().unwrap().remove("invalid");
    let marked = json!({"verdict": verdict, "reasons": reasons});
    let clean = json!({"verdict": "clean"});
    assert_eq!(quality, if reasons.is_empty() { clean } else { marked }, "{event}");
}

/// A target with an encoded query.
fn spring(query: &str) -> String {
    let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
    format!("/spring?q={encoded}")
}

const ATTACKS: [(&str, &str); 7] = [
    ("1' or '1'='1", "sql-injection"),
    ("<script>alert(1)</script>", "cross-site-scripting"),
    ("../../../etc/passwd", "path-traversal"),
    ("{{7*7}}", "template-injection"),
    ("${jndi:ldap://x.example/a}", "log-lookup"),
    ("$(id)", "command-injection"),
    ("", "header-injection"),
];

/// The target for an attack: the one on headers is looked for in its escapes.
fn target(attack: &str) -> String {
    if attack.is_empty() { "/spring?q=a%0d%0aSet-Cookie:x".into() } else { spring(attack) }
}

#[test]
fn every_attack_is_in_the_event_and_an_ordinary_click_is_clean() {
    let edge = edge("").start();
    for (attack, _) in ATTACKS {
        assert_eq!(edge.get(HOST, &target(attack)).status, 302, "marked, not blocked");
    }
    for (name, value) in
        [("User-Agent", "sqlmap/1.7"), ("Referer", "${jndi:dns://x}"), ("Referer", "https://a.example/")]
    {
        assert_eq!(edge.request("GET", HOST, "/spring", &[(name, value)]).status, 302);
    }
    assert_eq!(edge.get(HOST, "/spring?utm_source=mail&utm_campaign=50%25+off").status, 302);
    let events = events(&edge.stop());
    for ((_, reason), event) in ATTACKS.iter().zip(&events) {
        assert_quality(event, "malicious", &[reason]);
    }
    assert_quality(&events[7], "suspicious", &["scanner"]);
    assert_quality(&events[8], "malicious", &["log-lookup"]);
    assert_quality(&events[9], "clean", &[]);
    assert_quality(&events[10], "clean", &[]);
}

#[test]
fn headers_that_no_browser_sends_are_suspicious() {
    let edge = edge("").start();
    let brands = |version: u16| format!("\"Google Chrome\";v=\"{version}\", \"Chromium\";v=\"{version}\"");
    let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0";
    let (current, other) = (brands(131), brands(120));
    let rows: [(&[(&str, &str)], bool); 7] = [
        (&[("Sec-CH-UA", &current), ("Sec-CH-UA-Mobile", "?0"), ("Sec-CH-UA-Platform", "\"Windows\"")], false),
        (&[("Sec-CH-UA", &other)], true),
        (&[("Sec-CH-UA-Platform", "\"macOS\"")], true),
        (&[("Sec-CH-UA-Mobile", "?1")], true),
        (&[("User-Agent", firefox), ("Sec-CH-UA", &current)], true),
        (&[("User-Agent", firefox)], false),
        (&[], false),
    ];
    for (headers, _) in &rows {
        assert_eq!(edge.request("GET", HOST, "/spring", headers).status, 302);
    }
    let old = format!("GET /spring HTTP/1.0\r\nHost: {HOST}\r\nUser-Agent: {CHROME}\r\n\r\n");
    assert_eq!(edge.raw(old.as_bytes()).unwrap().status, 302);
    let events = events(&edge.stop());
    for ((headers, impossible), event) in rows.iter().zip(&events) {
        let reasons: &[&str] = if *impossible { &["impossible-headers"] } else { &[] };
        println!("{headers:?}");
        assert_quality(event, if *impossible { "suspicious" } else { "clean" }, reasons);
    }
    assert_quality(&events[rows.len()], "suspicious", &["impossible-headers"]);
}

#[test]
fn the_connection_of_a_trusted_proxy_says_nothing_about_the_visitor() {
    let edge = edge("").section("[client_address]\ntrusted_proxies = [\"127.0.0.0/8\"]").start();
    let old = format!(
        "GET /spring HTTP/1.0\r\nHost: {HOST}\r\nUser-Agent: {CHROME}\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n"
    );
    assert_eq!(edge.raw(old.as_bytes()).unwrap().status, 302);
    assert_quality(&events(&edge.stop())[0], "clean", &[]);
}

#[test]
fn a_flood_is_marked_from_its_twenty_first_click_and_no_other_visitor_is() {
    let edge = edge("").start();
    for _ in 0..25 {
        assert_eq!(click(&edge, [1, 0, 1], CHROME, "/spring"), 302, "marked, not blocked");
    }
    for _ in 0..3 {
        click(&edge, [1, 0, 2], CHROME, "/spring");
    }
    click(&edge, [1, 0, 1], CHROME, "/l1");
    let events = events(&edge.stop());
    assert_eq!(events.len(), 29);
    for event in events[..20].iter().chain(&events[25..]) {
        assert_quality(event, "clean", &[]);
    }
    for event in &events[20..25] {
        assert_quality(event, "suspicious", &["click-flood"]);
        assert_eq!(event["client"]["agent"]["type"], "human", "a flood alone makes no bot");
    }
}

#[test]
fn a_visitor_who_requests_many_unknown_links_is_marked_at_the_first_known_one() {
    let edge = edge("").start();
    for n in 0..29 {
        assert_eq!(click(&edge, [2, 0, 1], CHROME, &format!("/unknown-{n}")), 404);
        assert_eq!(click(&edge, [2, 0, 2], CHROME, "/favicon.ico"), 404);
    }
    click(&edge, [2, 0, 1], CHROME, "/spring");
    for n in 0..10 {
        click(&edge, [2, 0, 1], &format!("agent {n}"), &format!("/unknown-{n}"));
        click(&edge, [2, 0, 2], CHROME, "/favicon.ico");
    }
    for of in [[2, 0, 1], [2, 0, 2], [2, 0, 3]] {
        click(&edge, of, CHROME, "/spring");
    }
    let events = events(&edge.stop());
    assert_eq!(events.len(), 4);
    assert_quality(&events[0], "clean", &[]);
    assert_quality(&events[1], "suspicious", &["link-enumeration"]);
    assert_quality(&events[2], "clean", &[]);
    assert_quality(&events[3], "clean", &[]);
}

#[test]
fn a_mail_gateway_that_opens_every_link_is_a_bot_from_the_fifth_on() {
    let edge = edge("").start();
    for n in (0..8).chain(0..1) {
        click(&edge, [3, 0, 1], CHROME, &format!("/l{n}"));
    }
    click(&edge, [3, 0, 2], CHROME, "/l1");
    let events = events(&edge.stop());
    for event in events[..4].iter().chain(&events[9..]) {
        assert_eq!(event["client"]["agent"]["type"], "human");
        assert!(event["client"]["session"].is_object());
    }
    for event in &events[4..9] {
        assert_eq!(event["client"]["agent"]["type"], "bot");
        assert_eq!(event["client"]["agent"]["bot"], json!({"reason": "behaviour"}));
        assert_eq!(event["client"].get("session"), None);
    }
}

#[test]
fn thirty_people_behind_one_address_stay_people() {
    let edge = edge("").start();
    for link in 0..4 {
        for person in 0..30 {
            let agent = CHROME.replace("131.0.0.0", &format!("{}.0.0.0", 100 + person));
            assert_eq!(click(&edge, [4, 0, 1], &agent, &format!("/l{link}")), 302);
        }
    }
    let events = events(&edge.stop());
    assert_eq!(events.len(), 120);
    for event in &events {
        assert_quality(event, "clean", &[]);
        assert_eq!(event["client"]["agent"]["type"], "human");
    }
}

#[test]
fn a_blocked_request_gets_403_and_makes_no_event() {
    let block = ATTACKS.map(|(_, reason)| reason);
    let upload = {
        let mut link = link(HOST, "upload", "https://www.example.com/upload");
        link["httpStatus"] = json!(307);
        link
    };
    let edge = edge(&format!("block = {block:?}")).link(upload).start();
    for (attack, reason) in ATTACKS {
        let answer = edge.get(HOST, &target(attack));
        assert_eq!(answer.status, 403, "{reason}");
        assert_eq!(answer.header("cache-control"), Some("private, no-store"));
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
        assert_eq!(answer.header("location"), None);
        assert!(answer.body.starts_with("<!DOCTYPE html>") && answer.body.contains("was blocked"));
        assert!(attack.is_empty() || !answer.body.contains(attack), "nothing of the request is in the answer");
    }
    let blocked = |edge: &Edge, reason: &str| edge.metric(&format!("clickedge_blocked_total{{reason=\"{reason}\"}}"));
    for (_, reason) in ATTACKS {
        assert_eq!(blocked(&edge, reason), 1, "{reason}");
    }
    let attack = spring("<script>");
    let head = edge.request("HEAD", HOST, &attack, &[]);
    assert_eq!((head.status, &*head.body), (403, ""));
    assert_eq!(edge.request("GET", HOST, &attack, &[("User-Agent", "Googlebot/2.1")]).status, 403, "bots, too");
    let post = attack.replace("spring", "upload");
    assert_eq!(edge.request("POST", HOST, &post, &[("Content-Length", "0")]).status, 403);
    assert_eq!(edge.get(HOST, &attack.replace("spring", "nothing")).status, 404, "what is no link stays none");
    assert_eq!(edge.request("GET", HOST, "/spring", &[("User-Agent", "sqlmap/1.7")]).status, 302, "not named");
    assert_eq!(edge.get(HOST, "/spring?q=union+select").status, 302, "weak evidence");
    assert_eq!(edge.get(HOST, "/spring").status, 302);
    edge.wait_until("counted", |edge| edge.metric("clickedge_requests_total{outcome=\"blocked\"}") == 10);
    assert_eq!(edge.metric("clickedge_clicks_answered_total"), 3);
    let events = events(&edge.stop());
    assert_eq!(events.len(), 3, "a blocked request is no click");
    assert_quality(&events[0], "suspicious", &["scanner"]);
    assert_quality(&events[1], "suspicious", &["sql-injection"]);
    assert_quality(&events[2], "clean", &[]);
}

#[test]
fn suspicious_visitors_are_blocked_when_configured() {
    let edge =
        edge("block = [\"scanner\", \"impossible-headers\", \"link-enumeration\"]\nenumeration_links = 5").start();
    assert_eq!(edge.request("GET", HOST, "/spring", &[("User-Agent", "Nikto/2.1.6")]).status, 403);
    assert_eq!(edge.request("GET", HOST, "/spring", &[("Sec-CH-UA-Mobile", "?1")]).status, 403);
    for n in 0..5 {
        assert_eq!(click(&edge, [5, 0, 1], CHROME, "/spring"), 302);
        assert_eq!(click(&edge, [5, 0, 1], CHROME, &format!("/unknown-{n}")), 404);
    }
    assert_eq!(click(&edge, [5, 0, 1], CHROME, "/spring"), 403);
    assert_eq!(click(&edge, [5, 0, 2], CHROME, "/spring"), 302);
    assert_eq!(edge.stop().events("all").len(), 6);
}

#[test]
fn networks_and_spam_referrers_are_blocked_when_configured() {
    let lists = "block = [\"data-center-network\", \"spam-referrer\"]\n[enrich]\n\
                 hosting_networks_file = 'hosting'\nspammers_file = 'spammers'";
    let builder = edge(lists);
    fs::write(builder.dir().join("hosting"), "127.8.1.0/24\n").unwrap();
    fs::write(builder.dir().join("spammers"), "spam.example\n").unwrap();
    let edge = builder.start();
    assert_eq!(click(&edge, [8, 1, 7], CHROME, "/spring"), 403);
    assert_eq!(click(&edge, [8, 2, 7], CHROME, "/spring"), 302);
    let from = |host: &str| edge.request("GET", HOST, "/spring", &[("Referer", &format!("https://{host}/"))]).status;
    assert_eq!((from("www.spam.example"), from("notspam.example")), (403, 302));
    fs::write(edge.dir().join("hosting"), "127.8.2.0/24\n").unwrap();
    edge.signal("HUP");
    edge.wait_until("the other network", |edge| click(edge, [8, 2, 7], CHROME, "/spring") == 403);
    assert_eq!(click(&edge, [8, 1, 7], CHROME, "/spring"), 302);
}

#[test]
fn a_flood_is_blocked_once_a_worker_has_seen_it_and_only_its_visitor_is() {
    let edge = edge("block = [\"click-flood\"]\nflood_clicks = 5\nflood_secs = 600").start();
    for _ in 0..6 {
        assert_eq!(click(&edge, [6, 0, 1], CHROME, "/spring"), 302, "the first clicks are answered");
    }
    edge.wait_until("seen", |edge| click(edge, [6, 0, 1], CHROME, "/spring") == 403);
    assert_eq!(click(&edge, [6, 0, 1], CHROME, "/l1"), 403, "for any link");
    assert_eq!(click(&edge, [6, 0, 1], "Mozilla/5.0 (another person)", "/spring"), 302);
    assert_eq!(click(&edge, [6, 0, 2], CHROME, "/spring"), 302);
    let answered = edge.metric("clickedge_clicks_answered_total");
    assert_eq!(edge.stop().events("all").len() as i64, answered);
}

/// The counts of reloads of a list: successful, and failed.
fn reloads(edge: &Edge, what: &str) -> (i64, i64) {
    let count = |result| edge.metric(&format!("clickedge_reloads_total{{result=\"{result}\",what=\"{what}\"}}"));
    (count("ok"), count("failed"))
}

#[test]
fn block_lists_are_reloaded_when_they_are_valid() {
    let builder =
        edge("block = [\"blocked-destination\"]\nblocked_domains_file = 'domains'\nblocked_urls_file = 'urls'")
            .link(link(HOST, "bad", "https://www.Bad.Example/x?y=1#z"));
    let (domains, urls) = (builder.dir().join("domains"), builder.dir().join("urls"));
    fs::write(&domains, "# none yet\n").unwrap();
    fs::write(&urls, "").unwrap();
    let edge = builder.start();
    let statuses = |edge: &Edge| ["/bad", "/spring"].map(|target| edge.get(HOST, target).status);
    let reload = |edge: &Edge, expected: [(i64, i64); 2]| {
        edge.signal("HUP");
        edge.wait_until("reloaded", |edge| {
            [reloads(edge, "blocked_domains"), reloads(edge, "blocked_urls")] == expected
        });
    };
    assert_eq!(statuses(&edge), [302, 302]);

    fs::write(&domains, "0.0.0.0 bad.example\n").unwrap();
    reload(&edge, [(1, 0), (1, 0)]);
    assert_eq!(statuses(&edge), [403, 302]);
    assert!(edge.get(HOST, "/bad").body.contains("destination is on a block list"));

    fs::write(&domains, "bad.example\nhttps://worse.example/\n").unwrap();
    let spring = "https://www.example.com/spring?utm_source=go";
    let hash = |url: &str| {
        use sha2::{Digest, Sha256};
        Sha256::digest(url).iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
    };
    fs::write(&urls, format!("{}\n", hash(spring))).unwrap();
    reload(&edge, [(1, 1), (1, 0)]);
    assert_eq!(statuses(&edge), [403, 302], "the previous version of both stays active");
    let log = edge.log();
    let failure = log.lines().find(|line| line.contains("reload failed")).unwrap();
    let failure: Value = serde_json::from_str(failure).unwrap();
    let wanted = "/domains, line 2: `https://worse.example/` is no domain; write the domain alone";
    assert!(failure["error"].as_str().unwrap().contains(wanted), "{failure}");

    fs::write(&domains, "worse.example\n").unwrap();
    reload(&edge, [(2, 1), (2, 0)]);
    assert_eq!(statuses(&edge), [302, 403]);
    assert_eq!(edge.get(HOST, "/spring?more").status, 302, "an entry with a query is for exactly that one");
    fs::write(&urls, hash("https://www.example.com/spring")).unwrap();
    reload(&edge, [(3, 1), (3, 0)]);
    assert_eq!(statuses(&edge), [302, 403]);
    assert_eq!(edge.get(HOST, "/spring?more").status, 403, "an entry without a query is for any");
    assert!(edge.stop().status.success());
}

#[test]
fn a_destination_on_a_list_is_marked_unless_it_is_blocked() {
    let builder = edge("blocked_domains_file = 'domains'").link(link(HOST, "bad", "https://www.bad.example/"));
    fs::write(builder.dir().join("domains"), "bad.example\n").unwrap();
    let edge = builder.start();
    for target in ["/bad", "/spring"] {
        assert_eq!(edge.get(HOST, target).status, 302);
    }
    let events = events(&edge.stop());
    assert_quality(&events[0], "malicious", &["blocked-destination"]);
    assert_quality(&events[1], "clean", &[]);
}

/// Output and exit code of `clickedge` with this `[quality]` and these files next to the configuration.
fn run(command: &[&str], quality: &str, files: &[(&str, &str)]) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let config = format!(
        "[catalog]\nfile = 'links'\n[capture]\ndir = '/dev/shm/clickedge-unused'\n[spool]\ndir = 'spool'\n\
         [[listeners]]\naddress = '127.0.0.1:9'\n[quality]\n{quality}\n\
         [[feeds]]\nname = 'all'\nworkspaces = ['*']\nsink.dir.path = 'bucket'\n"
    );
    fs::write(dir.path().join("links"), "").unwrap();
    fs::write(dir.path().join("clickedge.toml"), config).unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let output = Command::new(env!("CARGO_BIN_EXE_clickedge"))
        .args(command)
        .arg(dir.path().join("clickedge.toml"))
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn a_broken_list_fails_the_start_and_check_reports_it_first() {
    for (key, text) in [("blocked_domains_file", "*.bad.example"), ("blocked_urls_file", "ABC")] {
        let quality = format!("{key} = 'list'");
        let files = [("list", &*format!("# ours\n{text}\n"))];
        let (code, said) = run(&["check"], &quality, &files);
        assert_eq!(code, Some(65), "{said}");
        let wanted = format!("`quality.{key}` is rejected: ");
        assert!(said.contains(&wanted) && said.contains(&format!("list, line 2: `{text}` is no")), "{said}");
        let (code, serve) = run(&["serve", "--config"], &quality, &files);
        assert_eq!(code, Some(65), "{serve}");
        assert!(serve.contains(&format!("list, line 2: `{text}` is no")) && serve.contains("; write "), "{serve}");
        let (code, said) = run(&["check"], &quality, &[]);
        assert!(code == Some(66) && said.contains(&wanted) && said.contains("cannot read the list"), "{said}");
    }
}

#[test]
fn an_unknown_reason_is_rejected_with_the_list_of_known_ones() {
    let (code, said) = run(&["check"], "block = [\"sql-injektion\"]", &[]);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("did you mean `sql-injection`?") && said.contains("`blocked-destination`"), "{said}");
    let (code, said) = run(&["check"], "block = [\"blocked-destination\", \"spam-referrer\"]", &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("warning") && said.contains("set `blocked_domains_file` or"), "{said}");
}
