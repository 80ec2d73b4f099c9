//! `clickedge feed policy`, `feed test` and `feed retry`: what an operator does with a feed before and after trouble.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::common::{
    Answer, Edge, TIMEOUT,
    cli::{Outcome, clickedge},
    clicks::{assert_exactly_once, click, of_feed, wait_until_delivered},
    events_of, free_address,
    nats::{Nats, SUBJECT},
    s3::{Canned, Fault, KEY, S3, SECRET},
    webhook::Receiver,
};

const ROLE: &str = "arn:aws:iam::123456789012:role/clicks";

/// A stop does not wait for what cannot be delivered.
const HASTY: &str = "[shutdown]\ndrain_secs = 1";

/// Writes a configuration with the feed `brand` into this sink.
fn configure(dir: &Path, sink: &str) -> PathBuf {
    let file = dir.join("clickedge.toml");
    let (listener, admin) = (free_address(), free_address());
    let text = format!(
        "[edge]\npop = \"fra1\"\n[[listeners]]\naddress = \"{listener}\"\n[admin]\naddress = \"{admin}\"\n[[feeds]]\n\
         name = \"brand\"\nworkspaces = [\"*\"]\n{sink}\n"
    );
    fs::write(&file, text).unwrap();
    file
}

fn feed(what: &str, name: &str, config: &Path, more: &[&str]) -> Outcome {
    clickedge(&[&["feed", what, name, "--config", config.to_str().unwrap()], more].concat())
}

fn everything(s3: &S3) -> String {
    let more = format!(
        "prefix = \"clicks/brand\"\nacl = \"bucket-owner-full-control\"\nstorage_class = \"REDUCED_REDUNDANCY\"\n\
         tags = {{ source = \"clickedge\", \"cost centre\" = \"a+b\" }}\nexpected_bucket_owner = \"123456789012\"\n\
         encryption = {{ kms = {{ key_id = \"key-7\" }} }}\n\
         assume_role = {{ role_arn = \"{ROLE}\", external_id = \"customer-7\", sts_endpoint = {:?} }}",
        s3.endpoint()
    );
    s3.sink_toml("clicks", &more)
}

#[test]
fn the_policies_of_a_feed_are_printed_ready_to_paste() {
    let (dir, s3) = (tempfile::tempdir().unwrap(), S3::start());
    let config = configure(dir.path(), &everything(&s3));
    let edge = "arn:aws:iam::210987654321:user/edge";
    let printed = feed("policy", "brand", &config, &["--principal", edge, "--verify"]).ok();
    assert_eq!(printed, fs::read_to_string("tests/golden/policy.json").unwrap());
    let all: Value = serde_json::from_str(&printed).unwrap();
    for (only, name) in [("bucket", "bucketPolicy"), ("kms", "kmsKeyPolicyStatement"), ("trust", "trustPolicy")] {
        let one = feed("policy", "brand", &config, &["--principal", edge, "--verify", "--only", only]).json();
        assert_eq!(one, all[name], "{only}");
    }
    assert!(!printed.contains("secret") && !printed.contains(KEY));
}

#[test]
fn without_the_identity_of_the_edge_the_policies_have_a_placeholder_and_a_note() {
    let (dir, s3) = (tempfile::tempdir().unwrap(), S3::start());
    let config = configure(dir.path(), &s3.sink_toml("clicks", ""));
    let outcome = feed("policy", "brand", &config, &[]);
    assert_eq!(outcome.code, 0);
    let policies: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let principal = policies["bucketPolicy"]["Statement"][0]["Principal"]["AWS"].as_str().unwrap();
    assert!(outcome.stderr.contains(principal) && outcome.stderr.contains("--principal"), "{}", outcome.stderr);
    feed("policy", "brand", &config, &["--only", "trust"]).fails(64, "assumes no role");
    feed("policy", "brand", &config, &["--only", "kms"]).fails(64, "requests no KMS key");
    feed("policy", "brand", &config, &["--principal", "me"]).fails(64, "must be an ARN");
    feed("policy", "other", &config, &[]).fails(64, "there are: brand");
    let config = configure(dir.path(), "sink.dir.path = \"out\"");
    feed("policy", "brand", &config, &[]).fails(64, "delivers into no bucket");
}

