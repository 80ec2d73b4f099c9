//! Delivery to a webhook: what a request looks like, and a receiver in every trouble.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use clickedge::{
    config::Feed,
    deliver::probe::{Probe, probe},
};
use serde_json::{Value, json};

use crate::common::{
    Builder, Edge,
    clicks::{assert_exactly_once, click, click_with, noise, of_feed, wait_until_delivered},
    webhook::{Fault, Received, Receiver},
};

/// A stop does not wait for what cannot be delivered.
const HASTY: &str = "[shutdown]\ndrain_secs = 1";

/// An edge with one feed, `all`, to the receiver.
fn edge(receiver: &Receiver, more: &str) -> Builder {
    Edge::builder().feed_into("all", &["*"], &receiver.sink_toml(more)).section(HASTY)
}

fn wait_until_parked(edge: &Edge) {
    edge.wait_until("the feed is parked", |edge| edge.metric(&of_feed("feed_parked", "all")) == 1);
}

/// Once more, when the trouble is over: new clicks are delivered, and all of them exactly once.
#[track_caller]
fn assert_delivers(edge: &Edge, receiver: &Receiver, mut clicks: Vec<String>) {
    clicks.extend(click(edge, "fresh", 3));
    edge.wait_until("all is delivered", |_| receiver.events().len() >= clicks.len());
    assert_exactly_once(&receiver.events(), &clicks);
    edge.wait_until("the outbox is empty", |edge| edge.metric(&of_feed("outbox_objects", "all")) == 0);
    assert_eq!(edge.metric(&of_feed("feed_parked", "all")), 0);
    receiver.assert_sound();
}

/// The fields of the first line with this message in the edge's log.
fn logged(edge: &Edge, message: &str) -> Value {
    let log = edge.log();
    let line = log.lines().find(|line| line.contains(message)).unwrap_or_else(|| panic!("no {message:?} in {log}"));
    serde_json::from_str(line).unwrap()
}

fn stored(receiver: &Receiver) -> Vec<Received> {
    receiver.requests().into_iter().filter(|request| request.status == Some(200)).collect()
}

#[test]
fn a_click_arrives_in_a_signed_request() {
    let receiver = Receiver::start();
    let edge = edge(&receiver, "").start();
    let clicks = click(&edge, "a", 3);
    wait_until_delivered(&edge, "all", 3);
    assert_exactly_once(&receiver.events(), &clicks);
    receiver.assert_sound();

    let request = &receiver.requests()[0];
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(request.header("user-agent"), concat!("clickedge/", env!("CARGO_PKG_VERSION")));
    assert_eq!(request.header("content-length"), request.body.len().to_string());
    assert_eq!(request.header("webhook-signature").split(' ').count(), 1);
    let body = request.json();
    let events = body["data"].as_array().unwrap();
    assert_eq!((&body["type"], &body["feed"]), (&json!("clicks"), &json!("all")));
    let (sent_at, clicked_at) = (body["timestamp"].as_str().unwrap(), events[0]["timestamp"].as_str().unwrap());
    assert_eq!(sent_at[..23], clicked_at[..23], "the time of the first event, to the millisecond");
    let object = &body["object"];
    assert!(object["key"].as_str().unwrap().ends_with("-00000001.ndjson.gz"), "{object}");
    assert_eq!((&object["events"], &object["offset"]), (&json!(events.len()), &json!(0)));
    assert!(!edge.log().contains("t0ken"), "the query may hold a token");
}

