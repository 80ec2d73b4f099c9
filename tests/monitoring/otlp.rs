//! The export to an OpenTelemetry collector.

use std::fs;

use serde_json::Value;

use super::receiver::Collector;
use crate::{
    common::{Edge, cli},
    loaders::tools::{self, Tool},
};

fn section(address: std::net::SocketAddr, more: &str) -> String {
    format!(
        "[telemetry.otlp]\nendpoint = \"http://{address}/v1/metrics\"\ninterval_secs = 1\ntimeout_secs = 5\n{more}"
    )
}

/// The metrics of a request, by name.
fn metric(body: &[u8], name: &str) -> Value {
    let request: Value = serde_json::from_slice(body).unwrap();
    let metrics = request["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].as_array().unwrap();
    metrics.iter().find(|metric| metric["name"] == name).unwrap_or_else(|| panic!("no {name}")).clone()
}

#[test]
fn a_collector_gets_all_metrics_with_the_current_headers() {
    let (collector, address) = Collector::start();
    let builder = Edge::builder().feed("all", &["*"]);
    fs::write(builder.dir().join("headers"), "# of the collector\nAuthorization: Bearer t0ken\n").unwrap();
    let edge = builder.section(&section(address, "headers_file = \"headers\"")).start();
    edge.wait_until("the first export", |_| !collector.requests().is_empty());
    let first = collector.requests().remove(0);
    assert_eq!(first.line, "POST /v1/metrics HTTP/1.1");
    for (name, value) in
        [("content-type", "application/json"), ("content-encoding", "gzip"), ("authorization", "Bearer t0ken")]
    {
        assert_eq!(first.header(name), Some(value), "{name}");
    }
    let request: Value = serde_json::from_slice(&first.body).unwrap();
    let exported = request["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].as_array().unwrap().clone();
    let exposition = edge.admin("/metrics").body;
    let named = exposition.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    for name in named {
        assert!(exported.iter().any(|metric| metric["name"] == name), "{name} is not exported");
    }
    edge.wait_until("counted", |edge| edge.metric("clickedge_otlp_exports_total{result=\"sent\"}") > 0);

    fs::write(edge.dir().join("headers"), "Authorization: Bearer other\n").unwrap();
    edge.signal("HUP");
    edge.wait_until("the headers are read again", |_| {
        collector.requests().last().is_some_and(|last| last.header("authorization") == Some("Bearer other"))
    });
    assert!(!edge.log().contains("t0ken"), "a token is in the log");
}

#[test]
fn a_collector_that_fails_is_logged_once_and_gets_everything_later() {
    let (collector, address) = Collector::start();
    collector.answer(503);
    let edge = Edge::builder().section(&section(address, "")).start();
    edge.wait_until("failures", |edge| edge.metric("clickedge_otlp_exports_total{result=\"failed\"}") >= 3);
    assert_eq!(edge.log().matches("metrics not exported").count(), 1, "{}", edge.log());
    assert!(edge.log().contains("the collector answered 503"));
    assert_eq!(edge.get("go.brand.com", "/spring").status, 302);
    collector.answer(200);
    edge.wait_until("exported again", |edge| edge.log().contains("metrics are exported again"));
    let last = collector.requests().pop().unwrap();
    let clicks = metric(&last.body, "clickedge_clicks_answered_total");
    assert_eq!(clicks["sum"]["dataPoints"][0]["asDouble"], 1.0, "{clicks}");
}

#[test]
fn the_headers_are_checked_before_the_start() {
    let builder = Edge::builder();
    fs::write(builder.dir().join("headers"), "Authorization: Bearer a\n").unwrap();
    let address = "127.0.0.1:9".parse().unwrap();
    let edge = builder.section(&section(address, "headers_file = \"headers\"")).start();
    fs::write(edge.dir().join("headers"), "# tokens\nBearer s3cret\n").unwrap();
    let config = edge.dir().join("clickedge.toml");
    let output = cli::clickedge(&["check", config.to_str().unwrap()]);
    let said = format!("{}{}", output.stdout, output.stderr);
    assert_eq!(output.code, 65, "{said}");
    assert!(said.contains("headers, line 2: it has no colon") && !said.contains("s3cret"), "{said}");
}

#[test]
fn the_protocol_of_opentelemetry_itself_reads_an_export() {
    let Some(python) = tools::get(Tool::OpenTelemetry) else { return };
    let (collector, address) = Collector::start();
    let edge = Edge::builder().feed("all", &["*"]).section(&section(address, "")).start();
    edge.get("go.brand.com", "/spring");
    let delivered = |body: &[u8]| {
        let lag = metric(body, "clickedge_delivery_lag_seconds");
        lag["histogram"]["dataPoints"][0]["count"] == "1"
    };
    edge.wait_until("an export after the delivery", |_| {
        collector.requests().last().is_some_and(|last| delivered(&last.body))
    });
    let body = edge.dir().join("export.json");
    fs::write(&body, collector.requests().pop().unwrap().body).unwrap();
    let said = python.run("otlp.py", &[body.to_str().unwrap()]);
    assert!(said.contains("clickedge_clicks_answered_total 1.0"), "{said}");
}
