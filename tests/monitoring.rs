//! What operators are alerted by: metrics that Prometheus accepts, alerts that are tested, a dashboard whose panels
//! have data, and a runbook that speaks of each alert with the same words.

mod otlp;
mod receiver;
mod rules;

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use serde_json::Value;

use crate::common::{Edge, connect, free_address, tls};
use rules::Alert;

/// A file of the repository.
fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// An edge with a feed, a certificate and a database: it has each metric that there is.
fn edge() -> (Edge, SocketAddr) {
    let builder = Edge::builder();
    let certs = builder.dir().join("certs");
    fs::create_dir_all(&certs).unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["go.brand.com".to_owned()]).unwrap();
    fs::write(certs.join("a.pem"), made.cert.pem()).unwrap();
    fs::write(certs.join("a.key"), made.signing_key.serialize_pem()).unwrap();
    let address = free_address();
    let listener = format!(
        "[[listeners]]\naddress = \"{address}\"\ncertificates_dir = \"certs\"\n[limits]\nconnections = 64\n\
         [enrich]\nworkers = 1\ngeoip_file = '{}'",
        file("conf/demo/geoip.mmdb").display()
    );
    (builder.feed("brand", &["*"]).section(&listener).start(), address)
}

/// Runs promtool on its standard input. `None`, and a line that says so, where it is not installed.
fn promtool(arguments: &[&str], input: &str) -> Option<(bool, String)> {
    let mut command = Command::new("promtool");
    let command = command.args(arguments).current_dir(file("conf/prometheus"));
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut promtool = match spawned {
        Ok(promtool) => promtool,
        Err(error) => {
            eprintln!("skipped: promtool: {error}");
            return None;
        }
    };
    promtool.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

/// Names of the samples of an exposition.
fn names(exposition: &str) -> BTreeSet<&str> {
    let samples = exposition.lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.split(['{', ' ']).next().unwrap()).collect()
}

/// Names of metrics in a text: in rules, a dashboard, the runbook.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("clickedge_") || word.starts_with("process_")).collect()
}

fn dashboard() -> Value {
    serde_json::from_str(&read("conf/grafana/clickedge.json")).unwrap()
}

/// The queries of a dashboard, each with the title of its panel.
fn queries(dashboard: &Value) -> Vec<(&str, &str)> {
    let panels = dashboard["panels"].as_array().unwrap();
    panels
        .iter()
        .flat_map(|panel| {
            let targets = panel["targets"].as_array().map_or(&[][..], Vec::as_slice);
            targets.iter().map(|target| (panel["title"].as_str().unwrap(), target["expr"].as_str().unwrap()))
        })
        .collect()
}

#[test]
fn prometheus_accepts_the_metrics_of_an_edge_before_and_after_clicks() {
    let (edge, address) = edge();
    let check = |edge: &Edge| promtool(&["check", "metrics"], &edge.admin("/metrics").body);
    let Some((accepted, text)) = check(&edge) else { return };
    assert!(accepted && text.trim().is_empty(), "{text}");
    edge.get("go.brand.com", "/spring");
    shake_hands(address);
    let delivered = "clickedge_events_delivered_total{feed=\"brand\"}";
    edge.wait_until("delivered", |edge| edge.metric(delivered) == 1);
    let (accepted, text) = check(&edge).unwrap();
    assert!(accepted && text.trim().is_empty(), "{text}");
}

/// Makes a full handshake.
fn shake_hands(address: SocketAddr) {
    assert!(!crate::certificates::leaf(address, "go.brand.com").is_empty());
}

#[test]
fn rules_and_dashboard_name_only_metrics_that_an_edge_has_from_the_start() {
    let (edge, _) = edge();
    let exposition = edge.admin("/metrics").body;
    let there = names(&exposition);
    for (what, text) in
        [("alerts.yml", read("conf/prometheus/alerts.yml")), ("clickedge.json", read("conf/grafana/clickedge.json"))]
    {
        let named = metrics_in(&text);
        assert!(named.len() > 20, "{what}: {named:?}");
        let missing: Vec<_> = named.difference(&there).collect();
        assert!(missing.is_empty(), "{what} names metrics that an edge does not have: {missing:?}");
    }
}

