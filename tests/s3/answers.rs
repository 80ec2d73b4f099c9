//! What counts as delivered: the answer of a store, and nothing else.

use serde_json::json;

use super::{
    edge,
    trouble::{assert_delivers, logged, waiting},
    wait_until_parked,
};
use crate::common::{
    Edge,
    clicks::{assert_exactly_once, click, of_feed, wait_until_delivered},
    s3::{Canned, Fault, S3},
};

const HTML: (&str, &str) = ("content-type", "text/html; charset=utf-8");
const PAGE: &str = "<!doctype html>\n<html lang=\"en\"><head><title>Console</title></head></html>";
const ETAG: (&str, &str) = ("etag", "\"5d41402abc4b2a76b9719d911017c592\"");

/// The line with which the feed was parked.
fn parked(edge: &Edge) -> serde_json::Value {
    wait_until_parked(edge, "all");
    logged(edge, "sink rejected the upload; feed parked")
}

#[test]
fn an_answer_that_is_no_store_s_is_not_delivered_and_the_log_shows_what_answered() {
    let cases = [
        // A web console, a proxy's page with an ETag of its own, stores in front of which something drops the ETag.
        (Canned::new(200, &[HTML, ("server", "MinIO Console")], PAGE), "has no ETag"),
        (Canned::new(200, &[HTML, ETAG, ("server", "nginx")], PAGE), "has a body that is not a store's"),
        (Canned::new(201, &[("server", "MinIO")], ""), "has no ETag"),
        (Canned::new(204, &[], ""), "has no ETag"),
        (Canned::new(202, &[("content-type", "application/json")], "{\"accepted\":true}"), "has no ETag"),
        (Canned::new(200, &[ETAG, ("content-type", "application/json")], "{\"ok\":true}"), "not a store's"),
    ];
    for (answer, reason) in cases {
        let s3 = S3::start();
        s3.set(Fault::Canned(vec![answer.clone()]));
        let edge = edge(&s3, "").start();
        let clicks = click(&edge, "a", 5);
        let line = parked(&edge);
        let header = |name: &str| answer.headers.iter().find(|(given, _)| *given == name).map(|(_, value)| *value);
        assert_eq!((&line["level"], &line["status"]), (&json!("ERROR"), &json!(answer.status)), "{line}");
        assert_eq!(line["content_type"].as_str(), header("content-type"), "{line}");
        assert_eq!(line["server"].as_str(), header("server"), "{line}");
        let start: String = answer.body.replace('\n', " ").chars().take(100).collect();
        assert_eq!(line["body"].as_str(), Some(start.as_str()), "{line}");
        let error = line["error"].as_str().unwrap();
        assert!(error.starts_with("no store answered: ") && error.contains(reason), "{error}");
        assert!(line["remedy"].as_str().unwrap().contains("`endpoint`"), "{line}");
        assert_eq!(edge.metric(&of_feed("events_delivered_total", "all")), 0, "{answer:?}");
        assert!(!waiting(&edge).is_empty());
        s3.set(Fault::Healthy);
        assert_delivers(&edge, &s3, clicks);
    }
}

#[test]
fn a_store_that_answers_with_a_type_of_pages_and_no_page_has_stored() {
    let s3 = S3::start();
    s3.set(Fault::Canned(vec![Canned::new(200, &[ETAG, HTML], "")]));
    let edge = edge(&s3, "").start();
    click(&edge, "a", 5);
    wait_until_delivered(&edge, "all", 5);
}

#[test]
fn a_412_counts_only_when_a_store_says_that_the_object_is_ours() {
    let page = || Canned::new(412, &[HTML], PAGE).to("PUT");
    for (head, remedy) in [
        (Canned::new(200, &[HTML], "").to("HEAD"), "`endpoint`"),
        (Canned::new(204, &[], "").to("HEAD"), "`endpoint`"),
        (Canned::new(403, &[HTML], "").to("HEAD"), "`endpoint`"),
        (Canned::new(404, &[], "").to("HEAD"), "`endpoint`"),
    ] {
        let s3 = S3::start();
        s3.set(Fault::Canned(vec![page(), head.clone()]));
        let edge = edge(&s3, "").start();
        let clicks = click(&edge, "a", 5);
        let line = parked(&edge);
        assert!(line["error"].as_str().unwrap().contains("no store answered"), "{line}");
        assert!(line["remedy"].as_str().unwrap().contains(remedy), "{line}");
        assert_eq!(edge.metric(&of_feed("events_delivered_total", "all")), 0, "{head:?}");
        s3.set(Fault::Healthy);
        assert_delivers(&edge, &s3, clicks);
    }
}

