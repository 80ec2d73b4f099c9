//! A store in trouble: nothing that it does loses or repeats a click, and new clicks are delivered after it.

use std::{
    fs,
    io::Write,
    time::{Duration, Instant},
};

use clickedge::{
    config::Feed,
    deliver::probe::{ProbeError, probe},
};
use serde_json::{Value, json};

use super::{HASTY, edge, wait_until_parked};
use crate::common::{
    Builder, Edge,
    clicks::{assert_exactly_once, click, click_with, noise, of_feed, wait_until_delivered},
    events_below, objects_below,
    s3::{Canned, Fault, KEY, REQUEST_ID, S3},
};

/// The fields of the first line with this message in the edge's log.
pub(super) fn logged(edge: &Edge, message: &str) -> Value {
    let log = edge.log();
    let line = log.lines().find(|line| line.contains(message)).unwrap_or_else(|| panic!("no {message:?} in {log}"));
    serde_json::from_str(line).unwrap()
}

/// Like [`edge`], with an object for every few clicks that carry [`noise`].
fn edge_of_small_objects(s3: &S3, more: &str) -> Builder {
    let sink = format!("max_bytes = 65536\n{}", s3.sink_toml("clicks", more));
    Edge::builder().feed_into("all", &["*"], &sink).section(HASTY)
}

/// Clicks enough for several objects of [`edge_of_small_objects`], or one large one.
fn click_much(edge: &Edge, run: &str) -> Vec<String> {
    click_with(edge, run, 300, noise)
}

/// Once more, when the trouble is over: new clicks are delivered, and all of them exactly once.
pub(super) fn assert_delivers(edge: &Edge, s3: &S3, mut clicks: Vec<String>) {
    clicks.extend(click(edge, "fresh", 3));
    edge.wait_until("all is delivered", |_| s3.events("clicks").len() >= clicks.len());
    assert_exactly_once(&s3.events("clicks"), &clicks);
    edge.wait_until("the outbox is empty", |edge| edge.metric(&of_feed("outbox_objects", "all")) == 0);
    assert_eq!(edge.metric(&of_feed("feed_parked", "all")), 0);
}

/// The keys that wait in the outbox of the feed `all`.
pub(super) fn waiting(edge: &Edge) -> Vec<String> {
    let outbox = edge.dir().join("spool/outbox/all");
    let keys = objects_below(&outbox).into_iter().map(|path| path.strip_prefix(&outbox).unwrap().to_owned());
    keys.map(|key| key.to_str().unwrap().to_owned()).collect()
}

fn limit(edge: &Edge) -> i64 {
    edge.metric(&of_feed("feed_upload_limit", "all"))
}

fn uploads(edge: &Edge, result: &str) -> i64 {
    edge.metric(&format!("clickedge_uploads_total{{feed=\"all\",result=\"{result}\"}}"))
}

#[test]
fn a_click_during_an_outage_is_delivered_after_it() {
    for fault in [Fault::Unavailable, Fault::Broken] {
        let s3 = S3::start();
        s3.set(fault.clone());
        let edge = edge(&s3, "").start();
        let mut clicks = click(&edge, "a", 5);
        edge.wait_until("it was tried again", |_| s3.puts().len() >= 3);
        clicks.extend(click(&edge, "b", 5));
        assert!(s3.puts().iter().all(|put| put.status >= Some(500)), "{fault:?}");
        assert_eq!(edge.metric(&of_feed("feed_parked", "all")), 0, "no action is required: {fault:?}");
        s3.set(Fault::Healthy);
        wait_until_delivered(&edge, "all", 10);
        assert!(uploads(&edge, "retried") >= 3);
        assert_exactly_once(&s3.events("clicks"), &clicks);
    }
}