/// The permission that a request needs.
fn action(seen: &crate::common::s3::Seen) -> Vec<&'static str> {
    let of_object = seen.path.splitn(3, '/').nth(2).is_some_and(|key| !key.is_empty());
    match (seen.method.as_str(), of_object) {
        ("PUT", true) => {
            let mut actions = vec!["s3:PutObject"];
            for (header, action) in [("x-amz-acl", "s3:PutObjectAcl"), ("x-amz-tagging", "s3:PutObjectTagging")] {
                actions.extend(seen.headers.contains_key(header).then_some(action));
            }
            actions
        }
        ("HEAD" | "GET", true) => vec!["s3:GetObject"],
        ("GET", false) if seen.query.contains("list-type=2") => vec!["s3:ListBucket"],
        other => panic!("no permission is known for {other:?} {}", seen.path),
    }
}

#[test]
fn the_policy_grants_what_the_edge_does_and_nothing_else() {
    for (more, name) in [
        ("", "plain"),
        ("acl = \"bucket-owner-full-control\"\ntags = { source = \"clickedge\" }", "acl and tags"),
        ("conditional_writes = \"off\"", "without conditions"),
    ] {
        let s3 = S3::start();
        let sink = format!("manifest_secs = 1\n{}", s3.sink_toml("clicks", &format!("prefix = \"brand\"\n{more}")));
        s3.set(Fault::LostAnswer);
        let edge = Edge::builder().feed_into("brand", &["*"], &sink).section(HASTY).start();
        click(&edge, "a", 3);
        wait_until_delivered(&edge, "brand", 3);
        s3.set(Fault::Healthy);
        let config = edge.dir().join("clickedge.toml");
        feed("test", "brand", &config, &[]).ok();
        let source = ["feed", "verify", "s3://clicks/brand", "--endpoint", &s3.endpoint(), "--path-style"];
        let credentials = s3.credentials_file();
        let verified = clickedge(&[&source[..], &["--credentials-file", credentials.to_str().unwrap()]].concat());
        assert!(verified.code != 66, "it is read: {verified:?}");
        let done: BTreeSet<_> = s3.seen().iter().flat_map(action).map(str::to_owned).collect();

        let policy = feed("policy", "brand", &config, &["--only", "bucket", "--verify"]);
        let policy: Value = serde_json::from_str(&policy.stdout).unwrap();
        let statements = policy["Statement"].as_array().unwrap();
        let actions = statements.iter().flat_map(|statement| statement["Action"].as_array().unwrap());
        let granted: BTreeSet<_> = actions.map(|action| action.as_str().unwrap().to_owned()).collect();
        assert_eq!(granted, done, "{name}");
        for statement in statements {
            assert!(statement["Sid"].is_string() && statement["Effect"] == "Allow", "{statement}");
        }
        let below = s3
            .seen()
            .iter()
            .all(|seen| seen.path == "/clicks" || seen.path == "/clicks/" || seen.path.starts_with("/clicks/brand/"));
        assert!(below, "all objects are below the prefix");
    }
}

#[test]
fn an_upload_carries_every_option_and_its_signature_holds() {
    let s3 = S3::start();
    let edge = Edge::builder().feed_into("brand", &["*"], &everything(&s3)).section(HASTY).start();
    let clicks = click(&edge, "a", 3);
    wait_until_delivered(&edge, "brand", 3);
    assert_exactly_once(&s3.events("clicks"), &clicks);
    for put in s3.puts() {
        for (name, value) in [
            ("x-amz-acl", "bucket-owner-full-control"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("x-amz-tagging", "cost%20centre=a%2Bb&source=clickedge"),
            ("x-amz-expected-bucket-owner", "123456789012"),
            ("x-amz-server-side-encryption-aws-kms-key-id", "key-7"),
            ("if-none-match", "*"),
        ] {
            assert_eq!(put.header(name), Some(value), "{name}");
            let signed = put.header("authorization").unwrap();
            assert!(signed.contains(name), "{name} is signed: {signed}");
        }
    }
}

#[test]
fn a_test_delivers_marked_sample_events_and_reads_them_back() {
    let (dir, s3) = (tempfile::tempdir().unwrap(), S3::start());
    let config = configure(dir.path(), &everything(&s3));
    let printed = feed("test", "brand", &config, &[]).ok();
    let place = "s3://clicks/clicks/brand/_test/brand-fra1-";
    assert!(printed.contains("3 sample events") && printed.contains(place), "{printed}");
    assert!(printed.contains("read them back unchanged"), "{printed}");
    let key = s3.objects("clicks").remove(0);
    let events = events_of(&fs::read(s3.bucket("clicks").join(&key)).unwrap());
    assert_eq!(events.len(), 3);
    let ids: BTreeSet<_> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 3);
    for event in &events {
        assert_eq!(
            (&event["schema"], &event["test"], &event["edge"]["pop"]),
            (&json!("click/1"), &json!(true), &json!("fra1"))
        );
    }
    let put = s3.puts().remove(0);
    assert_eq!((put.header("x-amz-meta-test"), put.header("x-amz-meta-count")), (Some("true"), Some("3")));
    assert_eq!(put.header("if-none-match"), Some("*"), "sent like a delivery");
    let methods: Vec<_> = s3.seen().into_iter().map(|seen| seen.method).collect();
    assert_eq!(methods, ["PUT", "GET"]);
    feed("test", "brand", &config, &[]).ok();
    assert_eq!(s3.objects("clicks").len(), 2, "each run has a key of its own");
    let verified = clickedge(&["feed", "verify", s3.bucket("clicks").join("clicks/brand").to_str().unwrap()]);
    assert_eq!(verified.code, 66, "a test is no part of the feed: {verified:?}");
}

