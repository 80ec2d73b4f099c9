//! What a feed asks for: which clicks (`only`), which fields (`fields`), in which shape (`shape`).

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};

use crate::common::{
    Builder, CHROME, Edge, Stopped,
    cli::{clickedge, spool},
    clicks::of_feed,
    contract, events_below, link,
};

const CURL: &str = "curl/8.5.0";

/// Adds a feed into a folder of its name, with these lines.
fn feed(builder: Builder, name: &str, lines: &str) -> Builder {
    let path = builder.bucket(name);
    builder.feed_into(name, &["*"], &format!("{lines}\nsink.dir.path = '{}'", path.display()))
}

fn click(edge: &Edge, target: &str, agent: &str) {
    assert_eq!(edge.request("GET", "go.brand.com", target, &[("User-Agent", agent), ("Accept", "*/*")]).status, 302);
}

/// Values of `n` in the events of a feed.
fn numbers(stopped: &Stopped, feed: &str) -> BTreeSet<String> {
    let of = |event: &Value| crate::common::clicks::parameter(event, "n").unwrap().to_owned();
    stopped.events(feed).iter().map(of).collect()
}

fn set(numbers: &[&str]) -> BTreeSet<String> {
    numbers.iter().map(ToString::to_string).collect()
}

#[test]
fn a_feed_gets_the_clicks_that_it_chooses_and_its_account_balances() {
    let mut builder = Edge::builder().feed("all", &["*"]);
    for name in ["human", "bot", "valid"] {
        builder = feed(builder, name, &format!("only = \"{name}\""));
    }
    let edge = builder.start();
    click(&edge, "/spring?n=person", CHROME);
    click(&edge, "/spring?n=attack&q=union+all+select", CHROME);
    click(&edge, "/spring?n=weak&q=union+select", CHROME);
    click(&edge, "/spring?n=robot", CURL);
    edge.wait_until("all is delivered", |edge| {
        ["all", "human", "bot", "valid"].iter().all(|feed| {
            let of = |name| edge.metric(&of_feed(name, feed));
            edge.metric("clickedge_clicks_enriched_total") == 4
                && of("events_routed_total") == of("events_delivered_total")
                && of("events_pending") == 0
        })
    });
    assert_eq!(edge.metric(&of_feed("events_delivered_total", "human")), 3);
    assert_eq!(edge.metric("clickedge_clicks_unfed_total"), 0);
    assert_eq!(edge.metric("clickedge_clicks_answered_total"), 4);
    let stopped = edge.stop();
    assert_eq!(numbers(&stopped, "all"), set(&["person", "attack", "weak", "robot"]));
    assert_eq!(numbers(&stopped, "human"), set(&["person", "attack", "weak"]));
    assert_eq!(numbers(&stopped, "bot"), set(&["robot"]));
    assert_eq!(numbers(&stopped, "valid"), set(&["person", "weak"]));
}

#[test]
fn a_click_that_no_feed_chooses_is_counted_or_dropped_with_a_reason() {
    for counts in [true, false] {
        let builder =
            feed(Edge::builder(), "bots", "only = \"bot\"").section(&format!("[stats]\nenabled = {counts}"));
        let edge = builder.start();
        click(&edge, "/spring?n=person", CHROME);
        click(&edge, "/spring?n=robot", CURL);
        edge.wait_until("delivered", |edge| edge.metric(&of_feed("events_delivered_total", "bots")) == 1);
        let dropped = edge.metric("clickedge_clicks_dropped_total{reason=\"no_feed\"}");
        let enriched = edge.metric("clickedge_clicks_enriched_total");
        assert_eq!((enriched, dropped), if counts { (2, 0) } else { (1, 1) });
        if counts {
            assert_eq!(edge.metric("clickedge_clicks_unfed_total"), 1);
            edge.wait_until("counted", |edge| edge.metric("clickedge_stats_counted_total") == 2);
            let answer: Value =
                serde_json::from_str(&edge.admin("/v1/stats/links/go.brand.com/spring").body).unwrap();
            assert_eq!((&answer["totals"]["humans"], &answer["totals"]["bots"]), (&json!(1), &json!(1)));
        }
        assert_eq!(numbers(&edge.stop(), "bots"), set(&["robot"]));
    }
}

#[test]
fn the_older_shape_and_omitted_fields_differ_where_they_should_and_only_there() {
    let mut builder = Edge::builder().feed("all", &["*"]);
    builder = feed(builder, "older", "shape = \"clickstream\"");
    builder = feed(
        builder,
        "less",
        "fields = { omit = [\"location\", \"referral.path\", \"route.params\", \"edge.pop\"] }",
    );
    let geoip = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/demo/geoip.mmdb");
    let edge = builder.section(&format!("[enrich]\ngeoip_file = '{}'", geoip.display())).start();
    let headers = [("User-Agent", CHROME), ("Referer", "https://www.facebook.com/somewhere")];
    let target = "/spring?Ref=1&ref=2&Ref=3&=x&a%22b=%5C";
    assert_eq!(edge.request("GET", "go.brand.com", target, &headers).status, 302);
    let stopped = edge.stop();
    let [whole, older, less] = ["all", "older", "less"].map(|feed| stopped.events(feed).remove(0));
    assert!(contract::strict().is_valid(&whole) && contract::published().is_valid(&less), "{less}");
    assert_eq!(whole["client"]["location"]["city"], "Dublin");

    let mut expected = whole.clone();
    let query = json!({"Ref": ["1", "3"], "ref": ["2"], "": ["x"], "a\"b": ["\\"]});
    expected["route"]["params"]["query"] = query;
    let query = json!({"utm_source": ["go"], "Ref": ["1", "3"], "ref": ["2"], "": ["x"], "a\"b": ["\\"]});
    expected["route"]["destination"]["params"]["query"] = query;
    expected["route"]["tags"] = json!({"t-1": {"value": "Print"}});
    expected["route"]["scripts"] = json!({"s-1": {"value": "Pixel"}});
    expected["client"]["agent"]["os"] = json!({"name": "windows", "version": "windows-10"});
    assert_eq!(older, expected);

    let mut expected = whole;
    expected["client"].as_object_mut().unwrap().remove("location");
    expected["referral"].as_object_mut().unwrap().remove("path");
    expected["route"].as_object_mut().unwrap().remove("params");
    expected.as_object_mut().unwrap().remove("edge");
    assert_eq!(less, expected);
}

