//! Delivery into a bucket: what an upload looks like, and with whose keys it is signed.

mod answers;
mod companions;
mod trouble;

use std::fs;

use hyper::header::HeaderName;
use sha2::{Digest, Sha256};

use crate::common::{
    Builder, Edge,
    clicks::{assert_exactly_once, click, of_feed, wait_until_delivered},
    events_below, events_of,
    s3::{KEY, ROLE_KEY, ROLE_TOKEN, S3, SECRET},
};

/// A stop does not wait for what cannot be delivered.
const HASTY: &str = "[shutdown]\ndrain_secs = 1";

/// An edge with one feed, `all`, into the bucket `clicks`.
fn edge(s3: &S3, more: &str) -> Builder {
    Edge::builder().feed_into("all", &["*"], &s3.sink_toml("clicks", more)).section(HASTY)
}

fn wait_until_parked(edge: &Edge, feed: &str) {
    edge.wait_until("the feed is parked", |edge| edge.metric(&of_feed("feed_parked", feed)) == 1);
}

#[test]
fn a_click_arrives_in_the_bucket() {
    let s3 = S3::start();
    let edge = edge(&s3, "prefix = \"brand/raw\"").start();
    let clicks = click(&edge, "a", 3);
    wait_until_delivered(&edge, "all", 3);
    let events = s3.events("clicks");
    assert_exactly_once(&events, &clicks);

    let (first, at) = (events[0]["id"].as_str().unwrap(), events[0]["timestamp"].as_str().unwrap());
    let (day, hour) = (&at[..10], &at[11..13]);
    let spool = fs::read_to_string(edge.dir().join("spool/identity")).unwrap();
    let name = format!("all-test-{}-{first}-00000001.ndjson.gz", spool.trim_end());
    let key = format!("brand/raw/dt={day}/hour={hour}/{name}");
    assert_eq!(s3.objects("clicks")[0], key);

    let put = &s3.puts()[0];
    assert_eq!((put.path.as_str(), put.status), (format!("/clicks/{key}").as_str(), Some(200)));
    let signature = put.header("authorization").unwrap();
    assert!(signature.starts_with(&format!("AWS4-HMAC-SHA256 Credential={KEY}/")), "{signature}");
    assert_eq!(put.header("if-none-match"), Some("*"));
    assert_eq!(put.header("content-type"), Some("application/gzip"));
    assert_eq!(put.header("content-encoding"), None, "a reader gets the object as it is named");
    assert_eq!(put.header("x-amz-server-side-encryption"), None);

    let object = fs::read(s3.root().join("clicks").join(&key)).unwrap();
    let sha256 = clickedge::object::digest::hex(&Sha256::digest(&object));
    assert_eq!(put.header("x-amz-content-sha256"), Some(sha256.as_str()), "the body is signed");
    assert_eq!(put.header("x-amz-checksum-crc32"), Some(put.crc32.as_str()));
    assert_eq!(put.header("content-length"), Some(object.len().to_string().as_str()));
    for trailing in ["x-amz-trailer", "x-amz-decoded-content-length", "transfer-encoding", "content-md5"] {
        assert_eq!(put.header(trailing), None, "many stores reject {trailing}");
    }
    let in_it = events_of(&object);
    let id = |event: &serde_json::Value| event["id"].as_str().unwrap().to_owned();
    for (name, value) in [
        ("sha256", sha256),
        ("count", in_it.len().to_string()),
        ("first", id(&in_it[0])),
        ("last", id(in_it.last().unwrap())),
    ] {
        assert_eq!(put.header(&format!("x-amz-meta-{name}")), Some(value.as_str()), "{name}");
    }
}

#[test]
fn a_store_that_rejects_checksums_gets_none() {
    let s3 = S3::start();
    let edge = edge(&s3, "request_checksum_calculation = \"when_required\"").start();
    let clicks = click(&edge, "a", 3);
    wait_until_delivered(&edge, "all", 3);
    assert_exactly_once(&s3.events("clicks"), &clicks);
    for put in s3.puts() {
        let names: Vec<_> = put.headers.keys().map(HeaderName::as_str).collect();
        assert!(!names.iter().any(|name| name.contains("checksum") || name.contains("md5")), "{names:?}");
        assert_eq!(put.header("x-amz-content-sha256").map(str::len), Some(64), "the store can check it all the same");
    }
}

