//! The second listener: health, readiness, and numbers that add up.
// The numbers are counts: whole, and exact as floats.
#![allow(clippy::float_cmp)]

use std::{
    collections::{BTreeSet, HashMap},
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::json;

use crate::common::{Answer, Edge, TIMEOUT, clicks::noise, disk::SmallDisk, link};

/// A request of any method on the admin listener.
fn admin(edge: &Edge, method: &str, path: &str) -> Answer {
    let mut stream = TcpStream::connect(edge.admin).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    Answer::parse(&text).unwrap()
}

/// Samples by name with labels, out of Prometheus text of which every line is proper.
fn samples(text: &str) -> HashMap<String, f64> {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'))
    };
    let mut types: HashMap<&str, &str> = HashMap::new();
    let mut samples = HashMap::new();
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert!(is_name(name) && !words.is_empty(), "{line}");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(matches!(kind, "counter" | "gauge" | "histogram"), "{line}");
            assert_eq!(types.insert(name, kind), None, "one type a name: {line}");
        } else {
            let (full, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            let (name, labels) = full.split_once('{').unwrap_or((full, "}"));
            assert!(is_name(name) && labels.ends_with('}'), "{line}");
            for label in labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty()) {
                let (key, quoted) = label.split_once('=').unwrap_or_else(|| panic!("{line}"));
                assert!(
                    is_name(key) && quoted.len() > 2 && quoted.starts_with('"') && quoted.ends_with('"'),
                    "{line}"
                );
            }
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
            let family = family.filter(|family| types.get(family) == Some(&"histogram")).unwrap_or(name);
            assert!(types.contains_key(family), "a sample follows its type: {line}");
            let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert_eq!(samples.insert(full.to_owned(), value), None, "each sample once: {line}");
        }
    }
    samples
}

#[test]
fn the_process_reports_that_it_is_alive_and_ready() {
    let edge = Edge::builder().start();
    for (path, body) in [("/livez", "alive\n"), ("/readyz", "ready\n"), ("/readyz?verbose", "ready\n")] {
        let answer = admin(&edge, "GET", path);
        assert_eq!((answer.status, &*answer.body), (200, body), "{path}");
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    }
    let head = admin(&edge, "HEAD", "/readyz");
    assert_eq!((head.status, &*head.body, head.header("content-length")), (200, "", Some("6")));
}