#[test]
fn an_upload_whose_answer_was_lost_is_not_stored_twice() {
    let s3 = S3::start();
    s3.set(Fault::LostAnswer);
    let edge = edge(&s3, "").start();
    let clicks = click(&edge, "a", 5);
    wait_until_delivered(&edge, "all", 5);
    let objects = s3.objects("clicks");
    assert_exactly_once(&s3.events("clicks"), &clicks);
    for object in &objects {
        let puts = s3.puts().into_iter().filter(|put| put.path.ends_with(object.as_str()));
        let answers: Vec<_> = puts.map(|put| put.status).collect();
        assert_eq!(answers, [None, Some(412)], "it was sent twice, and existed already");
    }
    assert_eq!(uploads(&edge, "present"), objects.len() as i64);
    assert_eq!(uploads(&edge, "stored"), 0);
}

#[test]
fn a_parked_feed_does_not_delay_another() {
    let s3 = S3::start();
    s3.set(Fault::Forbidden("/refused-test-".into()));
    let edge = Edge::builder()
        .feed_into("refused", &["*"], &s3.sink_toml("clicks", ""))
        .feed_into("fine", &["*"], &s3.sink_toml("clicks", ""))
        .section(HASTY)
        .start();
    let mut clicks = click(&edge, "a", 1);
    wait_until_parked(&edge, "refused");
    let since = Instant::now();
    clicks.extend(click(&edge, "b", 5));
    wait_until_delivered(&edge, "fine", 6);
    assert!(since.elapsed() < Duration::from_secs(10), "it took {:?}", since.elapsed());
    assert_eq!(edge.metric(&of_feed("feed_parked", "refused")), 1, "still parked");
    assert_eq!(edge.metric(&of_feed("events_delivered_total", "refused")), 0);
    let stopped = edge.stop();
    assert_exactly_once(&s3.events("clicks"), &clicks);
    assert_exactly_once(&events_below(&stopped.dir().join("spool/outbox/refused")), &clicks);
}

#[test]
fn a_store_that_never_answers_is_given_up_after_the_timeout_and_tried_again() {
    let s3 = S3::start();
    s3.set(Fault::Silent);
    let edge = edge(&s3, "attempt_timeout_secs = 1").start();
    let clicks = click(&edge, "a", 5);
    edge.wait_until("a second attempt", |_| s3.puts().len() >= 2);
    assert!(uploads(&edge, "retried") >= 1);
    s3.set(Fault::Healthy);
    wait_until_delivered(&edge, "all", 5);
    assert_exactly_once(&s3.events("clicks"), &clicks);
}

#[test]
fn an_upload_that_is_cut_by_a_reset_is_sent_again() {
    let s3 = S3::start();
    s3.set(Fault::Reset);
    let edge = edge(&s3, "").start();
    let clicks = click_much(&edge, "a");
    edge.wait_until("a second attempt", |_| s3.puts().len() >= 2);
    assert!(s3.puts().iter().all(|put| put.status.is_none()));
    assert!(s3.objects("clicks").is_empty());
    s3.set(Fault::Healthy);
    assert_delivers(&edge, &s3, clicks);
}

#[test]
fn a_store_that_does_not_read_is_given_up_long_before_the_upload_times_out() {
    let s3 = S3::start();
    s3.set(Fault::Deaf);
    let edge = edge(&s3, "read_timeout_secs = 1").start();
    let clicks = click_much(&edge, "a");
    edge.wait_until("a second attempt", |_| s3.puts().len() >= 2);
    assert!(edge.log().contains("the store made no progress for 1s"), "{}", edge.log());
    s3.set(Fault::Healthy);
    assert_delivers(&edge, &s3, clicks);
}

#[test]
fn an_upload_that_is_corrupted_on_its_way_is_rejected_and_sent_again() {
    // By its CRC32, and by the SHA-256 that the signature covers.
    for (checksum, status) in [("when_supported", 400), ("when_required", 500)] {
        let s3 = S3::start();
        s3.set(Fault::Corrupt);
        let edge = edge(&s3, &format!("request_checksum_calculation = {checksum:?}")).start();
        let clicks = click(&edge, "a", 5);
        edge.wait_until("a second attempt", |_| s3.puts().len() >= 2);
        assert_eq!(s3.puts()[0].status, Some(status), "the store checks");
        assert!(s3.objects("clicks").is_empty());
        assert_eq!(edge.metric(&of_feed("feed_parked", "all")), 0, "no action is required");
        s3.set(Fault::Healthy);
        assert_delivers(&edge, &s3, clicks);
    }
}