#[test]
fn a_test_reports_what_is_missing_with_the_exit_code_of_its_class() {
    const HTML: (&str, &str) = ("content-type", "text/html");
    let (dir, s3) = (tempfile::tempdir().unwrap(), S3::start());
    let config = configure(dir.path(), &s3.sink_toml("clicks", "prefix = \"brand\"\ntags = { a = \"b\" }"));
    let redirect = "<Error><Code>PermanentRedirect</Code><Message>Elsewhere</Message></Error>";
    let denied = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
    for (fault, code, parts) in [
        (
            Fault::Forbidden("/_test/".into()),
            78,
            ["not delivered: the store answered 403", "lacks s3:PutObject, s3:PutObjectTagging on `clicks/brand/*`"],
        ),
        (
            Fault::Canned(vec![Canned::new(403, &[], denied).to("GET")]),
            78,
            ["cannot read it back: the store answered 403", "lacks s3:GetObject on `clicks/brand/*`"],
        ),
        (
            Fault::Canned(vec![Canned::new(301, &[("x-amz-bucket-region", "us-west-2")], redirect)]),
            78,
            ["not delivered", "set `region = \"us-west-2\"`"],
        ),
        (
            Fault::Canned(vec![Canned::new(200, &[HTML], "<html>")]),
            78,
            ["no store answered: 200", "check `endpoint`"],
        ),
        (
            Fault::Canned(vec![Canned::new(200, &[HTML], "<html>").to("GET")]),
            78,
            ["cannot read it back: no store answered", "check `endpoint`"],
        ),
        (Fault::Unavailable, 69, ["not delivered: the store answered 503", "retried"]),
        (
            Fault::Canned(vec![Canned::new(200, &[("etag", "\"a\"")], "other").to("GET")]),
            65,
            ["read back other bytes", "5 read"],
        ),
    ] {
        s3.set(fault.clone());
        let outcome = feed("test", "brand", &config, &[]);
        outcome.fails(code, parts[0]);
        outcome.fails(code, parts[1]);
        for secret in [SECRET, KEY] {
            assert!(!outcome.stderr.contains(secret), "{}", outcome.stderr);
        }
    }
    s3.set(Fault::Healthy);
    s3.write_credentials(KEY, "another secret");
    feed("test", "brand", &config, &[]).fails(78, "secret access key");
    feed("test", "other", &config, &[]).fails(64, "there are: brand");
    let nowhere = s3.sink_toml("clicks", "").replace(&s3.endpoint(), &format!("http://{}", free_address()));
    feed("test", "brand", &configure(dir.path(), &nowhere), &[]).fails(69, "no answer from the store");
}