#[test]
fn another_path_is_not_found_and_another_method_not_allowed() {
    let edge = Edge::builder().start();
    for path in ["/index.html", "/metrics/", "/spring", "/livez/..", "/LIVEZ"] {
        assert_eq!(admin(&edge, "GET", path).status, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = admin(&edge, method, "/metrics");
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    assert_eq!(edge.get("go.brand.com", "/metrics").status, 404, "the click listener knows nothing of these routes");
    assert_eq!(edge.get("admin", "/readyz").status, 404);
}

#[test]
fn counts_are_queried_by_path_and_errors_are_reported() {
    let edge = Edge::builder().feed("all", &["*"]).start();
    let bad = admin(&edge, "GET", "/v1/stats/workspaces/w-1?from=yesterday");
    assert_eq!((bad.status, bad.header("content-type")), (400, Some("text/plain; charset=utf-8")));
    assert!(bad.body.contains("`from=yesterday`") && bad.body.ends_with('\n'), "{}", bad.body);
    assert_eq!(admin(&edge, "GET", "/v1/stats/links/go.brand.com").status, 400, "no slashtag");
    assert_eq!(admin(&edge, "GET", "/v1/stats/planets/earth").status, 404);
    assert_eq!(admin(&edge, "DELETE", "/v1/stats/workspaces/w-1").status, 405);
    assert_eq!(edge.get("go.brand.com", "/v1/stats/workspaces/w-1").status, 404, "not on the click listener");

    let edge = Edge::builder().section("[stats]\nenabled = false").start();
    let off = admin(&edge, "GET", "/v1/stats/workspaces/w-1");
    assert_eq!(off.status, 503);
    assert!(off.body.contains("stats.enabled"), "{}", off.body);
}

#[test]
fn a_stopping_edge_says_so_and_still_answers_clicks_for_as_long_as_is_configured() {
    let edge = Edge::builder().section("[shutdown]\nlame_duck_secs = 2").feed("all", &["*"]).start();
    edge.signal("QUIT");
    edge.wait_until("draining", |edge| admin(edge, "GET", "/readyz").body == "draining\n");
    assert_eq!(admin(&edge, "GET", "/readyz").status, 503);
    assert_eq!(edge.get("go.brand.com", "/spring").status, 302);
    assert_eq!(edge.wait().events("all").len(), 1);
}

#[test]
fn an_edge_whose_spool_is_stalled_is_degraded_and_not_ready_if_that_is_configured() {
    for (more, status) in [("", 200), ("not_ready_when = [\"spool_stalled\"]\n", 503)] {
        let builder = Edge::builder().feed("all", &["*"]);
        let disk = match SmallDisk::mount(&builder.dir().join("spool"), 4096) {
            Ok(disk) => disk,
            Err(error) => return eprintln!("skipped: no small disk can be mounted here: {error}"),
        };
        let stopped = builder.start().terminate();
        stopped.reconfigure(|config| config.replace("[admin]\n", &format!("[admin]\n{more}")));
        let edge = stopped.restart();
        disk.fill();
        edge.wait_until("stalled", |edge| {
            edge.get("go.brand.com", &format!("/spring?{}", noise()));
            edge.metric("clickedge_spool_stalled") > 0
        });
        let answer = admin(&edge, "GET", "/readyz");
        assert_eq!((answer.status, answer.body.as_str()), (status, "degraded: spool_stalled\n"));
        disk.free();
        edge.wait_until("it goes on", |edge| admin(edge, "GET", "/readyz").body == "ready\n");
        drop(edge.stop());
    }
}

#[test]
fn a_stopping_edge_is_not_ready() {
    let edge = Edge::builder().start();
    assert_eq!(admin(&edge, "GET", "/readyz").status, 200);
    edge.signal("TERM");
    edge.wait_until("stopping", |edge| edge.log().contains("\"stopping\""));
    // From here on the address answers 503, or does not answer.
    let answer = TcpStream::connect(edge.admin).ok().and_then(|mut stream| {
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        write!(stream, "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Answer::parse(&text)
    });
    assert!(answer.as_ref().is_none_or(|answer| answer.status == 503), "{answer:?}");
}

#[test]
fn the_account_balances_to_the_last_click() {
    let mut unfed = link("go.brand.com", "unfed", "https://www.example.com/");
    unfed["workspace"] = json!({"id": "w-unfed"});
    let edge = Edge::builder().link(unfed).feed("brand", &["w-1"]).feed("copy", &["w-1"]).start();
    for n in 0..40 {
        assert_eq!(edge.get("go.brand.com", &format!("/spring?{n}")).status, 302);
    }
    for _ in 0..7 {
        assert_eq!(edge.get("go.brand.com", "/unfed").status, 302);
    }
    assert_eq!(edge.get("go.brand.com", "/nothing").status, 404);
    assert_eq!(edge.request("HEAD", "go.brand.com", "/spring", &[]).status, 302);

    let of = |edge: &Edge| {
        let samples = samples(&edge.admin("/metrics").body);
        move |name: &str| *samples.get(&format!("clickedge_{name}")).unwrap_or_else(|| panic!("no {name}"))
    };
    edge.wait_until("delivered", |edge| {
        let now = of(edge);
        // At every moment, not only at the end: what is routed is pending, delivered or dropped.
        for feed in ["brand", "copy"] {
            let [routed, pending, delivered] = ["events_routed_total", "events_pending", "events_delivered_total"]
                .map(|name| now(&format!("{name}{{feed=\"{feed}\"}}")));
            assert!(delivered <= routed && pending <= routed, "{routed} {pending} {delivered}");
        }
        now("events_delivered_total{feed=\"brand\"}") + now("events_delivered_total{feed=\"copy\"}") == 82.0
    });
    let now = of(&edge);
    assert_eq!(now("clicks_answered_total"), 48.0);
    assert_eq!(now("clicks_captured_total"), 48.0);
    assert_eq!(now("clicks_enriched_total"), 48.0);
    assert_eq!(now("clicks_unfed_total"), 7.0);
    assert_eq!(now("stats_tallied_total"), 48.0);
    assert_eq!(now("stats_counted_total") + now("stats_pending"), 48.0);
    assert_eq!(now("ring_clicks"), 0.0);
    for reason in ["ring_full", "too_large", "damaged", "no_feed", "worker_failed", "spool_quota"] {
        assert_eq!(now(&format!("clicks_dropped_total{{reason=\"{reason}\"}}")), 0.0);
    }
    for feed in ["brand", "copy"] {
        let of_feed = |name: &str| now(&format!("{name}{{feed=\"{feed}\"}}"));
        assert_eq!(of_feed("events_routed_total"), 41.0);
        assert_eq!(of_feed("events_spooled_total"), 41.0);
        assert_eq!(of_feed("events_delivered_total"), 41.0);
        assert_eq!(of_feed("events_pending"), 0.0);
        assert_eq!(of_feed("outbox_objects"), 0.0);
    }
    assert_eq!(now("requests_total{outcome=\"redirect\"}"), 48.0);
    assert_eq!(now("requests_total{outcome=\"not_found\"}"), 1.0);
    assert_eq!(now("request_duration_seconds_count"), 49.0);
    let stopped = edge.stop();
    assert_eq!((stopped.events("brand").len(), stopped.events("copy").len()), (41, 41));
    let account: serde_json::Value =
        stopped.log().lines().filter_map(|line| serde_json::from_str(line).ok()).next_back().unwrap();
    let text = account.to_string();
    for part in ["\"answered\":48", "\"enriched\":48", "\"clicks_dropped\":0", "\"delivered\":82", "\"pending\":0"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn every_metric_that_an_operator_needs_exists_from_the_start() {
    let geoip = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/demo/geoip.mmdb");
    let edge = Edge::builder()
        .section(&format!("[enrich]\nworkers = 3\ngeoip_file = '{}'", geoip.display()))
        .capture("ring_bytes = 12582912")
        .feed("all", &["*"])
        .start();
    let answer = edge.admin("/metrics");
    assert!(answer.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let samples = samples(&answer.body);
    let names: BTreeSet<&str> = samples.keys().map(|full| full.split('{').next().unwrap()).collect();
    for name in [
        "requests_total",
        "clicks_answered_total",
        "clicks_captured_total",
        "clicks_dropped_total",
        "clicks_enriched_total",
        "clicks_recovered_total",
        "events_routed_total",
        "events_recovered_total",
        "events_spooled_total",
        "events_delivered_total",
        "events_dropped_total",
        "events_pending",
        "delivered_bytes_total",
        "uploads_total",
        "outbox_objects",
        "outbox_bytes",
        "outbox_oldest_timestamp_seconds",
        "feed_parked",
        "ring_clicks",
        "ring_capacity_bytes",
        "spool_bytes",
        "spool_stalled",
        "clicks_journaled_total",
        "journal_bytes",
        "catalog_links",
        "catalog_domains",
        "catalog_bytes",
        "catalog_loaded_timestamp_seconds",
        "geoip_build_timestamp_seconds",
        "request_duration_seconds_bucket",
    ] {
        assert!(names.contains(&*format!("clickedge_{name}")), "no {name} in {names:?}");
    }
    let of = |name: &str| samples[&format!("clickedge_{name}")];
    assert_eq!(of("catalog_links"), 1.0);
    assert_eq!(of("catalog_domains"), 1.0);
    assert_eq!(of("ring_capacity_bytes"), 12_582_912.0);
    assert_eq!(of("geoip_build_timestamp_seconds"), 1_767_225_600.0);
    for result in ["stored", "present", "retried", "refused"] {
        assert_eq!(of(&format!("uploads_total{{feed=\"all\",result=\"{result}\"}}")), 0.0);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((0.0..60.0).contains(&(now - of("catalog_loaded_timestamp_seconds").floor())));
}