#[test]
fn a_large_object_that_a_store_does_not_take_costs_no_memory() {
    let mut s3 = S3::start();
    let edge = edge(&s3, "").start();
    click(&edge, "a", 3);
    wait_until_delivered(&edge, "all", 3);
    let before = peak_memory(&edge);
    let stopped = edge.stop();

    // What an earlier process left behind: 48 MiB.
    let event = serde_json::to_string(&s3.events("clicks")[0]).unwrap();
    let dir = stopped.dir().join("spool/outbox/all/dt=2026-11-23/hour=09");
    fs::create_dir_all(&dir).unwrap();
    let id = "019ab000-0000-7000-8000-000000000000";
    let file = fs::File::create(dir.join(format!("all-test-{id}-00000000.ndjson.gz"))).unwrap();
    let mut large = flate2::write::GzEncoder::new(file, flate2::Compression::none());
    let events = (48 << 20) / event.len();
    for _ in 0..events {
        writeln!(large, "{event}").unwrap();
    }
    large.finish().unwrap();

    s3.set(Fault::Deaf);
    let edge = stopped.restart();
    let uploads = s3.puts().len();
    edge.wait_until("it is sent", |_| s3.puts().len() > uploads);
    let grown = peak_memory(&edge).saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more than without");
    s3.set(Fault::Healthy);
    s3.restart();
    wait_until_delivered(&edge, "all", events);
}

/// The most memory that the edge has had, in bytes.
fn peak_memory(edge: &Edge) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", edge.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn an_object_that_changed_in_the_outbox_is_moved_aside_and_delays_no_other() {
    let s3 = S3::start();
    s3.set(Fault::Unavailable);
    let edge = edge(&s3, "").start();
    click(&edge, "damaged", 5);
    edge.wait_until("it waits", |_| waiting(&edge).len() == 1);
    let key = waiting(&edge).remove(0);
    let path = edge.dir().join("spool/outbox/all").join(&key);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    // At once: half a file would be another damage.
    let damaged = edge.dir().join("damaged");
    fs::write(&damaged, &bytes).unwrap();
    let failed = uploads(&edge, "retried");
    fs::rename(&damaged, &path).unwrap();
    // An upload that is under way may have read what was there before.
    let aside = edge.dir().join("spool/quarantine/all").join(&key);
    let is_over = |edge: &Edge| uploads(edge, "retried") > failed || aside.exists();
    edge.wait_until("that one has failed, or it is moved aside", is_over);
    s3.set(Fault::Healthy);
    assert_delivers(&edge, &s3, Vec::new());
    assert_eq!(fs::read(&aside).unwrap(), bytes);
    assert!(edge.log().contains("object is damaged; moved to quarantine"));
}

#[test]
fn a_foreign_object_under_our_key_parks_the_feed_until_it_is_removed() {
    let s3 = S3::start();
    s3.set(Fault::Unavailable);
    let edge = edge(&s3, "prefix = \"brand\"").start();
    let clicks = click(&edge, "a", 5);
    edge.wait_until("an object waits", |_| !waiting(&edge).is_empty());
    let key = format!("brand/{}", waiting(&edge)[0]);
    s3.write("clicks", &key, b"other content");
    s3.set(Fault::Healthy);
    wait_until_parked(&edge, "all");
    let log = edge.log();
    let said = log.lines().find(|line| line.contains("ERROR")).expect("an operator must act");
    assert!(said.contains(&format!("{key} exists in clicks with other content")), "{said}");
    s3.remove("clicks", &key);
    assert_delivers(&edge, &s3, clicks);
}

#[test]
fn an_existing_object_that_cannot_be_compared_counts_as_ours() {
    let s3 = S3::start();
    s3.set(Fault::Blind);
    let edge = edge(&s3, "").start();
    let clicks = click(&edge, "a", 5);
    wait_until_delivered(&edge, "all", 5);
    assert!(uploads(&edge, "present") >= 1);
    assert_delivers(&edge, &s3, clicks);
    let log = edge.log();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("s3:GetObject")).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("WARN"), "once: {warnings:#?}");
}

