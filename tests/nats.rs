//! Delivery into a stream of NATS JetStream, with the real server; without one these tests print `skipped:` and pass.

use std::{fs, time::Duration};

use clickedge::{
    config::Feed,
    deliver::probe::{Probe, probe},
};
use serde_json::Value;

use crate::common::{
    Builder, Edge,
    cli::clickedge,
    clicks::{assert_exactly_once, click, of_feed, wait_until_delivered},
    nats::{Nats, Operator, STREAM, SUBJECT},
};

/// A stop does not wait for what cannot be delivered.
const HASTY: &str = "[shutdown]\ndrain_secs = 1";

/// An edge with one feed, `all`, into the stream.
fn edge(nats: &Nats, more: &str) -> Builder {
    Edge::builder().feed_into("all", &["*"], &nats.sink_toml(more)).section(HASTY)
}

/// A server with a stream.
fn server() -> Option<Nats> {
    let nats = Nats::start("")?;
    nats.make_stream(|_| {});
    Some(nats)
}

fn wait_until_parked(edge: &Edge) {
    edge.wait_until("the feed is parked", |edge| edge.metric(&of_feed("feed_parked", "all")) == 1);
}

/// Once more, when the trouble is over: new clicks are delivered, and all of them exactly once.
#[track_caller]
fn assert_delivers(edge: &Edge, nats: &Nats, mut clicks: Vec<String>) {
    clicks.extend(click(edge, "fresh", 3));
    edge.wait_until("all is delivered", |_| nats.events().len() >= clicks.len());
    edge.wait_until("the outbox is empty", |edge| edge.metric(&of_feed("outbox_objects", "all")) == 0);
    assert_exactly_once(&nats.events(), &clicks);
    assert_eq!(edge.metric(&of_feed("feed_parked", "all")), 0);
}

/// The fields of the first line with this message in the edge's log.
fn logged(edge: &Edge, message: &str) -> Value {
    let log = edge.log();
    let line = log.lines().find(|line| line.contains(message)).unwrap_or_else(|| panic!("no {message:?} in {log}"));
    serde_json::from_str(line).unwrap()
}

#[test]
fn a_click_arrives_as_a_message_with_its_event_id() {
    let Some(nats) = server() else { return };
    let edge = edge(&nats, &format!("stream = \"{STREAM}\"")).start();
    let clicks = click(&edge, "a", 3);
    wait_until_delivered(&edge, "all", 3);
    assert_exactly_once(&nats.events(), &clicks);
    for message in nats.messages() {
        assert_eq!((message.subject.as_str(), message.event["id"].as_str()), (SUBJECT, Some(message.id.as_str())));
    }
    assert!(!edge.log().contains("message ids early"), "the window is long enough");
}

#[test]
fn messages_that_are_sent_again_are_recognised_by_the_server() {
    let Some(nats) = server() else { return };
    let mut edge = edge(&nats, "max_in_flight = 8").env("CLICKEDGE_DIE_AT", "put_sent:2").start();
    let clicks = click(&edge, "a", 20);
    edge.wait_until("messages are stored", |_| !nats.messages().is_empty());
    while !edge.has_ended() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let edge = edge.wait().restart();
    assert_delivers(&edge, &nats, clicks);
}

#[test]
fn a_server_that_is_killed_and_started_again_has_each_event_once() {
    let Some(mut nats) = server() else { return };
    let edge = edge(&nats, "ack_timeout_secs = 2").start();
    let mut clicks = click(&edge, "before", 50);
    for run in 0..3 {
        clicks.extend(click(&edge, &format!("run{run}"), 200));
        nats.kill();
        clicks.extend(click(&edge, &format!("down{run}"), 50));
        edge.wait_until("the outage is noticed", |edge| {
            edge.metric("clickedge_uploads_total{feed=\"all\",result=\"retried\"}") > run
        });
        nats.restart();
    }
    assert_delivers(&edge, &nats, clicks);
    assert_eq!(edge.metric("clickedge_uploads_total{feed=\"all\",result=\"refused\"}"), 0);
}