#[test]
fn an_error_page_of_something_else_is_shown_and_no_click_is_lost() {
    const SERVER: (&str, &str) = ("server", "nginx/1.24.0");
    for answer in [
        Canned::new(404, &[HTML, SERVER], PAGE),
        Canned::new(405, &[SERVER, ("content-type", "application/json")], "{\"message\":\"no PUT\"}"),
        Canned::new(302, &[SERVER, ("location", "/login")], ""),
    ] {
        let s3 = S3::start();
        s3.set(Fault::Canned(vec![answer.clone()]));
        let edge = edge(&s3, "").start();
        let clicks = click(&edge, "a", 5);
        let line = parked(&edge);
        assert_eq!((&line["status"], &line["server"]), (&json!(answer.status), &json!("nginx/1.24.0")));
        assert!(line["error"].as_str().unwrap().starts_with("no store answered: "), "{line}");
        assert!(line["remedy"].as_str().unwrap().contains("`endpoint`"), "not the bucket: {line}");
        s3.set(Fault::Healthy);
        assert_delivers(&edge, &s3, clicks);
    }
}

#[test]
fn a_server_that_repeats_the_request_gets_no_secret_into_the_log() {
    let s3 = S3::start();
    let echo = "{\"headers\":{\"Authorization\":\"AWS4-HMAC-SHA256 Credential=AKIDTEST/20261123\"}}";
    s3.set(Fault::Canned(vec![Canned::new(200, &[("content-type", "application/json")], echo)]));
    let edge = edge(&s3, "").start();
    click(&edge, "a", 1);
    let line = parked(&edge);
    assert!(line["body"].as_str().unwrap().contains("left out"), "{line}");
    assert!(!edge.log().contains("AKIDTEST"));
}

#[test]
fn the_log_names_the_region_to_configure_whatever_the_answer() {
    const REGION: (&str, &str) = ("x-amz-bucket-region", "ap-northeast-1");
    const XML: (&str, &str) = ("content-type", "application/xml");
    for (answer, region) in [
        (
            Canned::new(
                301,
                &[REGION, XML],
                "<Error><Code>PermanentRedirect</Code><Message>The bucket must be addressed using the specified \
                 endpoint.</Message></Error>",
            ),
            "ap-northeast-1",
        ),
        (Canned::new(301, &[REGION], ""), "ap-northeast-1"),
        (
            Canned::new(
                301,
                &[XML],
                "<Error><Code>PermanentRedirect</Code><Message>Use the endpoint.</Message>\
                 <Endpoint>clicks.s3-us-west-2.amazonaws.com</Endpoint></Error>",
            ),
            "us-west-2",
        ),
        (
            Canned::new(
                400,
                &[XML],
                "<Error><Code>AuthorizationHeaderMalformed</Code><Message>the region 'eu-west-1' is wrong; expecting \
                 'eu-central-1'</Message><Region>eu-central-1</Region></Error>",
            ),
            "eu-central-1",
        ),
        (
            Canned::new(403, &[REGION, XML], "<Error><Code>AccessDenied</Code><Message>Denied</Message></Error>"),
            "ap-northeast-1",
        ),
    ] {
        let s3 = S3::start();
        s3.set(Fault::Canned(vec![answer.clone()]));
        let edge = edge(&s3, "").start();
        let clicks = click(&edge, "a", 2);
        let line = parked(&edge);
        let remedy = line["remedy"].as_str().unwrap();
        assert!(remedy.starts_with(&format!("set `region = \"{region}\"`")), "{line}");
        s3.set(Fault::Healthy);
        assert_delivers(&edge, &s3, clicks);
    }
    let s3 = S3::start();
    let denied = "<Error><Code>AccessDenied</Code><Message>Denied</Message></Error>";
    s3.set(Fault::Canned(vec![Canned::new(403, &[("x-amz-bucket-region", "eu-west-1"), XML], denied)]));
    let edge = edge(&s3, "").start();
    click(&edge, "a", 1);
    let remedy = parked(&edge)["remedy"].as_str().unwrap().to_owned();
    assert!(remedy.contains("s3:PutObject"), "the region is the configured one: {remedy}");
}