#[test]
fn uploads_wait_while_the_name_of_the_store_does_not_resolve() {
    let s3 = S3::start();
    let sink = s3.sink_toml("clicks", "").replace(&s3.endpoint(), "http://nowhere.invalid");
    let edge = Edge::builder().feed_into("all", &["*"], &sink).section(HASTY).start();
    let clicks = click(&edge, "a", 5);
    edge.wait_until("it was tried", |edge| uploads(edge, "retried") >= 1);
    assert_eq!(edge.metric(&of_feed("feed_parked", "all")), 0, "names may come back");
    let stopped = edge.stop();
    assert!(stopped.status.success());

    let path = stopped.dir().join("clickedge.toml");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, config.replace("http://nowhere.invalid", &s3.endpoint())).unwrap();
    assert_delivers(&stopped.restart(), &s3, clicks);
}

#[test]
fn a_store_that_was_restarted_between_two_objects_gets_the_second_one() {
    let mut s3 = S3::start();
    let edge = edge(&s3, "").start();
    let clicks = click(&edge, "a", 5);
    wait_until_delivered(&edge, "all", 5);
    s3.restart();
    assert_delivers(&edge, &s3, clicks);
    let connections: Vec<_> = s3.puts().iter().map(|put| put.connection).collect();
    assert!(connections.last() > connections.first(), "{connections:?}");
}

#[test]
fn several_uploads_are_under_way_at_a_time() {
    let s3 = S3::start();
    let edge = edge_of_small_objects(&s3, "uploads = 3\nread_timeout_secs = 1").start();
    edge.wait_until("it begins with one", |edge| limit(edge) == 1);
    let mut clicks = click_much(&edge, "a");
    edge.wait_until("the limit has grown", |edge| limit(edge) == 3);
    s3.set(Fault::Silent);
    clicks.extend(click_much(&edge, "b"));
    edge.wait_until("three are under way", |_| s3.most_at_a_time() == 3);
    s3.set(Fault::Healthy);
    assert_delivers(&edge, &s3, clicks);
}

#[test]
fn a_storm_of_503_is_met_with_one_upload_at_a_time_and_forgotten_after_it() {
    let s3 = S3::start();
    let edge = edge_of_small_objects(&s3, "").start();
    let mut clicks = click_much(&edge, "a");
    edge.wait_until("the limit has grown", |edge| limit(edge) >= 3);
    s3.set(Fault::Unavailable);
    clicks.extend(click_much(&edge, "b"));
    edge.wait_until("one at a time", |edge| limit(edge) == 1 && waiting(edge).len() >= 4);
    s3.set(Fault::Healthy);
    edge.wait_until("the limit has grown again", |edge| limit(edge) >= 2);
    assert_delivers(&edge, &s3, clicks);
}

#[test]
fn the_log_line_of_a_rejected_upload_has_the_facts_and_a_remedy() {
    let s3 = S3::start();
    s3.set(Fault::Forbidden("/all-test-".into()));
    let edge = edge(&s3, "").start();
    click(&edge, "a", 1);
    wait_until_parked(&edge, "all");
    let line = logged(&edge, "sink rejected the upload; feed parked");
    for (field, expected) in [
        ("level", json!("ERROR")),
        ("feed", json!("all")),
        ("key", json!(waiting(&edge)[0])),
        ("status", json!(403)),
        ("code", json!("AccessDenied")),
        ("request_id", json!(REQUEST_ID)),
        ("error", json!("the store answered 403 AccessDenied: AccessDenied")),
    ] {
        assert_eq!(line[field], expected, "{field} in {line}");
    }
    assert!(line["remedy"].as_str().unwrap().contains("s3:PutObject"), "{line}");
    assert_eq!(edge.log().matches("sink rejected the upload").count(), 1, "once per outage");
}