#[test]
fn a_long_outage_is_logged_once_and_costs_no_memory() {
    let Some(mut nats) = server() else { return };
    let edge = edge(&nats, "").start();
    let clicks = click(&edge, "a", 3);
    wait_until_delivered(&edge, "all", 3);
    nats.kill();
    let mut clicks = [clicks, click(&edge, "b", 100)].concat();
    edge.wait_until("some attempts have failed", |edge| {
        edge.metric("clickedge_uploads_total{feed=\"all\",result=\"retried\"}") >= 4
    });
    let lines = edge.log().lines().filter(|line| line.contains("\"WARN\"") && line.contains("upload")).count();
    assert_eq!(lines, 1, "one line for the outage");
    nats.restart();
    clicks.extend(click(&edge, "c", 3));
    assert_delivers(&edge, &nats, clicks);
}

#[test]
fn without_a_stream_the_feed_is_parked_until_there_is_one() {
    let Some(nats) = Nats::start("") else { return };
    let edge = edge(&nats, "").start();
    let clicks = click(&edge, "a", 3);
    wait_until_parked(&edge);
    let line = logged(&edge, "sink rejected the upload; feed parked");
    assert!(line["error"].as_str().unwrap().contains("no stream takes messages on clicks.all"), "{line}");
    assert!(line["remedy"].as_str().unwrap().contains("create a stream"), "{line}");
    nats.make_stream(|_| {});
    assert_delivers(&edge, &nats, clicks);
}

#[test]
fn a_full_stream_delays_the_feed_until_there_is_room() {
    let Some(nats) = Nats::start("") else { return };
    nats.make_stream(|config| {
        config.max_messages = 5;
        config.discard = async_nats::jetstream::stream::DiscardPolicy::New;
    });
    let edge = edge(&nats, "").start();
    let clicks = click(&edge, "a", 20);
    edge.wait_until("an upload fails", |edge| {
        edge.metric("clickedge_uploads_total{feed=\"all\",result=\"retried\"}") > 0
    });
    let line = logged(&edge, "upload failed; retrying");
    assert!(line["error"].as_str().unwrap().contains("maximum messages exceeded"), "{line}");
    assert!(line["remedy"].as_str().unwrap().contains("raise the limits"), "{line}");
    nats.make_stream(|config| config.max_messages = -1);
    assert_delivers(&edge, &nats, clicks);
}

#[test]
fn messages_for_another_stream_are_rejected() {
    let Some(nats) = server() else { return };
    let edge = edge(&nats, "stream = \"OTHER\"").start();
    click(&edge, "a", 3);
    wait_until_parked(&edge);
    let line = logged(&edge, "sink rejected the upload; feed parked");
    assert!(line["remedy"].as_str().unwrap().contains("correct `stream`"), "{line}");
    assert!(nats.events().is_empty());
}