#[test]
fn a_test_of_a_folder_leaves_its_object_there() {
    let dir = tempfile::tempdir().unwrap();
    let config = configure(dir.path(), "compression = \"none\"\nsink.dir.path = \"out\"");
    let printed = feed("test", "brand", &config, &[]).ok();
    let stored: Vec<_> =
        fs::read_dir(dir.path().join("out/_test")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(stored.len(), 1);
    assert!(printed.contains(stored[0].file_name().unwrap().to_str().unwrap()), "{printed}");
    assert_eq!(fs::read_to_string(&stored[0]).unwrap().matches("\"test\":true").count(), 3);
}

/// These are the sample events of a test, and marked so.
#[track_caller]
fn assert_samples(events: &[Value]) {
    let ids: BTreeSet<_> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!((events.len(), ids.len()), (3, 3), "{events:?}");
    for event in events {
        assert_eq!((&event["schema"], &event["test"]), (&json!("click/1"), &json!(true)), "{event}");
        assert_eq!(event["route"]["domain"]["raw"], "test.invalid");
    }
}

/// They have the older shape.
#[track_caller]
fn assert_clickstream(events: &[Value]) {
    for event in events {
        assert_eq!(event["route"]["params"]["query"], json!({ "utm_source": ["test"] }));
        assert_eq!(event["route"]["tags"], json!({ "test": { "value": "Test" } }));
        assert_eq!(event["client"]["agent"]["os"], json!({ "name": "android", "version": "android-15" }));
    }
}

#[test]
fn a_test_of_a_webhook_is_a_signed_request_with_marked_events() {
    let (dir, receiver) = (tempfile::tempdir().unwrap(), Receiver::start());
    for (shape, is_older) in [("", false), ("shape = \"clickstream\"\n", true)] {
        let before = receiver.events().len();
        let config = configure(dir.path(), &format!("{shape}{}", receiver.sink_toml("")));
        let printed = feed("test", "brand", &config, &[]).ok();
        assert!(printed.contains("3 sample events") && printed.contains("cannot read back"), "{printed}");
        assert!(!printed.contains("t0ken"), "the query may hold a token: {printed}");
        let request = receiver.requests().pop().unwrap();
        assert_eq!(request.status, Some(200), "the signature is accepted");
        let body = request.json();
        assert_eq!((&body["type"], &body["feed"]), (&json!("clicks"), &json!("brand")));
        assert!(body["object"]["key"].as_str().unwrap().starts_with("_test/brand-fra1-"), "{body}");
        assert_eq!((&body["object"]["events"], &body["object"]["offset"]), (&json!(3), &json!(0)));
        let events = &receiver.events()[before..];
        assert_samples(events);
        if is_older {
            assert_clickstream(events);
        } else {
            assert_eq!(events[0]["route"]["params"]["query"], json!([{ "name": "utm_source", "value": "test" }]));
        }
    }
    receiver.assert_sound();
    receiver.accept_secrets(&[]);
    let rejected = feed("test", "brand", &dir.path().join("clickedge.toml"), &[]);
    rejected.fails(78, "not delivered: the receiver answered 401");
    rejected.fails(78, "compare the secret");
}

#[test]
fn a_test_of_a_stream_is_a_message_for_each_marked_event() {
    let Some(mut nats) = Nats::start("") else { return };
    let dir = tempfile::tempdir().unwrap();
    let config = configure(dir.path(), &format!("shape = \"clickstream\"\n{}", nats.sink_toml("")));
    feed("test", "brand", &config, &[]).fails(78, "create a stream with the subject");
    nats.make_stream(|_| {});
    let printed = feed("test", "brand", &config, &[]).ok();
    assert!(printed.contains("3 sample events") && printed.contains("cannot read back"), "{printed}");
    let messages = nats.messages();
    for message in &messages {
        assert_eq!((message.subject.as_str(), message.event["id"].as_str()), (SUBJECT, Some(message.id.as_str())));
    }
    let events: Vec<_> = messages.into_iter().map(|message| message.event).collect();
    assert_samples(&events);
    assert_clickstream(&events);
    feed("test", "brand", &config, &[]).ok();
    assert_eq!(nats.messages().len(), 6, "each run has events of its own");
    nats.kill();
    feed("test", "brand", &config, &[]).fails(69, "no connection to the server");
}

#[test]
fn a_test_of_a_feed_in_the_older_shape_can_be_read_as_that_shape() {
    let (dir, s3) = (tempfile::tempdir().unwrap(), S3::start());
    let feed_toml = "shape = \"clickstream\"\nformat = \"envelope\"\ncompression = \"none\"\n\
                     fields.omit = [\"quality\"]\n";
    let config = configure(dir.path(), &format!("{feed_toml}{}", s3.sink_toml("clicks", "")));
    assert!(feed("test", "brand", &config, &[]).ok().contains("read them back unchanged"));
    let stored = fs::read(s3.root().join(&s3.puts()[0].path[1..])).unwrap();
    let object: Value = serde_json::from_slice(&stored).expect("one JSON value");
    assert_eq!(object["key"], "brand", "it names the subscription");
    let events = object["data"].as_array().unwrap();
    assert_samples(events);
    assert_clickstream(events);
    assert!(events.iter().all(|event| event.get("quality").is_none()), "what the feed leaves out");
    assert_eq!(s3.puts()[0].header("x-amz-meta-test"), Some("true"));
}

/// A request on the admin listener.
fn admin(edge: &Edge, method: &str, path: &str, more: &str) -> Answer {
    let mut stream = TcpStream::connect(edge.admin).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{more}Connection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    Answer::parse(&text).unwrap()
}

#[test]
fn a_parked_feed_retries_on_request_and_not_before() {
    let s3 = S3::start();
    s3.set(Fault::Forbidden("/brand-".into()));
    let edge = Edge::builder().feed_into("brand", &["*"], &s3.sink_toml("clicks", "")).section(HASTY).start();
    let clicks = click(&edge, "a", 5);
    edge.wait_until("the feed is parked", |edge| edge.metric(&of_feed("feed_parked", "brand")) == 1);
    let config = edge.dir().join("clickedge.toml");
    // Each failure doubles the longest wait: after these, an attempt of its own is minutes away.
    for _ in 0..12 {
        let before = s3.puts().len();
        let printed = feed("retry", "brand", &config, &[]).ok();
        assert!(printed.contains("feed brand: retrying now; it was parked, with "), "{printed}");
        edge.wait_until("it is tried", |_| s3.puts().len() > before);
    }
    assert_eq!(edge.metric(&of_feed("feed_parked", "brand")), 1, "a failure leaves it parked");
    edge.wait_until("what came of it is logged", |edge| {
        edge.log().contains("upload failed again in the retry that was asked for")
    });
    s3.set(Fault::Healthy);
    edge.wait_until("it is delivered", |edge| {
        feed("retry", "brand", &config, &[]).ok();
        edge.metric(&of_feed("events_delivered_total", "brand")) == 5
    });
    assert_eq!(edge.metric(&of_feed("feed_parked", "brand")), 0);
    assert!(edge.metric(&of_feed("feed_retries_requested_total", "brand")) >= 13);
    assert!(edge.log().contains("retrying now, as an operator asked for it"));
    assert!(edge.log().contains("sink accepts uploads again"));
    assert_exactly_once(&s3.events("clicks"), &clicks);
}

#[test]
fn the_route_of_a_retry_names_its_feeds_and_takes_post_only() {
    let edge = Edge::builder().feed("one", &["*"]).feed("two", &["*"]).start();
    let answer = admin(&edge, "POST", "/v1/feeds/one/retry", "Content-Length: 0\r\n");
    assert_eq!((answer.status, answer.header("content-type")), (202, Some("application/json")));
    let retried: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(retried, json!({ "feed": "one", "parked": false, "waiting": 0 }));
    let unknown = admin(&edge, "POST", "/v1/feeds/three/retry", "Content-Length: 0\r\n");
    assert_eq!((unknown.status, unknown.body.as_str()), (404, "there is no feed \"three\"; there are: one, two\n"));
    let wrong = admin(&edge, "GET", "/v1/feeds/one/retry", "");
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST")));
    let page = admin(&edge, "POST", "/v1/feeds/one/retry", "Origin: https://evil.example\r\nContent-Length: 0\r\n");
    assert_eq!(page.status, 403, "a web page in the operator's browser");
    assert_eq!(edge.get("go.brand.com", "/v1/feeds/one/retry").status, 404, "not on the click listener");

    let config = edge.dir().join("clickedge.toml");
    feed("retry", "three", &config, &[]).fails(64, "there is no feed \"three\"; there are: one, two");
    assert!(feed("retry", "two", &config, &[]).ok().contains("it was not parked, with 0 objects waiting"));
    let stopped = edge.stop();
    feed("retry", "one", &stopped.dir().join("clickedge.toml"), &[]).fails(69, "is the edge running?");
}