#[test]
fn an_object_is_sent_in_parts_that_show_that_none_is_missing() {
    let receiver = Receiver::start();
    let feed = format!(
        "max_age_secs = 3600\nmax_bytes = 1048576\ncompression = \"none\"\nformat = \"envelope\"\n{}",
        receiver.sink_toml("max_events = 7\nmax_body_bytes = 16384")
    );
    let feed = feed.replace("max_age_secs = 3600\n", "");
    let edge = Edge::builder().feed_into("all", &["*"], &feed).section(HASTY).start();
    let clicks = click_with(&edge, "a", 60, noise);
    wait_until_delivered(&edge, "all", 60);
    assert_exactly_once(&receiver.events(), &clicks);
    let mut sent: std::collections::BTreeMap<String, (u64, u64)> = std::collections::BTreeMap::new();
    for request in receiver.requests() {
        let body = request.json();
        let events = body["data"].as_array().unwrap().len() as u64;
        assert!(events <= 7 && request.body.len() <= 16_384, "{events} events in {} bytes", request.body.len());
        let object = &body["object"];
        let (seen, of) = sent.entry(object["key"].as_str().unwrap().to_owned()).or_default();
        assert_eq!(*seen, object["offset"].as_u64().unwrap(), "parts come in order");
        (*seen, *of) = (*seen + events, object["events"].as_u64().unwrap());
    }
    assert!(sent.values().all(|(seen, of)| seen == of), "{sent:?}");
    assert!(receiver.requests().len() > sent.len(), "{sent:?}");
    receiver.assert_sound();
}

#[test]
fn failures_that_may_pass_are_retried_with_the_same_ids_and_bytes() {
    let receiver = Receiver::start();
    let edge = edge(&receiver, "request_timeout_secs = 1").start();
    let mut clicks = Vec::new();
    for (run, fault) in [
        Fault::Answer(500, &[]),
        Fault::Answer(503, &[]),
        Fault::Answer(408, &[]),
        Fault::Silent,
        Fault::Reset,
        Fault::LostAnswer,
    ]
    .into_iter()
    .enumerate()
    {
        let before = receiver.requests().len();
        receiver.set(fault.clone());
        clicks.extend(click(&edge, &format!("run{run}"), 3));
        if fault == Fault::Reset {
            edge.wait_until("an upload fails", |edge| {
                edge.metric("clickedge_uploads_total{feed=\"all\",result=\"retried\"}") > 4
            });
        } else {
            edge.wait_until("a request comes in twice", |_| receiver.requests().len() >= before + 2);
            let requests = receiver.requests();
            assert_eq!(requests[before].id, requests[before + 1].id, "{fault:?}");
        }
        assert_eq!(edge.metric(&of_feed("feed_parked", "all")), 0, "{fault:?}");
        receiver.set(Fault::Healthy);
        edge.wait_until("the run is delivered", |_| receiver.events().len() >= clicks.len());
    }
    assert_delivers(&edge, &receiver, clicks);
}

#[test]
fn rejected_requests_park_the_feed_with_a_remedy() {
    let location: &[(&str, &str)] = &[("location", "https://elsewhere.example/hook?token=x")];
    for (fault, summary, remedy) in [
        (Fault::Answer(400, &[]), "the receiver answered 400 Bad Request", "receiver's log"),
        (Fault::Answer(301, location), "with the location https://elsewhere.example/hook", "not followed"),
        (Fault::Answer(410, &[]), "disabled by the receiver", "enable the endpoint again"),
        (Fault::Answer(413, &[]), "the receiver answered 413", "lower `max_body_bytes`"),
    ] {
        let receiver = Receiver::start();
        receiver.set(fault.clone());
        let edge = edge(&receiver, "").start();
        let clicks = click(&edge, "a", 3);
        wait_until_parked(&edge);
        let line = logged(&edge, "sink rejected the upload; feed parked");
        assert!(line["error"].as_str().unwrap().contains(summary), "{line}");
        assert!(line["remedy"].as_str().unwrap().contains(remedy), "{line}");
        receiver.set(Fault::Healthy);
        if matches!(fault, Fault::Answer(410, _)) {
            std::thread::sleep(Duration::from_secs(2));
            assert_eq!(receiver.requests().len(), 1, "a disabled endpoint is left alone");
            let stopped = edge.stop();
            let edge = stopped.restart();
            assert_delivers(&edge, &receiver, clicks);
        } else {
            assert_delivers(&edge, &receiver, clicks);
        }
    }
}

#[test]
fn the_time_that_the_receiver_asks_for_is_waited() {
    let receiver = Receiver::start();
    receiver.set(Fault::Answer(429, &[("retry-after", "3")]));
    let edge = edge(&receiver, "").start();
    let clicks = click(&edge, "a", 1);
    edge.wait_until("a request comes in", |_| !receiver.requests().is_empty());
    receiver.set(Fault::Healthy);
    wait_until_delivered(&edge, "all", 1);
    let requests = receiver.requests();
    let waited = requests[1].at - requests[0].at;
    assert!(waited >= Duration::from_secs(3), "{waited:?}");
    assert_exactly_once(&receiver.events(), &clicks);
}

