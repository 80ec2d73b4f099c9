//! The page and the JSON of reports that are made up, with names that attack the page.

use std::collections::BTreeMap;

use html5gum::{Token, Tokenizer};
use serde_json::json;

use super::{
    gather::{Report, State},
    history::{Traffic, Window},
    page,
    top_links::{Counted, Link, Workspace},
    *,
};
use crate::{
    pipeline::{
        LastReload, Notice,
        status::{
            AccountFacts, CatalogFacts, CertificateExpiry, CertificateFacts, ClickAccount, Damage, DatabaseFacts,
            Delivered, DiskFacts, EventSums, Facts, Failure, FeedFacts, FeedState, FleetFacts, SpoolFacts,
        },
    },
    runtime::UnixTime,
};

/// A name that leaves every place of a page that does not escape it.
const EVIL: &str = "x\"'><script>alert(1)</script><img src=x onerror=alert(1)>&amp;</title></textarea>javascript:";

const TIME: UnixTime = UnixTime(1_795_000_000);

fn window(clicks: u64) -> Window {
    Window {
        until: TIME,
        secs: 60.0,
        requests: clicks + 3,
        clicks,
        not_found: 2,
        blocked: 1,
        clicks_per_sec: 1.0,
        p50_millis: Some(0.04),
        p99_millis: Some(1.5),
    }
}

fn feed(name: &str, state: FeedState) -> FeedFacts {
    FeedFacts {
        name: name.into(),
        state,
        sink: Some("s3"),
        workspaces: vec![EVIL.into()],
        lag_secs: 3_700,
        waiting_objects: 3,
        waiting_bytes: 12_345,
        pending: 70,
        delivered: 1_000,
        delivered_bytes: 99_999,
        dropped: BTreeMap::from([("spool_quota", 4)]),
        set_aside: 1,
        last_object: Some(Delivered { at: TIME, key: EVIL.into(), bytes: 5, events: 6 }),
        last_error: Some(Failure {
            at: TIME,
            key: EVIL.into(),
            message: format!("Access Denied {EVIL}"),
            status: Some(403),
            code: Some(EVIL.into()),
            request_id: Some(EVIL.into()),
            remedy: EVIL.into(),
        }),
    }
}

/// A report in which every text is hostile.
fn report() -> Report {
    Report {
        version: "0.0.0",
        pop: EVIL.into(),
        at: TIME,
        started_at: TIME,
        uptime_secs: 90_061,
        state: State::Degraded,
        ready: false,
        degraded: vec!["spool_stalled"],
        problems: vec![Problem {
            alert: "ClickedgeDiskFull",
            severity: Severity::Critical,
            summary: "the disk of the spool is full",
            of: vec![EVIL.into()],
        }],
        traffic: Traffic { now: window(5), hour: window(50), series: vec![window(1), window(9)] },
        facts: Facts {
            account: AccountFacts {
                clicks: ClickAccount {
                    answered: 10,
                    recovered: 1,
                    in_rings: 2,
                    enriched: 8,
                    journaled: 8,
                    dropped: BTreeMap::from([("ring_full", 1)]),
                },
                events: EventSums { routed: 8, delivered: 5, in_journal: 1, in_outbox: 2, ..EventSums::default() },
            },
            spool: SpoolFacts {
                disk: Some(DiskFacts { free_bytes: 5, capacity_bytes: 1_000 }),
                disk_full: true,
                damage: Some(Damage { state_files: 1, journal_events: 2_000, doubtful_events: 3 }),
                ..SpoolFacts::default()
            },
            feeds: vec![feed("fine", FeedState::Idle), feed(EVIL, FeedState::Parked)],
            catalog: CatalogFacts {
                links: 7,
                domains: 1,
                bytes: 1_000,
                changed: 0,
                generation: 3,
                revision: 4,
                hash: "ab".repeat(32),
                loaded_at: TIME,
                damaged: true,
                fleet: Some(FleetFacts { lag_secs: 99, halted: Some("grown") }),
            },
            certificates: CertificateFacts {
                loaded: 1,
                expired: 1,
                first: vec![CertificateExpiry { names: vec![EVIL.into()], expires_at: TIME, days_left: -3 }],
            },
            databases: vec![DatabaseFacts { name: "geoip", built_at: TIME, age_days: 61 }],
        },
        last_reload: Some(LastReload {
            at: TIME,
            rejected: true,
            notices: vec![Notice { file: EVIL.into(), line: Some(7), message: EVIL.into(), remedy: EVIL.into() }],
            more: 2,
            restart_keys: vec![EVIL.into()],
        }),
        top_links: Counted {
            hours: 24,
            workspaces: vec![Workspace {
                id: EVIL.into(),
                clicks: 9,
                links: vec![Link { domain: EVIL.into(), slashtag: EVIL.into(), clicks: 9, humans: 8 }],
            }],
            missing: None,
        },
    }
}