#[test]
fn the_alerts_pass_their_tests_and_each_alert_has_one() {
    let tests = ["alerts.test.yml", "alerts-of-days.test.yml"];
    let text: String = tests.iter().map(|file| read(&format!("conf/prometheus/{file}"))).collect();
    for Alert { name, .. } in rules::alerts() {
        let fires = text.split("- alertname: ").filter(|part| part.starts_with(&format!("{name}\n")));
        let (fires, quiet): (Vec<_>, Vec<_>) = fires.partition(|part| part.contains("exp_labels"));
        assert!(!fires.is_empty(), "no test in which {name} fires");
        assert!(!quiet.is_empty(), "no test in which {name} is quiet");
    }
    let Some((passed, said)) = promtool(&["check", "rules", "alerts.yml"], "") else { return };
    assert!(passed, "{said}");
    for file in tests {
        let (passed, said) = promtool(&["test", "rules", file], "").unwrap();
        assert!(passed, "{file}: {said}");
    }
}

#[test]
fn each_alert_has_a_section_of_the_runbook_with_the_same_words() {
    let runbook = read("src/manual/runbook.md");
    let sections: Vec<(&str, &str)> =
        runbook.split("\n## ").skip(1).map(|section| section.split_once('\n').unwrap()).collect();
    let alerts = rules::alerts();
    let names: Vec<_> = alerts.iter().map(|alert| alert.name.as_str()).collect();
    let titles: Vec<_> = sections.iter().map(|(title, _)| *title).collect();
    assert_eq!(titles, names, "sections and alerts, in the same order");
    let sources = rules::sources(&file("src"));
    for (alert, (title, section)) in alerts.iter().zip(&sections) {
        assert_eq!(alert.runbook, format!("src/manual/runbook.md#{}", title.to_lowercase()));
        assert!(
            section.to_lowercase().contains(&format!("**{}**", alert.summary.to_lowercase())),
            "{title}: not the words of the alert: {}",
            alert.summary
        );
        for part in ["| page |", "| metric |", "| alert |", "| log |", "| do |", "| ends |"] {
            assert_eq!(section.matches(part).count(), 1, "{title}: {part}");
        }
        let metric = section.lines().find(|line| line.starts_with("| metric |")).unwrap();
        let (named, of_rule) = (metrics_in(metric), metrics_in(&alert.expr));
        assert!(of_rule.is_empty() || !named.is_disjoint(&of_rule), "{title}: {named:?} {of_rule:?}");
        let log = section.lines().find(|line| line.starts_with("| log |")).unwrap();
        let messages: Vec<_> = log.split('`').skip(1).step_by(2).collect();
        assert!(!messages.is_empty() || log.contains("none"), "{title}: no log line");
        for message in messages {
            assert!(sources.contains(message), "{title}: nothing logs `{message}`");
        }
        let page = section.lines().find(|line| line.starts_with("| page |")).unwrap();
        for words in page.split('`').skip(1).step_by(2) {
            assert!(sources.contains(words), "{title}: no page shows `{words}`");
        }
    }
}

#[test]
fn each_panel_of_the_dashboard_is_a_valid_query_in_a_place_of_its_own() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 41);
    assert_eq!(dashboard["templating"]["list"][0]["type"], "datasource");
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "ids are unique");
    let mut taken = BTreeSet::new();
    for panel in panels {
        let [left, top, width, height] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
        assert!(left + width <= 24, "{panel}");
        for place in (left..left + width).flat_map(|column| (top..top + height).map(move |row| (column, row))) {
            assert!(taken.insert(place), "two panels in one place: {}", panel["title"]);
        }
        if panel["type"] != "row" {
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
            assert!(!panel["targets"].as_array().unwrap().is_empty(), "{}", panel["title"]);
        }
    }
    // What Grafana puts in.
    let rules: String = queries(&dashboard)
        .into_iter()
        .enumerate()
        .map(|(number, (_, query))| {
            let query = query.replace("$__rate_interval", "5m").replace("$__range", "1h");
            let query = query.replace("$job", "clickedge").replace("$instance", ".*").replace("$feed", ".*");
            assert!(!query.contains('$'), "{query}");
            format!("  - record: panel:{number}\n    expr: {}\n", serde_json::json!(query))
        })
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("panels.yml");
    fs::write(&path, format!("groups:\n- name: panels\n  rules:\n{rules}")).unwrap();
    let Some((valid, said)) = promtool(&["check", "rules", path.to_str().unwrap()], "") else { return };
    assert!(valid, "{said}");
}