#[test]
fn a_request_that_is_too_large_is_split_in_the_same_places_each_time() {
    let receiver = Receiver::start();
    receiver.set(Fault::Answer(500, &[]));
    let edge = edge(&receiver, "max_events = 40").start();
    let clicks = click(&edge, "a", 100);
    edge.wait_until("a request comes in", |_| !receiver.requests().is_empty());
    receiver.accept_at_most(12);
    receiver.set(Fault::Only(2));
    edge.wait_until("a half is acknowledged", |_| !stored(&receiver).is_empty());
    let edge = edge.kill().restart();
    receiver.set(Fault::Healthy);
    assert_delivers(&edge, &receiver, clicks);
    let largest = stored(&receiver).iter().map(|request| request.json()["data"].as_array().unwrap().len()).max();
    assert!(largest.unwrap() <= 12, "{largest:?}");
}

#[test]
fn parts_that_were_acknowledged_are_not_sent_again_by_the_same_process() {
    let receiver = Receiver::start();
    receiver.set(Fault::Answer(500, &[]));
    let edge = edge(&receiver, "max_events = 5").start();
    let clicks = click(&edge, "a", 50);
    edge.wait_until("a request comes in", |_| !receiver.requests().is_empty());
    // Forward in small steps, with a failure after each: without memory it would never end.
    receiver.set(Fault::Only(3));
    edge.wait_until("some parts are acknowledged", |_| stored(&receiver).len() >= 3);
    receiver.set(Fault::Only(3));
    edge.wait_until("more parts are acknowledged", |_| stored(&receiver).len() >= 6);
    receiver.set(Fault::Healthy);
    assert_delivers(&edge, &receiver, clicks);
    let mut ids: Vec<_> = stored(&receiver).into_iter().map(|request| request.id).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "each was acknowledged once");
}

#[test]
fn a_success_with_a_useless_body_is_a_success() {
    let receiver = Receiver::start();
    receiver.set(Fault::Garbage);
    let edge = edge(&receiver, "").start();
    let clicks = click(&edge, "a", 3);
    wait_until_delivered(&edge, "all", 3);
    assert_delivers(&edge, &receiver, clicks);
}

#[test]
fn a_secret_is_replaced_without_a_failed_request() {
    let receiver = Receiver::start();
    let first = fs::read_to_string(receiver.secret_file("secret")).unwrap().trim().to_owned();
    let second = receiver.write_secret("next");
    let both = format!(
        "\nsecret_files = ['{}', '{}']",
        receiver.secret_file("next").display(),
        receiver.secret_file("secret").display()
    );
    let sink =
        receiver.sink_toml("").replace("\nsecret_files", "\n# secret_files").replacen('\n', &format!("{both}\n"), 1);
    let edge = Edge::builder().feed_into("all", &["*"], &sink).section(HASTY).start();
    let mut clicks = click(&edge, "both", 3);
    wait_until_delivered(&edge, "all", 3);
    receiver.accept_secrets(&[&second]);
    clicks.extend(click(&edge, "second", 3));
    wait_until_delivered(&edge, "all", 6);
    assert_eq!(receiver.requests()[0].header("webhook-signature").split(' ').count(), 2);

    let third = receiver.write_secret("secret");
    edge.signal("HUP");
    edge.wait_until("the secrets are read again", |edge| {
        edge.log().contains("reloaded") || edge.log().matches("webhook secrets").count() > 1
    });
    receiver.accept_secrets(&[&third]);
    assert_delivers(&edge, &receiver, clicks);
    assert!(receiver.requests().iter().all(|request| request.status != Some(401)));

    fs::write(receiver.secret_file("secret"), "not a secret").unwrap();
    edge.signal("HUP");
    edge.wait_until("the file is rejected", |edge| {
        edge.metric("clickedge_resource_last_reload_successful{resource=\"webhook_secrets\"}") == 0
    });
    let log = edge.log();
    for secret in [&first, &second, &third] {
        assert!(!log.contains(secret.as_str()), "a secret is in the log");
    }
}