/// The names of the elements of a page, and of their attributes.
fn markup(page: &str) -> Vec<(String, Vec<String>)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let tokens = Tokenizer::new(page).map(|token| token.unwrap());
    let tags = tokens.filter_map(|token| match token {
        Token::StartTag(tag) => Some((text(&tag.name), tag.attributes.keys().map(|name| text(name)).collect())),
        _ => None,
    });
    tags.collect()
}

#[test]
fn no_name_becomes_markup() {
    let tried = Tried { url: EVIL.into(), answer: Err(EVIL.into()) };
    let page = page::render(&report(), Some(&tried));
    let tags = markup(&page);
    assert_eq!(tags.iter().filter(|(name, _)| name == "script").count(), 1, "its own: {page}");
    assert!(!tags.iter().any(|(name, _)| name == "img"), "{page}");
    for (name, attributes) in &tags {
        for attribute in attributes {
            assert!(!attribute.starts_with("on") && attribute != "style", "{name} {attribute}: {page}");
        }
    }
    assert!(page.contains("&lt;script&gt;alert(1)"), "it is shown as text");
    assert!(page.matches("<h1>").count() == 1 && page.contains("</html>"));
}

#[test]
fn the_page_shows_what_is_wrong_in_the_words_of_the_store() {
    let page = page::render(&report(), None);
    for part in [
        "Not ready: the spool does not accept writes (spool_stalled).",
        "Access Denied x&quot;",
        "Events dropped: 4 <code>spool_quota</code>",
        "Clicks dropped: 1 <code>ring_full</code>",
        "The last reload was rejected at 2026-11-18",
        ":7</code>",
        "1 h 1 min",
        "the disk of the spool is full (x&quot;",
        "5 B of 1.0 kB",
        "2,000 events missing from the journal",
        "damaged: some links may be wrong",
        "61 days old",
        "grown",
    ] {
        assert!(page.contains(part), "no {part:?} in {page}");
    }
    let parked = page.find("class=\"bad\">parked").unwrap();
    assert!(parked < page.find(">idle<").unwrap(), "feeds in trouble come first");
}

#[test]
fn every_report_is_one_of_the_schema() {
    let schema: serde_json::Value = serde_json::from_str(JSON_SCHEMA).unwrap();
    // What is not described there is found here.
    let closed = closed(schema);
    let validator = jsonschema::validator_for(&closed).unwrap();
    let mut young = report();
    young.last_reload = None;
    young.facts.feeds.clear();
    young.facts.catalog.fleet = None;
    (young.facts.spool, young.problems) = (SpoolFacts::default(), Vec::new());
    young.traffic.now.p50_millis = None;
    for report in [report(), young] {
        let value = serde_json::to_value(&report).unwrap();
        let errors: Vec<_> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?} in {value}");
    }
    assert!(!validator.is_valid(&json!({})));
}

/// The schema with no members but those that it names.
fn closed(mut schema: serde_json::Value) -> serde_json::Value {
    if let Some(object) = schema.as_object_mut() {
        if object.contains_key("properties") && !object.contains_key("additionalProperties") {
            object.insert("additionalProperties".into(), json!(false));
        }
        for value in object.values_mut() {
            *value = closed(value.take());
        }
    } else if let Some(array) = schema.as_array_mut() {
        for value in array {
            *value = closed(value.take());
        }
    }
    schema
}

#[test]
fn the_url_of_a_query_is_decoded_and_an_empty_one_is_none() {
    assert_eq!(url_of("x=1&url=go.brand.com%2Fa+b").as_deref(), Some("go.brand.com/a b"));
    assert_eq!((url_of("url="), url_of("url=%20"), url_of("")), (None, None, None));
}