#[test]
fn an_envelope_of_the_older_shape_names_the_feed_and_its_objects_are_proven_and_replayed() {
    let lines = "shape = \"clickstream\"\nformat = \"envelope\"\ncompression = \"none\"\nmanifest_secs = 1\n\
                 fields = { omit = [\"client.language\"] }";
    let edge = feed(Edge::builder().spool("retain_secs = 600"), "brand", lines).start();
    click(&edge, "/spring?n=1", CHROME);
    click(&edge, "/spring?n=2", CURL);
    edge.wait_until("delivered", |edge| edge.metric(&of_feed("events_delivered_total", "brand")) == 2);
    let root = edge.dir().join("bucket/brand");
    let envelopes = |root: &Path| -> Vec<Value> {
        fn walk(dir: &Path, found: &mut Vec<Value>) {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() && !path.ends_with("_manifest") {
                    walk(&path, found);
                } else if path.is_file() {
                    found.push(serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap());
                }
            }
        }
        let mut found = Vec::new();
        walk(root, &mut found);
        found
    };
    let numbers = |envelopes: &[Value]| -> Vec<Value> {
        let events = envelopes.iter().flat_map(|envelope| envelope["data"].as_array().unwrap());
        let mut numbers: Vec<Value> = events.map(|event| event["route"]["params"]["query"]["n"][0].clone()).collect();
        numbers.sort_by_key(Value::to_string);
        numbers
    };
    let before = envelopes(&root);
    assert_eq!(numbers(&before), [json!("1"), json!("2")]);
    assert!(before.iter().all(|envelope| envelope["key"] == "brand"), "{before:?}");
    let replayed = spool(
        edge.dir(),
        "replay",
        &["--feed", "brand", "--from", "2020-01-01T00:00:00Z", "--to", "2200-01-01T00:00:00Z", "--json"],
    );
    assert_eq!(replayed.json()["events"], 2);
    edge.wait_until("delivered again", |edge| edge.metric(&of_feed("events_delivered_total", "brand")) == 4);
    let after = envelopes(&root);
    assert_eq!(numbers(&after), [json!("1"), json!("1"), json!("2"), json!("2")]);
    assert!(after.iter().all(|envelope| envelope["key"] == "brand"), "{after:?}");
    assert!(!json!(after).to_string().contains("\"language\""));
    edge.stop();
}

/// Hostile names are the receiver's problem; that the object is JSON and holds every event is ours.
#[test]
fn no_query_keeps_an_event_from_the_older_shape() {
    let builder = Edge::builder().link(link("go.brand.com", "bare", "https://www.example.com/"));
    let edge = feed(builder, "older", "shape = \"clickstream\"").start();
    let queries =
        ["Ref=1&ref=2", "=x", "a.b=1&a=2&a%5B%5D=3", "%22%5C=%7D%5D", "%ff=%fe", "=&=&&&", "a", "%e2%80%a8=1"];
    for query in queries {
        click(&edge, &format!("/bare?{query}"), CHROME);
    }
    let long: String = (0..300).map(|n| format!("k{n}=v&")).collect();
    click(&edge, &format!("/bare?{long}"), CHROME);
    let stopped = edge.stop();
    let events = events_below(&stopped.dir().join("bucket/older"));
    assert_eq!(events.len(), queries.len() + 1);
    assert!(events.iter().all(|event| event["route"]["params"]["query"].is_object()), "{events:?}");
    assert!(events.iter().any(|event| event["route"]["params"]["query"].as_object().unwrap().len() == 256));
    assert!(!stopped.log().contains("cannot be rendered"));
}

#[test]
fn check_names_the_field_that_was_meant() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clickedge.toml");
    let said = |lines: &str| {
        let text = format!(
            "[[listeners]]\naddress = \"127.0.0.1:8080\"\n[[feeds]]\nname = \"all\"\nworkspaces = [\"*\"]\n{lines}\n\
             sink.dir.path = \"out\"\n"
        );
        fs::write(&path, text).unwrap();
        clickedge(&["check", path.to_str().unwrap()]).stderr
    };
    for (lines, expected) in [
        ("fields = { omit = [\"client.locaton\"] }", "did you mean \"client.location\"?"),
        ("fields = { omit = [\"referal.path\"] }", "did you mean \"referral.path\"?"),
        ("fields = { omit = [\"locaton\"] }", "did you mean \"location\"?"),
        ("fields = { omit = [\"city\", \"id\"] }", "every event has `id`"),
        ("fields = { omit = [\"params\"] }", "\"route.destination.params\", \"route.params\""),
        ("only = \"humans\"", "human"),
        ("shape = \"clickstreams\"", "clickstream"),
    ] {
        let said = said(lines);
        assert!(said.contains(expected), "{lines}: {said}");
    }
    assert!(!said("fields = { omit = [\"city\"] }").contains("fields"));
}