#[test]
fn a_click_is_measured_from_the_answer_to_the_acknowledgement() {
    let (edge, _) = edge();
    edge.get("go.brand.com", "/spring");
    edge.wait_until("delivered", |edge| edge.metric("clickedge_delivery_lag_seconds_count{feed=\"brand\"}") == 1);
    let exposition = edge.admin("/metrics").body;
    let of = |name: &str| rules::sample(&exposition, name);
    let lag = of("clickedge_delivery_lag_seconds_sum{feed=\"brand\"}");
    assert!((0.5..30.0).contains(&lag), "an object of a second: {lag}");
    let upload = of("clickedge_upload_duration_seconds_sum{feed=\"brand\"}");
    assert!(upload > 0.0 && upload < lag, "{upload}");
    let bytes = of("clickedge_delivered_bytes_total{feed=\"brand\"}");
    assert!((of("clickedge_upload_size_bytes_sum") - bytes).abs() < 0.5);
    assert!(of("clickedge_feed_oldest_waiting_seconds{feed=\"brand\"}").abs() < 0.5, "nothing waits");
}

#[test]
fn what_is_used_stands_next_to_what_may_be_used() {
    let (edge, _) = edge();
    let exposition = edge.admin("/metrics").body;
    let of = |name: &str| rules::sample(&exposition, name);
    for (used, limit) in [
        ("clickedge_connections_open", "clickedge_connections_limit"),
        ("clickedge_ring_held_bytes", "clickedge_ring_capacity_bytes"),
        ("clickedge_journal_bytes", "clickedge_journal_limit_bytes"),
        ("clickedge_spool_bytes", "clickedge_spool_limit_bytes"),
        ("clickedge_spool_disk_free_bytes", "clickedge_spool_disk_capacity_bytes"),
        ("clickedge_session_visitors", "clickedge_session_visitors_limit"),
        ("clickedge_feed_uploads{feed=\"brand\"}", "clickedge_feed_upload_limit{feed=\"brand\"}"),
        ("process_open_fds", "process_max_fds"),
        ("clickedge_ring_fullest_ratio", "clickedge_ready"),
    ] {
        assert!(of(used) >= 0.0 && of(used) < of(limit), "{used} {} of {}", of(used), of(limit));
    }
    assert!((of("clickedge_connections_limit") - 64.0).abs() < 0.5);
    assert!((of("clickedge_ready") - 1.0).abs() < 0.5);
    for state in ["spool_stalled", "rings_full"] {
        assert!(of(&format!("clickedge_degraded{{state=\"{state}\"}}")).abs() < 0.5);
    }
}

#[test]
fn handshakes_are_counted_by_what_came_of_them() {
    let (edge, address) = edge();
    let handshakes = |result: &str| edge.metric(&format!("clickedge_tls_handshakes_total{{result=\"{result}\"}}"));
    let all = ["full", "resumed", "failed", "timed_out", "closed"];
    // The edge itself connects once, to see that it listens.
    edge.wait_until("the start is over", |_| all.map(handshakes) == [0, 0, 0, 0, 1]);
    shake_hands(address);
    let mut noise = connect(None, address).unwrap();
    noise.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let _ = noise.read_to_end(&mut Vec::new());
    drop(connect(None, address).unwrap());
    edge.wait_until("counted", |_| all.map(handshakes) == [1, 0, 1, 0, 2]);
    let client = Arc::new(tls::remembering(&[&rustls::version::TLS13]));
    for _ in 0..2 {
        let mut stream = tls::with(Arc::clone(&client), connect(None, address).unwrap(), "go.brand.com");
        stream.write_all(b"GET /spring HTTP/1.1\r\nHost: go.brand.com\r\nConnection: close\r\n\r\n").unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert_eq!(all.map(handshakes), [2, 1, 1, 0, 2]);
}