#[test]
fn a_feed_that_changes_its_sink_leaves_manifests_unsent() {
    let receiver = Receiver::start();
    let closed = format!("http://{}", crate::common::free_address());
    let s3 =
        format!("manifest_secs = 1\nsink.s3 = {{ bucket = \"clicks\", region = \"r\", endpoint = \"{closed}\" }}");
    let edge = Edge::builder()
        .env("AWS_ACCESS_KEY_ID", "a")
        .env("AWS_SECRET_ACCESS_KEY", "b")
        .feed_into("all", &["*"], &s3)
        .section(HASTY)
        .start();
    let clicks = click(&edge, "a", 3);
    edge.wait_until("a manifest waits", |edge| walk(&edge.dir().join("spool/outbox")).contains("_manifest"));
    let stopped = edge.stop();
    stopped.reconfigure(|config| {
        let start = config.find("sink.s3").unwrap();
        format!("{}{}", &config[..start], receiver.sink_toml(""))
    });
    let edge = stopped.restart();
    assert_delivers(&edge, &receiver, clicks);
    assert!(receiver.requests().iter().all(|request| request.json()["type"] == "clicks"));
}

/// The paths below a folder, in a text.
fn walk(dir: &Path) -> String {
    let entries = fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries
        .map(|path| format!("{}\n{}", path.display(), if path.is_dir() { walk(&path) } else { String::new() }))
        .collect()
}

#[test]
fn an_endpoint_with_a_certificate_of_its_own_is_trusted_through_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (ca, secret) = (dir.path().join("ca.pem"), dir.path().join("secret"));
    fs::write(&ca, made.cert.pem()).unwrap();
    fs::write(&secret, format!("whsec_{}", aws_smithy_types::base64::encode([7; 32]))).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let session = rustls::ServerConnection::new(Arc::new(tls.clone())).unwrap();
            let _ = answer_once(rustls::StreamOwned::new(session, stream.unwrap()));
        }
    });
    let toml = |ca: &str| {
        format!(
            "name = \"all\"\nworkspaces = [\"*\"]\n[sink.webhook]\nurl = \"https://localhost:{port}/\"\n\
             secret_files = ['{}']\n{ca}",
            secret.display()
        )
    };
    let trusting = probe_of(&toml(&format!("ca_file = '{}'", ca.display())), true);
    assert!(trusting.outcome.is_ok(), "{:?}", trusting.outcome);
    let strange = probe_of(&toml(""), true).outcome.unwrap_err().to_string();
    assert!(strange.contains("check the server's certificate"), "{strange}");
}

/// Reads a request and acknowledges it.
fn answer_once(stream: impl Read + Write) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line)? > 2 {
        length = line.to_lowercase().strip_prefix("content-length: ").map_or(length, |n| n.trim().parse().unwrap());
        line.clear();
    }
    reader.read_exact(&mut vec![0; length])?;
    let mut stream = reader.into_inner();
    stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")?;
    stream.flush()
}

fn probe_of(feed: &str, dry_put: bool) -> Probe {
    let feed: Feed = toml::from_str(feed).unwrap();
    probe(&[feed], "fra1", dry_put).unwrap().pop().unwrap()
}

#[test]
fn a_probe_shows_whether_requests_would_be_acknowledged() {
    let receiver = Receiver::start();
    let toml = format!("name = \"all\"\nworkspaces = [\"*\"]\n{}", receiver.sink_toml("").replace("[feeds.", "["));
    let since = Instant::now();
    let outcome = probe_of(&toml, false);
    assert_eq!(outcome.sink, receiver.url().split('?').next().unwrap());
    assert_eq!(
        outcome.outcome.unwrap(),
        "the receiver is reachable (405 Method Not Allowed to a HEAD); no request was sent to it"
    );
    assert!(receiver.requests().is_empty());
    assert!(probe_of(&toml, true).outcome.is_ok());
    assert_eq!(receiver.requests()[0].json()["type"], "test");
    receiver.accept_secrets(&[]);
    let error = probe_of(&toml, true).outcome.unwrap_err().to_string();
    assert!(error.contains("401") && error.contains("compare the secret"), "{error}");
    assert!(since.elapsed() < Duration::from_secs(20));
    receiver.assert_sound();
}