#[test]
fn a_user_without_permission_is_named_as_the_cause() {
    let users = "authorization { users: [
        { user: limited, password: limited, permissions: { publish: [\"other\"], subscribe: [\"_INBOX.>\"] } },
        { user: admin, password: admin },
    ] }
    no_auth_user: limited";
    let Some(nats) = Nats::start(users) else { return };
    nats.make_stream(|_| {});
    let edge = edge(&nats, "ack_timeout_secs = 20").start();
    click(&edge, "a", 3);
    wait_until_parked(&edge);
    let line = logged(&edge, "sink rejected the upload; feed parked");
    assert!(line["error"].as_str().unwrap().to_lowercase().contains("permissions violation for publish"), "{line}");
    assert!(line["remedy"].as_str().unwrap().contains("publish on `subject`"), "{line}");
}

#[test]
fn a_credentials_file_is_used_and_read_again_when_it_is_corrected() {
    let operator = Operator::new();
    let Some(nats) = Nats::start_with(&operator) else { return };
    nats.make_stream(|_| {});
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("user.creds");
    let stranger = Operator::new().credentials();
    fs::write(&file, &stranger).unwrap();
    let edge = edge(&nats, &format!("credentials_file = '{}'", file.display())).start();
    let clicks = click(&edge, "a", 3);
    wait_until_parked(&edge);
    let line = logged(&edge, "sink rejected the upload; feed parked");
    assert!(line["error"].as_str().unwrap().contains("the server rejects the user"), "{line}");
    assert!(line["remedy"].as_str().unwrap().contains("correct `credentials_file`"), "{line}");
    fs::write(&file, "no credentials").unwrap();
    let config = edge.dir().join("clickedge.toml");
    let retry = || clickedge(&["feed", "retry", "all", "--config", config.to_str().unwrap()]).ok();
    edge.wait_until("a file without credentials is no user either", |edge| {
        retry();
        edge.metric("clickedge_uploads_total{feed=\"all\",result=\"refused\"}") >= 2
    });
    let good = operator.credentials();
    fs::write(&file, &good).unwrap();
    edge.wait_until("the corrected file is used", |edge| {
        retry();
        edge.metric(&of_feed("feed_parked", "all")) == 0
    });
    assert_delivers(&edge, &nats, clicks);
    for secret in [&stranger, &good].into_iter().flat_map(|text| text.lines()).filter(|line| line.len() > 40) {
        assert!(!edge.log().contains(secret), "a credential is in the log");
    }
}

#[test]
fn a_stream_that_forgets_early_is_warned_of() {
    let Some(nats) = Nats::start("") else { return };
    nats.make_stream(|config| config.duplicate_window = Duration::from_secs(120));
    let edge = edge(&nats, "").start();
    let clicks = click(&edge, "a", 3);
    wait_until_delivered(&edge, "all", 3);
    assert_delivers(&edge, &nats, clicks);
    let line = logged(&edge, "forgets message ids early");
    assert_eq!((line["stream"].as_str(), line["window_secs"].as_u64()), (Some(STREAM), Some(120)));
    assert_eq!(edge.log().matches("forgets message ids early").count(), 1);
}

#[test]
fn a_probe_stores_nothing() {
    let Some(mut nats) = Nats::start("") else { return };
    let probe_of = |nats: &Nats, dry_put| -> Probe {
        let toml = format!("name = \"all\"\nworkspaces = [\"*\"]\n{}", nats.sink_toml("").replace("[feeds.", "["));
        let feed: Feed = toml::from_str(&toml).unwrap();
        probe(&[feed], "fra1", dry_put).unwrap().pop().unwrap()
    };
    let error = probe_of(&nats, true).outcome.unwrap_err().to_string();
    assert!(error.contains("no stream takes messages") && error.contains("create a stream"), "{error}");
    nats.make_stream(|_| {});
    for dry_put in [false, true] {
        let outcome = probe_of(&nats, dry_put).outcome.unwrap();
        assert!(outcome.contains("stream CLICKS with a duplicate window of 3600 seconds"), "{outcome}");
    }
    assert!(nats.messages().is_empty());
    nats.kill();
    let error = probe_of(&nats, false).outcome.unwrap_err().to_string();
    assert!(error.contains("no connection to the server"), "{error}");
}

#[test]
fn a_server_with_a_certificate_of_its_own_is_trusted_through_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (dir.path().join("server.pem"), dir.path().join("server.key"));
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = format!("tls {{ cert_file: \"{}\", key_file: \"{}\" }}", certificate.display(), key.display());
    let Some(nats) = Nats::start(&tls) else { return };
    let probe_of = |more: &str| {
        let sink = nats.sink_toml(more).replace("[feeds.", "[").replace("nats://", "tls://");
        let feed: Feed = toml::from_str(&format!("name = \"all\"\nworkspaces = [\"*\"]\n{sink}")).unwrap();
        probe(&[feed], "fra1", true).unwrap().pop().unwrap().outcome.unwrap_err().to_string()
    };
    let trusted = probe_of(&format!("ca_file = '{}'", certificate.display()));
    assert!(trusted.contains("no stream takes messages"), "{trusted}");
    let strange = probe_of("");
    assert!(strange.contains("check the server's certificate"), "{strange}");
}