#[test]
fn a_store_without_conditional_writes_parks_the_feed_until_they_are_off() {
    for status in [501, 400] {
        let s3 = S3::start();
        s3.set(Fault::Unconditional(status));
        let edge = edge(&s3, "").start();
        let mut clicks = click(&edge, "a", 5);
        let line = parked(&edge);
        assert_eq!((&line["status"], &line["code"]), (&json!(status), &json!("NotImplemented")));
        assert!(line["remedy"].as_str().unwrap().contains("set `conditional_writes = \"off\"`"), "{line}");
        let stopped = edge.stop();
        stopped.reconfigure(|config| {
            config.replace("bucket = \"clicks\"", "bucket = \"clicks\"\nconditional_writes = \"off\"")
        });
        let edge = stopped.restart();
        clicks.extend(click(&edge, "b", 5));
        assert_delivers(&edge, &s3, clicks);
        let after = s3.seen().into_iter().rev().take_while(|seen| !seen.headers.contains_key("if-none-match"));
        let methods: Vec<_> = after.map(|seen| seen.method).collect();
        assert!(methods.iter().filter(|method| *method == "HEAD").count() >= 2, "it looks first: {methods:?}");
    }
}

#[test]
fn without_conditions_a_lost_answer_stores_no_second_content() {
    let s3 = S3::start();
    s3.set(Fault::LostAnswer);
    let edge = edge(&s3, "conditional_writes = \"off\"").start();
    let clicks = click(&edge, "a", 5);
    wait_until_delivered(&edge, "all", 5);
    let stored = s3.objects("clicks");
    for key in &stored {
        let puts = s3.puts().into_iter().filter(|put| put.path.ends_with(key.as_str())).count();
        assert_eq!(puts, 1, "the look finds what was stored");
    }
    s3.set(Fault::Healthy);
    assert_delivers(&edge, &s3, clicks);
}

#[test]
fn without_conditions_and_without_the_right_to_list_each_object_is_stored_once() {
    let s3 = S3::start();
    s3.set(Fault::Unlisted(true));
    let edge = edge(&s3, "prefix = \"brand\"\nconditional_writes = \"off\"").start();
    let mut clicks = click(&edge, "lost", 5);
    wait_until_delivered(&edge, "all", 5);
    s3.set(Fault::Unlisted(false));
    clicks.extend(click(&edge, "answered", 5));
    wait_until_delivered(&edge, "all", 10);
    assert_exactly_once(&s3.events("clicks"), &clicks);
    let looks = s3.seen().into_iter().filter(|seen| seen.method == "HEAD").count();
    assert!(looks > s3.objects("clicks").len(), "it looks before each upload, and after what was not answered");
    assert_eq!(s3.puts().len(), s3.objects("clicks").len(), "what was stored without an answer is found");
    assert_eq!(edge.metric(&of_feed("feed_parked", "all")), 0);
    assert!(!edge.log().contains("cannot look whether an object exists"), "objects can be read");
}

#[test]
fn without_conditions_and_without_the_right_to_look_the_same_bytes_may_be_stored_again() {
    let s3 = S3::start();
    s3.set(Fault::Blind);
    let edge = edge(&s3, "conditional_writes = \"off\"").start();
    let mut clicks = click(&edge, "a", 5);
    edge.wait_until("it was sent twice", |_| s3.puts().len() >= 2);
    s3.set(Fault::Canned(vec![Canned::new(403, &[], "").to("HEAD")]));
    wait_until_delivered(&edge, "all", 5);
    clicks.extend(click(&edge, "b", 5));
    wait_until_delivered(&edge, "all", 10);
    s3.set(Fault::Healthy);
    assert_delivers(&edge, &s3, clicks);
    let sums: std::collections::BTreeSet<_> =
        s3.puts().iter().map(|put| (put.path.clone(), put.header("x-amz-meta-sha256").unwrap().to_owned())).collect();
    let keys: std::collections::BTreeSet<_> = s3.puts().iter().map(|put| put.path.clone()).collect();
    assert_eq!(sums.len(), keys.len(), "one content a key");
    assert_eq!(edge.log().matches("cannot look whether an object exists").count(), 1, "once");
}

#[test]
fn without_conditions_a_foreign_object_still_parks_the_feed() {
    let s3 = S3::start();
    s3.set(Fault::Unavailable);
    let edge = edge(&s3, "conditional_writes = \"off\"").start();
    let clicks = click(&edge, "a", 5);
    edge.wait_until("an object waits", |_| !waiting(&edge).is_empty());
    let key = waiting(&edge)[0].clone();
    s3.write("clicks", &key, b"other content");
    s3.set(Fault::Healthy);
    let line = parked(&edge);
    assert!(line["error"].as_str().unwrap().contains("exists in clicks with other content"), "{line}");
    s3.remove("clicks", &key);
    assert_delivers(&edge, &s3, clicks);
}