#[test]
fn an_object_asks_for_the_encryption_that_is_configured() {
    let s3 = S3::start();
    let managed = s3.sink_toml("clicks", "encryption = \"s3_managed\"");
    let kms = s3.sink_toml("clicks", "encryption = { kms = { key_id = \"key-7\" } }");
    let default_kms = s3.sink_toml("clicks", "encryption = { kms = {} }");
    let edge = Edge::builder()
        .feed_into("managed", &["*"], &managed)
        .feed_into("kms", &["*"], &kms)
        .feed_into("default-kms", &["*"], &default_kms)
        .start();
    click(&edge, "a", 1);
    for (feed, algorithm, key) in
        [("managed", "AES256", None), ("kms", "aws:kms", Some("key-7")), ("default-kms", "aws:kms", None)]
    {
        wait_until_delivered(&edge, feed, 1);
        let puts = s3.puts();
        let put = puts.iter().find(|put| put.path.contains(&format!("/{feed}-test-"))).unwrap();
        assert_eq!(put.header("x-amz-server-side-encryption"), Some(algorithm), "{feed}");
        assert_eq!(put.header("x-amz-server-side-encryption-aws-kms-key-id"), key, "{feed}");
    }
}

#[test]
fn clicks_wait_for_the_right_secret_and_are_then_delivered_once() {
    let s3 = S3::start();
    s3.write_credentials(KEY, "another secret");
    let edge = edge(&s3, "").start();
    let clicks = click(&edge, "a", 5);
    wait_until_parked(&edge, "all");
    let stopped = edge.stop();
    assert!(stopped.status.success());
    assert!(s3.objects("clicks").is_empty(), "the store checks signatures");
    assert_exactly_once(&events_below(&stopped.dir().join("spool/outbox")), &clicks);

    s3.write_credentials(KEY, SECRET);
    let edge = stopped.restart();
    wait_until_delivered(&edge, "all", 5);
    assert_eq!(edge.metric(&of_feed("feed_parked", "all")), 0);
    assert_exactly_once(&s3.events("clicks"), &clicks);
}

#[test]
fn a_corrected_secret_is_used_without_a_restart() {
    let s3 = S3::start();
    s3.write_credentials(KEY, "another secret");
    let edge = edge(&s3, "").start();
    let clicks = click(&edge, "a", 5);
    wait_until_parked(&edge, "all");
    s3.write_credentials(KEY, SECRET);
    wait_until_delivered(&edge, "all", 5);
    assert_eq!(edge.metric(&of_feed("feed_parked", "all")), 0);
    assert_exactly_once(&s3.events("clicks"), &clicks);
}

#[test]
fn a_missing_bucket_parks_the_feed_until_it_is_made() {
    let s3 = S3::start();
    let edge = Edge::builder().feed_into("all", &["*"], &s3.sink_toml("later", "")).start();
    let clicks = click(&edge, "a", 5);
    wait_until_parked(&edge, "all");
    assert!(edge.log().contains("NoSuchBucket"), "the log has the reason");
    s3.make_bucket("later");
    wait_until_delivered(&edge, "all", 5);
    assert_eq!(edge.metric(&of_feed("feed_parked", "all")), 0);
    assert_exactly_once(&s3.events("later"), &clicks);
}

#[test]
fn a_role_of_the_customer_is_assumed_with_the_external_id() {
    let s3 = S3::start();
    let arn = "arn:aws:iam::123456789012:role/clicks";
    let role = format!(
        "assume_role = {{ role_arn = {arn:?}, external_id = \"customer-7\", sts_endpoint = {:?} }}",
        s3.endpoint()
    );
    let edge = edge(&s3, &role).start();
    let clicks = click(&edge, "a", 3);
    wait_until_delivered(&edge, "all", 3);
    assert_exactly_once(&s3.events("clicks"), &clicks);

    let requests = s3.role_requests();
    assert_eq!(requests.len(), 1, "the keys are kept as long as they are good");
    let asked = |name: &str, value: &str| requests[0].form.iter().any(|(n, v)| n == name && v == value);
    assert!(asked("Action", "AssumeRole") && asked("RoleArn", arn) && asked("ExternalId", "customer-7"));
    let signature = requests[0].headers["authorization"].to_str().unwrap();
    assert!(signature.contains(&format!("Credential={KEY}/")), "asked for with the keys of the file: {signature}");
    for put in s3.puts() {
        let signature = put.header("authorization").unwrap();
        assert!(signature.contains(&format!("Credential={ROLE_KEY}/")), "{signature}");
        assert_eq!(put.header("x-amz-security-token"), Some(ROLE_TOKEN));
    }
}
