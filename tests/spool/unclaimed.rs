//! What waits for a feed that was taken out of the configuration.

use super::*;

/// An edge with objects of the feed `stuck` in its outbox, started without that feed; and their clicks.
fn without_a_feed(s3: &S3) -> (Edge, usize, String) {
    let (edge, clicks) = everywhere(s3, 9);
    let stopped = edge.stop();
    let config = fs::read_to_string(stopped.dir().join("clickedge.toml")).unwrap();
    let (start, rest) = config.split_once("[[feeds]]\nname = \"stuck\"").expect("the feed");
    let rest = &rest[rest.find("[[feeds]]").expect("another feed")..];
    stopped.reconfigure(|_| format!("{start}{rest}"));
    (stopped.restart(), clicks.len(), config)
}

/// The objects that wait for the feed `stuck`.
fn unclaimed(edge: &Edge) -> i64 {
    edge.metric(&of_feed("outbox_unclaimed_objects", "stuck"))
}

/// Checks the account of the feed `stuck`: events recovered, pending and dropped.
#[track_caller]
fn assert_account(edge: &Edge, expected: [usize; 3]) {
    let dropped = "clickedge_events_dropped_total{feed=\"stuck\",reason=\"removed\"}".to_owned();
    let names = [of_feed("events_recovered_total", "stuck"), of_feed("events_pending", "stuck"), dropped];
    assert_eq!(names.map(|name| edge.metric(&name)), expected.map(|events| events as i64));
}

#[test]
fn what_waits_for_a_feed_that_is_not_configured_is_reported_and_dropped_on_request() {
    let s3 = S3::start();
    let (edge, clicks, _) = without_a_feed(&s3);
    let objects = unclaimed(&edge);
    assert!(objects > 0);
    let log = edge.log();
    let line = log.lines().find(|line| line.contains("a feed that is not configured wait")).expect("a warning");
    assert!(line.contains("\"stuck\"") && line.contains("\"level\":\"WARN\""), "{line}");
    let status: serde_json::Value = serde_json::from_str(&edge.admin("/v1/status").body).unwrap();
    let problem = status["problems"].as_array().unwrap().iter().find(|of| of["alert"] == "ClickedgeObjectsUnclaimed");
    assert_eq!(problem.expect("a problem")["of"], serde_json::json!(["stuck"]));
    let page = edge.admin("/").body;
    assert!(page.contains("objects wait for a feed that is not configured (stuck)"), "{page}");
    let listed = spool(edge.dir(), "ls", &[]).ok();
    assert!(listed.contains(&format!("not configured: stuck, with {objects} object")), "{listed}");
    spool(edge.dir(), "drop-feed", &["local"]).fails(64, "the feed \"local\" is configured");
    spool(edge.dir(), "drop-feed", &["never"]).fails(64, "there is no feed \"never\"");
    assert_account(&edge, [clicks, clicks, 0]);
    let dropped = spool(edge.dir(), "drop-feed", &["stuck"]).ok();
    assert!(dropped.contains(&format!("with {clicks} events of stuck are dropped")), "{dropped}");
    edge.wait_until("its objects are dropped", |edge| unclaimed(edge) == 0);
    assert_account(&edge, [clicks, 0, clicks]);
    assert!(!edge.dir().join("spool/outbox/stuck").exists());
    assert!(!spool(edge.dir(), "ls", &[]).ok().contains("not configured"));
    edge.wait_until("the request is done", |edge| fs::read_dir(edge.dir().join("spool/drop")).unwrap().count() == 0);
}

#[test]
fn what_is_dropped_while_the_edge_is_stopped_is_counted_by_the_next_start() {
    let s3 = S3::start();
    let (edge, clicks, _) = without_a_feed(&s3);
    let stopped = edge.stop();
    spool(stopped.dir(), "drop-feed", &["stuck"]).ok();
    let edge = stopped.restart();
    edge.wait_until("its objects are dropped", |edge| unclaimed(edge) == 0);
    assert_account(&edge, [clicks, 0, clicks]);
    let edge = edge.stop().restart();
    assert!(!edge.admin("/metrics").body.contains("feed=\"stuck\""), "the next run knows nothing of it");
}

#[test]
fn a_feed_that_is_configured_again_delivers_what_waited_for_it() {
    let s3 = S3::start();
    let (edge, clicks, config) = without_a_feed(&s3);
    let stopped = edge.stop();
    s3.set(Fault::Healthy);
    stopped.reconfigure(|_| config);
    let edge = stopped.restart();
    wait_until_delivered(&edge, "stuck", clicks);
    assert_eq!(unclaimed(&edge), 0);
}

#[test]
fn what_waits_in_the_journal_for_a_feed_that_is_taken_out_has_no_more_than_the_feed_asked_for() {
    let builder = Edge::builder();
    let feed = format!(
        "[[feeds]]\nname = \"brand\"\nworkspaces = [\"*\"]\nmax_age_secs = 3600\n\
         fields = {{ omit = [\"edge\"] }}\nsink.dir.path = '{}'\n",
        builder.bucket("brand").display()
    );
    let edge = builder.section(&feed).start();
    let clicks = click(&edge, "a", 3);
    edge.wait_until("journaled", |edge| edge.metric("clickedge_clicks_journaled_total") == 3);
    let stopped = edge.kill();
    let config = fs::read_to_string(stopped.dir().join("clickedge.toml")).unwrap();
    stopped.reconfigure(|config| config.replace(&feed, ""));
    let edge = stopped.restart();
    edge.wait_until("its object is made", |edge| objects_below(&edge.dir().join("spool/outbox/brand")).len() == 1);
    assert_eq!(edge.metric(&of_feed("events_pending", "brand")), 3);
    let stopped = edge.stop();
    stopped.reconfigure(|_| config);
    let events = stopped.restart().stop().events("brand");
    assert_exactly_once(&events, &clicks);
    assert!(events.iter().all(|event| event.get("edge").is_none() && event.get("client").is_some()));
}
