//! The main job, end to end: a click on a branded link becomes a delivered event.

use crate::common::Edge;

#[test]
fn a_click_is_answered_and_its_event_is_delivered() {
    let edge = Edge::builder().feed("all", &["*"]).start();
    let answer = edge.get("go.brand.com", "/spring?utm_term=poster");
    assert_eq!(answer.status, 302);
    assert_eq!(answer.header("location"), Some("https://www.example.com/spring?utm_source=go&utm_term=poster"));
    assert_eq!(answer.header("cache-control"), Some("private, no-store"));
    edge.wait_until("delivered", |edge| edge.metric("clickedge_events_delivered_total{feed=\"all\"}") == 1);
    let stopped = edge.stop();
    assert!(stopped.status.success());
    let events = stopped.events("all");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["route"]["slashtag"], "spring");
}