#[test]
fn without_an_answer_the_log_line_has_the_chain_of_causes() {
    let s3 = S3::start();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sink = s3.sink_toml("clicks", "").replace(&s3.endpoint(), &format!("http://{closed}"));
    let edge = Edge::builder().feed_into("all", &["*"], &sink).section(HASTY).start();
    click(&edge, "a", 1);
    edge.wait_until("it was tried", |edge| uploads(edge, "retried") >= 1);
    let line = logged(&edge, "upload failed; retrying");
    assert_eq!((&line["level"], line.get("status"), line.get("code")), (&json!("WARN"), None, None));
    let error = line["error"].as_str().unwrap();
    assert!(
        error.starts_with("no answer from the store: dispatch failure: ") && error.contains("refused"),
        "{error}"
    );
    assert!(line["remedy"].as_str().unwrap().contains("`endpoint`"), "{line}");
}

/// Probes one sink.
fn probe_one(sink: &str, dry_put: bool) -> Result<String, ProbeError> {
    let config = format!("[[feeds]]\nname = \"all\"\nworkspaces = [\"*\"]\n{sink}");
    let feeds: Vec<Feed> = toml::from_str::<toml::Table>(&config).unwrap()["feeds"].clone().try_into().unwrap();
    let mut probes = probe(&feeds, "fra1", dry_put).unwrap();
    assert_eq!((probes.len(), probes[0].feed.as_str()), (1, "all"));
    probes.remove(0).outcome
}

#[test]
fn a_probe_of_a_healthy_bucket_stores_an_object_only_on_request() {
    let s3 = S3::start();
    let sink = s3.sink_toml("clicks", "prefix = \"brand\"");
    assert!(probe_one(&sink, false).is_ok());
    assert!(s3.puts().is_empty());
    let note = probe_one(&sink, true).unwrap();
    let stored = fs::read_dir(s3.bucket("clicks").join("brand/_test")).unwrap();
    let names: Vec<_> = stored.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let is_named =
        names.iter().all(|name| name.starts_with("all-fra1-") && note.contains(&format!("brand/_test/{name}")));
    assert!(names.len() == 1 && is_named, "{note}: {names:?}");
    let put = &s3.puts()[0];
    assert_eq!((put.status, put.header("if-none-match")), (Some(200), Some("*")));
    assert_eq!(put.header("x-amz-content-sha256"), put.header("x-amz-meta-sha256"), "signed like a delivery");
}

#[test]
fn a_probe_reports_what_is_missing() {
    let s3 = S3::start();
    let sink = s3.sink_toml("clicks", "");
    let console = Canned::new(200, &[("content-type", "text/html")], "<html>");
    s3.set(Fault::Forbidden("/clicks".into()));
    let note = probe_one(&sink, false).expect("the policy of a delivery does not grant the HEAD");
    assert!(note.contains("denies s3:ListBucket") && note.contains("clickedge feed test"), "{note}");
    for (fault, dry_put, parts) in [
        (Fault::Forbidden("/_test/".into()), true, ["PUT of a test object: the store answered 403", "s3:PutObject"]),
        (Fault::Unavailable, false, ["the store answered 503", "retried"]),
        (Fault::Canned(vec![console.clone()]), false, ["HEAD of the bucket: no store answered: 200", "`endpoint`"]),
        (
            Fault::Canned(vec![console.to("PUT")]),
            true,
            ["PUT of a test object: no store answered: 200", "`endpoint`"],
        ),
    ] {
        s3.set(fault);
        let text = probe_one(&sink, dry_put).unwrap_err().to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
    s3.set(Fault::Healthy);
    let text = probe_one(&s3.sink_toml("later", ""), true).unwrap_err().to_string();
    assert!(text.contains("404") && text.contains("create the bucket"), "{text}");
    s3.write_credentials(KEY, "another secret");
    let error = probe_one(&sink, false).unwrap_err().to_string();
    assert!(error.contains("list of the bucket") && error.contains("secret access key"), "{error}");
    let error = probe_one(&sink, true).unwrap_err();
    assert_eq!((error.error.details().status, error.lacks.as_deref()), (Some(403), None), "{error}");
    assert!(error.to_string().contains("secret access key"), "{error}");
}
